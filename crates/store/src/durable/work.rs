//! Runs the jobs that River hands to this node, and records their results.

use super::args::RunScript;
use super::attempts::Attempts;
use super::change_queue::ChangeQueue;
use super::claims::Claims;
use super::counters::Counters;
use super::database::Database;
use super::deadline::late;
use super::logs::{LogUploader, Logs, UPLOAD_EVERY};
use super::quotas::{Quotas, Room};
use super::requests::{NoRequest, Requests};
use super::reservations::Reservation;
use super::tool_jobs::{self, StoredProgress};
use crate::{JobRunner, NotRun, QueuePlace, Ran, Settlement, StartHook, StoreError, ToolProgress};
use riverqueue::{
    BoxError, Job as RiverJob, WorkContext, WorkError, WorkOutcome, Worker, jiff::Timestamp,
};
use sandpiper_domain::{ClientKey, Job, Outcome};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;
use tracing::field::display;
use tracing::{error, warn};

/// Pause before another try of a job that the service or the database failed to run.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// Pause before another try of a job that found no executor or no room.
const NO_ROOM_FOR: Duration = Duration::from_millis(200);
/// Time between two queries for a job that another node has.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// The failure of an attempt at a job with tools whose progress is not in the database.
const NO_PROGRESS: &str = "the progress of the job is not in the database";

/// River's worker. It requeues every job until it is attached to an [`AttemptRunner`]: River's client, which the runner
/// needs, is made with the worker.
#[derive(Debug, Clone, Default)]
pub(super) struct RunWorker(Arc<OnceLock<Weak<AttemptRunner>>>);

impl RunWorker {
    pub(super) fn attach(&self, runner: &Arc<AttemptRunner>) {
        let _ = self.0.set(Arc::downgrade(runner));
    }
}

impl Worker<RunScript> for RunWorker {
    type Error = BoxError;

    fn next_retry(&self, _: &RiverJob<RunScript>, _: &WorkError, _: Timestamp) -> Option<Duration> {
        Some(TRY_AGAIN_AFTER)
    }

    async fn work(
        &self,
        context: WorkContext,
        job: RiverJob<RunScript>,
    ) -> Result<WorkOutcome, BoxError> {
        let attached = self.0.get().and_then(Weak::upgrade);
        let Some(attempts) = attached else {
            return Ok(WorkOutcome::Snooze(Duration::ZERO));
        };
        let Some(runner) = attempts.executors.get().cloned() else {
            return Ok(WorkOutcome::Snooze(NO_ROOM_FOR));
        };
        attempts.work(&*runner, &context, &job).await
    }
}

#[derive(Debug)]
pub(super) struct AttemptRunner {
    pub(super) database: Database,
    pub(super) requests: Requests,
    pub(super) quotas: Arc<Quotas>,
    pub(super) claims: Arc<Claims>,
    pub(super) attempts: Arc<Attempts>,
    pub(super) logs: Logs,
    pub(super) changes: ChangeQueue,
    pub(super) counters: Arc<Counters>,
    pub(super) attempts_max: u32,
    /// The runner of this node's jobs, once dispatch has started.
    pub(super) executors: OnceLock<Arc<dyn JobRunner>>,
    pub(super) is_stopping: AtomicBool,
}

/// The result of an attempt for River.
struct Report {
    outcome: Result<WorkOutcome, BoxError>,
    /// True once River's row has the result.
    is_recorded: bool,
}

impl Report {
    fn unrecorded(outcome: Result<WorkOutcome, BoxError>) -> Self {
        Self {
            outcome,
            is_recorded: false,
        }
    }
}

impl AttemptRunner {
    async fn work(
        &self,
        runner: &dyn JobRunner,
        context: &WorkContext,
        job: &RiverJob<RunScript>,
    ) -> Result<WorkOutcome, BoxError> {
        let attempt = attempt_of(job);
        let mut running = self.attempts.begin(job.id(), attempt);
        let report = self
            .run_attempt(runner, context, job)
            .await
            .unwrap_or_else(|report| report);
        running.is_recorded = report.is_recorded;
        // River records an outcome even if another attempt owns the job by now.
        if !report.is_recorded {
            self.wait_until_reportable(job.id(), attempt).await;
        }
        report.outcome
    }

    /// Runs an attempt and records its result. An error is the report of an attempt that has no result to record.
    async fn run_attempt(
        &self,
        runner: &dyn JobRunner,
        context: &WorkContext,
        job: &RiverJob<RunScript>,
    ) -> Result<Report, Report> {
        let claimed = self.claimed_job(job).await?;
        let tools = self.tools_of(job, &claimed).await?;
        let has_suspended = tools.as_ref().is_some_and(|tools| tools.has_suspended());
        // A job that goes on is never held up for room.
        let _reservation = match has_suspended {
            true => None,
            false => Some(self.reserve_room(job, &claimed).await?),
        };
        let id = claimed.id;
        let failed = tools.as_ref().map_or(0, |tools| tools.failed_attempts);
        let output_bytes = claimed.limits.output_bytes();
        let mut uploader = self
            .logs
            .uploader(id, failed + attempt_of(job), output_bytes);
        let progress = tools.as_ref().map(|tools| Arc::clone(&tools.progress));
        let ran = self
            .run(
                runner,
                Arc::clone(&claimed),
                progress,
                context,
                &mut uploader,
            )
            .await;
        self.record_duration(&ran);
        let is_recorded = match (ran, &tools) {
            (Ok(Ran::Suspended(round)), Some(tools)) => {
                self.commit(job, &claimed, tools, round).await
            }
            (ran, _) => {
                let settlement = self.settlement(job, &claimed, ran)?;
                self.end(job, &claimed, tools, settlement).await
            }
        };
        uploader.delete().await;
        Ok(Report {
            outcome: Ok(WorkOutcome::Complete),
            is_recorded,
        })
    }

    /// Reads the progress of a job with tools; any other job has none.
    async fn tools_of(
        &self,
        job: &RiverJob<RunScript>,
        claimed: &Job,
    ) -> Result<Option<Arc<StoredProgress>>, Report> {
        if claimed.script.tools().is_none() {
            return Ok(None);
        }
        let read = tool_jobs::read(&self.database, claimed.id);
        match self.database.in_time(read).await {
            Ok(Some(tools)) => Ok(Some(Arc::new(tools))),
            Ok(None) => Err(Report::unrecorded(Err(NO_PROGRESS.into()))),
            Err(StoreError::Unreadable(cause)) => {
                warn!(
                    job = %claimed.id, %cause,
                    "the progress of a job cannot be read; the attempt fails, and after its last one the job is lost"
                );
                Err(Report::unrecorded(Err(cause.into())))
            }
            Err(cause) => {
                error!(
                    job = %claimed.id, %cause,
                    "the progress of a job cannot be read; the job is requeued, and tried again in a second"
                );
                Err(self.requeue(job, TRY_AGAIN_AFTER))
            }
        }
    }

    async fn claimed_job(&self, job: &RiverJob<RunScript>) -> Result<Arc<Job>, Report> {
        let read = self.requests.claimed_job(job);
        let found = tokio::time::timeout(self.database.timeout(), read).await;
        match found.unwrap_or_else(|_| Err(NoRequest::Store(late()))) {
            Ok(Some(claimed)) => Ok(claimed),
            // The job has its final state, or was swept.
            Ok(None) => Err(Report::unrecorded(Ok(WorkOutcome::Complete))),
            Err(NoRequest::Invalid(cause)) => {
                warn!(
                    river_id = job.id(), %cause,
                    "the request of a job is invalid; the attempt fails, and after its last one the job is lost"
                );
                Err(Report::unrecorded(Err(cause.into())))
            }
            Err(NoRequest::JustInserted) => Err(self.requeue(job, TRY_AGAIN_AFTER)),
            // A database that is away uses up no attempt.
            Err(NoRequest::Store(cause)) => {
                error!(
                    river_id = job.id(), %cause,
                    "the request of a job cannot be read; the job is requeued, and tried again in a second"
                );
                Err(self.requeue(job, TRY_AGAIN_AFTER))
            }
        }
    }

    async fn reserve_room(
        &self,
        job: &RiverJob<RunScript>,
        claimed: &Job,
    ) -> Result<Reservation<'_>, Report> {
        let output_bytes = claimed.limits.output_bytes();
        let room = self.quotas.reserve(&claimed.client, output_bytes);
        match self.database.in_time(room).await {
            Ok(Room::Reserved(reservation)) => Ok(reservation),
            Ok(Room::Soon) => Err(self.requeue(job, NO_ROOM_FOR)),
            Ok(Room::Later) => Err(self.postpone(&claimed.client)),
            Err(cause) => {
                error!(
                    river_id = job.id(), %cause,
                    "the stored bytes cannot be counted; the job is requeued, and tried again in a second"
                );
                Err(self.requeue(job, TRY_AGAIN_AFTER))
            }
        }
    }

    /// Runs a job, uploads its log meanwhile, and stops the job when River cancels it.
    async fn run(
        &self,
        runner: &dyn JobRunner,
        claimed: Arc<Job>,
        progress: Option<Arc<ToolProgress>>,
        context: &WorkContext,
        uploader: &mut LogUploader<'_>,
    ) -> Result<Ran, NotRun> {
        let id = claimed.id;
        if context.cancellation_token().is_cancelled() {
            return Err(NotRun::Cancelled);
        }
        let mut running = runner.run(
            claimed,
            progress,
            QueuePlace::default(),
            StartHook::default(),
        );
        loop {
            tokio::select! {
                // In this order: a run that was never polled cannot be stopped.
                biased;
                ran = &mut running => return ran,
                () = context.cancellation_token().cancelled() => {
                    runner.cancel(id).await;
                    return running.await;
                }
                () = tokio::time::sleep(UPLOAD_EVERY), if self.logs.are_uploaded() => {
                    let Some(log) = runner.log_since(id, uploader.next()).await else { continue };
                    if let Err(cause) = uploader.upload(&log).await {
                        warn!(
                            job = %id, %cause,
                            "the newest log entries of a running job cannot be uploaded; other nodes do not show them \
                             until the next upload, in half a second"
                        );
                    }
                }
            }
        }
    }

    /// Adjusts the number of claims to the time that a job took.
    fn record_duration(&self, ran: &Result<Ran, NotRun>) {
        let prefetch = self.claims.prefetch();
        match ran {
            Ok(Ran::Suspended(_)) => {}
            Ok(Ran::Ended(execution, _)) => {
                prefetch.record(Duration::from_micros(execution.usage.wall_micros));
            }
            Err(NotRun::Busy) => prefetch.record_no_executor(),
            Err(NotRun::Failed | NotRun::Stopping | NotRun::Cancelled) => {}
        }
        self.claims.adjust();
    }

    /// Returns the final state of a job that ran, or the report of an attempt after which the job goes on.
    fn settlement(
        &self,
        job: &RiverJob<RunScript>,
        claimed: &Job,
        ran: Result<Ran, NotRun>,
    ) -> Result<Settlement, Report> {
        let is_stopping = self.is_stopping.load(Ordering::SeqCst);
        match ran {
            // The node stops, and cancelled the job for that reason only: another node runs it.
            Ok(Ran::Ended(execution, _))
                if execution.outcome == Outcome::Cancelled && is_stopping =>
            {
                Err(self.requeue(job, Duration::ZERO))
            }
            Ok(Ran::Ended(execution, last_round)) => {
                Ok(Settlement::of(execution).with_last_round(last_round))
            }
            Ok(Ran::Suspended(_)) => Err(Report::unrecorded(Err(NotRun::Failed.into()))),
            // The same for a prefetched job. River knows which jobs a client cancelled.
            Err(NotRun::Cancelled) if is_stopping => Err(self.requeue(job, Duration::ZERO)),
            Err(NotRun::Stopping) => Err(self.requeue(job, Duration::ZERO)),
            Err(NotRun::Busy) => Err(self.requeue(job, NO_ROOM_FOR)),
            Err(NotRun::Cancelled) => Ok(Settlement::CANCELLED),
            Err(NotRun::Failed) if attempt_of(job) < self.attempts_max => {
                Err(Report::unrecorded(Err(NotRun::Failed.into())))
            }
            Err(NotRun::Failed) => Ok(self.lost(claimed, attempt_of(job))),
        }
    }

    /// Returns the final state of a job that the service failed to run in all attempts.
    fn lost(&self, claimed: &Job, attempt: u32) -> Settlement {
        let trace = claimed.trace.as_ref();
        let trace_id = trace.map(|trace| display(trace.trace_text()));
        warn!(
            job = %claimed.id, trace_id, attempt,
            "a job is lost: the service failed to run it in each attempt; the log entries before this one say why"
        );
        Counters::increment(&self.counters.lost);
        Settlement::lost(claimed, attempt)
    }

    /// Waits until River may record the outcome of this attempt. An attempt that still owns its job may do so at once. If
    /// another attempt owns the job by now, the job must first have its final state: River would take it from that attempt.
    async fn wait_until_reportable(&self, river_id: i64, attempt: u32) {
        let mut superseded = None;
        loop {
            let may_report = if superseded.is_some() {
                let is_final = self.attempts.is_final(river_id);
                self.database.in_time(is_final).await
            } else {
                let owns_job = self.attempts.owns_job(river_id, attempt);
                self.database.in_time(owns_job).await
            };
            match may_report {
                Ok(true) => return,
                Ok(false) if superseded.is_none() => {
                    superseded = Some(self.claims.supersede_worker());
                    continue;
                }
                Ok(false) => {}
                Err(cause) => error!(
                    river_id, attempt, %cause,
                    "the database does not say which node has a job; its result is held back, and the query is repeated \
                     every second"
                ),
            }
            tokio::time::sleep(ASK_AGAIN_AFTER).await;
        }
    }

    /// Requeues a job for another node, or for a later moment. The attempt does not count, and the job keeps its slot.
    fn requeue(&self, job: &RiverJob<RunScript>, pause: Duration) -> Report {
        self.attempts.reserve_slot(job);
        Report::unrecorded(Ok(WorkOutcome::Snooze(pause)))
    }

    /// Postpones a job until there may be room for its output. The attempt does not count, and the job goes to the end of
    /// the queue, so that a client without room does not hold up others.
    fn postpone(&self, client: &ClientKey) -> Report {
        Counters::increment(&self.counters.postponed);
        let pause = self.quotas.postponed_for(client);
        Report::unrecorded(Ok(WorkOutcome::Snooze(pause)))
    }
}

pub(super) fn attempt_of(job: &RiverJob<RunScript>) -> u32 {
    u32::try_from(job.row.attempt).unwrap_or_default()
}
