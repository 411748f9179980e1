//! What every request meets, in this order: whether it may go on (`admission`), and then the service or a page.

use crate::admission::{API_KEY, Admitted, admit};
use crate::asker::Asker;
use crate::client::{Client, Trust};
use crate::cors::{self, Cors};
use crate::health::{self, Readiness};
use crate::keys::KeyRing;
use crate::limits::{Class, InFlight, Limits, Visit};
use crate::meters::Meters;
use crate::pages;
use crate::problem::{Code, Problem};
use crate::proxy::{Introduction, Upstream};
use crate::request_id;
use crate::sources::Sources;
use crate::target::{NoTarget, Target};
use crate::trace::Trace;
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS,
};
use actix_web::middleware::Next;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use sandpiper_http_kit::hosts::AllowedHosts;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use tracing::{Instrument as _, debug, info_span};

const JSON: &[u8] = b"application/json";
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// What all threads share.
#[derive(Debug)]
pub(crate) struct Door {
    /// Who may say who is asking.
    pub trust: Trust,
    /// The buckets.
    pub limits: Limits,
    /// What is open.
    pub in_flight: InFlight,
    /// Requests that one client may have open.
    pub requests_per_client: u32,
    /// The hosts that are answered where no key is needed.
    pub hosts: AllowedHosts,
    /// Origins whose pages may use the API.
    pub cors: Cors,
    /// The keys, if keys are needed.
    pub keys: Option<Arc<KeyRing>>,
    /// Where scripts may come from, if from anywhere.
    pub sources: Option<Sources>,
    /// Longest target of a request, bytes.
    pub url_bytes: usize,
    /// Longest head beside the target, bytes.
    pub header_bytes: usize,
    /// A public demonstration: nothing is listed.
    pub is_open: bool,
    /// The last answer of the service about its health.
    pub readiness: Readiness,
    /// It is being stopped.
    pub stopping: AtomicBool,
    /// What is counted.
    pub meters: Arc<Meters>,
    /// The share of traces beginning here that the service is asked to record.
    pub trace_ratio: f64,
}

/// Middleware: lets a request through to where it belongs, or refuses it.
pub(crate) async fn pass<B: MessageBody + 'static>(
    mut request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let door = door_of(request.request()).clone();
    let target = target_of(&request);
    let open = door.meters.begin(target);
    let id = request_id::take(&mut request);
    let trace = Trace::of(request.headers(), door.trace_ratio);
    let trace_id = trace.id.as_str();
    let span = info_span!("request", id = id.to_str().unwrap_or_default(), trace_id);
    let answered = async {
        match admit(&request, target) {
            Ok(admitted) => {
                trace.write(request.headers_mut());
                answer(request, admitted, next).await
            }
            Err(refused) => Ok(refused.into_response(request)),
        }
    };
    let mut response = answered.instrument(span.clone()).await?;
    span.in_scope(|| {
        let request = response.request();
        debug!(method = %request.method(), path = request.path(), status = response.status().as_u16(), "answered");
    });
    open.end(response.status());
    finish(&id, target, &mut response);
    Ok(response)
}

pub(crate) fn door_of(request: &HttpRequest) -> &Data<Door> {
    match request.app_data::<Data<Door>>() {
        Some(door) => door,
        None => unreachable!("every app is built with its door"),
    }
}

fn upstream_of(request: &HttpRequest) -> &Upstream {
    match request.app_data::<Upstream>() {
        Some(upstream) => upstream,
        None => unreachable!("every app is built with its way to the service"),
    }
}

/// What a request is for.
fn target_of(request: &ServiceRequest) -> Result<Target, NoTarget> {
    let target = Target::of(request.method(), request.uri())?;
    let is_api = matches!(target, Target::Api { .. });
    if is_api && cors::is_preflight(request.method(), request.headers()) {
        return Ok(Target::Preflight);
    }
    Ok(target)
}

async fn answer<B: MessageBody + 'static>(
    mut request: ServiceRequest,
    admitted: Admitted,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let mut response = match admitted.target {
        Target::Live => request.into_response(health::live()),
        Target::Ready => {
            let door = door_of(request.request());
            let stopping = door.stopping.load(Ordering::Relaxed);
            let upstream = upstream_of(request.request());
            let response = health::ready(&door.readiness, upstream, stopping).await;
            request.into_response(response)
        }
        Target::Page => pages::answer(request, next).await?,
        Target::Preflight => {
            let answered = door_of(request.request()).cors.answer(request.headers());
            request.into_response(answered.unwrap_or_else(Problem::into_response))
        }
        Target::Api { .. } => {
            // A key is for this door and no further.
            request.headers_mut().remove(API_KEY);
            request.headers_mut().remove(AUTHORIZATION);
            let (request, payload) = request.into_parts();
            let response = to_service(&request, payload, admitted.who, admitted.visit).await;
            ServiceResponse::new(request, response)
        }
    };
    if let Some(standing) = admitted.standing {
        standing.write(response.headers_mut());
    }
    Ok(response)
}

async fn to_service(
    request: &HttpRequest,
    payload: Payload,
    who: Introduction,
    visit: Option<Visit>,
) -> HttpResponse {
    let Some(visit) = visit else {
        unreachable!("whatever goes to the service has been counted");
    };
    let key = who.key.clone();
    let passed = pass_on(request, payload, who, visit);
    let passed = match key {
        None => passed.await,
        Some(key) => tokio::select! {
            passed = passed => passed,
            () = key.revoked() => Err(Problem::new(Code::Unauthorized, "this key was revoked while its request was open")),
        },
    };
    passed.unwrap_or_else(Problem::into_response)
}

async fn pass_on(
    request: &HttpRequest,
    payload: Payload,
    mut who: Introduction,
    visit: Visit,
) -> Result<HttpResponse, Problem> {
    let upstream = upstream_of(request);
    let mut upload = upstream.receive(request, payload).await?;
    if let (Some(sources), Some(upload)) = (&door_of(request).sources, &mut upload)
        && may_name_a_source(request)
    {
        let gathered = upload.gather().await;
        let body = gathered.map_err(|error| upstream.upload_problem(error))?;
        let (began, meters) = (Instant::now(), &door_of(request).meters);
        let found = sources.of_body(&body).await;
        if !matches!(found, Ok(None)) {
            meters.source.observe(began.elapsed());
            meters.source_ended(found.as_ref().err().map(Problem::code));
        }
        who.script = found?;
    }
    upstream.pass(request, upload, &who, visit).await
}

/// Execute and jobs with a JSON body.
fn may_name_a_source(request: &HttpRequest) -> bool {
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

/// What every answer has, whoever made it.
fn finish(
    id: &HeaderValue,
    target: Result<Target, NoTarget>,
    response: &mut ServiceResponse<BoxBody>,
) {
    let stopping = door_of(response.request()).stopping.load(Ordering::Relaxed);
    let is_api = matches!(target, Ok(Target::Api { .. } | Target::Preflight));
    if is_api && !door_of(response.request()).cors.origins().is_empty() {
        let request = response.request().clone();
        let cors = &door_of(&request).cors;
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

/// The address of whoever opened a connection, as a client of its own.
#[must_use]
pub(crate) fn client_of_connection(peer: IpAddr) -> Asker {
    Asker::Client(Client::of(peer))
}
