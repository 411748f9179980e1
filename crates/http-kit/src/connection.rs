//! A TCP stream that is closed when it has no request for too long.
//!
//! actix-http times only the first head of a connection: the first byte of a later head clears the keep-alive timer,
//! and no timer replaces it. So this module times the wait for every later request. The stream and `service` share a
//! `ConnectionState`: the stream records bytes, and `service` records the begin of requests and the end of responses.
//!
//! A connection has one timer. The timer is moved only when the deadline comes closer, and checked when it fires, so
//! that a request on an idle connection costs no timer operation.

use crate::counters::Counter;
use crate::framing::Position;
use actix_web::rt::net::TcpStream;
use std::cell::Cell;
use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
const TIMED_OUT: &[u8] =
    b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// Heads that began and were not complete in time, on every port of the process.
static LATE_HEADS: Counter = Counter::new();

/// Returns the number of request heads that began and were not complete in time, on every port of the process.
#[must_use]
pub fn late_heads() -> u64 {
    LATE_HEADS.get()
}

/// The maximum times of a connection without a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timeouts {
    /// From the first byte of a head to its last.
    pub(crate) head: Duration,
    /// From the end of a response to the first byte of the next head.
    pub(crate) idle: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The first request has not arrived; actix-http times this phase.
    First,
    Serving,
    /// The next head has not begun.
    Idle,
    /// The next head has begun, or may have begun.
    Head,
}

/// The state that the stream and the service share.
#[derive(Debug)]
pub(crate) struct ConnectionState {
    timeouts: Timeouts,
    phase: Cell<Phase>,
    position: Cell<Position>,
    /// The end of the phases `Idle` and `Head`.
    deadline: Cell<Instant>,
    bytes_read: Cell<u64>,
    /// The unsent rest of an interim response.
    interim: Cell<&'static [u8]>,
    /// True if no request after the current one is served.
    is_last: Cell<bool>,
    /// True if a request after the last one has arrived: the connection is closed once all earlier responses are sent.
    is_over: Cell<bool>,
}

impl ConnectionState {
    fn new(timeouts: Timeouts) -> Self {
        Self {
            timeouts,
            phase: Cell::new(Phase::First),
            position: Cell::default(),
            deadline: Cell::new(Instant::now()),
            bytes_read: Cell::new(0),
            interim: Cell::new(&[]),
            is_last: Cell::new(false),
            is_over: Cell::new(false),
        }
    }

    /// Records the begin of a request, with the declared length of its body.
    pub(crate) fn begin(self: &Rc<Self>, length: Option<u64>) -> OpenRequest {
        self.position.set(self.position.get().at_request(length));
        self.phase.set(Phase::Serving);
        OpenRequest(Rc::clone(self))
    }

    /// Records the end of the response.
    fn end(&self) {
        self.interim.set(&[]);
        if self.position.get().is_at_end_of_request() {
            self.position.set(Position::default());
            self.wait(Phase::Idle, self.timeouts.idle);
        } else {
            self.wait(Phase::Head, self.timeouts.head);
        }
    }

    fn wait(&self, phase: Phase, timeout: Duration) {
        self.phase.set(phase);
        self.deadline.set(Instant::now() + timeout);
    }

    /// Records bytes from the client.
    fn read(&self, bytes: &[u8]) {
        let count = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.bytes_read
            .set(self.bytes_read.get().saturating_add(count));
        self.position.set(self.position.get().after(bytes));
        if self.phase.get() == Phase::Idle {
            self.wait(Phase::Head, self.timeouts.head);
        }
    }

    /// Restarts the current wait: the client has just read the rest of a response.
    fn sent_late(&self) {
        match self.phase.get() {
            Phase::Idle => self.wait(Phase::Idle, self.timeouts.idle),
            Phase::Head => self.wait(Phase::Head, self.timeouts.head),
            Phase::First | Phase::Serving => {}
        }
    }

    fn deadline(&self) -> Option<Instant> {
        match self.phase.get() {
            Phase::First | Phase::Serving => None,
            Phase::Idle | Phase::Head => Some(self.deadline.get()),
        }
    }

    pub(crate) fn has_whole_request(&self) -> bool {
        self.position.get().is_at_end_of_request()
    }

    pub(crate) fn bytes_read(&self) -> u64 {
        self.bytes_read.get()
    }

    /// Schedules `100 Continue`.
    pub(crate) fn send_continue(&self) {
        self.interim.set(CONTINUE);
    }

    /// Retracts `100 Continue`, if none of it has been sent.
    pub(crate) fn retract_continue(&self) {
        if self.interim.get().len() == CONTINUE.len() {
            self.interim.set(&[]);
        }
    }

    pub(crate) fn make_last(&self) {
        self.is_last.set(true);
    }

    /// Returns true if a request that begins now comes after the last one, and closes the connection then.
    pub(crate) fn is_past_last(&self) -> bool {
        if self.is_last.get() {
            self.is_over.set(true);
        }
        self.is_last.get()
    }
}

/// A request that is being served. Dropping it records the end of the response.
#[derive(Debug)]
pub(crate) struct OpenRequest(Rc<ConnectionState>);

impl OpenRequest {
    pub(crate) fn state(&self) -> &ConnectionState {
        &self.0
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        self.0.end();
    }
}

#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    state: Rc<ConnectionState>,
    /// Created at the first wait.
    timer: Option<Pin<Box<Sleep>>>,
    is_write_blocked: bool,
}

impl Connection {
    pub(crate) fn new(stream: TcpStream, timeouts: Timeouts) -> Self {
        Self {
            stream,
            state: Rc::new(ConnectionState::new(timeouts)),
            timer: None,
            is_write_blocked: false,
        }
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    pub(crate) fn state(&self) -> &Rc<ConnectionState> {
        &self.state
    }

    /// Returns true if the deadline has passed; otherwise the task is woken at the deadline.
    fn is_overdue(&mut self, context: &mut Context<'_>) -> bool {
        let Some(deadline) = self.state.deadline() else {
            return false;
        };
        let timer = match &mut self.timer {
            // The timer fires early enough, and it has the waker of the only task that polls this connection.
            Some(timer) if timer.deadline() <= deadline && !timer.is_elapsed() => return false,
            Some(timer) => {
                timer.as_mut().reset(deadline);
                timer
            }
            None => self.timer.insert(Box::pin(sleep_until(deadline))),
        };
        timer.as_mut().poll(context).is_ready()
    }

    /// Sends 408 to a client that has begun a head, if the socket accepts it at once.
    fn send_timed_out(&mut self, context: &mut Context<'_>) {
        let has_begun = matches!(self.state.position.get(), Position::Head(_));
        if self.state.phase.get() == Phase::Head && has_begun {
            LATE_HEADS.count();
            if !self.is_write_blocked {
                let _ = Pin::new(&mut self.stream).poll_write(context, TIMED_OUT);
            }
        }
    }

    fn poll_interim(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let rest = self.state.interim.get();
            if rest.is_empty() {
                return Poll::Ready(Ok(()));
            }
            let sent = ready!(Pin::new(&mut self.stream).poll_write(context, rest))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.state.interim.set(&rest[sent..]);
        }
    }

    /// Records the result of a write. A blocked write fails at the deadline.
    fn written(
        &mut self,
        context: &mut Context<'_>,
        result: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if result.is_pending() {
            self.is_write_blocked = true;
            if self.is_overdue(context) {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
        } else if self.is_write_blocked {
            self.is_write_blocked = false;
            self.state.sent_late();
        }
        result
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let connection = self.get_mut();
        let before = buffer.filled().len();
        let result = Pin::new(&mut connection.stream).poll_read(context, buffer);
        if result.is_pending() {
            if connection.is_overdue(context) {
                connection.send_timed_out(context);
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
        } else {
            let bytes = &buffer.filled()[before..];
            if !bytes.is_empty() {
                connection.state.read(bytes);
            }
        }
        result
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let connection = self.get_mut();
        // Only actix-http itself responds before the first request.
        let state = &connection.state;
        let is_first = state.phase.get() == Phase::First && state.bytes_read() > 0;
        if is_first && bytes.starts_with(b"HTTP/1.1 408") {
            LATE_HEADS.count();
        }
        let interim = connection.state.interim.get().len();
        // An interim response that was sent in part is completed first.
        if interim > 0 && interim < CONTINUE.len() {
            ready!(connection.poll_interim(context))?;
        }
        let result = Pin::new(&mut connection.stream).poll_write(context, bytes);
        connection.written(context, result)
    }

    /// The server flushes once it has written all of its buffer.
    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let connection = self.get_mut();
        ready!(connection.poll_interim(context))?;
        ready!(Pin::new(&mut connection.stream).poll_flush(context))?;
        if connection.state.is_over.get() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        // After a response the server does not read until the task is woken.
        if connection.is_overdue(context) {
            context.waker().wake_by_ref();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}
