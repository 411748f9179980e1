//! The Dispatcher: admits, orders, hands out, records. The only one who changes a job's state.
//!
//! It never blocks and never waits for an Executor: what takes time becomes a future of its own context, and comes back
//! as a fact. It never has more in flight than there are Executors and reserve executors, and while executions are short as
//! many again that lie ready for the Executors.

mod handlers;
mod messages;
mod pending;
mod record;
mod reserve;
mod upkeep;

pub(super) use messages::{
    Cancel, CheckNetwork, Drain, RunClaimed, RunNow, StopAll, Submit, WhereIs, Whereabouts,
};
pub use reserve::ReserveOptions;

use super::answers::Refusal;
use super::board::Board;
use super::executor::{Execute, ExecutorAnswer, ExecutorFailure, Executors, Origin};
use super::queue::{Full, Place, Queue, QueueBounds, Waiting};
use crate::store::{JobStore, NotRun, RecentExecutions, Settlement};
use actix::{Actor, ActorFutureExt, AsyncContext, Context, WrapFuture};
use pending::{Audience, Pending, Running, is_gone, refuse};
use reserve::{Holders, Reserve};
use sandpiper_domain::{ClientKey, JobId, JobState, Lane};
use sandpiper_sandbox_client::ExecutionHandle;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Messages that may wait for the Dispatcher; senders beyond that wait themselves.
const MAILBOX_CAPACITY: usize = 4096;
/// While executions take less than this on the mean, the next ones lie ready for the Executors.
const SHORT: Duration = Duration::from_millis(10);
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
    /// Most jobs of one client that run here at a time.
    pub client_running_max: usize,
    /// The use of reserve executors, of which the board tells how many there are.
    pub reserve: ReserveOptions,
}

/// See the module.
#[derive(Debug)]
pub struct Dispatcher {
    options: DispatcherOptions,
    executors: Executors,
    board: Arc<Board>,
    store: Arc<dyn JobStore>,
    recent: Arc<RecentExecutions>,
    queue: Queue<Pending>,
    running: HashMap<JobId, Running>,
    /// No longer handed out; their unanswered replies are still to be heard of.
    taken_back: HashSet<JobId>,
    resting: HashMap<JobId, (ClientKey, Pending)>,
    /// Given to the regular Executors and not yet heard of.
    handed: usize,
    /// Whose that is, and what reserve executors have.
    holders: Holders,
    reserve: Reserve,
    checking_up: usize,
    /// The store is sweeping.
    is_sweeping: bool,
    draining: bool,
    mean_wall: Duration,
}

impl Dispatcher {
    /// A Dispatcher over `executors`, of which the board tells how many there are.
    #[must_use]
    pub fn new(
        options: DispatcherOptions,
        executors: Executors,
        board: Arc<Board>,
        store: Arc<dyn JobStore>,
        recent: Arc<RecentExecutions>,
    ) -> Self {
        Self {
            queue: Queue::new(options.queue),
            handed: 0,
            holders: Holders::default(),
            reserve: Reserve::new(options.reserve, board.reserve_executors()),
            options,
            executors,
            board,
            store,
            recent,
            running: HashMap::new(),
            taken_back: HashSet::new(),
            resting: HashMap::new(),
            checking_up: 0,
            is_sweeping: false,
            draining: false,
            mean_wall: Duration::from_millis(10),
        }
    }

    /// Takes work that somebody waits for. Refusals go to the audience.
    fn admit(&mut self, lane: Lane, id: JobId, client: ClientKey, bytes: usize, pending: Pending) {
        if self.draining {
            refuse(pending.audience, Refusal::Draining);
            return;
        }
        let place = if self.waiting(lane) >= self.options.queue.most(lane) {
            Err(Full)
        } else {
            self.queue.reserve(lane, bytes)
        };
        let Ok(place) = place else {
            self.board.meters.queue_full.of(lane).count();
            let retry_after = self.retry_after(lane);
            refuse(pending.audience, Refusal::QueueFull { retry_after });
            return;
        };
        self.enqueue(place, id, client, pending);
    }

    /// Puts work in its place in the queue.
    fn enqueue(&mut self, place: Place, id: JobId, client: ClientKey, pending: Pending) {
        if !self.holders.has(&client) {
            self.reserve.want();
        }
        self.queue.push(place, id, client, Instant::now(), pending);
    }

    fn whereabouts(&self, id: JobId) -> Option<Whereabouts> {
        if let Some(running) = self.running.get(&id) {
            return Some(Whereabouts::Running(running.handle.clone()));
        }
        self.queue.position(id).map(Whereabouts::Waiting)
    }

    /// When a place in `lane` is likely: what waits there, at the pace of late.
    fn retry_after(&self, lane: Lane) -> Duration {
        let waiting = u32::try_from(self.waiting(lane)).unwrap_or(u32::MAX);
        let executors = u32::try_from(self.board.executors().max(1)).unwrap_or(1);
        (self.mean_wall * waiting / executors).max(RETRY_AFTER_MIN)
    }

    fn hand_out(&mut self, context: &mut Context<Self>) {
        while self.handed < self.board.executors() {
            let next = if self.hands_out_background() {
                self.pop_any()
            } else {
                self.queue.pop_interactive()
            };
            let Some(waiting) = next else { break };
            self.reserve.turned(waiting.since);
            self.hand_to_executor(waiting, Placed::OnTray, context);
        }
        self.lay_ready(context);
        self.mind_reserve(context);
        self.show();
    }

    /// What runs in the background ends in the store, so the store's room is what it waits for.
    fn hands_out_background(&self) -> bool {
        !self.draining && self.store.has_room()
    }

    /// Lays one more ready for each Executor, which would otherwise stand idle until this thread had heard of its last and
    /// handed it the next. Only of what is gone through fast, and may be taken back.
    fn lay_ready(&mut self, context: &mut Context<Self>) {
        if self.mean_wall >= SHORT || self.queue.waiting(Lane::Background) > 0 {
            return;
        }
        while self.ahead() < self.board.executors() {
            let Some(waiting) = self.queue.pop_interactive() else {
                return;
            };
            self.hand_to_executor(waiting, Placed::OnTray, context);
        }
    }

    /// How many lie ready that no Executor has begun, if each has one.
    fn ahead(&self) -> usize {
        self.handed.saturating_sub(self.board.executors())
    }

    /// How many wait in `lane`, those that lie ready among them.
    fn waiting(&self, lane: Lane) -> usize {
        let ready = match lane {
            Lane::Interactive => self.ahead(),
            Lane::Background => 0,
        };
        self.queue.waiting(lane) + ready
    }

    fn pop_any(&mut self) -> Option<Waiting<Pending>> {
        let (most, running) = (self.options.client_running_max, &self.running);
        if most >= self.board.executors() {
            return self.queue.pop(|_| true);
        }
        self.queue.pop(|client| {
            let of_client = |one: &&Running| one.client == *client && one.is_background();
            running.values().filter(of_client).count() < most
        })
    }

    fn hand_to_executor(
        &mut self,
        waiting: Waiting<Pending>,
        placed: Placed,
        context: &mut Context<Self>,
    ) {
        let Waiting {
            id,
            client,
            lane,
            since,
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
        let handle = ExecutionHandle::default();
        let (reply, answer) = oneshot::channel();
        let work = Execute {
            id,
            task: pending.task.clone(),
            origin: Origin {
                lane,
                since,
                trace: pending.trace.clone(),
            },
            handle: handle.clone(),
            reply,
        };
        self.holders.enter(&client);
        let (tray, reserve) = match placed {
            Placed::OnTray => {
                self.handed += 1;
                (&self.executors.tray, None)
            }
            Placed::OnReserve(index) => {
                self.give_to_reserve(index);
                (&self.executors.reserve_trays[index], Some(index))
            }
        };
        self.running.insert(
            id,
            Running {
                client,
                pending,
                handle,
                reserve,
            },
        );
        tray.lay(work);
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
        if self.taken_back.remove(&id) {
            // Its reply went unanswered, as nobody has begun it.
            return;
        }
        if let Some(running) = self.running.remove(&id) {
            self.leave_executor(&running);
            match answer {
                Ok(execution) => self.record(id, running, execution, context),
                Err(failure) => self.execution_failed(id, running, failure, context),
            }
        }
        self.hand_out(context);
    }

    fn cancel(&mut self, id: JobId, context: &mut Context<Self>) {
        if !self.take_back(|work| work.id == id).is_empty() {
            self.hand_out(context);
            return;
        }
        if let Some(running) = self.running.get(&id) {
            running.handle.cancel();
            return;
        }
        let pending = match self.queue.remove(id) {
            Some(waiting) => waiting.item,
            None => match self.resting.remove(&id) {
                Some((_, pending)) => pending,
                None => return,
            },
        };
        match pending.audience {
            Audience::Store => {
                let settlement = Settlement {
                    state: JobState::Cancelled,
                    execution: None,
                };
                self.settle(id, pending, settlement, context);
            }
            Audience::Claimant(reply) => drop(reply.send(Err(NotRun::Cancelled))),
            Audience::Caller(_) | Audience::NetCheck(_) => {}
        }
        self.show();
    }

    /// What no Executor has begun and `is_unwanted`, as if it had never been handed out.
    fn take_back(&mut self, is_unwanted: impl Fn(&Execute) -> bool) -> Vec<(Instant, Running)> {
        let is_ready = |work: &Execute| work.origin.lane == Lane::Interactive && is_unwanted(work);
        let mut taken = Vec::new();
        for work in self.executors.tray.take_back(is_ready) {
            self.handed -= 1;
            self.taken_back.insert(work.id);
            let running = self.running.remove(&work.id);
            if let Some(running) = &running {
                self.holders.leave(&running.client);
            }
            taken.extend(running.map(|running| (work.origin.since, running)));
        }
        taken
    }

    fn show(&self) {
        let board = &self.board;
        board
            .queued_interactive
            .store(self.waiting(Lane::Interactive), Ordering::Relaxed);
        board
            .queued_background
            .store(self.waiting(Lane::Background), Ordering::Relaxed);
        // Whoever sees that nothing runs sees what is still to be recorded of it too.
        let running = self.running.len().saturating_sub(self.ahead());
        board.running.store(running, Ordering::Release);
    }
}

/// Where work is put for an executor.
#[derive(Debug, Clone, Copy)]
enum Placed {
    /// Where the next regular Executor that is free takes it.
    OnTray,
    /// Where this reserve executor takes it.
    OnReserve(usize),
}

impl Actor for Dispatcher {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.set_mailbox_capacity(MAILBOX_CAPACITY);
        Self::begin_upkeep(context);
    }
}
