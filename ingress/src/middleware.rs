//! The middleware that handles every request: `authorization` decides whether the request goes on, then the service or
//! a page responds.

use crate::audit::OpenRecord;
use crate::authorization::{API_KEY, Authorized, authorize};
use crate::cors;
use crate::gateway::Gateway;
use crate::health;
use crate::in_flight::InFlightPermit;
use crate::keys::{CredentialEnd, Key};
use crate::limits::Class;
use crate::pages;
use crate::problem::{Code, Problem};
use crate::proxy::{ForwardingContext, Upstream};
use crate::target::{Target, TargetError};
use crate::trace::Trace;
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS,
};
use actix_web::middleware::Next;
use actix_web::{HttpRequest, HttpResponse};
use sandpiper_http_kit::request_id;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;
use tracing::{Instrument as _, debug, field, info_span};

const JSON: &[u8] = b"application/json";
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// Handles a request: forwards it to the service, serves a page, or rejects it.
///
/// Every response carries `X-Request-ID`, `X-Content-Type-Options` and `Cross-Origin-Resource-Policy`.
pub(crate) async fn handle<B: MessageBody + 'static>(
    mut request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let gateway = Gateway::of(request.request()).clone();
    let target = target_of(&request);
    let open_request = gateway.meters.begin(target);
    let id = request_id::of(request.headers());
    request.headers_mut().insert(request_id::HEADER, id.clone());
    let mut record = OpenRecord::of(&request, target, &id);
    let trace = Trace::of(request.headers(), gateway.trace_ratio);
    let trace_id = trace.id.as_str();
    let span = info_span!("request", id = id.to_str().unwrap_or_default(), trace_id);
    let mut key = None;
    let responded = async {
        match authorize(&request, target) {
            Ok(authorized) => {
                let credential = authorized.context.credential.as_ref();
                key = credential.map(|credential| Arc::clone(&credential.key));
                if let Some(record) = &mut record {
                    record.set_key(key.as_ref());
                }
                trace.write(request.headers_mut());
                respond(request, authorized, next).await
            }
            Err(rejected) => {
                key = rejected.key().cloned();
                if let Some(record) = &mut record {
                    record.set_key(key.as_ref());
                }
                Ok(rejected.into_response(request))
            }
        }
    };
    let mut response = responded.instrument(span.clone()).await?;
    span.in_scope(|| log_completed(&response, key.as_deref()));
    open_request.end(response.status());
    if let Some(mut record) = record {
        record.set_response(response.response());
    }
    finish(&id, target, &mut response);
    Ok(response)
}

/// Logs a request with its response, and the id and the name of its key.
fn log_completed(response: &ServiceResponse<BoxBody>, key: Option<&Key>) {
    let request = response.request();
    let extensions = response.response().extensions();
    debug!(
        method = %request.method(),
        path = request.path(),
        status = response.status().as_u16(),
        code = extensions.get::<Code>().map(|code| code.name()),
        key = key.map(|key| field::display(key.id())),
        key_name = key.map(Key::name),
        tenant = key.map(Key::owner),
        "request completed"
    );
}

fn upstream_of(request: &HttpRequest) -> &Upstream {
    match request.app_data::<Upstream>() {
        Some(upstream) => upstream,
        None => unreachable!("every app is built with its upstream"),
    }
}

/// Returns the target of a request. An `OPTIONS` request of a browser to the API is a preflight.
fn target_of(request: &ServiceRequest) -> Result<Target, TargetError> {
    let target = Target::of(request.method(), request.uri())?;
    let is_api = matches!(target, Target::Api { .. });
    if is_api && cors::is_preflight(request.method(), request.headers()) {
        return Ok(Target::Preflight);
    }
    Ok(target)
}

async fn respond<B: MessageBody + 'static>(
    mut request: ServiceRequest,
    authorized: Authorized,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let mut response = match authorized.target {
        Target::Live => request.into_response(health::live()),
        Target::Ready => {
            let gateway = Gateway::of(request.request());
            let stopping = gateway.stopping.load(Ordering::Relaxed);
            let upstream = upstream_of(request.request());
            let response = health::ready(&gateway.readiness, upstream, stopping).await;
            request.into_response(response)
        }
        Target::Page => pages::serve(request, next).await?,
        Target::Preflight => {
            let permission = Gateway::of(request.request())
                .cors
                .preflight(request.headers());
            request.into_response(permission.unwrap_or_else(Problem::into_response))
        }
        Target::Api { .. } => {
            // Keys are checked here and never forwarded.
            request.headers_mut().remove(API_KEY);
            request.headers_mut().remove(AUTHORIZATION);
            let (request, payload) = request.into_parts();
            let response = forward_while_key_is_valid(
                &request,
                payload,
                authorized.context,
                authorized.permit,
            )
            .await;
            ServiceResponse::new(request, response)
        }
    };
    if let Some(rate_limit) = authorized.rate_limit {
        rate_limit.write(response.headers_mut());
    }
    Ok(response)
}

/// Forwards a request to the service. Stops with 401 if the key of the request is revoked or expires meanwhile. The code
/// differs from that of a request which was never forwarded, because only that one is safe to repeat.
async fn forward_while_key_is_valid(
    request: &HttpRequest,
    payload: Payload,
    context: ForwardingContext,
    permit: Option<InFlightPermit>,
) -> HttpResponse {
    let Some(permit) = permit else {
        unreachable!("every request to the API holds a permit");
    };
    let credential = context.credential.clone();
    let forwarded = forward(request, payload, context, permit);
    let forwarded = match credential {
        None => forwarded.await,
        Some(credential) => tokio::select! {
            forwarded = forwarded => forwarded,
            end = credential.end() => Err(Problem::new(Code::KeyEnded, match end {
                CredentialEnd::Revoked => "this key was revoked while its request was open; what was asked for may have happened",
                CredentialEnd::Expired => "this key expired while its request was open; what was asked for may have happened",
            })),
        },
    };
    forwarded.unwrap_or_else(Problem::into_response)
}

/// Forwards a request to the service, after fetching the script that its body references.
async fn forward(
    request: &HttpRequest,
    payload: Payload,
    mut context: ForwardingContext,
    permit: InFlightPermit,
) -> Result<HttpResponse, Problem> {
    let upstream = upstream_of(request);
    let mut upload = upstream.receive(request, payload).await?;
    if let (Some(sources), Some(upload)) = (&Gateway::of(request).sources, &mut upload)
        && may_reference_script(request)
    {
        let buffered = upload.buffer().await;
        let body = buffered.map_err(|error| upstream.upload_problem(error))?;
        let (began, meters) = (Instant::now(), &Gateway::of(request).meters);
        let fetched = sources.script_of_body(&body).await;
        if !matches!(fetched, Ok(None)) {
            meters.source.observe(began.elapsed());
            meters.count_source(fetched.as_ref().err().map(Problem::code));
        }
        context.script = fetched?;
    }
    upstream.forward(request, upload, &context, permit).await
}

/// Returns true for requests that run code and have a JSON body: only those may have a `source`.
fn may_reference_script(request: &HttpRequest) -> bool {
    let runs_code = matches!(
        Target::of(request.method(), request.uri()),
        Ok(Target::Api {
            class: Class::Run,
            ..
        })
    );
    let content_type = request.headers().get(CONTENT_TYPE);
    let is_json = content_type.is_some_and(|content_type| {
        let essence = content_type.as_bytes().split(|byte| *byte == b';').next();
        essence.is_some_and(|essence| essence.trim_ascii().eq_ignore_ascii_case(JSON))
    });
    request.method() == Method::POST && runs_code && is_json
}

/// Adds the headers that every response carries.
fn finish(
    id: &HeaderValue,
    target: Result<Target, TargetError>,
    response: &mut ServiceResponse<BoxBody>,
) {
    let stopping = Gateway::of(response.request())
        .stopping
        .load(Ordering::Relaxed);
    let is_api = matches!(target, Ok(Target::Api { .. } | Target::Preflight));
    if is_api && !Gateway::of(response.request()).cors.origins().is_empty() {
        let request = response.request().clone();
        let cors = &Gateway::of(&request).cors;
        cors.write(request.headers(), response.headers_mut());
    }
    let headers = response.headers_mut();
    headers.insert(RESOURCE_POLICY, HeaderValue::from_static("same-origin"));
    headers.insert(request_id::HEADER, id.clone());
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if stopping {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
}
