//! The reverse proxy: forwards one request to the service, with method, path, query and body unchanged.
//!
//! The host of the service is fixed by the options: only path and query of a request's target are used. `authorization`
//! has decided before that the request may be forwarded.

mod connect;
mod download;
mod headers;
mod upload;

use crate::in_flight::InFlightPermit;
use crate::keys::Key;
use crate::meters::{Meters, UpstreamFailure};
use crate::principal::Principal;
use crate::problem::{Code, Problem};
use crate::sources::CacheGuard;
use actix_web::body::{BodySize, BoxBody, None as NoBody};
use actix_web::dev::{Payload, fn_service};
use actix_web::http::header::{
    CONTENT_LENGTH, EXPECT, HOST, HeaderMap, HeaderValue, TRANSFER_ENCODING,
};
use actix_web::http::uri::{Authority, PathAndQuery, Scheme};
use actix_web::http::{Method, StatusCode, Uri};
use actix_web::{HttpRequest, HttpResponse};
use awc::error::{ConnectError, SendRequestError};
use awc::{Client, ClientRequest, ClientResponse};
use download::Download;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::Instant;
use tracing::{info, warn};
pub(crate) use upload::Upload;
use upload::UploadError;

/// Maximum idle time of a connection: shorter than at the service, so that the service never closes first.
const IDLE_TIMEOUT: Duration = Duration::from_secs(15);
/// Maximum age of a connection that is reused, so that new replicas of the service get their share. A connection in use
/// is not closed for its age.
const CONNECTION_LIFETIME: Duration = Duration::from_secs(10);

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
    /// Maximum open connections of one thread.
    pub connections_max: usize,
}

/// One thread's client of the service.
#[derive(Clone)]
pub(crate) struct Upstream {
    client: Client,
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
    /// The key, if the request has one. The request is ended when the key is revoked.
    pub key: Option<Arc<Key>>,
    /// The script that the request references. The guard keeps the script in the cache.
    pub script: Option<CacheGuard>,
}

impl std::fmt::Debug for Upstream {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Upstream")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl Upstream {
    /// Creates the client of one thread. All threads share `reached`.
    #[must_use]
    pub(crate) fn new(
        options: Arc<UpstreamOptions>,
        reached: Arc<AtomicBool>,
        meters: Arc<Meters>,
    ) -> Self {
        let connector = awc::Connector::new()
            .connector(fn_service(connect::connect))
            .timeout(options.connect_timeout)
            .limit(options.connections_max)
            .conn_keep_alive(IDLE_TIMEOUT)
            .conn_lifetime(CONNECTION_LIFETIME);
        let client = Client::builder()
            .connector(connector)
            .disable_redirects()
            .no_default_headers()
            .timeout(options.response_timeout)
            .finish();
        Self {
            client,
            options,
            reached,
            meters,
        }
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
        let is_repeatable =
            upload.is_none() && matches!(*request.method(), Method::GET | Method::HEAD);
        let began = Instant::now();
        let mut sent = self.send(request, context, upload).await;
        if is_repeatable && sent.as_ref().is_err_and(may_be_stale) {
            sent = self.send(request, context, None).await;
        }
        let is_reached = !matches!(sent, Err(ref error) if is_unreachable(error));
        self.record_reached(is_reached);
        match sent {
            Ok(received) => {
                self.meters.upstream.observe(began.elapsed());
                let mut response = self.response(request.method(), received, context, permit);
                headers::insert_script(context, response.headers_mut());
                Ok(response)
            }
            Err(error) => {
                if let Some(failure) = failure_of(&error) {
                    self.meters.upstream_failed(failure);
                }
                Err(self.problem(&error))
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
        let uri = self.uri(PathAndQuery::from_static("/api/health/ready"));
        let query = self.client.get(uri).timeout(TIMEOUT);
        let query = query.insert_header((HOST, headers::SERVICE_HOST));
        let sent = query.send().await;
        match sent {
            Ok(response) if response.status().is_success() => Ok(()),
            Ok(response) => Err(format!(
                "the service answers {}",
                response.status().as_u16()
            )),
            Err(SendRequestError::Timeout) => Err("the service does not answer in time".to_owned()),
            Err(_) => Err("the service cannot be reached".to_owned()),
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
    ) -> Result<ClientResponse, SendRequestError> {
        let path = request.uri().path_and_query().cloned();
        let uri = self.uri(path.unwrap_or(PathAndQuery::from_static("/")));
        let mut forwarded: ClientRequest = self
            .client
            .request(request.method().clone(), uri)
            .no_decompress();
        headers::copy_request(request.headers(), forwarded.headers_mut());
        headers::insert_context(context, forwarded.headers_mut());
        headers::hide_results(context, request.method(), forwarded.headers_mut());
        match upload {
            Some(upload) => {
                if upload.is_held_back() {
                    let expectation = HeaderValue::from_static("100-continue");
                    forwarded.headers_mut().insert(EXPECT, expectation);
                }
                forwarded.send_body(upload).await
            }
            // `send` would declare an empty body.
            None => forwarded.send_body(NoBody::new()).await,
        }
    }

    /// Returns the URI of a path at the configured host.
    fn uri(&self, path: PathAndQuery) -> Uri {
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
        method: &Method,
        received: ClientResponse,
        context: &ForwardingContext,
        permit: InFlightPermit,
    ) -> HttpResponse {
        let status = received.status();
        let mut response = HttpResponse::new(status);
        headers::copy_response(received.headers(), response.headers_mut());
        let has_no_body = *method == Method::HEAD
            || status == StatusCode::NO_CONTENT
            || status == StatusCode::NOT_MODIFIED;
        let size = match declared_length(received.headers()) {
            Some(length) => BodySize::Sized(length),
            None if has_no_body => BodySize::None,
            None => BodySize::Stream,
        };
        let key = context.key.clone();
        let download = Download::new(received, size, self.options.pause_max, key, permit);
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

    fn problem(&self, error: &SendRequestError) -> Problem {
        const SOON: Duration = Duration::from_secs(1);
        match error {
            SendRequestError::Body(error) => {
                let upload = error.downcast_ref().copied();
                self.upload_problem(upload.unwrap_or(UploadError::Broken))
            }
            SendRequestError::Timeout => Problem::new(
                Code::ServiceTimeout,
                format!(
                    "the service did not begin to answer within {} ms; what was asked of it may still happen",
                    self.options.response_timeout.as_millis()
                ),
            ),
            _ if is_unreachable(error) => Problem::new(
                Code::ServiceUnreachable,
                "no connection to the service could be opened; nothing was asked of it",
            )
            .retry_after(SOON),
            _ => Problem::new(
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

/// Returns the reason for which the service did not respond; `None` if the client's body did not arrive.
fn failure_of(error: &SendRequestError) -> Option<UpstreamFailure> {
    match error {
        SendRequestError::Body(_) => None,
        SendRequestError::Timeout => Some(UpstreamFailure::Timeout),
        _ if is_unreachable(error) => Some(UpstreamFailure::Unreachable),
        _ => Some(UpstreamFailure::Broken),
    }
}

/// Returns true if no connection could be opened, so that nothing was sent.
fn is_unreachable(error: &SendRequestError) -> bool {
    matches!(
        error,
        SendRequestError::Connect(
            ConnectError::Io(_)
                | ConnectError::Timeout
                | ConnectError::Resolver(_)
                | ConnectError::NoRecords
                | ConnectError::Unresolved
        )
    )
}

/// Returns true if the service may have closed an idle connection at the same moment, so that a new connection may
/// succeed.
fn may_be_stale(error: &SendRequestError) -> bool {
    matches!(
        error,
        SendRequestError::Send(_)
            | SendRequestError::Response(_)
            | SendRequestError::Connect(ConnectError::Disconnected)
    )
}
