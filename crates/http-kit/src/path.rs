//! Rejection of ambiguous request paths.
//!
//! The router of actix decodes percent-escapes before it matches a route, except `%25`, `%2B` and `%2F`. Other readers
//! decode those too, take `\` for `/`, drop `;` and the text after it, trim spaces, or merge slashes. A path below
//! `/api` on which readers could disagree is rejected first, so that every other path means the same to all of them.

const API: &str = "/api";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathError {
    /// The path has a segment `.` or `..`, in any spelling.
    DotSegment,
    /// The path is below `/api`, or would be when decoded, and is ambiguous.
    Ambiguous,
}

impl PathError {
    pub const fn detail(self) -> &'static str {
        match self {
            Self::DotSegment => "the path has `.` or `..` in it; write the path that is meant",
            Self::Ambiguous => {
                "the path has more than one reading; write letters, digits, `-`, `.`, `_` and `~` as they are and `/api` in \
                 small letters, and leave out `;`, `\\`, `//`, a `/` at the end, escapes of `/`, `\\`, `;`, `%` and \
                 control characters, and spaces round a segment"
            }
        }
    }
}

/// Returns the rest of a path below `/api`, empty or beginning with `/`; `None` for any other path.
///
/// # Errors
///
/// The path is ambiguous.
pub fn below_api(path: &str) -> Result<Option<&str>, PathError> {
    let rest = path.strip_prefix(API);
    let rest = rest.filter(|rest| rest.is_empty() || rest.starts_with('/'));
    match rest {
        Some(rest) if is_plain(rest) => return Ok(Some(rest)),
        None if path == "/" => return Ok(None),
        _ => {}
    }
    if has_dot_segment(path) {
        return Err(PathError::DotSegment);
    }
    match rest {
        Some(rest) if is_unambiguous(rest) => Ok(Some(rest)),
        Some(_) => Err(PathError::Ambiguous),
        None if may_be_api(path) => Err(PathError::Ambiguous),
        None => Ok(None),
    }
}

/// Returns true for an ordinary path: letters, digits, `-`, `_` and single slashes.
fn is_plain(rest: &str) -> bool {
    let mut before = b'x';
    for byte in rest.bytes() {
        let is_plain = match byte {
            b'/' => before != b'/',
            b'-' | b'_' => true,
            _ => byte.is_ascii_alphanumeric(),
        };
        if !is_plain {
            return false;
        }
        before = byte;
    }
    before != b'/'
}

/// Returns true if every reader sees the same segments in this path below `/api`.
fn is_unambiguous(rest: &str) -> bool {
    if !rest.is_ascii() || rest.contains(['\\', ';']) {
        return false;
    }
    let Some(decoded) = decode_once(rest) else {
        return false;
    };
    // `decode_once` rejects escaped slashes, so these are the segments of the text. Some readers trim spaces round a
    // segment.
    let is_unambiguous =
        |segment: &str| !segment.is_empty() && !segment.starts_with(' ') && !segment.ends_with(' ');
    std::str::from_utf8(&decoded).is_ok_and(|text| text.split('/').skip(1).all(is_unambiguous))
}

/// Decodes each escape once; `None` if one is malformed, or stands for an unreserved character or for one that readers
/// disagree on.
fn decode_once(text: &str) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let byte = hex_pair(bytes.next()?, bytes.next()?)?;
        let is_unreserved =
            byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
        if is_unreserved || byte.is_ascii_control() || matches!(byte, b'/' | b'\\' | b';' | b'%') {
            return None;
        }
        decoded.push(byte);
    }
    Some(decoded)
}

/// Decodes escapes until none is left, including escapes that result from decoding.
fn decode_fully(text: &str) -> Vec<u8> {
    let mut decoded: Vec<u8> = Vec::with_capacity(text.len());
    for byte in text.bytes() {
        decoded.push(byte);
        while let [.., b'%', high, low] = decoded[..]
            && let Some(byte) = hex_pair(high, low)
        {
            decoded.truncate(decoded.len() - 3);
            decoded.push(byte);
        }
    }
    decoded
}

fn hex_pair(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(high)? << 4 | digit(low)?).ok()
}

/// Returns the segments of a path as the most lenient reader sees them.
fn lenient_segments(path: &str) -> Vec<Vec<u8>> {
    let is_slash = |byte: &u8| matches!(byte, b'/' | b'\\');
    let decoded = decode_fully(path);
    let segments = decoded.split(is_slash).map(|segment| {
        let name = segment.split(|byte| *byte == b';').next();
        let is_padding = |byte: &u8| byte.is_ascii_control() || *byte == b' ';
        let name = name.unwrap_or_default().iter().copied();
        name.filter(|byte| !is_padding(byte))
            .map(|byte| byte.to_ascii_lowercase())
            .collect::<Vec<u8>>()
    });
    segments.collect()
}

/// Returns true if some reader could take the path for one of the API.
fn may_be_api(path: &str) -> bool {
    let segments = lenient_segments(path);
    let first = segments.iter().find(|segment| !segment.is_empty());
    first.is_some_and(|first| first == &API.as_bytes()[1..])
}

/// Returns true if a segment of the path is `.` or `..` to some reader.
fn has_dot_segment(path: &str) -> bool {
    if !path.contains(['.', '%']) {
        return false;
    }
    let is_dots = |segment: &Vec<u8>| matches!(segment.as_slice(), b"." | b"..");
    lenient_segments(path).iter().any(is_dots)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_path_is_accepted_unchanged() {
        for (path, rest) in [
            ("/api", Some("")),
            ("/api/execute", Some("/execute")),
            ("/api/jobs/0197-a/events", Some("/jobs/0197-a/events")),
            ("/api/scripts/a..b.js", Some("/scripts/a..b.js")),
            ("/api/scripts/...", Some("/scripts/...")),
            (
                "/api/scripts/a%20b%C3%A9%3F",
                Some("/scripts/a%20b%C3%A9%3F"),
            ),
            ("/", None),
            ("*", None),
            ("/assets/index-1.js", None),
            ("/apis", None),
            ("/api.js", None),
            ("/apis/%61pi", None),
            ("//host/api", None),
        ] {
            assert_eq!(below_api(path), Ok(rest), "{path}");
        }
    }

    #[test]
    fn dot_segments_are_rejected_in_every_spelling() {
        for path in [
            "/..",
            "/api/..",
            "/api/../metrics",
            "/api/./health",
            "/api/%2e%2e/metrics",
            "/api/%2E./metrics",
            "/api/%252e%252e/metrics",
            "/api/x%2f..%2f..%2fmetrics",
            "/api/..%5cmetrics",
            "/api/..;/metrics",
            "/page/..\\x",
        ] {
            assert_eq!(below_api(path), Err(PathError::DotSegment), "{path}");
        }
    }

    #[test]
    fn an_ambiguous_path_is_rejected() {
        for path in [
            "/%61pi",
            "/%61PI/execute",
            "/%2561pi/execute",
            "/%25252561pi/execute",
            "/API",
            "/Api/execute",
            "//api",
            "/api%2Fexecute",
            "/api%5Cexecute",
            "/api\\execute",
            "\\api",
            "/api;x/execute",
            "/api%00/execute",
            "/api%20",
            "/;x/api/execute",
            "/api/",
            "/api//execute",
            "/api/execute/",
            "/api/%65xecute",
            "/api/exec%75te",
            "/api/%2565xecute",
            "/api/execute%2F",
            "/api/execute;x",
            "/api/execute%3B",
            "/api/execute%20",
            "/api/%20execute",
            "/api/jobs/a%5cb",
            "/api/jobs/a\\b",
            "/api/jobs/%00",
            "/api/jobs/%7f",
            "/api/jobs/%ff",
            "/api/jobs/%c3",
            "/api/jobs/%",
            "/api/jobs/%6",
            "/api/jobs/%zz",
            "/api/jobs/\u{e9}",
            "/api/%2eb",
        ] {
            assert_eq!(below_api(path), Err(PathError::Ambiguous), "{path}");
        }
    }

    #[test]
    fn each_escape_of_each_character_of_a_route_is_rejected() {
        for route in [
            "/api/execute",
            "/api/jobs/0197/events",
            "/api/scripts/a-b_c.js",
        ] {
            for (at, character) in route.char_indices().skip(1) {
                let (before, after) = (&route[..at], &route[at + 1..]);
                let code = u32::from(character);
                for escape in [
                    format!("%{code:02x}"),
                    format!("%{code:02X}"),
                    format!("%25{code:02x}"),
                    format!("%2525{code:02X}"),
                ] {
                    let path = format!("{before}{escape}{after}");
                    assert!(below_api(&path).is_err(), "{path}");
                }
            }
        }
    }

    #[test]
    fn long_paths_take_linear_time() {
        let nested = format!("/{}61pi", "%25".repeat(100_000));
        assert_eq!(below_api(&nested), Ok(None), "its first letter is `%25…`");
        let nested = format!("/%{}61pi", "25".repeat(100_000));
        assert_eq!(below_api(&nested), Err(PathError::Ambiguous));
    }
}
