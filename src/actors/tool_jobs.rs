//! Jobs with tools: the answers to their calls, and the state that their rounds have left in the store.

use super::handle::{DispatcherHandle, unavailable};
use super::types::{DispatchError, Lookup};
use crate::tool_runs::JobRun;
use sandpiper_domain::{Access, JobId, JobRecord, Timestamp};
use sandpiper_store::{Answered, FoundHead, NewAnswer};
use std::sync::Arc;
use tracing::error;

impl DispatcherHandle {
    /// Returns the head of the state of a job with tools, with its limits.
    pub async fn tool_head(&self, id: JobId, access: &Access) -> Result<FoundHead, DispatchError> {
        let found = self.0.store.tool_head(id, access).await;
        match found.map_err(unavailable)? {
            // Perhaps the result of an execution that was no job.
            FoundHead::Unknown => match self.get(id, access).await? {
                Lookup::Found(_) => Ok(FoundHead::NoTools),
                Lookup::Expired => Ok(FoundHead::Expired),
                Lookup::Unknown => Ok(FoundHead::Unknown),
            },
            found => Ok(found),
        }
    }

    /// Takes answers to calls of a job, all of them or none. The job goes on at once.
    pub async fn answer(
        &self,
        id: JobId,
        access: &Access,
        answers: Vec<NewAnswer>,
        inbox_bytes_max: u64,
    ) -> Result<Answered, DispatchError> {
        let now = Timestamp::now();
        let store = &self.0.store;
        let answered = store
            .answer(id, access, answers, inbox_bytes_max, now)
            .await;
        answered.map_err(unavailable)
    }

    /// Returns what the rounds of a job with tools have left; `None` for any other job, and for one that was deleted
    /// meanwhile.
    pub(super) async fn tool_run_of(
        &self,
        job: &JobRecord,
    ) -> Result<Option<Arc<JobRun>>, DispatchError> {
        if job.rounds.is_none() {
            return Ok(None);
        }
        let progress = self.0.store.progress(job.id).await.map_err(unavailable)?;
        let Some(progress) = progress else {
            return Ok(None);
        };
        let mut run = JobRun::read(&progress).map_err(|cause| {
            error!(
                %cause, job = %job.id,
                "a job with tools cannot be shown: check whether a newer version of the service has run it"
            );
            DispatchError::Internal
        })?;
        if job.state.is_final() {
            // Answers that came during the last round: the calls were made.
            run.run.keep_late_answers();
        }
        Ok(Some(Arc::new(run)))
    }
}
