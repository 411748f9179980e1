//! Where the Dispatcher runs: on the thread of the first HTTP worker.
//!
//! A request comes in there, is admitted, handed out, and answered there; on a thread of its own the Dispatcher would cost
//! each of them two wake-ups, and a switch of context each time.

use super::ServeError;
use crate::http::Api;
use actix_web::web::Data;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use tokio::sync::oneshot;

type Answer = Result<Data<Api>, ServeError>;
type Start = Box<dyn FnOnce() -> Result<Api, ServeError> + Send>;

/// What the first worker starts on its thread, and all of them serve. Clones are the same seat.
#[derive(Clone)]
pub(super) struct Seat(Arc<Shared>);

struct Shared {
    start: Mutex<Option<(Start, oneshot::Sender<Answer>)>>,
    api: OnceLock<Option<Data<Api>>>,
}

impl Seat {
    /// `start` starts the Dispatcher. What comes of it can be waited for.
    pub(super) fn new(
        start: impl FnOnce() -> Result<Api, ServeError> + Send + 'static,
    ) -> (Self, oneshot::Receiver<Answer>) {
        let (tell, told) = oneshot::channel();
        let shared = Shared {
            start: Mutex::new(Some((Box::new(start), tell))),
            api: OnceLock::new(),
        };
        (Self(Arc::new(shared)), told)
    }

    /// For a worker, on its own thread: what it serves. Nothing if the service did not start, and is about to end.
    pub(super) fn take(&self) -> Option<Data<Api>> {
        let start = self.0.start.lock();
        let start = start.unwrap_or_else(PoisonError::into_inner).take();
        let Some((start, tell)) = start else {
            return self.0.api.wait().clone();
        };
        let (api, answer) = match start() {
            Ok(api) => {
                let api = Data::new(api);
                (Some(api.clone()), Ok(api))
            }
            Err(failure) => (None, Err(failure)),
        };
        // Whoever waits for it may have given up.
        let _ = tell.send(answer);
        self.0.api.get_or_init(|| api).clone()
    }
}
