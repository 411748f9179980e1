//! The health of the store, for probes. The store is asked at most once a second, for any number of probes, and a probe
//! waits for at most a second.

use parking_lot::Mutex;
use sandpiper_store::JobStore;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tracing::{info, warn};

/// Time for which a response of the store is valid.
const VALID_FOR: Duration = Duration::from_secs(1);
/// Time after which a probe considers the store down.
const RESPONDS_WITHIN: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub struct StoreHealth {
    store: Arc<dyn JobStore>,
    state: Mutex<State>,
    responded: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// The last response of the store, and its moment.
    last: Option<(Instant, bool)>,
    /// The moment at which the store was asked, while it has not responded.
    asked_at: Option<Instant>,
}

impl StoreHealth {
    #[must_use]
    pub fn new(store: Arc<dyn JobStore>) -> Arc<Self> {
        Arc::new(Self {
            store,
            state: Mutex::default(),
            responded: Notify::new(),
        })
    }

    /// Returns true if the store responds. Waits for the store for at most a second.
    pub async fn is_up(self: &Arc<Self>) -> bool {
        let responded = self.responded.notified();
        tokio::pin!(responded);
        // Registered before the store is asked, so that its response is not missed.
        responded.as_mut().enable();
        let since = {
            let mut state = self.state.lock();
            match (state.last, state.asked_at) {
                (Some((at, is_up)), _) if at.elapsed() < VALID_FOR => return is_up,
                (_, Some(since)) => since,
                (_, None) => {
                    let since = Instant::now();
                    state.asked_at = Some(since);
                    tokio::spawn(Arc::clone(self).ask());
                    since
                }
            }
        };
        let deadline = tokio::time::Instant::from_std(since + RESPONDS_WITHIN);
        if tokio::time::timeout_at(deadline, responded).await.is_err() {
            return false;
        }
        self.state.lock().last.is_some_and(|(_, is_up)| is_up)
    }

    async fn ask(self: Arc<Self>) {
        let response = self.store.health().await;
        let was_up = {
            let mut state = self.state.lock();
            state.asked_at = None;
            let before = state.last.replace((Instant::now(), response.is_ok()));
            before.is_none_or(|(_, was_up)| was_up)
        };
        match response {
            Err(cause) if was_up => {
                warn!(%cause, "the store does not respond: this service is not ready until it does");
            }
            Ok(()) if !was_up => info!("the store responds again: this service is ready"),
            Ok(()) | Err(_) => {}
        }
        self.responded.notify_waiters();
    }
}
