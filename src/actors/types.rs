//! The requests to the Dispatcher and its responses, in types that know neither actix nor HTTP.

pub use sandpiper_sandbox_client::LayerReport;
pub use sandpiper_store::{Accepted, JobPage, ListQuery, Node, Nodes, NotRun, StoreCounts};

use super::runner::Ran;
use crate::tool_runs::{EventPosition, JobRun};
use sandpiper_domain::tools::Round;
use sandpiper_domain::{Execution, JobRecord, JobState, Limit, LogSoFar, Outcome};
use std::sync::Arc;
use std::time::Duration;

/// The reason why the service could not accept or run the work. Never the script's fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DispatchError {
    #[error("the queue is full")]
    QueueFull {
        /// Time until a place in the queue is likely.
        retry_after: Duration,
    },
    #[error("the client has {most} jobs open")]
    ClientFull {
        most: usize,
        /// Time until one of them has probably ended.
        retry_after: Duration,
    },
    #[error("the client's jobs may have {most} bytes")]
    ClientBytesFull {
        most: u64,
        /// Time until the next record expires.
        retry_after: Duration,
    },
    #[error("the client has {most} jobs that wait")]
    WaitingFull {
        most: usize,
        /// Time until one of them has perhaps ended.
        retry_after: Duration,
    },
    #[error("the client's jobs that wait may have {most} bytes")]
    WaitingBytesFull {
        most: u64,
        /// Time until one of them has perhaps ended.
        retry_after: Duration,
    },
    #[error("the store is full")]
    StoreFull {
        /// Time until the next record expires.
        retry_after: Duration,
    },
    /// The store cannot be reached, or could not record the job. Synchronous executions go on.
    #[error("the store is not available")]
    StoreUnavailable,
    #[error("the key was used for another request")]
    KeyReused,
    #[error("the job of this key has expired")]
    KeyExpired,
    /// Only a repetition of an earlier request was to be accepted.
    #[error("no earlier request had the key")]
    NoReplay,
    /// The job has a start time or a priority, which only a database stores, and the service has none.
    #[error("the store keeps no times and no priorities")]
    NeedsDatabase,
    #[error("the service is stopping")]
    Draining,
    #[error("no executor has a working sandbox")]
    IsolationLost,
    #[error("no executor came free within {waited:?}")]
    QueueWaitExceeded { waited: Duration },
    #[error("jobs that are to be deleted still run")]
    JobsStillRun,
    /// The tenant was purged before anything ran.
    #[error("the tenant was purged")]
    TenantPurged,
    /// The tenant was purged after the request was accepted.
    #[error("the tenant was purged while its request was open")]
    PurgedMeanwhile,
    /// The service could not run a script along its own log, in any attempt.
    #[error("the log of an execution could not be replayed")]
    ReplayFailed,
    /// A part of the service did not respond in time. The failure is counted and logged where it happened.
    #[error("the service could not answer")]
    Internal,
}

/// A job, with the facts that only this process knows.
#[derive(Debug, Clone)]
pub struct JobSnapshot {
    /// The job as the store has it.
    pub job: JobRecord,
    /// The position of the job in its lane of this process, while it is queued there; 1 is next.
    pub queue_position: Option<usize>,
    /// The log so far, while the job runs; of a job with tools until it has ended.
    pub log: Option<LogSoFar>,
    /// The state of a job with tools.
    pub tools: Option<Arc<JobRun>>,
}

impl JobSnapshot {
    /// Returns a job of which this process knows nothing more.
    #[must_use]
    pub fn of(job: JobRecord) -> Self {
        Self {
            job,
            queue_position: None,
            log: None,
            tools: None,
        }
    }
}

#[derive(Debug, Clone)]
pub enum Lookup {
    Found(JobSnapshot),
    /// The job existed, and its record has expired.
    Expired,
    /// The id was never seen, or its record expired long ago.
    Unknown,
}

/// The point up to which a follower of a job has received it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cursor {
    /// The number of rounds whose events the follower of a job with tools has received; `None` for any other job.
    pub rounds: Option<u32>,
    /// The events of a job with tools that the follower has received.
    pub events: EventPosition,
    /// The state and the attempt that the follower has received, if any.
    pub state: Option<(JobState, u32)>,
    /// The attempt whose log the follower has received.
    pub attempt: u32,
    /// The number of the next entry in that log.
    pub next: u64,
}

/// A change of a job beyond a [`Cursor`].
#[derive(Debug)]
pub enum JobUpdate {
    /// The state or the attempt has changed. `log` has the entries beyond the cursor.
    Changed(JobSnapshot),
    /// The job has logged these entries.
    Logged(LogSoFar),
    /// A job with tools has committed rounds.
    Committed(JobSnapshot),
    /// Nothing has changed until the deadline.
    Unchanged,
    Expired,
    Unknown,
}

/// The result of a purge of one job.
#[derive(Debug, Clone)]
pub enum Purged {
    /// The job as it was, without its execution.
    Done(JobRecord),
    /// The record had expired, and its rest is deleted too.
    Expired,
    /// The job did not stop in time, and nothing is deleted.
    StillRuns,
    Unknown,
}

/// The result of a cancel.
#[derive(Debug, Clone)]
pub enum Cancelled {
    /// The job will not run, or is being killed: the job as it is now.
    Done(JobSnapshot),
    /// The job had this final state already.
    AlreadyFinal(JobState),
    Expired,
    Unknown,
}

/// The result of an attempt to open a connection from inside a job process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SandboxReach {
    /// True when a connection could be opened from inside: the isolation is broken.
    pub reached: bool,
    /// The error that stopped the attempt.
    pub detail: String,
}

/// The state of the service, for health, readiness and `/api`.
#[derive(Debug, Clone)]
pub struct ServiceStatus {
    /// `L2`, `L3` or `L4`, proved at start.
    pub isolation_level: String,
    pub isolation_layers: Vec<LayerReport>,
    /// The name of the store, such as `memory`.
    pub store: String,
    /// The store's promise about an accepted job, one sentence.
    pub store_promise: String,
    pub draining: bool,
    pub executors: usize,
    /// The number of executors that have a live zygote.
    pub executors_ready: usize,
    pub executors_busy: usize,
    /// The most reserve executors that can be up.
    pub reserve_executors: usize,
    pub reserve_executors_up: usize,
    pub reserve_executors_busy: usize,
    pub zygotes_replaced: u64,
    pub executors_revived: u64,
    pub executions_crashed: u64,
    pub executions_killed: u64,
    pub executions: Vec<(Outcome, u64)>,
    pub limits_hit: Vec<(Limit, u64)>,
    /// The running mean of the elapsed time of executions.
    pub mean_wall: Duration,
    pub jobs: StoreCounts,
    pub queued_interactive: usize,
    pub queued_background: usize,
    /// Operating-system processes that belong to the service, itself included.
    pub process_ids: Vec<u32>,
}

/// The result of `POST /api/execute`.
pub type ExecuteResult = Result<Arc<Execution>, DispatchError>;

/// The result of one round of an execution with tools.
pub type RoundResult = Result<Round, DispatchError>;

/// The result of a job, or of a round of one, that the store handed out.
pub type ClaimResult = Result<Ran, NotRun>;
