//! The [`JobRunner`] of the service: jobs that a store hands out go to the Dispatcher, and their results come back.

use super::dispatcher::{Cancel, Dispatcher, JobLocation, Locate, Run};
use super::handle::RESPONSE_WITHIN;
use actix::Addr;
use async_trait::async_trait;
use sandpiper_domain::{Execution, Job, JobId, LogSoFar};
use sandpiper_store::{JobRunner, NotRun, QueuePlace, Ran, StartHook, ToolProgress};
use std::fmt;
use std::sync::Arc;
use tokio::sync::oneshot;
use tracing::error;

pub struct DispatcherJobRunner(Addr<Dispatcher>);

impl DispatcherJobRunner {
    #[must_use]
    pub fn new(dispatcher: Addr<Dispatcher>) -> Self {
        Self(dispatcher)
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
        _progress: Option<Arc<ToolProgress>>,
        place: QueuePlace,
        on_start: StartHook,
    ) -> Result<Ran, NotRun> {
        let (reply, result) = oneshot::channel();
        let message = Run::claimed(job, place, on_start, reply);
        let sent = self.0.send(message);
        if sent.timeout(RESPONSE_WITHIN).await.is_err() {
            return Err(NotRun::Busy);
        }
        // A sender that is dropped without a result means that the Dispatcher has gone.
        let ran: Result<Arc<Execution>, NotRun> = result.await.unwrap_or(Err(NotRun::Stopping));
        ran.map(|execution| Ran::Ended(execution, None))
    }

    async fn log_since(&self, id: JobId, number: u64) -> Option<LogSoFar> {
        let located = self.0.send(Locate(id)).timeout(RESPONSE_WITHIN);
        match located.await.ok().flatten()? {
            JobLocation::Running(handle) => Some(handle.log_since(number)),
            JobLocation::Waiting(_) => None,
        }
    }

    async fn cancel(&self, id: JobId) {
        let sent = self.0.send(Cancel(id)).timeout(RESPONSE_WITHIN).await;
        if let Err(cause) = sent {
            error!(
                job = %id,
                %cause,
                "a cancelled job could not be stopped: the Dispatcher does not respond; the job runs until its own \
                 time limit"
            );
        }
    }
}
