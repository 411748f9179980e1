//! Counters of one node since its start.

use crate::StoreCounts;
use std::sync::atomic::{AtomicU64, Ordering};

/// The counters that [`StoreCounts`] reports.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) rescued: AtomicU64,
    pub(super) lost: AtomicU64,
    pub(super) stale: AtomicU64,
    pub(super) requeued: AtomicU64,
    pub(super) failures: AtomicU64,
    pub(super) refused_full: AtomicU64,
    pub(super) refused_client_jobs: AtomicU64,
    pub(super) refused_client_bytes: AtomicU64,
    pub(super) refused_waiting: AtomicU64,
    pub(super) postponed: AtomicU64,
}

impl Counters {
    pub(super) fn increment(counter: &AtomicU64) {
        Self::add(counter, 1);
    }

    pub(super) fn add(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Ordering::Relaxed);
    }

    pub(super) fn read(&self, waiting: u64, bytes: u64, bytes_max: u64) -> StoreCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        StoreCounts {
            rescued: read(&self.rescued),
            lost: read(&self.lost),
            stale: read(&self.stale),
            requeued: read(&self.requeued),
            failures: read(&self.failures),
            refused_full: read(&self.refused_full),
            refused_client_jobs: read(&self.refused_client_jobs),
            refused_client_bytes: read(&self.refused_client_bytes),
            refused_waiting: read(&self.refused_waiting),
            waiting,
            postponed: read(&self.postponed),
            usage_dropped: 0,
            bytes,
            bytes_max,
        }
    }
}
