//! A wrapper of the application that records in the connection when each request begins and ends.
//!
//! Three kinds of request are the last of their connection:
//!
//! - a chunked body. actix-http before 3.20.2 takes the bytes after `0\r\n\n` for a trailer, so that the next head is
//!   read as part of this request (CVE-2026-134342). A later request on the same connection is not served.
//! - `Upgrade: websocket`, for which the parser takes all later bytes for the body.
//! - any other `Connection: Upgrade`, which is ignored; the response would otherwise contain `connection: upgrade` too.

use crate::body::{ReadAhead, SharedPayload, WatchedBody, WatchedResponse};
use crate::connection::{ConnectionState, OpenRequest};
use actix_http::body::{BoxBody, EitherBody, MessageBody};
use actix_http::{ConnectionType, HttpMessage as _, Payload, Request, Response};
use actix_service::{Service, ServiceFactory};
use actix_web::http::header::{CONTENT_LENGTH, HeaderMap, TRANSFER_ENCODING, UPGRADE};
use pin_project_lite::pin_project;
use std::cell::RefCell;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use tokio::sync::OnceCell;

/// The factory of the wrapped application. Each thread gets one application, which all parts of its server share.
pub(crate) struct WatchedFactory<F: ServiceFactory<Request>, B> {
    shared: Rc<SharedFactory<F>>,
    body: PhantomData<B>,
}

struct SharedFactory<F: ServiceFactory<Request>> {
    factory: F,
    made: OnceCell<Rc<F::Service>>,
}

impl<F: ServiceFactory<Request>, B> WatchedFactory<F, B> {
    pub(crate) fn new(factory: F) -> Self {
        let made = OnceCell::new();
        Self {
            shared: Rc::new(SharedFactory { factory, made }),
            body: PhantomData,
        }
    }

    /// Returns the factory of the service for requests that wait for `100 Continue`.
    pub(crate) fn for_expectations(&self) -> ExpectationFactory<F, B> {
        ExpectationFactory(Self {
            shared: Rc::clone(&self.shared),
            body: PhantomData,
        })
    }
}

type LocalFuture<T> = Pin<Box<dyn Future<Output = T>>>;
type Made<F, B> = Result<
    Watched<<F as ServiceFactory<Request>>::Service, B>,
    <F as ServiceFactory<Request>>::InitError,
>;

impl<F, B> WatchedFactory<F, B>
where
    F: ServiceFactory<Request, Config = ()> + 'static,
{
    fn make(&self) -> LocalFuture<Made<F, B>> {
        let shared = Rc::clone(&self.shared);
        Box::pin(async move {
            let make = async || shared.factory.new_service(()).await.map(Rc::new);
            let service = Rc::clone(shared.made.get_or_try_init(make).await?);
            Ok(Watched {
                service,
                body: PhantomData,
            })
        })
    }
}

impl<F, B> ServiceFactory<Request> for WatchedFactory<F, B>
where
    F: ServiceFactory<Request, Config = (), Error = Response<BoxBody>> + 'static,
    F::Response: Into<Response<B>>,
    B: MessageBody + 'static,
{
    type Response = Response<WatchedResponse<EitherBody<B>>>;
    type Error = Response<BoxBody>;
    type Config = ();
    type Service = Watched<F::Service, B>;
    type InitError = F::InitError;
    type Future = LocalFuture<Result<Self::Service, F::InitError>>;

    fn new_service(&self, (): ()) -> Self::Future {
        self.make()
    }
}

/// The application of one thread.
pub(crate) struct Watched<S, B> {
    service: Rc<S>,
    body: PhantomData<B>,
}

impl<S, B> Service<Request> for Watched<S, B>
where
    S: Service<Request, Error = Response<BoxBody>>,
    S::Response: Into<Response<B>>,
    B: MessageBody,
{
    type Response = Response<WatchedResponse<EitherBody<B>>>;
    type Error = Response<BoxBody>;
    type Future = WatchedFuture<S::Future, B>;

    fn poll_ready(&self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.service.poll_ready(context)
    }

    fn call(&self, mut request: Request) -> Self::Future {
        let Some(connection) = request.conn_data::<Rc<ConnectionState>>().cloned() else {
            // Only tests call the application without a connection.
            return WatchedFuture::serve(
                self.service.call(request),
                None,
                None,
                Framing::Length(0),
            );
        };
        if connection.is_past_last() {
            return WatchedFuture::End;
        }
        let framing = Framing::of(&request);
        let open = connection.begin(framing.length());
        if framing.is_last() {
            connection.make_last();
        }
        let payload = watch(&mut request, &connection, framing);
        let served = self.service.call(request);
        WatchedFuture::serve(served, Some(open), payload, framing)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    Length(u64),
    Chunks,
    /// The parser takes all later bytes for the body, which has this length.
    Upgrade(u64),
    /// An upgrade that the parser ignores.
    OtherUpgrade(u64),
}

impl Framing {
    fn of(request: &Request) -> Self {
        let headers = request.headers();
        if headers.contains_key(TRANSFER_ENCODING) {
            return Self::Chunks;
        }
        let length = declared_length(headers);
        let is_websocket = |value: &[u8]| value.trim_ascii().eq_ignore_ascii_case(b"websocket");
        if headers
            .get_all(UPGRADE)
            .any(|value| is_websocket(value.as_bytes()))
        {
            Self::Upgrade(length)
        } else if request.head().upgrade() {
            Self::OtherUpgrade(length)
        } else {
            Self::Length(length)
        }
    }

    fn length(self) -> Option<u64> {
        match self {
            Self::Length(length) | Self::OtherUpgrade(length) => Some(length),
            Self::Chunks | Self::Upgrade(_) => None,
        }
    }

    fn is_last(self) -> bool {
        !matches!(self, Self::Length(_))
    }
}

/// Returns the declared length; 0 without one. The parser has rejected invalid lengths.
fn declared_length(headers: &HeaderMap) -> u64 {
    let length = headers.get(CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.trim().parse().ok());
    length.unwrap_or(0)
}

/// Wraps a body that needs extra handling. Returns the payload that the response must keep alive.
fn watch(
    request: &mut Request,
    connection: &Rc<ConnectionState>,
    framing: Framing,
) -> Option<SharedPayload> {
    let is_awaited = request.head().expect();
    if !is_awaited && matches!(framing, Framing::Length(_) | Framing::OtherUpgrade(_)) {
        return None;
    }
    let payload = Rc::new(RefCell::new(ReadAhead::new(request.take_payload())));
    *request.payload() = Payload::Stream {
        payload: Box::pin(WatchedBody {
            payload: Rc::clone(&payload),
            connection: Rc::clone(connection),
            is_awaited,
            left: match framing {
                Framing::Upgrade(length) => Some(length),
                _ => None,
            },
            chunks: match framing {
                Framing::Chunks => Some((connection.bytes_read(), 0)),
                _ => None,
            },
        }),
    };
    Some(payload)
}

pin_project! {
    #[project = WatchedFutureProjection]
    pub(crate) enum WatchedFuture<F: Future, B> {
        Serve {
            #[pin]
            future: F,
            // A response that waits until the server has parsed the request's body.
            early: Option<F::Output>,
            may_be_early: bool,
            // How many more times a chunked body is read ahead before the application is polled.
            reads_ahead: u8,
            open: Option<OpenRequest>,
            payload: Option<SharedPayload>,
            is_last: bool,
            body: PhantomData<B>,
        },
        // A request after the last one: the connection is closed without a response.
        End,
    }
}

impl<F: Future, B> WatchedFuture<F, B> {
    fn serve(
        future: F,
        open: Option<OpenRequest>,
        payload: Option<SharedPayload>,
        framing: Framing,
    ) -> Self {
        Self::Serve {
            future,
            early: None,
            may_be_early: matches!(framing, Framing::Length(1..)),
            reads_ahead: if framing == Framing::Chunks { 2 } else { 0 },
            open,
            payload,
            is_last: framing.is_last(),
            body: PhantomData,
        }
    }
}

impl<F, T, B> Future for WatchedFuture<F, B>
where
    F: Future<Output = Result<T, Response<BoxBody>>>,
    T: Into<Response<B>>,
    B: MessageBody,
{
    type Output = Result<Response<WatchedResponse<EitherBody<B>>>, Response<BoxBody>>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let WatchedFutureProjection::Serve {
            future,
            early,
            may_be_early,
            reads_ahead,
            open,
            payload,
            is_last,
            ..
        } = self.project()
        else {
            return Poll::Pending;
        };
        if *reads_ahead > 0 {
            *reads_ahead -= 1;
            let read_ahead = |payload: &SharedPayload| payload.borrow_mut().read_ahead(context);
            let has_body = payload.as_ref().is_none_or(read_ahead);
            if !has_body && *reads_ahead > 0 {
                // The server may have parsed the head alone. It parses the bytes behind the head before it polls again.
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            *reads_ahead = 0;
        }
        let may_be_early = std::mem::replace(may_be_early, false);
        let result = match early.take() {
            Some(result) => result,
            None => ready!(future.poll(context)),
        };
        if may_be_early
            && open
                .as_ref()
                .is_some_and(|open| open.state().has_whole_request())
        {
            // The server has not parsed the body yet, and would close the connection as if the body were missing.
            *early = Some(result);
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let served = match result {
            Ok(response) => response.into().map_body(|_, body| EitherBody::left(body)),
            Err(response) => response.map_body(|_, body| EitherBody::right(body)),
        };
        if let Some(open) = open {
            open.state().retract_continue();
        }
        let (open, payload) = (open.take(), payload.take());
        let mut response = served.map_body(|_, body| WatchedResponse::new(body, payload, open));
        if *is_last {
            response
                .head_mut()
                .set_connection_type(ConnectionType::Close);
        }
        Poll::Ready(Ok(response))
    }
}

pub(crate) struct ExpectationFactory<F: ServiceFactory<Request>, B>(WatchedFactory<F, B>);

impl<F, B> ServiceFactory<Request> for ExpectationFactory<F, B>
where
    F: ServiceFactory<Request, Config = (), Error = Response<BoxBody>> + 'static,
    F::Response: Into<Response<B>>,
    B: MessageBody + 'static,
{
    type Response = Request;
    type Error = Response<BoxBody>;
    type Config = ();
    type Service = Expectation<F::Service, B>;
    type InitError = F::InitError;
    type Future = LocalFuture<Result<Self::Service, F::InitError>>;

    fn new_service(&self, (): ()) -> Self::Future {
        let make = self.0.make();
        Box::pin(async move { Ok(Expectation(make.await?)) })
    }
}

/// The application, for requests with `Expect: 100-continue`.
///
/// The server calls this service first. It sends `100 Continue` if the service succeeds, and sends an error as the
/// final response. So this service never succeeds: it serves the request itself, and `100 Continue` is sent when the
/// body is first read. A request that is rejected by its head alone gets only the rejection.
pub(crate) struct Expectation<S, B>(Watched<S, B>);

impl<S, B> Service<Request> for Expectation<S, B>
where
    S: Service<Request, Error = Response<BoxBody>>,
    S::Response: Into<Response<B>>,
    B: MessageBody + 'static,
{
    type Response = Request;
    type Error = Response<BoxBody>;
    type Future = ExpectationFuture<S::Future, B>;

    fn poll_ready(&self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&self, request: Request) -> Self::Future {
        ExpectationFuture {
            future: self.0.call(request),
        }
    }
}

pin_project! {
    pub(crate) struct ExpectationFuture<F: Future, B> {
        #[pin]
        future: WatchedFuture<F, B>,
    }
}

impl<F, T, B> Future for ExpectationFuture<F, B>
where
    F: Future<Output = Result<T, Response<BoxBody>>>,
    T: Into<Response<B>>,
    B: MessageBody + 'static,
{
    type Output = Result<Request, Response<BoxBody>>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let served = ready!(self.project().future.poll(context));
        Poll::Ready(Err(match served {
            Ok(response) => response.map_into_boxed_body(),
            Err(response) => response,
        }))
    }
}
