//! The messages to the Dispatcher. `Locate` is a query, the others are commands; results of
//! executions come back through futures of the Dispatcher.

use super::work::ReplyTo;
use crate::actors::runner::{RoundTask, Task};
use crate::actors::types::{
    Accepted, ClaimResult, DispatchError, ExecuteResult, RoundResult, SandboxReach,
};
use actix::{Message, MessageResponse};
use sandpiper_domain::{Job, JobId, JobTerms, Limits};
use sandpiper_sandbox_client::ExecutionHandle;
use sandpiper_store::{QueuePlace, StartHook};
use std::net::IpAddr;
use std::sync::Arc;
use tokio::sync::oneshot;

/// Runs a script as soon as an executor is free. Work for a caller waits in the interactive lane, a job that the store
/// hands out in the background lane. A closed receiver of the result means that the work is not wanted any more.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Run {
    pub(super) task: Task,
    pub(super) reply_to: ReplyTo,
    /// The place that was reserved for a job while the store accepted it.
    pub(super) queue_place: QueuePlace,
}

impl Run {
    /// Runs `job` for a caller that waits for the result.
    pub(in crate::actors) fn now(job: Arc<Job>, reply: oneshot::Sender<ExecuteResult>) -> Self {
        Self {
            task: Task::Script(job),
            reply_to: ReplyTo::Caller(reply),
            queue_place: QueuePlace::default(),
        }
    }

    /// Runs a round for a caller that waits for its end.
    pub(in crate::actors) fn round(
        round: Arc<RoundTask>,
        reply: oneshot::Sender<RoundResult>,
    ) -> Self {
        Self {
            task: Task::Round(round),
            reply_to: ReplyTo::Round(reply),
            queue_place: QueuePlace::default(),
        }
    }

    /// Runs a job, or a round of one, that the store hands out.
    pub(in crate::actors) fn claimed(
        task: Task,
        queue_place: QueuePlace,
        on_start: StartHook,
        reply: oneshot::Sender<ClaimResult>,
    ) -> Self {
        Self {
            task,
            reply_to: ReplyTo::Store(reply, on_start),
            queue_place,
        }
    }
}

#[derive(Debug, Message)]
#[rtype(result = "Result<Accepted, DispatchError>")]
pub struct Submit {
    pub(in crate::actors) job: Arc<Job>,
    pub(in crate::actors) terms: JobTerms,
    /// The first state of a job with tools.
    pub(in crate::actors) tool_head: Option<Vec<u8>>,
}

#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Cancel(pub(in crate::actors) JobId);

/// Asks where in this process a job is; `None` if the job is not here.
#[derive(Debug, Message)]
#[rtype(result = "Option<JobLocation>")]
pub struct Locate(pub(in crate::actors) JobId);

#[derive(Debug, MessageResponse)]
pub enum JobLocation {
    /// The job waits in its lane at this position; 1 is next.
    Waiting(usize),
    Running {
        handle: ExecutionHandle,
        /// True for a round of a job with tools.
        is_round: bool,
    },
}

/// Tries to open a connection from inside a job process.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct CheckNetwork {
    pub(in crate::actors) host: IpAddr,
    pub(in crate::actors) port: u16,
    pub(in crate::actors) limits: Limits,
    pub(in crate::actors) reply: oneshot::Sender<Result<SandboxReach, DispatchError>>,
}

/// Takes no new work. Waiting jobs of the background lane are not started any more.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Drain;

/// Stops everything that still runs or waits.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct StopAll;
