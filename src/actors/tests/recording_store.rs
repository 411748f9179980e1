//! A store that records the changes of its jobs.

use super::support::PATIENCE;
use async_trait::async_trait;
use sandpiper_domain::{Access, ApiKeyId, JobId, Tenant, Timestamp};
use sandpiper_store::{
    Accepted, Answered, Committed, Finished, Found, FoundHead, JobPage, JobRecords, JobStore,
    ListQuery, MemoryStore, MemoryStoreBounds, NewAnswer, NewJob, RecordedTotals, RecordedUsage,
    Settlement, StoreError, SuspendedRound, ToolProgress, TotalsQuery, UsageBatch, UsageQuery,
    UsageStore, WaitingBounds,
};
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;

/// A store in memory that records its changes, and can be made to take its time over a start.
#[derive(Debug)]
pub(super) struct RecordingStore {
    inner: MemoryStore,
    changes: Mutex<Vec<String>>,
    may_start: watch::Sender<bool>,
    may_sweep: watch::Sender<bool>,
    sweeps_begun: AtomicUsize,
    may_respond: watch::Sender<bool>,
    is_unwritable: AtomicBool,
    health_asked: AtomicUsize,
}

impl RecordingStore {
    pub(super) fn over(jobs_max: usize) -> Arc<Self> {
        Arc::new(Self {
            inner: MemoryStore::new(MemoryStoreBounds {
                jobs_max,
                bytes_max: 1 << 30,
                ttl: PATIENCE,
                client_jobs_max: 1_000_000,
                client_bytes: usize::MAX,
                usage_kept: PATIENCE * 1_000_000,
                waiting: WaitingBounds::DEFAULT,
            }),
            changes: Mutex::default(),
            may_start: watch::Sender::new(true),
            may_sweep: watch::Sender::new(true),
            sweeps_begun: AtomicUsize::new(0),
            may_respond: watch::Sender::new(true),
            is_unwritable: AtomicBool::new(false),
            health_asked: AtomicUsize::new(0),
        })
    }

    /// While false, starts wait.
    pub(super) fn let_start(&self, may_start: bool) {
        self.may_start.send_replace(may_start);
    }

    /// While false, sweeps wait.
    pub(super) fn let_sweep(&self, may_sweep: bool) {
        self.may_sweep.send_replace(may_sweep);
    }

    /// Returns the number of sweeps that have begun.
    pub(super) fn sweeps_begun(&self) -> usize {
        self.sweeps_begun.load(Ordering::SeqCst)
    }

    /// While false, questions for the health wait.
    pub(super) fn let_health_respond(&self, may_respond: bool) {
        self.may_respond.send_replace(may_respond);
    }

    /// While true, the store reports that it cannot be written.
    pub(super) fn set_unwritable(&self, is_unwritable: bool) {
        self.is_unwritable.store(is_unwritable, Ordering::SeqCst);
    }

    /// Returns the number of questions for the health.
    pub(super) fn health_asked(&self) -> usize {
        self.health_asked.load(Ordering::SeqCst)
    }

    /// Returns the changes of jobs, in their order.
    pub(super) fn changes(&self) -> Vec<String> {
        self.changes.lock().unwrap().clone()
    }

    fn note(&self, change: String) {
        self.changes.lock().unwrap().push(change);
    }
}

#[async_trait]
impl JobStore for RecordingStore {
    fn name(&self) -> &'static str {
        "recording"
    }

    fn promise(&self) -> &'static str {
        "none"
    }

    async fn submit(&self, job: NewJob) -> Result<Accepted, StoreError> {
        self.inner.submit(job).await
    }

    async fn get(&self, id: JobId, access: &Access) -> Result<Found, StoreError> {
        self.inner.get(id, access).await
    }

    async fn wait(
        &self,
        id: JobId,
        access: &Access,
        patience: Duration,
    ) -> Result<Found, StoreError> {
        self.inner.wait(id, access, patience).await
    }

    async fn assign(&self, key: ApiKeyId, from: &Tenant, to: &Tenant) -> Result<u64, StoreError> {
        self.inner.assign(key, from, to).await
    }

    async fn purge(&self, id: JobId) -> Result<(), StoreError> {
        self.inner.purge(id).await
    }

    async fn purge_tenant(&self, tenant: &Tenant) -> Result<u64, StoreError> {
        self.inner.purge_tenant(tenant).await
    }

    async fn set_purged(&self, tenant: &Tenant, is_purged: bool) -> Result<(), StoreError> {
        self.inner.set_purged(tenant, is_purged).await
    }

    async fn knows_tenant(&self, tenant: &Tenant) -> Result<bool, StoreError> {
        self.inner.knows_tenant(tenant).await
    }

    async fn purged_tenants(&self) -> Result<HashSet<Tenant>, StoreError> {
        self.inner.purged_tenants().await
    }

    async fn secret(&self, name: &'static str, new: String) -> Result<String, StoreError> {
        self.inner.secret(name, new).await
    }

    async fn answer(
        &self,
        id: JobId,
        access: &Access,
        answers: Vec<NewAnswer>,
        inbox_bytes_max: u64,
        now: Timestamp,
    ) -> Result<Answered, StoreError> {
        self.inner
            .answer(id, access, answers, inbox_bytes_max, now)
            .await
    }

    async fn progress(&self, id: JobId) -> Result<Option<ToolProgress>, StoreError> {
        self.inner.progress(id).await
    }

    async fn tool_head(&self, id: JobId, access: &Access) -> Result<FoundHead, StoreError> {
        self.inner.tool_head(id, access).await
    }

    async fn list(&self, query: &ListQuery) -> Result<JobPage, StoreError> {
        self.inner.list(query).await
    }

    async fn sweep(&self, now: Timestamp) -> Result<usize, StoreError> {
        self.sweeps_begun.fetch_add(1, Ordering::SeqCst);
        let mut may_sweep = self.may_sweep.subscribe();
        let _ = may_sweep.wait_for(|may_sweep| *may_sweep).await;
        self.inner.sweep(now).await
    }

    async fn health(&self) -> Result<(), StoreError> {
        self.health_asked.fetch_add(1, Ordering::SeqCst);
        let mut may_respond = self.may_respond.subscribe();
        let _ = may_respond.wait_for(|may_respond| *may_respond).await;
        if self.is_unwritable.load(Ordering::SeqCst) {
            return Err(StoreError::Unavailable("it cannot be written".to_owned()));
        }
        Ok(())
    }
}

#[async_trait]
impl UsageStore for RecordingStore {
    async fn record_usage(&self, batch: Arc<UsageBatch>) -> Result<(), StoreError> {
        self.inner.record_usage(batch).await
    }

    async fn usage(&self, query: &UsageQuery) -> Result<RecordedUsage, StoreError> {
        self.inner.usage(query).await
    }

    async fn usage_totals(&self, query: &TotalsQuery) -> Result<RecordedTotals, StoreError> {
        self.inner.usage_totals(query).await
    }
}

#[async_trait]
impl JobRecords for RecordingStore {
    async fn start(&self, id: JobId, attempt: u32) -> Result<(), StoreError> {
        let mut may_start = self.may_start.subscribe();
        let _ = may_start.wait_for(|may_start| *may_start).await;
        self.note(format!("start {attempt}"));
        self.inner.start(id, attempt).await
    }

    async fn requeue(&self, id: JobId, attempt: u32) -> Result<(), StoreError> {
        self.note(format!("requeue {attempt}"));
        self.inner.requeue(id, attempt).await
    }

    async fn finish(
        &self,
        id: JobId,
        attempt: u32,
        settlement: Settlement,
    ) -> Result<Finished, StoreError> {
        self.note(format!("finish {attempt} {}", settlement.state.as_str()));
        self.inner.finish(id, attempt, settlement).await
    }

    async fn suspend(
        &self,
        id: JobId,
        attempt: u32,
        progress: &ToolProgress,
        round: Arc<SuspendedRound>,
    ) -> Result<Committed, StoreError> {
        self.note(format!("suspend {attempt}"));
        self.inner.suspend(id, attempt, progress, round).await
    }

    async fn resume(&self, id: JobId) -> Result<(), StoreError> {
        self.note("resume".to_owned());
        self.inner.resume(id).await
    }
}
