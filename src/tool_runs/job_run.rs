//! A job with tools between two rounds: its state and log as the store keeps them.
//!
//! A round replaces the *head* and appends a *part*, so that a long log is not written again by each round. The log of the
//! console is stored as it grows: the execution of the last round has only the entries and the usage of that round.

use super::console::{Console, StoredEntry, numbered};
use super::{AfterRound, NextStep, RunState, TIMEOUT, ToolRun, ending, new_log};
use sandpiper_domain::tools::{
    Arrived, CallResult, LogPart, Refusal, ReplayLog, Round, Suspension, ToolLimits, Unawaited,
};
use sandpiper_domain::{Execution, Job, Limits, Timestamp};
use sandpiper_store::{FinalRound, OfferedCall, Ran, SuspendedRound, ToolProgress};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

/// Version of the form of heads and parts.
const VERSION: u8 = 1;

/// A job with tools between two rounds.
#[derive(Debug, Clone)]
pub struct JobRun {
    pub(crate) run: ToolRun,
    pub(crate) limits: Limits,
    /// True if the request names `callTimeoutMs`.
    pub(super) names_call_timeout: bool,
    /// The calls of the last round that were rejected and whose failure no code handles.
    pub(crate) unobserved: Vec<u32>,
    /// The number of the first log entry of the execution, which is that of the last round; `None` before the end.
    pub(super) last_log_from: Option<u64>,
    pub(super) console: Console,
    /// The entries of the console that lie in parts.
    pub(super) console_head: Vec<StoredEntry>,
    /// The calls whose answers wait in the store.
    pub(super) inbox: HashSet<u32>,
    /// The calls with a lower `seq` are known to the store.
    offered: u32,
    /// The ends of the stored rounds, oldest first.
    pub(super) round_ends: Vec<RoundEnd>,
    /// The entries of the console that this round adds to the parts.
    unstored_console: Vec<StoredEntry>,
    /// Answers that had arrived, in all rounds.
    pub(crate) arrivals: u64,
}

/// The calls, records and log entries of the console up to the end of a round.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct RoundEnd {
    pub(super) calls: usize,
    pub(super) records: usize,
    pub(super) log_entries: u64,
}

/// The reason why the stored state of a job cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum BadProgress {
    #[error("the stored state of a job with tools cannot be read: {0}")]
    Malformed(#[from] serde_json::Error),
    #[error(
        "the stored state of a job with tools has version {0}, which this program does not know"
    )]
    Version(u8),
}

/// The part of the state that each round replaces.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    version: u8,
    limits: Limits,
    names_call_timeout: bool,
    unobserved: Vec<u32>,
    last_log_from: Option<u64>,
    state: RunState,
    log: ReplayLog,
    console: Console,
}

/// The part of the state that one round appends.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Part {
    log: LogPart,
    /// The entries of the console that have their place in a part.
    console: Vec<StoredEntry>,
    /// The number of the next entry of the console.
    log_entries: u64,
}

#[derive(Deserialize)]
struct HeadVersion {
    version: u8,
}

/// Returns the first head of a job, before its first round.
pub(crate) fn first_head(
    job: &Job,
    tool_limits: ToolLimits,
    unawaited: Unawaited,
    names_call_timeout: bool,
) -> Vec<u8> {
    let ToolRun { state, log } = ToolRun::begin(job.script.seed(), tool_limits, unawaited);
    written(&Head {
        version: VERSION,
        limits: job.limits,
        names_call_timeout,
        unobserved: Vec::new(),
        last_log_from: None,
        state,
        log,
        console: Console::default(),
    })
}

/// Returns the limits that the head of a job has.
pub(crate) fn tool_limits_of(head: &[u8]) -> Result<ToolLimits, BadProgress> {
    Ok(read_head(head)?.state.tool_limits)
}

fn read_head(bytes: &[u8]) -> Result<Head, BadProgress> {
    let HeadVersion { version } = serde_json::from_slice(bytes)?;
    if version != VERSION {
        return Err(BadProgress::Version(version));
    }
    Ok(serde_json::from_slice(bytes)?)
}

fn written(value: &impl Serialize) -> Vec<u8> {
    // Strings and numbers: writing them to memory cannot fail.
    serde_json::to_vec(value).unwrap_or_default()
}

impl JobRun {
    /// Reads the stored state of a job. The answers in the inbox are at hand.
    pub fn read(progress: &ToolProgress) -> Result<Self, BadProgress> {
        let Head {
            limits,
            names_call_timeout,
            unobserved,
            last_log_from,
            mut state,
            mut log,
            console,
            ..
        } = read_head(&progress.head)?;
        let (mut console_head, mut round_ends) = (Vec::new(), Vec::new());
        for bytes in &progress.parts {
            let part: Part = serde_json::from_slice(bytes)?;
            log.append(part.log);
            console_head.extend(part.console);
            round_ends.push(RoundEnd {
                calls: log.calls().len(),
                records: log.records().len(),
                log_entries: part.log_entries,
            });
        }
        let is_unknown = |seq: &u32| log.call(*seq).is_none() || !log.is_offered(*seq);
        let offered = (0..).find(is_unknown).unwrap_or_default();
        state.arrived = arrived(progress, &log, &state.tool_limits)?;
        Ok(Self {
            offered,
            round_ends,
            inbox: progress.inbox.iter().map(|answer| answer.seq).collect(),
            run: ToolRun { state, log },
            limits,
            names_call_timeout,
            unobserved,
            last_log_from,
            console,
            console_head,
            unstored_console: Vec::new(),
            arrivals: progress.arrivals,
        })
    }

    /// Returns the next step of `job`. Calls that have waited too long are answered.
    pub(crate) fn next_step(&mut self, job: &Job, now: Timestamp) -> NextStep {
        if self.run.log.rounds() == 0 {
            let now_ms = now.as_unix_millis();
            // The clock of the script starts now, and not when the job was accepted.
            self.run.log = new_log(job.script.seed(), now_ms);
            return NextStep::Round;
        }
        self.run.resume(now);
        if self.has_waited_too_long(now) {
            let tool_limits = &self.run.state.tool_limits;
            return NextStep::End(ending::waited_too_long(job, tool_limits));
        }
        self.run.time_out(now);
        self.run.next_step(job, now)
    }

    /// Returns the time until the job is due, if nothing lets it go on yet: the store has a clock of its own.
    pub(crate) fn early_by(&self, now: Timestamp) -> Option<Duration> {
        if self.run.log.rounds() == 0 || !self.run.state.arrived.is_empty() {
            return None;
        }
        let due = self.due_at().as_unix_millis();
        let early = due.checked_sub(now.as_unix_millis())?;
        (early > 0).then(|| Duration::from_millis(early))
    }

    /// Returns the time at which the job goes on without an answer, or ends.
    fn due_at(&self) -> Timestamp {
        let state = &self.run.state;
        let times = state.resume_at.into_iter().chain(state.first_timeout());
        let first = times.map(Timestamp::from_unix_millis).min();
        first.map_or(self.waits_until(), |first| first.min(self.waits_until()))
    }

    /// Returns whether `waitTimeoutS` is over, and nothing lets the job go on.
    fn has_waited_too_long(&self, now: Timestamp) -> bool {
        let now_ms = now.as_unix_millis();
        let state = &self.run.state;
        let timeouts = state.first_timeout().filter(|_| self.names_call_timeout);
        let goes_on = !state.arrived.is_empty()
            || state
                .resume_at
                .into_iter()
                .chain(timeouts)
                .any(|at| at <= now_ms);
        !goes_on && self.waits_until() <= now
    }

    fn waits_until(&self) -> Timestamp {
        let wait = Duration::from_secs(self.run.state.tool_limits.wait_timeout_s.into());
        Timestamp::from_unix_millis(self.run.state.paused_at).plus(wait)
    }

    /// Takes a round. `None` if the service failed, and the round has added nothing.
    pub(crate) fn take_round(&mut self, round: Round, now: Timestamp) -> Option<Ran> {
        let from = self.run.log.log_entries();
        match self.run.take_round(round) {
            AfterRound::Suspended(suspension) => {
                let Suspension {
                    log,
                    log_dropped,
                    log_dropped_at,
                    ..
                } = suspension;
                let entries = numbered(log, log_dropped, log_dropped_at, from);
                let output_bytes = self.limits.output_bytes();
                self.unstored_console = self.console.take(entries, from, output_bytes);
                Some(self.suspend(now))
            }
            AfterRound::WaitsTooLong(execution) => Some(self.end(execution, from)),
            AfterRound::Ended(execution, unobserved) => {
                self.unobserved = unobserved;
                Some(self.end(execution, from))
            }
            AfterRound::ReplayFailed => None,
        }
    }

    /// Lets the job wait on, after a round or without one.
    pub(crate) fn suspend(&mut self, now: Timestamp) -> Ran {
        self.run.pause(now);
        let state = &self.run.state;
        let answer_until = |seq: u32| {
            let limit = u64::from(state.tool_limits.call_timeout_ms);
            let offered_at = state.offered_at(seq)?;
            Some(Timestamp::from_unix_millis(
                offered_at.saturating_add(limit),
            ))
        };
        let new_calls = self.run.log.open().filter(|call| call.seq >= self.offered);
        let offered = new_calls.map(|call| OfferedCall {
            seq: call.seq,
            call_id: state.call_id(call.seq),
            answer_until: answer_until(call.seq),
        });
        Ran::Suspended(Arc::new(SuspendedRound {
            offered: offered.collect(),
            timed_out: self.timed_out(),
            resume_at: Some(self.due_at()),
            needs_reader: self.run.open_calls().next().is_some(),
            head: self.head(),
            part: self.part(),
            taken: self.taken(),
        }))
    }

    /// Ends the job without a round.
    pub(crate) fn end_without_round(&mut self, execution: Execution) -> Ran {
        self.end(execution, self.run.log.log_entries())
    }

    /// Ends the job. Answers that came too late for the script stay in the receipt. The first log entry of `execution` has
    /// the number `log_from`.
    fn end(&mut self, execution: Execution, log_from: u64) -> Ran {
        self.run.keep_late_answers();
        self.last_log_from = Some(log_from);
        let last_round = FinalRound {
            head: self.head(),
            part: self.part(),
            taken: self.taken(),
        };
        Ran::Ended(Arc::new(execution), Some(Arc::new(last_round)))
    }

    fn head(&self) -> Vec<u8> {
        written(&Head {
            version: VERSION,
            limits: self.limits,
            names_call_timeout: self.names_call_timeout,
            unobserved: self.unobserved.clone(),
            last_log_from: self.last_log_from,
            state: RunState {
                // They are in the inbox of the store.
                arrived: Vec::new(),
                ..self.run.state.clone()
            },
            log: self.run.log.head(),
            console: self.console.clone(),
        })
    }

    fn part(&self) -> Option<Vec<u8>> {
        let stored = self.last_round_end();
        let log = self.run.log.part_since(stored.calls, stored.records);
        let log_entries = self.run.log.log_entries();
        let is_empty = log.calls.is_empty() && log.records.is_empty();
        if is_empty && log_entries == stored.log_entries {
            return None;
        }
        Some(written(&Part {
            log,
            console: self.unstored_console.clone(),
            log_entries,
        }))
    }

    fn last_round_end(&self) -> RoundEnd {
        self.round_ends.last().copied().unwrap_or_default()
    }

    /// Returns the calls whose answers the log has taken out of the inbox.
    fn taken(&self) -> Vec<u32> {
        let answers = self.run.log.answers();
        let taken = answers.filter(|(seq, ..)| self.inbox.contains(seq));
        taken.map(|(seq, ..)| seq).collect()
    }

    /// Returns the calls that this round has failed because their answers did not come in time.
    fn timed_out(&self) -> Vec<u32> {
        let is_late = |result: &CallResult| matches!(result, CallResult::Failed(failure) if failure.code.as_deref() == Some(TIMEOUT));
        let answers = self.run.log.answers();
        let late = answers.filter(|(seq, _, result)| is_late(result) && !self.inbox.contains(seq));
        late.map(|(seq, ..)| seq).collect()
    }
}

/// Returns the answers of the inbox. One for which the log has no room left is replaced by a failure.
fn arrived(
    progress: &ToolProgress,
    log: &ReplayLog,
    limits: &ToolLimits,
) -> Result<Vec<Arrived>, BadProgress> {
    let mut log_bytes = log.log_bytes();
    let mut arrived = Vec::new();
    for answer in &progress.inbox {
        if log.answer(answer.seq).is_some() {
            continue;
        }
        let mut result: CallResult = serde_json::from_slice(&answer.answer)?;
        if log_bytes + result.log_bytes() > usize_of(limits.log_bytes) {
            result = CallResult::Failed(Refusal::LogFull.failure());
        }
        log_bytes += result.log_bytes();
        arrived.push(Arrived {
            seq: answer.seq,
            arrived_ms: answer.arrived_ms,
            result,
        });
    }
    Ok(arrived)
}

fn usize_of(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
