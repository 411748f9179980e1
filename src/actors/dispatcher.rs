//! The Dispatcher: admits, orders, hands out, records. The only one who changes a job's state.
//!
//! It never blocks and never waits for an Executor: what takes time becomes a future of its own context, and comes back
//! as a fact. It never has more in flight than there are Executors.

use super::answers::{ExecuteAnswer, Refusal, SandboxReach, Submission};
use super::board::Board;
use super::executor::{CheckUp, Execute, ExecutorAnswer, ExecutorFailure, Task};
use super::queue::{Queue, QueueBounds, Waiting};
use crate::domain::{
    ClientKey, Execution, Job, JobId, JobState, Lane, Limits, Outcome, ScriptError, Timestamp,
};
use crate::sandbox::CancelToken;
use crate::store::{Finished, JobStore, NewJob, RecentExecutions, Settlement, StoreError};
use actix::{
    Actor, ActorFutureExt, AsyncContext, Context, Handler, Message, Recipient, ResponseActFuture,
    WrapFuture,
};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use tracing::{error, warn};

/// How often waiting jobs are looked over and records swept.
const LOOK_AROUND_EVERY: Duration = Duration::from_millis(50);
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// Messages that may wait for the Dispatcher; senders beyond that wait themselves.
const MAILBOX_CAPACITY: usize = 4096;
/// A job that could not be run is tried again after this long.
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(250);
/// How much a new execution weighs in the running mean of their time.
const MEAN_WEIGHT: f64 = 0.05;
/// Shortest honest `Retry-After`.
const RETRY_AFTER_MIN: Duration = Duration::from_secs(1);

/// What the Dispatcher is told at the start.
#[derive(Debug, Clone)]
pub struct DispatcherOptions {
    /// The waiting room.
    pub queue: QueueBounds,
    /// Longest a synchronous request waits for an executor.
    pub queue_wait_max: Duration,
    /// Times a job is tried when the service, not the script, failed.
    pub attempts_max: u32,
}

/// Run it now; the answer goes to `reply`, and a `reply` that is closed means nobody waits any more.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct RunNow {
    pub(super) submission: Submission,
    pub(super) reply: oneshot::Sender<ExecuteAnswer>,
}

/// Remember it and run it later.
#[derive(Debug, Message)]
#[rtype(result = "Result<Job, Refusal>")]
pub struct Submit(pub(super) Submission);

/// Stop it.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Cancel(pub(super) JobId);

/// Where does it stand in its lane?
#[derive(Debug, Message)]
#[rtype(result = "Option<usize>")]
pub struct Position(pub(super) JobId);

/// Try the network from inside a job process.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct CheckNetwork {
    pub(super) host: IpAddr,
    pub(super) port: u16,
    pub(super) limits: Limits,
    pub(super) reply: oneshot::Sender<Result<SandboxReach, Refusal>>,
}

/// Take nothing new. Jobs of the background lane stay where they are.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Drain;

/// Stop everything that still runs or waits.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct StopAll;

/// Who is told.
#[derive(Debug)]
enum Audience {
    Caller(oneshot::Sender<ExecuteAnswer>),
    NetCheck(oneshot::Sender<Result<SandboxReach, Refusal>>),
    Store,
}

#[derive(Debug)]
struct Pending {
    task: Task,
    attempt: u32,
    audience: Audience,
    changes: Changes,
}

/// The changes of one job in the store, one after the other: a store may take its time, and a start that comes after its
/// finish would make that finish stale and the job run for ever.
#[derive(Debug, Default)]
struct Changes {
    last: Option<oneshot::Receiver<()>>,
}

impl Changes {
    /// `change`, made once the change before it was made or has failed.
    fn in_order<Change: Future>(
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

#[derive(Debug)]
struct Running {
    client: ClientKey,
    pending: Pending,
    cancel: CancelToken,
}

/// See the module.
#[derive(Debug)]
pub struct Dispatcher {
    options: DispatcherOptions,
    executors: Recipient<Execute>,
    check_ups: Recipient<CheckUp>,
    board: Arc<Board>,
    store: Arc<dyn JobStore>,
    recent: Arc<RecentExecutions>,
    queue: Queue<Pending>,
    running: HashMap<JobId, Running>,
    resting: HashMap<JobId, (ClientKey, Pending)>,
    free: usize,
    checking_up: usize,
    draining: bool,
    mean_wall: Duration,
}

impl Dispatcher {
    /// A Dispatcher over `executors`, of which the board tells how many there are.
    #[must_use]
    pub fn new(
        options: DispatcherOptions,
        executors: Recipient<Execute>,
        check_ups: Recipient<CheckUp>,
        board: Arc<Board>,
        store: Arc<dyn JobStore>,
        recent: Arc<RecentExecutions>,
    ) -> Self {
        Self {
            queue: Queue::new(options.queue),
            free: board.executors(),
            options,
            executors,
            check_ups,
            board,
            store,
            recent,
            running: HashMap::new(),
            resting: HashMap::new(),
            checking_up: 0,
            draining: false,
            mean_wall: Duration::from_millis(10),
        }
    }

    /// Takes work that somebody waits for. Refusals go to the audience.
    fn admit(&mut self, id: JobId, client: ClientKey, bytes: usize, pending: Pending) {
        if self.draining {
            refuse(pending.audience, Refusal::Draining);
            return;
        }
        let Ok(place) = self.queue.reserve(Lane::Interactive, bytes) else {
            let retry_after = self.retry_after(Lane::Interactive);
            refuse(pending.audience, Refusal::QueueFull { retry_after });
            return;
        };
        self.queue.push(place, id, client, Instant::now(), pending);
    }

    /// When a place in `lane` is likely: what waits there, at the pace of late.
    fn retry_after(&self, lane: Lane) -> Duration {
        let waiting = u32::try_from(self.queue.waiting(lane)).unwrap_or(u32::MAX);
        let executors = u32::try_from(self.board.executors().max(1)).unwrap_or(1);
        (self.mean_wall * waiting / executors).max(RETRY_AFTER_MIN)
    }

    fn hand_out(&mut self, context: &mut Context<Self>) {
        while self.free > 0 {
            let next = if self.draining {
                self.queue.pop_interactive()
            } else {
                self.queue.pop()
            };
            let Some(waiting) = next else { break };
            self.hand_to_executor(waiting, context);
        }
        self.show();
    }

    fn hand_to_executor(&mut self, waiting: Waiting<Pending>, context: &mut Context<Self>) {
        let Waiting {
            id,
            client,
            item: mut pending,
            ..
        } = waiting;
        if is_gone(&pending.audience) {
            return;
        }
        pending.attempt += 1;
        if matches!(pending.audience, Audience::Store) {
            self.record_start(id, &mut pending, context);
        }
        let cancel = CancelToken::default();
        let (reply, answer) = oneshot::channel();
        let message = Execute {
            id,
            task: pending.task.clone(),
            cancel: cancel.clone(),
            reply,
        };
        self.free -= 1;
        self.running.insert(
            id,
            Running {
                client,
                pending,
                cancel,
            },
        );
        // A SyncArbiter's mailbox takes everything; `free` is what bounds it. A failure drops `reply`.
        if let Err(error) = self.executors.try_send(message) {
            error!(job = %id, %error, "the executors are gone");
        }
        let facts = answer.into_actor(self).map(move |answer, act, context| {
            let answer = answer.unwrap_or(Err(ExecutorFailure::NoSandbox));
            act.execution_finished(id, answer, context);
        });
        context.spawn(facts);
    }

    fn execution_finished(
        &mut self,
        id: JobId,
        answer: ExecutorAnswer,
        context: &mut Context<Self>,
    ) {
        self.free += 1;
        if let Some(running) = self.running.remove(&id) {
            match answer {
                Ok(execution) => self.record(id, running, execution, context),
                Err(failure) => self.execution_failed(id, running, failure, context),
            }
        }
        self.hand_out(context);
    }

    fn record(
        &mut self,
        id: JobId,
        running: Running,
        execution: Execution,
        context: &mut Context<Self>,
    ) {
        let wall = Duration::from_micros(execution.usage.wall_micros);
        self.mean_wall = self.mean_wall.mul_f64(1.0 - MEAN_WEIGHT) + wall.mul_f64(MEAN_WEIGHT);
        match running.pending.audience {
            Audience::Caller(reply) => {
                let execution = Arc::new(execution);
                self.recent.keep(&execution);
                let _ = reply.send(Ok(execution));
            }
            Audience::NetCheck(reply) => {
                let _ = reply.send(Ok(reach(&execution)));
            }
            Audience::Store => {
                let state = match execution.outcome {
                    Outcome::Cancelled => JobState::Cancelled,
                    _ => JobState::Finished,
                };
                let settlement = Settlement {
                    state,
                    execution: Some(Arc::new(execution)),
                };
                self.settle(id, running.pending, settlement, context);
            }
        }
    }

    /// The service failed, not the script. A caller is told; a job is tried again, and lost in the end.
    fn execution_failed(
        &mut self,
        id: JobId,
        running: Running,
        failure: ExecutorFailure,
        context: &mut Context<Self>,
    ) {
        let Running {
            client,
            mut pending,
            cancel,
        } = running;
        if !matches!(pending.audience, Audience::Store) {
            let refusal = match failure {
                ExecutorFailure::NoSandbox => Refusal::IsolationLost,
                ExecutorFailure::Panicked => Refusal::Internal,
            };
            refuse(pending.audience, refusal);
            return;
        }
        // It is not run, which is what was asked for. Tried again, it would be.
        if cancel.is_cancelled() {
            let settlement = Settlement {
                state: JobState::Cancelled,
                execution: None,
            };
            self.settle(id, pending, settlement, context);
            return;
        }
        let limits = limits_of(&pending.task);
        if pending.attempt >= self.options.attempts_max {
            warn!(job = %id, attempts = pending.attempt, ?failure, "a job is lost");
            let error = ScriptError::of_service(
                "Lost",
                format!(
                    "the service failed to run this job {} times",
                    pending.attempt
                ),
            );
            let execution = Execution::never_ran(id, limits, Outcome::Crashed, error);
            let settlement = Settlement {
                state: JobState::Lost,
                execution: Some(Arc::new(execution)),
            };
            self.settle(id, pending, settlement, context);
            return;
        }
        let attempt = pending.attempt;
        let store = Arc::clone(&self.store);
        let handed_back = async move { store.hand_back(id, attempt).await };
        self.make_change(&mut pending.changes, handed_back, context, |_, ()| {});
        self.rest(id, client, pending, context);
    }

    /// Lets a job that could not be run stand aside for a moment.
    fn rest(
        &mut self,
        id: JobId,
        client: ClientKey,
        pending: Pending,
        context: &mut Context<Self>,
    ) {
        self.resting.insert(id, (client, pending));
        context.run_later(TRY_AGAIN_AFTER, move |act, context| {
            // It may have been cancelled meanwhile.
            if let Some((client, pending)) = act.resting.remove(&id) {
                act.requeue(id, client, pending, context);
            }
        });
    }

    fn requeue(
        &mut self,
        id: JobId,
        client: ClientKey,
        pending: Pending,
        context: &mut Context<Self>,
    ) {
        let bytes = bytes_of(&pending.task);
        match self.queue.reserve(Lane::Background, bytes) {
            Ok(place) => {
                self.queue.push(place, id, client, Instant::now(), pending);
                self.hand_out(context);
            }
            // No room now: later. The job is accepted and stays so.
            Err(_) => self.rest(id, client, pending, context),
        }
    }

    fn record_start(&mut self, id: JobId, pending: &mut Pending, context: &mut Context<Self>) {
        let store = Arc::clone(&self.store);
        let attempt = pending.attempt;
        let started = async move { store.start(id, attempt).await };
        self.make_change(&mut pending.changes, started, context, |_, ()| {});
    }

    fn settle(
        &mut self,
        id: JobId,
        mut pending: Pending,
        settlement: Settlement,
        context: &mut Context<Self>,
    ) {
        let store = Arc::clone(&self.store);
        let attempt = pending.attempt;
        let finished = async move { store.finish(id, attempt, settlement).await };
        self.make_change(&mut pending.changes, finished, context, |act, finished| {
            if finished == Finished::Stale {
                act.board.finishes_stale.fetch_add(1, Ordering::Relaxed);
            }
        });
    }

    /// Makes a change of a job in the store, after those before it. Until it is made the service may not end.
    fn make_change<Made: 'static>(
        &mut self,
        changes: &mut Changes,
        change: impl Future<Output = Result<Made, StoreError>> + 'static,
        context: &mut Context<Self>,
        then: fn(&mut Self, Made),
    ) {
        self.board.unrecorded.fetch_add(1, Ordering::Relaxed);
        let made = changes.in_order(change).into_actor(self);
        context.spawn(made.map(move |made, act, _| {
            act.board.unrecorded.fetch_sub(1, Ordering::Relaxed);
            match made {
                Ok(made) => then(act, made),
                Err(failure) => act.count_failure(Some(failure)),
            }
        }));
    }

    fn count_failure(&mut self, failure: Option<StoreError>) {
        if let Some(failure) = failure {
            self.board.store_failures.fetch_add(1, Ordering::Relaxed);
            error!(error = %failure, "the store did not record a change");
        }
    }

    fn cancel(&mut self, id: JobId, context: &mut Context<Self>) {
        if let Some(running) = self.running.get(&id) {
            running.cancel.cancel();
            return;
        }
        let pending = match self.queue.remove(id) {
            Some(waiting) => waiting.item,
            None => match self.resting.remove(&id) {
                Some((_, pending)) => pending,
                None => return,
            },
        };
        if matches!(pending.audience, Audience::Store) {
            let settlement = Settlement {
                state: JobState::Cancelled,
                execution: None,
            };
            self.settle(id, pending, settlement, context);
        }
        self.show();
    }

    fn look_around(&mut self, context: &mut Context<Self>) {
        if let Some(earliest) = Instant::now().checked_sub(self.options.queue_wait_max) {
            for waiting in self.queue.remove_older(Lane::Interactive, earliest) {
                let waited = waiting.since.elapsed();
                refuse(waiting.item.audience, Refusal::QueueWaitExceeded { waited });
            }
        }
        // Executors that have nothing to run would not notice that their zygote died.
        if self.board.executors_ready() < self.board.executors() {
            self.send_check_ups(context);
        }
        self.hand_out(context);
    }

    /// As many as there are free Executors, and no more while those are on their way: raising a zygote may take long, and
    /// a SyncArbiter's mailbox has no bound.
    fn send_check_ups(&mut self, context: &mut Context<Self>) {
        while self.checking_up < self.free {
            self.checking_up += 1;
            let done = self.check_ups.send(CheckUp);
            context.spawn(done.into_actor(self).map(|_, act, _| act.checking_up -= 1));
        }
    }

    fn sweep(&mut self, context: &mut Context<Self>) {
        let now = Timestamp::now();
        self.recent.sweep(now);
        let store = Arc::clone(&self.store);
        let swept = async move { store.sweep(now).await };
        context.spawn(
            swept
                .into_actor(self)
                .map(|result, act, _| act.count_failure(result.err())),
        );
    }

    fn show(&self) {
        let board = &self.board;
        board
            .queued_interactive
            .store(self.queue.waiting(Lane::Interactive), Ordering::Relaxed);
        board
            .queued_background
            .store(self.queue.waiting(Lane::Background), Ordering::Relaxed);
        // Whoever sees that nothing runs sees what is still to be recorded of it too.
        board.running.store(self.running.len(), Ordering::Release);
    }
}

fn refuse(audience: Audience, refusal: Refusal) {
    // Whoever waited may be gone.
    match audience {
        Audience::Caller(reply) => drop(reply.send(Err(refusal))),
        Audience::NetCheck(reply) => drop(reply.send(Err(refusal))),
        Audience::Store => {}
    }
}

fn is_gone(audience: &Audience) -> bool {
    match audience {
        Audience::Caller(reply) => reply.is_closed(),
        Audience::NetCheck(reply) => reply.is_closed(),
        Audience::Store => false,
    }
}

fn limits_of(task: &Task) -> Limits {
    match task {
        Task::Script(_, limits) | Task::NetCheck(_, _, limits) => *limits,
    }
}

fn bytes_of(task: &Task) -> usize {
    match task {
        Task::Script(script, _) => script.size_bytes(),
        Task::NetCheck(..) => 0,
    }
}

/// Behind the walls the attempt itself is deadly, so a death by it is the good answer.
fn reach(execution: &Execution) -> SandboxReach {
    let said = execution
        .result
        .as_ref()
        .map_or("", |result| result.as_str());
    let detail = execution
        .error
        .as_ref()
        .map_or_else(|| said.to_owned(), |error| error.message.clone());
    SandboxReach {
        reached: said == "\"reached\"",
        detail,
    }
}

impl Actor for Dispatcher {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.set_mailbox_capacity(MAILBOX_CAPACITY);
        context.run_interval(LOOK_AROUND_EVERY, Self::look_around);
        context.run_interval(SWEEP_EVERY, Self::sweep);
    }
}

impl Handler<RunNow> for Dispatcher {
    type Result = ();

    fn handle(&mut self, message: RunNow, context: &mut Self::Context) {
        let RunNow { submission, reply } = message;
        let bytes = submission.script.size_bytes();
        let pending = Pending {
            task: Task::Script(submission.script, submission.limits),
            attempt: 0,
            audience: Audience::Caller(reply),
            changes: Changes::default(),
        };
        self.admit(submission.id, submission.client, bytes, pending);
        self.hand_out(context);
    }
}

impl Handler<CheckNetwork> for Dispatcher {
    type Result = ();

    fn handle(&mut self, message: CheckNetwork, context: &mut Self::Context) {
        let pending = Pending {
            task: Task::NetCheck(message.host, message.port, message.limits),
            attempt: 0,
            audience: Audience::NetCheck(message.reply),
            changes: Changes::default(),
        };
        self.admit(JobId::generate(), ClientKey::new("netcheck"), 0, pending);
        self.hand_out(context);
    }
}

impl Handler<Submit> for Dispatcher {
    type Result = ResponseActFuture<Self, Result<Job, Refusal>>;

    fn handle(&mut self, message: Submit, _: &mut Self::Context) -> Self::Result {
        let submission = message.0;
        if self.draining {
            return Box::pin(actix::fut::ready(Err(Refusal::Draining)));
        }
        let bytes = submission.script.size_bytes();
        let Ok(place) = self.queue.reserve(Lane::Background, bytes) else {
            let retry_after = self.retry_after(Lane::Background);
            return Box::pin(actix::fut::ready(Err(Refusal::QueueFull { retry_after })));
        };
        let new = NewJob {
            id: submission.id,
            created_at: Timestamp::now(),
            script: Arc::clone(&submission.script),
            limits: submission.limits,
            client: submission.client.clone(),
        };
        let store = Arc::clone(&self.store);
        let accepted = async move { store.submit(new).await };
        Box::pin(
            accepted
                .into_actor(self)
                .map(move |accepted, act, context| match accepted {
                    Ok(job) => {
                        let pending = Pending {
                            task: Task::Script(submission.script, submission.limits),
                            attempt: 0,
                            audience: Audience::Store,
                            changes: Changes::default(),
                        };
                        let (id, client) = (submission.id, submission.client);
                        act.queue.push(place, id, client, Instant::now(), pending);
                        act.hand_out(context);
                        Ok(job)
                    }
                    Err(StoreError::Full { retry_after }) => {
                        act.queue.release(place);
                        let retry_after = retry_after.max(RETRY_AFTER_MIN);
                        Err(Refusal::StoreFull { retry_after })
                    }
                }),
        )
    }
}

impl Handler<Cancel> for Dispatcher {
    type Result = ();

    fn handle(&mut self, message: Cancel, context: &mut Self::Context) {
        self.cancel(message.0, context);
    }
}

impl Handler<Position> for Dispatcher {
    type Result = Option<usize>;

    fn handle(&mut self, message: Position, _: &mut Self::Context) -> Self::Result {
        self.queue.position(message.0)
    }
}

impl Handler<Drain> for Dispatcher {
    type Result = ();

    fn handle(&mut self, _: Drain, _: &mut Self::Context) {
        self.draining = true;
        self.board.draining.store(true, Ordering::SeqCst);
    }
}

impl Handler<StopAll> for Dispatcher {
    type Result = ();

    fn handle(&mut self, _: StopAll, _: &mut Self::Context) {
        self.draining = true;
        while let Some(waiting) = self.queue.pop_interactive() {
            refuse(waiting.item.audience, Refusal::Draining);
        }
        for running in self.running.values() {
            running.cancel.cancel();
        }
        self.show();
    }
}
