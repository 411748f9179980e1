//! Unambiguous paths: every server reads them in the same way.
//!
//! A prefix in `--source-allow` is compared with a path as text. A host may decode escapes, resolve dot segments, drop
//! parameters or map look-alike characters before it looks for a file, and then serve a file outside the prefix. So
//! below a prefix only unambiguous paths are requested.

/// Returns true if no server can read this path as another one.
///
/// `path` begins with `/` and has no query. Escapes are allowed for characters without a meaning in paths.
#[must_use]
pub(super) fn is_unambiguous_path(path: &str) -> bool {
    path.split('/').skip(1).all(is_plain)
}

fn is_plain(segment: &str) -> bool {
    let Some(decoded) = decode(segment.as_bytes()) else {
        return false;
    };
    // Overlong forms of `.` and `/` are not valid UTF-8.
    let Ok(text) = std::str::from_utf8(&decoded) else {
        return false;
    };
    // Some servers drop trailing dots and spaces of a name, or everything after a colon.
    let is_climbing = text == "." || text.starts_with("..");
    let ends_loosely = text.ends_with(['.', ' ']);
    !is_climbing && !ends_loosely && !text.is_empty() && text.chars().all(is_unambiguous)
}

/// Decodes the escapes of a segment; `None` if one is malformed, or stands for an unreserved character.
fn decode(segment: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(segment.len());
    let mut rest = segment;
    while let [first, after @ ..] = rest {
        rest = after;
        if *first != b'%' {
            decoded.push(*first);
            continue;
        }
        let [high, low, after @ ..] = rest else {
            return None;
        };
        let digit = |byte: u8| char::from(byte).to_digit(16);
        let byte = u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()?;
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            return None;
        }
        decoded.push(byte);
        rest = after;
    }
    Some(decoded)
}

/// Returns false for separators, for characters that begin parameters, queries or escapes, and for characters that some
/// servers map to these.
fn is_unambiguous(character: char) -> bool {
    !character.is_control()
        && !matches!(
            character,
            '/' | '\\' | '%' | ';' | ':' | '?' | '#'
            // One, two and three dots in one character, small and wide forms.
            | '\u{2024}'..='\u{2026}' | '\u{fe19}' | '\u{fe52}' | '\u{ff0e}' | '\u{ff61}'
            // Slashes and backslashes.
            | '\u{2044}' | '\u{2215}' | '\u{2216}' | '\u{29f5}' | '\u{29f8}' | '\u{29f9}' | '\u{fe68}' | '\u{ff0f}'
            | '\u{ff3c}'
            // Semicolons, colons, percent signs, question marks, number signs.
            | '\u{037e}' | '\u{fe54}' | '\u{ff1b}' | '\u{fe55}' | '\u{ff1a}' | '\u{fe6a}' | '\u{ff05}' | '\u{ff1f}'
            | '\u{fe56}' | '\u{ff03}' | '\u{fe5f}'
            // Invisible characters, which some servers drop.
            | '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_paths_are_unambiguous() {
        for path in [
            "/team/report.js",
            "/team/a..b.js",
            "/team/a%20b.js",
            "/team/.hidden",
            "/team/%C3%A4.js",
            "/team/a@b+c,d=e!$&'()*",
            "/team/a%5B1%5D.js",
        ] {
            assert!(is_unambiguous_path(path), "{path}");
        }
    }

    #[test]
    fn every_form_of_a_parent_segment_is_rejected() {
        for path in [
            "/team/..%2fx",
            "/team/..%2Fx",
            "/team/..;/x",
            "/team/..;a=b/x",
            "/team/..%3bx",
            "/team/..%5cx",
            "/team/%2e%2e/x",
            "/team/%2E./x",
            "/team/..%252fx",
            "/team/%252e%252e/x",
            "/team/..%c0%afx",
            "/team/%c0%ae%c0%ae/x",
            "/team/%e0%80%ae./x",
            "/team/..%00/x",
            "/team/..%20/x",
            "/team/.../x",
            "/team/..%3f/x",
            "/team/..%23/x",
            "/team/..%u2215x",
            "/team/..%ef%bc%8fx",
            "/team/%e2%80%a5/x",
            "/team/%ef%bc%8e%ef%bc%8e/x",
            "/team/..%09/x",
            "/team/..%0d%0a/x",
            "/team/..\\x",
            "/team//x",
            "/team/x;/../y",
            "/team/%72eport.js",
            "/team/%",
            "/team/%2",
            "/team/%zz",
            "/team/a%2fb",
            "/team/x.",
            "/team/..::$INDEX",
            "/team/.%e2%80%8b./x",
            "/team/",
        ] {
            assert!(!is_unambiguous_path(path), "{path}");
        }
    }

    #[test]
    fn an_escaped_unreserved_character_is_rejected() {
        for byte in 0x21..0x7f_u8 {
            let character = char::from(byte);
            let is_plain = character.is_ascii_alphanumeric() || "-._~".contains(character);
            let path = format!("/team/a%{byte:02x}b");
            assert!(!is_plain || !is_unambiguous_path(&path), "{path}");
        }
    }
}
