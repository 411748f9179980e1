//! Characters that a source may have and the engine's interface cannot take: NUL, and lone surrogates.
//!
//! JavaScript allows both inside literals and comments. Each becomes the escape of the same character there, which has
//! the same value. Outside of literals either is a syntax error, as its escape is.

/// Returns a source without NUL: each is written as `\x00`.
pub(crate) fn without_nul(source: String) -> String {
    if !source.contains('\0') {
        return source;
    }
    let mut written = String::with_capacity(source.len() + 3);
    let mut escapes = false;
    for character in source.chars() {
        match character {
            '\0' => written.push_str(escape(escapes, "\\x00")),
            _ => written.push(character),
        }
        escapes = character == '\\' && !escapes;
    }
    written
}

/// Returns a JSON string whose lone surrogates are escapes of JavaScript: `\ud800` becomes `\\ud800`. The text in it is
/// that of a source.
///
/// `json` is well-formed apart from them.
pub fn without_lone_surrogates(json: &str) -> String {
    let mut written = String::with_capacity(json.len() + 8);
    let mut rest = json;
    // True if the source so far ends with a backslash that escapes the next character.
    let mut escapes = false;
    while let Some(position) = rest.find('\\') {
        if position > 0 {
            escapes = false;
        }
        written.push_str(&rest[..position]);
        rest = &rest[position..];
        let length = match unit(rest) {
            Some(high) if is_high(high) && unit(&rest[UNIT_BYTES..]).is_some_and(is_low) => {
                UNIT_BYTES * 2
            }
            Some(lone) if is_high(lone) || is_low(lone) => {
                let escaped = format!("\\{}", &rest[..UNIT_BYTES]);
                written.push_str(if escapes {
                    &escaped["\\\\".len()..]
                } else {
                    &escaped
                });
                escapes = false;
                rest = &rest[UNIT_BYTES..];
                continue;
            }
            Some(_) => UNIT_BYTES,
            None => rest.chars().take(2).map(char::len_utf8).sum(),
        };
        let is_backslash = rest.starts_with("\\\\") || unit(rest) == Some(u16::from(b'\\'));
        escapes = is_backslash && !escapes;
        written.push_str(&rest[..length]);
        rest = &rest[length..];
    }
    written.push_str(rest);
    written
}

/// Bytes of an escape such as `\ud800`.
const UNIT_BYTES: usize = 6;

/// Returns an escape, without its backslash if one stands before it already.
fn escape(is_escaped: bool, escape: &'static str) -> &'static str {
    if is_escaped { &escape[1..] } else { escape }
}

/// Returns the UTF-16 unit whose escape begins `json`.
fn unit(json: &str) -> Option<u16> {
    let digits = json.strip_prefix("\\u")?.get(..4)?;
    u16::from_str_radix(digits, 16).ok()
}

fn is_high(unit: u16) -> bool {
    (0xd800..0xdc00).contains(&unit)
}

fn is_low(unit: u16) -> bool {
    (0xdc00..0xe000).contains(&unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nul_is_written_as_its_escape() {
        for (source, written) in [
            ("'a\0b'", r"'a\x00b'"),
            ("'\\\0'", r"'\x00'"),
            ("'\\\\\0'", r"'\\\x00'"),
            ("// \0\0", r"// \x00\x00"),
            ("'\\0'", r"'\0'"),
        ] {
            assert_eq!(without_nul(source.to_owned()), written);
        }
    }

    #[test]
    fn a_lone_surrogate_is_written_as_its_escape() {
        for (json, source) in [
            (r#""'\ud800'.length""#, r"'\ud800'.length"),
            (r#""'\uDC00\ud83d'""#, r"'\uDC00\ud83d'"),
            (r#""'\ud83d\ude00'""#, "'😀'"),
            (r#""'\ud83d\u0041'""#, r"'\ud83dA'"),
            (r#""'\\\ud800'""#, r"'\ud800'"),
            (r#""'\\\\\ud800'""#, r"'\\\ud800'"),
            (r#""'\u005c\ud800'""#, r"'\ud800'"),
            (r#""'\\n\ud800\n'""#, "'\\n\\ud800\n'"),
            (r#""'\\a\ud800'""#, r"'\a\ud800'"),
            (r#""a\"é\ud800""#, r#"a"é\ud800"#),
        ] {
            let written = without_lone_surrogates(json);
            let text: String = serde_json::from_str(&written).unwrap();
            assert_eq!(text, source, "{json}");
        }
    }
}
