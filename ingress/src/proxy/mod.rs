//! The reverse proxy: forwards one request to the service, with method, path, query and body unchanged.
//!
//! The host of the service is fixed by the options: only path and query of a request's target are used. `authorization`
//! has decided before that the request may be forwarded.

mod connect;
mod download;
mod headers;
mod upload;

use crate::in_flight::InFlightPermit;
use crate::keys::Credential;
use crate::meters::{Meters, UpstreamFailure};
use crate::principal::Principal;
use crate::problem::{Code, Problem};
use crate::sources::CacheGuard;
use actix_web::body::{BodySize, BoxBody};
use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_LENGTH, HeaderMap, TRANSFER_ENCODING};
use actix_web::{HttpRequest, HttpResponse};
use connect::Client;
use download::Download;
use futures_util::future::{Either, FutureExt as _, ready, select};
pub(crate) use headers::ServiceNotes;
use hyper::body::Incoming;
use hyper::header::{EXPECT, HOST, HeaderValue};
use hyper::http::uri::{Authority, Scheme};
use hyper::{Method, Request, Response, Uri};
use hyper_util::client::legacy;
use std::cell::RefCell;
use std::error::Error;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};
use tracing::{info, warn};
pub(crate) use upload::Upload;
use upload::{Body, Rest, UploadError};

/// Maximum age of a connection that is reused: shorter than the idle time at the service, so that the service never
/// closes first, and new replicas of the service get their share. A connection in use is not closed for its age.
const CONNECTION_LIFETIME: Duration = Duration::from_secs(10);

/// The reason for which there is no response of the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SendError {
    /// The body of the request did not arrive.
    Upload(UploadError),
    Service(UpstreamFailure),
}

impl From<legacy::Error> for SendError {
    fn from(error: legacy::Error) -> Self {
        if error.is_connect() {
            return Self::Service(UpstreamFailure::Unreachable);
        }
        let cause = error.source().and_then(<dyn Error>::source);
        let upload = cause.and_then(|cause| cause.downcast_ref().copied());
        upload.map_or(Self::Service(UpstreamFailure::Broken), Self::Upload)
    }
}

/// A response of the service, and what the service had not read of the request by then.
type Answer = (Response<Incoming>, Rest);

/// The settings of the connection to the service.
#[derive(Debug, Clone)]
pub struct UpstreamOptions {
    /// Host and port of the service.
    pub authority: Authority,
    /// Maximum time to connect.
    pub connect_timeout: Duration,
    /// Maximum time until the head of a response.
    pub response_timeout: Duration,
    /// Maximum pause within a response.
    pub pause_max: Duration,
    /// Maximum body of a request, bytes.
    pub body_bytes: u64,
    /// Maximum time for the body of a request to arrive.
    pub body_timeout: Duration,
    /// Maximum idle connections of one thread that are kept for later requests.
    pub connections_max: usize,
}

/// One thread's client of the service.
#[derive(Debug, Clone)]
pub(crate) struct Upstream {
    /// The client, and the moment from which it is used. Replaced with its connections at the end of their lifetime.
    client: Rc<RefCell<(Instant, Client)>>,
    options: Arc<UpstreamOptions>,
    /// True if the last request reached the service. All threads share the flag, so that each change is logged once.
    reached: Arc<AtomicBool>,
    meters: Arc<Meters>,
}

/// The facts about a request that the ingress adds when it forwards the request.
#[derive(Debug)]
pub(crate) struct ForwardingContext {
    /// The address of the client.
    pub address: IpAddr,
    /// The principal that the request counts for.
    pub principal: Principal,
    /// The key, if the request has one. The request is ended when the key is not valid any more.
    pub credential: Option<Credential>,
    /// True if the ingress has keys and the request came without one.
    pub lacks_key: bool,
    /// The tenant that the request names, if a key has it.
    pub known_tenant: Option<String>,
    /// The script that the request references. The guard keeps the script in the cache.
    pub script: Option<CacheGuard>,
}

impl Upstream {
    /// Creates the client of one thread. All threads share `reached`.
    #[must_use]
    pub(crate) fn new(
        options: Arc<UpstreamOptions>,
        reached: Arc<AtomicBool>,
        meters: Arc<Meters>,
    ) -> Self {
        Self {
            client: Rc::new(RefCell::new((Instant::now(), connect::client(&options)))),
            options,
            reached,
            meters,
        }
    }

    fn client(&self) -> Client {
        let mut current = self.client.borrow_mut();
        if current.0.elapsed() >= CONNECTION_LIFETIME {
            *current = (Instant::now(), connect::client(&self.options));
        }
        current.1.clone()
    }

    /// Forwards a request and returns the response of the service.
    ///
    /// # Errors
    ///
    /// The service cannot be reached or does not respond in time, or the body of the request does not arrive.
    pub(crate) async fn forward(
        &self,
        request: &HttpRequest,
        upload: Option<Upload>,
        context: &ForwardingContext,
        permit: InFlightPermit,
    ) -> Result<HttpResponse, Problem> {
        let is_repeatable = upload.is_none() && matches!(request.method().as_str(), "GET" | "HEAD");
        let began = Instant::now();
        let mut sent = self.send(request, context, upload).await;
        // The service may have closed an idle connection at the same moment, so a new connection may succeed.
        if is_repeatable && matches!(sent, Err(SendError::Service(UpstreamFailure::Broken))) {
            sent = self.send(request, context, None).await;
        }
        self.record_reached(!matches!(
            sent,
            Err(SendError::Service(UpstreamFailure::Unreachable))
        ));
        match sent {
            Ok(received) => {
                self.meters.upstream.observe(began.elapsed());
                let mut response = self.response(request, received, context, permit);
                headers::insert_script(context, response.headers_mut());
                Ok(response)
            }
            Err(error) => {
                if let SendError::Service(failure) = error {
                    self.meters.upstream_failed(failure);
                }
                Err(self.problem(error))
            }
        }
    }

    /// Queries the readiness of the service.
    ///
    /// # Errors
    ///
    /// The reason, in words, for which the service is not ready.
    pub(crate) async fn ready(&self) -> Result<(), String> {
        const TIMEOUT: Duration = Duration::from_secs(2);
        let mut query = Request::new(Body::default());
        *query.uri_mut() = self.uri("/api/health/ready");
        query.headers_mut().insert(HOST, headers::SERVICE_HOST);
        match timeout(TIMEOUT, self.client().request(query)).await {
            Ok(Ok(response)) if response.status().is_success() => Ok(()),
            Ok(Ok(response)) => Err(format!(
                "the service answers {}",
                response.status().as_u16()
            )),
            Err(_) => Err("the service does not answer in time".to_owned()),
            Ok(Err(_)) => Err("the service cannot be reached".to_owned()),
        }
    }

    /// Waits for the first bytes of the body and returns the body; `None` if the request has none.
    ///
    /// The body of a client that waits for `100 Continue` is left unread: the service may reject the request by its
    /// head.
    pub(crate) async fn receive(
        &self,
        request: &HttpRequest,
        payload: Payload,
    ) -> Result<Option<Upload>, Problem> {
        let length = declared_length(request.headers());
        if length == Some(0)
            || (length.is_none() && !request.headers().contains_key(TRANSFER_ENCODING))
        {
            return Ok(None);
        }
        if length.is_some_and(|length| length > self.options.body_bytes) {
            return Err(self.upload_problem(UploadError::TooLong));
        }
        let deadline = Instant::now() + self.options.body_timeout;
        let mut upload = Upload::new(payload, length, self.options.body_bytes, deadline);
        if request.head().expect() {
            upload.hold_back();
        } else {
            let begun = upload.begin().await;
            begun.map_err(|error| self.upload_problem(error))?;
        }
        Ok(Some(upload))
    }

    async fn send(
        &self,
        request: &HttpRequest,
        context: &ForwardingContext,
        upload: Option<Upload>,
    ) -> Result<Answer, SendError> {
        let path = request.uri().path_and_query();
        let mut forwarded = Request::new(Body::default());
        *forwarded.uri_mut() = self.uri(path.map_or("/", |path| path.as_str()));
        *forwarded.method_mut() = Method::from_bytes(request.method().as_str().as_bytes())
            .map_err(|_| SendError::Service(UpstreamFailure::Broken))?;
        headers::copy_request(request.headers(), forwarded.headers_mut());
        headers::insert_context(context, forwarded.headers_mut());
        headers::hide_results(context, forwarded.method().clone(), forwarded.headers_mut());
        let mut rest = ready(()).boxed_local();
        if let Some(upload) = upload {
            let asked = Arc::new(Notify::new());
            if upload.is_held_back() {
                let expectation = HeaderValue::from_static("100-continue");
                forwarded.headers_mut().insert(EXPECT, expectation);
                let asked = Arc::clone(&asked);
                hyper::ext::on_informational(&mut forwarded, move |response| {
                    if response.status() == hyper::StatusCode::CONTINUE {
                        asked.notify_one();
                    }
                });
            }
            let body;
            (body, rest) = upload.into_body(asked);
            if body.length.is_none() {
                // Without it, the HTTP client would send no body with some methods.
                let chunked = HeaderValue::from_static("chunked");
                (forwarded.headers_mut()).insert(hyper::header::TRANSFER_ENCODING, chunked);
            }
            *forwarded.body_mut() = body;
        }
        let sent = async {
            match select(self.client().request(forwarded), rest).await {
                Either::Left((response, unread)) => Ok((response?, unread)),
                Either::Right(((), response)) => Ok((response.await?, ready(()).boxed_local())),
            }
        };
        let late = Err(SendError::Service(UpstreamFailure::Timeout));
        timeout(self.options.response_timeout, sent)
            .await
            .unwrap_or(late)
    }

    /// Returns the URI of a path at the configured host.
    fn uri(&self, path: &str) -> Uri {
        let uri = Uri::builder()
            .scheme(Scheme::HTTP)
            .authority(self.options.authority.clone())
            .path_and_query(path);
        // All three parts are valid, so the result is too.
        uri.build().unwrap_or_default()
    }

    /// Converts the response of the service into the response to the client.
    fn response(
        &self,
        request: &HttpRequest,
        (received, unread): Answer,
        context: &ForwardingContext,
        permit: InFlightPermit,
    ) -> HttpResponse {
        let (head, body) = received.into_parts();
        let status = StatusCode::from_u16(head.status.as_u16()).unwrap_or_default();
        let mut response = HttpResponse::new(status);
        headers::copy_response(&head.headers, response.headers_mut());
        if let Some(notes) = ServiceNotes::of(&head.headers) {
            response.extensions_mut().insert(notes);
        }
        let has_no_body = request.method().as_str() == "HEAD"
            || status == StatusCode::NO_CONTENT
            || status == StatusCode::NOT_MODIFIED;
        let length = head.headers.get(hyper::header::CONTENT_LENGTH);
        let size = match length.and_then(|length| length.to_str().ok()?.parse().ok()) {
            Some(length) => BodySize::Sized(length),
            None if has_no_body => BodySize::None,
            None => BodySize::Stream,
        };
        let credential = context.credential.clone();
        let pause_max = self.options.pause_max;
        let download = Download::new(body, unread, size, pause_max, credential, permit);
        response.set_body(BoxBody::new(download))
    }

    /// Records whether the service was reached, and logs each change once.
    fn record_reached(&self, is_reached: bool) {
        if self.reached.load(Ordering::Relaxed) == is_reached {
            return;
        }
        if self.reached.swap(is_reached, Ordering::Relaxed) == is_reached {
            return;
        }
        let lost = usize::from(!is_reached);
        self.meters.upstream_lost.store(lost, Ordering::Relaxed);
        let service = &self.options.authority;
        if is_reached {
            info!(%service, "the service can be reached again");
        } else {
            warn!(%service, "the service cannot be reached; requests get a 502 until it is back. Check that it runs at this address (--api-host, --api-port)");
        }
    }

    fn problem(&self, error: SendError) -> Problem {
        const SOON: Duration = Duration::from_secs(1);
        match error {
            SendError::Upload(error) => self.upload_problem(error),
            SendError::Service(UpstreamFailure::Timeout) => Problem::new(
                Code::ServiceTimeout,
                format!(
                    "the service did not begin to answer within {} ms; what was asked of it may still happen",
                    self.options.response_timeout.as_millis()
                ),
            ),
            SendError::Service(UpstreamFailure::Unreachable) => Problem::new(
                Code::ServiceUnreachable,
                "no connection to the service could be opened; nothing was asked of it",
            )
            .retry_after(SOON),
            SendError::Service(UpstreamFailure::Broken) => Problem::new(
                Code::ServiceUnreachable,
                "the service broke off before it answered; what was asked of it may have happened",
            )
            .retry_after(SOON),
        }
    }

    /// Returns the problem for a body that did not arrive.
    pub(crate) fn upload_problem(&self, error: UploadError) -> Problem {
        let options = &self.options;
        match error {
            UploadError::TooLong => Problem::new(
                Code::BodyTooLarge,
                format!("the body is longer than {} bytes", options.body_bytes),
            ),
            UploadError::TimedOut => Problem::new(
                Code::BodyTimeout,
                format!(
                    "the body did not arrive within {} ms",
                    options.body_timeout.as_millis()
                ),
            ),
            UploadError::Broken => Problem::new(
                Code::InvalidBody,
                "the body broke off, or is not framed as its headers say",
            ),
        }
    }
}

fn declared_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
