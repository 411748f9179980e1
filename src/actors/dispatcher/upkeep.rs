//! The periodic work of the Dispatcher: it refuses work that has waited too long, checks executors, and sweeps records.

use super::Dispatcher;
use crate::actors::executor::CheckUp;
use crate::actors::types::DispatchError;
use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};
use sandpiper_domain::{Lane, Timestamp};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

const LOOK_AROUND_EVERY: Duration = Duration::from_millis(50);
const SWEEP_EVERY: Duration = Duration::from_secs(1);

impl Dispatcher {
    pub(super) fn begin_upkeep(context: &mut Context<Self>) {
        context.run_interval(LOOK_AROUND_EVERY, Self::look_around);
        context.run_interval(SWEEP_EVERY, Self::sweep);
    }

    fn look_around(&mut self, context: &mut Context<Self>) {
        if let Some(earliest) = Instant::now().checked_sub(self.options.queue_wait_max) {
            let not_begun = self.retract(|work| work.since < earliest);
            let queued = self.queue.remove_older(Lane::Interactive, earliest);
            let not_begun = not_begun
                .into_iter()
                .map(|(since, running)| (since, running.work));
            let queued = queued
                .into_iter()
                .map(|waiting| (waiting.since, waiting.item));
            for (since, work) in not_begun.chain(queued) {
                let waited = since.elapsed();
                self.stats.meters.queue_wait_exceeded.count();
                let error = DispatchError::QueueWaitExceeded { waited };
                work.reply_to.send_error(error);
            }
        }
        if let Some(requeue_after) = self.options.requeue_after {
            self.requeue_older(requeue_after);
        }
        // An idle Executor would not notice that its zygote died.
        if self.stats.executors_ready() < self.stats.executors() {
            self.send_check_ups(context);
        }
        self.hand_out(context);
        self.look_after_reserve(context);
        for lane in Lane::ALL {
            self.stats
                .meters
                .record_oldest(lane, self.queue.oldest(lane));
        }
    }

    /// Requeues in the store the jobs that have waited here for this long: another node may have an executor for them.
    fn requeue_older(&mut self, requeue_after: Duration) {
        let Some(earliest) = Instant::now().checked_sub(requeue_after) else {
            return;
        };
        for waiting in self.queue.remove_older(Lane::Background, earliest) {
            let waited = waiting.since.elapsed();
            let error = DispatchError::QueueWaitExceeded { waited };
            waiting.item.reply_to.send_error(error);
        }
    }

    /// Sends one check-up for each free Executor that has none. A start of a zygote may take long, so no more than
    /// that.
    fn send_check_ups(&mut self, context: &mut Context<Self>) {
        let free = self.stats.executors().saturating_sub(self.handed);
        while self.checking_up < free {
            self.checking_up += 1;
            let (done, is_done) = oneshot::channel();
            self.executors.work_queue.push_check_up(CheckUp(done));
            context.spawn(
                is_done
                    .into_actor(self)
                    .map(|_, act, _| act.checking_up -= 1),
            );
        }
    }

    /// Removes expired records. The store gets no second sweep before the first has ended, so that sweeps of a slow
    /// database do not pile up.
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
            if let Err(failure) = result {
                act.count_failure(&failure);
            }
        }));
    }
}
