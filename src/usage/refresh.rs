//! Reads the totals of tenants with budgets from the store.

use super::budgets::TOTALS_WITHIN;
use super::{State, UsageMeter};
use std::sync::atomic::Ordering;
use tracing::{info, warn};

impl UsageMeter {
    pub(super) async fn refresh_forever(&self) {
        loop {
            self.refresh_wanted.notified().await;
            while self.refresh().await {}
        }
    }

    /// Reads the totals of the tenants for which they are wanted. Returns false if there are none.
    pub(super) async fn refresh(&self) -> bool {
        if !self.state.lock().accounts.has_wanted() {
            return false;
        }
        // A node that reads has written: its share begins anew, and what it used of the last one is not hidden from others.
        if self.state.lock().accounts.is_shared() {
            self.flush().await;
        }
        let gate = self.gate.write().await;
        let refresh = {
            let State {
                accounts,
                unwritten,
            } = &mut *self.state.lock();
            accounts.begin_refresh(unwritten)
        };
        let Some(refresh) = refresh else {
            return false;
        };
        let read = self.store.usage_totals(&refresh.query);
        let read = tokio::time::timeout(TOTALS_WITHIN, read).await;
        let totals = read.as_ref().ok().and_then(|read| read.as_ref().ok());
        self.state.lock().accounts.end_refresh(&refresh, totals);
        drop(gate);
        self.refreshed.notify_waiters();
        let fails = totals.is_none();
        let failed_before = self.refresh_fails.swap(fails, Ordering::Relaxed);
        if fails && !failed_before {
            let cause = match read {
                Ok(Err(cause)) => cause.to_string(),
                _ => "the store does not respond in time".to_owned(),
            };
            warn!(
                cause,
                "what tenants have used cannot be read from the store; requests are held to budgets by what this node knows"
            );
        }
        if failed_before && !fails {
            info!("what tenants have used is read from the store again");
        }
        true
    }
}
