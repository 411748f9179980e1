//! `X-Request-ID`: taken from the client where it is fit, made here where it is not, sent back on every answer.

use actix_web::http::header::{
    CACHE_CONTROL, HeaderMap, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS,
};
use uuid::Uuid;

const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
const HEADER: HeaderName = HeaderName::from_static("x-request-id");
/// Longest id that is taken from a client, bytes.
const ID_BYTES_MAX: usize = 128;

/// The name of a request with these headers.
pub(super) fn of(headers: &HeaderMap) -> HeaderValue {
    headers
        .get(&HEADER)
        .filter(|given| is_fit(given))
        .cloned()
        .unwrap_or_else(generate)
}

/// Adds the headers that every answer has.
pub(super) fn finish(id: HeaderValue, headers: &mut HeaderMap) {
    headers.insert(HEADER, id);
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Pages of other origins do not get a response as an image, a script or the like.
    headers.insert(RESOURCE_POLICY, HeaderValue::from_static("same-origin"));
}

fn is_fit(given: &HeaderValue) -> bool {
    let bytes = given.as_bytes();
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
