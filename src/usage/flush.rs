//! Writes the usage of this node to the store: twice a second, and at once where a tenant's budget nears its end.

use super::UsageMeter;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::MissedTickBehavior;
use tracing::{error, info};

/// Time between two flushes: a killed process loses the usage of that time.
const FLUSH_EVERY: Duration = Duration::from_millis(500);
/// Longest time that the end of the service waits for the last flush.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);

impl UsageMeter {
    /// Writes usage and reads totals for ever.
    pub async fn run(&self) {
        tokio::join!(self.flush_forever(), self.refresh_forever());
    }

    async fn flush_forever(&self) {
        let mut ticks = tokio::time::interval(FLUSH_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let is_tick = tokio::select! {
                _ = ticks.tick() => true,
                () = self.flush_wanted.notified() => false,
            };
            self.flush().await;
            if is_tick {
                self.state.lock().accounts.drop_idle();
            }
        }
    }

    /// Writes what is left when the service stops.
    pub async fn close(&self) {
        let flushed = async {
            // A batch whose recording failed comes before the rest.
            while self.flush().await {}
        };
        if tokio::time::timeout(CLOSE_WITHIN, flushed).await.is_err() {
            error!(
                "the last usage could not be written to the store in time: the service stops without it"
            );
        }
    }

    /// Writes one batch. Returns true if it was recorded, and more may be left.
    pub(super) async fn flush(&self) -> bool {
        let _shared = self.gate.read().await;
        let Some(batch) = self.state.lock().unwritten.begin_batch() else {
            return false;
        };
        let sequence = batch.sequence;
        let recorded = self.store.record_usage(batch).await;
        let fails = recorded.is_err();
        let failed_before = self.flush_fails.swap(fails, Ordering::Relaxed);
        match recorded {
            Ok(()) => {
                self.state.lock().unwritten.end_batch(sequence);
                self.stats.flushes.count();
                if failed_before {
                    info!("usage is written to the store again; nothing was lost");
                }
            }
            Err(cause) => {
                self.stats.flush_failures.count();
                if !failed_before {
                    error!(
                        %cause,
                        "usage cannot be written to the store; it is kept in memory and tried again twice a second, and \
                         is lost if this process is killed: check whether the database responds"
                    );
                }
            }
        }
        !fails
    }
}
