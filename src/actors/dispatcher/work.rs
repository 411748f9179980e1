//! One piece of work on its way through the Dispatcher: the task, and the receiver of its result.

use crate::actors::runner::Task;
use crate::actors::types::{ClaimResult, DispatchError, ExecuteResult, RoundResult, SandboxReach};
use sandpiper_domain::{ClientKey, Lane};
use sandpiper_sandbox_client::ExecutionHandle;
use sandpiper_store::{NotRun, StartHook};
use tokio::sync::oneshot;

#[derive(Debug)]
pub(in crate::actors) enum ReplyTo {
    Caller(oneshot::Sender<ExecuteResult>),
    Round(oneshot::Sender<RoundResult>),
    /// The store that handed the job out and records its result. The hook tells it that an executor took the job.
    Store(oneshot::Sender<ClaimResult>, StartHook),
    NetCheck(oneshot::Sender<Result<SandboxReach, DispatchError>>),
}

impl ReplyTo {
    pub(super) fn lane(&self) -> Lane {
        match self {
            Self::Caller(_) | Self::Round(_) | Self::NetCheck(_) => Lane::Interactive,
            Self::Store(..) => Lane::Background,
        }
    }

    pub(super) fn send_error(self, error: DispatchError) {
        // The receiver may have gone.
        match self {
            Self::Caller(reply) => drop(reply.send(Err(error))),
            Self::Round(reply) => drop(reply.send(Err(error))),
            Self::Store(reply, _) => drop(reply.send(Err(not_run(&error)))),
            Self::NetCheck(reply) => drop(reply.send(Err(error))),
        }
    }

    pub(super) fn is_abandoned(&self) -> bool {
        match self {
            Self::Caller(reply) => reply.is_closed(),
            Self::Round(reply) => reply.is_closed(),
            Self::Store(reply, _) => reply.is_closed(),
            Self::NetCheck(reply) => reply.is_closed(),
        }
    }
}

fn not_run(error: &DispatchError) -> NotRun {
    match error {
        DispatchError::Draining => NotRun::Stopping,
        DispatchError::QueueFull { .. } | DispatchError::QueueWaitExceeded { .. } => NotRun::Busy,
        _ => NotRun::Failed,
    }
}

/// Work that waits or runs.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) task: Task,
    pub(super) reply_to: ReplyTo,
}

impl Work {
    /// Returns true for a round of a job that has run before. The job was accepted then, and is never refused.
    pub(super) fn goes_on(&self) -> bool {
        let is_later = matches!(&self.task, Task::Round(round) if round.log.rounds() > 0);
        is_later && matches!(self.reply_to, ReplyTo::Store(..))
    }
}

/// Work that an Executor has.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) client: ClientKey,
    pub(super) work: Work,
    pub(super) handle: ExecutionHandle,
    /// The index of the reserve executor that has the work, if one does.
    pub(super) reserve: Option<usize>,
}

impl Running {
    /// Returns true if no connection waits for the result.
    pub(super) fn is_background(&self) -> bool {
        self.work.reply_to.lane() == Lane::Background
    }
}
