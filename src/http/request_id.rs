//! `X-Request-ID`: taken from the client where it is fit, made here where it is not, sent back on every answer.

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{CACHE_CONTROL, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use actix_web::middleware::Next;
use tracing::{Instrument as _, debug, info_span};
use uuid::Uuid;

const HEADER: HeaderName = HeaderName::from_static("x-request-id");
/// Longest id that is taken from a client, bytes.
const ID_BYTES_MAX: usize = 128;

/// Middleware: names the request, logs it, and adds the headers that every answer has.
pub async fn tag<B: MessageBody>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, actix_web::Error> {
    let id = request
        .headers()
        .get(&HEADER)
        .filter(|given| is_fit(given))
        .cloned()
        .unwrap_or_else(generate);
    let span = info_span!("request", id = id.to_str().unwrap_or_default());
    let mut response = next.call(request).instrument(span.clone()).await?;
    span.in_scope(|| {
        let request = response.request();
        debug!(method = %request.method(), path = request.path(), status = response.status().as_u16(), "answered");
    });
    let headers = response.headers_mut();
    headers.insert(HEADER, id);
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
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
