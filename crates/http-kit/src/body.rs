//! Request bodies that need extra handling, and response bodies that record the end of their request.

use crate::connection::{ConnectionState, OpenRequest};
use actix_http::Payload;
use actix_http::body::{BodySize, MessageBody};
use actix_http::error::PayloadError;
use actix_web::web::Bytes;
use futures_core::Stream;
use pin_project_lite::pin_project;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

/// Bytes that a chunked body may have beside its data: the parser's unparsed buffer, and some room.
const FRAMING_BYTES_MIN: u64 = 256 * 1024;
/// Further framing bytes for each byte of data. A client that sends each byte in a chunk of its own sends six.
const FRAMING_BYTES_PER_BYTE: u64 = 8;

/// A payload that its reader and its response share.
///
/// The server reads a dropped chunked body until its end, without a deadline. While the payload is alive, the server
/// closes the connection after the response instead.
pub(crate) type SharedPayload = Rc<RefCell<ReadAhead>>;

/// A payload whose parsed chunks can be taken before its reader asks for them.
///
/// The parser reports an error behind the data before it. The reader gets the error first: a request with a broken body is
/// rejected, and the server closes the connection without waiting for anything else that the reader does with the data.
pub(crate) struct ReadAhead {
    payload: Payload,
    chunks: VecDeque<Bytes>,
    error: Option<PayloadError>,
    has_ended: bool,
}

impl ReadAhead {
    pub(crate) fn new(payload: Payload) -> Self {
        Self {
            payload,
            chunks: VecDeque::new(),
            error: None,
            has_ended: false,
        }
    }

    /// Takes everything that the parser has reported. Returns true if there is anything for the reader.
    pub(crate) fn read_ahead(&mut self, context: &mut Context<'_>) -> bool {
        while !self.has_ended && self.error.is_none() {
            match Pin::new(&mut self.payload).poll_next(context) {
                Poll::Pending => break,
                Poll::Ready(None) => self.has_ended = true,
                Poll::Ready(Some(Ok(chunk))) => self.chunks.push_back(chunk),
                Poll::Ready(Some(Err(error))) => self.error = Some(error),
            }
        }
        self.has_ended || self.error.is_some() || !self.chunks.is_empty()
    }

    fn poll_next(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, PayloadError>>> {
        if let Some(error) = self.error.take() {
            self.chunks.clear();
            return Poll::Ready(Some(Err(error)));
        }
        if let Some(chunk) = self.chunks.pop_front() {
            return Poll::Ready(Some(Ok(chunk)));
        }
        if self.has_ended {
            return Poll::Ready(None);
        }
        Pin::new(&mut self.payload).poll_next(context)
    }
}

/// The body of a request that asks for `100 Continue`, that is chunked, or whose end the parser does not find.
pub(crate) struct WatchedBody {
    pub(crate) payload: SharedPayload,
    pub(crate) connection: Rc<ConnectionState>,
    /// The client waits for `100 Continue`.
    pub(crate) is_awaited: bool,
    /// Bytes to come, where the parser reads beyond the body.
    pub(crate) left: Option<u64>,
    /// For a chunked body: the bytes that the connection had read at the head, and the data bytes since.
    pub(crate) chunks: Option<(u64, u64)>,
}

impl WatchedBody {
    fn poll_payload(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, PayloadError>>> {
        let polled = self.payload.borrow_mut().poll_next(context);
        if polled.is_pending() && self.is_awaited {
            self.connection.send_continue();
        }
        // A client that has sent a part of its body does not wait for `100 Continue`.
        self.is_awaited = false;
        polled
    }

    /// Returns true if chunk sizes, extensions and trailers exceed the bytes that the data justifies.
    fn is_mostly_framing(&self) -> bool {
        self.chunks.is_some_and(|(read_before, data)| {
            let read = self.connection.bytes_read().saturating_sub(read_before);
            let most = data
                .saturating_mul(1 + FRAMING_BYTES_PER_BYTE)
                .saturating_add(FRAMING_BYTES_MIN);
            read > most
        })
    }
}

impl Stream for WatchedBody {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let body = self.get_mut();
        if body.left == Some(0) {
            return Poll::Ready(None);
        }
        let Poll::Ready(item) = body.poll_payload(context) else {
            if body.is_mostly_framing() {
                return Poll::Ready(Some(Err(PayloadError::EncodingCorrupted)));
            }
            return Poll::Pending;
        };
        let Some(Ok(mut chunk)) = item else {
            return Poll::Ready(item);
        };
        if let Some(left) = &mut body.left {
            chunk.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
            *left -= u64::try_from(chunk.len()).unwrap_or(*left);
        }
        if let Some((_, data)) = &mut body.chunks {
            *data = data.saturating_add(u64::try_from(chunk.len()).unwrap_or(u64::MAX));
        }
        Poll::Ready(Some(Ok(chunk)))
    }
}

pin_project! {
    /// The body of a response. The request counts as open until the body is dropped.
    pub(crate) struct WatchedResponse<B> {
        #[pin]
        body: B,
        // Declared before `open`, so that the payload is dropped first.
        payload: Option<SharedPayload>,
        open: Option<OpenRequest>,
    }
}

impl<B> WatchedResponse<B> {
    pub(crate) fn new(body: B, payload: Option<SharedPayload>, open: Option<OpenRequest>) -> Self {
        Self {
            body,
            payload,
            open,
        }
    }
}

impl<B: MessageBody> MessageBody for WatchedResponse<B> {
    type Error = B::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        self.project().body.poll_next(context)
    }
}
