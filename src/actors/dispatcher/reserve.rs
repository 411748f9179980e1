//! Reserve executors: they run the work of clients that have no executor while other clients hold all Executors.
//!
//! A client that is alone has all regular Executors. So that its executions do not delay every other client, the work
//! of a client that has no executor goes to a reserve executor once two conditions have lasted for `reserve_after`: the
//! work has waited, and no regular Executor has come free. The number of clients that hold the regular Executors makes
//! no difference. A client has at most one execution on a reserve executor, and only while it has none elsewhere. The
//! number of reserve executors bounds them all.
//!
//! A reserve executor is started when it is needed, or a little earlier: as soon as all regular Executors have been
//! held for `reserve_after`. It gets work only once it is up, so a failed start delays no work. Its zygote ends when no
//! work has come for `reserve_idle_max`.
//!
//! At most one timer is set, and only while work waits whose client has no executor.

use super::work::Running;
use super::{Dispatcher, Target};
use crate::actors::executor::CheckUp;
use crate::actors::types::DispatchError;
use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};
use sandpiper_domain::{ClientKey, JobId, Lane};
use std::collections::HashMap;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use tracing::{debug, warn};

/// Time without a new try after a reserve executor could not be started.
const RAISE_AGAIN_AFTER: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy)]
pub struct ReserveOptions {
    /// Time that work of a client without an executor waits, while no regular executor comes free, before a reserve
    /// executor gets the work.
    pub after: Duration,
    /// Time that an idle reserve executor keeps its zygote.
    pub idle_max: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The executor has no zygote.
    Down,
    Starting,
    /// The zygote is up and has been idle since then.
    Idle(Instant),
    Busy,
}

#[derive(Debug)]
pub(super) struct Reserve {
    options: ReserveOptions,
    states: Vec<State>,
    /// The moment at which a regular Executor last came free.
    last_freed: Instant,
    /// No reserve executor is started before this moment.
    not_before: Option<Instant>,
    /// True if work may wait whose client has no executor.
    is_wanted: bool,
    timer_is_set: bool,
}

impl Reserve {
    pub(super) fn new(options: ReserveOptions, count: usize) -> Self {
        Self {
            options,
            states: vec![State::Down; count],
            last_freed: Instant::now(),
            not_before: None,
            is_wanted: false,
            timer_is_set: false,
        }
    }

    /// Notes that work waits whose client may have no executor. Called when work arrives or comes first in its client's
    /// queue.
    pub(super) fn want(&mut self) {
        self.is_wanted = true;
    }

    /// Notes that a regular Executor was available at `at`: it came free then, or has just taken work that arrived at `at`.
    pub(super) fn executor_freed(&mut self, at: Instant) {
        self.last_freed = self.last_freed.max(at);
    }

    pub(super) fn freed(&mut self, index: usize, at: Instant) {
        if let Some(state) = self.states.get_mut(index) {
            *state = State::Idle(at);
        }
        self.is_wanted = true;
    }

    fn first(&self, is_wanted: impl Fn(&State) -> bool) -> Option<usize> {
        self.states.iter().position(is_wanted)
    }

    fn idle(&self) -> Option<usize> {
        self.first(|state| matches!(state, State::Idle(_)))
    }

    /// Returns the reserve executor that may be started now. `None` while one is idle or being started.
    fn startable(&self, now: Instant) -> Option<usize> {
        let is_enough = |state: &State| matches!(state, State::Idle(_) | State::Starting);
        if self.first(is_enough).is_some() || self.not_before.is_some_and(|then| now < then) {
            return None;
        }
        self.first(|state| *state == State::Down)
    }

    /// Returns false while all reserve executors are busy, or are being started, or could not be started just now.
    fn may_help(&self, now: Instant) -> bool {
        self.idle().is_some() || self.startable(now).is_some()
    }

    /// Returns the moment from which on reserve executors may be used, if no regular Executor comes free until then.
    fn stuck_at(&self) -> Instant {
        self.last_freed + self.options.after
    }
}

/// The number of executions of each client that executors have, prefetched ones included.
#[derive(Debug, Default)]
pub(super) struct InFlightByClient(HashMap<ClientKey, usize>);

impl InFlightByClient {
    pub(super) fn enter(&mut self, client: &ClientKey) {
        match self.0.get_mut(client) {
            Some(count) => *count += 1,
            None => drop(self.0.insert(client.clone(), 1)),
        }
    }

    /// Returns true if the client has none left.
    pub(super) fn leave(&mut self, client: &ClientKey) -> bool {
        match self.0.get_mut(client) {
            Some(count) if *count > 1 => {
                *count -= 1;
                false
            }
            _ => {
                self.0.remove(client);
                true
            }
        }
    }

    pub(super) fn has(&self, client: &ClientKey) -> bool {
        self.0.contains_key(client)
    }

    fn count(&self, client: &ClientKey) -> usize {
        self.0.get(client).copied().unwrap_or_default()
    }
}

impl Dispatcher {
    /// Sets the timer if work may wait whose client has no executor.
    pub(super) fn mind_reserve(&mut self, context: &mut Context<Self>) {
        if !std::mem::take(&mut self.reserve.is_wanted)
            || self.reserve.timer_is_set
            || !self.all_are_held()
            || Lane::ALL.into_iter().all(|lane| self.waiting(lane) == 0)
        {
            return;
        }
        self.use_reserve(context);
    }

    /// While all regular Executors are held: gives work that is due to a reserve executor, and sets the timer for work
    /// that will be due.
    fn use_reserve(&mut self, context: &mut Context<Self>) {
        while self.all_are_held() {
            let now = Instant::now();
            if !self.reserve.may_help(now) {
                return;
            }
            let stuck_at = self.reserve.stuck_at();
            if now < stuck_at {
                if self.somebody_waits_without_executor() {
                    self.set_reserve_timer(stuck_at - now, context);
                }
                return;
            }
            let Some((since, id)) = self.longest_waiting_without_executor() else {
                return;
            };
            // The zygote is started while the work still waits, so that it is up when the work is due.
            self.raise_reserve(now, context);
            let due = since + self.reserve.options.after;
            if now < due {
                self.set_reserve_timer(due - now, context);
                return;
            }
            let Some(index) = self.reserve.idle() else {
                return;
            };
            self.run_on_reserve(index, id, context);
        }
    }

    fn set_reserve_timer(&mut self, delay: Duration, context: &mut Context<Self>) {
        if self.reserve.timer_is_set {
            return;
        }
        self.reserve.timer_is_set = true;
        context.run_later(delay, |act, context| {
            act.reserve.timer_is_set = false;
            act.use_reserve(context);
            act.record_stats();
        });
    }

    /// Returns true if each regular Executor has something to run.
    fn all_are_held(&self) -> bool {
        self.handed >= self.stats.executors()
    }

    fn somebody_waits_without_executor(&self) -> bool {
        let has_none = |client: &ClientKey| !self.in_flight.has(client);
        let mut lanes = self.lanes_handed_out().iter();
        lanes.any(|lane| self.queue.has_any_of_those(*lane, has_none))
            || self.longest_ready_without_executor().is_some()
    }

    /// Returns the work that has waited longest among that of clients without an executor, and the moment at which it
    /// began to wait.
    fn longest_waiting_without_executor(&self) -> Option<(Instant, JobId)> {
        let has_none = |client: &ClientKey| !self.in_flight.has(client);
        let lanes = self.lanes_handed_out().iter();
        let queued = lanes.filter_map(|lane| self.queue.oldest_of(*lane, has_none));
        queued.chain(self.longest_ready_without_executor()).min()
    }

    fn lanes_handed_out(&self) -> &'static [Lane] {
        if self.dispatches_background() {
            &Lane::ALL
        } else {
            &[Lane::Interactive]
        }
    }

    /// Returns the prefetched work that has waited longest, and the moment at which it began to wait. Counts only work
    /// that no regular Executor has begun, of clients none of whose executions has begun.
    fn longest_ready_without_executor(&self) -> Option<(Instant, JobId)> {
        let not_begun = self.executors.work_queue.not_popped();
        let client_of = |id: &JobId| self.running.get(id).map(|running| &running.client);
        let mut ready_of: HashMap<&ClientKey, usize> = HashMap::new();
        for client in not_begun.iter().filter_map(|(id, _)| client_of(id)) {
            *ready_of.entry(client).or_default() += 1;
        }
        let has_begun_none = |id: &JobId| {
            client_of(id)
                .is_some_and(|client| ready_of.get(client) == Some(&self.in_flight.count(client)))
        };
        let waiting = not_begun.iter().filter(|(id, _)| has_begun_none(id));
        waiting.map(|(id, since)| (*since, *id)).min()
    }

    /// Gives this work, which is queued or prefetched, to this reserve executor.
    fn run_on_reserve(&mut self, index: usize, id: JobId, context: &mut Context<Self>) {
        let taken = self.executors.work_queue.retract(|work| work.id() == id);
        if let Some(work) = taken.into_iter().next() {
            self.handed -= 1;
            if let Some(running) = self.running.get_mut(&id) {
                running.reserve = Some(index);
            }
            self.give_to_reserve(index);
            self.executors.reserve_queues[index].push(work);
        } else if let Some(waiting) = self.queue.remove(id) {
            self.hand_to_executor(waiting, Target::Reserve(index), context);
        }
    }

    /// Counts the work that this reserve executor is about to get.
    pub(super) fn give_to_reserve(&mut self, index: usize) {
        self.reserve.states[index] = State::Busy;
        self.stats.meters.reserve_executions.count();
        debug!(
            index,
            "work of a client without an executor goes to a reserve executor"
        );
    }

    /// Starts the zygote of one more reserve executor, unless one is idle or being started.
    fn raise_reserve(&mut self, now: Instant, context: &mut Context<Self>) {
        let Some(index) = self.reserve.startable(now) else {
            return;
        };
        self.reserve.states[index] = State::Starting;
        let (done, is_done) = oneshot::channel();
        self.executors.reserve_queues[index].push_check_up(CheckUp(done));
        let raised = is_done.into_actor(self).map(move |_, act, context| {
            let now = Instant::now();
            if act.stats.is_reserve_up(index) {
                act.reserve.states[index] = State::Idle(now);
                act.use_reserve(context);
                act.record_stats();
            } else {
                act.reserve.states[index] = State::Down;
                act.reserve.not_before = Some(now + RAISE_AGAIN_AFTER);
                warn!(
                    "a reserve executor could not be started; work goes on waiting for the regular executors, and the \
                     next try is in {RAISE_AGAIN_AFTER:?}"
                );
            }
        });
        context.spawn(raised);
    }

    /// Starts a reserve executor ahead of need while all regular Executors are held, ends the zygotes of those that
    /// have been idle for long, and hands out the work that a missed timer left behind.
    pub(super) fn look_after_reserve(&mut self, context: &mut Context<Self>) {
        if self.reserve.states.is_empty() {
            return;
        }
        let now = Instant::now();
        let is_stuck = self.all_are_held() && self.reserve.stuck_at() <= now;
        for index in 0..self.reserve.states.len() {
            let State::Idle(since) = self.reserve.states[index] else {
                continue;
            };
            if !self.stats.is_reserve_up(index) {
                // The zygote died, or a worn-out zygote is being replaced.
                self.reserve.states[index] = State::Down;
            } else if !is_stuck && now - since >= self.reserve.options.idle_max {
                self.reserve.states[index] = State::Down;
                self.executors.reserve_queues[index].push_end_zygote();
            }
        }
        if is_stuck && !self.draining {
            self.raise_reserve(now, context);
        }
        self.use_reserve(context);
    }

    /// Asks a store of several nodes for the job of a client that has no executor, although other clients hold all
    /// executors. The jobs of a store of this process alone are here already.
    pub(super) fn have_more_handed_out(&mut self, client: &ClientKey) {
        let may_help = !self.reserve.states.is_empty()
            && !self.draining
            && self.options.requeue_after.is_some();
        if !may_help || !self.all_are_held() || self.in_flight.has(client) {
            return;
        }
        // A job of a client that has an executor would take the place of a job that could run now.
        let oldest = (self.queue).oldest_of(Lane::Background, |client| self.in_flight.has(client));
        let requeued = oldest.and_then(|(_, id)| self.queue.remove(id));
        if let Some(waiting) = requeued {
            let waited = waiting.since.elapsed();
            let error = DispatchError::QueueWaitExceeded { waited };
            waiting.item.reply_to.send_error(error);
        }
        self.store.dispatch_more();
    }

    /// Updates the counts when an execution has ended, for any reason.
    pub(super) fn leave_executor(&mut self, running: &Running) {
        let now = Instant::now();
        match running.reserve {
            Some(index) => self.reserve.freed(index, now),
            None => {
                self.handed -= 1;
                self.reserve.executor_freed(now);
            }
        }
        if !self.in_flight.leave(&running.client) {
            return;
        }
        if self.queue.has_any_of(&running.client) {
            self.reserve.want();
        } else if running.reserve.is_some() && running.is_background() {
            // The client's next job may wait in the store.
            self.have_more_handed_out(&running.client);
        }
    }
}
