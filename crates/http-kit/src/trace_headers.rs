//! The headers of W3C Trace Context.

use actix_web::http::header::{HeaderMap, HeaderName};

pub const PARENT: HeaderName = HeaderName::from_static("traceparent");
pub const STATE: HeaderName = HeaderName::from_static("tracestate");

/// Returns the value of `traceparent`. Repeated headers count as none, as the standard requires.
pub fn parent(headers: &HeaderMap) -> Option<&str> {
    let mut parents = headers.get_all(PARENT);
    let parent = parents.next()?;
    match parents.next() {
        None => parent.to_str().ok(),
        Some(_) => None,
    }
}
