//! The member `source` of a request's body.
//!
//! The body goes to the service as it came. Whatever is wrong with it as a whole is for the service to say, so here a body
//! that cannot be read has no source.

use super::failure::Failure;
use super::location::Location;
use crate::hex::{Digest, from_hex};
use serde::Deserialize;
use serde_json::value::RawValue;

/// What a client wants run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) location: Location,
    /// The SHA-256 that its content must have.
    pub(super) sha256: Option<Digest>,
}

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow, default)]
    source: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Source {
    Url(String),
    Object(Pinned),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pinned {
    url: String,
    #[serde(default)]
    sha256: Option<String>,
}

/// The source that a body names, if it names one.
pub(super) fn source_of(body: &[u8]) -> Result<Option<Wanted>, Failure> {
    if memchr::memmem::find(body, b"\"source\"").is_none() {
        return Ok(None);
    }
    // serde would take an array for an object with its members in order.
    if !body.trim_ascii_start().starts_with(b"{") {
        return Ok(None);
    }
    let Ok(Body { source: Some(raw) }) = serde_json::from_slice::<Body<'_>>(body) else {
        return Ok(None);
    };
    if raw.get() == "null" {
        return Ok(None);
    }
    if raw.get().starts_with('[') {
        return Err(Failure::Shape);
    }
    let source = serde_json::from_str(raw.get()).map_err(|_| Failure::Shape)?;
    let (url, sha256) = match source {
        Source::Url(url) => (url, None),
        Source::Object(pinned) => (pinned.url, pinned.sha256),
    };
    let sha256 = sha256.map(|text| {
        let digest = from_hex(&text.to_ascii_lowercase());
        digest.ok_or(Failure::NoDigest)
    });
    Ok(Some(Wanted {
        location: url.parse()?,
        sha256: sha256.transpose()?,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn location(body: &str) -> Option<String> {
        let wanted = source_of(body.as_bytes()).unwrap();
        wanted.map(|wanted| wanted.location.to_string())
    }

    #[test]
    fn a_source_is_a_string_or_an_object() {
        let url = "https://example.org/a";
        let text = format!(r#"{{"input": {{"source": 1}}, "source": "{url}"}}"#);
        assert_eq!(location(&text).unwrap(), url);
        let digest = "AB".repeat(32);
        let pinned = format!(r#"{{"source": {{"url": "{url}", "sha256": "{digest}"}}}}"#);
        let wanted = source_of(pinned.as_bytes()).unwrap().unwrap();
        assert_eq!(wanted.sha256, Some([0xab; 32]));
    }

    #[test]
    fn a_body_without_one_passes() {
        for body in [
            "",
            "{}",
            r#"{"code": "\"source\""}"#,
            r#"{"input": {"source": "https://example.org"}}"#,
            r#"{"source": null}"#,
            // For the service to refuse.
            r#"{"source": "https://a.example/", "source": "https://b.example/"}"#,
            r#"{"source": "https://a.example/""#,
            r#"["source"]"#,
        ] {
            assert_eq!(source_of(body.as_bytes()), Ok(None), "{body}");
        }
    }

    #[test]
    fn what_is_no_source_is_refused() {
        for (body, failure) in [
            (r#"{"source": 1}"#, Failure::Shape),
            (r#"{"source": {}}"#, Failure::Shape),
            (r#"{"source": ["https://a.example/"]}"#, Failure::Shape),
            (
                r#"{"source": {"url": "https://a", "more": 1}}"#,
                Failure::Shape,
            ),
            (
                r#"{"source": {"url": "https://a.example/", "sha256": "ab"}}"#,
                Failure::NoDigest,
            ),
        ] {
            assert_eq!(source_of(body.as_bytes()), Err(failure), "{body}");
        }
    }
}
