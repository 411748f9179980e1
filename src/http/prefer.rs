//! The `Prefer` header (RFC 7240): how long the response may be delayed (`wait=N`), and whether a minimal response
//! suffices (`return=minimal`).

use actix_web::http::header::HeaderMap;
use std::time::Duration;

/// Returns the granted wait: the requested one, at most `max`. Returns `None` if no wait is requested or its value is
/// invalid, which RFC 7240 says to ignore.
pub(super) fn wait(headers: &HeaderMap, max: Duration) -> Option<Duration> {
    let requested = values(headers, "wait").find_map(|value| value.parse::<u64>().ok())?;
    Some(Duration::from_secs(requested).min(max))
}

/// Returns whether a minimal response suffices.
pub(super) fn is_minimal(headers: &HeaderMap) -> bool {
    values(headers, "return").next() == Some("minimal")
}

/// The header of a minimal response.
pub(super) const MINIMAL: (&str, &str) = ("Preference-Applied", "return=minimal");

/// Returns the values of this preference, in the order in which they are written.
fn values<'a>(headers: &'a HeaderMap, preference_name: &'a str) -> impl Iterator<Item = &'a str> {
    headers
        .get_all("prefer")
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split([',', ';']))
        .filter_map(move |preference| {
            let (name, value) = preference.split_once('=')?;
            let is_requested = name.trim().eq_ignore_ascii_case(preference_name);
            is_requested.then(|| value.trim().trim_matches('"'))
        })
}

/// Returns the header that reports the granted wait.
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
    fn a_wait_is_found_among_other_preferences_and_capped() {
        assert_eq!(wait_for("wait=5"), Some(5));
        assert_eq!(wait_for("respond-async, Wait = 10"), Some(10));
        assert_eq!(wait_for("respond-async; wait=\"7\""), Some(7));
        assert_eq!(wait_for("wait=100000"), Some(60));
    }

    #[test]
    fn the_first_return_preference_counts() {
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
    fn an_invalid_wait_is_ignored() {
        for value in ["wait", "wait=soon", "wait=-1", "return=minimal", ""] {
            assert_eq!(wait_for(value), None);
        }
    }
}
