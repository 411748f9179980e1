//! Fakes: runners made of functions, and executors whose work goes to the test.

use super::super::dispatcher::{Dispatcher, DispatcherOptions, ReserveOptions, Run};
use super::super::executor::ExecutorFailure;
use super::super::executor::{CheckUp, Execute, ExecutorResult, Executors};
use super::super::handle::{DispatcherHandle, HandleParts};
use super::super::job_runner::DispatcherJobRunner;
use super::super::purged_tenants::PurgedTenants;
use super::super::queue::QueueBounds;
use super::super::runner::{Ran, Runner, Task};
use super::super::stats::{ExecutorKind, ExecutorSlot, Stats};
use super::super::store_health::StoreHealth;
use super::super::types::ExecuteResult;
use super::super::work_queue::{WorkItem, WorkQueue};
use super::recording_store::RecordingStore;
use crate::telemetry::Telemetry;
use crate::usage::UsageMeter;
use actix::{Actor, Addr};
use sandpiper_domain::{
    Access, Execution, Job, JobId, JobRecord, JobTerms, Lane, Outcome, Timestamp, samples,
};
use sandpiper_sandbox_client::{ExecutionHandle, IsolationLevel, SandboxCounters, SandboxError};
use sandpiper_store::{
    Found, InProcessStore, JobRecords, JobStore, RecentBounds, RecentExecutions, StoreCounts,
};
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{oneshot, watch};

/// Far more than anything here takes: a wait that reaches it is a failure.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// Returns the output of `future`, within [`PATIENCE`].
pub(super) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .unwrap_or_else(|_| panic!("{what}: not within {PATIENCE:?}"))
}

/// Returns once `holds` returns true, within [`PATIENCE`].
pub(super) async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Panics without the hook that would print a message among the tests' names.
pub(super) fn panic_quietly() -> ! {
    std::panic::resume_unwind(Box::new("a panic that the test wants"))
}

pub(super) fn zygote_failed() -> SandboxError {
    SandboxError::Zygote("a failure that the test wants".to_owned())
}

type RunFn = dyn Fn(JobId, &ExecutionHandle) -> Result<Execution, SandboxError> + Send + Sync;
type CareFn = dyn Fn() -> Result<(), SandboxError> + Send + Sync;

/// A runner made of functions. Its zygote is the test's own process, which is alive.
pub(super) struct FakeRunner {
    pub(super) run: Arc<RunFn>,
    pub(super) care: Arc<CareFn>,
    #[expect(dead_code, reason = "it is there to be dropped")]
    pub(super) on_drop: OnDrop,
    pub(super) counters: SandboxCounters,
}

impl FakeRunner {
    /// Returns a runner that succeeds at everything.
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

/// A function that runs when the runner is dropped.
pub(super) struct OnDrop(pub(super) fn());

impl Drop for OnDrop {
    fn drop(&mut self) {
        (self.0)();
    }
}

impl Runner for FakeRunner {
    fn run(&mut self, task: &Task, handle: &ExecutionHandle) -> Result<Ran, SandboxError> {
        let result = (self.run)(task.id(), handle);
        let crashed = matches!(&result, Ok(execution) if execution.outcome == Outcome::Crashed);
        self.counters.crashed += u64::from(crashed);
        result.map(Ran::Execution)
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

/// The options of a [`Harness`].
pub(super) struct HarnessOptions {
    pub(super) executors: usize,
    pub(super) store: Arc<RecordingStore>,
    pub(super) interactive_max: usize,
    pub(super) background_max: usize,
    pub(super) queue_wait_max: Duration,
    pub(super) reserve_executors: usize,
    pub(super) reserve: ReserveOptions,
}

impl HarnessOptions {
    pub(super) fn new(executors: usize) -> Self {
        Self {
            executors,
            store: RecordingStore::over(10_000),
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

    pub(super) fn build(self) -> Harness {
        let stats = Stats::with_telemetry(self.executors, self.reserve_executors, Telemetry::off());
        let reserve_queues: Arc<[Arc<WorkQueue>]> = (0..self.reserve_executors)
            .map(|_| Arc::default())
            .collect();
        let work_queue = Arc::new(WorkQueue::default());
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
            requeue_after: None,
            client_running_max: usize::MAX,
            reserve: self.reserve,
        };
        let records: Arc<dyn JobRecords> = Arc::clone(&self.store) as _;
        let store: Arc<dyn JobStore> = Arc::new(InProcessStore::new(records, 3));
        let dispatcher = Dispatcher::new(
            options,
            Executors::none(Arc::clone(&work_queue), Arc::clone(&reserve_queues)),
            Arc::clone(&stats),
            Arc::clone(&store),
            Arc::clone(&recent),
            UsageMeter::new(Arc::clone(&store) as _),
        )
        .start();
        let runner = Arc::new(DispatcherJobRunner::new(
            dispatcher.clone(),
            Arc::clone(&stats),
        ));
        store.start_dispatch(runner).unwrap();
        let handle = DispatcherHandle::new(HandleParts {
            started_at: Timestamp::now(),
            dispatcher: dispatcher.clone(),
            purged_tenants: PurgedTenants::new(Arc::clone(&store)),
            store_health: StoreHealth::new(Arc::clone(&store)),
            store,
            recent,
            stats: Arc::clone(&stats),
            isolation_level: IsolationLevel::L2,
            isolation_layers: Vec::new(),
            execute_within: Duration::from_secs(60),
            net_check_limits: samples::limits(),
            drained: watch::Sender::new(false),
        });
        Harness {
            handle,
            dispatcher,
            stats,
            store: self.store,
            work_queue,
            reserve_queues,
            reserve_slots: Vec::new(),
            check_ups: Vec::new(),
            pushed: VecDeque::new(),
        }
    }
}

/// A Dispatcher whose executors are the test.
pub(super) struct Harness {
    pub(super) handle: DispatcherHandle,
    pub(super) dispatcher: Addr<Dispatcher>,
    pub(super) stats: Arc<Stats>,
    pub(super) store: Arc<RecordingStore>,
    work_queue: Arc<WorkQueue>,
    reserve_queues: Arc<[Arc<WorkQueue>]>,
    /// The slots of the reserve executors that are up, in their order.
    reserve_slots: Vec<ExecutorSlot>,
    /// Check-ups that were sent and have not ended.
    check_ups: Vec<CheckUp>,
    pushed: VecDeque<Execute>,
}

impl Harness {
    /// Returns the next work that is handed to an executor.
    pub(super) async fn next(&mut self) -> Execute {
        let next = async {
            loop {
                self.take_all();
                if let Some(next) = self.pushed.pop_front() {
                    return next;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        soon("work is handed out", next).await
    }

    /// Returns the work that was handed out so far and not returned by [`Harness::next`].
    pub(super) async fn handed_out(&mut self) -> Vec<Execute> {
        // Messages are handled in their order, so every earlier message has been handled once this has its reply.
        let question = crate::actors::dispatcher::Locate(JobId::generate());
        self.dispatcher.send(question).await.unwrap();
        self.take_all();
        self.pushed.drain(..).collect()
    }

    /// Returns the number of check-ups that were sent and have not ended.
    pub(super) fn check_ups(&mut self) -> usize {
        self.take_all();
        self.check_ups.len()
    }

    /// Ends all check-ups.
    pub(super) fn end_check_ups(&mut self) {
        for CheckUp(done) in self.check_ups.drain(..) {
            let _ = done.send(());
        }
    }

    /// Pops the items for the regular executors.
    fn take_all(&mut self) {
        while let Some(item) = self.work_queue.try_pop() {
            match item {
                WorkItem::Execute(work) => self.pushed.push_back(work),
                WorkItem::CheckUp(check_up) => self.check_ups.push(check_up),
                WorkItem::EndZygote => panic!("a regular executor is asked to end its zygote"),
            }
        }
    }

    /// Pops an item for this reserve executor, if there is one.
    pub(super) fn try_reserve_item(&self, index: usize) -> Option<WorkItem> {
        self.reserve_queues[index].try_pop()
    }

    /// Returns the next item for this reserve executor.
    pub(super) async fn reserve_item(&self, index: usize) -> WorkItem {
        let next = async {
            loop {
                if let Some(item) = self.try_reserve_item(index) {
                    return item;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        soon("a reserve executor gets an item", next).await
    }

    /// Waits until the next reserve executor, in their order, is started, and brings it up.
    pub(super) async fn reserve_comes_up(&mut self) {
        let index = self.reserve_slots.len();
        let WorkItem::CheckUp(CheckUp(done)) = self.reserve_item(index).await else {
            panic!("the reserve executor got work before it was up");
        };
        let slot = self.stats.take_slot(ExecutorKind::Reserve).unwrap();
        assert_eq!(slot.index(), index);
        slot.record_zygote(Some(std::process::id()));
        self.reserve_slots.push(slot);
        let _ = done.send(());
    }

    /// Returns the next work for this reserve executor, which is up.
    pub(super) async fn next_on_reserve(&self, index: usize) -> Execute {
        match self.reserve_item(index).await {
            WorkItem::Execute(execute) => execute,
            other => panic!("no work but {other:?}"),
        }
    }

    /// Sends a request of this client that waits for its execution.
    pub(super) async fn ask_as(&self, client: &str) -> (JobId, oneshot::Receiver<ExecuteResult>) {
        let (reply, result) = oneshot::channel();
        let job = Arc::new(samples::job(client, 1));
        let id = job.id;
        self.dispatcher.send(Run::now(job, reply)).await.unwrap();
        (id, result)
    }

    /// Submits a background job, which is accepted.
    pub(super) async fn submit(&self) -> JobId {
        self.submit_as("test").await
    }

    /// Submits a background job of this client, which is accepted.
    pub(super) async fn submit_as(&self, client: &str) -> JobId {
        self.handle
            .submit(Arc::new(samples::job(client, 1)), JobTerms::default(), None)
            .await
            .unwrap()
            .job
            .id
    }

    /// Returns the counts of jobs, as the status shows them.
    pub(super) fn counts(&self) -> StoreCounts {
        self.handle.status().jobs
    }

    pub(super) async fn job(&self, id: JobId) -> JobRecord {
        match self.store.get(id, &Access::All).await.unwrap() {
            Found::Job(job) => job,
            other => panic!("no job but {other:?}"),
        }
    }

    /// Returns the job once it is final.
    pub(super) async fn final_job(&self, id: JobId) -> JobRecord {
        let found = soon(
            "the job is final",
            self.store.wait(id, &Access::All, PATIENCE * 10),
        )
        .await;
        match found.unwrap() {
            Found::Job(job) => job,
            other => panic!("no job but {other:?}"),
        }
    }
}

/// Returns a message to an Executor, and the receiver of its result.
pub(super) fn execute_message() -> (Execute, oneshot::Receiver<ExecutorResult>) {
    let (reply, result) = oneshot::channel();
    let message = Execute {
        task: Task::Script(new_job()),
        lane: Lane::Interactive,
        since: Instant::now(),
        handle: ExecutionHandle::default(),
        reply,
    };
    (message, result)
}

pub(super) fn new_job() -> Arc<Job> {
    Arc::new(samples::job("test", 1))
}

/// Sends the result of an execution that succeeded.
pub(super) fn succeed(execute: Execute) {
    let execution = samples::success(execute.id(), 2);
    respond(execute, Ok(execution));
}

pub(super) fn respond(execute: Execute, result: Result<Execution, ExecutorFailure>) {
    // The receiver may have gone.
    let _ = execute.reply.send(result.map(Ran::Execution));
}

/// Returns the execution of a result.
pub(super) fn executed(result: ExecutorResult) -> Result<Execution, ExecutorFailure> {
    result.map(|ran| match ran {
        Ran::Execution(execution) => execution,
        Ran::Round(_) => panic!("a round, and no execution"),
    })
}
