//! Where the Dispatcher runs: on the thread of the first HTTP worker.
//!
//! A request comes in there, is admitted, handed out, and answered there; on a thread of its own the Dispatcher would cost
//! each of them two wake-ups, and a switch of context each time.

use super::ServeError;
use crate::actors::Dispatcher;
use crate::http::Api;
use actix::{Actor, Addr};
use actix_web::web::Data;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use tokio::sync::oneshot;

/// A Dispatcher that waits for its thread, and the workers that wait for it. Clones are the same seat.
#[derive(Clone)]
pub(super) struct Seat(Arc<Shared>);

struct Shared {
    waiting: Mutex<Option<(Dispatcher, oneshot::Sender<Addr<Dispatcher>>)>>,
    taken: Mutex<Option<oneshot::Receiver<Addr<Dispatcher>>>>,
    api: OnceLock<Data<Api>>,
}

impl Seat {
    pub(super) fn new(dispatcher: Dispatcher) -> Self {
        let (tell, told) = oneshot::channel();
        Self(Arc::new(Shared {
            waiting: Mutex::new(Some((dispatcher, tell))),
            taken: Mutex::new(Some(told)),
            api: OnceLock::new(),
        }))
    }

    /// For a worker, on its own thread: the first starts the Dispatcher there. Each waits until [`Seat::open`].
    pub(super) fn take(&self) -> Data<Api> {
        let waiting = self.0.waiting.lock();
        let waiting = waiting.unwrap_or_else(PoisonError::into_inner).take();
        if let Some((dispatcher, tell)) = waiting {
            // Whoever waits for it may have given up.
            let _ = tell.send(dispatcher.start());
        }
        self.0.api.wait().clone()
    }

    /// Waits until the first worker has taken the Dispatcher. Nothing is answered yet.
    pub(super) async fn taken(&self) -> Result<Addr<Dispatcher>, ServeError> {
        let taken = self.0.taken.lock();
        let taken = taken.unwrap_or_else(PoisonError::into_inner).take();
        match taken {
            Some(taken) => taken.await.map_err(|_| ServeError::NoWorker),
            None => Err(ServeError::NoWorker),
        }
    }

    /// Lets the workers answer.
    pub(super) fn open(&self, api: Data<Api>) {
        let _ = self.0.api.set(api);
    }
}
