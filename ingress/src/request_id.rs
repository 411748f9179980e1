//! The name of a request, by which its answer, the service's log and ours speak of it.

use actix_web::dev::ServiceRequest;
use actix_web::http::header::{HeaderName, HeaderValue};
use uuid::Uuid;

pub(crate) const HEADER: HeaderName = HeaderName::from_static("x-request-id");
/// Longest one that is taken from a client, bytes.
const BYTES_MAX: usize = 128;

/// The client's own id where it is fit, or a new one; either way it is what the service is told.
pub(crate) fn take(request: &mut ServiceRequest) -> HeaderValue {
    let is_fit = |given: &HeaderValue| {
        let bytes = given.as_bytes();
        (1..=BYTES_MAX).contains(&bytes.len())
            && bytes
                .iter()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.:/+=".contains(byte))
    };
    let given = request
        .headers()
        .get(&HEADER)
        .filter(|given| is_fit(given))
        .cloned();
    let id = given.unwrap_or_else(|| {
        let mut text = Uuid::encode_buffer();
        let text = Uuid::now_v7().hyphenated().encode_lower(&mut text);
        HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static("unnamed"))
    });
    request.headers_mut().insert(HEADER, id.clone());
    id
}
