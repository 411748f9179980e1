//! Jobs in this process's memory: bounded in entries and bytes, and honest about it.
//!
//! It never evicts a job that has not expired: when it is full it refuses new ones, and no job is run whose result would
//! have no room. Beyond the bound lie at most the results of what was running. What it holds is gone when the
//! process ends.

use super::fingerprint::Fingerprint;
use super::{
    Accepted, Finished, Found, JobPage, JobStore, ListQuery, NewJob, Settlement, StoreCounts,
    StoreError,
};
use async_trait::async_trait;
use dashmap::DashMap;
use sandpiper_domain::{ClientKey, IdempotencyKey, Job, JobId, JobState, Timestamp};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// How much the store holds, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct MemoryStoreBounds {
    /// Most jobs, final ones included.
    pub jobs_max: usize,
    /// Most bytes, near enough.
    pub bytes_max: usize,
    /// From a job's final state to its end.
    pub ttl: Duration,
    /// Most jobs of one client that are queued or running.
    pub client_jobs_max: usize,
    /// Most bytes of one client's jobs, final ones included.
    pub client_bytes: usize,
}

/// Ids of expired jobs that are remembered, so that they get 410 and not 404.
const TOMBSTONES_MAX: usize = 100_000;

/// Keys of requests that are remembered.
const KEYS_MAX: usize = 100_000;

/// Jobs that one list looks at.
const SCANNED_MAX: usize = 2_000;

#[derive(Debug)]
struct Entry {
    job: Job,
    client: ClientKey,
    bytes: usize,
    settled: Arc<Notify>,
}

/// Orders over the map: by id, which is by age, and by the moment of expiry.
#[derive(Debug, Default)]
struct Orders {
    by_age: BTreeSet<JobId>,
    by_expiry: BTreeMap<(Timestamp, JobId), ()>,
    tombstones: VecDeque<JobId>,
    tombstone_set: BTreeSet<JobId>,
}

/// See the module.
#[derive(Debug)]
pub struct MemoryStore {
    bounds: MemoryStoreBounds,
    entries: DashMap<JobId, Entry>,
    orders: Mutex<Orders>,
    keys: Mutex<Keys>,
    /// What each client has.
    held: DashMap<ClientKey, Held>,
    bytes: AtomicUsize,
    refusals: Refusals,
}

/// What a client has: jobs that are open, and bytes of all its jobs.
#[derive(Debug, Default)]
struct Held {
    open: usize,
    bytes: usize,
}

/// Submits that were refused, by why.
#[derive(Debug, Default)]
struct Refusals {
    full: AtomicU64,
    client_jobs: AtomicU64,
    client_bytes: AtomicU64,
}

type Key = (ClientKey, IdempotencyKey);

/// The requests that came with a key. The oldest are forgotten when their time is over, or their room.
#[derive(Debug, Default)]
struct Keys {
    by_key: HashMap<Key, Keyed>,
    by_age: VecDeque<(Timestamp, Key)>,
}

#[derive(Debug)]
struct Keyed {
    id: JobId,
    fingerprint: Fingerprint,
}

impl Keys {
    fn remember(&mut self, key: Key, id: JobId, fingerprint: Fingerprint) {
        if self.by_age.len() >= KEYS_MAX {
            self.forget_oldest();
        }
        self.by_age.push_back((Timestamp::now(), key.clone()));
        self.by_key.insert(key, Keyed { id, fingerprint });
    }

    fn forget_oldest(&mut self) {
        if let Some((_, key)) = self.by_age.pop_front() {
            self.by_key.remove(&key);
        }
    }

    fn sweep(&mut self, now: Timestamp) {
        while let Some((at, _)) = self.by_age.front()
            && at.plus(IdempotencyKey::REMEMBERED) <= now
        {
            self.forget_oldest();
        }
    }
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new(bounds: MemoryStoreBounds) -> Self {
        Self {
            bounds,
            entries: DashMap::new(),
            orders: Mutex::default(),
            keys: Mutex::default(),
            held: DashMap::new(),
            bytes: AtomicUsize::new(0),
            refusals: Refusals::default(),
        }
    }

    fn orders(&self) -> MutexGuard<'_, Orders> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keys(&self) -> MutexGuard<'_, Keys> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, id: JobId) -> Found {
        if let Some(entry) = self.entries.get(&id) {
            return Found::Job(entry.job.clone());
        }
        if self.orders().tombstone_set.contains(&id) {
            return Found::Expired;
        }
        Found::Unknown
    }

    fn time_to_next_expiry(&self) -> Duration {
        let now = Timestamp::now();
        let next = self.orders().by_expiry.keys().next().map(|(at, _)| *at);
        next.map_or(self.bounds.ttl, |at| {
            Duration::from_millis(at.as_unix_millis().saturating_sub(now.as_unix_millis()))
        })
    }

    /// Changes what a client has, and forgets one that has nothing.
    fn change_held(&self, client: &ClientKey, change: impl FnOnce(&mut Held)) {
        if let Some(mut held) = self.held.get_mut(client) {
            change(&mut held);
        }
        self.held
            .remove_if(client, |_, held| held.open == 0 && held.bytes == 0);
    }

    /// Whether a client may have one more job of so many bytes, and the store.
    fn admit(&self, client: &ClientKey, bytes: usize) -> Result<(), StoreError> {
        let (open, held) = self
            .held
            .get(client)
            .map_or((0, 0), |held| (held.open, held.bytes));
        let most = self.bounds.client_jobs_max;
        if open >= most {
            self.refusals.client_jobs.fetch_add(1, Ordering::Relaxed);
            return Err(StoreError::ClientFull { most });
        }
        if held.saturating_add(bytes) > self.bounds.client_bytes {
            self.refusals.client_bytes.fetch_add(1, Ordering::Relaxed);
            return Err(StoreError::ClientBytesFull {
                most: u64::try_from(self.bounds.client_bytes).unwrap_or(u64::MAX),
                retry_after: self.time_to_next_expiry(),
            });
        }
        let is_full = self.entries.len() >= self.bounds.jobs_max
            || self.bytes.load(Ordering::Relaxed) + bytes > self.bounds.bytes_max;
        if is_full {
            self.refusals.full.fetch_add(1, Ordering::Relaxed);
            return Err(StoreError::Full {
                retry_after: self.time_to_next_expiry(),
            });
        }
        Ok(())
    }

    fn expire(&self, id: JobId) {
        let Some((_, entry)) = self.entries.remove(&id) else {
            return;
        };
        self.bytes.fetch_sub(entry.bytes, Ordering::Relaxed);
        self.change_held(&entry.client, |held| held.bytes -= entry.bytes);
    }
}

#[async_trait]
impl JobStore for MemoryStore {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn promise(&self) -> &'static str {
        "jobs live in this process's memory and end with it"
    }

    async fn submit(&self, new: NewJob) -> Result<Accepted, StoreError> {
        let mut keys = self.keys();
        let key = new.terms.key.as_ref();
        let key = key.map(|key| ((new.client.clone(), key.clone()), Fingerprint::of(&new)));
        if let Some((key, fingerprint)) = &key
            && let Some(known) = keys.by_key.get(key)
        {
            if !known.fingerprint.is_same(fingerprint) {
                return Err(StoreError::KeyReused);
            }
            return match self.find(known.id) {
                Found::Job(job) => Ok(Accepted {
                    job,
                    is_replay: true,
                }),
                Found::Expired | Found::Unknown => Err(StoreError::KeyExpired),
            };
        }
        let bytes = size_of::<Entry>() + new.script.size_bytes();
        self.admit(&new.client, bytes)?;
        let job = new.queued();
        {
            let mut held = self.held.entry(new.client.clone()).or_default();
            held.open += 1;
            held.bytes += bytes;
        }
        let entry = Entry {
            job: job.clone(),
            client: new.client,
            bytes,
            settled: Arc::new(Notify::new()),
        };
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.entries.insert(new.id, entry);
        self.orders().by_age.insert(new.id);
        if let Some((key, fingerprint)) = key {
            keys.remember(key, new.id, fingerprint);
        }
        Ok(Accepted {
            job,
            is_replay: false,
        })
    }

    async fn start(&self, id: JobId, attempt: u32) -> Result<(), StoreError> {
        if let Some(mut entry) = self.entries.get_mut(&id)
            && !entry.job.state.is_final()
        {
            entry.job.state = JobState::Running;
            entry.job.attempt = attempt;
            entry.job.started_at = Some(Timestamp::now());
        }
        Ok(())
    }

    async fn hand_back(&self, id: JobId, attempt: u32) -> Result<(), StoreError> {
        if let Some(mut entry) = self.entries.get_mut(&id)
            && entry.job.state == JobState::Running
            && entry.job.attempt == attempt
        {
            entry.job.state = JobState::Queued;
            entry.job.started_at = None;
        }
        Ok(())
    }

    async fn finish(
        &self,
        id: JobId,
        attempt: u32,
        settlement: Settlement,
    ) -> Result<Finished, StoreError> {
        let now = Timestamp::now();
        let expires_at = now.plus(self.bounds.ttl);
        let (settled, client, before, after) = {
            let Some(mut entry) = self.entries.get_mut(&id) else {
                return Ok(Finished::Stale);
            };
            if entry.job.state.is_final() || entry.job.attempt != attempt {
                return Ok(Finished::Stale);
            }
            // The script is not the store's any more, and the execution now is.
            let bytes = size_of::<Entry>()
                + settlement
                    .execution
                    .as_ref()
                    .map_or(0, |execution| execution.size_bytes());
            self.bytes.fetch_add(bytes, Ordering::Relaxed);
            self.bytes.fetch_sub(entry.bytes, Ordering::Relaxed);
            let before = std::mem::replace(&mut entry.bytes, bytes);
            entry.job.state = settlement.state;
            entry.job.outcome = settlement.outcome();
            entry.job.execution = settlement.execution;
            entry.job.finished_at = Some(now);
            entry.job.expires_at = Some(expires_at);
            let settled = Arc::clone(&entry.settled);
            (settled, entry.client.clone(), before, bytes)
        };
        self.change_held(&client, |held| {
            held.open -= 1;
            held.bytes = held.bytes + after - before;
        });
        self.orders().by_expiry.insert((expires_at, id), ());
        settled.notify_waiters();
        Ok(Finished::Recorded)
    }

    async fn get(&self, id: JobId) -> Result<Found, StoreError> {
        Ok(self.find(id))
    }

    async fn wait(&self, id: JobId, patience: Duration) -> Result<Found, StoreError> {
        let Some(settled) = self
            .entries
            .get(&id)
            .map(|entry| Arc::clone(&entry.settled))
        else {
            return Ok(self.find(id));
        };
        // Registered before the state is looked at, so a finish in between is not missed.
        let notified = settled.notified();
        tokio::pin!(notified);
        notified.as_mut().enable();
        match self.find(id) {
            Found::Job(job) if !job.state.is_final() => {}
            found => return Ok(found),
        }
        let _ = tokio::time::timeout(patience, notified).await;
        Ok(self.find(id))
    }

    async fn list(&self, query: &ListQuery) -> Result<JobPage, StoreError> {
        use std::ops::Bound::{Excluded, Unbounded};
        let mut last_scanned = None;
        let upper = query.before.map_or(Unbounded, Excluded);
        let mut jobs: Vec<Job> = Vec::with_capacity(query.limit);
        let orders = self.orders();
        for (scanned, id) in orders.by_age.range((Unbounded, upper)).rev().enumerate() {
            if scanned == SCANNED_MAX {
                // A page may be short, or empty: whoever waits for the lock does not wait for a rare state to be found.
                return Ok(JobPage {
                    jobs,
                    next: last_scanned,
                });
            }
            last_scanned = Some(*id);
            let Some(entry) = self.entries.get(id) else {
                continue;
            };
            if query.state.is_some_and(|state| state != entry.job.state) {
                continue;
            }
            if jobs.len() == query.limit {
                let next = jobs.last().map(|job| job.id);
                return Ok(JobPage { jobs, next });
            }
            jobs.push(entry.job.clone());
        }
        Ok(JobPage { jobs, next: None })
    }

    async fn sweep(&self, now: Timestamp) -> Result<usize, StoreError> {
        self.keys().sweep(now);
        let mut expired = Vec::new();
        {
            let mut orders = self.orders();
            while let Some((&(at, id), ())) = orders.by_expiry.first_key_value() {
                if at > now {
                    break;
                }
                orders.by_expiry.pop_first();
                orders.by_age.remove(&id);
                orders.tombstones.push_back(id);
                orders.tombstone_set.insert(id);
                if orders.tombstones.len() > TOMBSTONES_MAX
                    && let Some(oldest) = orders.tombstones.pop_front()
                {
                    orders.tombstone_set.remove(&oldest);
                }
                expired.push(id);
            }
        }
        for id in &expired {
            self.expire(*id);
        }
        Ok(expired.len())
    }

    fn counts(&self) -> StoreCounts {
        let as_u64 = |bytes| u64::try_from(bytes).unwrap_or(u64::MAX);
        let Refusals {
            full,
            client_jobs,
            client_bytes,
        } = &self.refusals;
        StoreCounts {
            refused_full: full.load(Ordering::Relaxed),
            refused_client_jobs: client_jobs.load(Ordering::Relaxed),
            refused_client_bytes: client_bytes.load(Ordering::Relaxed),
            bytes: as_u64(self.bytes.load(Ordering::Relaxed)),
            bytes_max: as_u64(self.bounds.bytes_max),
            ..StoreCounts::default()
        }
    }

    fn has_room(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) < self.bounds.bytes_max
    }

    async fn health(&self) -> Result<(), StoreError> {
        Ok(())
    }
}
