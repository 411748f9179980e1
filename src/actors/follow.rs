//! Following a job: its changes of state and its log entries, as they come.

use super::dispatcher::JobLocation;
use super::handle::{DispatcherHandle, unavailable};
use super::types::{Cursor, DispatchError, JobSnapshot, JobUpdate, Lookup};
use sandpiper_domain::{Access, JobId, JobState, LogSoFar};
use sandpiper_store::Found;
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

/// Time between two looks at a job that waits, or that runs in another process.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Least time between two looks at a log that grows.
const LOG_EVERY: Duration = Duration::from_millis(20);

/// Time between two looks at a job that waits for answers.
const WAITING_LOOK_EVERY: Duration = Duration::from_millis(500);

/// Longest wait for the store when it is asked for the owner of a job.
const OWNER_WITHIN: Duration = Duration::from_millis(500);

impl DispatcherHandle {
    /// Returns false if `access` does not include a job of the store, or does not any more: the job may have moved to
    /// another tenant. A store that does not respond in time changes nothing.
    pub async fn may_follow(&self, id: JobId, access: &Access) -> bool {
        let get = timeout(OWNER_WITHIN, self.get(id, access)).await;
        !matches!(get, Ok(Ok(Lookup::Unknown)))
    }

    /// Returns the first change of a job beyond `cursor`. Waits for one for at most `patience`.
    pub async fn follow(
        &self,
        id: JobId,
        access: &Access,
        cursor: Cursor,
        patience: Duration,
    ) -> Result<JobUpdate, DispatchError> {
        let deadline = Instant::now() + patience;
        loop {
            if self.is_drained() {
                return Err(DispatchError::Draining);
            }
            let begun = Instant::now();
            if self.still_waits(id, access, cursor).await? {
                if begun >= deadline {
                    return Ok(JobUpdate::Unchanged);
                }
                sleep_until(deadline.min(begun + WAITING_LOOK_EVERY)).await;
                continue;
            }
            let running_here = match self.locate(id).await? {
                Some(JobLocation::Running { handle, .. }) => Some(handle),
                _ => None,
            };
            // A round of a job with tools may be repeated, so its log is told once the round is committed.
            if let Some(handle) = &running_here
                && cursor.rounds.is_none()
                && cursor
                    .state
                    .is_some_and(|(state, _)| state == JobState::Running)
            {
                // Registered before the log is read, so that an entry in between is not missed.
                let logged = handle.logged();
                tokio::pin!(logged);
                logged.as_mut().enable();
                let log = handle.log_since(cursor.next);
                if !log.entries.is_empty() {
                    return Ok(JobUpdate::Logged(log));
                }
                let until = deadline.min(begun + LOOK_EVERY);
                if timeout_at(until, logged).await.is_ok() && until < deadline {
                    sleep_until(begun + LOG_EVERY).await;
                    continue;
                }
            }
            let now = match self.get(id, access).await? {
                Lookup::Found(now) => now,
                Lookup::Expired => return Ok(JobUpdate::Expired),
                Lookup::Unknown => return Ok(JobUpdate::Unknown),
            };
            if cursor.state != Some((now.job.state, now.job.attempt)) {
                return Ok(JobUpdate::Changed(beyond(now, cursor)));
            }
            if now.tools.is_some() {
                if now.job.rounds != cursor.rounds {
                    return Ok(JobUpdate::Committed(now));
                }
                if begun >= deadline {
                    return Ok(JobUpdate::Unchanged);
                }
                self.wait_for_round(id, access, begun + LOOK_EVERY).await?;
                continue;
            }
            let log = beyond(now, cursor).log;
            if let Some(log) = log.filter(|log| !log.entries.is_empty()) {
                return Ok(JobUpdate::Logged(log));
            }
            if Instant::now() >= deadline {
                return Ok(JobUpdate::Unchanged);
            }
            // The wait ends when the job ends. The start of the job is found by the next look.
            let until = deadline.min(begun + LOOK_EVERY);
            let patience = until.saturating_duration_since(Instant::now());
            self.wait(id, access, patience).await?;
        }
    }
}

impl DispatcherHandle {
    /// Returns true if a job with tools waits in the round that the cursor names.
    async fn still_waits(
        &self,
        id: JobId,
        access: &Access,
        cursor: Cursor,
    ) -> Result<bool, DispatchError> {
        let (Some((JobState::Waiting, attempt)), Some(_)) = (cursor.state, cursor.rounds) else {
            return Ok(false);
        };
        let found = self.0.store.get(id, access).await.map_err(unavailable)?;
        Ok(matches!(found, Found::Job(job)
            if (job.state, job.attempt, job.rounds) == (JobState::Waiting, attempt, cursor.rounds)))
    }

    /// Waits for the end of a job that is not final, at most until `until`.
    async fn wait_for_round(
        &self,
        id: JobId,
        access: &Access,
        until: Instant,
    ) -> Result<(), DispatchError> {
        let patience = until.saturating_duration_since(Instant::now());
        let waited = self.0.store.wait(id, access, patience).await;
        waited.map_err(unavailable)?;
        Ok(())
    }
}

/// Returns the job with the log entries beyond `cursor`.
fn beyond(now: JobSnapshot, cursor: Cursor) -> JobSnapshot {
    if now.tools.is_some() {
        return now;
    }
    let next = if now.job.attempt == cursor.attempt {
        cursor.next
    } else {
        0
    };
    let log = match (&now.job.execution, now.log) {
        (Some(execution), _) => Some(execution.log_since(next)),
        (None, Some(log)) => Some(LogSoFar {
            entries: log
                .entries
                .into_iter()
                .filter(|(number, _)| *number >= next)
                .collect(),
            next: log.next,
        }),
        (None, None) => None,
    };
    JobSnapshot { log, ..now }
}
