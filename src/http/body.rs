//! Reads a request's body, bounded in bytes and in time, before anything parses it.

use super::Api;
use super::browser::check_content_type;
use super::problem::{Code, Problem};
use actix_web::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use actix_web::web::{Bytes, BytesMut, Payload};
use actix_web::{HttpRequest, http::header::HeaderMap};
use futures_util::StreamExt as _;

/// The type of a body, by its headers.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum BodyType {
    /// `application/json`, or no body.
    Json,
    /// `multipart/form-data` with this boundary.
    Multipart(String),
}

/// Reads the whole body. Fails with `body_too_large` or `body_timeout` beyond the bounds.
pub(super) async fn read(
    api: &Api,
    request: &HttpRequest,
    payload: Payload,
) -> Result<Bytes, Problem> {
    let bytes_max = api.bounds.body_bytes;
    if declared_length(request.headers()).is_some_and(|length| length > bytes_max) {
        return Err(too_large(bytes_max));
    }
    let timeout = api.bounds.body_timeout;
    match tokio::time::timeout(timeout, collect(payload, bytes_max)).await {
        Ok(body) => body,
        Err(_) => Err(Problem::new(
            Code::BodyTimeout,
            format!("the body did not arrive within {} ms", timeout.as_millis()),
        )),
    }
}

async fn collect(mut payload: Payload, bytes_max: usize) -> Result<Bytes, Problem> {
    let mut body = BytesMut::new();
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|error| {
            Problem::new(Code::InvalidBody, format!("the body broke off: {error}"))
        })?;
        if body.len() + chunk.len() > bytes_max {
            return Err(too_large(bytes_max));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

fn declared_length(headers: &HeaderMap) -> Option<usize> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn too_large(bytes_max: usize) -> Problem {
    Problem::new(
        Code::BodyTooLarge,
        format!("a body may have at most {bytes_max} bytes"),
    )
    .with("bound", bytes_max)
}

/// Returns the type of body that the headers declare.
pub(super) fn type_of(headers: &HeaderMap) -> Result<BodyType, Problem> {
    let is_encoded = headers
        .get(CONTENT_ENCODING)
        .is_some_and(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity"));
    if is_encoded {
        return Err(unsupported("a body must come without Content-Encoding"));
    }
    check_content_type(headers)?;
    let Some(content_type) = headers.get(CONTENT_TYPE) else {
        // The request has no body.
        return Ok(BodyType::Json);
    };
    let content_type = content_type.to_str().unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        return Ok(BodyType::Json);
    }
    if essence.eq_ignore_ascii_case("multipart/form-data") {
        return multer::parse_boundary(content_type)
            .map(BodyType::Multipart)
            .map_err(|_| unsupported("multipart/form-data needs its boundary"));
    }
    Err(unsupported(
        "send `Content-Type: application/json` or multipart/form-data",
    ))
}

fn unsupported(detail: &str) -> Problem {
    Problem::new(Code::UnsupportedMediaType, detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::http::header::HeaderValue;

    fn type_for(content_type: &'static str) -> Result<BodyType, Problem> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        type_of(&headers)
    }

    #[test]
    fn json_is_json_with_and_without_a_charset_and_without_a_body() {
        assert_eq!(type_for("application/json").unwrap(), BodyType::Json);
        assert_eq!(
            type_for("Application/JSON; charset=utf-8").unwrap(),
            BodyType::Json
        );
        assert_eq!(type_of(&HeaderMap::new()).unwrap(), BodyType::Json);
    }

    #[test]
    fn other_types_are_refused() {
        assert!(type_for("application/x-www-form-urlencoded").is_err());
        assert!(type_for("multipart/form-data").is_err());
        assert!(type_for("text/plain").is_err());
        assert!(type_for("").is_err());
    }

    #[test]
    fn a_body_of_no_type_is_refused_and_the_header_is_named() {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_LENGTH, HeaderValue::from_static("2"));
        let refused = type_of(&headers).unwrap_err();
        assert!(refused.to_string().contains("`Content-Type`"), "{refused}");
    }
}
