//! Whether the store answers, for whoever watches over the service: asked at most once a second, however many ask, and told
//! within a second, however long the store takes.

use crate::store::JobStore;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tracing::{info, warn};

/// How long an answer of the store is believed.
const BELIEVED_FOR: Duration = Duration::from_secs(1);
/// A store that takes longer than this does not answer, as far as a probe is concerned.
const ANSWERS_WITHIN: Duration = Duration::from_secs(1);

/// Whether the store answers.
#[derive(Debug)]
pub struct StoreHealth {
    store: Arc<dyn JobStore>,
    state: Mutex<State>,
    answered: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// What the store answered last, and when.
    last: Option<(Instant, bool)>,
    /// Since when it is being asked.
    asked: Option<Instant>,
}

impl StoreHealth {
    /// Of a store that was not asked yet.
    #[must_use]
    pub fn new(store: Arc<dyn JobStore>) -> Arc<Self> {
        Arc::new(Self {
            store,
            state: Mutex::default(),
            answered: Notify::new(),
        })
    }

    /// Whether the store answers; waits for it no longer than a second.
    pub async fn is_up(self: &Arc<Self>) -> bool {
        let answered = self.answered.notified();
        tokio::pin!(answered);
        // Registered before the store is asked, so that its answer is not missed.
        answered.as_mut().enable();
        let since = {
            let mut state = self.state();
            match (state.last, state.asked) {
                (Some((at, is_up)), _) if at.elapsed() < BELIEVED_FOR => return is_up,
                (_, Some(since)) => since,
                (_, None) => {
                    let since = Instant::now();
                    state.asked = Some(since);
                    tokio::spawn(Arc::clone(self).ask());
                    since
                }
            }
        };
        let deadline = tokio::time::Instant::from_std(since + ANSWERS_WITHIN);
        if tokio::time::timeout_at(deadline, answered).await.is_err() {
            return false;
        }
        self.state().last.is_some_and(|(_, is_up)| is_up)
    }

    async fn ask(self: Arc<Self>) {
        let answer = self.store.health().await;
        let was_up = {
            let mut state = self.state();
            state.asked = None;
            let before = state.last.replace((Instant::now(), answer.is_ok()));
            before.is_none_or(|(_, was_up)| was_up)
        };
        match answer {
            Err(cause) if was_up => {
                warn!(%cause, "the store does not answer: this service is not ready until it does");
            }
            Ok(()) if !was_up => info!("the store answers again: this service is ready"),
            Ok(()) | Err(_) => {}
        }
        self.answered.notify_waiters();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
