//! What goes into the dispatcher and what it answers, in types that know neither actix nor HTTP.

pub use crate::store::{Accepted, JobPage, ListQuery, Node, Nodes, NotRun, StoreCounts};
pub use sandpiper_sandbox_client::WallReport;

use sandpiper_domain::{
    ClientKey, Execution, Job, JobId, JobState, Limits, LogSoFar, Outcome, Script, TraceContext,
};
use std::sync::Arc;
use std::time::Duration;

/// Work that passed every check at the border.
#[derive(Debug, Clone)]
pub struct Submission {
    /// Its name, given at the border.
    pub id: JobId,
    /// What to run.
    pub script: Arc<Script>,
    /// What it may use.
    pub limits: Limits,
    /// Who asks.
    pub client: ClientKey,
    /// The span of the request; none for jobs that came without one.
    pub trace: Option<TraceContext>,
}

/// The service could not take or run the work. Never the script's fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The lane is full.
    #[error("the queue is full")]
    QueueFull {
        /// When a place is likely.
        retry_after: Duration,
    },
    /// This client has as many jobs open as it may.
    #[error("the client has {most} jobs open")]
    ClientFull {
        /// As many as it may.
        most: usize,
        /// When one of them is likely to have ended.
        retry_after: Duration,
    },
    /// The jobs of this client have as many bytes as they may.
    #[error("the client's jobs may have {most} bytes")]
    ClientBytesFull {
        /// As many as they may have.
        most: u64,
        /// When the next record expires.
        retry_after: Duration,
    },
    /// The store can take no more jobs until some expire.
    #[error("the store is full")]
    StoreFull {
        /// When the next record expires.
        retry_after: Duration,
    },
    /// The database cannot be reached; synchronous executions go on.
    #[error("the store is not available")]
    StoreUnavailable,
    /// The key came before with another request.
    #[error("the key was used for another request")]
    KeyReused,
    /// The key came before; its job's record has expired.
    #[error("the job of this key has expired")]
    KeyExpired,
    /// What is asked for is kept by a database only, and there is none.
    #[error("the store keeps no times and no priorities")]
    NeedsDatabase,
    /// The service is stopping.
    #[error("the service is stopping")]
    Draining,
    /// No executor has a working sandbox.
    #[error("no executor has a working sandbox")]
    IsolationLost,
    /// It waited in the queue for as long as a synchronous request may.
    #[error("no executor came free within {waited:?}")]
    QueueWaitExceeded {
        /// How long it waited.
        waited: Duration,
    },
    /// A part of the service did not answer in time; counted and logged where it happened.
    #[error("the service could not answer")]
    Internal,
}

/// A job as it stands.
#[derive(Debug, Clone)]
pub struct JobNow {
    /// What the store has of it.
    pub job: Job,
    /// Its place in its lane of this process, while it is queued there; 1 is next.
    pub queue_position: Option<usize>,
    /// What it has logged, while it runs.
    pub log: Option<LogSoFar>,
}

/// What is known of an id.
#[derive(Debug, Clone)]
pub enum Lookup {
    /// The job as it stands.
    Found(JobNow),
    /// It was known; its time is over.
    Expired,
    /// Never seen, or forgotten for long.
    Unknown,
}

/// What a follower of a job has been told of it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Told {
    /// Its state and attempt, if anything.
    pub stands: Option<(JobState, u32)>,
    /// The attempt whose log it was told of.
    pub attempt: u32,
    /// The number of the entry that comes next in that log.
    pub next: u64,
}

/// What is new of a job that is followed.
#[derive(Debug)]
pub enum News {
    /// It stands otherwise; `log` is what it has logged beyond what was told.
    Stands(JobNow),
    /// It has logged this since.
    Logged(LogSoFar),
    /// Nothing, for as long as was to be waited.
    Nothing,
    /// See [`Lookup::Expired`].
    Expired,
    /// See [`Lookup::Unknown`].
    Unknown,
}

/// What came of a cancel.
#[derive(Debug, Clone)]
pub enum Cancelled {
    /// It will not run, or is being killed: the job as it stands now.
    Done(Job),
    /// Too late: it had its final state already.
    AlreadyFinal(JobState),
    /// See [`Lookup::Expired`].
    Expired,
    /// See [`Lookup::Unknown`].
    Unknown,
}

/// What a job process could reach of the network when it really tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SandboxReach {
    /// True when a connection could be opened from inside: the walls are broken.
    pub reached: bool,
    /// What stopped it.
    pub detail: String,
}

/// How the service is, for health, readiness and `/api`.
#[derive(Debug, Clone)]
pub struct ServiceStatus {
    /// `L2`, `L3` or `L4`, proved at start.
    pub isolation_level: String,
    /// Each wall.
    pub walls: Vec<WallReport>,
    /// The store's name, as `memory`.
    pub store: String,
    /// What the store promises of an accepted job.
    pub store_promise: String,
    /// The service takes no new work.
    pub draining: bool,
    /// How many executors there are.
    pub executors: usize,
    /// How many of them have a live zygote.
    pub executors_ready: usize,
    /// How many of them run something now.
    pub executors_busy: usize,
    /// The number of reserve executors there may be.
    pub reserve_executors: usize,
    /// The number of reserve executors that have a live zygote.
    pub reserve_executors_up: usize,
    /// The number of reserve executors that run something now.
    pub reserve_executors_busy: usize,
    /// Times an executor's zygote was replaced after it died.
    pub zygotes_replaced: u64,
    /// Times an executor was brought back after a panic.
    pub executors_revived: u64,
    /// Executions whose job process crashed.
    pub executions_crashed: u64,
    /// Executions that the polite interrupt did not end, and SIGKILL did.
    pub executions_killed: u64,
    /// Executions that ended, by outcome.
    pub executions: Vec<(Outcome, u64)>,
    /// Running mean of their wall time.
    pub mean_wall: Duration,
    /// What happened to jobs of the store.
    pub jobs: StoreCounts,
    /// Jobs waiting, interactive lane.
    pub queued_interactive: usize,
    /// Jobs waiting, background lane.
    pub queued_background: usize,
    /// Operating-system processes that belong to the service, itself included.
    pub process_ids: Vec<u32>,
}

/// The outcome of `POST /api/execute`.
pub type ExecuteAnswer = Result<Arc<Execution>, Refusal>;

/// What became of a job that the store handed out.
pub type ClaimAnswer = Result<Arc<Execution>, NotRun>;
