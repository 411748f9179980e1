//! The results of executions: counted, and sent to the caller or to the store.

use super::work::{ReplyTo, Work};
use super::{Dispatcher, MEAN_WEIGHT};
use crate::actors::executor::ExecutorFailure;
use crate::actors::runner::{Ran, Task};
use crate::actors::types::{DispatchError, SandboxReach};
use sandpiper_domain::Execution;
use sandpiper_store::StoreError;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tracing::error;

impl Dispatcher {
    pub(super) fn send_result(&mut self, work: Work, ran: Ran) {
        if let (ReplyTo::NetCheck(_), Ran::Execution(execution)) = (&work.reply_to, &ran) {
            // No execution of a script: the job process is meant to die of the attempt.
            let reach = reach(execution);
            if let ReplyTo::NetCheck(reply) = work.reply_to {
                let _ = reply.send(Ok(reach));
            }
            return;
        }
        let elapsed = Duration::from_micros(ran.usage().wall_micros);
        let outcome = match (&work.task, &ran) {
            (Task::Round(task), Ran::Round(round)) => task.outcome_of(round),
            _ => ran.outcome(),
        };
        if let Ran::Round(round) = &ran {
            self.stats.tools.count_round(round);
        }
        if let Some(outcome) = outcome {
            let limit = ran.execution().and_then(Execution::limit_hit);
            self.stats.count_execution(outcome, limit);
        }
        self.mean_wall = self.mean_wall.mul_f64(1.0 - MEAN_WEIGHT) + elapsed.mul_f64(MEAN_WEIGHT);
        let mean_micros = u64::try_from(self.mean_wall.as_micros()).unwrap_or(u64::MAX);
        self.stats
            .mean_wall_micros
            .store(mean_micros, Ordering::Relaxed);
        match (work.reply_to, ran) {
            (ReplyTo::Caller(reply), Ran::Execution(execution)) => {
                let execution = Arc::new(execution);
                if let Task::Script(job) = &work.task {
                    self.usage.count_execution(job, &execution);
                    self.recent.insert(job.owner.clone(), &execution);
                }
                let _ = reply.send(Ok(execution));
            }
            (ReplyTo::Round(reply), Ran::Round(round)) => {
                if let Task::Round(task) = &work.task {
                    self.usage.count_round(task, &round, outcome);
                }
                let _ = reply.send(Ok(round));
            }
            (ReplyTo::Store(reply, _), ran) => {
                match (&work.task, &ran) {
                    (Task::Script(job), Ran::Execution(execution)) => {
                        self.usage.note_job_execution(job, execution);
                    }
                    (Task::Round(task), Ran::Round(round)) => {
                        self.usage.count_job_round(task, round, outcome);
                    }
                    _ => {}
                }
                let _ = reply.send(Ok(ran));
            }
            // A task has the receiver of its own kind of result, and the dropped receiver of another would be an error.
            (ReplyTo::Caller(_) | ReplyTo::Round(_) | ReplyTo::NetCheck(_), _) => {}
        }
    }

    pub(super) fn count_failure(&self, failure: &StoreError) {
        self.stats.store_failures.fetch_add(1, Ordering::Relaxed);
        error!(error = %failure, "the store did not record a change: a job was not accepted, or a sweep was not made");
    }
}

pub(super) fn error_of(failure: ExecutorFailure) -> DispatchError {
    match failure {
        ExecutorFailure::NoSandbox => DispatchError::IsolationLost,
        ExecutorFailure::Panicked => DispatchError::Internal,
    }
}

/// Returns the result of a network check. Inside the isolation the attempt itself is deadly, so a job process killed by
/// it is the good result.
fn reach(execution: &Execution) -> SandboxReach {
    let printed = execution
        .result
        .as_ref()
        .map_or("", |result| result.as_str());
    let detail = execution
        .error
        .as_ref()
        .map_or_else(|| printed.to_owned(), |error| error.message.clone());
    SandboxReach {
        reached: printed == "\"reached\"",
        detail,
    }
}
