//! The body of a request on its way to the service, bounded in bytes and in time.
//!
//! A body is forwarded as it arrives, or buffered first if the ingress must read it. The HTTP client sends pieces of at
//! least eight kilobytes, and the rest at the end.

use actix_web::body::{BodySize, MessageBody};
use actix_web::dev::Payload;
use actix_web::web::{Bytes, BytesMut};
use futures_util::Stream as _;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::time::{Instant, Sleep, sleep_until};

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
    size: BodySize,
    room: u64,
    deadline: Instant,
    /// Created at the first wait.
    timer: Option<Pin<Box<Sleep>>>,
    /// The client waits for `100 Continue`, and the body has not been read yet.
    is_held_back: bool,
    /// The next poll by the HTTP client returns pending.
    skips_next_poll: bool,
}

impl Upload {
    /// `length` is the length that the client declares; `most` is the maximum, bytes.
    pub(super) fn new(payload: Payload, length: Option<u64>, most: u64, deadline: Instant) -> Self {
        Self {
            payload,
            first: None,
            size: length.map_or(BodySize::Stream, BodySize::Sized),
            room: most,
            deadline,
            timer: None,
            is_held_back: false,
            skips_next_poll: false,
        }
    }

    /// Leaves the body unread until the service asks for it. The HTTP client polls a body without a length once before
    /// it sends the head, so that poll returns pending.
    pub(super) fn hold_back(&mut self) {
        self.is_held_back = true;
        self.skips_next_poll = self.size == BodySize::Stream;
    }

    /// Returns whether the service has to ask for the body.
    pub(super) fn is_held_back(&self) -> bool {
        self.is_held_back
    }

    /// Waits for the first bytes, so that a client which sends none does not occupy the service.
    pub(super) async fn begin(&mut self) -> Result<(), UploadError> {
        match std::future::poll_fn(|context| self.poll_chunk(context)).await {
            None => self.size = BodySize::Sized(0),
            Some(chunk) => self.first = Some(chunk?),
        }
        Ok(())
    }

    /// Waits for the whole body and returns it. The body can still be forwarded afterwards.
    pub(crate) async fn buffer(&mut self) -> Result<Bytes, UploadError> {
        (self.is_held_back, self.skips_next_poll) = (false, false);
        let mut whole = BytesMut::new();
        let mut first = self.first.take();
        loop {
            let next = match first.take() {
                Some(chunk) => Some(Ok(chunk)),
                None => std::future::poll_fn(|context| self.poll_chunk(context)).await,
            };
            match next {
                Some(chunk) => whole.extend_from_slice(&chunk?),
                None => break,
            }
        }
        let whole = whole.freeze();
        self.size = BodySize::Sized(u64::try_from(whole.len()).unwrap_or(u64::MAX));
        self.first = Some(whole.clone());
        Ok(whole)
    }

    fn poll_chunk(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, UploadError>>> {
        let Poll::Ready(chunk) = Pin::new(&mut self.payload).poll_next(context) else {
            let deadline = self.deadline;
            let timer = self
                .timer
                .get_or_insert_with(|| Box::pin(sleep_until(deadline)));
            ready!(timer.as_mut().poll(context));
            return Poll::Ready(Some(Err(UploadError::TimedOut)));
        };
        Poll::Ready(chunk.map(|chunk| {
            let chunk = chunk.map_err(|_| UploadError::Broken)?;
            let length = u64::try_from(chunk.len()).unwrap_or(u64::MAX);
            self.room = self.room.checked_sub(length).ok_or(UploadError::TooLong)?;
            Ok(chunk)
        }))
    }
}

impl MessageBody for Upload {
    type Error = UploadError;

    fn size(&self) -> BodySize {
        self.size
    }

    fn poll_next(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, UploadError>>> {
        let upload = self.get_mut();
        if std::mem::take(&mut upload.skips_next_poll) {
            return Poll::Pending;
        }
        match upload.first.take() {
            Some(chunk) => Poll::Ready(Some(Ok(chunk))),
            None => upload.poll_chunk(context),
        }
    }
}
