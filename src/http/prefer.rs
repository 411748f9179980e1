//! `Prefer` (RFC 7240): how long the client would like the answer to be held back (`wait=N`), and whether it needs all of it
//! (`return=minimal`).

use actix_web::http::header::HeaderMap;
use std::time::Duration;

/// The wait that is granted: what was asked for, at most `most`. `None` when nothing was, or nothing that can be read,
/// which RFC 7240 says to ignore.
pub(super) fn wait(headers: &HeaderMap, most: Duration) -> Option<Duration> {
    let asked = values(headers, "wait").find_map(|value| value.parse::<u64>().ok())?;
    Some(Duration::from_secs(asked).min(most))
}

/// Whether the client needs no more than what it did.
pub(super) fn is_minimal(headers: &HeaderMap) -> bool {
    values(headers, "return").next() == Some("minimal")
}

/// The header that says that it got no more.
pub(super) const MINIMAL: (&str, &str) = ("Preference-Applied", "return=minimal");

/// What is preferred under this name, in the order in which it is written.
fn values<'a>(headers: &'a HeaderMap, wanted: &'a str) -> impl Iterator<Item = &'a str> {
    headers
        .get_all("prefer")
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split([',', ';']))
        .filter_map(move |preference| {
            let (name, value) = preference.split_once('=')?;
            let is_wanted = name.trim().eq_ignore_ascii_case(wanted);
            is_wanted.then(|| value.trim().trim_matches('"'))
        })
}

/// The header that says what was granted.
pub(super) fn applied(wait: Duration) -> (&'static str, String) {
    ("Preference-Applied", format!("wait={}", wait.as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::http::header::{HeaderName, HeaderValue};

    fn wait_for(value: &'static str) -> Option<u64> {
        let mut headers = HeaderMap::new();
        headers.insert(
            HeaderName::from_static("prefer"),
            HeaderValue::from_static(value),
        );
        wait(&headers, Duration::from_secs(60)).map(|granted| granted.as_secs())
    }

    #[test]
    fn a_wait_is_found_among_other_preferences_and_held_to_the_most() {
        assert_eq!(wait_for("wait=5"), Some(5));
        assert_eq!(wait_for("respond-async, Wait = 10"), Some(10));
        assert_eq!(wait_for("respond-async; wait=\"7\""), Some(7));
        assert_eq!(wait_for("wait=100000"), Some(60));
    }

    #[test]
    fn a_client_that_needs_less_says_so_first() {
        let is_minimal = |value: &'static str| {
            let mut headers = HeaderMap::new();
            let value = HeaderValue::from_static(value);
            headers.insert(HeaderName::from_static("prefer"), value);
            is_minimal(&headers)
        };
        assert!(is_minimal("return=minimal"));
        assert!(is_minimal("wait=5, Return = \"minimal\""));
        assert!(!is_minimal("return=representation, return=minimal"));
        assert!(!is_minimal("wait=5"));
    }

    #[test]
    fn what_is_no_wait_is_ignored() {
        for value in ["wait", "wait=soon", "wait=-1", "return=minimal", ""] {
            assert_eq!(wait_for(value), None);
        }
    }
}
