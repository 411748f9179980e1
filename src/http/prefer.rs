//! `Prefer: wait=N` (RFC 7240): how long the client would like the answer to be held back.

use actix_web::http::header::HeaderMap;
use std::time::Duration;

/// The wait that is granted: what was asked for, at most `most`. `None` when nothing was, or nothing that can be read,
/// which RFC 7240 says to ignore.
pub(super) fn wait(headers: &HeaderMap, most: Duration) -> Option<Duration> {
    let asked = headers
        .get_all("prefer")
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split([',', ';']))
        .find_map(|preference| {
            let (name, value) = preference.split_once('=')?;
            let value = value.trim().trim_matches('"');
            name.trim()
                .eq_ignore_ascii_case("wait")
                .then(|| value.parse::<u64>().ok())
                .flatten()
        })?;
    Some(Duration::from_secs(asked).min(most))
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
    fn what_is_no_wait_is_ignored() {
        for value in ["wait", "wait=soon", "wait=-1", "return=minimal", ""] {
            assert_eq!(wait_for(value), None);
        }
    }
}
