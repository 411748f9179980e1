//! Jobs that River hands to this node: run, and recorded.

use super::{Owner, Shared};
use crate::domain::{ClientKey, Execution, JobId, JobState, Outcome, ScriptError};
use crate::store::{ClaimedJob, Finished, JobRunner, NotRun, Settlement, StoreError};
use riverqueue::{
    BoxError, Job, JobArgs, WorkContext, WorkError, WorkOutcome, Worker, jiff::Timestamp,
};
use serde::{Deserialize, Serialize};
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tracing::{error, warn};

/// River's queue of scripts.
pub(super) const QUEUE: &str = "sandpiper";
/// When a job is tried again that the service failed to run.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// When a job is looked at again for which there was no place.
const NO_PLACE_FOR: Duration = Duration::from_millis(200);
/// Between two tries to record what became of a job. It goes on until the database is back: the script has run.
const RECORD_AGAIN_AFTER: Duration = Duration::from_millis(500);

/// River's arguments of a script: its row has the rest.
#[derive(Debug, Clone, Serialize, Deserialize, JobArgs)]
#[river(kind = "sandpiper_run")]
pub(super) struct RunScript {
    pub(super) id: JobId,
}

/// Works at scripts, once it belongs to a store.
#[derive(Debug, Clone, Default)]
pub(super) struct RunWorker(Arc<OnceLock<Owner>>);

impl RunWorker {
    pub(super) fn belongs_to(&self, owner: Owner) {
        let _ = self.0.set(owner);
    }
}

impl Worker<RunScript> for RunWorker {
    type Error = BoxError;

    fn next_retry(&self, _: &Job<RunScript>, _: &WorkError, _: Timestamp) -> Option<Duration> {
        Some(TRY_AGAIN_AFTER)
    }

    async fn work(
        &self,
        context: WorkContext,
        job: Job<RunScript>,
    ) -> Result<WorkOutcome, BoxError> {
        let owner = self.0.get().and_then(Owner::upgrade);
        let Some(shared) = owner else {
            return Ok(WorkOutcome::Snooze(Duration::ZERO));
        };
        let Some(runner) = shared.runner.get().cloned() else {
            return Ok(WorkOutcome::Snooze(NO_PLACE_FOR));
        };
        shared.work(&*runner, &context, &job).await
    }
}

impl Shared {
    async fn work(
        &self,
        runner: &dyn JobRunner,
        context: &WorkContext,
        job: &Job<RunScript>,
    ) -> Result<WorkOutcome, BoxError> {
        let id = job.args.id;
        let Some((client, request)) = self.claimed(id).await? else {
            // Settled already, or swept away.
            return Ok(WorkOutcome::Complete);
        };
        let attempt = u32::try_from(job.row.attempt).unwrap_or_default();
        let limits = request.limits;
        let claimed = ClaimedJob {
            id,
            script: Arc::new(request.script),
            limits,
            client: ClientKey::new(&client),
        };
        let ran = run(runner, claimed, context).await;
        let is_stopping = self.stopping.load(Ordering::SeqCst);
        let settlement = match ran {
            // Stopped because this node stops: it is another's now.
            Ok(execution) if execution.outcome == Outcome::Cancelled && is_stopping => {
                return Ok(WorkOutcome::Snooze(Duration::ZERO));
            }
            Ok(execution) => Settlement {
                state: match execution.outcome {
                    Outcome::Cancelled => JobState::Cancelled,
                    _ => JobState::Finished,
                },
                execution: Some(execution),
            },
            Err(NotRun::Stopping) => return Ok(WorkOutcome::Snooze(Duration::ZERO)),
            Err(NotRun::Busy) => return Ok(WorkOutcome::Snooze(NO_PLACE_FOR)),
            Err(NotRun::Failed) if attempt < self.options.attempts_max => {
                return Err(NotRun::Failed.into());
            }
            Err(NotRun::Failed) => {
                warn!(job = %id, attempt, "a job is lost");
                let error = ScriptError::of_service(
                    "Lost",
                    format!("the service failed to run this job {attempt} times"),
                );
                let execution = Execution::never_ran(id, limits, Outcome::Crashed, error);
                Settlement {
                    state: JobState::Lost,
                    execution: Some(Arc::new(execution)),
                }
            }
        };
        self.record(id, attempt, settlement).await;
        Ok(WorkOutcome::Complete)
    }

    /// Records it however long the database is away; unless the node stops meanwhile, after which it is run again.
    async fn record(&self, id: JobId, attempt: u32, settlement: Settlement) {
        loop {
            match self.finish(id, attempt, settlement.clone()).await {
                Ok(Finished::Recorded) => return,
                Ok(Finished::Stale) => {
                    warn!(job = %id, attempt, "a finish came too late and was refused");
                    return;
                }
                Err(StoreError::Unavailable(cause)) => {
                    error!(job = %id, %cause, "what became of a job cannot be recorded; it is tried again");
                }
                Err(cause) => error!(job = %id, %cause, "what became of a job cannot be recorded"),
            }
            tokio::time::sleep(RECORD_AGAIN_AFTER).await;
        }
    }
}

/// Runs it, and stops it when River says so.
async fn run(
    runner: &dyn JobRunner,
    claimed: ClaimedJob,
    context: &WorkContext,
) -> Result<Arc<Execution>, NotRun> {
    let id = claimed.id;
    let mut running = runner.run(claimed);
    tokio::select! {
        ran = &mut running => return ran,
        () = context.cancellation_token().cancelled() => runner.cancel(id).await,
    }
    running.await
}
