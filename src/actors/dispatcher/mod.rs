//! The Dispatcher admits work, orders it, hands it out, and sends each result to the caller or the store that waits for it.
//! A job's state is changed by its store.
//!
//! The Dispatcher never blocks and never waits for an Executor: a step that takes time becomes a future of its own
//! context, whose result comes back to it. There is never more in flight than there are Executors and reserve
//! executors. While executions are short, one more per Executor is prefetched.

mod handlers;
mod messages;
mod record;
mod reserve;
mod upkeep;
mod work;

pub(super) use messages::{Cancel, CheckNetwork, Drain, JobLocation, Locate, Run, StopAll, Submit};
pub use reserve::ReserveOptions;

use super::executor::{Execute, ExecutorFailure, ExecutorResult, Executors};
use super::queue::{Full, Queue, QueueBounds, Queued};
use super::runner::Task;
use super::stats::Stats;
use super::types::DispatchError;
use crate::usage::UsageMeter;
use actix::{Actor, ActorFutureExt, AsyncContext, Context, WrapFuture};
use record::error_of;
use reserve::{InFlightByClient, Reserve};
use sandpiper_domain::{ClientKey, JobId, Lane};
use sandpiper_sandbox_client::ExecutionHandle;
use sandpiper_store::{JobStore, NotRun, RecentExecutions};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use work::{ReplyTo, Running, Work};

/// Messages that may wait for the Dispatcher. Senders beyond that wait themselves.
const MAILBOX_CAPACITY: usize = 4096;
/// While the mean time of executions is below this, work is prefetched for the Executors.
const PREFETCH_BELOW: Duration = Duration::from_millis(10);
/// Weight of a new execution in the running mean of their time.
const MEAN_WEIGHT: f64 = 0.05;
const RETRY_AFTER_MIN: Duration = Duration::from_secs(1);

#[derive(Debug, Clone)]
pub struct DispatcherOptions {
    pub queue: QueueBounds,
    /// Longest time that a synchronous request waits for an executor.
    pub queue_wait_max: Duration,
    /// Longest time that a background job waits here before it is requeued in the store, so that another node can run
    /// it. `None` for a store of this process alone: its jobs wait here until they run.
    pub requeue_after: Option<Duration>,
    /// Most jobs of one client that run here at a time.
    pub client_running_max: usize,
    /// The use of reserve executors. Their number is in [`Stats`].
    pub reserve: ReserveOptions,
}

#[derive(Debug)]
pub struct Dispatcher {
    options: DispatcherOptions,
    executors: Executors,
    stats: Arc<Stats>,
    store: Arc<dyn JobStore>,
    recent: Arc<RecentExecutions>,
    usage: Arc<UsageMeter>,
    queue: Queue<Work>,
    running: HashMap<JobId, Running>,
    /// Work that was retracted from the Executors. The future that waits for its result has not ended yet.
    retracted: HashSet<JobId>,
    /// The number of executions that the regular Executors have, prefetched ones included.
    handed: usize,
    /// The number of executions of each client that regular and reserve executors have.
    in_flight: InFlightByClient,
    reserve: Reserve,
    checking_up: usize,
    is_sweeping: bool,
    draining: bool,
    mean_wall: Duration,
}

impl Dispatcher {
    /// Creates a Dispatcher over `executors`. Their number is in `stats`.
    #[must_use]
    pub fn new(
        options: DispatcherOptions,
        executors: Executors,
        stats: Arc<Stats>,
        store: Arc<dyn JobStore>,
        recent: Arc<RecentExecutions>,
        usage: Arc<UsageMeter>,
    ) -> Self {
        Self {
            queue: Queue::new(options.queue),
            handed: 0,
            in_flight: InFlightByClient::default(),
            reserve: Reserve::new(options.reserve, stats.reserve_executors()),
            options,
            executors,
            stats,
            store,
            recent,
            usage,
            running: HashMap::new(),
            retracted: HashSet::new(),
            checking_up: 0,
            is_sweeping: false,
            draining: false,
            mean_wall: Duration::from_millis(10),
        }
    }

    /// Admits work to a lane, or sends the reason why not to the work's `reply_to`.
    fn admit(&mut self, client: ClientKey, bytes: usize, work: Work) {
        if self.draining {
            work.reply_to.send_error(DispatchError::Draining);
            return;
        }
        let lane = work.reply_to.lane();
        let permit = if self.waiting(lane) >= self.options.queue.most(lane) {
            Err(Full)
        } else {
            self.queue.reserve(lane, bytes)
        };
        let Ok(permit) = permit else {
            self.stats.meters.queue_full.of(lane).count();
            let retry_after = self.retry_after(lane);
            work.reply_to
                .send_error(DispatchError::QueueFull { retry_after });
            return;
        };
        if !self.in_flight.has(&client) {
            self.reserve.want();
        }
        let id = work.task.id();
        self.queue.push(permit, id, client, Instant::now(), work);
    }

    /// Admits a round of a job that has run before: first in its client's lane, and however full the lane is.
    fn admit_resumed(&mut self, client: ClientKey, bytes: usize, work: Work) {
        if self.draining {
            work.reply_to.send_error(DispatchError::Draining);
            return;
        }
        if !self.in_flight.has(&client) {
            self.reserve.want();
        }
        let (id, now) = (work.task.id(), Instant::now());
        self.queue.push_resumed(id, client, now, bytes, work);
    }

    fn locate(&self, id: JobId) -> Option<JobLocation> {
        if let Some(running) = self.running.get(&id) {
            return Some(JobLocation::Running {
                handle: running.handle.clone(),
                is_round: matches!(running.work.task, Task::Round(_)),
            });
        }
        self.queue.position(id).map(JobLocation::Waiting)
    }

    /// Returns the time until a place in `lane` is likely, from the work that waits and the mean time of executions.
    fn retry_after(&self, lane: Lane) -> Duration {
        let waiting = u32::try_from(self.waiting(lane)).unwrap_or(u32::MAX);
        let executors = u32::try_from(self.stats.executors().max(1)).unwrap_or(1);
        (self.mean_wall * waiting / executors).max(RETRY_AFTER_MIN)
    }

    fn hand_out(&mut self, context: &mut Context<Self>) {
        while self.handed < self.stats.executors() {
            let next = if self.dispatches_background() {
                self.pop_any()
            } else {
                self.queue.pop_interactive()
            };
            let Some(waiting) = next else { break };
            self.reserve.executor_freed(waiting.since);
            self.hand_to_executor(waiting, Target::Regular, context);
        }
        self.prefetch(context);
        self.mind_reserve(context);
        self.record_stats();
    }

    /// Returns true if background jobs may be handed out. Their results end in the store, so the store must have room.
    fn dispatches_background(&self) -> bool {
        !self.draining && self.store.has_room()
    }

    /// Pushes one more piece of work per Executor. Without it an Executor would idle until this thread has received its
    /// last result and handed it the next work. This happens only while executions
    /// are short, and the work can be retracted.
    fn prefetch(&mut self, context: &mut Context<Self>) {
        if self.mean_wall >= PREFETCH_BELOW || self.queue.waiting(Lane::Background) > 0 {
            return;
        }
        while self.ahead() < self.stats.executors() {
            let Some(waiting) = self.queue.pop_interactive() else {
                return;
            };
            self.hand_to_executor(waiting, Target::Regular, context);
        }
    }

    /// Returns the number of executions pushed beyond one for each regular Executor. While all of them are busy, no Executor
    /// has begun one of these.
    fn ahead(&self) -> usize {
        self.handed.saturating_sub(self.stats.executors())
    }

    /// Returns the number of jobs that wait in `lane`, prefetched ones included.
    fn waiting(&self, lane: Lane) -> usize {
        let not_begun = match lane {
            Lane::Interactive => self.ahead(),
            Lane::Background => 0,
        };
        self.queue.waiting(lane) + not_begun
    }

    fn pop_any(&mut self) -> Option<Queued<Work>> {
        let (most, running) = (self.options.client_running_max, &self.running);
        if most >= self.stats.executors() {
            return self.queue.pop(|_| true);
        }
        self.queue.pop(|client| {
            let of_client = |one: &&Running| one.client == *client && one.is_background();
            running.values().filter(of_client).count() < most
        })
    }

    fn hand_to_executor(
        &mut self,
        waiting: Queued<Work>,
        target: Target,
        context: &mut Context<Self>,
    ) {
        let Queued {
            id,
            client,
            lane,
            since,
            item: mut work,
            ..
        } = waiting;
        if work.reply_to.is_abandoned() {
            return;
        }
        if let ReplyTo::Store(_, on_start) = &mut work.reply_to {
            on_start.call();
        }
        let handle = ExecutionHandle::default();
        let (reply, result) = oneshot::channel();
        let execute = Execute {
            task: work.task.clone(),
            lane,
            since,
            handle: handle.clone(),
            reply,
        };
        self.in_flight.enter(&client);
        let (work_queue, reserve) = match target {
            Target::Regular => {
                self.handed += 1;
                (&self.executors.work_queue, None)
            }
            Target::Reserve(index) => {
                self.give_to_reserve(index);
                (&self.executors.reserve_queues[index], Some(index))
            }
        };
        self.running.insert(
            id,
            Running {
                client,
                work,
                handle,
                reserve,
            },
        );
        work_queue.push(execute);
        let finished = result.into_actor(self).map(move |result, act, context| {
            let result = result.unwrap_or(Err(ExecutorFailure::NoSandbox));
            act.execution_finished(id, result, context);
        });
        context.spawn(finished);
    }

    fn execution_finished(
        &mut self,
        id: JobId,
        result: ExecutorResult,
        context: &mut Context<Self>,
    ) {
        if self.retracted.remove(&id) {
            // The work was retracted before an Executor began it, so its sender was dropped without a result.
            return;
        }
        if let Some(running) = self.running.remove(&id) {
            self.leave_executor(&running);
            match result {
                Ok(ran) => self.send_result(running.work, ran),
                Err(failure) => running.work.reply_to.send_error(error_of(failure)),
            }
        }
        self.hand_out(context);
    }

    fn cancel(&mut self, id: JobId, context: &mut Context<Self>) {
        if !self.retract(|work| work.id() == id).is_empty() {
            self.hand_out(context);
            return;
        }
        if let Some(running) = self.running.get(&id) {
            running.handle.cancel();
            return;
        }
        if let Some(waiting) = self.queue.remove(id)
            && let ReplyTo::Store(reply, _) = waiting.item.reply_to
        {
            // The store may have stopped waiting.
            let _ = reply.send(Err(NotRun::Cancelled));
        }
        self.record_stats();
    }

    /// Removes and returns the work that no Executor has begun and for which `is_unwanted` is true, as if it had never
    /// been handed out.
    fn retract(&mut self, is_unwanted: impl Fn(&Execute) -> bool) -> Vec<(Instant, Running)> {
        let is_ready = |work: &Execute| work.lane == Lane::Interactive && is_unwanted(work);
        let mut taken = Vec::new();
        for work in self.executors.work_queue.retract(is_ready) {
            self.handed -= 1;
            let id = work.task.id();
            self.retracted.insert(id);
            let running = self.running.remove(&id);
            if let Some(running) = &running {
                self.in_flight.leave(&running.client);
            }
            taken.extend(running.map(|running| (work.since, running)));
        }
        taken
    }

    fn record_stats(&self) {
        let stats = &self.stats;
        stats
            .queued_interactive
            .store(self.waiting(Lane::Interactive), Ordering::Relaxed);
        stats
            .queued_background
            .store(self.waiting(Lane::Background), Ordering::Relaxed);
        // Stored last, with Release: a reader that sees that nothing runs also sees what is still to be recorded.
        let running = self.running.len().saturating_sub(self.ahead());
        stats.running.store(running, Ordering::Release);
    }
}

#[derive(Debug, Clone, Copy)]
enum Target {
    Regular,
    /// The reserve executor with this index.
    Reserve(usize),
}

impl Actor for Dispatcher {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.set_mailbox_capacity(MAILBOX_CAPACITY);
        Self::begin_upkeep(context);
    }
}
