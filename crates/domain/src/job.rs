//! What a client submits, and where it is.

use super::{Execution, Outcome, Timestamp};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use utoipa::ToSchema;
use uuid::Uuid;

/// The name of a job: a uuid v7, so ids sort by the time they were made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobId(Uuid);

impl JobId {
    /// A new id, later than every id made before it by this process.
    #[must_use]
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

/// Where a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Accepted, waiting for an executor.
    Queued,
    /// An executor has it.
    Running,
    /// It ended; its execution says how.
    Finished,
    /// It was stopped, before or while it ran.
    Cancelled,
    /// The service could not run it, as often as it tried.
    Lost,
}

impl JobState {
    /// Every state, in the order of a job's life.
    pub const ALL: [Self; 5] = [
        Self::Queued,
        Self::Running,
        Self::Finished,
        Self::Cancelled,
        Self::Lost,
    ];

    /// Nothing follows a final state.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Finished | Self::Cancelled | Self::Lost)
    }

    /// The name in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Finished => "finished",
            Self::Cancelled => "cancelled",
            Self::Lost => "lost",
        }
    }
}

/// The text names no [`JobState`].
#[derive(Debug, thiserror::Error)]
#[error("a job's state is one of queued, running, finished, cancelled, lost")]
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

/// Which waiting line a job stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lane {
    /// Somebody is waiting for the answer (`POST /api/execute`).
    Interactive,
    /// The answer will be fetched later (`POST /api/jobs`).
    Background,
}

impl Lane {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Interactive, Self::Background];

    /// Its name for people.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Interactive => "interactive",
            Self::Background => "background",
        }
    }
}

/// Whose job it is: fairness in the queue is between these.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ClientKey(Arc<str>);

impl ClientKey {
    /// A key from any text that tells clients apart.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// That text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A job as it stands.
#[derive(Debug, Clone)]
pub struct Job {
    /// Its name.
    pub id: JobId,
    /// Where it is.
    pub state: JobState,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// Not before this moment, where the client said so.
    pub run_at: Option<Timestamp>,
    /// When an executor took it, the last time.
    pub started_at: Option<Timestamp>,
    /// When it reached its final state.
    pub finished_at: Option<Timestamp>,
    /// When its record goes away; set with the final state.
    pub expires_at: Option<Timestamp>,
    /// How many executions were started for it.
    pub attempt: u32,
    /// How the execution that settled it ended.
    pub outcome: Option<Outcome>,
    /// That execution; left out of lists by stores that would have to read it.
    pub execution: Option<Arc<Execution>>,
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
