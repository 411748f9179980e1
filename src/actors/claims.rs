//! Jobs that a store hands out, on their way to the Dispatcher and back.

use super::answers::Submission;
use super::dispatcher::{Cancel, Dispatcher, RunClaimed, WhereIs, Whereabouts};
use crate::store::{ClaimedJob, JobRunner, NotRun};
use actix::Addr;
use async_trait::async_trait;
use sandpiper_domain::{Execution, JobId, LogSoFar};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tracing::error;

/// Longest that the Dispatcher may take to take a message. It never blocks: beyond this it is broken.
const HANDED_OVER_WITHIN: Duration = Duration::from_secs(5);

/// Gives them to the Dispatcher.
pub struct Claims(Addr<Dispatcher>);

impl Claims {
    /// To this one.
    #[must_use]
    pub fn new(dispatcher: Addr<Dispatcher>) -> Self {
        Self(dispatcher)
    }
}

impl fmt::Debug for Claims {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Claims")
    }
}

#[async_trait]
impl JobRunner for Claims {
    async fn run(&self, job: ClaimedJob) -> Result<Arc<Execution>, NotRun> {
        let submission = Submission {
            id: job.id,
            script: job.script,
            limits: job.limits,
            client: job.client,
            trace: job.trace,
        };
        let (reply, answer) = oneshot::channel();
        let handed_over = self.0.send(RunClaimed { submission, reply });
        if handed_over.timeout(HANDED_OVER_WITHIN).await.is_err() {
            return Err(NotRun::Busy);
        }
        // Dropped unanswered, the Dispatcher has gone.
        answer.await.unwrap_or(Err(NotRun::Stopping))
    }

    async fn log_since(&self, id: JobId, number: u64) -> Option<LogSoFar> {
        let asked = self.0.send(WhereIs(id)).timeout(HANDED_OVER_WITHIN);
        match asked.await.ok().flatten()? {
            Whereabouts::Running(handle) => Some(handle.log_since(number)),
            Whereabouts::Waiting(_) => None,
        }
    }

    async fn cancel(&self, id: JobId) {
        let told = self.0.send(Cancel(id)).timeout(HANDED_OVER_WITHIN).await;
        if let Err(cause) = told {
            // It ends at its own limit.
            error!(job = %id, %cause, "a job was not stopped");
        }
    }
}
