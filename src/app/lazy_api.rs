//! The start of the Dispatcher on the thread of the first HTTP worker.
//!
//! A request that arrives on that thread is admitted, handed out and answered there. On a thread of its own the
//! Dispatcher would cost each such request two wake-ups, with a context switch each.

use super::ServeError;
use crate::http::Api;
use actix_web::web::Data;
use parking_lot::Mutex;
use std::sync::{Arc, OnceLock};
use tokio::sync::oneshot;

type Started = Result<Data<Api>, ServeError>;
type Start = Box<dyn FnOnce() -> Result<Api, ServeError> + Send>;

/// The API, which the first HTTP worker starts and all workers serve. Clones share one API.
#[derive(Clone)]
pub(super) struct LazyApi(Arc<Shared>);

struct Shared {
    start: Mutex<Option<(Start, oneshot::Sender<Started>)>>,
    api: OnceLock<Option<Data<Api>>>,
}

impl LazyApi {
    /// Creates an API that is not started yet. `start` starts the Dispatcher on the thread that calls it. The receiver
    /// gets the result of the start.
    pub(super) fn new(
        start: impl FnOnce() -> Result<Api, ServeError> + Send + 'static,
    ) -> (Self, oneshot::Receiver<Started>) {
        let (sender, receiver) = oneshot::channel();
        let shared = Shared {
            start: Mutex::new(Some((Box::new(start), sender))),
            api: OnceLock::new(),
        };
        (Self(Arc::new(shared)), receiver)
    }

    /// Returns the API for an HTTP worker. The first worker that calls this starts the API on its thread; the others
    /// wait until it is started. Returns `None` if the start failed: the service is about to end.
    pub(super) fn get_or_start(&self) -> Option<Data<Api>> {
        let start = self.0.start.lock().take();
        let Some((start, sender)) = start else {
            return self.0.api.wait().clone();
        };
        let (api, started) = match start() {
            Ok(api) => {
                let api = Data::new(api);
                (Some(api.clone()), Ok(api))
            }
            Err(failure) => (None, Err(failure)),
        };
        // The receiver may have been dropped.
        let _ = sender.send(started);
        self.0.api.get_or_init(|| api).clone()
    }
}
