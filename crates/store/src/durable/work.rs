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
use crate::{Finished, JobRunner, NotRun, QueuePlace, Settlement, StartHook};
use riverqueue::{
    BoxError, Job as RiverJob, WorkContext, WorkError, WorkOutcome, Worker, jiff::Timestamp,
};
use sandpiper_domain::{ClientKey, Execution, Job, JobId, Outcome};
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
/// Time between two attempts to record a result. They go on until the database is back: the script has run.
const RECORD_AGAIN_AFTER: Duration = Duration::from_millis(500);

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
        let _reservation = self.reserve_room(job, &claimed).await?;
        let (id, attempt) = (claimed.id, attempt_of(job));
        let output_bytes = claimed.limits.output_bytes();
        let mut uploader = self.logs.uploader(id, attempt, output_bytes);
        let ran = self
            .run(runner, Arc::clone(&claimed), context, &mut uploader)
            .await;
        self.record_duration(&ran);
        let settlement = self.settlement(job, &claimed, ran)?;
        let execution = settlement.execution.as_ref();
        let bytes = execution.map_or(0, |execution| execution.size_bytes());
        let is_recorded = self.record(id, attempt, settlement).await;
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.quotas.end_job(&claimed.client, bytes);
        uploader.delete().await;
        Ok(Report {
            outcome: Ok(WorkOutcome::Complete),
            is_recorded,
        })
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
        context: &WorkContext,
        uploader: &mut LogUploader<'_>,
    ) -> Result<Arc<Execution>, NotRun> {
        let id = claimed.id;
        if context.cancellation_token().is_cancelled() {
            return Err(NotRun::Cancelled);
        }
        let mut running = runner.run(claimed, QueuePlace::default(), StartHook::default());
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
    fn record_duration(&self, ran: &Result<Arc<Execution>, NotRun>) {
        let prefetch = self.claims.prefetch();
        match ran {
            Ok(execution) => {
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
        ran: Result<Arc<Execution>, NotRun>,
    ) -> Result<Settlement, Report> {
        let is_stopping = self.is_stopping.load(Ordering::SeqCst);
        match ran {
            // The node stops, and cancelled the job for that reason only: another node runs it.
            Ok(execution) if execution.outcome == Outcome::Cancelled && is_stopping => {
                Err(self.requeue(job, Duration::ZERO))
            }
            Ok(execution) => Ok(Settlement::of(execution)),
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

    /// Records a final state, however long the database is away. If the node stops before the database is back, the job is
    /// run again. Returns false if another attempt owned the job by then.
    async fn record(&self, id: JobId, attempt: u32, settlement: Settlement) -> bool {
        loop {
            match self.changes.finish(id, attempt, settlement.clone()).await {
                Ok(Finished::Recorded) => return true,
                Ok(Finished::Stale) => {
                    warn!(
                        job = %id, attempt,
                        "the result of a job came too late and is dropped: another attempt owns the job, or the job has its \
                         final state"
                    );
                    Counters::increment(&self.counters.stale);
                    return false;
                }
                Err(cause) => error!(
                    job = %id, attempt, %cause,
                    "the result of a job cannot be recorded; it is tried again every half second until the database \
                     responds"
                ),
            }
            Counters::increment(&self.counters.failures);
            tokio::time::sleep(RECORD_AGAIN_AFTER).await;
        }
    }
}

fn attempt_of(job: &RiverJob<RunScript>) -> u32 {
    u32::try_from(job.row.attempt).unwrap_or_default()
}
