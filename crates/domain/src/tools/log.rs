//! The log of an execution with tools. An execution is a function of its script, its limits and this log.

use super::{
    Arrived, Call, CallResult, CallState, ConsoleBytes, Round, RoundEnd, Seed, ToolLimits,
};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;

/// One step of an execution behind its start. Timers that are due at or before `at_ms` fire first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Record {
    /// An answer was delivered.
    Answer {
        seq: u32,
        at_ms: u64,
        result: CallResult,
    },
    /// Timers came due.
    Wake { at_ms: u64 },
}

impl Record {
    /// Returns the time to which the clock of the script is set, Unix milliseconds.
    pub fn at_ms(&self) -> u64 {
        match self {
            Self::Answer { at_ms, .. } | Self::Wake { at_ms } => *at_ms,
        }
    }
}

/// Everything that a fresh process needs, beside the script and its limits, to reach the place where the last round
/// suspended. It is made once, by [`ReplayLog::begin`], and only [`ReplayLog::commit`] makes it longer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplayLog {
    version: u8,
    fingerprint: String,
    start_ms: u64,
    seed: Seed,
    calls: Vec<Call>,
    records: Vec<Record>,
    /// Calls that were offered: those with a lower `seq`.
    offered: u32,
    /// Log entries of the console so far.
    log_entries: u64,
    /// Digest of those entries.
    log_digest: u64,
    /// Cost of those entries.
    console: ConsoleBytes,
    wakes: u32,
    rounds: u32,
    /// Own time of the script, microseconds.
    own_micros: u64,
    /// Time that replays took, microseconds.
    replay_micros: u64,
    /// Set once the script has ended.
    ends: bool,
    /// Answers of the calls that were offered at the end. No round delivers them.
    end_answers: Vec<Arrived>,
    /// True if the seed is a client's number: keys cannot be generated.
    seeded: bool,
}

/// The calls and records that one round has added to a log.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogPart {
    pub calls: Vec<Call>,
    pub records: Vec<Record>,
}

#[derive(Debug, thiserror::Error)]
pub enum BadLog {
    #[error("not a log: {0}")]
    Malformed(#[from] serde_json::Error),
    #[error("a log of version {0}, which this program does not know")]
    Version(u8),
}

impl ReplayLog {
    const VERSION: u8 = 1;

    /// Begins the log of an execution. `start_ms` is the time at which its clock starts, Unix milliseconds.
    pub fn begin(fingerprint: &str, start_ms: u64, seed: Seed) -> Self {
        Self {
            version: Self::VERSION,
            fingerprint: fingerprint.to_owned(),
            start_ms,
            seed,
            calls: Vec::new(),
            records: Vec::new(),
            offered: 0,
            log_entries: 0,
            log_digest: 0,
            console: ConsoleBytes::default(),
            wakes: 0,
            rounds: 0,
            own_micros: 0,
            replay_micros: 0,
            ends: false,
            end_answers: Vec::new(),
            seeded: false,
        }
    }

    /// Begins the log of an execution with a client's own seed.
    pub fn begin_seeded(fingerprint: &str, start_ms: u64, number: u64) -> Self {
        Self {
            seeded: true,
            ..Self::begin(fingerprint, start_ms, Seed::of_number(number))
        }
    }

    /// Returns the log without its calls and records, which are stored in parts.
    #[must_use]
    pub fn head(&self) -> Self {
        Self {
            fingerprint: self.fingerprint.clone(),
            seed: self.seed.clone(),
            calls: Vec::new(),
            records: Vec::new(),
            end_answers: self.end_answers.clone(),
            ..*self
        }
    }

    /// Returns the calls and records behind the first `calls` and `records`.
    pub fn part_since(&self, calls: usize, records: usize) -> LogPart {
        LogPart {
            calls: self.calls.get(calls..).unwrap_or_default().to_vec(),
            records: self.records.get(records..).unwrap_or_default().to_vec(),
        }
    }

    /// Appends a part of this log to its head.
    pub fn append(&mut self, part: LogPart) {
        self.calls.extend(part.calls);
        self.records.extend(part.records);
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        // Strings and numbers: writing them to memory cannot fail.
        serde_json::to_vec(self).unwrap_or_default()
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BadLog> {
        #[derive(Deserialize)]
        struct Head {
            version: u8,
        }
        let head: Head = serde_json::from_slice(bytes)?;
        if head.version != Self::VERSION {
            return Err(BadLog::Version(head.version));
        }
        Ok(serde_json::from_slice(bytes)?)
    }

    /// Returns the build of the sandbox that made this log.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Returns the time at which the clock of the script started, Unix milliseconds.
    pub fn start_ms(&self) -> u64 {
        self.start_ms
    }

    pub fn seed(&self) -> &Seed {
        &self.seed
    }

    pub fn is_seeded(&self) -> bool {
        self.seeded
    }

    /// Returns the calls, by `seq`.
    pub fn calls(&self) -> &[Call] {
        &self.calls
    }

    pub fn call(&self, seq: u32) -> Option<&Call> {
        self.calls.get(usize::try_from(seq).ok()?)
    }

    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// Returns the answers that the log has, in order: those that were delivered, then those of calls that were offered at
    /// the end. Each is `seq`, Unix milliseconds, result.
    pub fn answers(&self) -> impl Iterator<Item = (u32, u64, &CallResult)> {
        let delivered = self.records.iter().filter_map(|record| match record {
            Record::Answer { seq, at_ms, result } => Some((*seq, *at_ms, result)),
            Record::Wake { .. } => None,
        });
        let at_end = self.end_answers.iter();
        delivered.chain(at_end.map(|answer| (answer.seq, answer.arrived_ms, &answer.result)))
    }

    /// Returns the logged answer of a call.
    pub fn answer(&self, seq: u32) -> Option<&CallResult> {
        let mut answers = self.answers();
        answers.find_map(|(its_seq, _, result)| (its_seq == seq).then_some(result))
    }

    /// Returns the calls that have no logged answer, by `seq`.
    pub fn pending(&self) -> impl Iterator<Item = &Call> {
        let answered: HashSet<u32> = self.answers().map(|(seq, _, _)| seq).collect();
        self.calls
            .iter()
            .filter(move |call| call.refused.is_none() && !answered.contains(&call.seq))
    }

    /// Returns the script's clock behind the last record, Unix milliseconds.
    pub fn clock_ms(&self) -> u64 {
        self.records.last().map_or(self.start_ms, Record::at_ms)
    }

    /// Returns how many log entries all rounds so far have written: the number of the next round's first entry.
    pub fn log_entries(&self) -> u64 {
        self.log_entries
    }

    pub fn log_digest(&self) -> u64 {
        self.log_digest
    }

    /// Returns the cost of the log entries of all rounds so far.
    pub fn console(&self) -> ConsoleBytes {
        self.console
    }

    pub fn wakes(&self) -> u32 {
        self.wakes
    }

    /// Returns how many rounds were committed.
    pub fn rounds(&self) -> u32 {
        self.rounds
    }

    /// Returns the script's own time in all rounds so far, microseconds. `timeoutMs` bounds it.
    pub fn own_micros(&self) -> u64 {
        self.own_micros
    }

    /// Returns the time that replays have taken so far, microseconds. `replayMs` bounds it.
    pub fn replay_micros(&self) -> u64 {
        self.replay_micros
    }

    /// Returns whether the script has ended. A round that runs along such a log ends as it did, and adds nothing.
    pub fn has_ended(&self) -> bool {
        self.ends
    }

    /// Returns the cost of this log, out of `logBytes`.
    pub fn log_bytes(&self) -> usize {
        let calls: usize = self.calls.iter().map(Call::log_bytes).sum();
        let answers = self.records.iter().map(|record| match record {
            Record::Answer { result, .. } => result.log_bytes(),
            Record::Wake { .. } => 0,
        });
        calls + answers.sum::<usize>()
    }

    /// Returns the bytes of memory that this log holds, approximately.
    pub fn size_bytes(&self) -> usize {
        size_of::<Self>()
            + self.log_bytes()
            + self.calls.len() * size_of::<Call>()
            + self.records.len() * size_of::<Record>()
    }

    /// Adds what a round has reported. Call it for a suspended round before any of its calls is shown or sent, and for a
    /// finished round for its receipt. A round whose replay failed adds nothing.
    pub fn commit(&mut self, round: &Round) {
        if matches!(round.end, RoundEnd::ReplayFailed(_)) {
            return;
        }
        self.calls.extend(round.calls.iter().cloned());
        self.records.extend(round.records.iter().cloned());
        let wakes = round.records.iter();
        let wakes = wakes.filter(|record| matches!(record, Record::Wake { .. }));
        let wakes = u32::try_from(wakes.count()).unwrap_or(u32::MAX);
        self.wakes = self.wakes.saturating_add(wakes);
        self.rounds = self.rounds.saturating_add(1);
        self.own_micros = self.own_micros.saturating_add(round.usage.own_micros);
        self.replay_micros = self.replay_micros.saturating_add(round.usage.replay_micros);
        self.log_entries = round.log_entries;
        self.log_digest = round.log_digest;
        self.console = round.console;
        if matches!(round.end, RoundEnd::Finished(_)) {
            self.ends = true;
        }
    }

    /// Offers calls without an answer, in their order, from the call `from` on, so that at most `most` of them are open.
    /// Call it after [`ReplayLog::commit`] of a round that suspended (from 0 on), after one that succeeded and did not
    /// await its calls (`unawaited: "offer"`, from the first of those on), and after each answer to one of the latter.
    pub fn offer(&mut self, from: u32, most: u32) {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let open = self.pending().filter(|call| call.seq >= from).take(most);
        let last = open.last().map_or(0, |call| call.seq.saturating_add(1));
        self.offered = self.offered.max(last);
    }

    /// Returns the calls that were offered and have no answer, by `seq`.
    pub fn open(&self) -> impl Iterator<Item = &Call> {
        self.pending().filter(|call| self.is_offered(call.seq))
    }

    pub fn is_offered(&self, seq: u32) -> bool {
        seq < self.offered
    }

    /// Returns the calls without an answer that were not offered when `round` has run, which is not committed yet.
    pub fn unoffered_after<'r>(&'r self, round: &'r Round) -> impl Iterator<Item = &'r Call> {
        let is_held_back = |call: &&Call| !self.is_offered(call.seq) && !round.answers(call.seq);
        self.pending().filter(is_held_back).chain(round.unoffered())
    }

    /// Adds the answers of calls that were offered at the end. They are for the receipt: no round delivers them.
    pub fn take_end_answers(&mut self, answers: impl IntoIterator<Item = Arrived>) {
        self.end_answers.extend(answers);
    }

    /// Returns the state of a call of a caller's tool. `is_final` says that the execution has ended.
    pub fn state_of(&self, call: &Call, is_final: bool) -> CallState {
        match self.answer(call.seq) {
            Some(CallResult::Value(_)) => CallState::Done,
            Some(CallResult::Failed(_)) => CallState::Failed,
            None if call.refused.is_some() => CallState::Failed,
            None if !self.is_offered(call.seq) => CallState::NotSent,
            None if is_final => CallState::Abandoned,
            None => CallState::Waiting,
        }
    }

    /// Returns whether the log has room for no further call of the limits.
    pub fn is_full(&self, limits: &ToolLimits) -> bool {
        u32::try_from(self.log_bytes()).unwrap_or(u32::MAX) >= limits.log_bytes
    }
}
