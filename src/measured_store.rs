//! A store that measures another: the duration and the failures of each operation.

use async_trait::async_trait;
use sandpiper_domain::{Access, ApiKeyId, JobId, LogSoFar, Tenant, Timestamp};
use sandpiper_http_kit::counters::{Counter, Histogram};
use sandpiper_store::{
    Accepted, Answered, Committed, Finished, Found, FoundHead, JobPage, JobRecords, JobRunner,
    JobStore, ListQuery, NewAnswer, NewJob, Nodes, RecordedTotals, RecordedUsage, Settlement,
    StoreCounts, StoreError, SuspendedRound, ToolProgress, TotalsQuery, UsageBatch, UsageQuery,
    UsageStore,
};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Labels of the operations in metrics, in the order of [`Operation`].
const NAMES: &[&str] = &[
    "submit",
    "start",
    "hand_back",
    "finish",
    "suspend",
    "resume",
    "answer",
    "progress",
    "tool_head",
    "get",
    "wait",
    "log",
    "list",
    "sweep",
    "cancel",
    "assign",
    "purge",
    "purged_tenants",
    "secret",
    "nodes",
    "usage_record",
    "usage_read",
    "usage_totals",
    "health",
];

#[derive(Debug, Clone, Copy)]
enum Operation {
    Submit,
    Start,
    Requeue,
    Finish,
    Suspend,
    Resume,
    Answer,
    Progress,
    ToolHead,
    Get,
    Wait,
    Log,
    List,
    Sweep,
    Cancel,
    Assign,
    Purge,
    PurgedTenants,
    Secret,
    Nodes,
    UsageRecord,
    UsageRead,
    UsageTotals,
    Health,
}

/// Histograms and failures of a fixed list of operations.
#[derive(Debug)]
pub struct Operations {
    names: &'static [&'static str],
    times: Vec<Histogram>,
    failures: Vec<Counter>,
}

impl Operations {
    /// Creates meters for these operations.
    #[must_use]
    pub fn new(names: &'static [&'static str]) -> Self {
        Self {
            names,
            times: names.iter().map(|_| Histogram::default()).collect(),
            failures: names.iter().map(|_| Counter::default()).collect(),
        }
    }

    /// Counts one duration of the operation at `index`.
    pub fn took(&self, index: usize, duration: Duration) {
        if let Some(times) = self.times.get(index) {
            times.observe(duration);
        }
    }

    /// Counts one failure of the operation at `index`.
    pub fn failed(&self, index: usize) {
        if let Some(failures) = self.failures.get(index) {
            failures.count();
        }
    }

    /// Returns the name, the durations and the failures of each operation.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, &Histogram, u64)> {
        let times = self.names.iter().zip(&self.times);
        times
            .zip(&self.failures)
            .map(|((name, times), failures)| (*name, times, failures.get()))
    }
}

/// A measured store. A rejected job is no failure: the client learns that the store is full, and the operator from other
/// metrics.
#[derive(Debug)]
pub struct MeasuredStore<S: ?Sized> {
    operations: Arc<Operations>,
    store: Arc<S>,
}

impl<S: JobStore + ?Sized> MeasuredStore<S> {
    /// Measures `store`.
    #[must_use]
    pub fn new(store: Arc<S>) -> Self {
        Self {
            store,
            operations: Arc::new(Operations::new(NAMES)),
        }
    }

    /// Returns the measurements.
    #[must_use]
    pub fn operations(&self) -> Arc<Operations> {
        Arc::clone(&self.operations)
    }

    async fn timed<T>(
        &self,
        operation: Operation,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let began = Instant::now();
        let done = work.await;
        self.operations.took(operation as usize, began.elapsed());
        self.count(operation, &done);
        done
    }

    fn count<T>(&self, operation: Operation, done: &Result<T, StoreError>) {
        if let Err(StoreError::Unavailable(_) | StoreError::Unreadable(_)) = done {
            self.operations.failed(operation as usize);
        }
    }
}

// A method left to its default would not reach the store.
#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<S: JobStore + ?Sized> JobStore for MeasuredStore<S> {
    fn name(&self) -> &'static str {
        self.store.name()
    }

    fn promise(&self) -> &'static str {
        self.store.promise()
    }

    async fn submit(&self, job: NewJob) -> Result<Accepted, StoreError> {
        self.timed(Operation::Submit, self.store.submit(job)).await
    }

    async fn get(&self, id: JobId, access: &Access) -> Result<Found, StoreError> {
        self.timed(Operation::Get, self.store.get(id, access)).await
    }

    /// Counts failures only: the caller chooses the duration.
    async fn wait(
        &self,
        id: JobId,
        access: &Access,
        patience: Duration,
    ) -> Result<Found, StoreError> {
        let found = self.store.wait(id, access, patience).await;
        self.count(Operation::Wait, &found);
        found
    }

    async fn log_so_far(&self, id: JobId, attempt: u32) -> Result<Option<LogSoFar>, StoreError> {
        self.timed(Operation::Log, self.store.log_so_far(id, attempt))
            .await
    }

    async fn answer(
        &self,
        id: JobId,
        access: &Access,
        answers: Vec<NewAnswer>,
        inbox_bytes_max: u64,
        now: Timestamp,
    ) -> Result<Answered, StoreError> {
        let answered = (self.store).answer(id, access, answers, inbox_bytes_max, now);
        self.timed(Operation::Answer, answered).await
    }

    async fn progress(&self, id: JobId) -> Result<Option<ToolProgress>, StoreError> {
        self.timed(Operation::Progress, self.store.progress(id))
            .await
    }

    async fn tool_head(&self, id: JobId, access: &Access) -> Result<FoundHead, StoreError> {
        self.timed(Operation::ToolHead, self.store.tool_head(id, access))
            .await
    }

    async fn list(&self, query: &ListQuery) -> Result<JobPage, StoreError> {
        self.timed(Operation::List, self.store.list(query)).await
    }

    async fn sweep(&self, now: Timestamp) -> Result<usize, StoreError> {
        self.timed(Operation::Sweep, self.store.sweep(now)).await
    }

    fn supports_terms(&self) -> bool {
        self.store.supports_terms()
    }

    fn start_dispatch(&self, runner: Arc<dyn JobRunner>) -> Result<(), StoreError> {
        self.store.start_dispatch(runner)
    }

    fn dispatch_more(&self) {
        self.store.dispatch_more();
    }

    async fn cancel(&self, id: JobId) -> Result<(), StoreError> {
        self.timed(Operation::Cancel, self.store.cancel(id)).await
    }

    async fn assign(&self, key: ApiKeyId, from: &Tenant, to: &Tenant) -> Result<u64, StoreError> {
        let assigned = self.store.assign(key, from, to);
        self.timed(Operation::Assign, assigned).await
    }

    async fn purge(&self, id: JobId) -> Result<(), StoreError> {
        self.timed(Operation::Purge, self.store.purge(id)).await
    }

    async fn purge_tenant(&self, tenant: &Tenant) -> Result<u64, StoreError> {
        let purged = self.store.purge_tenant(tenant);
        self.timed(Operation::Purge, purged).await
    }

    async fn set_purged(&self, tenant: &Tenant, is_purged: bool) -> Result<(), StoreError> {
        let set = self.store.set_purged(tenant, is_purged);
        self.timed(Operation::PurgedTenants, set).await
    }

    async fn knows_tenant(&self, tenant: &Tenant) -> Result<bool, StoreError> {
        let known = self.store.knows_tenant(tenant);
        self.timed(Operation::PurgedTenants, known).await
    }

    async fn purged_tenants(&self) -> Result<HashSet<Tenant>, StoreError> {
        let purged = self.store.purged_tenants();
        self.timed(Operation::PurgedTenants, purged).await
    }

    async fn secret(&self, name: &'static str, new: String) -> Result<String, StoreError> {
        self.timed(Operation::Secret, self.store.secret(name, new))
            .await
    }

    async fn nodes(&self) -> Result<Option<Nodes>, StoreError> {
        self.timed(Operation::Nodes, self.store.nodes()).await
    }

    fn counts(&self) -> StoreCounts {
        self.store.counts()
    }

    fn stop_dispatch(&self) {
        self.store.stop_dispatch();
    }

    async fn close(&self) {
        self.store.close().await;
    }

    fn has_room(&self) -> bool {
        self.store.has_room()
    }

    async fn health(&self) -> Result<(), StoreError> {
        self.timed(Operation::Health, self.store.health()).await
    }
}

#[async_trait]
impl<S: JobStore + ?Sized> UsageStore for MeasuredStore<S> {
    async fn record_usage(&self, batch: Arc<UsageBatch>) -> Result<(), StoreError> {
        let recorded = self.store.record_usage(batch);
        self.timed(Operation::UsageRecord, recorded).await
    }

    async fn usage(&self, query: &UsageQuery) -> Result<RecordedUsage, StoreError> {
        self.timed(Operation::UsageRead, self.store.usage(query))
            .await
    }

    async fn usage_totals(&self, query: &TotalsQuery) -> Result<RecordedTotals, StoreError> {
        let totals = self.store.usage_totals(query);
        self.timed(Operation::UsageTotals, totals).await
    }
}

// A method left to its default would not reach the store.
#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<S: JobRecords + ?Sized> JobRecords for MeasuredStore<S> {
    async fn start(&self, id: JobId, attempt: u32) -> Result<(), StoreError> {
        self.timed(Operation::Start, self.store.start(id, attempt))
            .await
    }

    async fn requeue(&self, id: JobId, attempt: u32) -> Result<(), StoreError> {
        self.timed(Operation::Requeue, self.store.requeue(id, attempt))
            .await
    }

    async fn finish(
        &self,
        id: JobId,
        attempt: u32,
        settlement: Settlement,
    ) -> Result<Finished, StoreError> {
        let finished = self.store.finish(id, attempt, settlement);
        self.timed(Operation::Finish, finished).await
    }

    async fn suspend(
        &self,
        id: JobId,
        attempt: u32,
        progress: &ToolProgress,
        round: Arc<SuspendedRound>,
    ) -> Result<Committed, StoreError> {
        let committed = self.store.suspend(id, attempt, progress, round);
        self.timed(Operation::Suspend, committed).await
    }

    async fn resume(&self, id: JobId) -> Result<(), StoreError> {
        self.timed(Operation::Resume, self.store.resume(id)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_operation_has_its_label() {
        assert_eq!(NAMES.len(), Operation::Health as usize + 1);
        assert_eq!(NAMES[Operation::Finish as usize], "finish");
        assert_eq!(NAMES[Operation::Cancel as usize], "cancel");
        assert_eq!(NAMES[Operation::UsageTotals as usize], "usage_totals");
    }
}
