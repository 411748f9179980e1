//! Recording the results of attempts: final states, and rounds that suspended.

use super::args::RunScript;
use super::change_queue::{Finish, Suspend};
use super::counters::Counters;
use super::tool_jobs::StoredProgress;
use super::work::{AttemptRunner, attempt_of};
use crate::{Committed, Finished, Settlement, StoreError, SuspendedRound};
use riverqueue::Job as RiverJob;
use sandpiper_domain::{Job, JobId};
use std::sync::Arc;
use std::time::Duration;
use tracing::{error, warn};

/// Time between two attempts to record a result. They go on until the database is back: the script has run.
const RECORD_AGAIN_AFTER: Duration = Duration::from_millis(500);

impl AttemptRunner {
    /// Records the final state of a job. Returns false if another attempt owned the job by then.
    pub(super) async fn end(
        &self,
        job: &RiverJob<RunScript>,
        claimed: &Job,
        tools: Option<Arc<StoredProgress>>,
        settlement: Settlement,
    ) -> bool {
        let execution = settlement.execution.as_ref();
        let bytes = execution.map_or(0, |execution| execution.size_bytes());
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let has_suspended = tools.as_ref().is_some_and(|tools| tools.has_suspended());
        let finish = Finish {
            id: claimed.id,
            river_id: job.id(),
            attempt: attempt_of(job),
            tools,
            settlement,
        };
        let is_recorded = self.record(finish).await;
        if has_suspended {
            self.quotas.end_waiting_job(&claimed.client, bytes);
        } else {
            self.quotas.end_job(&claimed.client, bytes);
        }
        is_recorded
    }

    /// Records a final state, however long the database is away. If the node stops before the database is back, the job is
    /// run again. Returns false if another attempt owned the job by then.
    async fn record(&self, finish: Finish) -> bool {
        let (id, attempt) = (finish.id, finish.attempt);
        let recorded = self.recorded(id, attempt, || self.changes.finish(finish.clone()));
        match recorded.await {
            Finished::Recorded => true,
            Finished::Stale => {
                self.count_stale(id, attempt);
                false
            }
        }
    }

    /// Commits a round that suspended, however long the database is away. If the node stops before the database is back, the
    /// round is run again. Returns false if another attempt owned the job by then.
    pub(super) async fn commit(
        &self,
        job: &RiverJob<RunScript>,
        claimed: &Job,
        tools: &Arc<StoredProgress>,
        round: Arc<SuspendedRound>,
    ) -> bool {
        let suspend = Suspend {
            id: claimed.id,
            river_id: job.id(),
            attempt: attempt_of(job),
            tools: Arc::clone(tools),
            round,
        };
        let (id, attempt) = (suspend.id, suspend.attempt);
        let committed = self.recorded(id, attempt, || self.changes.suspend(suspend.clone()));
        match committed.await {
            Committed::Stale => {
                self.count_stale(id, attempt);
                return false;
            }
            Committed::Cancelled if tools.has_suspended() => {
                self.quotas.end_waiting_job(&claimed.client, 0);
            }
            Committed::Cancelled => self.quotas.end_job(&claimed.client, 0),
            Committed::Due | Committed::Waits if tools.has_suspended() => {}
            Committed::Due | Committed::Waits => {
                self.quotas.note_first_suspension(&claimed.client);
            }
        }
        true
    }

    /// Repeats a change until the database has it.
    async fn recorded<T, Change: Future<Output = Result<T, StoreError>>>(
        &self,
        id: JobId,
        attempt: u32,
        change: impl Fn() -> Change,
    ) -> T {
        loop {
            match change().await {
                Ok(recorded) => return recorded,
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

    fn count_stale(&self, id: JobId, attempt: u32) {
        warn!(
            job = %id, attempt,
            "the result of a job came too late and is dropped: another attempt owns the job, or the job has its final state"
        );
        Counters::increment(&self.counters.stale);
    }
}
