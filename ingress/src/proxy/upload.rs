//! The body of a request on its way to the service, bounded in bytes and in time.
//!
//! A body is forwarded as it arrives, or buffered first if the ingress must read it.

use actix_web::dev::Payload;
use actix_web::web::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use futures_util::future::{FutureExt as _, LocalBoxFuture, ready};
use hyper::body::{Frame, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Context, Poll};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, timeout_at};

/// Chunks that wait for the connection to the service.
const CHUNKS_MAX: usize = 2;

/// The body of a request could not be received.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UploadError {
    #[error("the body is longer than the maximum")]
    TooLong,
    #[error("the body did not arrive in time")]
    TimedOut,
    #[error("the body ended early or is not framed correctly")]
    Broken,
}

/// The body of a request, while it arrives.
pub(crate) struct Upload {
    payload: Payload,
    first: Option<Bytes>,
    length: Option<u64>,
    room: u64,
    deadline: Instant,
    /// The client waits for `100 Continue`, and the body has not been read yet.
    is_held_back: bool,
}

impl Upload {
    /// `length` is the length that the client declares; `most` is the maximum, bytes.
    pub(super) fn new(payload: Payload, length: Option<u64>, most: u64, deadline: Instant) -> Self {
        Self {
            payload,
            first: None,
            length,
            room: most,
            deadline,
            is_held_back: false,
        }
    }

    /// Leaves the body unread until the service asks for it.
    pub(super) fn hold_back(&mut self) {
        self.is_held_back = true;
    }

    /// Returns whether the service has to ask for the body.
    pub(super) fn is_held_back(&self) -> bool {
        self.is_held_back
    }

    /// Waits for the first bytes, so that a client which sends none does not occupy the service.
    pub(super) async fn begin(&mut self) -> Result<(), UploadError> {
        match self.next().await {
            None => self.length = Some(0),
            Some(chunk) => self.first = Some(chunk?),
        }
        Ok(())
    }

    /// Waits for the whole body and returns it. The body can still be forwarded afterwards.
    pub(crate) async fn buffer(&mut self) -> Result<Bytes, UploadError> {
        self.is_held_back = false;
        let mut whole = BytesMut::new();
        while let Some(chunk) = self.next().await {
            whole.extend_from_slice(&chunk?);
        }
        let whole = whole.freeze();
        self.length = Some(length_of(&whole));
        self.first = Some(whole.clone());
        Ok(whole)
    }

    async fn next(&mut self) -> Option<Result<Bytes, UploadError>> {
        if let Some(first) = self.first.take() {
            return Some(Ok(first));
        }
        match timeout_at(self.deadline, self.payload.next()).await {
            Err(_) => Some(Err(UploadError::TimedOut)),
            Ok(None) => None,
            Ok(Some(Err(_))) => Some(Err(UploadError::Broken)),
            Ok(Some(Ok(chunk))) => match self.room.checked_sub(length_of(&chunk)) {
                None => Some(Err(UploadError::TooLong)),
                Some(room) => {
                    self.room = room;
                    Some(Ok(chunk))
                }
            },
        }
    }

    /// Returns the body for the HTTP client, and the future that forwards what has not arrived yet. A body that is held
    /// back is forwarded once the service has `asked`.
    pub(super) fn into_body(mut self, asked: Arc<Notify>) -> (Body, Rest) {
        let mut body = Body {
            first: self.first.take(),
            rest: None,
            length: self.length,
        };
        if body.length == Some(body.first.as_deref().map_or(0, length_of)) {
            return (body, ready(()).boxed_local());
        }
        let (sender, rest) = mpsc::channel(CHUNKS_MAX);
        body.rest = Some(rest);
        let forward = async move {
            if self.is_held_back {
                asked.notified().await;
            }
            loop {
                let chunk = self.next().await.transpose();
                let is_last = !matches!(chunk, Ok(Some(_)));
                if sender.send(chunk).await.is_err() || is_last {
                    return;
                }
            }
        };
        (body, forward.boxed_local())
    }
}

/// The future that forwards the rest of a body. If it is dropped before its end, the request is broken off.
pub(super) type Rest = LocalBoxFuture<'static, ()>;

fn length_of(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

/// The body of a request to the service.
///
/// The payload of actix belongs to one thread and the HTTP client requires a body that does not, so chunks pass through
/// a channel. `Ok(None)` is the end of the body; a channel that closes without it is an error.
#[derive(Debug, Default)]
pub(super) struct Body {
    first: Option<Bytes>,
    rest: Option<mpsc::Receiver<Result<Option<Bytes>, UploadError>>>,
    pub(super) length: Option<u64>,
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = UploadError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        let Some(rest) = &mut self.rest else {
            return Poll::Ready(None);
        };
        let chunk = task::ready!(rest.poll_recv(context)).unwrap_or(Err(UploadError::Broken));
        Poll::Ready(chunk.map(|chunk| chunk.map(Frame::data)).transpose())
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.rest.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.length
            .map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
