//! The body of a response on its way to the client: forwarded as it arrives, aborted if the service pauses too long.

use super::upload::Rest;
use crate::in_flight::InFlightPermit;
use crate::keys::{Credential, CredentialEnd};
use actix_web::body::{BodySize, MessageBody};
use actix_web::web::Bytes;
use hyper::body::{Body as _, Incoming};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use std::{fmt, mem};
use tokio::time::{Instant, Sleep, sleep};

/// The body cannot be completed. The client's connection is closed, so that the client does not take a part for the
/// whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum DownloadError {
    #[error("the service closed the connection in the middle of a response")]
    Broken,
    #[error("the service paused too long in the middle of a response")]
    TimedOut,
    #[error("the key was revoked in the middle of a response")]
    Revoked,
    #[error("the key expired in the middle of a response")]
    Expired,
}

impl From<CredentialEnd> for DownloadError {
    fn from(end: CredentialEnd) -> Self {
        match end {
            CredentialEnd::Revoked => Self::Revoked,
            CredentialEnd::Expired => Self::Expired,
        }
    }
}

/// The body of a response. Holds the permit of the request until the body has been sent.
pub(super) struct Download {
    body: Incoming,
    size: BodySize,
    pause_max: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    is_waiting: bool,
    has_begun: bool,
    /// True while the server may hold the head or bytes of the body that it has not sent. An error would drop them with
    /// the connection.
    has_unsent: bool,
    /// The error that follows once the server has had time to send.
    failure: Option<DownloadError>,
    credential: Option<Credential>,
    /// The end of the credential. Created at the first wait: most bodies are complete at once.
    credential_end: Option<Pin<Box<dyn Future<Output = CredentialEnd>>>>,
    /// The rest of a request whose response came before its end. Dropped with the response and not before, because that
    /// closes the connection.
    _unread: Rest,
    _permit: InFlightPermit,
}

impl Download {
    pub(super) fn new(
        body: Incoming,
        unread: Rest,
        size: BodySize,
        pause_max: Duration,
        credential: Option<Credential>,
        permit: InFlightPermit,
    ) -> Self {
        Self {
            body,
            size,
            pause_max,
            timer: None,
            is_waiting: false,
            has_begun: false,
            has_unsent: true,
            failure: None,
            credential,
            credential_end: None,
            _unread: unread,
            _permit: permit,
        }
    }

    /// Returns ready once the service has sent nothing for `pause_max`.
    fn poll_pause(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let pause_max = self.pause_max;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(pause_max)));
        if !self.is_waiting {
            self.is_waiting = true;
            timer.as_mut().reset(Instant::now() + pause_max);
        }
        timer.as_mut().poll(context)
    }

    /// Ends the body with an error. Lets the server send first what it holds: it sends when a body is pending.
    fn fail(
        &mut self,
        error: DownloadError,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, DownloadError>>> {
        if !mem::take(&mut self.has_unsent) {
            return Poll::Ready(Some(Err(error)));
        }
        self.failure = Some(error);
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Returns ready once the key is not valid any more.
    fn poll_credential_end(&mut self, context: &mut Context<'_>) -> Poll<CredentialEnd> {
        let Some(credential) = &self.credential else {
            return Poll::Pending;
        };
        let end = (self.credential_end).get_or_insert_with(|| Box::pin(credential.end()));
        end.as_mut().poll(context)
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
        if let Some(failure) = download.failure.take() {
            return Poll::Ready(Some(Err(failure)));
        }
        let is_first = !mem::replace(&mut download.has_begun, true);
        // What the service has sent already is forwarded: a whole response often comes at once.
        let ended = download.credential.as_ref().and_then(Credential::ended);
        if let (Some(end), false) = (ended, is_first) {
            return download.fail(end.into(), context);
        }
        let Poll::Ready(frame) = Pin::new(&mut download.body).poll_frame(context) else {
            if let Poll::Ready(end) = download.poll_credential_end(context) {
                return download.fail(end.into(), context);
            }
            ready!(download.poll_pause(context));
            return download.fail(DownloadError::TimedOut, context);
        };
        download.is_waiting = false;
        match frame {
            None => Poll::Ready(None),
            // A frame that is no data has trailers, which are not forwarded.
            Some(Ok(frame)) => {
                download.has_unsent = true;
                Poll::Ready(Some(Ok(frame.into_data().unwrap_or_default())))
            }
            Some(Err(_)) => download.fail(DownloadError::Broken, context),
        }
    }
}
