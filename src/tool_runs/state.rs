//! The state of an execution with tools between two rounds, beside its log.

use sandpiper_domain::Usage;
use sandpiper_domain::tools::{Arrived, ToolLimits, Unawaited};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;

/// Prefix of the input of the digest that is the id of a call, so that no other use of the secret has the same input.
const CALL_ID: &[u8] = b"sandpiper call id";
const CALL_ID_BYTES: usize = 16;

/// The state of an execution that waits, without its log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunState {
    /// The limits as they were granted in the first round.
    pub tool_limits: ToolLimits,
    /// Decides about calls that the script made and did not await when it succeeded.
    pub unawaited: Unawaited,
    /// Secret from which the ids of calls are derived.
    pub call_secret: u128,
    /// The end of the last round, Unix milliseconds.
    pub paused_at: u64,
    /// Time from which the execution goes on without an answer, Unix milliseconds.
    pub resume_at: Option<u64>,
    /// The calls that wait, by `seq`, and the time at which each was offered, Unix milliseconds.
    pub offered: Vec<(u32, u64)>,
    /// Answers that are at hand and in no record of the log.
    pub arrived: Vec<Arrived>,
    /// The calls that were offered when the script had succeeded: the execution waits for those alone.
    pub end_calls: Vec<u32>,
    pub totals: Totals,
}

/// Sums over the rounds of an execution, beside those in its log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    pub wall_micros: u64,
    pub cpu_micros: u64,
    /// The largest heap of a round.
    pub peak_memory_bytes: u64,
    pub output_bytes: u64,
    /// Time between rounds.
    pub waited_millis: u64,
}

impl Totals {
    /// Adds what a round used.
    pub fn add(&mut self, usage: &Usage) {
        self.wall_micros = self.wall_micros.saturating_add(usage.wall_micros);
        self.cpu_micros = self.cpu_micros.saturating_add(usage.cpu_micros);
        self.output_bytes = self.output_bytes.saturating_add(usage.output_bytes);
        self.peak_memory_bytes = self.peak_memory_bytes.max(usage.peak_memory_bytes);
    }

    /// Returns what all rounds used.
    #[must_use]
    pub fn usage(&self) -> Usage {
        Usage {
            wall_micros: self.wall_micros,
            cpu_micros: self.cpu_micros,
            peak_memory_bytes: self.peak_memory_bytes,
            output_bytes: self.output_bytes,
        }
    }
}

impl RunState {
    /// Returns the state of an execution before its first round.
    #[must_use]
    pub fn new(tool_limits: ToolLimits, unawaited: Unawaited, now_ms: u64) -> Self {
        Self {
            tool_limits,
            unawaited,
            call_secret: rand::random(),
            paused_at: now_ms,
            resume_at: None,
            offered: Vec::new(),
            arrived: Vec::new(),
            end_calls: Vec::new(),
            totals: Totals::default(),
        }
    }

    /// Returns the id of a call. Nobody can guess the id of a call that was not shown to them.
    #[must_use]
    pub fn call_id(&self, seq: u32) -> String {
        let digest: [u8; 32] = Sha256::new()
            .chain_update(CALL_ID)
            .chain_update(self.call_secret.to_be_bytes())
            .chain_update(seq.to_be_bytes())
            .finalize()
            .into();
        let (half, _) = digest.split_at(CALL_ID_BYTES);
        half.iter().fold("call_".to_owned(), |mut id, byte| {
            // Writing to memory cannot fail.
            let _ = write!(id, "{byte:02x}");
            id
        })
    }

    /// Returns the time at which a call was offered, Unix milliseconds.
    #[must_use]
    pub fn offered_at(&self, seq: u32) -> Option<u64> {
        let offered = self.offered.iter().find(|(its_seq, _)| *its_seq == seq);
        offered.map(|(_, at)| *at)
    }

    /// Returns the calls that wait, and the time until which each of them may be answered, Unix milliseconds.
    pub fn timeouts(&self) -> impl Iterator<Item = (u32, u64)> {
        let limit = u64::from(self.tool_limits.call_timeout_ms);
        let offered = self.offered.iter();
        offered.map(move |(seq, at)| (*seq, at.saturating_add(limit)))
    }

    /// Returns the first of these times.
    #[must_use]
    pub fn first_timeout(&self) -> Option<u64> {
        self.timeouts().map(|(_, at)| at).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_calls_differ_by_call_and_by_execution() {
        let state = || RunState::new(ToolLimits::default(), Unawaited::Offer, 0);
        let (one, other) = (state(), state());
        assert_eq!(one.call_id(0), one.call_id(0));
        assert_ne!(one.call_id(0), one.call_id(1));
        assert_ne!(one.call_id(0), other.call_id(0));
        assert_eq!(one.call_id(0).len(), "call_".len() + 2 * CALL_ID_BYTES);
    }
}
