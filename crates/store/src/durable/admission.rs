//! Admission control: submits within the bounds of their client and of the store, and repeated submits.

use super::change_queue::{Reply, repeated, reply_all};
use super::clients::QueuePosition;
use super::counters::Counters;
use super::database::Database;
use super::deadline::late;
use super::keys::Keys;
use super::quotas::{Candidate, Quotas};
use super::record::request_to_text;
use super::seal::{Column, Seal};
use super::tool_jobs;
use crate::{Accepted, NewJob, StoreError};
use std::sync::Arc;
use tokio::time::{Instant, timeout_at};

#[derive(Debug)]
pub(super) struct AdmissionControl {
    pub(super) database: Database,
    pub(super) quotas: Arc<Quotas>,
    pub(super) keys: Keys,
    pub(super) counters: Arc<Counters>,
}

/// A submit, and its request as it is stored.
#[derive(Debug)]
pub(super) struct Submit {
    pub(super) new: NewJob,
    pub(super) request: String,
    /// The head of the progress of a job with tools, as it is stored.
    pub(super) head: Option<String>,
}

#[derive(Debug)]
pub(super) struct Admitted {
    pub(super) submit: Submit,
    pub(super) position: QueuePosition,
}

impl Submit {
    fn new(new: NewJob, seal: &Seal) -> Result<Self, StoreError> {
        let row = new.job.id.to_string();
        let request = request_to_text(&new.job)?;
        let request = seal.seal(Column::Request, &row, request);
        let head = match &new.tool_head {
            Some(head) => Some(tool_jobs::seal(seal, Column::Head, &row, head)?),
            None => None,
        };
        Ok(Self { new, request, head })
    }

    fn candidate(&self) -> Candidate<'_> {
        let bytes = self.request.len() + self.head.as_ref().map_or(0, String::len);
        Candidate {
            client: &self.new.job.client,
            created_at: self.new.created_at,
            bytes: u64::try_from(bytes).unwrap_or(u64::MAX),
            has_tools: self.head.is_some(),
        }
    }
}

impl AdmissionControl {
    /// Returns the submits that are within the bounds, with their callers. The others are rejected here; a submit that
    /// repeats an accepted one gets the job of that one.
    pub(super) async fn admit(
        &self,
        jobs: Vec<(NewJob, Reply<Accepted>)>,
    ) -> (Vec<Admitted>, Vec<Reply<Accepted>>) {
        let deadline = Instant::now() + self.database.timeout();
        let mut submits = Vec::with_capacity(jobs.len());
        let mut replies = Vec::with_capacity(jobs.len());
        for (job, reply) in jobs {
            if job.terms.replay_only {
                let _ = reply.send(self.replay(&job, StoreError::NoReplay, deadline).await);
                continue;
            }
            match Submit::new(job, &self.database.seal) {
                Ok(submit) => {
                    submits.push(submit);
                    replies.push(reply);
                }
                Err(cause) => drop(reply.send(Err(cause))),
            }
        }
        let candidates: Vec<Candidate<'_>> = submits.iter().map(Submit::candidate).collect();
        let positions = self.quotas.add_jobs(&candidates);
        let positions = match self.database.in_time(positions).await {
            Ok(positions) => positions,
            Err(cause) => {
                reply_all(replies, std::iter::repeat_with(|| Err(repeated(&cause))));
                return Default::default();
            }
        };
        let mut admitted = Vec::with_capacity(submits.len());
        let mut waiting = Vec::with_capacity(submits.len());
        for ((submit, reply), position) in submits.into_iter().zip(replies).zip(positions) {
            match position {
                Ok(position) => {
                    admitted.push(Admitted { submit, position });
                    waiting.push(reply);
                }
                Err(rejection) => {
                    let replayed = self.replay(&submit.new, rejection, deadline).await;
                    let _ = reply.send(replayed);
                }
            }
        }
        (admitted, waiting)
    }

    /// Returns the job of an earlier request with the same key, or else the rejection. All rejected submits of a batch have
    /// one deadline: together they wait no longer than one would.
    async fn replay(
        &self,
        new: &NewJob,
        rejection: StoreError,
        deadline: Instant,
    ) -> Result<Accepted, StoreError> {
        let earlier = timeout_at(deadline, self.keys.find(new)).await;
        let earlier = earlier.unwrap_or_else(|_| Some(Err(late())));
        earlier.unwrap_or_else(|| Err(self.counted(rejection)))
    }

    fn counted(&self, rejection: StoreError) -> StoreError {
        let counter = match &rejection {
            StoreError::Full { .. } => &self.counters.refused_full,
            StoreError::ClientFull { .. } => &self.counters.refused_client_jobs,
            StoreError::ClientBytesFull { .. } => &self.counters.refused_client_bytes,
            StoreError::WaitingFull { .. } | StoreError::WaitingBytesFull { .. } => {
                &self.counters.refused_waiting
            }
            _ => return rejection,
        };
        Counters::increment(counter);
        rejection
    }
}
