//! What becomes of work that an Executor had: told, recorded, tried again, or lost.

use super::pending::{Audience, Changes, Pending, Running, bytes_of, limits_of, refuse};
use super::{Dispatcher, MEAN_WEIGHT, TRY_AGAIN_AFTER};
use crate::actors::answers::{Refusal, SandboxReach};
use crate::actors::executor::ExecutorFailure;
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
        self.board.count_execution(execution.outcome);
        self.mean_wall = self.mean_wall.mul_f64(1.0 - MEAN_WEIGHT) + wall.mul_f64(MEAN_WEIGHT);
        let mean_micros = u64::try_from(self.mean_wall.as_micros()).unwrap_or(u64::MAX);
        self.board
            .mean_wall_micros
            .store(mean_micros, Ordering::Relaxed);
        match running.pending.audience {
            Audience::Caller(reply) => {
                let execution = Arc::new(execution);
                self.recent.insert(&execution);
                let _ = reply.send(Ok(execution));
            }
            Audience::Claimant(reply) => drop(reply.send(Ok(Arc::new(execution)))),
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
    pub(super) fn execution_failed(
        &mut self,
        id: JobId,
        running: Running,
        failure: ExecutorFailure,
        context: &mut Context<Self>,
    ) {
        let Running {
            client,
            mut pending,
            handle,
            ..
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
        if handle.is_cancelled() {
            let settlement = Settlement {
                state: JobState::Cancelled,
                execution: None,
            };
            self.settle(id, pending, settlement, context);
            return;
        }
        let limits = limits_of(&pending.task);
        if pending.attempt >= self.options.attempts_max {
            let trace_id = pending
                .trace
                .as_ref()
                .map(|trace| display(trace.trace_text()));
            warn!(job = %id, trace_id, attempts = pending.attempt, ?failure, "a job is lost");
            self.board.jobs_lost.fetch_add(1, Ordering::Relaxed);
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
                self.enqueue(place, id, client, pending);
                self.hand_out(context);
            }
            // No room now: later. The job is accepted and stays so.
            Err(_) => self.rest(id, client, pending, context),
        }
    }

    pub(super) fn record_start(
        &mut self,
        id: JobId,
        pending: &mut Pending,
        context: &mut Context<Self>,
    ) {
        let store = Arc::clone(&self.store);
        let attempt = pending.attempt;
        let started = async move { store.start(id, attempt).await };
        self.make_change(&mut pending.changes, started, context, |_, ()| {});
    }

    pub(super) fn settle(
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

    pub(super) fn count_failure(&mut self, failure: Option<StoreError>) {
        if let Some(failure) = failure {
            self.board.store_failures.fetch_add(1, Ordering::Relaxed);
            error!(error = %failure, "the store did not record a change");
        }
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
