//! An answer on its way to the client: passed on as it comes, and given up when the service falls silent.

use crate::keys::Key;
use crate::limits::Visit;
use actix_web::body::{BodySize, MessageBody};
use actix_web::web::Bytes;
use awc::ClientResponse;
use futures_util::Stream as _;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep};

/// The service broke off, or said nothing for too long. The client's connection is closed, so that it cannot take what it
/// has for the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum DownloadError {
    #[error("the service broke off in the middle of an answer")]
    Broken,
    #[error("the service fell silent in the middle of an answer")]
    Silent,
    #[error("the key was revoked in the middle of a response")]
    Revoked,
}

/// An answer's body. Holds the client's place until it has been sent.
pub(super) struct Download {
    answer: ClientResponse,
    size: BodySize,
    silence_max: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    is_waiting: bool,
    key: Option<Arc<Key>>,
    /// Made when there is nothing to send for the first time: most responses are here at once.
    revoked: Option<Pin<Box<dyn Future<Output = ()>>>>,
    _visit: Visit,
}

impl Download {
    pub(super) fn new(
        answer: ClientResponse,
        size: BodySize,
        silence_max: Duration,
        key: Option<Arc<Key>>,
        visit: Visit,
    ) -> Self {
        Self {
            answer,
            size,
            silence_max,
            timer: None,
            is_waiting: false,
            key,
            revoked: None,
            _visit: visit,
        }
    }

    /// Waits on: the time counts from when there was nothing to send.
    fn poll_silence(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let silence_max = self.silence_max;
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(sleep(silence_max)));
        if !self.is_waiting {
            self.is_waiting = true;
            timer.as_mut().reset(Instant::now() + silence_max);
        }
        timer.as_mut().poll(context)
    }
}

impl Download {
    /// Waits for the end of the key.
    fn poll_revoked(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(key) = &self.key else {
            return Poll::Pending;
        };
        let revoked = self.revoked.get_or_insert_with(|| Box::pin(key.revoked()));
        revoked.as_mut().poll(context)
    }
}

impl fmt::Debug for Download {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Download")
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

impl MessageBody for Download {
    type Error = DownloadError;

    fn size(&self) -> BodySize {
        self.size
    }

    fn poll_next(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, DownloadError>>> {
        let download = self.get_mut();
        if download.key.as_ref().is_some_and(|key| key.is_revoked()) {
            return Poll::Ready(Some(Err(DownloadError::Revoked)));
        }
        let Poll::Ready(chunk) = Pin::new(&mut download.answer).poll_next(context) else {
            if download.poll_revoked(context).is_ready() {
                return Poll::Ready(Some(Err(DownloadError::Revoked)));
            }
            ready!(download.poll_silence(context));
            return Poll::Ready(Some(Err(DownloadError::Silent)));
        };
        download.is_waiting = false;
        Poll::Ready(chunk.map(|chunk| chunk.map_err(|_| DownloadError::Broken)))
    }
}
