//! A store for one process: it hands its jobs out to the runner of this process and records their results.
//!
//! [`JobRecords`] stores the records. This module decides what happens to a job: each accepted job goes to the runner
//! at once, waits there for an executor, and is retried if the service failed to run it. One task per open job makes
//! all changes of the job's record, so the changes are made in order, however slow the store of the records is.

use super::{
    Accepted, Finished, Found, JobPage, JobRunner, JobStore, ListQuery, NewJob, Nodes, NotRun,
    QueuePlace, RecordedTotals, RecordedUsage, Settlement, StartHook, StoreCounts, StoreError,
    TotalsQuery, UsageBatch, UsageQuery, UsageStore,
};
use async_trait::async_trait;
use dashmap::DashMap;
use sandpiper_domain::{Access, ApiKeyId, Execution, Job, JobId, LogSoFar, Tenant, Timestamp};
use std::collections::HashSet;
use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use tracing::field::display;
use tracing::{error, warn};

/// Time until a job that could not be run is tried again.
const RETRY_AFTER: Duration = Duration::from_millis(250);
/// Longest time that the end of the service waits for results to be recorded.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);

/// The records of jobs of one process. Every change is fenced by the attempt that makes it.
#[async_trait]
pub trait JobRecords: JobStore {
    /// Records that an executor runs the job, with this attempt.
    async fn start(&self, id: JobId, attempt: u32) -> Result<(), StoreError>;

    /// Records that this attempt ran nothing: the job is queued again.
    async fn requeue(&self, id: JobId, attempt: u32) -> Result<(), StoreError>;

    /// Records the job's one final state, if `attempt` is still its attempt.
    async fn finish(
        &self,
        id: JobId,
        attempt: u32,
        settlement: Settlement,
    ) -> Result<Finished, StoreError>;
}

#[derive(Debug)]
pub struct InProcessStore(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    records: Arc<dyn JobRecords>,
    attempts_max: u32,
    runner: OnceLock<Arc<dyn JobRunner>>,
    /// For each open job, true once the job is to be cancelled.
    open: DashMap<JobId, watch::Sender<bool>>,
    /// The number of attempts that have started and are not recorded to their end.
    unrecorded: watch::Sender<usize>,
    lost: AtomicU64,
    stale: AtomicU64,
    failures: AtomicU64,
}

impl InProcessStore {
    /// Creates a store that hands out the jobs of `records`. A job that the service fails to run `attempts_max` times
    /// is lost.
    #[must_use]
    pub fn new(records: Arc<dyn JobRecords>, attempts_max: u32) -> Self {
        Self(Arc::new(Shared {
            records,
            attempts_max,
            runner: OnceLock::new(),
            open: DashMap::new(),
            unrecorded: watch::Sender::new(0),
            lost: AtomicU64::new(0),
            stale: AtomicU64::new(0),
            failures: AtomicU64::new(0),
        }))
    }
}

/// An attempt whose result is not recorded yet. [`InProcessStore::close`] waits until none exists.
struct Unrecorded(Arc<Shared>);

impl Unrecorded {
    fn new(shared: Arc<Shared>) -> Self {
        shared.unrecorded.send_modify(|count| *count += 1);
        Self(shared)
    }
}

impl Drop for Unrecorded {
    fn drop(&mut self) {
        self.0.unrecorded.send_modify(|count| *count -= 1);
    }
}

/// A job on its way from being accepted to its final state.
struct OpenJob {
    shared: Arc<Shared>,
    runner: Arc<dyn JobRunner>,
    job: Arc<Job>,
    /// The place that is reserved for the first attempt.
    place: QueuePlace,
    cancelled: watch::Receiver<bool>,
    /// The number of attempts that have started.
    attempts: u32,
}

impl Drop for OpenJob {
    fn drop(&mut self) {
        self.shared.open.remove(&self.job.id);
    }
}

impl OpenJob {
    /// Runs the job until it has its final state, or until the service stops.
    async fn run_to_end(mut self) {
        while !self.is_cancelled() {
            let (on_start, started) = self.start_hook();
            let (result, unrecorded) = self.attempt(on_start, started).await;
            let has_started = unrecorded.is_some();
            match result {
                Ok(execution) => return self.finish(Settlement::of(execution)).await,
                Err(NotRun::Stopping) => return,
                Err(NotRun::Cancelled) => return self.finish(Settlement::CANCELLED).await,
                Err(NotRun::Failed) if self.is_cancelled() => {
                    return self.finish(Settlement::CANCELLED).await;
                }
                Err(NotRun::Failed) if has_started && self.attempts >= self.shared.attempts_max => {
                    return self.record_loss().await;
                }
                Err(NotRun::Failed) if has_started => self.record_requeue().await,
                // The queue is full. An accepted job stays accepted, and waits.
                Err(NotRun::Failed | NotRun::Busy) => {}
            }
            drop(unrecorded);
            let cancelled = self.cancelled.wait_for(|is_cancelled| *is_cancelled);
            // Ends early if the job is cancelled meanwhile.
            let _ = tokio::time::timeout(RETRY_AFTER, cancelled).await;
        }
        self.finish(Settlement::CANCELLED).await;
    }

    fn is_cancelled(&self) -> bool {
        *self.cancelled.borrow()
    }

    /// Returns a hook that notes the start in the moment in which it happens, and the receiver of that note.
    fn start_hook(&self) -> (StartHook, oneshot::Receiver<Unrecorded>) {
        let (sender, started) = oneshot::channel();
        let shared = Arc::clone(&self.shared);
        let on_start = StartHook::new(move || {
            // The receiver may have gone, with the service.
            let _ = sender.send(Unrecorded::new(shared));
        });
        (on_start, started)
    }

    /// Runs the job once, and records its start. The second value exists if an executor took the job.
    async fn attempt(
        &mut self,
        on_start: StartHook,
        started: oneshot::Receiver<Unrecorded>,
    ) -> (Result<Arc<Execution>, NotRun>, Option<Unrecorded>) {
        let (job, place) = (Arc::clone(&self.job), std::mem::take(&mut self.place));
        let runner = Arc::clone(&self.runner);
        let mut run = runner.run(job, place, on_start);
        let unrecorded = tokio::select! {
            // If both are ready, the start is recorded before the result.
            biased;
            Ok(unrecorded) = started => unrecorded,
            result = &mut run => return (result, None),
        };
        self.attempts += 1;
        let recorded = self.shared.records.start(self.job.id, self.attempts).await;
        self.shared.count_failure(recorded);
        // A cancel that came between the queue and the executor has found the job in neither.
        if self.is_cancelled() {
            runner.cancel(self.job.id).await;
        }
        (run.await, Some(unrecorded))
    }

    async fn record_loss(&self) {
        let attempts = self.attempts;
        let trace = self.job.trace.as_ref();
        let trace_id = trace.map(|trace| display(trace.trace_text()));
        warn!(job = %self.job.id, trace_id, attempts, "a job is lost: the service failed to run it in each attempt");
        self.shared.lost.fetch_add(1, Ordering::Relaxed);
        self.finish(Settlement::lost(&self.job, attempts)).await;
    }

    async fn record_requeue(&self) {
        let (id, attempts) = (self.job.id, self.attempts);
        let recorded = self.shared.records.requeue(id, attempts).await;
        self.shared.count_failure(recorded);
    }

    async fn finish(&self, settlement: Settlement) {
        let (id, attempts) = (self.job.id, self.attempts);
        let recorded = self.shared.records.finish(id, attempts, settlement).await;
        if self.shared.count_failure(recorded) == Some(Finished::Stale) {
            self.shared.stale.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Shared {
    /// Hands an accepted job to the runner, and starts the task that runs the job to its end. The job is with the
    /// runner when this returns, so that a stop of the service that comes after an accepted job finds the job there.
    async fn hand_out(self: &Arc<Self>, job: Arc<Job>, place: QueuePlace) {
        let Some(runner) = self.runner.get() else {
            return;
        };
        let (cancel, cancelled) = watch::channel(false);
        self.open.insert(job.id, cancel);
        let open_job = OpenJob {
            shared: Arc::clone(self),
            runner: Arc::clone(runner),
            job,
            place,
            cancelled,
            attempts: 0,
        };
        let mut task = Box::pin(open_job.run_to_end());
        let first_poll = poll_fn(|context| Poll::Ready(task.as_mut().poll(context)));
        if first_poll.await.is_pending() {
            tokio::spawn(task);
        }
    }

    fn count_failure<T>(&self, recorded: Result<T, StoreError>) -> Option<T> {
        if let Err(cause) = &recorded {
            self.failures.fetch_add(1, Ordering::Relaxed);
            error!(
                %cause,
                "the store did not record a change of a job: the job may be shown in an old state"
            );
        }
        recorded.ok()
    }
}

#[async_trait]
impl UsageStore for InProcessStore {
    async fn record_usage(&self, batch: Arc<UsageBatch>) -> Result<(), StoreError> {
        self.0.records.record_usage(batch).await
    }

    async fn usage(&self, query: &UsageQuery) -> Result<RecordedUsage, StoreError> {
        self.0.records.usage(query).await
    }

    async fn usage_totals(&self, query: &TotalsQuery) -> Result<RecordedTotals, StoreError> {
        self.0.records.usage_totals(query).await
    }
}

#[async_trait]
impl JobStore for InProcessStore {
    fn name(&self) -> &'static str {
        self.0.records.name()
    }

    fn promise(&self) -> &'static str {
        self.0.records.promise()
    }

    async fn submit(&self, new: NewJob) -> Result<Accepted, StoreError> {
        let (job, place) = (Arc::clone(&new.job), new.queue_place.clone());
        let accepted = self.0.records.submit(new).await?;
        if !accepted.is_replay {
            self.0.hand_out(job, place).await;
        }
        Ok(accepted)
    }

    async fn get(&self, id: JobId, access: &Access) -> Result<Found, StoreError> {
        self.0.records.get(id, access).await
    }

    async fn wait(
        &self,
        id: JobId,
        access: &Access,
        patience: Duration,
    ) -> Result<Found, StoreError> {
        self.0.records.wait(id, access, patience).await
    }

    async fn log_so_far(&self, id: JobId, attempt: u32) -> Result<Option<LogSoFar>, StoreError> {
        self.0.records.log_so_far(id, attempt).await
    }

    async fn list(&self, query: &ListQuery) -> Result<JobPage, StoreError> {
        self.0.records.list(query).await
    }

    async fn sweep(&self, now: Timestamp) -> Result<usize, StoreError> {
        self.0.records.sweep(now).await
    }

    fn start_dispatch(&self, runner: Arc<dyn JobRunner>) -> Result<(), StoreError> {
        let _ = self.0.runner.set(runner);
        Ok(())
    }

    /// Ends the wait of a job for its retry. A job that waits for an executor, or runs, is stopped by the runner.
    async fn cancel(&self, id: JobId) -> Result<(), StoreError> {
        if let Some(cancel) = self.0.open.get(&id) {
            cancel.send_replace(true);
        }
        self.0.records.cancel(id).await
    }

    async fn assign(&self, key: ApiKeyId, from: &Tenant, to: &Tenant) -> Result<u64, StoreError> {
        self.0.records.assign(key, from, to).await
    }

    async fn purge(&self, id: JobId) -> Result<(), StoreError> {
        self.0.records.purge(id).await
    }

    async fn purge_tenant(&self, tenant: &Tenant) -> Result<u64, StoreError> {
        self.0.records.purge_tenant(tenant).await
    }

    async fn set_purged(&self, tenant: &Tenant, is_purged: bool) -> Result<(), StoreError> {
        self.0.records.set_purged(tenant, is_purged).await
    }

    async fn knows_tenant(&self, tenant: &Tenant) -> Result<bool, StoreError> {
        self.0.records.knows_tenant(tenant).await
    }

    async fn purged_tenants(&self) -> Result<HashSet<Tenant>, StoreError> {
        self.0.records.purged_tenants().await
    }

    async fn secret(&self, name: &'static str, new: String) -> Result<String, StoreError> {
        self.0.records.secret(name, new).await
    }

    async fn nodes(&self) -> Result<Option<Nodes>, StoreError> {
        self.0.records.nodes().await
    }

    fn counts(&self) -> StoreCounts {
        let counts = self.0.records.counts();
        StoreCounts {
            lost: counts.lost + self.0.lost.load(Ordering::Relaxed),
            stale: counts.stale + self.0.stale.load(Ordering::Relaxed),
            failures: counts.failures + self.0.failures.load(Ordering::Relaxed),
            ..counts
        }
    }

    async fn close(&self) {
        let mut unrecorded = self.0.unrecorded.subscribe();
        let all_recorded = unrecorded.wait_for(|count| *count == 0);
        if tokio::time::timeout(CLOSE_WITHIN, all_recorded)
            .await
            .is_err()
        {
            error!("some results could not be recorded in time: the service stops without them");
        }
    }

    fn has_room(&self) -> bool {
        self.0.records.has_room()
    }

    async fn health(&self) -> Result<(), StoreError> {
        self.0.records.health().await
    }
}
