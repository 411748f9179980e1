//! The way into the actors for everything above them.

use super::answers::{
    Cancelled, ExecuteAnswer, JobPage, ListQuery, Lookup, Refusal, SandboxReach, ServiceStatus,
    Submission,
};
use crate::domain::{Job, JobId};
use std::time::Duration;

/// Cheap to clone; every clone talks to the same Dispatcher. Every wait in here has a deadline.
#[derive(Debug, Clone)]
pub struct DispatcherHandle {}

impl DispatcherHandle {
    /// Runs `submission` and waits for its execution. Dropping the future cancels the job: queued, it is removed;
    /// running, it is killed.
    pub async fn execute(&self, submission: Submission) -> ExecuteAnswer {
        unimplemented!("{submission:?}")
    }
    /// Accepts `submission` to be run later.
    pub async fn submit(&self, submission: Submission) -> Result<Job, Refusal> {
        unimplemented!("{submission:?}")
    }
    /// The job as it stands.
    pub async fn get(&self, id: JobId) -> Result<Lookup, Refusal> {
        unimplemented!("{id:?}")
    }
    /// The job as it stands once it is final, or once `wait` is over.
    pub async fn wait(&self, id: JobId, wait: Duration) -> Result<Lookup, Refusal> {
        unimplemented!("{id:?}{wait:?}")
    }
    /// Jobs, newest first.
    pub async fn list(&self, query: ListQuery) -> Result<JobPage, Refusal> {
        unimplemented!("{query:?}")
    }
    /// Stops a job.
    pub async fn cancel(&self, id: JobId) -> Result<Cancelled, Refusal> {
        unimplemented!("{id:?}")
    }
    /// Tries to open a TCP connection to `host:port` from inside a job process.
    pub async fn net_check(
        &self,
        host: std::net::IpAddr,
        port: u16,
    ) -> Result<SandboxReach, Refusal> {
        unimplemented!("{host}{port}")
    }
    /// How the service is. Does not wait.
    #[must_use]
    pub fn status(&self) -> ServiceStatus {
        unimplemented!()
    }
}
