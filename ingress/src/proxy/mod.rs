//! The way to the service and back: one request, its method, path, query and body as they came.
//!
//! The host is the operator's alone: of a request's target only path and query are taken. Not its own: who may pass (`door`).

mod connect;
mod download;
mod headers;
mod upload;

use crate::asker::Asker;
use crate::keys::Key;
use crate::limits::Visit;
use crate::meters::{Meters, UpstreamFailure};
use crate::problem::{Code, Problem};
use crate::sources::OnShelf;
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

/// Kept shorter than the service keeps idle connections, so that it is never the service that closes first.
const IDLE_CONNECTION_KEPT: Duration = Duration::from_secs(15);
/// Not used again when it is older, so that services that come later get their share; one in use is not closed for its age.
const CONNECTION_LIFETIME: Duration = Duration::from_secs(10);

/// How the service is reached.
#[derive(Debug, Clone)]
pub struct UpstreamOptions {
    /// Its host and port.
    pub authority: Authority,
    /// Longest that opening a connection may take.
    pub connect_timeout: Duration,
    /// Longest until the head of an answer.
    pub answer_timeout: Duration,
    /// Longest silence in the middle of an answer.
    pub silence_max: Duration,
    /// Longest body of a request, bytes.
    pub body_bytes: u64,
    /// Longest that it may take to arrive.
    pub body_timeout: Duration,
    /// Connections that one thread may have open.
    pub connections_max: usize,
}

/// The service, as one thread reaches it.
#[derive(Clone)]
pub(crate) struct Upstream {
    client: Client,
    options: Arc<UpstreamOptions>,
    /// Whether the last request reached it; shared by all threads, so that the log has each change once.
    reached: Arc<AtomicBool>,
    meters: Arc<Meters>,
}

/// Who asks, as the service is told.
#[derive(Debug)]
pub(crate) struct Introduction {
    /// Where from.
    pub address: IpAddr,
    /// Counted as whom.
    pub asker: Asker,
    /// Its key, if it has one. What is open ends when the key is revoked.
    pub key: Option<Arc<Key>>,
    /// The script that the request only points at. It stays in its folder while this lives.
    pub script: Option<OnShelf>,
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
    /// For one thread; `reached` is all threads' one.
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
            .conn_keep_alive(IDLE_CONNECTION_KEPT)
            .conn_lifetime(CONNECTION_LIFETIME);
        let client = Client::builder()
            .connector(connector)
            .disable_redirects()
            .no_default_headers()
            .timeout(options.answer_timeout)
            .finish();
        Self {
            client,
            options,
            reached,
            meters,
        }
    }

    /// Passes a request on. Whatever goes wrong is a [`Problem`], never an answer that looks like the service's.
    pub(crate) async fn pass(
        &self,
        request: &HttpRequest,
        upload: Option<Upload>,
        who: &Introduction,
        visit: Visit,
    ) -> Result<HttpResponse, Problem> {
        let is_repeatable =
            upload.is_none() && matches!(*request.method(), Method::GET | Method::HEAD);
        let began = Instant::now();
        let mut sent = self.send(request, who, upload).await;
        if is_repeatable && sent.as_ref().is_err_and(may_be_stale) {
            sent = self.send(request, who, None).await;
        }
        let is_reached = !matches!(sent, Err(ref error) if is_unreachable(error));
        self.note(is_reached);
        match sent {
            Ok(answer) => {
                self.meters.upstream.observe(began.elapsed());
                let mut response = self.answer(request.method(), answer, who, visit);
                headers::name_script(who, response.headers_mut());
                Ok(response)
            }
            Err(error) => {
                if let Some(why) = failure_of(&error) {
                    self.meters.upstream_failed(why);
                }
                Err(self.problem(&error))
            }
        }
    }

    /// Whether the service says that it is ready; if not, what it says or does not.
    pub(crate) async fn ready(&self) -> Result<(), String> {
        const WITHIN: Duration = Duration::from_secs(2);
        let uri = self.uri(PathAndQuery::from_static("/api/health/ready"));
        let asked = self.client.get(uri).timeout(WITHIN);
        let asked = asked.insert_header((HOST, headers::SERVICE_HOST));
        let sent = asked.send().await;
        match sent {
            Ok(answer) if answer.status().is_success() => Ok(()),
            Ok(answer) => Err(format!("the service answers {}", answer.status().as_u16())),
            Err(SendRequestError::Timeout) => Err("the service does not answer in time".to_owned()),
            Err(_) => Err("the service cannot be reached".to_owned()),
        }
    }

    /// The body, once its first bytes are here; `None` where there is none. The body of a client that waits for
    /// `100 Continue` is left alone: the service may refuse the request by its head.
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
        who: &Introduction,
        upload: Option<Upload>,
    ) -> Result<ClientResponse, SendRequestError> {
        let path = request.uri().path_and_query().cloned();
        let uri = self.uri(path.unwrap_or(PathAndQuery::from_static("/")));
        let mut passed: ClientRequest = self
            .client
            .request(request.method().clone(), uri)
            .no_decompress();
        headers::copy_request(request.headers(), passed.headers_mut());
        headers::introduce(who, passed.headers_mut());
        headers::hide_results(who, request.method(), passed.headers_mut());
        match upload {
            Some(upload) => {
                if upload.is_held_back() {
                    let expectation = HeaderValue::from_static("100-continue");
                    passed.headers_mut().insert(EXPECT, expectation);
                }
                passed.send_body(upload).await
            }
            // Not `send`, which says that there is a body of no bytes.
            None => passed.send_body(NoBody::new()).await,
        }
    }

    /// On the operator's host, whatever the request says.
    fn uri(&self, path: PathAndQuery) -> Uri {
        let uri = Uri::builder()
            .scheme(Scheme::HTTP)
            .authority(self.options.authority.clone())
            .path_and_query(path);
        // All three parts are valid already.
        uri.build().unwrap_or_default()
    }

    fn answer(
        &self,
        method: &Method,
        answer: ClientResponse,
        who: &Introduction,
        visit: Visit,
    ) -> HttpResponse {
        let status = answer.status();
        let mut response = HttpResponse::new(status);
        headers::copy_response(answer.headers(), response.headers_mut());
        let has_no_body = *method == Method::HEAD
            || status == StatusCode::NO_CONTENT
            || status == StatusCode::NOT_MODIFIED;
        let size = match declared_length(answer.headers()) {
            Some(length) => BodySize::Sized(length),
            None if has_no_body => BodySize::None,
            None => BodySize::Stream,
        };
        let key = who.key.clone();
        let download = Download::new(answer, size, self.options.silence_max, key, visit);
        response.set_body(BoxBody::new(download))
    }

    /// Says so once when the service goes, and once when it is back.
    fn note(&self, is_reached: bool) {
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
            info!(%service, "the service is reached again");
        } else {
            warn!(%service, "the service cannot be reached: is it running there? Requests are answered 502");
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
                    self.options.answer_timeout.as_millis()
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

/// Why the service did not answer; `None` where it is the client's body that did not come.
fn failure_of(error: &SendRequestError) -> Option<UpstreamFailure> {
    match error {
        SendRequestError::Body(_) => None,
        SendRequestError::Timeout => Some(UpstreamFailure::Timeout),
        _ if is_unreachable(error) => Some(UpstreamFailure::Unreachable),
        _ => Some(UpstreamFailure::Broken),
    }
}

/// Nothing was sent: there was no connection.
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

/// The connection was one that the service had just closed; on a new one it may go well.
fn may_be_stale(error: &SendRequestError) -> bool {
    matches!(
        error,
        SendRequestError::Send(_)
            | SendRequestError::Response(_)
            | SendRequestError::Connect(ConnectError::Disconnected)
    )
}
