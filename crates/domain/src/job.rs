//! A job: what a client submits, and its record.

use super::{Execution, Limits, Outcome, Owner, Script, Tenant, Timestamp, TraceContext};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use utoipa::ToSchema;
use uuid::Uuid;

/// The id of a job: a UUID v7, so ids sort by their creation time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobId(Uuid);

impl JobId {
    /// Returns a new id, later than every id that this process generated before.
    pub fn generate() -> Self {
        Self(Uuid::now_v7())
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl FromStr for JobId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// The phase that a job is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Accepted and waiting for an executor.
    Queued,
    /// Running on an executor.
    Running,
    /// Suspended: waits for answers to calls of its tools, or for a timer. No executor holds it.
    Waiting,
    /// Ended; its execution has the outcome.
    Finished,
    /// Cancelled, before or while it ran.
    Cancelled,
    /// The service failed to run it, in every attempt.
    Lost,
}

impl JobState {
    /// Every state, in the order of a job's life.
    pub const ALL: [Self; 6] = [
        Self::Queued,
        Self::Running,
        Self::Waiting,
        Self::Finished,
        Self::Cancelled,
        Self::Lost,
    ];

    /// Returns whether the state is final: no other state follows.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Finished | Self::Cancelled | Self::Lost)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Finished => "finished",
            Self::Cancelled => "cancelled",
            Self::Lost => "lost",
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("a job's state is one of queued, running, waiting, finished, cancelled, lost")]
pub struct UnknownJobState;

impl FromStr for JobState {
    type Err = UnknownJobState;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or(UnknownJobState)
    }
}

/// The class of work in the queue: whether a client waits for the response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lane {
    /// A client is waiting for the response (`POST /api/execute`).
    Interactive,
    /// A client fetches the result later (`POST /api/jobs`).
    Background,
}

impl Lane {
    pub const ALL: [Self; 2] = [Self::Interactive, Self::Background];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Interactive => "interactive",
            Self::Background => "background",
        }
    }
}

/// The client of a job. The queue is fair between clients.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ClientKey(Arc<str>);

impl ClientKey {
    /// Creates a key from any text that tells clients apart.
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns true if all requests of a tenant count for this client.
    pub fn is_tenant(&self) -> bool {
        Tenant::CLIENT_PREFIXES
            .iter()
            .any(|prefix| self.0.starts_with(prefix))
    }
}

/// A job as its client submitted it. It is made once, from the request, and shared up to the sandbox that runs it.
#[derive(Debug)]
pub struct Job {
    /// The id of the job, chosen when the request was read.
    pub id: JobId,
    pub script: Script,
    pub limits: Limits,
    pub owner: Owner,
    pub client: ClientKey,
    /// The span of the request; `None` for jobs that came without one.
    pub trace: Option<TraceContext>,
}

#[derive(Debug, Clone)]
pub struct JobRecord {
    pub id: JobId,
    pub owner: Owner,
    pub state: JobState,
    /// The time at which the job was accepted.
    pub created_at: Timestamp,
    /// The earliest time to run, if the client gave one.
    pub run_at: Option<Timestamp>,
    /// The time at which an executor last took the job.
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
    /// The time at which the record is deleted; set with the final state.
    pub expires_at: Option<Timestamp>,
    /// The number of executions that were started for the job.
    pub attempt: u32,
    pub outcome: Option<Outcome>,
    /// The final execution. A store may leave it out of lists if it would have to read it.
    pub execution: Option<Arc<Execution>>,
    /// The number of rounds that were committed; `None` for a job without tools.
    pub rounds: Option<u32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn job_ids_sort_by_the_time_they_were_made() {
        let ids: Vec<_> = (0..1000).map(|_| JobId::generate()).collect();
        assert!(ids.is_sorted());
    }

    #[test]
    fn every_state_is_read_back_by_its_name() {
        for state in JobState::ALL {
            assert_eq!(state.as_str().parse::<JobState>().unwrap(), state);
        }
    }
}
