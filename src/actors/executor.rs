//! An Executor: one thread of the SyncArbiter, one sandbox, one execution at a time.
//!
//! It blocks while a job runs, which is what its thread is for. Its work it takes from the [`Tray`]; the SyncArbiter keeps
//! its thread, and puts a new Executor in the place of one that panicked.

use super::board::{Board, BoardPlace, ExecutorKind};
use super::runner::{Runner, RunnerFactory, Task};
use super::spans::Seen;
use super::tray::{Errand, Tray};
use actix::{Actor, ActorContext, Handler, Message, Recipient, SyncArbiter, SyncContext};
use sandpiper_domain::{Execution, JobId, Lane, Outcome, TraceContext};
use sandpiper_sandbox_client::{ExecutionHandle, Processors, SandboxCounters, SandboxError};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;
use tokio::sync::oneshot;
use tracing::{debug, error, warn};

/// Why there is no execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ExecutorFailure {
    /// The sandbox cannot run anything.
    NoSandbox,
    /// The executor panicked and was brought back.
    Panicked,
}

/// What an Executor answers.
pub(super) type ExecutorAnswer = Result<Execution, ExecutorFailure>;

/// Whence work comes: what meters and spans say of it before it ran.
#[derive(Debug, Clone)]
pub(super) struct Origin {
    /// Where it waited.
    pub lane: Lane,
    /// Since when.
    pub since: Instant,
    /// The span of the request that brought it.
    pub trace: Option<TraceContext>,
}

/// Run this, and send the execution to `reply`.
#[derive(Debug)]
pub(super) struct Execute {
    /// The job it is an execution of.
    pub id: JobId,
    /// What to run.
    pub task: Task,
    /// Whence it comes.
    pub origin: Origin,
    /// Stops it, and reads its log.
    pub handle: ExecutionHandle,
    /// Where the execution goes. Dropped unanswered, the executor is gone, or it was taken back.
    pub reply: oneshot::Sender<ExecutorAnswer>,
}

/// See whether the zygote still lives; replace it if not. For executors that have nothing to run. Tells when it is done.
#[derive(Debug)]
pub(super) struct CheckUp(pub(super) oneshot::Sender<()>);

/// Take work from the tray until it is closed. Each Executor says so to whichever is free: itself, or another that has
/// just begun as well.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct Serve;

/// All Executors of a service, as its Dispatcher has them. They end when this is dropped.
#[derive(Debug)]
pub struct Executors {
    pub(super) tray: Arc<Tray>,
    /// One tray for each reserve executor, in the order of their places on the board: the Dispatcher chooses which of them
    /// runs something, so that one that is up is never passed over for one that is not.
    pub(super) reserve_trays: Arc<[Arc<Tray>]>,
    /// As long as somebody has them, the SyncArbiters go on.
    _arbiters: Vec<Recipient<Serve>>,
}

impl Executors {
    /// As many as `board` has places, each on a thread of its own. Regular executors start their runners at once, each on
    /// its thread, and if so told stay on one of `processors`, with all that they start. Reserve executors start theirs when
    /// they are asked to, and run wherever there is room.
    #[must_use]
    pub fn start<R: Runner>(
        factory: RunnerFactory<R>,
        board: Arc<Board>,
        processors: Option<Processors>,
    ) -> Self {
        let tray = Arc::new(Tray::default());
        let reserve_trays: Arc<[Arc<Tray>]> = (0..board.reserve_executors())
            .map(|_| Arc::default())
            .collect();
        let regular = Crew::Regular(Arc::clone(&tray), processors);
        let mut arbiters = vec![start_crew(board.executors(), regular, &factory, &board)];
        if !reserve_trays.is_empty() {
            let reserve = Crew::Reserve(Arc::clone(&reserve_trays));
            arbiters.push(start_crew(reserve_trays.len(), reserve, &factory, &board));
        }
        Self {
            tray,
            reserve_trays,
            _arbiters: arbiters,
        }
    }

    /// Nobody takes anything but a test.
    #[cfg(test)]
    pub(super) fn none(tray: Arc<Tray>, reserve_trays: Arc<[Arc<Tray>]>) -> Self {
        Self {
            tray,
            reserve_trays,
            _arbiters: Vec::new(),
        }
    }
}

fn start_crew<R: Runner>(
    threads: usize,
    crew: Crew,
    factory: &RunnerFactory<R>,
    board: &Arc<Board>,
) -> Recipient<Serve> {
    let (factory, board) = (Arc::clone(factory), Arc::clone(board));
    let arbiter = SyncArbiter::start(threads, move || Executor {
        crew: crew.clone(),
        factory: Arc::clone(&factory),
        runner: None,
        board: Arc::clone(&board),
        place: None,
        counted: SandboxCounters::default(),
    });
    arbiter.recipient()
}

/// Which Executors one is of, and where those take their work.
#[derive(Clone)]
enum Crew {
    /// All take from one tray.
    Regular(Arc<Tray>, Option<Processors>),
    /// Each takes from its own.
    Reserve(Arc<[Arc<Tray>]>),
}

impl Crew {
    fn kind(&self) -> ExecutorKind {
        match self {
            Self::Regular(..) => ExecutorKind::Regular,
            Self::Reserve(_) => ExecutorKind::Reserve,
        }
    }
}

impl Drop for Executors {
    fn drop(&mut self) {
        self.tray.close();
        self.reserve_trays.iter().for_each(|tray| tray.close());
    }
}

/// See the module.
struct Executor<R: Runner> {
    crew: Crew,
    factory: RunnerFactory<R>,
    runner: Option<R>,
    board: Arc<Board>,
    place: Option<BoardPlace>,
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
        let (Crew::Regular(_, Some(processors)), Some(place)) = (&self.crew, &self.place) else {
            return;
        };
        if let Err(failure) = processors.pin_this_thread(place.index()) {
            warn!(error = %failure, "an executor cannot be kept on a processor of its own; it runs where there is room");
        }
    }

    /// Returns the tray from which this Executor takes its work.
    fn tray(&self) -> Option<Arc<Tray>> {
        match &self.crew {
            Crew::Regular(tray, _) => Some(Arc::clone(tray)),
            Crew::Reserve(trays) => trays.get(self.place.as_ref()?.index()).cloned(),
        }
    }

    fn execute(&mut self, message: &Execute, seen: &Seen) -> ExecutorAnswer {
        if self.runner.is_none() {
            self.bring_up();
        }
        let runner = self.runner.as_mut().ok_or(ExecutorFailure::NoSandbox)?;
        runner
            .run(message.id, &message.task, &message.handle)
            .map_err(|failure| {
                let trace_id = seen.trace_text();
                error!(job = %message.id, %trace_id, error = %failure, "the sandbox failed");
                ExecutorFailure::NoSandbox
            })
    }

    /// Runs it and answers. What can wait until then is left to [`Executor::keep_up`].
    fn serve(&mut self, message: Execute) -> Survived {
        self.show_busy(true);
        let seen = Seen::begin(&self.board, &message.origin);
        // A panic here would end this thread for good, while the arbiter still claims to be connected.
        let caught = catch_unwind(AssertUnwindSafe(|| self.execute(&message, &seen)));
        self.show_busy(false);
        let revive = caught.is_err();
        let answer = caught.unwrap_or(Err(ExecutorFailure::Panicked));
        let crashed = answer
            .as_ref()
            .is_ok_and(|execution| execution.outcome == Outcome::Crashed);
        let (job, trace_id) = (message.id, seen.trace_text());
        // A network check is meant to die of its try.
        if crashed && matches!(message.task, Task::Script(..)) {
            warn!(%job, %trace_id, "a job process crashed");
        }
        if let Ok(execution) = &answer {
            let outcome = execution.outcome.as_str();
            debug!(%job, %trace_id, outcome, "executed");
            let place = self.place.as_ref().map(BoardPlace::number);
            seen.ran(&self.board, &message, execution, place);
        }
        // Whoever waited may be gone.
        let _ = message.reply.send(answer);
        if revive {
            error!(%job, %trace_id, "an executor panicked and is brought back");
            self.board.executors_revived.fetch_add(1, Ordering::Relaxed);
            self.let_go();
            return Survived::Panicked;
        }
        Survived::Well
    }

    fn bring_up(&mut self) {
        self.runner = match self.outlive("starting", || (self.factory)()) {
            Ok(runner) => Some(runner),
            Err(failure) => {
                error!(error = %failure, "an executor has no sandbox");
                None
            }
        };
        self.counted = SandboxCounters::default();
        self.show();
    }

    fn keep_up(&mut self, care: fn(&mut R) -> Result<(), SandboxError>) {
        let Some(mut runner) = self.runner.take() else {
            self.bring_up();
            return;
        };
        let cared = self.outlive("upkeep", || care(&mut runner));
        self.runner = Some(runner);
        if let Err(failure) = cared {
            error!(error = %failure, "an executor lost its sandbox");
            self.let_go();
        }
        self.show();
    }

    /// Drops the runner, once what it has counted is on the board.
    fn let_go(&mut self) {
        self.show();
        let runner = self.runner.take();
        if let Err(failure) = self.outlive("letting go", || {
            drop(runner);
            Ok(())
        }) {
            error!(error = %failure, "an executor's sandbox did not end in order");
        }
    }

    /// A panic of the runner becomes its failure: it would end this thread for good, while the arbiter still claims to
    /// be connected.
    fn outlive<T>(
        &self,
        doing: &str,
        step: impl FnOnce() -> Result<T, SandboxError>,
    ) -> Result<T, SandboxError> {
        catch_unwind(AssertUnwindSafe(step)).unwrap_or_else(|_| {
            self.board.executors_revived.fetch_add(1, Ordering::Relaxed);
            Err(SandboxError::Zygote(format!("{doing} panicked")))
        })
    }

    fn show(&mut self) {
        let Some(place) = &self.place else { return };
        place.show_zygote(self.runner.as_ref().and_then(Runner::zygote_pid));
        let Some(runner) = &self.runner else { return };
        let now = runner.counters();
        let board = place.board();
        board.zygotes_replaced.fetch_add(
            now.zygotes_failed - self.counted.zygotes_failed,
            Ordering::Relaxed,
        );
        board
            .meters
            .zygotes_started
            .add(now.zygotes_started - self.counted.zygotes_started);
        board
            .executions_crashed
            .fetch_add(now.crashed - self.counted.crashed, Ordering::Relaxed);
        board.executions_killed.fetch_add(
            now.killed_at_deadline - self.counted.killed_at_deadline,
            Ordering::Relaxed,
        );
        self.counted = now;
    }

    fn show_busy(&self, busy: bool) {
        if let Some(place) = &self.place {
            place.show_busy(busy);
        }
    }
}

impl<R: Runner> Actor for Executor<R> {
    type Context = SyncContext<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        self.place = self.board.take_place(self.crew.kind());
        self.stay_on_its_processor();
        if self.crew.kind() == ExecutorKind::Regular {
            self.bring_up();
        }
        // A SyncArbiter's mailbox takes everything.
        if let Err(failure) = context.address().try_send(Serve) {
            error!(error = %failure, "an executor takes no work");
        }
    }
}

impl<R: Runner> Handler<Serve> for Executor<R> {
    type Result = ();

    fn handle(&mut self, _: Serve, context: &mut Self::Context) {
        let Some(tray) = self.tray() else {
            error!("a reserve executor has no place and takes no work");
            return;
        };
        while let Some(errand) = tray.take() {
            match errand {
                Errand::Execute(message) => match self.serve(message) {
                    Survived::Well => self.keep_up(R::maintain),
                    Survived::Panicked => {
                        // The arbiter makes a new Executor on this thread.
                        context.stop();
                        return;
                    }
                },
                Errand::CheckUp(CheckUp(done)) => {
                    self.keep_up(R::check_up);
                    // The Dispatcher may be gone.
                    let _ = done.send(());
                }
                Errand::Rest => {
                    self.let_go();
                    self.show();
                }
            }
        }
    }
}

/// How an Executor came out of an execution.
enum Survived {
    Well,
    Panicked,
}
