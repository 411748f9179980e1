//! The headers that every response carries, among them the id of the request.

use actix_web::http::header::{
    CACHE_CONTROL, HeaderMap, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS,
};
use sandpiper_http_kit::request_id::HEADER;
pub(super) use sandpiper_http_kit::request_id::of;

const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// Adds the headers that every response has.
pub(super) fn add_headers(id: HeaderValue, headers: &mut HeaderMap) {
    headers.insert(HEADER, id);
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Pages of other origins cannot embed a response as an image, a script or the like.
    headers.insert(RESOURCE_POLICY, HeaderValue::from_static("same-origin"));
}
