//! Bodies in chunks that an answer did not wait for.
//!
//! The HTTP server reads a chunked body that nobody holds any more for as long as it comes, without a deadline: a client
//! that is refused could keep its connection by a byte now and then. While the body is held, the server closes the connection
//! after the answer. So the answer holds what was not read.

use actix_web::body::{BodySize, BoxBody, EitherBody, MessageBody};
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::error::PayloadError;
use actix_web::http::header::TRANSFER_ENCODING;
use actix_web::middleware::Next;
use actix_web::web::Bytes;
use actix_web::{HttpMessage as _, HttpResponse};
use futures_util::{FutureExt as _, Stream, StreamExt as _};
use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

/// A body that its reader and its answer hold together.
#[derive(Clone)]
struct Shared(Rc<RefCell<Payload>>);

impl Shared {
    /// Whether all of it is here already, and was taken. Waits for nothing.
    fn is_at_its_end(&self) -> bool {
        // More than this is not read for the sake of a connection.
        const CHUNKS_MAX: usize = 16;
        let mut payload = self.0.borrow_mut();
        for _ in 0..CHUNKS_MAX {
            match payload.next().now_or_never() {
                Some(Some(Ok(_))) => {}
                Some(None) => return true,
                Some(Some(Err(_))) | None => return false,
            }
        }
        false
    }
}

impl Stream for Shared {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.borrow_mut().poll_next_unpin(context)
    }
}

/// An answer that holds its request's body.
#[derive(Debug)]
pub struct Holding<B> {
    body: B,
    _payload: Held,
}

struct Held(#[allow(dead_code)] Shared); // held, not read

impl std::fmt::Debug for Held {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Held")
    }
}

impl<B: MessageBody + Unpin> MessageBody for Holding<B> {
    type Error = B::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.body).poll_next(context)
    }
}

/// A response to a request whose body nobody reads.
pub(super) async fn refuse(
    mut request: ServiceRequest,
    response: HttpResponse,
) -> ServiceResponse<BoxBody> {
    let payload = Shared(Rc::new(RefCell::new(request.take_payload())));
    if !payload.is_at_its_end() {
        tokio::task::yield_now().await;
        if !payload.is_at_its_end() {
            let held = response.map_body(|_, body| {
                BoxBody::new(Holding {
                    body,
                    _payload: Held(payload),
                })
            });
            return request.into_response(held);
        }
    }
    request.into_response(response)
}

/// Middleware: an answer to a chunked body that was not read to its end closes the connection.
pub async fn close<B: MessageBody + Unpin>(
    mut request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B, Holding<B>>>, actix_web::Error> {
    if !request.headers().contains_key(TRANSFER_ENCODING) {
        return Ok(next.call(request).await?.map_into_left_body());
    }
    let payload = Shared(Rc::new(RefCell::new(request.take_payload())));
    request.set_payload(Payload::Stream {
        payload: Box::pin(payload.clone()),
    });
    let response = next.call(request).await?;
    // Where all of it is here, which is the usual case, the connection stays open. The server hands a request over before
    // it looks at what came with it.
    if !payload.is_at_its_end() {
        tokio::task::yield_now().await;
        if !payload.is_at_its_end() {
            return Ok(response.map_body(|_, body| {
                EitherBody::right(Holding {
                    body,
                    _payload: Held(payload),
                })
            }));
        }
    }
    Ok(response.map_into_left_body())
}
