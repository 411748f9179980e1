//! A job in memory.

use super::tool_state::ToolState;
use super::usage::Held;
use crate::Settlement;
use sandpiper_domain::{ClientKey, JobRecord, JobState, Outcome, Timestamp};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) job: JobRecord,
    pub(super) client: ClientKey,
    pub(super) bytes: usize,
    /// Processor time that budgets reserve for the job until it ends.
    pub(super) reserved: Option<Duration>,
    /// The progress of a job with tools.
    pub(super) tools: Option<Box<ToolState>>,
    /// Notified when the job has its final state, or waits for its reader.
    pub(super) settled: Arc<Notify>,
}

impl Entry {
    /// Returns how the job counts for its client.
    pub(super) fn held(&self) -> Held {
        if self.job.state.is_final() {
            Held::Final(self.bytes)
        } else if self.job.rounds.is_some_and(|rounds| rounds > 0) {
            Held::Suspended(self.bytes)
        } else {
            Held::Open(self.bytes)
        }
    }

    /// Returns whether the job waits for an answer of its reader.
    pub(super) fn waits_for_reader(&self) -> bool {
        let tools = self.tools.as_ref();
        self.job.state == JobState::Waiting && tools.is_some_and(|tools| tools.needs_reader())
    }

    /// Counts the bytes of the progress anew, in place of `before`.
    pub(super) fn recount_tools(&mut self, before: usize) {
        let after = self.tool_bytes();
        self.bytes = self.bytes.saturating_sub(before) + after;
    }

    pub(super) fn tool_bytes(&self) -> usize {
        self.tools.as_ref().map_or(0, |tools| tools.bytes())
    }

    /// Gives the job its final state.
    pub(super) fn settle(&mut self, settlement: Settlement, now: Timestamp, ttl: Duration) {
        if let (Some(tools), Some(round)) = (&mut self.tools, &settlement.last_round) {
            tools.finish(round);
            self.job.rounds = Some(tools.rounds());
        }
        // The entry holds the execution from now on, and the script no longer.
        let execution = settlement.execution.as_ref();
        let execution_bytes = execution.map_or(0, |execution| execution.size_bytes());
        self.bytes = size_of::<Self>() + execution_bytes + self.tool_bytes();
        self.reserved = None;
        self.job.state = settlement.state;
        self.job.outcome = settlement.outcome().or_else(|| {
            // A job that was cancelled while it waited has run.
            let has_run = self.job.rounds.is_some_and(|rounds| rounds > 0);
            (has_run && settlement.state == JobState::Cancelled).then_some(Outcome::Cancelled)
        });
        self.job.execution = settlement.execution;
        self.job.finished_at = Some(now);
        self.job.expires_at = Some(now.plus(ttl));
    }
}
