//! The span of a request: a child of the span in the client's `traceparent`, or the root of a new trace.

use crate::telemetry::Telemetry;
use actix_web::HttpMessage as _;
use actix_web::HttpRequest;
use actix_web::http::header::HeaderMap;
use sandpiper_domain::TraceContext;
use sandpiper_http_kit::trace_headers;

/// Returns the parent span that the headers name, if they are valid. More than one `traceparent` is invalid.
pub(super) fn parent_of(headers: &HeaderMap) -> Option<TraceContext> {
    let parent = trace_headers::parent(headers)?;
    let states: Vec<&str> = headers
        .get_all(trace_headers::STATE)
        .filter_map(|state| state.to_str().ok())
        .collect();
    let state = (!states.is_empty()).then(|| states.join(","));
    TraceContext::read(parent, state.as_deref())
}

/// Gives the request a span, under which the rest of the service knows the request. Returns the span and its parent, if
/// there is one.
pub(super) fn begin(
    telemetry: &Telemetry,
    request: &HttpRequest,
) -> (TraceContext, Option<TraceContext>) {
    let parent = parent_of(request.headers());
    let context = telemetry.below(parent.as_ref());
    request.extensions_mut().insert(context.clone());
    (context, parent)
}

/// Returns the span of the request, if it has one.
pub(super) fn of(request: &HttpRequest) -> Option<TraceContext> {
    request.extensions().get().cloned()
}
