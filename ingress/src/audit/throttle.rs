//! A bound on how often a failure is reported.

use parking_lot::Mutex;
use std::time::{Duration, Instant};

/// Lets one report a minute pass.
#[derive(Debug, Default)]
pub(super) struct OncePerMinute(Mutex<Option<Instant>>);

impl OncePerMinute {
    const INTERVAL: Duration = Duration::from_mins(1);

    pub(super) fn passes(&self) -> bool {
        // Another thread that holds the lock reports.
        let Some(mut last) = self.0.try_lock() else {
            return false;
        };
        let is_due = last.is_none_or(|last| last.elapsed() >= Self::INTERVAL);
        if is_due {
            *last = Some(Instant::now());
        }
        is_due
    }
}
