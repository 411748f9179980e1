//! A source as a list of tokens, near enough to say something helpful about it.
//!
//! The engine alone knows whether a text is a script. This reader takes any text, never fails, and guesses where only a
//! parser could know (a slash after a bracket). So whatever is built on it is worded as a guess or falls back to the
//! engine's own words.

/// A piece of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token<'a> {
    pub(super) kind: Kind,
    pub(super) text: &'a str,
    /// Position of the first byte in the source.
    pub(super) start: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A name or a keyword.
    Word,
    Number,
    /// A text in quotes, or a template with everything inside.
    Text,
    Regexp,
    Punctuator,
}

/// Punctuators of more than one character that matter here. A longer one comes before its beginning.
const LONG_PUNCTUATORS: &[&str] = &["...", "=>", "?.", "++", "--", "**"];
/// Words after which a slash begins a regular expression.
const BEFORE_EXPRESSION: &[&str] = &[
    "return",
    "typeof",
    "case",
    "in",
    "of",
    "delete",
    "void",
    "throw",
    "new",
    "else",
    "do",
    "await",
    "yield",
    "instanceof",
];

impl Token<'_> {
    pub(super) fn is(&self, text: &str) -> bool {
        self.text == text && matches!(self.kind, Kind::Word | Kind::Punctuator)
    }

    pub(super) fn end(&self) -> usize {
        self.start + self.text.len()
    }
}

/// Returns the tokens of `source`, without blanks and comments.
pub(super) fn tokens(source: &str) -> Vec<Token<'_>> {
    let mut reader = Reader {
        source,
        at: 0,
        tokens: Vec::new(),
    };
    reader.read();
    reader.tokens
}

struct Reader<'a> {
    source: &'a str,
    at: usize,
    tokens: Vec<Token<'a>>,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        &self.source[self.at..]
    }

    fn read(&mut self) {
        while let Some(next) = self.rest().chars().next() {
            if next.is_whitespace() || next == '\u{feff}' {
                self.at += next.len_utf8();
            } else if self.rest().starts_with("//")
                || (self.at == 0 && self.rest().starts_with("#!"))
            {
                self.at += self.rest().find('\n').unwrap_or(self.rest().len());
            } else if self.rest().starts_with("/*") {
                self.at += self
                    .rest()
                    .find("*/")
                    .map_or(self.rest().len(), |end| end + 2);
            } else {
                let (kind, length) = self.token(next);
                self.tokens.push(Token {
                    kind,
                    text: &self.rest()[..length],
                    start: self.at,
                });
                self.at += length;
            }
        }
    }

    /// Returns kind and length of the token that begins with `first`.
    fn token(&self, first: char) -> (Kind, usize) {
        let rest = self.rest();
        match first {
            '"' | '\'' => (Kind::Text, quoted(rest, first)),
            '`' => (Kind::Text, template(rest)),
            '/' if self.expects_expression() => match regexp(rest) {
                Some(length) => (Kind::Regexp, length),
                None => (Kind::Punctuator, 1),
            },
            '0'..='9' => (
                Kind::Number,
                length_while(rest, |c| is_in_word(c) || c == '.'),
            ),
            _ if is_in_word(first) || first == '#' || first == '\\' => {
                let length =
                    length_while(&rest[first.len_utf8()..], |c| is_in_word(c) || c == '\\');
                (Kind::Word, first.len_utf8() + length)
            }
            _ => {
                let long = LONG_PUNCTUATORS
                    .iter()
                    .find(|long| rest.starts_with(**long));
                (
                    Kind::Punctuator,
                    long.map_or(first.len_utf8(), |long| long.len()),
                )
            }
        }
    }

    /// Returns whether an expression can begin here, so that a slash begins a regular expression.
    fn expects_expression(&self) -> bool {
        self.tokens.last().is_none_or(|before| match before.kind {
            Kind::Word => BEFORE_EXPRESSION.contains(&before.text),
            Kind::Punctuator => !matches!(before.text, ")" | "]" | "}" | "++" | "--"),
            Kind::Number | Kind::Text | Kind::Regexp => false,
        })
    }
}

fn is_in_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_' || character == '$'
}

fn length_while(text: &str, holds: impl Fn(char) -> bool) -> usize {
    text.find(|c| !holds(c)).unwrap_or(text.len())
}

/// Returns the length of a text in quotes, which ends with its line at the latest.
fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, character) in text.char_indices().skip(1) {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '\n' => return at,
            _ if character == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Returns the length of a template. Templates inside its expressions are part of it.
fn template(text: &str) -> usize {
    let bytes = text.as_bytes();
    // What is open: a template, or the braces of an expression in one.
    let mut open: Vec<u8> = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let in_template = open.last() == Some(&b'`');
        match bytes[at] {
            b'\\' => at += 1,
            b'`' if in_template => {
                open.pop();
                if open.is_empty() {
                    return at + 1;
                }
            }
            b'`' => open.push(b'`'),
            b'$' if in_template && bytes.get(at + 1) == Some(&b'{') => {
                open.push(b'{');
                at += 1;
            }
            b'{' if !in_template => open.push(b'{'),
            b'}' if !in_template => drop(open.pop()),
            b'"' | b'\'' if !in_template => {
                at += quoted(&text[at..], char::from(bytes[at])).max(1) - 1;
            }
            _ => {}
        }
        at += 1;
    }
    text.len()
}

/// Returns the length of a regular expression; `None` if its line ends first.
fn regexp(text: &str) -> Option<usize> {
    let (mut escaped, mut in_class) = (false, false);
    for (at, character) in text.char_indices().skip(1) {
        match character {
            '\n' => return None,
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '[' => in_class = true,
            ']' => in_class = false,
            '/' if !in_class => {
                let flags = length_while(&text[at + 1..], is_in_word);
                return Some(at + 1 + flags);
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use proptest::test_runner::Config;

    fn texts(source: &str) -> Vec<&str> {
        tokens(source).iter().map(|token| token.text).collect()
    }

    #[test]
    fn a_source_becomes_its_tokens() {
        assert_eq!(
            texts("a?.b => c.d2(3.5e1)"),
            ["a", "?.", "b", "=>", "c", ".", "d2", "(", "3.5e1", ")"]
        );
        assert_eq!(
            texts("x = 'it\\'s' + \"a//b\" // c\n/* d */ e"),
            ["x", "=", "'it\\'s'", "+", "\"a//b\"", "e"]
        );
        assert_eq!(texts("a / b / c"), ["a", "/", "b", "/", "c"]);
        assert_eq!(
            texts("return /[/]\\/x/gi.test(y)"),
            ["return", "/[/]\\/x/gi", ".", "test", "(", "y", ")"]
        );
        assert_eq!(
            texts("`a ${ b ? `}` : '}' } c` d"),
            ["`a ${ b ? `}` : '}' } c`", "d"]
        );
        assert_eq!(texts("#!/bin/node\n#private"), ["#private"]);
    }

    proptest! {
        #![proptest_config(Config { failure_persistence: None, ..Config::default() })]

        #[test]
        fn any_text_has_tokens_that_lie_in_it(text in "[a-z0-9 \\n'\"`${}()/*\\\\é#.?=>-]{0,60}") {
            let mut end = 0;
            for token in tokens(&text) {
                prop_assert!(token.start >= end && !token.text.is_empty());
                end = token.end();
                prop_assert_eq!(&text[token.start..end], token.text);
            }
        }
    }
}
