//! What has happened to jobs here.

use crate::store::StoreCounts;
use std::sync::atomic::{AtomicU64, Ordering};

/// See [`StoreCounts`].
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) rescued: AtomicU64,
    pub(super) lost: AtomicU64,
    pub(super) stale: AtomicU64,
    pub(super) given_back: AtomicU64,
    pub(super) failures: AtomicU64,
}

impl Counters {
    pub(super) fn told(&self) -> StoreCounts {
        let told = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        StoreCounts {
            rescued: told(&self.rescued),
            lost: told(&self.lost),
            stale: told(&self.stale),
            given_back: told(&self.given_back),
            failures: told(&self.failures),
        }
    }
}
