//! A text whose parts are erased in place, and what stands between its tokens.

use oxc_span::Span;

/// The characters that end a line of JavaScript.
const LINE_ENDS: [char; 4] = ['\n', '\r', '\u{2028}', '\u{2029}'];

/// The user's text, and a copy of the same length in which parts are erased.
pub(super) struct Canvas<'t> {
    source: &'t str,
    erased: Vec<u8>,
}

impl<'t> Canvas<'t> {
    pub(super) fn new(source: &'t str) -> Self {
        Self {
            source,
            erased: source.as_bytes().to_vec(),
        }
    }

    pub(super) fn source(&self) -> &'t str {
        self.source
    }

    pub(super) fn into_text(self) -> String {
        // Whole characters are erased, and only bytes of ASCII are put. So nothing is ever replaced here.
        String::from_utf8(self.erased)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
    }

    /// Erases whole characters: each byte becomes a space. Line ends stay.
    pub(super) fn erase(&mut self, span: Span) {
        let (start, end) = (index(span.start), index(span.end));
        let Some(text) = self.source.get(start..end) else {
            return;
        };
        for (offset, character) in text.char_indices() {
            if !LINE_ENDS.contains(&character) {
                let from = start + offset;
                self.erased[from..from + character.len_utf8()].fill(b' ');
            }
        }
    }

    /// Erases the byte at `at` if it is `expected`.
    pub(super) fn erase_byte(&mut self, at: u32, expected: u8) {
        if self.byte(at) == Some(expected) {
            self.put(at, b' ');
        }
    }

    /// Writes a byte of ASCII over a byte that is erased, or over one of ASCII.
    pub(super) fn put(&mut self, at: u32, byte: u8) {
        let place = self.erased.get_mut(index(at));
        if let Some(place) = place.filter(|place| place.is_ascii()) {
            *place = byte;
        }
    }

    /// Erases a statement or an element of a class. A semicolon stays: without it, what stands before could go on behind.
    pub(super) fn erase_with_end(&mut self, span: Span) {
        self.erase(span);
        self.put(span.start, b';');
    }

    /// Erases an entry of a list, and the comma behind it.
    pub(super) fn erase_entry(&mut self, span: Span) {
        self.erase(span);
        let next = self.next_token(span.end);
        self.erase_byte(next, b',');
    }

    /// Returns where the first token at or behind `at` begins: behind white space and comments.
    pub(super) fn next_token(&self, at: u32) -> u32 {
        let mut at = index(at);
        while let Some(rest) = self.source.get(at..) {
            at += match rest.chars().next() {
                Some(first) if first.is_whitespace() || first == '\u{feff}' => first.len_utf8(),
                Some('/') if rest.starts_with("//") => rest.find(LINE_ENDS).unwrap_or(rest.len()),
                Some('/') if rest.starts_with("/*") => {
                    rest[2..].find("*/").map_or(rest.len(), |end| end + 4)
                }
                _ => break,
            };
        }
        offset(at)
    }

    /// Returns the byte at `at` in the user's text.
    pub(super) fn byte(&self, at: u32) -> Option<u8> {
        self.source.as_bytes().get(index(at)).copied()
    }

    /// Returns the word of ASCII that begins at `at`; empty if there is none.
    pub(super) fn word(&self, at: u32) -> &'t str {
        let rest = self.source.get(index(at)..).unwrap_or_default();
        let end = rest.find(|next: char| !next.is_ascii_alphanumeric() && next != '_');
        &rest[..end.unwrap_or(rest.len())]
    }

    /// Returns whether a line ends between the two places.
    pub(super) fn has_line_end(&self, from: u32, to: u32) -> bool {
        let between = self.source.get(index(from)..index(to));
        between.is_some_and(|text| text.contains(LINE_ENDS))
    }
}

pub(super) fn index(offset: u32) -> usize {
    // A text has at most 1 MiB.
    usize::try_from(offset).unwrap_or(usize::MAX)
}

/// Returns an index in a text as the parser counts. A text has at most 1 MiB.
pub(super) fn offset(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn erased_bytes_are_spaces_and_line_ends_stay() {
        let mut canvas = Canvas::new("aé\u{2028}b\r\n𝒳c");
        canvas.erase(Span::new(1, 13));
        assert_eq!(canvas.into_text(), "a  \u{2028} \r\n    c");
    }

    #[test]
    fn a_token_stands_behind_spaces_and_comments() {
        let text = " \u{a0}/* a */ // b\n\t/**/x /y";
        let canvas = Canvas::new(text);
        let at = |part: &str| offset(text.find(part).unwrap());
        assert_eq!(canvas.next_token(0), at("x"));
        assert_eq!(canvas.next_token(at(" /y")), at("/y"));
        assert_eq!(canvas.next_token(offset(text.len())), offset(text.len()));
        assert_eq!(Canvas::new("/* never closed").next_token(0), 15);
    }

    #[test]
    fn an_entry_goes_with_its_comma() {
        let mut canvas = Canvas::new("{ a /* b */ , c }");
        canvas.erase_entry(Span::new(2, 3));
        assert_eq!(canvas.into_text(), "{   /* b */   c }");
        let mut canvas = Canvas::new("{ c, a }");
        canvas.erase_entry(Span::new(5, 6));
        assert_eq!(canvas.into_text(), "{ c,   }");
    }
}
