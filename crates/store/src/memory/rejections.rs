//! Submits that the store in memory rejects, because a bound would be exceeded.

use super::MemoryStore;
use crate::StoreError;
use sandpiper_domain::{ClientKey, Timestamp};
use std::sync::atomic::Ordering;
use std::time::Duration;

impl MemoryStore {
    fn time_to_next_expiry(&self) -> Duration {
        let now = Timestamp::now();
        let next = self.orders.lock().next_expiry();
        next.map_or(self.bounds.ttl, |at| {
            Duration::from_millis(at.as_unix_millis().saturating_sub(now.as_unix_millis()))
        })
    }

    /// Checks whether one more job of `bytes` is within the bounds of its client and of the store.
    pub(super) fn check_bounds(&self, client: &ClientKey, bytes: usize) -> Result<(), StoreError> {
        let usage = self.usage.of_client(client);
        let rejected = &self.usage.rejected;
        let most = self.bounds.client_jobs_max;
        if usage.open_jobs >= most {
            rejected.client_jobs.fetch_add(1, Ordering::Relaxed);
            return Err(StoreError::ClientFull { most });
        }
        if usage.bytes.saturating_add(bytes) > self.bounds.client_bytes {
            rejected.client_bytes.fetch_add(1, Ordering::Relaxed);
            return Err(StoreError::ClientBytesFull {
                most: u64::try_from(self.bounds.client_bytes).unwrap_or(u64::MAX),
                retry_after: self.time_to_next_expiry(),
            });
        }
        let is_full = self.entries.len() >= self.bounds.jobs_max
            || self.usage.bytes() + bytes > self.bounds.bytes_max;
        if is_full {
            rejected.full.fetch_add(1, Ordering::Relaxed);
            return Err(StoreError::Full {
                retry_after: self.time_to_next_expiry(),
            });
        }
        Ok(())
    }

    /// Checks whether the jobs of a client that wait leave room for one more.
    pub(super) fn check_waiting(&self, client: &ClientKey) -> Result<(), StoreError> {
        let usage = self.usage.of_client(client);
        let waiting = self.bounds.waiting;
        let rejection = if usage.waiting_jobs >= waiting.jobs_max {
            StoreError::WaitingFull {
                most: waiting.jobs_max,
            }
        } else if u64::try_from(usage.waiting_bytes).unwrap_or(u64::MAX) >= waiting.bytes_max {
            StoreError::WaitingBytesFull {
                most: waiting.bytes_max,
            }
        } else {
            return Ok(());
        };
        self.usage.rejected.waiting.fetch_add(1, Ordering::Relaxed);
        Err(rejection)
    }
}
