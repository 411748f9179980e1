//! Memory of jobs.
//!
//! [`JobStore`] is shaped for stores that several machines share: every call may wait for a network, every finish is
//! fenced by its attempt, and nobody but the Dispatcher calls what changes a job's state. Knows no actor and no HTTP.

mod durable;
mod fingerprint;
mod json_meaning;
mod measured;
mod memory;
mod recent;
#[cfg(test)]
mod tests;

pub use durable::{Address, BackupError, DurableOptions, DurableStore, OpenError, back_up};
pub use measured::MeasuredStore;
pub use memory::{MemoryStore, MemoryStoreBounds};
pub use recent::{RecentBounds, RecentExecutions};

use async_trait::async_trait;
use sandpiper_domain::{
    ClientKey, Execution, Job, JobId, JobState, JobTerms, Limits, LogSoFar, Outcome, Script,
    Timestamp, TraceContext,
};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// A job to be remembered and run later.
#[derive(Debug, Clone)]
pub struct NewJob {
    /// Its name.
    pub id: JobId,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// What to run. A durable store keeps it; the memory store only counts it, because the queue holds it anyway.
    pub script: Arc<Script>,
    /// What it may use.
    pub limits: Limits,
    /// Whose it is.
    pub client: ClientKey,
    /// The span of the request that brought it. A durable store keeps it with the job; it is no part of what was asked for.
    pub trace: Option<TraceContext>,
    /// When, how urgently, and by which key.
    pub terms: JobTerms,
}

impl NewJob {
    /// As it stands when it is new.
    pub(crate) fn queued(&self) -> Job {
        Job {
            id: self.id,
            state: JobState::Queued,
            created_at: self.created_at,
            run_at: self.terms.run_at,
            started_at: None,
            finished_at: None,
            expires_at: None,
            attempt: 0,
            outcome: None,
            execution: None,
        }
    }
}

/// A job that was accepted, now or when the same request came before.
#[derive(Debug, Clone)]
pub struct Accepted {
    /// As it stands.
    pub job: Job,
    /// It was accepted before.
    pub is_replay: bool,
}

/// What is known of an id.
#[derive(Debug, Clone)]
pub enum Found {
    /// The job as it stands.
    Job(Job),
    /// It was known; its time is over.
    Expired,
    /// Never seen, or forgotten for long.
    Unknown,
}

/// The final state of a job, and what settled it.
#[derive(Debug, Clone)]
pub struct Settlement {
    /// Final.
    pub state: JobState,
    /// The execution that settled it, if one did.
    pub execution: Option<Arc<Execution>>,
}

impl Settlement {
    pub(crate) fn outcome(&self) -> Option<Outcome> {
        self.execution.as_ref().map(|execution| execution.outcome)
    }
}

/// What came of a finish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finished {
    /// Recorded: this is the job's one final state.
    Recorded,
    /// Refused: the job has another attempt by now, a final state already, or is gone.
    Stale,
}

/// Which jobs to list.
#[derive(Debug, Clone)]
pub struct ListQuery {
    /// Only these.
    pub state: Option<JobState>,
    /// At most so many.
    pub limit: usize,
    /// Only jobs older than this one.
    pub before: Option<JobId>,
}

/// A page of jobs, newest first.
#[derive(Debug, Clone)]
pub struct JobPage {
    /// The jobs.
    pub jobs: Vec<Job>,
    /// Pass it as `before` for the next page; absent on the last one.
    pub next: Option<JobId>,
}

/// The store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No room until something expires.
    #[error("the store is full")]
    Full {
        /// When the next record expires.
        retry_after: Duration,
    },
    /// This client has as many jobs open as it may.
    #[error("the client has {most} jobs open, as many as it may")]
    ClientFull {
        /// As many as it may.
        most: usize,
    },
    /// The jobs of this client have as many bytes as they may.
    #[error("the client's jobs may have {most} bytes, and this one would be more")]
    ClientBytesFull {
        /// As many as they may have.
        most: u64,
        /// When the next record expires.
        retry_after: Duration,
    },
    /// The key came before with another request.
    #[error("the key was used for another request")]
    KeyReused,
    /// The key came before; the record of its job has expired.
    #[error("the job of this key has expired")]
    KeyExpired,
    /// The database cannot be reached, or does not do what it is asked.
    #[error("the store is not available: {0}")]
    Unavailable(String),
    /// What it has cannot be read: another version wrote it, or somebody else.
    #[error("{0}")]
    Unreadable(String),
}

/// A job that a store hands out.
#[derive(Debug, Clone)]
pub struct ClaimedJob {
    /// Its name.
    pub id: JobId,
    /// What to run.
    pub script: Arc<Script>,
    /// What it may use.
    pub limits: Limits,
    /// Whose it is.
    pub client: ClientKey,
    /// The span of the request that brought it.
    pub trace: Option<TraceContext>,
}

/// Why a job that was handed out did not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotRun {
    /// There is no place for it here now.
    #[error("no place")]
    Busy,
    /// The service failed to run it.
    #[error("the service failed to run it")]
    Failed,
    /// The service is stopping.
    #[error("the service is stopping")]
    Stopping,
    /// Somebody cancelled it before it began.
    #[error("it was cancelled")]
    Cancelled,
}

/// A process that runs jobs of one store.
#[derive(Debug, Clone)]
pub struct Node {
    /// Unique for each start of a process.
    pub id: String,
    /// When it started.
    pub started_at: Timestamp,
    /// When it last said that it lives.
    pub seen_at: Timestamp,
    /// Executions that it runs at a time.
    pub executors: usize,
}

/// Who runs jobs of a store, and how far behind they are.
#[derive(Debug, Clone)]
pub struct Nodes {
    /// Those that live.
    pub nodes: Vec<Node>,
    /// The one that says so.
    pub this: String,
    /// How long the job has waited that has waited longest.
    pub oldest_queued: Option<Duration>,
}

/// What has happened to jobs of a store, on this node since its start, and how full the store is.
#[derive(Debug, Clone, Copy, Default)]
pub struct StoreCounts {
    /// Taken from nodes that died.
    pub rescued: u64,
    /// Given up: whatever ran them died, or failed to run them, as often as it may.
    pub lost: u64,
    /// Ends that came too late and were refused.
    pub stale: u64,
    /// Given back unrun.
    pub given_back: u64,
    /// Times that the database did not do what it was asked, and was asked again.
    pub failures: u64,
    /// Jobs refused because the store had as many jobs or bytes as it may.
    pub refused_full: u64,
    /// Jobs refused because their client had as many open as it may.
    pub refused_client_jobs: u64,
    /// Jobs refused because the jobs of their client had as many bytes as they may.
    pub refused_client_bytes: u64,
    /// Times that a job did not begin because there was no room for what it would bring back.
    pub put_off: u64,
    /// Bytes of requests, logs and executions that are stored, as they were counted last.
    pub bytes: u64,
    /// The bound of these.
    pub bytes_max: u64,
}

/// Runs the jobs that a store hands out.
#[async_trait]
pub trait JobRunner: fmt::Debug + Send + Sync {
    /// Runs one to its end.
    async fn run(&self, job: ClaimedJob) -> Result<Arc<Execution>, NotRun>;

    /// What one that is being run has logged, from the entry of this number on; `None` while it waits.
    async fn log_since(&self, id: JobId, number: u64) -> Option<LogSoFar>;

    /// Stops one that is being run; its `run` ends with a cancelled execution.
    async fn cancel(&self, id: JobId);
}

/// Memory of jobs. One contract over every store.
#[async_trait]
pub trait JobStore: fmt::Debug + Send + Sync {
    /// `memory`, …
    fn name(&self) -> &'static str;

    /// What it promises of an accepted job, in one sentence for `/api`.
    fn promise(&self) -> &'static str;

    /// Remembers a job as queued. Once this returned, the job is accepted.
    async fn submit(&self, job: NewJob) -> Result<Accepted, StoreError>;

    /// An executor took the job: it is running, with this attempt.
    async fn start(&self, id: JobId, attempt: u32) -> Result<(), StoreError>;

    /// The job goes back to the queue: this attempt ran nothing.
    async fn hand_back(&self, id: JobId, attempt: u32) -> Result<(), StoreError>;

    /// Records the job's one final state, if `attempt` is still its attempt.
    async fn finish(
        &self,
        id: JobId,
        attempt: u32,
        settlement: Settlement,
    ) -> Result<Finished, StoreError>;

    /// The job as it stands.
    async fn get(&self, id: JobId) -> Result<Found, StoreError>;

    /// The job once it is final, or as it stands when `patience` is over. Woken, not polled.
    async fn wait(&self, id: JobId, patience: Duration) -> Result<Found, StoreError>;

    /// What this attempt of a job has logged that runs in another process, as far as that process has brought it.
    async fn log_so_far(&self, _id: JobId, _attempt: u32) -> Result<Option<LogSoFar>, StoreError> {
        Ok(None)
    }

    /// Jobs, newest first.
    async fn list(&self, query: &ListQuery) -> Result<JobPage, StoreError>;

    /// Forgets what has expired by `now`; tells how many.
    async fn sweep(&self, now: Timestamp) -> Result<usize, StoreError>;

    /// Whether it keeps when a job is to run, and how urgently.
    fn keeps_terms(&self) -> bool {
        false
    }

    /// Whether it hands jobs out itself, in its own order, and records what became of them. Then nobody calls `start`,
    /// `hand_back` and `finish`.
    fn hands_out(&self) -> bool {
        false
    }

    /// Where it hands jobs out: begins to, to this runner.
    fn begin(&self, _runner: Arc<dyn JobRunner>) -> Result<(), StoreError> {
        Ok(())
    }

    /// Where it hands jobs out: for a moment hands out a few more than there are executors, since somebody may have a job
    /// there for which there is a reserve executor.
    fn hand_out_more(&self) {}

    /// Where it hands jobs out: stops one, wherever it is.
    async fn cancel(&self, _id: JobId) -> Result<(), StoreError> {
        Ok(())
    }

    /// Where it hands jobs out: to whom. `None` where it does not.
    async fn nodes(&self) -> Result<Option<Nodes>, StoreError> {
        Ok(None)
    }

    /// Where it hands jobs out: what happened to them.
    fn counts(&self) -> StoreCounts {
        StoreCounts::default()
    }

    /// Where it hands jobs out: hands out no more.
    fn hold(&self) {}

    /// Where it hands jobs out: gives back what it has, and records what is left to record.
    async fn close(&self) {}

    /// Whether more results can be taken. While not, no further job is handed out: it waits, and loses nothing.
    fn has_room(&self) -> bool {
        true
    }

    /// Whether it can be reached and written.
    async fn health(&self) -> Result<(), StoreError>;
}
