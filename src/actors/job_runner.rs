//! The [`JobRunner`] of the service: jobs that a store hands out go to the Dispatcher, and their results come back.

use super::dispatcher::{Cancel, Dispatcher, JobLocation, Locate, Run};
use super::handle::RESPONSE_WITHIN;
use super::runner::{self, RoundTask, Task};
use super::stats::Stats;
use super::types::ClaimResult;
use crate::tool_runs::{JobRun, NextStep};
use actix::Addr;
use async_trait::async_trait;
use sandpiper_domain::tools::{Round, RoundEnd};
use sandpiper_domain::{Execution, Job, JobId, LogSoFar, Timestamp};
use sandpiper_store::{JobRunner, NotRun, QueuePlace, Ran, StartHook, ToolProgress};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tracing::error;

/// Longest time that a job waits here which its store, by another clock, has handed out too early.
const EARLY_MAX: Duration = Duration::from_secs(1);

pub struct DispatcherJobRunner {
    dispatcher: Addr<Dispatcher>,
    stats: Arc<Stats>,
}

impl DispatcherJobRunner {
    #[must_use]
    pub fn new(dispatcher: Addr<Dispatcher>, stats: Arc<Stats>) -> Self {
        Self { dispatcher, stats }
    }

    async fn run_task(&self, task: Task, place: QueuePlace, on_start: StartHook) -> ClaimResult {
        let (reply, result) = oneshot::channel();
        let message = Run::claimed(task, place, on_start, reply);
        let sent = self.dispatcher.send(message);
        if sent.timeout(RESPONSE_WITHIN).await.is_err() {
            return Err(NotRun::Busy);
        }
        // A sender that is dropped without a result means that the Dispatcher has gone.
        result.await.unwrap_or(Err(NotRun::Stopping))
    }

    /// Runs the next round of a job with tools, if there is something to run.
    async fn run_round(
        &self,
        job: Arc<Job>,
        progress: &ToolProgress,
        place: QueuePlace,
        on_start: StartHook,
    ) -> Result<Ran, NotRun> {
        let mut run = JobRun::read(progress).map_err(|cause| {
            error!(
                %cause, job = %job.id,
                "a job with tools cannot go on: check whether a newer version of the service has run it"
            );
            NotRun::Failed
        })?;
        if let Some(early) = run.early_by(Timestamp::now()) {
            tokio::time::sleep(early.min(EARLY_MAX)).await;
        }
        let now = Timestamp::now();
        match run.next_step(&job, now) {
            NextStep::Round => {}
            NextStep::Wait { .. } => return Ok(run.suspend(now)),
            NextStep::End(execution) => {
                self.count_ended(&execution);
                return Ok(run.end_without_round(execution));
            }
        }
        let task = Arc::new(RoundTask::new(Arc::clone(&job), &run.run));
        let ran = self.run_task(Task::Round(task), place, on_start).await?;
        let round = round_of(ran)?;
        if let RoundEnd::ReplayFailed(cause) = &round.end {
            error!(
                %cause, job = %job.id, rounds = run.run.log.rounds(),
                "a job with tools could not be replayed along its own log: the round is tried again"
            );
        }
        let has_suspended = matches!(round.end, RoundEnd::Suspended(_));
        let ran = run.take_round(round, Timestamp::now());
        match &ran {
            Some(Ran::Suspended(_)) => self.stats.tools.suspensions.count(),
            // The script would go on.
            Some(Ran::Ended(execution, _)) if has_suspended => self.count_ended(execution),
            Some(Ran::Ended(..)) | None => {}
        }
        ran.ok_or(NotRun::Failed)
    }

    /// Counts an execution that the service has ended itself.
    fn count_ended(&self, execution: &Execution) {
        let (outcome, limit) = (execution.outcome, execution.limit_hit());
        self.stats.count_execution(outcome, limit);
    }
}

/// Returns the round of a task that is one.
fn round_of(ran: runner::Ran) -> Result<Round, NotRun> {
    match ran {
        runner::Ran::Round(round) => Ok(round),
        runner::Ran::Execution(_) => Err(NotRun::Failed),
    }
}

impl fmt::Debug for DispatcherJobRunner {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("DispatcherJobRunner")
    }
}

#[async_trait]
impl JobRunner for DispatcherJobRunner {
    async fn run(
        &self,
        job: Arc<Job>,
        progress: Option<Arc<ToolProgress>>,
        place: QueuePlace,
        on_start: StartHook,
    ) -> Result<Ran, NotRun> {
        if let Some(progress) = progress {
            return self.run_round(job, &progress, place, on_start).await;
        }
        match self.run_task(Task::Script(job), place, on_start).await? {
            runner::Ran::Execution(execution) => Ok(Ran::Ended(Arc::new(execution), None)),
            runner::Ran::Round(_) => Err(NotRun::Failed),
        }
    }

    async fn log_since(&self, id: JobId, number: u64) -> Option<LogSoFar> {
        let located = self.dispatcher.send(Locate(id)).timeout(RESPONSE_WITHIN);
        match located.await.ok().flatten()? {
            // The round of a job with tools may be repeated: its log is stored with the round.
            JobLocation::Running { is_round: true, .. } | JobLocation::Waiting(_) => None,
            JobLocation::Running { handle, .. } => Some(handle.log_since(number)),
        }
    }

    async fn cancel(&self, id: JobId) {
        let sent = self.dispatcher.send(Cancel(id)).timeout(RESPONSE_WITHIN);
        if let Err(cause) = sent.await {
            error!(
                job = %id,
                %cause,
                "a cancelled job could not be stopped: the Dispatcher does not respond; the job runs until its own \
                 time limit"
            );
        }
    }
}
