//! `X-Request-ID`: taken from the client if valid, else generated; every response carries it.

use actix_web::http::header::{
    CACHE_CONTROL, HeaderMap, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS,
};
use uuid::Uuid;

const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
const HEADER: HeaderName = HeaderName::from_static("x-request-id");
/// Maximum length of a client's id, bytes.
const ID_BYTES_MAX: usize = 128;

/// Returns the id of a request with these headers.
pub(super) fn of(headers: &HeaderMap) -> HeaderValue {
    headers
        .get(&HEADER)
        .filter(|value| is_valid(value))
        .cloned()
        .unwrap_or_else(generate)
}

/// Adds the headers that every response has.
pub(super) fn add_headers(id: HeaderValue, headers: &mut HeaderMap) {
    headers.insert(HEADER, id);
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Pages of other origins cannot embed a response as an image, a script or the like.
    headers.insert(RESOURCE_POLICY, HeaderValue::from_static("same-origin"));
}

fn is_valid(value: &HeaderValue) -> bool {
    let bytes = value.as_bytes();
    (1..=ID_BYTES_MAX).contains(&bytes.len())
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.:/+=".contains(byte))
}

fn generate() -> HeaderValue {
    let mut text = Uuid::encode_buffer();
    let text = Uuid::now_v7().hyphenated().encode_lower(&mut text);
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static("unnamed"))
}
