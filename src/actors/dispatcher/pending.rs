//! One piece of work on its way through the Dispatcher: what it is, who is told, and its changes in the store in order.

use crate::actors::answers::{ClaimAnswer, ExecuteAnswer, Refusal, SandboxReach};
use crate::actors::runner::Task;
use crate::store::NotRun;
use sandpiper_domain::{ClientKey, Limits, TraceContext};
use sandpiper_sandbox_client::ExecutionHandle;
use tokio::sync::oneshot;

/// Who is told.
#[derive(Debug)]
pub(super) enum Audience {
    Caller(oneshot::Sender<ExecuteAnswer>),
    /// The store, which handed it out and records what becomes of it.
    Claimant(oneshot::Sender<ClaimAnswer>),
    NetCheck(oneshot::Sender<Result<SandboxReach, Refusal>>),
    Store,
}

/// Work that waits, runs or rests.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) task: Task,
    pub(super) attempt: u32,
    pub(super) audience: Audience,
    pub(super) changes: Changes,
    /// The span of the request that brought it.
    pub(super) trace: Option<TraceContext>,
}

/// The changes of one job in the store, one after the other: a store may take its time, and a start that comes after its
/// finish would make that finish stale and the job run for ever.
#[derive(Debug, Default)]
pub(super) struct Changes {
    last: Option<oneshot::Receiver<()>>,
}

impl Changes {
    /// `change`, made once the change before it was made or has failed.
    pub(super) fn in_order<Change: Future>(
        &mut self,
        change: Change,
    ) -> impl Future<Output = Change::Output> + use<Change> {
        let (made, last) = oneshot::channel();
        let before = self.last.replace(last);
        async move {
            if let Some(before) = before {
                // Nothing is ever sent: whoever made it drops its end.
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
    pub(super) pending: Pending,
    pub(super) handle: ExecutionHandle,
    /// The place of the reserve executor that has it, if one does.
    pub(super) reserve: Option<usize>,
}

impl Running {
    /// Whether nobody waits for it on a connection.
    pub(super) fn is_background(&self) -> bool {
        matches!(
            self.pending.audience,
            Audience::Claimant(_) | Audience::Store
        )
    }
}

/// Tells whoever waits that it will not be run.
pub(super) fn refuse(audience: Audience, refusal: Refusal) {
    // Whoever waited may be gone.
    match audience {
        Audience::Caller(reply) => drop(reply.send(Err(refusal))),
        Audience::Claimant(reply) => drop(reply.send(Err(not_run(&refusal)))),
        Audience::NetCheck(reply) => drop(reply.send(Err(refusal))),
        Audience::Store => {}
    }
}

/// What a refusal is to the store that handed the job out.
fn not_run(refusal: &Refusal) -> NotRun {
    match refusal {
        Refusal::Draining => NotRun::Stopping,
        Refusal::QueueFull { .. } | Refusal::QueueWaitExceeded { .. } => NotRun::Busy,
        _ => NotRun::Failed,
    }
}

/// Whether nobody waits for it any more.
pub(super) fn is_gone(audience: &Audience) -> bool {
    match audience {
        Audience::Caller(reply) => reply.is_closed(),
        Audience::Claimant(reply) => reply.is_closed(),
        Audience::NetCheck(reply) => reply.is_closed(),
        Audience::Store => false,
    }
}

/// What it may use.
pub(super) fn limits_of(task: &Task) -> Limits {
    match task {
        Task::Script(_, limits) | Task::NetCheck(_, _, limits) => *limits,
    }
}

/// What it holds while it waits.
pub(super) fn bytes_of(task: &Task) -> usize {
    match task {
        Task::Script(script, _) => script.size_bytes(),
        Task::NetCheck(..) => 0,
    }
}
