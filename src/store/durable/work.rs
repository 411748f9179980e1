//! Jobs that River hands to this node: run, and recorded.

use super::args::RunScript;
use super::bytes::Room;
use super::claims::{ADOPTED_CLIENT, Claimed};
use super::deadline::late;
use super::logs::{BRING_EVERY, Brought};
use super::nodes::OutOfTurn;
use super::record::Request;
use super::{Owner, Shared, lock};
use crate::store::{ClaimedJob, Finished, JobRunner, NotRun, Settlement, StoreError};
use dashmap::DashMap;
use riverqueue::{BoxError, Job, WorkContext, WorkError, WorkOutcome, Worker, jiff::Timestamp};
use sandpiper_domain::{ClientKey, Execution, JobId, JobState, Outcome, ScriptError};
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tracing::field::display;
use tracing::{error, warn};

/// River's queue of scripts.
pub(super) const QUEUE: &str = "sandpiper";
/// When a job is tried again that the service failed to run.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// When a job is looked at again for which there was no place.
const NO_PLACE_FOR: Duration = Duration::from_millis(200);
/// Between two looks at a job that others have.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// Between two tries to record what became of a job. It goes on until the database is back: the script has run.
const RECORD_AGAIN_AFTER: Duration = Duration::from_millis(500);

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
        let attempt = u32::try_from(job.row.attempt).unwrap_or_default();
        let mut working = Working::at(&shared.working, job.id(), attempt);
        let worked = shared.work(&*runner, &context, &job).await;
        working.is_recorded = worked.is_recorded;
        // River writes down what it is told here whoever has the job by now.
        if !worked.is_recorded {
            shared.leave_to_others(job.id(), attempt).await;
        }
        worked.outcome
    }
}

/// What River is to be told of a job.
struct Worked {
    outcome: Result<WorkOutcome, BoxError>,
    /// Its end is recorded, in River's row too.
    is_recorded: bool,
}

impl Worked {
    fn unrecorded(outcome: Result<WorkOutcome, BoxError>) -> Self {
        Self {
            outcome,
            is_recorded: false,
        }
    }
}

impl Shared {
    async fn work(
        &self,
        runner: &dyn JobRunner,
        context: &WorkContext,
        job: &Job<RunScript>,
    ) -> Worked {
        let (id, client, request) = match self.request_of(job).await {
            Ok(Some(found)) => found,
            // Settled already, or swept away.
            Ok(None) => return Worked::unrecorded(Ok(WorkOutcome::Complete)),
            Err(NoRequest::Unfit(cause)) => {
                warn!(river_id = job.id(), %cause, "a job cannot be run as it is written");
                return Worked::unrecorded(Err(cause.into()));
            }
            Err(NoRequest::JustMade) => return self.give_back(job, TRY_AGAIN_AFTER),
            // That the database is away uses up no attempt.
            Err(NoRequest::Store(cause)) => {
                error!(river_id = job.id(), %cause, "what is to be run cannot be read; it is looked at again");
                return self.give_back(job, TRY_AGAIN_AFTER);
            }
        };
        let client = ClientKey::new(&client);
        let room = self.room_for(&client, request.limits.output_bytes());
        let _reserved = match self.in_time(room).await {
            Ok(Room::Reserved(reservation)) => reservation,
            Ok(Room::Soon) => return self.give_back(job, NO_PLACE_FOR),
            Ok(Room::Later) => return self.put_off(&client),
            Err(cause) => {
                error!(river_id = job.id(), %cause, "how much is stored cannot be read; the job is looked at again");
                return self.give_back(job, TRY_AGAIN_AFTER);
            }
        };
        let attempt = u32::try_from(job.row.attempt).unwrap_or_default();
        let limits = request.limits;
        let trace = request.trace.clone();
        let claimed = ClaimedJob {
            id,
            script: Arc::new(request.script),
            limits,
            client: client.clone(),
            trace: request.trace,
        };
        let mut brought = Brought::nothing_of(id, attempt, limits.output_bytes());
        let ran = self.run(runner, claimed, context, &mut brought).await;
        match &ran {
            Ok(execution) => self
                .pace
                .ran(Duration::from_micros(execution.usage.wall_micros)),
            Err(NotRun::Busy) => self.pace.waited_in_vain(),
            Err(NotRun::Failed | NotRun::Stopping | NotRun::Cancelled) => {}
        }
        self.keep_pace();
        let is_stopping = self.stopping.load(Ordering::SeqCst);
        let settlement = match ran {
            // Stopped because this node stops: it is another's now.
            Ok(execution) if execution.outcome == Outcome::Cancelled && is_stopping => {
                return self.give_back(job, Duration::ZERO);
            }
            Ok(execution) => Settlement {
                state: match execution.outcome {
                    Outcome::Cancelled => JobState::Cancelled,
                    _ => JobState::Finished,
                },
                execution: Some(execution),
            },
            // So is what it had at hand; what somebody else cancelled River knows of.
            Err(NotRun::Cancelled) if is_stopping => return self.give_back(job, Duration::ZERO),
            Err(NotRun::Stopping) => return self.give_back(job, Duration::ZERO),
            Err(NotRun::Busy) => return self.give_back(job, NO_PLACE_FOR),
            Err(NotRun::Cancelled) => Settlement {
                state: JobState::Cancelled,
                execution: None,
            },
            Err(NotRun::Failed) if attempt < self.options.attempts_max => {
                return Worked::unrecorded(Err(NotRun::Failed.into()));
            }
            Err(NotRun::Failed) => {
                let trace_id = trace.as_ref().map(|trace| display(trace.trace_text()));
                warn!(job = %id, trace_id, attempt, "a job is lost");
                self.counters.lost.fetch_add(1, Ordering::Relaxed);
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
        let bytes = settlement
            .execution
            .as_ref()
            .map_or(0, |it| it.size_bytes());
        let is_recorded = self.record(id, attempt, settlement).await;
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.clients.ended(&client, bytes);
        self.total.ended(bytes);
        self.forget_log(&brought).await;
        Worked {
            outcome: Ok(WorkOutcome::Complete),
            is_recorded,
        }
    }

    /// Returns once River may be told what became of this attempt: at once if it is still the one that runs; and if others
    /// have the job by now, once they are done with it, so that it is not taken from them.
    async fn leave_to_others(&self, river_id: i64, attempt: u32) {
        let mut is_others = false;
        loop {
            let may_be_told = if is_others {
                self.in_time(self.is_over(river_id)).await
            } else {
                match self.in_time(self.is_running(river_id, attempt)).await {
                    Ok(false) => {
                        is_others = true;
                        // Whoever waits here keeps no place from those that can be run.
                        self.left_to_others.fetch_add(1, Ordering::Relaxed);
                        self.configure(self.pace.per_executor());
                        continue;
                    }
                    answer => answer,
                }
            };
            match may_be_told {
                Ok(true) => break,
                Ok(false) => {}
                Err(cause) => {
                    error!(river_id, %cause, "it is not known who has a job; it is asked again")
                }
            }
            tokio::time::sleep(ASK_AGAIN_AFTER).await;
        }
        if is_others {
            self.left_to_others.fetch_sub(1, Ordering::Relaxed);
            self.configure(self.pace.per_executor());
        }
    }

    /// For another node, or another time. It uses up no attempt, and will stand where it stood.
    fn give_back(&self, job: &Job<RunScript>, pause: Duration) -> Worked {
        self.counters.given_back.fetch_add(1, Ordering::Relaxed);
        lock(&self.out_of_turn).push(OutOfTurn {
            river_id: job.id(),
            since: job.row.scheduled_at.as_millisecond(),
            given_back: Instant::now(),
        });
        Worked::unrecorded(Ok(WorkOutcome::Snooze(pause)))
    }

    /// For a time when there is room for what it brings back. It uses up no attempt, and stands in line from then on, so
    /// that those of a client without room do not keep back those of others.
    fn put_off(&self, client: &ClientKey) -> Worked {
        self.counters.put_off.fetch_add(1, Ordering::Relaxed);
        Worked::unrecorded(Ok(WorkOutcome::Snooze(self.no_room_for(client))))
    }

    /// Runs it, brings its log meanwhile, and stops it when River says so.
    async fn run(
        &self,
        runner: &dyn JobRunner,
        claimed: ClaimedJob,
        context: &WorkContext,
        brought: &mut Brought,
    ) -> Result<Arc<Execution>, NotRun> {
        let id = claimed.id;
        if context.cancellation_token().is_cancelled() {
            return Err(NotRun::Cancelled);
        }
        let mut running = runner.run(claimed);
        loop {
            tokio::select! {
                // In this order: what was not yet begun cannot be stopped.
                biased;
                ran = &mut running => return ran,
                () = context.cancellation_token().cancelled() => {
                    runner.cancel(id).await;
                    return running.await;
                }
                () = tokio::time::sleep(BRING_EVERY), if self.may_have_others() => {
                    let Some(log) = runner.log_since(id, brought.next()).await else { continue };
                    if let Err(cause) = self.in_time(self.bring_log(brought, &log)).await {
                        warn!(job = %id, %cause, "other nodes do not see what this job has logged of late");
                    }
                }
            }
        }
    }

    /// What is to be run, unless the database does not say so in time.
    async fn request_of(
        &self,
        job: &Job<RunScript>,
    ) -> Result<Option<(JobId, String, Request)>, NoRequest> {
        tokio::time::timeout(self.options.timeout, self.what_to_run(job))
            .await
            .unwrap_or_else(|_| Err(NoRequest::Store(late())))
    }

    async fn what_to_run(
        &self,
        job: &Job<RunScript>,
    ) -> Result<Option<(JobId, String, Request)>, NoRequest> {
        // What another client brought without an id has one since it was first taken.
        let id = match job.args.id {
            Some(id) => id,
            None => self
                .id_of_river(job.id())
                .await?
                .unwrap_or_else(JobId::generate),
        };
        match self.claimed(id, job.id()).await? {
            Claimed::Open(client, request) => return Ok(Some((id, client, request))),
            Claimed::Settled => return Ok(None),
            Claimed::Taken => {
                return Err(NoRequest::Unfit(format!("`id` {id} is another job's")));
            }
            Claimed::Unknown => {}
        }
        let (defaults, ceiling) = (&self.options.defaults, &self.options.ceiling);
        let request = job.args.request(defaults, ceiling);
        let request = request.map_err(NoRequest::Unfit)?;
        if self.adopt(id, job.id(), &request).await? {
            return Ok(Some((id, ADOPTED_CLIENT.to_owned(), request)));
        }
        Err(NoRequest::JustMade)
    }

    /// Records it however long the database is away; unless the node stops meanwhile, after which it is run again. False
    /// where it came too late.
    async fn record(&self, id: JobId, attempt: u32, settlement: Settlement) -> bool {
        loop {
            match self.finish(id, attempt, settlement.clone()).await {
                Ok(Finished::Recorded) => return true,
                Ok(Finished::Stale) => {
                    warn!(job = %id, attempt, "a finish came too late and was refused");
                    self.counters.stale.fetch_add(1, Ordering::Relaxed);
                    return false;
                }
                Err(StoreError::Unavailable(cause)) => {
                    error!(job = %id, %cause, "what became of a job cannot be recorded; it is tried again");
                }
                Err(cause) => error!(job = %id, %cause, "what became of a job cannot be recorded"),
            }
            self.counters.failures.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(RECORD_AGAIN_AFTER).await;
        }
    }
}

/// Says that this node has an attempt, until River knows what became of it.
struct Working<'a> {
    all: &'a DashMap<(i64, u32), Option<Instant>>,
    attempt: (i64, u32),
    /// River knows already; else it is being told when this is dropped.
    is_recorded: bool,
}

impl<'a> Working<'a> {
    fn at(all: &'a DashMap<(i64, u32), Option<Instant>>, river_id: i64, attempt: u32) -> Self {
        all.insert((river_id, attempt), None);
        Self {
            all,
            attempt: (river_id, attempt),
            is_recorded: false,
        }
    }
}

impl Drop for Working<'_> {
    fn drop(&mut self) {
        if self.is_recorded {
            self.all.remove(&self.attempt);
        } else {
            self.all.insert(self.attempt, Some(Instant::now()));
        }
    }
}

/// Why it is not known what is to be run.
enum NoRequest {
    /// It breaks a rule, or cannot be read.
    Unfit(String),
    /// Another attempt, or another job of its id, has made its row in this moment: it is looked at again.
    JustMade,
    Store(StoreError),
}

impl From<StoreError> for NoRequest {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unreadable(cause) => Self::Unfit(cause),
            error => Self::Store(error),
        }
    }
}
