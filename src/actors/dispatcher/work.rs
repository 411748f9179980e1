//! One piece of work on its way through the Dispatcher: the task, the receiver of its result, and its changes in the
//! store.

use crate::actors::runner::Task;
use crate::actors::types::{ClaimResult, DispatchError, ExecuteResult, SandboxReach};
use crate::store::NotRun;
use sandpiper_domain::{ClientKey, Limits, TraceContext};
use sandpiper_sandbox_client::ExecutionHandle;
use tokio::sync::oneshot;

/// The receiver of the result.
#[derive(Debug)]
pub(super) enum ReplyTo {
    Caller(oneshot::Sender<ExecuteResult>),
    /// The store that handed the job out and records its result.
    Claim(oneshot::Sender<ClaimResult>),
    NetCheck(oneshot::Sender<Result<SandboxReach, DispatchError>>),
    Store,
}

/// Work that waits, runs or is to be retried.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) task: Task,
    pub(super) attempt: u32,
    pub(super) reply_to: ReplyTo,
    pub(super) changes: JobChanges,
    /// The span of the request.
    pub(super) trace: Option<TraceContext>,
}

/// The changes of one job in the store, made one after the other. A slow store could otherwise record the start after
/// the finish, so that the finish would be stale and the job would run for ever.
#[derive(Debug, Default)]
pub(super) struct JobChanges {
    last: Option<oneshot::Receiver<()>>,
}

impl JobChanges {
    /// Returns a future that makes `change` once the change before it was made or has failed.
    pub(super) fn in_order<Change: Future>(
        &mut self,
        change: Change,
    ) -> impl Future<Output = Change::Output> + use<Change> {
        let (made, last) = oneshot::channel();
        let before = self.last.replace(last);
        async move {
            if let Some(before) = before {
                // No message is ever sent: the end of the previous change drops its sender.
                let _ = before.await;
            }
            let outcome = change.await;
            drop(made);
            outcome
        }
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
        matches!(self.work.reply_to, ReplyTo::Claim(_) | ReplyTo::Store)
    }
}

/// Sends the reason why the work will not be run.
pub(super) fn reply_error(reply_to: ReplyTo, error: DispatchError) {
    // The receiver may have gone.
    match reply_to {
        ReplyTo::Caller(reply) => drop(reply.send(Err(error))),
        ReplyTo::Claim(reply) => drop(reply.send(Err(not_run(&error)))),
        ReplyTo::NetCheck(reply) => drop(reply.send(Err(error))),
        ReplyTo::Store => {}
    }
}

/// Returns the reason for the store that handed the job out.
fn not_run(error: &DispatchError) -> NotRun {
    match error {
        DispatchError::Draining => NotRun::Stopping,
        DispatchError::QueueFull { .. } | DispatchError::QueueWaitExceeded { .. } => NotRun::Busy,
        _ => NotRun::Failed,
    }
}

/// Returns true if the receiver of the result has gone.
pub(super) fn is_abandoned(reply_to: &ReplyTo) -> bool {
    match reply_to {
        ReplyTo::Caller(reply) => reply.is_closed(),
        ReplyTo::Claim(reply) => reply.is_closed(),
        ReplyTo::NetCheck(reply) => reply.is_closed(),
        ReplyTo::Store => false,
    }
}

/// Returns the limits of the task.
pub(super) fn limits_of(task: &Task) -> Limits {
    match task {
        Task::Script(_, limits) | Task::NetCheck(_, _, limits) => *limits,
    }
}

/// Returns the bytes that the task holds while it waits.
pub(super) fn bytes_of(task: &Task) -> usize {
    match task {
        Task::Script(script, _) => script.size_bytes(),
        Task::NetCheck(..) => 0,
    }
}
