//! The requests to the Dispatcher and its responses, in types that know neither actix nor HTTP.

pub use sandpiper_sandbox_client::LayerReport;
pub use sandpiper_store::{Accepted, JobPage, ListQuery, Node, Nodes, NotRun, StoreCounts};

use sandpiper_domain::{Execution, JobRecord, JobState, LogSoFar, Outcome};
use std::sync::Arc;
use std::time::Duration;

/// The reason why the service could not accept or run the work. Never the script's fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DispatchError {
    /// The lane is full.
    #[error("the queue is full")]
    QueueFull {
        /// Time until a place in the queue is likely.
        retry_after: Duration,
    },
    /// This client has as many jobs open as it may.
    #[error("the client has {most} jobs open")]
    ClientFull {
        /// Most open jobs of a client.
        most: usize,
        /// Time until one of them has probably ended.
        retry_after: Duration,
    },
    /// The jobs of this client have as many bytes as they may.
    #[error("the client's jobs may have {most} bytes")]
    ClientBytesFull {
        /// Most bytes of a client's jobs.
        most: u64,
        /// Time until the next record expires.
        retry_after: Duration,
    },
    /// The store can take no more jobs until some expire.
    #[error("the store is full")]
    StoreFull {
        /// Time until the next record expires.
        retry_after: Duration,
    },
    /// The store cannot be reached, or could not record the job. Synchronous executions go on.
    #[error("the store is not available")]
    StoreUnavailable,
    /// The idempotency key came before with another request.
    #[error("the key was used for another request")]
    KeyReused,
    /// The idempotency key came before, and the record of its job has expired.
    #[error("the job of this key has expired")]
    KeyExpired,
    /// The job has a start time or a priority, which only a database stores, and the service has none.
    #[error("the store keeps no times and no priorities")]
    NeedsDatabase,
    /// The service is stopping.
    #[error("the service is stopping")]
    Draining,
    /// No executor has a working sandbox.
    #[error("no executor has a working sandbox")]
    IsolationLost,
    /// The work waited in the queue for as long as a synchronous request may.
    #[error("no executor came free within {waited:?}")]
    QueueWaitExceeded {
        /// Time in the queue.
        waited: Duration,
    },
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
    /// The log so far, while the job runs.
    pub log: Option<LogSoFar>,
}

/// The result of a look-up by id.
#[derive(Debug, Clone)]
pub enum Lookup {
    /// The job as it is now.
    Found(JobSnapshot),
    /// The job existed, and its record has expired.
    Expired,
    /// The id was never seen, or its record expired long ago.
    Unknown,
}

/// The point up to which a follower of a job has received it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cursor {
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
    /// Nothing has changed until the deadline.
    Unchanged,
    /// See [`Lookup::Expired`].
    Expired,
    /// See [`Lookup::Unknown`].
    Unknown,
}

/// The result of a cancel.
#[derive(Debug, Clone)]
pub enum Cancelled {
    /// The job will not run, or is being killed: the job as it is now.
    Done(JobRecord),
    /// The job had this final state already.
    AlreadyFinal(JobState),
    /// See [`Lookup::Expired`].
    Expired,
    /// See [`Lookup::Unknown`].
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
    /// The isolation layers, each present or absent.
    pub isolation_layers: Vec<LayerReport>,
    /// The store's name, as `memory`.
    pub store: String,
    /// The store's promise about an accepted job, one sentence.
    pub store_promise: String,
    /// True while the service takes no new work.
    pub draining: bool,
    /// The number of executors.
    pub executors: usize,
    /// The number of executors that have a live zygote.
    pub executors_ready: usize,
    /// The number of executors that run something now.
    pub executors_busy: usize,
    /// The most reserve executors that can be up.
    pub reserve_executors: usize,
    /// The number of reserve executors that have a live zygote.
    pub reserve_executors_up: usize,
    /// The number of reserve executors that run something now.
    pub reserve_executors_busy: usize,
    /// Times an executor's zygote was replaced after it died.
    pub zygotes_replaced: u64,
    /// Panics in executors, after each of which the executor or its sandbox was replaced.
    pub executors_revived: u64,
    /// Executions whose job process crashed.
    pub executions_crashed: u64,
    /// Executions that SIGKILL ended after `timeoutMs` and the grace period, because the engine's interrupt had not ended them.
    pub executions_killed: u64,
    /// Executions that ended, by outcome.
    pub executions: Vec<(Outcome, u64)>,
    /// The running mean of the elapsed time of executions.
    pub mean_wall: Duration,
    /// Counts of the store.
    pub jobs: StoreCounts,
    /// Jobs that wait in the interactive lane.
    pub queued_interactive: usize,
    /// Jobs that wait in the background lane.
    pub queued_background: usize,
    /// Operating-system processes that belong to the service, itself included.
    pub process_ids: Vec<u32>,
}

/// The result of `POST /api/execute`.
pub type ExecuteResult = Result<Arc<Execution>, DispatchError>;

/// The result of a job that the store handed out.
pub type ClaimResult = Result<Arc<Execution>, NotRun>;
