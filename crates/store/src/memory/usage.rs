//! Jobs and bytes that the store in memory holds, by client and in total; and submits that it rejected.

use crate::StoreCounts;
use dashmap::DashMap;
use sandpiper_domain::ClientKey;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

#[derive(Debug, Default)]
pub(super) struct Usage {
    clients: DashMap<ClientKey, ClientUsage>,
    bytes: AtomicUsize,
    pub(super) rejected: Rejected,
}

#[derive(Debug, Default, Clone, Copy)]
pub(super) struct ClientUsage {
    /// Jobs that are queued or running.
    pub(super) open_jobs: usize,
    pub(super) bytes: usize,
}

/// Submits that were rejected, by the bound that they exceeded.
#[derive(Debug, Default)]
pub(super) struct Rejected {
    pub(super) full: AtomicU64,
    pub(super) client_jobs: AtomicU64,
    pub(super) client_bytes: AtomicU64,
}

impl Usage {
    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(super) fn of_client(&self, client: &ClientKey) -> ClientUsage {
        self.clients
            .get(client)
            .map_or_else(ClientUsage::default, |usage| *usage)
    }

    pub(super) fn add_job(&self, client: &ClientKey, bytes: usize) {
        let mut usage = self.clients.entry(client.clone()).or_default();
        usage.open_jobs += 1;
        usage.bytes += bytes;
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Replaces the bytes of an open job, which has its final state now.
    pub(super) fn finish_job(&self, client: &ClientKey, before: usize, after: usize) {
        self.bytes.fetch_add(after, Ordering::Relaxed);
        self.bytes.fetch_sub(before, Ordering::Relaxed);
        self.change(client, |usage| {
            usage.open_jobs -= 1;
            usage.bytes = usage.bytes + after - before;
        });
    }

    /// Counts a job for another client.
    pub(super) fn move_job(&self, from: &ClientKey, to: &ClientKey, bytes: usize, is_open: bool) {
        let open_jobs = usize::from(is_open);
        let mut usage = self.clients.entry(to.clone()).or_default();
        usage.open_jobs += open_jobs;
        usage.bytes += bytes;
        // The entry locks its part of the map.
        drop(usage);
        self.change(from, |usage| {
            usage.open_jobs -= open_jobs;
            usage.bytes -= bytes;
        });
    }

    pub(super) fn remove_job(&self, client: &ClientKey, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.change(client, |usage| usage.bytes -= bytes);
    }

    /// Changes what a client has, and forgets a client that has nothing.
    fn change(&self, client: &ClientKey, change: impl FnOnce(&mut ClientUsage)) {
        if let Some(mut usage) = self.clients.get_mut(client) {
            change(&mut usage);
        }
        self.clients
            .remove_if(client, |_, usage| usage.open_jobs == 0 && usage.bytes == 0);
    }

    pub(super) fn counts(&self, bytes_max: usize) -> StoreCounts {
        let as_u64 = |bytes| u64::try_from(bytes).unwrap_or(u64::MAX);
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        StoreCounts {
            refused_full: read(&self.rejected.full),
            refused_client_jobs: read(&self.rejected.client_jobs),
            refused_client_bytes: read(&self.rejected.client_bytes),
            bytes: as_u64(self.bytes()),
            bytes_max: as_u64(bytes_max),
            ..StoreCounts::default()
        }
    }
}
