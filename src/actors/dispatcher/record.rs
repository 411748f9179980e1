//! The results of executions: sent to the caller, recorded in the store, or, after a failure of the service, retried or
//! lost.

use super::work::{JobChanges, ReplyTo, Running, Work, bytes_of, limits_of, reply_error};
use super::{Dispatcher, MEAN_WEIGHT, RETRY_AFTER_FAILURE};
use crate::actors::executor::ExecutorFailure;
use crate::actors::types::{DispatchError, SandboxReach};
use crate::store::{Finished, Settlement, StoreError};
use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};
use sandpiper_domain::{ClientKey, Execution, JobId, JobState, Lane, Outcome, ScriptError};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tracing::field::display;
use tracing::{error, warn};

impl Dispatcher {
    pub(super) fn record(
        &mut self,
        id: JobId,
        running: Running,
        execution: Execution,
        context: &mut Context<Self>,
    ) {
        let wall = Duration::from_micros(execution.usage.wall_micros);
        self.stats.count_execution(execution.outcome);
        self.mean_wall = self.mean_wall.mul_f64(1.0 - MEAN_WEIGHT) + wall.mul_f64(MEAN_WEIGHT);
        let mean_micros = u64::try_from(self.mean_wall.as_micros()).unwrap_or(u64::MAX);
        self.stats
            .mean_wall_micros
            .store(mean_micros, Ordering::Relaxed);
        match running.work.reply_to {
            ReplyTo::Caller(reply) => {
                let execution = Arc::new(execution);
                self.recent.insert(&execution);
                let _ = reply.send(Ok(execution));
            }
            ReplyTo::Claim(reply) => drop(reply.send(Ok(Arc::new(execution)))),
            ReplyTo::NetCheck(reply) => {
                let _ = reply.send(Ok(reach(&execution)));
            }
            ReplyTo::Store => {
                let state = match execution.outcome {
                    Outcome::Cancelled => JobState::Cancelled,
                    _ => JobState::Finished,
                };
                let settlement = Settlement {
                    state,
                    execution: Some(Arc::new(execution)),
                };
                self.settle(id, running.work, settlement, context);
            }
        }
    }

    /// Handles a failure of the service, not of the script. A caller gets an error. A job is tried again, and is lost
    /// after the last attempt.
    pub(super) fn execution_failed(
        &mut self,
        id: JobId,
        running: Running,
        failure: ExecutorFailure,
        context: &mut Context<Self>,
    ) {
        let Running {
            client,
            mut work,
            handle,
            ..
        } = running;
        if !matches!(work.reply_to, ReplyTo::Store) {
            let error = match failure {
                ExecutorFailure::NoSandbox => DispatchError::IsolationLost,
                ExecutorFailure::Panicked => DispatchError::Internal,
            };
            reply_error(work.reply_to, error);
            return;
        }
        // A retry would run a job that was cancelled.
        if handle.is_cancelled() {
            let settlement = Settlement {
                state: JobState::Cancelled,
                execution: None,
            };
            self.settle(id, work, settlement, context);
            return;
        }
        let limits = limits_of(&work.task);
        if work.attempt >= self.options.attempts_max {
            let trace_id = work.trace.as_ref().map(|trace| display(trace.trace_text()));
            warn!(job = %id, trace_id, attempts = work.attempt, ?failure, "a job is lost");
            self.stats.jobs_lost.fetch_add(1, Ordering::Relaxed);
            let error = ScriptError::of_service(
                "Lost",
                format!("the service failed to run this job {} times", work.attempt),
            );
            let execution = Execution::never_ran(id, limits, Outcome::Crashed, error);
            let settlement = Settlement {
                state: JobState::Lost,
                execution: Some(Arc::new(execution)),
            };
            self.settle(id, work, settlement, context);
            return;
        }
        let attempt = work.attempt;
        let store = Arc::clone(&self.store);
        let requeued = async move { store.requeue(id, attempt).await };
        self.make_change(&mut work.changes, requeued, context, |_, ()| {});
        self.rest(id, client, work, context);
    }

    /// Keeps a job that could not be run for [`RETRY_AFTER_FAILURE`], then queues it again.
    fn rest(&mut self, id: JobId, client: ClientKey, work: Work, context: &mut Context<Self>) {
        self.retrying.insert(id, (client, work));
        context.run_later(RETRY_AFTER_FAILURE, move |act, context| {
            // The job may have been cancelled meanwhile.
            if let Some((client, work)) = act.retrying.remove(&id) {
                act.requeue(id, client, work, context);
            }
        });
    }

    fn requeue(&mut self, id: JobId, client: ClientKey, work: Work, context: &mut Context<Self>) {
        let bytes = bytes_of(&work.task);
        match self.queue.reserve(Lane::Background, bytes) {
            Ok(permit) => {
                self.enqueue(permit, id, client, work);
                self.hand_out(context);
            }
            // The queue is full: the accepted job waits once more.
            Err(_) => self.rest(id, client, work, context),
        }
    }

    pub(super) fn record_start(&mut self, id: JobId, work: &mut Work, context: &mut Context<Self>) {
        let store = Arc::clone(&self.store);
        let attempt = work.attempt;
        let started = async move { store.start(id, attempt).await };
        self.make_change(&mut work.changes, started, context, |_, ()| {});
    }

    pub(super) fn settle(
        &mut self,
        id: JobId,
        mut work: Work,
        settlement: Settlement,
        context: &mut Context<Self>,
    ) {
        let store = Arc::clone(&self.store);
        let attempt = work.attempt;
        let finished = async move { store.finish(id, attempt, settlement).await };
        self.make_change(&mut work.changes, finished, context, |act, finished| {
            if finished == Finished::Stale {
                act.stats.finishes_stale.fetch_add(1, Ordering::Relaxed);
            }
        });
    }

    /// Makes a change of a job in the store, after the changes before it. The service does not end before the change is
    /// made.
    fn make_change<Made: 'static>(
        &mut self,
        changes: &mut JobChanges,
        change: impl Future<Output = Result<Made, StoreError>> + 'static,
        context: &mut Context<Self>,
        then: fn(&mut Self, Made),
    ) {
        self.stats.unrecorded.fetch_add(1, Ordering::Relaxed);
        let made = changes.in_order(change).into_actor(self);
        context.spawn(made.map(move |made, act, _| {
            act.stats.unrecorded.fetch_sub(1, Ordering::Relaxed);
            match made {
                Ok(made) => then(act, made),
                Err(failure) => act.count_failure(Some(failure)),
            }
        }));
    }

    pub(super) fn count_failure(&mut self, failure: Option<StoreError>) {
        if let Some(failure) = failure {
            self.stats.store_failures.fetch_add(1, Ordering::Relaxed);
            error!(
                error = %failure,
                "the store did not record a change of a job: the job may be shown in an old state"
            );
        }
    }
}

/// Returns the result of a network check. Inside the isolation the attempt itself is deadly, so a job process killed by
/// it is the good result.
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
