//! One round of an execution with tools: what one job process added to the log, and how it ended.

use super::{Call, Record};
use crate::{Execution, JobId, Limits, LogEntry, Timestamp, Usage};
use serde::{Deserialize, Serialize};

/// A round that has run. Everything in it was checked against the log, the declared tools and the limits.
#[derive(Debug, Clone, PartialEq)]
pub struct Round {
    /// The calls that the log does not have yet, by `seq`. If the job process was killed or crashed before it reported them,
    /// they are unknown; none of them was sent.
    pub calls: Vec<Call>,
    /// The records that the log does not have yet, in order.
    pub records: Vec<Record>,
    /// Calls, of this round and of earlier ones, that were rejected and whose promise no code of the script handles. Only
    /// a round that succeeded knows them.
    pub unobserved: Vec<u32>,
    /// Log entries of the console in all rounds: the number of the first entry of the next round.
    pub log_entries: u64,
    pub log_digest: u64,
    /// Cost of those entries.
    pub console: ConsoleBytes,
    pub usage: RoundUsage,
    pub end: RoundEnd,
}

/// The cost of the log entries of all rounds so far, out of `outputBytes`.
///
/// Every entry counts, in the order in which the script wrote them. Those within [`ConsoleBytes::kept_max`] are kept, and
/// later ones are dropped: so the number of rounds makes no difference.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsoleBytes {
    pub logged: u64,
    pub kept: u64,
}

impl ConsoleBytes {
    /// Returns the part of `outputBytes` that the log of an execution with tools may have. The rest is for the result.
    pub fn kept_max(limits: &Limits) -> u64 {
        u64::from(limits.output_bytes()) / 2
    }

    /// Adds an entry. Returns whether it is kept.
    pub fn add(&mut self, bytes: usize, limits: &Limits) -> bool {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.logged = self.logged.saturating_add(bytes);
        let is_kept = self.logged <= Self::kept_max(limits);
        if is_kept {
            self.kept = self.logged;
        }
        is_kept
    }

    /// Returns the bytes that the result may have.
    pub fn room_for_result(self, limits: &Limits) -> usize {
        let room = u64::from(limits.output_bytes()).saturating_sub(self.kept);
        usize::try_from(room).unwrap_or(usize::MAX)
    }
}

/// The times of one round, microseconds, by the clock of the job process and bounded by the executor's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RoundUsage {
    /// The script's own time behind the log.
    pub own_micros: u64,
    /// The time until the log was reached.
    pub replay_micros: u64,
    /// The time that the process waited for timers.
    pub waited_micros: u64,
}

/// The end of a round.
#[derive(Debug, Clone, PartialEq)]
pub enum RoundEnd {
    /// The execution has ended, with any outcome. Its log entries are those of this round.
    Finished(Box<Execution>),
    Suspended(Box<Suspension>),
    /// The service failed to run along the log, for this reason. The script has no part in it: the same round may be
    /// tried again.
    ReplayFailed(String),
}

/// An execution that waits.
#[derive(Debug, Clone, PartialEq)]
pub struct Suspension {
    pub id: JobId,
    /// The time at which the executor began to send the round to the job process.
    pub started_at: Timestamp,
    pub finished_at: Timestamp,
    /// The time at which the execution goes on without an answer, Unix milliseconds; `None` if it waits for calls alone.
    pub resume_at_ms: Option<u64>,
    /// The log entries of this round, oldest first; of a long log, its head and its tail.
    pub log: Vec<LogEntry>,
    pub log_dropped: u64,
    pub log_dropped_at: usize,
    /// Usage of this round alone.
    pub usage: Usage,
    pub limits: Limits,
}

impl Round {
    /// Returns the calls that this round made, that were not refused, and that have no answer: those to offer.
    pub fn unoffered(&self) -> impl Iterator<Item = &Call> {
        let calls = self.calls.iter();
        calls.filter(|call| call.refused.is_none() && !self.answers(call.seq))
    }

    /// Returns whether this round delivered the answer to a call.
    pub(super) fn answers(&self, seq: u32) -> bool {
        let is_of_it =
            |record: &Record| matches!(record, Record::Answer { seq: its, .. } if *its == seq);
        self.records.iter().any(is_of_it)
    }
}
