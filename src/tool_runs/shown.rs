//! The shown parts of a job with tools: its open calls, the log of all rounds, and its execution.

use super::JobRun;
use super::console::{StoredEntry, WholeLog};
use sandpiper_domain::tools::Call;
use sandpiper_domain::{Execution, JobRecord, LogEntry, LogSoFar, Outcome, ScriptError, Timestamp};
use std::sync::Arc;

impl JobRun {
    /// Returns the execution of a job that has ended, with the log and the usage of all rounds. A job that was cancelled
    /// while it waited has none in the store.
    pub(crate) fn whole_execution(&self, job: &JobRecord) -> Option<Arc<Execution>> {
        if !job.state.is_final() {
            return None;
        }
        let last = match &job.execution {
            Some(execution) => Execution::clone(execution),
            None if self.run.log.rounds() == 0 => return None,
            None => {
                let error =
                    ScriptError::of_service("Cancelled", "the job was cancelled while it waited");
                let now = job.finished_at.unwrap_or_else(Timestamp::now);
                Execution {
                    started_at: now,
                    finished_at: now,
                    ..Execution::never_ran(job.id, self.limits, Outcome::Cancelled, error)
                }
            }
        };
        let result_bytes = last
            .result
            .as_ref()
            .map_or(0, |result| result.as_str().len());
        let log = self.log_with(last.log_since(0));
        let log = WholeLog::within(log, self.limits.output_bytes(), result_bytes);
        Some(Arc::new(Execution {
            log: log.entries,
            log_dropped: log.dropped,
            log_dropped_at: log.dropped_at,
            usage: self.run.state.totals.usage(),
            ..last
        }))
    }

    /// Returns the calls that wait for an answer.
    pub(crate) fn open_calls(&self) -> impl Iterator<Item = &Call> {
        self.run
            .open_calls()
            .filter(|call| !self.inbox.contains(&call.seq))
    }

    /// Returns the time at which the job goes on without an answer, as far as its request is concerned.
    pub(crate) fn resume_at(&self) -> Option<Timestamp> {
        let state = &self.run.state;
        let timeouts = state.first_timeout().filter(|_| self.names_call_timeout);
        let resume_at = state.resume_at.into_iter().chain(timeouts).min();
        resume_at.map(Timestamp::from_unix_millis)
    }

    /// Returns the log of the console with that of the round that runs, or that was the last one.
    pub(crate) fn log_with(&self, last: LogSoFar) -> LogSoFar {
        let stored = self.console_head.iter().chain(self.console.tail());
        let from = self.last_log_from.unwrap_or(self.run.log.log_entries());
        let later = |(number, entry): (u64, LogEntry)| (from + number, entry);
        LogSoFar {
            next: from + last.next,
            entries: stored
                .map(StoredEntry::numbered)
                .chain(last.entries.into_iter().map(later))
                .collect(),
        }
    }
}
