//! The member `source` of a request's body.
//!
//! The body is forwarded unchanged and the service validates it, so a body that cannot be parsed has no source here.

use super::error::SourceError;
use super::location::Location;
use crate::hex::{Digest, from_hex};
use serde::Deserialize;
use serde_json::value::RawValue;

/// The script that a client references.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RequestedSource {
    pub(super) location: Location,
    /// The SHA-256 that the content must have.
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

/// Returns the source of a body, if the body has one.
pub(super) fn source_of(body: &[u8]) -> Result<Option<RequestedSource>, SourceError> {
    if memchr::memmem::find(body, b"\"source\"").is_none() {
        return Ok(None);
    }
    // Serde accepts an array for a struct.
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
        return Err(SourceError::Shape);
    }
    let source = serde_json::from_str(raw.get()).map_err(|_| SourceError::Shape)?;
    let (url, sha256) = match source {
        Source::Url(url) => (url, None),
        Source::Object(pinned) => (pinned.url, pinned.sha256),
    };
    let sha256 = sha256.map(|text| {
        let digest = from_hex(&text.to_ascii_lowercase());
        digest.ok_or(SourceError::NoDigest)
    });
    Ok(Some(RequestedSource {
        location: url.parse()?,
        sha256: sha256.transpose()?,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn location(body: &str) -> Option<String> {
        let requested = source_of(body.as_bytes()).unwrap();
        requested.map(|requested| requested.location.to_string())
    }

    #[test]
    fn a_source_is_a_string_or_an_object() {
        let url = "https://example.org/a";
        let text = format!(r#"{{"input": {{"source": 1}}, "source": "{url}"}}"#);
        assert_eq!(location(&text).unwrap(), url);
        let digest = "AB".repeat(32);
        let pinned = format!(r#"{{"source": {{"url": "{url}", "sha256": "{digest}"}}}}"#);
        let requested = source_of(pinned.as_bytes()).unwrap().unwrap();
        assert_eq!(requested.sha256, Some([0xab; 32]));
    }

    #[test]
    fn a_body_without_a_source_is_accepted() {
        for body in [
            "",
            "{}",
            r#"{"code": "\"source\""}"#,
            r#"{"input": {"source": "https://example.org"}}"#,
            r#"{"source": null}"#,
            // The service rejects these.
            r#"{"source": "https://a.example/", "source": "https://b.example/"}"#,
            r#"{"source": "https://a.example/""#,
            r#"["source"]"#,
        ] {
            assert_eq!(source_of(body.as_bytes()), Ok(None), "{body}");
        }
    }

    #[test]
    fn an_invalid_source_is_rejected() {
        for (body, failure) in [
            (r#"{"source": 1}"#, SourceError::Shape),
            (r#"{"source": {}}"#, SourceError::Shape),
            (r#"{"source": ["https://a.example/"]}"#, SourceError::Shape),
            (
                r#"{"source": {"url": "https://a", "more": 1}}"#,
                SourceError::Shape,
            ),
            (
                r#"{"source": {"url": "https://a.example/", "sha256": "ab"}}"#,
                SourceError::NoDigest,
            ),
        ] {
            assert_eq!(source_of(body.as_bytes()), Err(failure), "{body}");
        }
    }
}
