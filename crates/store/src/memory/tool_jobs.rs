//! Jobs with tools in memory: their answers, and the callers that wait for them.

use super::{Entry, MemoryStore};
use crate::{Answered, Found, FoundHead, NewAnswer, StoreError};
use crate::{Committed, SuspendedRound, ToolProgress};
use sandpiper_domain::{Access, JobId, JobState, Timestamp};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

impl MemoryStore {
    /// Finds a job once it has its final state or waits for its reader, or when `patience` is over.
    pub(super) async fn wait_for(
        &self,
        id: JobId,
        access: &Access,
        patience: Duration,
    ) -> Result<Found, StoreError> {
        let deadline = Instant::now() + patience;
        loop {
            let settled = self.entries.get(&id);
            let Some(settled) = settled.map(|entry| Arc::clone(&entry.settled)) else {
                return Ok(self.find(id, access));
            };
            // Registered before the state is read, so that no change in between is missed.
            let notified = settled.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            let goes_on = |entry: &Entry| {
                let may_see = access.includes(&entry.job.owner);
                may_see && !entry.job.state.is_final() && !entry.waits_for_reader()
            };
            let goes_on = self.entries.get(&id).is_some_and(|entry| goes_on(&entry));
            if !goes_on || Instant::now() >= deadline {
                return Ok(self.find(id, access));
            }
            let _ = tokio::time::timeout_at(deadline, notified).await;
        }
    }

    pub(super) fn take_answers(
        &self,
        id: JobId,
        access: &Access,
        answers: Vec<NewAnswer>,
        inbox_bytes_max: u64,
        now: Timestamp,
    ) -> Answered {
        let Some(mut entry) = self.entries.get_mut(&id) else {
            return match self.find(id, access) {
                Found::Expired => Answered::Expired,
                Found::Job(_) | Found::Unknown => Answered::Unknown,
            };
        };
        if !access.includes(&entry.job.owner) {
            return Answered::Unknown;
        }
        let (held, tool_bytes, state) = (entry.held(), entry.tool_bytes(), entry.job.state);
        let Some(tools) = &mut entry.tools else {
            return Answered::NoTools;
        };
        if state.is_final() {
            return Answered::Final(state);
        }
        let arrivals = tools.arrivals();
        let answered = tools.answer(answers, inbox_bytes_max, now);
        let is_new = tools.arrivals() > arrivals;
        entry.recount_tools(tool_bytes);
        if is_new && state == JobState::Waiting {
            entry.job.state = JobState::Queued;
        }
        self.usage.change_job(&entry.client, held, entry.held());
        answered
    }

    pub(super) fn find_head(&self, id: JobId, access: &Access) -> FoundHead {
        if let Some(entry) = self.entries.get(&id) {
            return match &entry.tools {
                _ if !access.includes(&entry.job.owner) => FoundHead::Unknown,
                Some(tools) => FoundHead::Head(tools.head().to_vec()),
                None => FoundHead::NoTools,
            };
        }
        match self.find(id, access) {
            Found::Expired => FoundHead::Expired,
            Found::Job(_) | Found::Unknown => FoundHead::Unknown,
        }
    }

    /// Commits a round that suspended, if `attempt` is still the job's attempt and no round was committed since.
    pub(super) fn commit_suspension(
        &self,
        id: JobId,
        attempt: u32,
        progress: &ToolProgress,
        round: &SuspendedRound,
    ) -> Committed {
        let Some(mut entry) = self.entries.get_mut(&id) else {
            return Committed::Stale;
        };
        let is_owned = entry.job.rounds == Some(progress.rounds) && entry.job.attempt == attempt;
        if entry.job.state.is_final() || !is_owned {
            return Committed::Stale;
        }
        let (held, tool_bytes) = (entry.held(), entry.tool_bytes());
        let Some(tools) = &mut entry.tools else {
            return Committed::Stale;
        };
        let is_due = tools.suspend(round, progress.arrivals);
        entry.job.rounds = Some(tools.rounds());
        entry.job.started_at = None;
        entry.job.state = if is_due {
            JobState::Queued
        } else {
            JobState::Waiting
        };
        entry.recount_tools(tool_bytes);
        self.usage.change_job(&entry.client, held, entry.held());
        if entry.waits_for_reader() {
            entry.settled.notify_waiters();
        }
        if is_due {
            Committed::Due
        } else {
            Committed::Waits
        }
    }
}
