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
    /// Submits that were refused because the bytes of the store, the jobs of a client, or its bytes were used up.
    pub(super) full: AtomicU64,
    pub(super) client_jobs_full: AtomicU64,
    pub(super) client_bytes_full: AtomicU64,
    /// Jobs that were put off because there was no room for what they would bring back.
    pub(super) put_off: AtomicU64,
}

impl Counters {
    pub(super) fn told(&self, bytes: u64, bytes_max: u64) -> StoreCounts {
        let told = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        StoreCounts {
            rescued: told(&self.rescued),
            lost: told(&self.lost),
            stale: told(&self.stale),
            given_back: told(&self.given_back),
            failures: told(&self.failures),
            refused_full: told(&self.full),
            refused_client_jobs: told(&self.client_jobs_full),
            refused_client_bytes: told(&self.client_bytes_full),
            put_off: told(&self.put_off),
            bytes,
            bytes_max,
        }
    }
}
