//! Observes every request: request id, span, log line and metrics. The outermost middleware.

use super::Api;
use super::browser;
use super::budget;
use super::meters::OpenRequest;
use super::problem::{Code, Problem};
use super::request_id;
use super::routes::Route;
use super::trace;
use crate::telemetry::{Attribute, Span, SpanKind, Telemetry};
use actix_web::ResponseError as _;
use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::HeaderValue;
use actix_web::middleware::Next;
use actix_web::web::Data;
use sandpiper_domain::TraceContext;
use sandpiper_http_kit::path;
use std::time::{Instant, SystemTime};
use tracing::{Instrument as _, debug, info_span};

/// Gives the request an id and a span, rejects hosts and origins that are not allowed, logs and counts the request, and
/// adds the headers that every response has.
pub async fn observe<B: MessageBody>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, actix_web::Error> {
    let Some(api) = request.app_data::<Data<Api>>().cloned() else {
        // The service did not start and is about to end, so no handler has its state either.
        return Ok(next.call(request).await?.map_into_left_body());
    };
    let (open, started_at) = (api.meters.begin(), Instant::now());
    let telemetry = api.dispatcher.telemetry();
    let id = request_id::of(request.headers());
    let (context, parent) = trace::begin(telemetry, request.request());
    let span = info_span!(
        "request",
        id = id.to_str().unwrap_or_default(),
        trace_id = %context.trace_text()
    );
    let mut response = match check(&api, &request) {
        Ok(()) => {
            let served = next.call(request).instrument(span.clone()).await?;
            served.map_into_left_body()
        }
        Err(problem) => {
            let rejected = request.into_response(problem.error_response());
            rejected.map_into_right_body()
        }
    };
    span.in_scope(|| {
        let request = response.request();
        debug!(method = %request.method(), path = request.path(), status = response.status().as_u16(), "request answered");
    });
    let observed = RequestInProgress {
        open,
        started_at,
        context,
        parent,
    };
    observed.end(telemetry, &response, &id);
    budget::add_headers(&api, &mut response);
    request_id::add_headers(id, response.headers_mut());
    Ok(response)
}

/// Checks the parts of a request that are in its head.
fn check(api: &Api, request: &ServiceRequest) -> Result<(), Problem> {
    path::below_api(request.path())
        .map_err(|error| Problem::new(Code::InvalidPath, error.detail()))?;
    browser::check(api, request.method(), request.uri(), request.headers())
}

/// The data of a request in progress.
struct RequestInProgress<'a> {
    open: OpenRequest<'a>,
    started_at: Instant,
    context: TraceContext,
    parent: Option<TraceContext>,
}

impl RequestInProgress<'_> {
    fn end<B>(self, telemetry: &Telemetry, response: &ServiceResponse<B>, id: &HeaderValue) {
        let (request, status) = (response.request(), response.status());
        let (route, method) = (Route::of(request), request.method());
        let duration = self.started_at.elapsed();
        self.open.end(route, method, status, duration);
        if !telemetry.records(&self.context) {
            return;
        }
        let now = SystemTime::now();
        let id = id.to_str().unwrap_or_default().to_owned();
        telemetry.record(Span {
            context: self.context,
            parent: self.parent,
            name: format!("{method} {}", route.path()),
            kind: SpanKind::Server,
            started_at: now.checked_sub(duration).unwrap_or(now),
            duration,
            attributes: vec![
                ("http.request.method", Attribute::Text(method.to_string())),
                ("http.route", Attribute::Word(route.path())),
                (
                    "http.response.status_code",
                    Attribute::Number(status.as_u16().into()),
                ),
                ("sandpiper.request.id", Attribute::Text(id)),
            ],
            is_failure: status.is_server_error(),
        });
    }
}
