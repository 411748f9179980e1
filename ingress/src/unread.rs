//! Answers to requests whose body was not read to its end.
//!
//! The HTTP server goes on reading a chunked body that nobody holds any more, for as long as it comes and without a
//! deadline: a client could keep its connection by sending a byte now and then. While the body is held it closes the
//! connection after the answer, within its own bound. So an answer holds the body that it does not read.

use actix_web::HttpResponse;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::Payload;
use actix_web::web::Bytes;
use futures_util::{FutureExt as _, StreamExt as _};
use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

/// A body that its reader and its answer hold together.
pub(crate) type SharedPayload = Rc<RefCell<Payload>>;

struct Unread {
    body: BoxBody,
    _payload: SharedPayload,
}

impl MessageBody for Unread {
    type Error = Box<dyn std::error::Error>;

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

/// An answer to a request whose body may not have been read. Where all of it is here already, which is the usual case, the
/// connection stays open.
pub(crate) async fn hold(response: HttpResponse, payload: SharedPayload) -> HttpResponse {
    if is_at_its_end(&payload) {
        return response;
    }
    // The server hands a request over before it looks at what came with it.
    tokio::task::yield_now().await;
    if is_at_its_end(&payload) {
        return response;
    }
    response.map_body(|_, body| {
        BoxBody::new(Unread {
            body,
            _payload: payload,
        })
    })
}

/// Takes what has arrived, and waits for nothing.
fn is_at_its_end(payload: &SharedPayload) -> bool {
    // More than this is not read for the sake of a connection.
    const CHUNKS_MAX: usize = 16;
    let mut payload = payload.borrow_mut();
    for _ in 0..CHUNKS_MAX {
        match payload.next().now_or_never() {
            Some(Some(Ok(_))) => {}
            Some(None) => return true,
            Some(Some(Err(_))) | None => return false,
        }
    }
    false
}
