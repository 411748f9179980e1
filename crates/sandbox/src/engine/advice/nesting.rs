//! The deepest brackets of a text, for errors of a parser that ran out of stack. They have no place of their own.

/// Depth that no parser fails at.
const DEPTH_MIN: usize = 100;

/// Returns the depth of the deepest bracket and its byte; `None` if no bracket is deep. A regular expression is read as if
/// it were code. Allocates nothing.
pub(super) fn deepest(text: &str) -> Option<(usize, usize)> {
    let bytes = text.as_bytes();
    let (mut depth, mut at) = (0_usize, 0);
    let mut found = None;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'(' | b'[' | b'{' => {
                depth += 1;
                if depth > found.map_or(DEPTH_MIN, |(most, _)| most) {
                    found = Some((depth, at));
                }
            }
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            b'"' | b'\'' => at = end_of_string(bytes, at),
            b'/' if bytes.get(at + 1) == Some(&b'/') => at = end_of(bytes, at, b"\n"),
            b'/' if bytes.get(at + 1) == Some(&b'*') => at = end_of(bytes, at + 2, b"*/"),
            _ => {}
        }
        at += 1;
    }
    found
}

/// Returns the byte of the quote that ends a string, or of the end of its line.
fn end_of_string(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\\' => at += 1,
            b'\n' => return at,
            byte if *byte == bytes[start] => return at,
            _ => {}
        }
        at += 1;
    }
    at
}

/// Returns the last byte of the first `end` from `start` on.
fn end_of(bytes: &[u8], start: usize, end: &[u8]) -> usize {
    let rest = bytes.get(start..).unwrap_or_default();
    let found = rest.windows(end.len()).position(|window| window == end);
    found.map_or(bytes.len(), |place| start + place + end.len() - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deepest_bracket_is_found() {
        let deep = format!("f(1);\n{}1{}\ng(2)", "[".repeat(200), "]".repeat(200));
        assert_eq!(deepest(&deep), Some((200, 6 + 199)));
        let two = format!("{}{}{}", "[(".repeat(80), ")]".repeat(80), "{".repeat(150));
        assert_eq!(deepest(&two), Some((160, 159)));
    }

    #[test]
    fn brackets_of_strings_and_comments_are_none() {
        for text in [
            "\"X\"",
            "'\\'X'",
            "// X\n",
            "/* X */",
            "'X",
            "/* X",
            "()[]{}X()",
        ] {
            let inner = if text.starts_with('(') { "" } else { "(" };
            let text = text.replace('X', &inner.repeat(300));
            assert_eq!(deepest(&text), None, "{text}");
        }
        assert_eq!(deepest(&"()".repeat(300)), None);
    }
}
