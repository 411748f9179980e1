//! Fakes: runners that do what a test says, and executors that hand everything to the test.

use super::super::answers::{ExecuteAnswer, Submission};
use super::super::board::{Board, BoardPlace, ExecutorKind};
use super::super::dispatcher::{Dispatcher, DispatcherOptions, ReserveOptions, RunNow};
use super::super::executor::{CheckUp, Execute, ExecutorAnswer, Executors};
use super::super::handle::{DispatcherHandle, Parts};
use super::super::queue::QueueBounds;
use super::super::runner::{Runner, Task};
use super::super::store_health::StoreHealth;
use super::super::tray::{Errand, Tray};
use super::witness::Witness;
use crate::store::{Found, JobStore, RecentBounds, RecentExecutions};
use crate::telemetry::Telemetry;
use actix::{Actor, Addr};
use sandpiper_domain::{ClientKey, Execution, Job, JobId, JobTerms, Outcome, Timestamp, samples};
use sandpiper_sandbox_client::{ExecutionHandle, IsolationLevel, SandboxCounters, SandboxError};
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{oneshot, watch};

/// Far more than anything here takes; a wait that gets there is a failure.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// What `future` comes to, within [`PATIENCE`].
pub(super) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .unwrap_or_else(|_| panic!("{what}: not within {PATIENCE:?}"))
}

/// Returns once `holds`, within [`PATIENCE`].
pub(super) async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Panics as code does, without the hook that would write it among the tests' names.
pub(super) fn panic_quietly() -> ! {
    std::panic::resume_unwind(Box::new("a panic that the test wants"))
}

pub(super) fn zygote_failed() -> SandboxError {
    SandboxError::Zygote("a failure that the test wants".to_owned())
}

type Run = dyn Fn(JobId, &ExecutionHandle) -> Result<Execution, SandboxError> + Send + Sync;
type Care = dyn Fn() -> Result<(), SandboxError> + Send + Sync;

/// A runner made of functions. Its zygote is the test's own process, so the board believes it alive.
pub(super) struct FakeRunner {
    pub(super) run: Arc<Run>,
    pub(super) care: Arc<Care>,
    #[expect(dead_code, reason = "it is there to be dropped")]
    pub(super) on_drop: OnDrop,
    pub(super) counters: SandboxCounters,
}

impl FakeRunner {
    /// Succeeds at everything.
    pub(super) fn new() -> Self {
        Self::that_runs(|id, _| Ok(samples::success(id, 2)))
    }

    pub(super) fn that_runs(
        run: impl Fn(JobId, &ExecutionHandle) -> Result<Execution, SandboxError> + Send + Sync + 'static,
    ) -> Self {
        Self {
            run: Arc::new(run),
            care: Arc::new(|| Ok(())),
            on_drop: OnDrop(|| {}),
            counters: SandboxCounters::default(),
        }
    }
}

impl fmt::Debug for FakeRunner {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("FakeRunner")
    }
}

/// What a runner does when it is let go.
pub(super) struct OnDrop(pub(super) fn());

impl Drop for OnDrop {
    fn drop(&mut self) {
        (self.0)();
    }
}

impl Runner for FakeRunner {
    fn run(
        &mut self,
        id: JobId,
        _: &Task,
        handle: &ExecutionHandle,
    ) -> Result<Execution, SandboxError> {
        let answer = (self.run)(id, handle);
        let crashed = matches!(&answer, Ok(execution) if execution.outcome == Outcome::Crashed);
        self.counters.crashed += u64::from(crashed);
        answer
    }

    fn maintain(&mut self) -> Result<(), SandboxError> {
        (self.care)()
    }

    fn check_up(&mut self) -> Result<(), SandboxError> {
        (self.care)()
    }

    fn zygote_pid(&self) -> Option<u32> {
        Some(std::process::id())
    }

    fn counters(&self) -> SandboxCounters {
        self.counters
    }
}

/// What a [`House`] is built of.
pub(super) struct Plan {
    pub(super) executors: usize,
    pub(super) store: Arc<Witness>,
    pub(super) interactive_max: usize,
    pub(super) background_max: usize,
    pub(super) queue_wait_max: Duration,
    pub(super) reserve_executors: usize,
    pub(super) reserve: ReserveOptions,
}

impl Plan {
    pub(super) fn new(executors: usize) -> Self {
        Self {
            executors,
            store: Witness::over(10_000),
            interactive_max: 100,
            background_max: 1_000,
            queue_wait_max: PATIENCE * 10,
            reserve_executors: 0,
            reserve: ReserveOptions {
                after: Duration::from_millis(10),
                idle_max: PATIENCE * 10,
            },
        }
    }

    pub(super) fn build(self) -> House {
        let board = Board::with_telemetry(self.executors, self.reserve_executors, Telemetry::off());
        let reserve_trays: Arc<[Arc<Tray>]> = (0..self.reserve_executors)
            .map(|_| Arc::default())
            .collect();
        let tray = Arc::new(Tray::default());
        let recent = Arc::new(RecentExecutions::new(RecentBounds {
            executions_max: 100,
            bytes_max: 1 << 20,
            ttl: PATIENCE,
        }));
        let options = DispatcherOptions {
            queue: QueueBounds {
                interactive_max: self.interactive_max,
                background_max: self.background_max,
                bytes_max: 1 << 20,
                interactive_weight: 4,
            },
            queue_wait_max: self.queue_wait_max,
            attempts_max: 3,
            client_running_max: usize::MAX,
            reserve: self.reserve,
        };
        let store: Arc<dyn JobStore> = Arc::clone(&self.store) as _;
        let dispatcher = Dispatcher::new(
            options,
            Executors::none(Arc::clone(&tray), Arc::clone(&reserve_trays)),
            Arc::clone(&board),
            Arc::clone(&store),
            Arc::clone(&recent),
        )
        .start();
        let handle = DispatcherHandle::new(Parts {
            started_at: Timestamp::now(),
            dispatcher: dispatcher.clone(),
            store_health: StoreHealth::new(Arc::clone(&store)),
            store,
            recent,
            board: Arc::clone(&board),
            isolation_level: IsolationLevel::L2,
            walls: Vec::new(),
            execute_within: Duration::from_secs(60),
            net_check_limits: samples::limits(),
            drained: watch::Sender::new(false),
        });
        House {
            handle,
            dispatcher,
            board,
            store: self.store,
            tray,
            reserve_trays,
            reserve_places: Vec::new(),
            check_ups: Vec::new(),
            handed: VecDeque::new(),
        }
    }
}

/// A Dispatcher whose executors are the test.
pub(super) struct House {
    pub(super) handle: DispatcherHandle,
    pub(super) dispatcher: Addr<Dispatcher>,
    pub(super) board: Arc<Board>,
    pub(super) store: Arc<Witness>,
    tray: Arc<Tray>,
    reserve_trays: Arc<[Arc<Tray>]>,
    /// The places of reserve executors that are up, in their order.
    reserve_places: Vec<BoardPlace>,
    /// Check-ups that were asked for and have not ended.
    check_ups: Vec<CheckUp>,
    handed: VecDeque<Execute>,
}

impl House {
    /// The next thing that is handed to an executor.
    pub(super) async fn next(&mut self) -> Execute {
        let next = async {
            loop {
                self.take_all();
                if let Some(next) = self.handed.pop_front() {
                    return next;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        soon("something is handed out", next).await
    }

    /// All that was handed out by now and not taken by [`House::next`].
    pub(super) async fn handed_out(&mut self) -> Vec<Execute> {
        // Whatever the Dispatcher was sent before this was handled before it.
        let question = crate::actors::dispatcher::WhereIs(JobId::generate());
        self.dispatcher.send(question).await.unwrap();
        self.take_all();
        self.handed.drain(..).collect()
    }

    /// Check-ups that were asked for and that have not ended.
    pub(super) fn check_ups(&mut self) -> usize {
        self.take_all();
        self.check_ups.len()
    }

    /// Ends those.
    pub(super) fn end_check_ups(&mut self) {
        for CheckUp(done) in self.check_ups.drain(..) {
            let _ = done.send(());
        }
    }

    /// What an executor would take.
    fn take_all(&mut self) {
        while let Some(errand) = self.tray.try_take() {
            match errand {
                Errand::Execute(work) => self.handed.push_back(work),
                Errand::CheckUp(check_up) => self.check_ups.push(check_up),
                Errand::Rest => panic!("a regular executor is asked to rest"),
            }
        }
    }

    /// Takes what this reserve executor is asked to do.
    pub(super) fn try_reserve_errand(&self, index: usize) -> Option<Errand> {
        self.reserve_trays[index].try_take()
    }

    /// The next thing that this reserve executor is asked to do.
    pub(super) async fn reserve_errand(&self, index: usize) -> Errand {
        let next = async {
            loop {
                if let Some(errand) = self.try_reserve_errand(index) {
                    return errand;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        soon("a reserve executor is asked to do something", next).await
    }

    /// The next reserve executor, in their order, is asked to come up, and does.
    pub(super) async fn reserve_comes_up(&mut self) {
        let index = self.reserve_places.len();
        let Errand::CheckUp(CheckUp(done)) = self.reserve_errand(index).await else {
            panic!("it is given work before it is up");
        };
        let place = self.board.take_place(ExecutorKind::Reserve).unwrap();
        assert_eq!(place.index(), index);
        place.show_zygote(Some(std::process::id()));
        self.reserve_places.push(place);
        let _ = done.send(());
    }

    /// The work that this reserve executor, which is up, is given next.
    pub(super) async fn next_on_reserve(&self, index: usize) -> Execute {
        match self.reserve_errand(index).await {
            Errand::Execute(execute) => execute,
            other => panic!("no work but {other:?}"),
        }
    }

    /// Somebody of this client who waits for an execution.
    pub(super) async fn ask_as(&self, client: &str) -> (JobId, oneshot::Receiver<ExecuteAnswer>) {
        let (reply, answer) = oneshot::channel();
        let submission = submission_of(client);
        let id = submission.id;
        let run_now = RunNow { submission, reply };
        self.dispatcher.send(run_now).await.unwrap();
        (id, answer)
    }

    /// Submits a background job that is accepted.
    pub(super) async fn submit(&self) -> JobId {
        self.submit_as("test").await
    }

    /// The same, of this client.
    pub(super) async fn submit_as(&self, client: &str) -> JobId {
        self.handle
            .submit(submission_of(client), JobTerms::default())
            .await
            .unwrap()
            .job
            .id
    }

    pub(super) async fn job(&self, id: JobId) -> Job {
        match self.store.get(id).await.unwrap() {
            Found::Job(job) => job,
            other => panic!("no job but {other:?}"),
        }
    }

    /// The job once it is final.
    pub(super) async fn final_job(&self, id: JobId) -> Job {
        let found = soon("the job is final", self.store.wait(id, PATIENCE * 10)).await;
        match found.unwrap() {
            Found::Job(job) => job,
            other => panic!("no job but {other:?}"),
        }
    }
}

pub(super) fn submission() -> Submission {
    submission_of("test")
}

fn submission_of(client: &str) -> Submission {
    Submission {
        id: JobId::generate(),
        script: samples::script(1),
        limits: samples::limits(),
        client: ClientKey::new(client),
        trace: None,
    }
}

/// Answers as an executor does whose execution succeeded.
pub(super) fn succeed(execute: Execute) {
    let execution = samples::success(execute.id, 2);
    answer(execute, Ok(execution));
}

pub(super) fn answer(execute: Execute, answer: ExecutorAnswer) {
    // Whoever waited may be gone.
    let _ = execute.reply.send(answer);
}
