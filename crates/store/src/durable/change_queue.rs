//! The queue of submits and finishes, which [`JobWriter`](super::job_writer::JobWriter) writes in batches.

use super::deadline::within;
use crate::{Accepted, Finished, NewJob, Settlement, StoreError};
use sandpiper_domain::JobId;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Most changes in the queue; callers with more wait for room.
const CHANGES_MAX: usize = 4096;

pub(super) type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

#[derive(Debug)]
pub(super) enum Change {
    Submit(NewJob, Reply<Accepted>),
    Finish(Finish, Reply<Finished>),
}

#[derive(Debug, Clone)]
pub(super) struct Finish {
    pub(super) id: JobId,
    pub(super) attempt: u32,
    pub(super) settlement: Settlement,
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

    /// Records the final state of a job, if `attempt` still owns the job.
    pub(super) async fn finish(
        &self,
        id: JobId,
        attempt: u32,
        settlement: Settlement,
    ) -> Result<Finished, StoreError> {
        let finish = Finish {
            id,
            attempt,
            settlement,
        };
        self.write(|reply| Change::Finish(finish, reply)).await
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
