//! Jobs in the memory of this process: bounded in jobs and bytes, and gone when the process ends.
//!
//! No job is evicted before it expires. A full store rejects submits, and starts no job whose result would have no room.
//! The bound of bytes is exceeded at most by the results of the jobs that were running when the store became full.

mod entry;
mod keys;
mod orders;
mod records;
mod rejections;
mod tool_jobs;
mod tool_state;
mod usage;
mod usage_table;

use super::fingerprint::Fingerprint;
use super::{
    Accepted, Answered, Found, FoundHead, JobPage, JobStore, ListQuery, NewAnswer, NewJob,
    StoreCounts, StoreError, ToolProgress, WaitingBounds,
};
use async_trait::async_trait;
use dashmap::DashMap;
use entry::Entry;
use keys::{Key, KeyedRequest, Keys};
use orders::Orders;
use parking_lot::Mutex;
use sandpiper_domain::{Access, ApiKeyId, JobId, JobRecord, Owner, Tenant, Timestamp, UsageCounts};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tool_state::ToolState;
use usage::Usage;
use usage_table::UsageTable;

/// Most jobs that one list reads.
const SCANNED_MAX: usize = 2_000;

#[derive(Debug, Clone, Copy)]
pub struct MemoryStoreBounds {
    /// Most jobs, also those with a final state.
    pub jobs_max: usize,
    /// Most bytes, approximately.
    pub bytes_max: usize,
    /// Time from a job's final state to its expiry.
    pub ttl: Duration,
    /// Most jobs of one client that are queued or running, and have never suspended.
    pub client_jobs_max: usize,
    /// Most bytes of one client's jobs, also those with a final state.
    pub client_bytes: usize,
    /// Time for which sums of usage are kept.
    pub usage_kept: Duration,
    pub waiting: WaitingBounds,
}

#[derive(Debug)]
pub struct MemoryStore {
    bounds: MemoryStoreBounds,
    entries: DashMap<JobId, Entry>,
    orders: Mutex<Orders>,
    keys: Mutex<Keys>,
    usage: Usage,
    purged_tenants: Mutex<HashSet<Tenant>>,
    secrets: Mutex<BTreeMap<&'static str, String>>,
    usage_table: UsageTable,
}

impl MemoryStore {
    #[must_use]
    pub fn new(bounds: MemoryStoreBounds) -> Self {
        Self {
            bounds,
            entries: DashMap::new(),
            orders: Mutex::default(),
            keys: Mutex::default(),
            usage: Usage::default(),
            purged_tenants: Mutex::default(),
            secrets: Mutex::default(),
            usage_table: UsageTable::new(bounds.usage_kept),
        }
    }

    fn find(&self, id: JobId, access: &Access) -> Found {
        if let Some(entry) = self.entries.get(&id) {
            return if access.includes(&entry.job.owner) {
                Found::Job(entry.job.clone())
            } else {
                Found::Unknown
            };
        }
        let orders = self.orders.lock();
        match orders.owner_of_expired(id) {
            Some(owner) if access.includes(owner) => Found::Expired,
            _ => Found::Unknown,
        }
    }

    /// Returns the job that was accepted with the key of `fingerprint`'s request, if there is one.
    fn replay(
        &self,
        keys: &Keys,
        key: &Key,
        fingerprint: &Fingerprint,
    ) -> Option<Result<Accepted, StoreError>> {
        let known = keys.get(key)?;
        if !known.fingerprint.is_same(fingerprint) {
            return Some(Err(StoreError::KeyReused));
        }
        Some(match self.find(known.id, &Access::All) {
            Found::Job(job) => Ok(Accepted {
                job,
                is_replay: true,
            }),
            Found::Expired | Found::Unknown => Err(StoreError::KeyExpired),
        })
    }

    /// Deletes those of the jobs that are not open, and their idempotency keys. Returns how many there were.
    fn purge_all(&self, ids: &HashSet<JobId>) -> u64 {
        let mut purged = 0;
        for id in ids {
            let is_final = |_: &JobId, entry: &Entry| entry.job.state.is_final();
            if let Some((_, entry)) = self.entries.remove_if(id, is_final) {
                self.usage.remove_job(&entry.client, entry.held());
                self.orders.lock().forget(*id, &entry.job);
                purged += 1;
            } else if !self.entries.contains_key(id) {
                self.orders.lock().forget_tombstone(*id);
            }
        }
        self.keys.lock().forget_jobs(ids);
        purged
    }

    fn insert(&self, new: NewJob, bytes: usize) -> JobRecord {
        let (id, job) = (new.job.id, new.queued());
        let counts = UsageCounts::of_accepted_job(&new.job.script);
        self.usage_table
            .add(&new.job.owner, new.created_at, &counts);
        let mut entry = Entry {
            job: job.clone(),
            client: new.job.client.clone(),
            bytes,
            reserved: new.reserved(),
            tools: new.tool_head.map(|head| Box::new(ToolState::new(head))),
            settled: Arc::new(Notify::new()),
        };
        entry.recount_tools(0);
        self.usage.add_job(&entry.client, entry.held());
        self.entries.insert(id, entry);
        self.orders.lock().insert(id, &job.owner.tenant);
        job
    }
}

fn owner_of(key: ApiKeyId, tenant: &Tenant) -> Owner {
    Owner {
        tenant: tenant.clone(),
        key: Some(key),
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
        let mut keys = self.keys.lock();
        let key = new.terms.key.as_ref();
        let key = key.map(|key| ((new.job.client.clone(), key.clone()), Fingerprint::of(&new)));
        if let Some((key, fingerprint)) = &key
            && let Some(replayed) = self.replay(&keys, key, fingerprint)
        {
            return replayed;
        }
        if new.terms.replay_only {
            return Err(StoreError::NoReplay);
        }
        let bytes = size_of::<Entry>() + new.job.script.size_bytes();
        let head_bytes = new.tool_head.as_ref().map(Vec::len);
        self.check_bounds(&new.job.client, bytes + head_bytes.unwrap_or_default())?;
        if head_bytes.is_some() {
            self.check_waiting(&new.job.client)?;
        }
        let job = self.insert(new, bytes);
        if let Some((key, fingerprint)) = key {
            let id = job.id;
            keys.insert(key, KeyedRequest { id, fingerprint });
        }
        Ok(Accepted {
            job,
            is_replay: false,
        })
    }

    async fn get(&self, id: JobId, access: &Access) -> Result<Found, StoreError> {
        Ok(self.find(id, access))
    }

    async fn wait(
        &self,
        id: JobId,
        access: &Access,
        patience: Duration,
    ) -> Result<Found, StoreError> {
        self.wait_for(id, access, patience).await
    }

    async fn answer(
        &self,
        id: JobId,
        access: &Access,
        answers: Vec<NewAnswer>,
        inbox_bytes_max: u64,
        now: Timestamp,
    ) -> Result<Answered, StoreError> {
        Ok(self.take_answers(id, access, answers, inbox_bytes_max, now))
    }

    async fn progress(&self, id: JobId) -> Result<Option<ToolProgress>, StoreError> {
        let entry = self.entries.get(&id);
        let tools = entry.as_ref().and_then(|entry| entry.tools.as_ref());
        Ok(tools.map(|tools| tools.progress()))
    }

    async fn tool_head(&self, id: JobId, access: &Access) -> Result<FoundHead, StoreError> {
        Ok(self.find_head(id, access))
    }

    async fn list(&self, query: &ListQuery) -> Result<JobPage, StoreError> {
        let mut last_scanned = None;
        let mut jobs: Vec<JobRecord> = Vec::with_capacity(query.limit);
        let orders = self.orders.lock();
        let newest_first = orders.newest_first(query.access.tenant(), query.before);
        for (scanned, id) in newest_first.enumerate() {
            if scanned == SCANNED_MAX {
                // A page may be short or empty: the search for a rare state must not hold the lock for long.
                return Ok(JobPage {
                    jobs,
                    next: last_scanned,
                });
            }
            last_scanned = Some(id);
            let Some(entry) = self.entries.get(&id) else {
                continue;
            };
            let is_other = query.state.is_some_and(|state| state != entry.job.state);
            if is_other || !query.access.includes(&entry.job.owner) {
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
        self.usage_table.sweep(now);
        for tenant in &*self.purged_tenants.lock() {
            // A node may have written its last usage after the purge.
            self.usage_table.purge(tenant);
        }
        self.keys.lock().sweep(now);
        let expired = self.orders.lock().take_expired(now);
        for id in &expired {
            let owner = self.entries.get(id).map(|entry| entry.job.owner.clone());
            if let Some(owner) = owner {
                self.orders.lock().bury(*id, owner);
            }
            if let Some((_, entry)) = self.entries.remove(id) {
                self.usage.remove_job(&entry.client, entry.held());
            }
        }
        Ok(expired.len())
    }

    async fn assign(&self, key: ApiKeyId, from: &Tenant, to: &Tenant) -> Result<u64, StoreError> {
        let (of_key, new_owner) = (Access::Key(from.clone(), key), owner_of(key, to));
        // Taken first and held throughout, as by a submit, so that no request with an idempotency key comes in between.
        let mut keys = self.keys.lock();
        let ids: Vec<JobId> = (self.orders.lock().newest_first(Some(from), None)).collect();
        let mut assigned = Vec::new();
        for id in ids {
            let Some(mut entry) = self.entries.get_mut(&id) else {
                continue;
            };
            if !of_key.includes(&entry.job.owner) {
                continue;
            }
            entry.job.owner = new_owner.clone();
            let client = to.client().unwrap_or_else(|| entry.client.clone());
            let before = std::mem::replace(&mut entry.client, client.clone());
            let held = entry.held();
            drop(entry);
            self.usage.move_job(&before, &client, held);
            assigned.push(id);
        }
        self.orders.lock().assign(&assigned, &of_key, &new_owner);
        self.usage_table.assign(key, from, to);
        let count = assigned.len() as u64;
        if let Some(client) = to.client() {
            keys.move_jobs(&assigned.into_iter().collect(), &client);
        }
        Ok(count)
    }

    async fn purge(&self, id: JobId) -> Result<(), StoreError> {
        self.purge_all(&HashSet::from([id]));
        Ok(())
    }

    async fn purge_tenant(&self, tenant: &Tenant) -> Result<u64, StoreError> {
        let ids: HashSet<JobId> = (self.orders.lock().newest_first(Some(tenant), None)).collect();
        let purged = self.purge_all(&ids);
        self.orders.lock().forget_expired(tenant);
        self.usage_table.purge(tenant);
        Ok(purged)
    }

    async fn set_purged(&self, tenant: &Tenant, is_purged: bool) -> Result<(), StoreError> {
        let mut purged = self.purged_tenants.lock();
        if is_purged {
            purged.insert(tenant.clone());
        } else {
            purged.remove(tenant);
        }
        Ok(())
    }

    async fn knows_tenant(&self, tenant: &Tenant) -> Result<bool, StoreError> {
        let has_job = (self.orders.lock().newest_first(Some(tenant), None))
            .next()
            .is_some();
        Ok(has_job || self.usage_table.has(tenant) || self.purged_tenants.lock().contains(tenant))
    }

    async fn purged_tenants(&self) -> Result<HashSet<Tenant>, StoreError> {
        Ok(self.purged_tenants.lock().clone())
    }

    async fn secret(&self, name: &'static str, new: String) -> Result<String, StoreError> {
        Ok(self.secrets.lock().entry(name).or_insert(new).clone())
    }

    fn counts(&self) -> StoreCounts {
        StoreCounts {
            usage_dropped: self.usage_table.dropped(),
            ..self.usage.counts(self.bounds.bytes_max)
        }
    }

    fn has_room(&self) -> bool {
        self.usage.bytes() < self.bounds.bytes_max
    }

    async fn health(&self) -> Result<(), StoreError> {
        Ok(())
    }
}
