//! The queue of submits, finishes and suspensions, which [`JobWriter`](super::job_writer::JobWriter) writes in batches.

use super::deadline::within;
use super::tool_jobs::StoredProgress;
use crate::{Accepted, Committed, Finished, NewJob, Settlement, StoreError, SuspendedRound};
use sandpiper_domain::{JobId, JobState, Outcome};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Most changes in the queue; callers with more wait for room.
const CHANGES_MAX: usize = 4096;

pub(super) type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

#[derive(Debug)]
pub(super) enum Change {
    Submit(NewJob, Reply<Accepted>),
    Finish(Finish, Reply<Finished>),
    Suspend(Suspend, Reply<Committed>),
}

/// The end of a job, as an attempt reports it.
#[derive(Debug, Clone)]
pub(super) struct Finish {
    pub(super) id: JobId,
    /// River's row of the attempt. A job with tools has another row for each round.
    pub(super) river_id: i64,
    pub(super) attempt: u32,
    /// The progress of a job with tools that the attempt began with.
    pub(super) tools: Option<Arc<StoredProgress>>,
    pub(super) settlement: Settlement,
}

impl Finish {
    /// Returns the outcome. A job that is cancelled between two rounds has run.
    pub(super) fn outcome(&self) -> Option<Outcome> {
        let has_run = self
            .tools
            .as_ref()
            .is_some_and(|tools| tools.has_suspended());
        let is_cancelled = has_run && self.settlement.state == JobState::Cancelled;
        let outcome = self.settlement.outcome();
        outcome.or(is_cancelled.then_some(Outcome::Cancelled))
    }

    /// Returns the number of attempts as clients see it. An attempt without an execution ran nothing, and does not count.
    pub(super) fn attempts(&self) -> u32 {
        let failed = self.tools.as_ref().map_or(0, |tools| tools.failed_attempts);
        let has_run = self
            .tools
            .as_ref()
            .is_some_and(|tools| tools.has_suspended());
        let ran_nothing = self.settlement.execution.is_none() && !has_run;
        (failed + self.attempt).saturating_sub(u32::from(ran_nothing))
    }
}

/// A round that suspended, as an attempt reports it.
#[derive(Debug, Clone)]
pub(super) struct Suspend {
    pub(super) id: JobId,
    pub(super) river_id: i64,
    pub(super) attempt: u32,
    /// The progress that the round began with.
    pub(super) tools: Arc<StoredProgress>,
    pub(super) round: Arc<SuspendedRound>,
}

/// The sending end of the queue.
#[derive(Debug, Clone)]
pub(super) struct ChangeQueue {
    writer: mpsc::Sender<Change>,
    timeout: Duration,
}

impl ChangeQueue {
    pub(super) fn new(timeout: Duration) -> (Self, mpsc::Receiver<Change>) {
        let (writer, receiver) = mpsc::channel(CHANGES_MAX);
        (Self { writer, timeout }, receiver)
    }

    pub(super) async fn submit(&self, job: NewJob) -> Result<Accepted, StoreError> {
        self.write(|reply| Change::Submit(job, reply)).await
    }

    /// Records the final state of a job, if the attempt still owns the job.
    pub(super) async fn finish(&self, finish: Finish) -> Result<Finished, StoreError> {
        self.write(|reply| Change::Finish(finish, reply)).await
    }

    /// Commits a round that suspended, if the attempt still owns the job.
    pub(super) async fn suspend(&self, suspend: Suspend) -> Result<Committed, StoreError> {
        self.write(|reply| Change::Suspend(suspend, reply)).await
    }

    /// Queues a change, and waits until it is written.
    async fn write<T>(&self, change: impl FnOnce(Reply<T>) -> Change) -> Result<T, StoreError> {
        let (reply, written) = oneshot::channel();
        let written = async {
            self.writer.send(change(reply)).await.ok();
            let closed = |_| Err(StoreError::Unavailable("it has been closed".to_owned()));
            written.await.unwrap_or_else(closed)
        };
        within(self.timeout, written).await
    }
}

pub(super) fn reply_all<T>(
    replies: Vec<Reply<T>>,
    results: impl IntoIterator<Item = Result<T, StoreError>>,
) {
    for (reply, result) in replies.into_iter().zip(results) {
        // The caller may be gone.
        let _ = reply.send(result);
    }
}

/// Returns the same failure for another caller.
pub(super) fn repeated(failure: &StoreError) -> StoreError {
    StoreError::Unavailable(failure.to_string())
}
