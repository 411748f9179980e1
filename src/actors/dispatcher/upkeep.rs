//! What the Dispatcher does by the clock: work that has waited too long, executors that died, records that have expired.

use super::Dispatcher;
use super::pending::refuse;
use crate::actors::answers::Refusal;
use crate::actors::executor::CheckUp;
use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};
use sandpiper_domain::{Lane, Timestamp};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// How often waiting jobs are looked over.
const LOOK_AROUND_EVERY: Duration = Duration::from_millis(50);
/// How often records are swept.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// How long a job of a database waits here for an executor before it is given back.
const AT_HAND_MAX: Duration = Duration::from_secs(1);

impl Dispatcher {
    pub(super) fn begin_upkeep(context: &mut Context<Self>) {
        context.run_interval(LOOK_AROUND_EVERY, Self::look_around);
        context.run_interval(SWEEP_EVERY, Self::sweep);
    }

    fn look_around(&mut self, context: &mut Context<Self>) {
        if let Some(earliest) = Instant::now().checked_sub(self.options.queue_wait_max) {
            let ready = self.take_back(|work| work.origin.since < earliest);
            let queued = self.queue.remove_older(Lane::Interactive, earliest);
            let ready = ready
                .into_iter()
                .map(|(since, running)| (since, running.pending));
            let queued = queued
                .into_iter()
                .map(|waiting| (waiting.since, waiting.item));
            for (since, pending) in ready.chain(queued) {
                let waited = since.elapsed();
                self.board.meters.queue_wait_exceeded.count();
                refuse(pending.audience, Refusal::QueueWaitExceeded { waited });
            }
        }
        if let Some(earliest) = Instant::now().checked_sub(AT_HAND_MAX) {
            self.give_back_older(earliest);
        }
        // Executors that have nothing to run would not notice that their zygote died.
        if self.board.executors_ready() < self.board.executors() {
            self.send_check_ups(context);
        }
        self.hand_out(context);
        self.look_after_reserve(context);
        for lane in Lane::ALL {
            self.board.meters.show_oldest(lane, self.queue.oldest(lane));
        }
    }

    /// Gives the store back what it handed out and what has waited here since before `earliest`: another node may have
    /// an executor for it.
    fn give_back_older(&mut self, earliest: Instant) {
        if !self.store.hands_out() {
            return;
        }
        for waiting in self.queue.remove_older(Lane::Background, earliest) {
            let waited = waiting.since.elapsed();
            refuse(waiting.item.audience, Refusal::QueueWaitExceeded { waited });
        }
    }

    /// As many as there are free Executors, and no more while those are on their way: raising a zygote may take long.
    fn send_check_ups(&mut self, context: &mut Context<Self>) {
        let free = self.board.executors().saturating_sub(self.handed);
        while self.checking_up < free {
            self.checking_up += 1;
            let (done, is_done) = oneshot::channel();
            self.executors.tray.ask_for_check_up(CheckUp(done));
            context.spawn(
                is_done
                    .into_actor(self)
                    .map(|_, act, _| act.checking_up -= 1),
            );
        }
    }

    /// Forgets what has expired. A store that takes longer than from one sweep to the next is not asked again before it is
    /// done, so that sweeps of a slow database do not pile up.
    fn sweep(&mut self, context: &mut Context<Self>) {
        let now = Timestamp::now();
        self.recent.sweep(now);
        if self.is_sweeping {
            return;
        }
        self.is_sweeping = true;
        let store = Arc::clone(&self.store);
        let swept = async move { store.sweep(now).await };
        context.spawn(swept.into_actor(self).map(|result, act, _| {
            act.is_sweeping = false;
            act.count_failure(result.err());
        }));
    }
}
