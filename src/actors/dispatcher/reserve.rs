//! Reserve executors: where somebody's work begins while others hold all Executors and none comes free.
//!
//! A client alone has all regular Executors. So that it cannot keep everybody else waiting for as long as its executions
//! take, the work of a client that has no executor goes to a reserve executor once two things have lasted for
//! `reserve_after`: the work has waited, and no regular Executor has come free. Who holds the regular Executors, and under
//! how many names, makes no difference. A client has at most one execution on a reserve executor, and only while it has
//! none elsewhere; the number of reserve executors bounds them all.
//!
//! A reserve executor is raised when it is needed, or a little ahead: as soon as all regular Executors have been held for
//! `reserve_after`. It gets work only once it is up, so that a failure to raise it costs nobody anything. Its zygote ends
//! when nothing has come for `reserve_idle_max`.
//!
//! One timer at most is set, and only while somebody waits who has no executor.

use super::pending::{Running, refuse};
use super::{Dispatcher, Placed};
use crate::actors::answers::Refusal;
use crate::actors::executor::CheckUp;
use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};
use sandpiper_domain::{ClientKey, JobId, Lane};
use std::collections::HashMap;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use tracing::{debug, warn};

/// After a reserve executor could not be raised none is tried for this long.
const RAISE_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// When reserve executors are used, and for how long they are kept.
#[derive(Debug, Clone, Copy)]
pub struct ReserveOptions {
    /// How long work of a client that has no executor waits, and no regular executor comes free, before it is given to a
    /// reserve executor.
    pub after: Duration,
    /// How long the zygote of a reserve executor is kept that has nothing to run.
    pub idle_max: Duration,
}

/// What one reserve executor does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Has no zygote.
    Down,
    /// Its zygote is being started.
    Rising,
    /// Has a zygote and nothing to run, since then.
    Idle(Instant),
    /// Runs something.
    Busy,
}

/// What the Dispatcher knows of its reserve executors.
#[derive(Debug)]
pub(super) struct Reserve {
    options: ReserveOptions,
    states: Vec<State>,
    /// When a regular Executor came free last.
    turned: Instant,
    /// None is raised before that.
    not_before: Option<Instant>,
    /// Somebody may wait who has no executor.
    is_wanted: bool,
    timer_is_set: bool,
}

impl Reserve {
    pub(super) fn new(options: ReserveOptions, count: usize) -> Self {
        Self {
            options,
            states: vec![State::Down; count],
            turned: Instant::now(),
            not_before: None,
            is_wanted: false,
            timer_is_set: false,
        }
    }

    /// To be called when work has come, or comes to stand first, whose client may have no executor.
    pub(super) fn want(&mut self) {
        self.is_wanted = true;
    }

    /// To be called when a regular Executor comes free, or takes work that came at that moment.
    pub(super) fn turned(&mut self, at: Instant) {
        self.turned = self.turned.max(at);
    }

    /// To be called when a reserve executor has run what it had.
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

    /// Returns the reserve executor that may be raised now: none while one is idle or being raised.
    fn to_raise(&self, now: Instant) -> Option<usize> {
        let is_enough = |state: &State| matches!(state, State::Idle(_) | State::Rising);
        if self.first(is_enough).is_some() || self.not_before.is_some_and(|then| now < then) {
            return None;
        }
        self.first(|state| *state == State::Down)
    }

    /// False while all that there may be are busy, or are being raised, or could not be raised just now.
    fn may_help(&self, now: Instant) -> bool {
        self.idle().is_some() || self.to_raise(now).is_some()
    }

    /// When no regular Executor will have come free for `after`, if none does.
    fn stuck_at(&self) -> Instant {
        self.turned + self.options.after
    }
}

/// How much each client has that an Executor has begun or that lies ready for one.
#[derive(Debug, Default)]
pub(super) struct Holders(HashMap<ClientKey, usize>);

impl Holders {
    pub(super) fn enter(&mut self, client: &ClientKey) {
        match self.0.get_mut(client) {
            Some(count) => *count += 1,
            None => drop(self.0.insert(client.clone(), 1)),
        }
    }

    /// Returns true if the client has nothing left.
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
    /// Sets the timer if somebody waits who may have no executor.
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

    /// As long as all regular Executors are held: gives a reserve executor what is due, and sets the timer for what will
    /// be.
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
            // Started while the work waits, it costs that less time.
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
            act.show();
        });
    }

    /// Whether each regular Executor has something to run.
    fn all_are_held(&self) -> bool {
        self.handed >= self.board.executors()
    }

    fn somebody_waits_without_executor(&self) -> bool {
        let has_none = |client: &ClientKey| !self.holders.has(client);
        let mut lanes = self.lanes_handed_out().iter();
        lanes.any(|lane| self.queue.has_any_of_those(*lane, has_none))
            || self.longest_ready_without_executor().is_some()
    }

    /// Returns the work that has waited longest among that of clients that have no executor, and since when it waits.
    fn longest_waiting_without_executor(&self) -> Option<(Instant, JobId)> {
        let has_none = |client: &ClientKey| !self.holders.has(client);
        let lanes = self.lanes_handed_out().iter();
        let queued = lanes.filter_map(|lane| self.queue.oldest_of(*lane, has_none));
        queued.chain(self.longest_ready_without_executor()).min()
    }

    fn lanes_handed_out(&self) -> &'static [Lane] {
        if self.hands_out_background() {
            &Lane::ALL
        } else {
            &[Lane::Interactive]
        }
    }

    /// The same, of what lies ready for a regular Executor that none has begun.
    fn longest_ready_without_executor(&self) -> Option<(Instant, JobId)> {
        let ready = self.executors.tray.ready();
        let client_of = |id: &JobId| self.running.get(id).map(|running| &running.client);
        let mut ready_of: HashMap<&ClientKey, usize> = HashMap::new();
        for client in ready.iter().filter_map(|(id, _)| client_of(id)) {
            *ready_of.entry(client).or_default() += 1;
        }
        let has_begun_none = |id: &JobId| {
            client_of(id)
                .is_some_and(|client| ready_of.get(client) == Some(&self.holders.count(client)))
        };
        let waiting = ready.iter().filter(|(id, _)| has_begun_none(id));
        waiting.map(|(id, since)| (*since, *id)).min()
    }

    /// Gives this work, which waits in the queue or lies ready, to this reserve executor.
    fn run_on_reserve(&mut self, index: usize, id: JobId, context: &mut Context<Self>) {
        let taken = self.executors.tray.take_back(|work| work.id == id);
        if let Some(work) = taken.into_iter().next() {
            self.handed -= 1;
            if let Some(running) = self.running.get_mut(&id) {
                running.reserve = Some(index);
            }
            self.give_to_reserve(index);
            self.executors.reserve_trays[index].lay(work);
        } else if let Some(waiting) = self.queue.remove(id) {
            self.hand_to_executor(waiting, Placed::OnReserve(index), context);
        }
    }

    /// Counts what is about to be given to this reserve executor.
    pub(super) fn give_to_reserve(&mut self, index: usize) {
        self.reserve.states[index] = State::Busy;
        self.board.meters.reserve_executions.count();
        debug!(
            index,
            "work of a client without an executor goes to a reserve executor"
        );
    }

    /// Starts the zygote of one more reserve executor, unless one is idle or being started.
    fn raise_reserve(&mut self, now: Instant, context: &mut Context<Self>) {
        let Some(index) = self.reserve.to_raise(now) else {
            return;
        };
        self.reserve.states[index] = State::Rising;
        let (done, is_done) = oneshot::channel();
        self.executors.reserve_trays[index].ask_for_check_up(CheckUp(done));
        let raised = is_done.into_actor(self).map(move |_, act, context| {
            let now = Instant::now();
            if act.board.is_reserve_up(index) {
                act.reserve.states[index] = State::Idle(now);
                act.use_reserve(context);
                act.show();
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

    /// Raises a reserve executor ahead while all regular Executors are held, lets go of those that have been idle for long,
    /// and gives them what waits, should a timer have been missed.
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
            if !self.board.is_reserve_up(index) {
                // Its zygote died, or another is being started in place of one that was worn out.
                self.reserve.states[index] = State::Down;
            } else if !is_stuck && now - since >= self.reserve.options.idle_max {
                self.reserve.states[index] = State::Down;
                self.executors.reserve_trays[index].ask_to_rest();
            }
        }
        if is_stuck && !self.draining {
            self.raise_reserve(now, context);
        }
        self.use_reserve(context);
    }

    /// Where the store hands jobs out: has it hand out the job of a client that has no executor, although others hold all.
    pub(super) fn have_more_handed_out(&mut self, client: &ClientKey) {
        let is_helped = !self.reserve.states.is_empty() && !self.draining && self.store.hands_out();
        if !is_helped || !self.all_are_held() || self.holders.has(client) {
            return;
        }
        // What clients wait here for that have executors keeps the place of what could be run.
        let oldest = (self.queue).oldest_of(Lane::Background, |client| self.holders.has(client));
        let given_back = oldest.and_then(|(_, id)| self.queue.remove(id));
        if let Some(waiting) = given_back {
            let waited = waiting.since.elapsed();
            refuse(waiting.item.audience, Refusal::QueueWaitExceeded { waited });
        }
        self.store.hand_out_more();
    }

    /// To be called when an execution has ended, for whatever reason.
    pub(super) fn leave_executor(&mut self, running: &Running) {
        let now = Instant::now();
        match running.reserve {
            Some(index) => self.reserve.freed(index, now),
            None => {
                self.handed -= 1;
                self.reserve.turned(now);
            }
        }
        if !self.holders.leave(&running.client) {
            return;
        }
        if self.queue.has_any_of(&running.client) {
            self.reserve.want();
        } else if running.reserve.is_some() && running.is_background() {
            // Its next job may wait in the store.
            self.have_more_handed_out(&running.client);
        }
    }
}
