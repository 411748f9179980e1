//! Jobs and bytes that the store in memory holds, by client and in total; and submits that it rejected.

use crate::StoreCounts;
use dashmap::DashMap;
use sandpiper_domain::ClientKey;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

#[derive(Debug, Default)]
pub(super) struct Usage {
    clients: DashMap<ClientKey, ClientUsage>,
    bytes: AtomicUsize,
    waiting: AtomicUsize,
    pub(super) rejected: Rejected,
}

/// Bytes of a job, and how the job counts.
#[derive(Debug, Clone, Copy)]
pub(super) enum Held {
    /// Queued or running, and never suspended.
    Open(usize),
    /// Suspended before, and not ended.
    Suspended(usize),
    Final(usize),
}

impl Held {
    fn bytes(self) -> usize {
        match self {
            Self::Open(bytes) | Self::Suspended(bytes) | Self::Final(bytes) => bytes,
        }
    }
}

#[derive(Debug, Default, Clone, Copy)]
pub(super) struct ClientUsage {
    /// Jobs that are queued or running, and have never suspended.
    pub(super) open_jobs: usize,
    /// Jobs that have suspended and have not ended, and their bytes.
    pub(super) waiting_jobs: usize,
    pub(super) waiting_bytes: usize,
    /// Bytes of all jobs.
    pub(super) bytes: usize,
}

impl ClientUsage {
    fn add(&mut self, held: Held) {
        self.bytes += held.bytes();
        match held {
            Held::Open(_) => self.open_jobs += 1,
            Held::Suspended(bytes) => {
                self.waiting_jobs += 1;
                self.waiting_bytes += bytes;
            }
            Held::Final(_) => {}
        }
    }

    fn remove(&mut self, held: Held) {
        self.bytes -= held.bytes();
        match held {
            Held::Open(_) => self.open_jobs -= 1,
            Held::Suspended(bytes) => {
                self.waiting_jobs -= 1;
                self.waiting_bytes -= bytes;
            }
            Held::Final(_) => {}
        }
    }

    fn is_empty(&self) -> bool {
        self.open_jobs == 0 && self.bytes == 0
    }
}

/// Submits that were rejected, by the bound that they exceeded.
#[derive(Debug, Default)]
pub(super) struct Rejected {
    pub(super) full: AtomicU64,
    pub(super) client_jobs: AtomicU64,
    pub(super) client_bytes: AtomicU64,
    pub(super) waiting: AtomicU64,
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

    pub(super) fn add_job(&self, client: &ClientKey, held: Held) {
        self.count(held, AtomicUsize::fetch_add);
        self.clients.entry(client.clone()).or_default().add(held);
    }

    /// Counts a job of a client in another way.
    pub(super) fn change_job(&self, client: &ClientKey, before: Held, after: Held) {
        self.count(after, AtomicUsize::fetch_add);
        self.count(before, AtomicUsize::fetch_sub);
        self.change(client, |usage| {
            usage.add(after);
            usage.remove(before);
        });
    }

    /// Counts a job for another client.
    pub(super) fn move_job(&self, from: &ClientKey, to: &ClientKey, held: Held) {
        // The guard of the entry locks its part of the map, and is dropped here.
        self.clients.entry(to.clone()).or_default().add(held);
        self.change(from, |usage| usage.remove(held));
    }

    pub(super) fn remove_job(&self, client: &ClientKey, held: Held) {
        self.count(held, AtomicUsize::fetch_sub);
        self.change(client, |usage| usage.remove(held));
    }

    fn count(&self, held: Held, count: impl Fn(&AtomicUsize, usize, Ordering) -> usize) {
        count(&self.bytes, held.bytes(), Ordering::Relaxed);
        if matches!(held, Held::Suspended(_)) {
            count(&self.waiting, 1, Ordering::Relaxed);
        }
    }

    /// Changes what a client has, and forgets a client that has nothing.
    fn change(&self, client: &ClientKey, change: impl FnOnce(&mut ClientUsage)) {
        if let Some(mut usage) = self.clients.get_mut(client) {
            change(&mut usage);
        }
        self.clients.remove_if(client, |_, usage| usage.is_empty());
    }

    pub(super) fn counts(&self, bytes_max: usize) -> StoreCounts {
        let as_u64 = |bytes| u64::try_from(bytes).unwrap_or(u64::MAX);
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        StoreCounts {
            refused_full: read(&self.rejected.full),
            refused_client_jobs: read(&self.rejected.client_jobs),
            refused_client_bytes: read(&self.rejected.client_bytes),
            refused_waiting: read(&self.rejected.waiting),
            waiting: as_u64(self.waiting.load(Ordering::Relaxed)),
            bytes: as_u64(self.bytes()),
            bytes_max: as_u64(bytes_max),
            ..StoreCounts::default()
        }
    }
}
