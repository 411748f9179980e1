//! Executions with tools: the state of one between two rounds, and its steps from one round to the next.
//!
//! `POST /api/execute` seals the state for its caller ([`crate::replay`]), and a job has it in the store. Nothing here
//! knows HTTP, a store or an executor.

mod console;
mod ending;
mod job_events;
mod job_run;
mod shown;
mod state;

pub use job_run::{BadProgress, JobRun};
pub use state::{RunState, Totals};

pub use job_events::EventPosition;

pub(crate) use ending::nothing_new;
pub(crate) use job_events::JobEvent;
pub(crate) use job_run::{first_head, tool_limits_of};

use ending::UnawaitedCalls;
use sandpiper_domain::tools::{
    Arrived, Call, CallResult, ReplayLog, Round, RoundEnd, Seed, Suspension, ToolFailure,
    ToolLimits, Unawaited,
};
use sandpiper_domain::{Execution, Job, Outcome, Timestamp};
use sandpiper_sandbox_client::FINGERPRINT;
use std::time::Duration;

/// Code of the failure of a call whose answer did not come in time.
pub(crate) const TIMEOUT: &str = "timeout";

/// An execution with tools between two rounds.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolRun {
    pub state: RunState,
    pub log: ReplayLog,
}

/// The next step of an execution.
#[derive(Debug)]
#[allow(clippy::large_enum_variant)] // one of them exists, for a moment
pub(crate) enum NextStep {
    Round,
    /// Nothing can go on. `is_changed` says that answers were taken all the same.
    Wait {
        is_changed: bool,
    },
    /// The service ends the execution.
    End(Execution),
}

/// The state of an execution after a round.
#[derive(Debug)]
#[allow(clippy::large_enum_variant)] // one of them exists, for a moment
pub(crate) enum AfterRound {
    Suspended(Suspension),
    /// The service ends the execution: it would wait for a timer alone, and longer than it may.
    WaitsTooLong(Execution),
    /// The execution has ended. Nobody handles the failures of the calls in the list.
    Ended(Execution, Vec<u32>),
    /// The service failed, and the round has added nothing.
    ReplayFailed,
}

impl ToolRun {
    /// Begins an execution, with random bytes of the system or with the client's own number.
    pub(crate) fn begin(seed: Option<u64>, tool_limits: ToolLimits, unawaited: Unawaited) -> Self {
        let start_ms = Timestamp::now().as_unix_millis();
        Self {
            state: RunState::new(tool_limits, unawaited, start_ms),
            log: new_log(seed, start_ms),
        }
    }

    /// Returns the calls that the execution waits for, and that may be answered.
    pub(crate) fn open_calls(&self) -> impl Iterator<Item = &Call> {
        let end_calls = &self.state.end_calls;
        let is_open = |call: &&Call| end_calls.is_empty() || end_calls.contains(&call.seq);
        self.log.open().filter(is_open)
    }

    /// Offers as many calls as may be open at a time.
    fn offer(&mut self) {
        let from = self.state.end_calls.first().copied().unwrap_or(0);
        let most = self.state.tool_limits.concurrent_calls_max;
        self.log.offer(from, most);
    }

    /// Counts the time since the last round.
    pub(crate) fn resume(&mut self, now: Timestamp) {
        let waited = now.as_unix_millis().saturating_sub(self.state.paused_at);
        let totals = &mut self.state.totals;
        totals.waited_millis = totals.waited_millis.saturating_add(waited);
    }

    /// Answers the calls that have waited too long.
    pub(crate) fn time_out(&mut self, now: Timestamp) {
        let late: Vec<(u32, u64)> = (self.state.timeouts())
            .filter(|(seq, at)| *at <= now.as_unix_millis() && self.log.answer(*seq).is_none())
            .collect();
        for (seq, at) in late {
            if self.state.arrived.iter().any(|arrived| arrived.seq == seq) {
                continue;
            }
            let limit = self.state.tool_limits.call_timeout_ms;
            let failure = ToolFailure {
                message: format!("no answer came within callTimeoutMs, which is {limit} ms"),
                name: None,
                code: Some(TIMEOUT.to_owned()),
                retryable: false,
            };
            self.state.arrived.push(Arrived {
                seq,
                arrived_ms: at,
                result: CallResult::Failed(failure),
            });
        }
    }

    /// Returns the next step of the execution of `job`. Answers to calls that the script did not await are taken here.
    pub(crate) fn next_step(&mut self, job: &Job, now: Timestamp) -> NextStep {
        let is_first = self.log.rounds() == 0;
        let has_answers = !self.state.arrived.is_empty();
        if self.log.has_ended() {
            let answers = std::mem::take(&mut self.state.arrived);
            self.log.take_end_answers(answers);
            self.offer();
            if self.open_calls().next().is_some() {
                return NextStep::Wait {
                    is_changed: has_answers,
                };
            }
        } else if !is_first && !has_answers && !self.is_due(now) {
            return NextStep::Wait { is_changed: false };
        }
        if self.log.replay_micros() > u64::from(self.state.tool_limits.replay_ms) * 1_000 {
            return NextStep::End(ending::replayed_too_long(job, &self.state.tool_limits));
        }
        NextStep::Round
    }

    /// Returns whether the time has come at which the execution goes on without an answer.
    fn is_due(&self, now: Timestamp) -> bool {
        let resume_at = self.state.resume_at;
        resume_at.is_some_and(|at| at <= now.as_unix_millis())
    }

    /// Takes a round into the log, and decides about calls that the script did not await.
    pub(crate) fn take_round(&mut self, mut round: Round) -> AfterRound {
        let had_ended = self.log.has_ended();
        let unoffered: Vec<Call> = self.log.unoffered_after(&round).cloned().collect();
        self.log.commit(&round);
        self.drop_recorded();
        let totals = &mut self.state.totals;
        totals.waited_millis += round.usage.waited_micros / 1_000;
        match std::mem::replace(&mut round.end, RoundEnd::ReplayFailed(String::new())) {
            RoundEnd::Suspended(suspension) => {
                totals.add(&suspension.usage);
                self.state.resume_at = suspension.resume_at_ms;
                match self.timer_that_never_comes() {
                    Some(due) => AfterRound::WaitsTooLong(ending::waits_too_long(
                        *suspension,
                        due,
                        &self.state.tool_limits,
                    )),
                    None => AfterRound::Suspended(*suspension),
                }
            }
            RoundEnd::Finished(mut execution) => {
                totals.add(&execution.usage);
                if execution.outcome == Outcome::Succeeded && !had_ended {
                    match ending::of_unawaited(self.state.unawaited, &unoffered) {
                        UnawaitedCalls::Ignored => {}
                        UnawaitedCalls::Offered => {
                            self.state.end_calls = unoffered.iter().map(|call| call.seq).collect();
                            self.state.resume_at = None;
                            return AfterRound::Suspended(ending::withheld(*execution));
                        }
                        UnawaitedCalls::Failed(error) => ending::fail(&mut execution, error),
                    }
                }
                AfterRound::Ended(*execution, round.unobserved)
            }
            RoundEnd::ReplayFailed(_) => AfterRound::ReplayFailed,
        }
    }

    /// Returns the time of the timer that the execution waits for, if it waits for that timer alone, and can no longer be
    /// continued by then.
    fn timer_that_never_comes(&self) -> Option<Timestamp> {
        let wait = Duration::from_secs(self.state.tool_limits.wait_timeout_s.into());
        let due = self.state.resume_at.map(Timestamp::from_unix_millis)?;
        let is_in_time = due < Timestamp::now().plus(wait);
        let waits_for_calls = self.log.pending().next().is_some();
        (!is_in_time && !waits_for_calls).then_some(due)
    }

    /// Puts the answers that came too late for the script into the receipt of an execution that has ended: the calls were
    /// made.
    pub(crate) fn keep_late_answers(&mut self) {
        let answers = std::mem::take(&mut self.state.arrived);
        self.log.take_end_answers(answers);
    }

    /// Lets the execution wait from now on: calls that it has not waited for before are offered now.
    pub(crate) fn pause(&mut self, now: Timestamp) {
        self.offer();
        let now = now.as_unix_millis();
        let offered: Vec<(u32, u64)> = (self.open_calls())
            .map(|call| (call.seq, self.state.offered_at(call.seq).unwrap_or(now)))
            .collect();
        self.state.offered = offered;
        self.state.paused_at = now;
    }

    /// Drops the answers that the log has by now.
    fn drop_recorded(&mut self) {
        let log = &self.log;
        let arrived = &mut self.state.arrived;
        arrived.retain(|arrived| log.answer(arrived.seq).is_none());
    }
}

fn new_log(seed: Option<u64>, start_ms: u64) -> ReplayLog {
    match seed {
        Some(number) => ReplayLog::begin_seeded(FINGERPRINT, start_ms, number),
        None => {
            let mut bytes = [0; Seed::BYTES];
            rand::fill(&mut bytes);
            ReplayLog::begin(FINGERPRINT, start_ms, Seed::new(bytes))
        }
    }
}
