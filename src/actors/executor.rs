//! The Executor: one thread of a SyncArbiter, one sandbox, one execution at a time.
//!
//! An Executor blocks its thread while a job runs. It pops its work from a [`WorkQueue`]. The SyncArbiter keeps the
//! thread, and replaces an Executor that panicked.

use super::runner::{Ran, Runner, RunnerFactory, Task};
use super::spans::ExecutionSpan;
use super::stats::{ExecutorKind, ExecutorSlot, Stats};
use super::work_queue::{WorkItem, WorkQueue};
use actix::{Actor, ActorContext, Handler, Message, Recipient, SyncArbiter, SyncContext};
use sandpiper_domain::{JobId, Lane, Outcome};
use sandpiper_sandbox_client::{ExecutionHandle, Processors, SandboxCounters, SandboxError};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;
use tokio::sync::oneshot;
use tracing::{debug, error, warn};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ExecutorFailure {
    NoSandbox,
    Panicked,
}

pub(super) type ExecutorResult = Result<Ran, ExecutorFailure>;

#[derive(Debug)]
pub(super) struct Execute {
    pub task: Task,
    pub lane: Lane,
    /// The moment at which the work began to wait.
    pub since: Instant,
    /// The handle that stops the execution and reads its log.
    pub handle: ExecutionHandle,
    /// The receiver of the execution. Dropped without a result if the Executor has gone, or if the work was retracted.
    pub reply: oneshot::Sender<ExecutorResult>,
}

impl Execute {
    pub(super) fn id(&self) -> JobId {
        self.task.id()
    }
}

/// A request to check the zygote of an idle Executor, and to replace a dead one. The sender gets a message when that is
/// done.
#[derive(Debug)]
pub(super) struct CheckUp(pub(super) oneshot::Sender<()>);

/// A request to pop work until the queue is closed. Each Executor sends one as it starts. Any free Executor takes it:
/// the sender, or another that has just started as well.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct Serve;

/// All Executors of a service. Their threads end when this is dropped.
#[derive(Debug)]
pub struct Executors {
    pub(super) work_queue: Arc<WorkQueue>,
    /// One work queue for each reserve executor, by the index of its slot in [`Stats`]. The Dispatcher chooses the
    /// reserve executor that runs something, so that one that is up is never passed over for one that is not.
    pub(super) reserve_queues: Arc<[Arc<WorkQueue>]>,
    /// The SyncArbiters run as long as an address of them exists.
    _arbiters: Vec<Recipient<Serve>>,
}

impl Executors {
    /// Starts as many Executors as `stats` has slots, each on a thread of its own. Regular Executors start their
    /// runners at once, and are pinned, with their child processes, to one of `processors` if there are any. Reserve
    /// Executors start their runners on demand, and are not pinned.
    #[must_use]
    pub fn start<R: Runner>(
        factory: RunnerFactory<R>,
        stats: Arc<Stats>,
        processors: Option<Processors>,
    ) -> Self {
        let work_queue = Arc::new(WorkQueue::default());
        let reserve_queues: Arc<[Arc<WorkQueue>]> = (0..stats.reserve_executors())
            .map(|_| Arc::default())
            .collect();
        let regular = ExecutorGroup::Regular(Arc::clone(&work_queue), processors);
        let mut arbiters = vec![start_group(stats.executors(), regular, &factory, &stats)];
        if !reserve_queues.is_empty() {
            let reserve = ExecutorGroup::Reserve(Arc::clone(&reserve_queues));
            arbiters.push(start_group(reserve_queues.len(), reserve, &factory, &stats));
        }
        Self {
            work_queue,
            reserve_queues,
            _arbiters: arbiters,
        }
    }

    /// Creates a set without threads: the test pops the work.
    #[cfg(test)]
    pub(super) fn none(work_queue: Arc<WorkQueue>, reserve_queues: Arc<[Arc<WorkQueue>]>) -> Self {
        Self {
            work_queue,
            reserve_queues,
            _arbiters: Vec::new(),
        }
    }
}

fn start_group<R: Runner>(
    threads: usize,
    group: ExecutorGroup,
    factory: &RunnerFactory<R>,
    stats: &Arc<Stats>,
) -> Recipient<Serve> {
    let (factory, stats) = (Arc::clone(factory), Arc::clone(stats));
    let arbiter = SyncArbiter::start(threads, move || Executor {
        group: group.clone(),
        factory: Arc::clone(&factory),
        runner: None,
        stats: Arc::clone(&stats),
        slot: None,
        counted: SandboxCounters::default(),
    });
    arbiter.recipient()
}

/// The kind of an Executor, and the queue from which it pops.
#[derive(Clone)]
enum ExecutorGroup {
    /// All pop from one queue.
    Regular(Arc<WorkQueue>, Option<Processors>),
    /// Each pops from its own queue.
    Reserve(Arc<[Arc<WorkQueue>]>),
}

impl ExecutorGroup {
    fn kind(&self) -> ExecutorKind {
        match self {
            Self::Regular(..) => ExecutorKind::Regular,
            Self::Reserve(_) => ExecutorKind::Reserve,
        }
    }
}

impl Drop for Executors {
    fn drop(&mut self) {
        self.work_queue.close();
        self.reserve_queues
            .iter()
            .for_each(|work_queue| work_queue.close());
    }
}

struct Executor<R: Runner> {
    group: ExecutorGroup,
    factory: RunnerFactory<R>,
    runner: Option<R>,
    stats: Arc<Stats>,
    slot: Option<ExecutorSlot>,
    counted: SandboxCounters,
}

impl<R: Runner> fmt::Debug for Executor<R> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Executor")
            .field("runner", &self.runner)
            .finish_non_exhaustive()
    }
}

impl<R: Runner> Executor<R> {
    fn stay_on_its_processor(&self) {
        let (ExecutorGroup::Regular(_, Some(processors)), Some(slot)) = (&self.group, &self.slot)
        else {
            return;
        };
        if let Err(failure) = processors.pin_this_thread(slot.index()) {
            warn!(
                error = %failure,
                "an executor cannot be pinned to a processor of its own: it runs on any processor, which may be slower"
            );
        }
    }

    fn work_queue(&self) -> Option<Arc<WorkQueue>> {
        match &self.group {
            ExecutorGroup::Regular(work_queue, _) => Some(Arc::clone(work_queue)),
            ExecutorGroup::Reserve(queues) => queues.get(self.slot.as_ref()?.index()).cloned(),
        }
    }

    fn execute(&mut self, message: &Execute, span: &ExecutionSpan) -> ExecutorResult {
        if self.runner.is_none() {
            self.start_runner();
        }
        let runner = self.runner.as_mut().ok_or(ExecutorFailure::NoSandbox)?;
        runner
            .run(&message.task, &message.handle)
            .map_err(|failure| {
                let trace_id = span.trace_text();
                error!(
                    job = %message.id(),
                    %trace_id,
                    error = %failure,
                    "the sandbox of an executor failed to run a job: a client gets an error, a background job is tried \
                     again"
                );
                ExecutorFailure::NoSandbox
            })
    }

    /// Runs the work and sends the result. The upkeep of the sandbox comes afterwards, in [`Executor::maintain`].
    fn serve(&mut self, message: Execute) -> RunnerState {
        self.record_busy(true);
        let span = ExecutionSpan::begin(&self.stats, &message);
        // A panic here would end this thread for good, while the arbiter would still seem connected.
        let caught = catch_unwind(AssertUnwindSafe(|| self.execute(&message, &span)));
        self.record_busy(false);
        let panicked = caught.is_err();
        let result = caught.unwrap_or(Err(ExecutorFailure::Panicked));
        let (job, trace_id) = (message.id(), span.trace_text());
        // The job process of a network check is meant to be killed by the attempt.
        if let (Ok(ran), Some(script)) = (&result, message.task.job()) {
            let client = script.client.as_str();
            if ran.outcome() == Some(Outcome::Crashed) {
                let cause = ran.error().map(|error| error.message.as_str());
                warn!(%job, %trace_id, client, cause, "a job process crashed");
            }
            let outcome = ran.outcome_name();
            debug!(%job, %trace_id, client, outcome, "executed");
            let slot = self.slot.as_ref().map(ExecutorSlot::number);
            span.ran(&self.stats, &message, ran, slot);
        }
        // The receiver may have gone.
        let _ = message.reply.send(result);
        if panicked {
            error!(%job, %trace_id, "an executor panicked while it ran a job: the executor is restarted");
            self.stats.executors_revived.fetch_add(1, Ordering::Relaxed);
            self.drop_runner();
            return RunnerState::Panicked;
        }
        RunnerState::Healthy
    }

    fn start_runner(&mut self) {
        self.runner = match self.catch_panic("starting", || (self.factory)()) {
            Ok(runner) => Some(runner),
            Err(failure) => {
                error!(
                    error = %failure,
                    "an executor could not start its sandbox: it runs nothing, and the start is tried again"
                );
                None
            }
        };
        self.counted = SandboxCounters::default();
        self.record_stats();
    }

    fn maintain(&mut self, care: fn(&mut R) -> Result<(), SandboxError>) {
        let Some(mut runner) = self.runner.take() else {
            self.start_runner();
            return;
        };
        let cared = self.catch_panic("upkeep", || care(&mut runner));
        self.runner = Some(runner);
        if let Err(failure) = cared {
            error!(error = %failure, "the sandbox of an executor failed: the executor starts a new one");
            self.drop_runner();
        }
        self.record_stats();
    }

    /// Drops the runner after its counters are in the stats.
    fn drop_runner(&mut self) {
        self.record_stats();
        let runner = self.runner.take();
        if let Err(failure) = self.catch_panic("letting go", || {
            drop(runner);
            Ok(())
        }) {
            error!(error = %failure, "the sandbox of an executor did not end cleanly: some processes may be left");
        }
    }

    /// Runs `step` and turns a panic into an error. An uncaught panic would end this thread for good, while the arbiter
    /// would still seem connected.
    fn catch_panic<T>(
        &self,
        doing: &str,
        step: impl FnOnce() -> Result<T, SandboxError>,
    ) -> Result<T, SandboxError> {
        catch_unwind(AssertUnwindSafe(step)).unwrap_or_else(|_| {
            self.stats.executors_revived.fetch_add(1, Ordering::Relaxed);
            Err(SandboxError::Zygote(format!("{doing} panicked")))
        })
    }

    fn record_stats(&mut self) {
        let Some(slot) = &self.slot else { return };
        slot.record_zygote(self.runner.as_ref().and_then(Runner::zygote_pid));
        let Some(runner) = &self.runner else { return };
        let now = runner.counters();
        let stats = slot.stats();
        stats.zygotes_replaced.fetch_add(
            now.zygotes_failed - self.counted.zygotes_failed,
            Ordering::Relaxed,
        );
        stats
            .meters
            .zygotes_started
            .add(now.zygotes_started - self.counted.zygotes_started);
        stats
            .executions_crashed
            .fetch_add(now.crashed - self.counted.crashed, Ordering::Relaxed);
        stats.executions_killed.fetch_add(
            now.killed_at_deadline - self.counted.killed_at_deadline,
            Ordering::Relaxed,
        );
        self.counted = now;
    }

    fn record_busy(&self, busy: bool) {
        if let Some(slot) = &self.slot {
            slot.record_busy(busy);
        }
    }
}

impl<R: Runner> Actor for Executor<R> {
    type Context = SyncContext<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        self.slot = self.stats.take_slot(self.group.kind());
        self.stay_on_its_processor();
        if self.group.kind() == ExecutorKind::Regular {
            self.start_runner();
        }
        // The mailbox of a SyncArbiter has no bound.
        if let Err(failure) = context.address().try_send(Serve) {
            error!(error = %failure, "an executor cannot receive messages and runs nothing: restart the service");
        }
    }
}

impl<R: Runner> Handler<Serve> for Executor<R> {
    type Result = ();

    fn handle(&mut self, _: Serve, context: &mut Self::Context) {
        let Some(work_queue) = self.work_queue() else {
            error!("a reserve executor has no slot and runs nothing: restart the service");
            return;
        };
        while let Some(item) = work_queue.pop() {
            match item {
                WorkItem::Execute(message) => match self.serve(message) {
                    RunnerState::Healthy => self.maintain(R::maintain),
                    RunnerState::Panicked => {
                        // The arbiter makes a new Executor on this thread.
                        context.stop();
                        return;
                    }
                },
                WorkItem::CheckUp(CheckUp(done)) => {
                    self.maintain(R::check_up);
                    // The Dispatcher may have gone.
                    let _ = done.send(());
                }
                WorkItem::EndZygote => {
                    self.drop_runner();
                    self.record_stats();
                }
            }
        }
    }
}

enum RunnerState {
    Healthy,
    Panicked,
}
