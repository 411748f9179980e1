//! The id of a request, which its response, the service's log and the ingress's log carry.

use actix_web::dev::ServiceRequest;
use actix_web::http::header::{HeaderName, HeaderValue};
use uuid::Uuid;

pub(crate) const HEADER: HeaderName = HeaderName::from_static("x-request-id");
/// Maximum length of an id that a client gives, bytes.
const BYTES_MAX: usize = 128;

/// Returns the client's id if it is valid, else a new one. The header of the request is set to the id.
pub(crate) fn take(request: &mut ServiceRequest) -> HeaderValue {
    let is_valid = |given: &HeaderValue| {
        let bytes = given.as_bytes();
        (1..=BYTES_MAX).contains(&bytes.len())
            && bytes
                .iter()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.:/+=".contains(byte))
    };
    let given = request
        .headers()
        .get(&HEADER)
        .filter(|given| is_valid(given))
        .cloned();
    let id = given.unwrap_or_else(|| {
        let mut text = Uuid::encode_buffer();
        let text = Uuid::now_v7().hyphenated().encode_lower(&mut text);
        HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static("unnamed"))
    });
    request.headers_mut().insert(HEADER, id.clone());
    id
}
