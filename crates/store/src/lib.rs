//! Stores of jobs: in memory, or in a database.
//!
//! [`JobStore`] is shaped for stores that several machines share: every call may wait for a network, every finish is fenced
//! by its attempt, and each store changes a job's state itself, from the results of its [`JobRunner`]. This
//! crate knows no actor and no HTTP.
#![forbid(unsafe_code)]

mod data_keys;
mod durable;
mod fingerprint;
mod handover;
mod in_process;
mod json_meaning;
mod memory;
mod recent;
mod reports;
mod sealing_keys;
#[cfg(test)]
mod tests;
mod tools;
mod usage;

pub use data_keys::{DataKeys, DataKeysError};
pub use durable::{Address, BackupError, DurableOptions, DurableStore, OpenError, back_up};
pub use handover::{QueuePlace, StartHook};
pub use in_process::{InProcessStore, JobRecords};
pub use json_meaning::write_ordered_json;
pub use memory::{MemoryStore, MemoryStoreBounds};
pub use recent::{RecentBounds, RecentExecutions};
pub use reports::{Node, Nodes, StoreCounts};
pub use sealing_keys::{SealingKeys, Unsealed};
pub use tools::{
    AnswerDigest, Answered, Committed, FinalRound, FoundHead, InboxAnswer, NewAnswer, OfferedCall,
    Ran, SuspendedRound, ToolProgress, WaitingBounds,
};
pub use usage::{
    RecordedTotals, RecordedUsage, TotalsQuery, UsageBatch, UsageEntry, UsageQuery, UsageStore,
    UsageSum, UsageTotal,
};

use async_trait::async_trait;
use sandpiper_domain::{
    Access, ApiKeyId, Execution, Job, JobId, JobRecord, JobState, JobTerms, LogSoFar, Outcome,
    ScriptError, Tenant, Timestamp,
};
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

#[derive(Debug, Clone)]
pub struct NewJob {
    /// The job. A durable store stores it; the memory store only counts its bytes, because the queue holds it anyway.
    /// Two requests that differ only in their spans are the same.
    pub job: Arc<Job>,
    pub created_at: Timestamp,
    pub terms: JobTerms,
    pub queue_place: QueuePlace,
    /// The first head of the progress of a job with tools; `None` for a job without tools.
    pub tool_head: Option<Vec<u8>>,
}

impl NewJob {
    /// Returns the processor time that budgets reserve for the job until it ends; `None` without such a budget.
    pub(crate) fn reserved(&self) -> Option<Duration> {
        (self.terms.reserves_cpu).then(|| self.job.limits.timeout())
    }

    pub(crate) fn queued(&self) -> JobRecord {
        JobRecord {
            id: self.job.id,
            owner: self.job.owner.clone(),
            state: JobState::Queued,
            created_at: self.created_at,
            run_at: self.terms.run_at,
            started_at: None,
            finished_at: None,
            expires_at: None,
            attempt: 0,
            outcome: None,
            execution: None,
            rounds: self.tool_head.is_some().then_some(0),
        }
    }
}

/// A job that was accepted, by this submit or by an earlier one with the same key.
#[derive(Debug, Clone)]
pub struct Accepted {
    pub job: JobRecord,
    /// True if an earlier submit was accepted.
    pub is_replay: bool,
}

#[derive(Debug, Clone)]
pub enum Found {
    Job(JobRecord),
    Expired,
    /// There was no such job, it has expired long ago, or the caller may not see it.
    Unknown,
}

#[derive(Debug, Clone)]
pub struct Settlement {
    pub state: JobState,
    /// The execution; `None` if the job never ran.
    pub execution: Option<Arc<Execution>>,
    /// The last round of a job with tools that ran to its end.
    pub last_round: Option<Arc<FinalRound>>,
}

impl Settlement {
    /// Settles a job that ran: a script that failed has finished too.
    pub(crate) fn of(execution: Arc<Execution>) -> Self {
        Self {
            state: final_state(execution.outcome),
            execution: Some(execution),
            last_round: None,
        }
    }

    /// Adds the last round of a job with tools.
    pub(crate) fn with_last_round(self, last_round: Option<Arc<FinalRound>>) -> Self {
        Self { last_round, ..self }
    }

    /// Settles a job that was cancelled before it ran, or while it waited.
    pub(crate) const CANCELLED: Self = Self {
        state: JobState::Cancelled,
        execution: None,
        last_round: None,
    };

    /// Settles a job that the service failed to run in all of its `attempts`.
    pub(crate) fn lost(job: &Job, attempts: u32) -> Self {
        let message = format!("the service failed to run this job {attempts} times");
        let error = ScriptError::of_service("Lost", message);
        let execution = Execution::never_ran(job.id, job.limits, Outcome::Crashed, error);
        Self {
            state: JobState::Lost,
            execution: Some(Arc::new(execution)),
            last_round: None,
        }
    }

    /// Returns the execution that counts as usage; `None` if the job never ran to an end.
    pub(crate) fn counted_execution(&self) -> Option<&Execution> {
        let is_lost = self.state == JobState::Lost;
        self.execution.as_deref().filter(|_| !is_lost)
    }

    pub(crate) fn outcome(&self) -> Option<Outcome> {
        self.execution.as_ref().map(|execution| execution.outcome)
    }
}

/// Returns the state of a job whose execution ended with `outcome`.
fn final_state(outcome: Outcome) -> JobState {
    match outcome {
        Outcome::Cancelled => JobState::Cancelled,
        _ => JobState::Finished,
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finished {
    Recorded,
    /// The finish is rejected: another attempt owns the job, the job has a final state already, or is gone.
    Stale,
}

#[derive(Debug, Clone)]
pub struct ListQuery {
    pub access: Access,
    pub state: Option<JobState>,
    pub limit: usize,
    /// Only jobs older than this one.
    pub before: Option<JobId>,
}

/// A page of jobs, newest first.
#[derive(Debug, Clone)]
pub struct JobPage {
    pub jobs: Vec<JobRecord>,
    /// The `before` of the next page; `None` on the last page.
    pub next: Option<JobId>,
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the store is full")]
    Full {
        /// Time until the next record expires.
        retry_after: Duration,
    },
    #[error("the client has {most} jobs open, as many as it may")]
    ClientFull { most: usize },
    #[error("the client's jobs may have {most} bytes, and this one would be more")]
    ClientBytesFull {
        most: u64,
        /// Time until the next record expires.
        retry_after: Duration,
    },
    #[error("the client has {most} jobs that wait, as many as it may")]
    WaitingFull { most: usize },
    #[error("the client's jobs that wait may have {most} bytes, and have as many")]
    WaitingBytesFull { most: u64 },
    #[error("the key was used for another request")]
    KeyReused,
    #[error("the job of this key has expired")]
    KeyExpired,
    /// Only a repetition of an earlier request was to be accepted.
    #[error("no earlier request had the key")]
    NoReplay,
    #[error("the store is not available: {0}")]
    Unavailable(String),
    /// A row cannot be read: another version or another program wrote the row.
    #[error("{0}")]
    Unreadable(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotRun {
    #[error("no executor is free")]
    Busy,
    #[error("the service failed to run it")]
    Failed,
    #[error("the service is stopping")]
    Stopping,
    #[error("it was cancelled")]
    Cancelled,
}

/// Runs the jobs that a store dispatches.
#[async_trait]
pub trait JobRunner: fmt::Debug + Send + Sync {
    /// Runs a job to its end, or one round of a job with tools, from its `progress` on. `place` is the place in the queue of
    /// this process that is reserved for the job, if any. Calls `on_start` when an executor takes the job.
    async fn run(
        &self,
        job: Arc<Job>,
        progress: Option<Arc<ToolProgress>>,
        place: QueuePlace,
        on_start: StartHook,
    ) -> Result<Ran, NotRun>;

    /// Returns the log of a running job from the entry with this number on; `None` while the job waits for an executor.
    async fn log_since(&self, id: JobId, number: u64) -> Option<LogSoFar>;

    /// Stops a running job; its `run` ends with a cancelled execution.
    async fn cancel(&self, id: JobId);
}

/// A store of jobs. Every store keeps the same contract (`tests/contract.rs`).
#[async_trait]
pub trait JobStore: UsageStore {
    /// Returns the kind of the store: `memory`, `sqlite` or `postgres`.
    fn name(&self) -> &'static str;

    /// Returns the durability of an accepted job, in one sentence for `/api`.
    fn promise(&self) -> &'static str;

    /// Stores a job as queued. Once this has returned, the job is accepted.
    async fn submit(&self, job: NewJob) -> Result<Accepted, StoreError>;

    /// Finds a job among those that `access` includes.
    async fn get(&self, id: JobId, access: &Access) -> Result<Found, StoreError>;

    /// Finds a job once it has its final state or waits for answers of its reader, or when `patience` is over. The caller is
    /// woken and does not poll.
    async fn wait(
        &self,
        id: JobId,
        access: &Access,
        patience: Duration,
    ) -> Result<Found, StoreError>;

    /// Returns the log of a job that runs in another process, as far as that process has uploaded it.
    async fn log_so_far(&self, _id: JobId, _attempt: u32) -> Result<Option<LogSoFar>, StoreError> {
        Ok(None)
    }

    /// Takes answers to calls of a job with tools, all of them or none. A job that waits goes on at once. The answers in
    /// the inbox may have `inbox_bytes_max` bytes together.
    async fn answer(
        &self,
        id: JobId,
        access: &Access,
        answers: Vec<NewAnswer>,
        inbox_bytes_max: u64,
        now: Timestamp,
    ) -> Result<Answered, StoreError>;

    /// Returns the progress of a job with tools, until its record is deleted; `None` for any other job.
    async fn progress(&self, id: JobId) -> Result<Option<ToolProgress>, StoreError>;

    /// Returns the head of the progress of a job with tools.
    async fn tool_head(&self, id: JobId, access: &Access) -> Result<FoundHead, StoreError>;

    async fn list(&self, query: &ListQuery) -> Result<JobPage, StoreError>;

    /// Deletes records that have expired by `now`, and returns how many there were.
    async fn sweep(&self, now: Timestamp) -> Result<usize, StoreError>;

    /// Returns whether the store supports start times and priorities.
    fn supports_terms(&self) -> bool {
        false
    }

    fn start_dispatch(&self, _runner: Arc<dyn JobRunner>) -> Result<(), StoreError> {
        Ok(())
    }

    /// For a moment, dispatches jobs for the reserve executors too: a client without an executor may have a job in the
    /// store. A store that dispatches every job at once has nothing to do.
    fn dispatch_more(&self) {}

    /// Cancels a job, on any node. The caller asks the runner of this process afterwards.
    async fn cancel(&self, _id: JobId) -> Result<(), StoreError> {
        Ok(())
    }

    /// Gives the jobs of the tenant `from` that `key` submitted to the tenant `to`. Returns how many there were.
    async fn assign(&self, key: ApiKeyId, from: &Tenant, to: &Tenant) -> Result<u64, StoreError>;

    /// Deletes the record of a job that is not open, and everything else that is stored about the job.
    async fn purge(&self, id: JobId) -> Result<(), StoreError>;

    /// Deletes the records of a tenant's jobs that are not open, and everything else that is stored about them. Returns
    /// how many jobs there were.
    async fn purge_tenant(&self, tenant: &Tenant) -> Result<u64, StoreError>;

    /// Records that a tenant is purged, or no longer.
    async fn set_purged(&self, tenant: &Tenant, is_purged: bool) -> Result<(), StoreError>;

    /// Returns whether the store has a job or usage of a tenant, or knows that the tenant was purged.
    async fn knows_tenant(&self, tenant: &Tenant) -> Result<bool, StoreError>;

    /// Returns the tenants that are purged.
    async fn purged_tenants(&self) -> Result<HashSet<Tenant>, StoreError>;

    /// Returns the secret of this name. The first call stores `new`. All nodes of the store get the same secret, also after
    /// a restart if the store is a database.
    async fn secret(&self, name: &'static str, new: String) -> Result<String, StoreError>;

    /// Returns the nodes to which the store dispatches jobs; `None` for a store of one process.
    async fn nodes(&self) -> Result<Option<Nodes>, StoreError> {
        Ok(None)
    }

    fn counts(&self) -> StoreCounts {
        StoreCounts::default()
    }

    fn stop_dispatch(&self) {}

    /// Requeues the jobs of this node, and records what is left to record.
    async fn close(&self) {}

    /// Returns whether the store has room for more results. Without room no further job starts; queued jobs wait.
    fn has_room(&self) -> bool {
        true
    }

    /// Checks that the store can be read and written.
    async fn health(&self) -> Result<(), StoreError>;
}
