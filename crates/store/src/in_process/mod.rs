//! A store for one process: it hands its jobs out to the runner of this process and records their results.
//!
//! [`JobRecords`] stores the records. This module decides what happens to a job: each accepted job goes to the runner
//! at once, waits there for an executor, and is retried if the service failed to run it. One task per open job makes
//! all changes of the job's record, so the changes are made in order, however slow the store of the records is.

mod open_job;

use super::{
    Accepted, Answered, Committed, Finished, Found, FoundHead, JobPage, JobRunner, JobStore,
    ListQuery, NewAnswer, NewJob, Nodes, QueuePlace, RecordedTotals, RecordedUsage, Settlement,
    StoreCounts, StoreError, SuspendedRound, ToolProgress, TotalsQuery, UsageBatch, UsageQuery,
    UsageStore,
};
use async_trait::async_trait;
use dashmap::DashMap;
use open_job::{OpenJob, Signals};
use sandpiper_domain::{Access, ApiKeyId, Job, JobId, LogSoFar, Tenant, Timestamp};
use std::collections::HashSet;
use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::time::Duration;
use tokio::sync::watch;
use tracing::error;

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

    /// Commits a round that ran from `progress` and suspended, if `attempt` is still the job's attempt and no round was
    /// committed since.
    async fn suspend(
        &self,
        id: JobId,
        attempt: u32,
        progress: &ToolProgress,
        round: Arc<SuspendedRound>,
    ) -> Result<Committed, StoreError>;

    /// Records that a job that waits is due: it is queued.
    async fn resume(&self, id: JobId) -> Result<(), StoreError>;
}

#[derive(Debug)]
pub struct InProcessStore(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    records: Arc<dyn JobRecords>,
    attempts_max: u32,
    runner: OnceLock<Arc<dyn JobRunner>>,
    /// The signals of each open job.
    open: DashMap<JobId, watch::Sender<Signals>>,
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

impl Shared {
    /// Hands an accepted job to the runner, and starts the task that runs the job to its end. The job is with the
    /// runner when this returns, so that a stop of the service that comes after an accepted job finds the job there.
    async fn hand_out(self: &Arc<Self>, job: Arc<Job>, place: QueuePlace) {
        let Some(runner) = self.runner.get() else {
            return;
        };
        let (sender, signals) = watch::channel(Signals::default());
        self.open.insert(job.id, sender);
        let open_job = OpenJob::new(Arc::clone(self), Arc::clone(runner), job, place, signals);
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

    async fn answer(
        &self,
        id: JobId,
        access: &Access,
        answers: Vec<NewAnswer>,
        inbox_bytes_max: u64,
        now: Timestamp,
    ) -> Result<Answered, StoreError> {
        let records = &self.0.records;
        let answered = records
            .answer(id, access, answers, inbox_bytes_max, now)
            .await?;
        if answered == Answered::Taken
            && let Some(signals) = self.0.open.get(&id)
        {
            signals.send_modify(|signals| signals.answers += 1);
        }
        Ok(answered)
    }

    async fn progress(&self, id: JobId) -> Result<Option<ToolProgress>, StoreError> {
        self.0.records.progress(id).await
    }

    async fn tool_head(&self, id: JobId, access: &Access) -> Result<FoundHead, StoreError> {
        self.0.records.tool_head(id, access).await
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

    /// Ends the wait of a job for its retry, for answers or for its moment. A job that waits for an executor, or runs, is stopped by the runner.
    async fn cancel(&self, id: JobId) -> Result<(), StoreError> {
        if let Some(signals) = self.0.open.get(&id) {
            signals.send_modify(|signals| signals.is_cancelled = true);
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
