//! The views of calls: what an execution with tools waits for, and the receipt of what it called.
#![allow(unused_qualifications)] // in what utoipa derives

use crate::tool_runs::{JobRun, ToolRun};
use sandpiper_domain::tools::{Call, CallResult, CallState, Suspension, ToolFailure, ToolLimits};
use sandpiper_domain::{JsonText, Timestamp, Usage};
use serde::Serialize;
use std::collections::HashMap;
use utoipa::ToSchema;

/// The cause for which an execution waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum WaitReason {
    /// Answers to calls.
    Calls,
    /// A time at which a timer of the script is due.
    Timer,
}

/// The source of answers.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Attested {
    /// The caller gave the answers.
    Caller,
}

/// The owner of a tool.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum ToolOwner {
    /// The caller, who answers the calls.
    Caller,
}

/// An execution that waits.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) suspension: Suspension,
    pub(super) waits_for_calls: bool,
    pub(super) waits_for_timer: bool,
    pub(super) resume_at: Option<Timestamp>,
    pub(super) replay: String,
    pub(super) expires_at: Timestamp,
}

impl Pending {
    pub(super) fn waiting_for(&self) -> Vec<WaitReason> {
        WaitReason::of(self.waits_for_calls, self.waits_for_timer)
    }
}

impl WaitReason {
    pub(super) fn of(waits_for_calls: bool, waits_for_timer: bool) -> Vec<Self> {
        let reasons = [
            (waits_for_calls, Self::Calls),
            (waits_for_timer, Self::Timer),
        ];
        let reasons = reasons.into_iter().filter(|(waits, _)| *waits);
        reasons.map(|(_, reason)| reason).collect()
    }
}

/// The answer that a script took.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AnswerView<'a> {
    pub(super) call_id: String,
    pub(super) seq: u32,
    /// The script's clock, Unix milliseconds.
    pub(super) at_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) result: Option<&'a JsonText>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<&'a ToolFailure>,
}

impl<'a> AnswerView<'a> {
    pub(super) fn new(run: &ToolRun, seq: u32, at_ms: u64, result: &'a CallResult) -> Self {
        let (value, error) = match result {
            CallResult::Value(value) => (Some(value), None),
            CallResult::Failed(failure) => (None, Some(failure)),
        };
        Self {
            call_id: run.state.call_id(seq),
            seq,
            at_ms,
            result: value,
            error,
        }
    }
}

/// The calls of an execution, and what all of its rounds used.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) calls: Vec<ReportedCall>,
    /// The number of the first log entry that is shown; `None` if all are.
    pub(super) log_from: Option<u64>,
    pub(super) attested_by: Option<Attested>,
    pub(super) rounds: u32,
    pub(super) own_micros: u64,
    pub(super) replay_micros: u64,
    pub(super) waited_millis: u64,
    pub(super) usage: Usage,
    pub(super) tool_limits: ToolLimits,
}

impl Report {
    /// Returns what all rounds used, without calls.
    pub(super) fn of(run: &ToolRun) -> Self {
        let (log, state) = (&run.log, &run.state);
        Self {
            calls: Vec::new(),
            log_from: None,
            attested_by: None,
            rounds: log.rounds(),
            own_micros: log.own_micros(),
            replay_micros: log.replay_micros(),
            waited_millis: state.totals.waited_millis,
            usage: state.totals.usage(),
            tool_limits: state.tool_limits,
        }
    }

    /// Returns the report of a job: the calls that wait while it is open, and afterwards all calls.
    pub(super) fn of_job(run: &JobRun, is_final: bool) -> Self {
        let calls = match is_final {
            true => ReportedCall::all(&run.run, &run.unobserved),
            false => run
                .open_calls()
                .map(|call| ReportedCall::waiting(&run.run, call))
                .collect(),
        };
        Self {
            calls,
            ..Self::of(&run.run)
        }
    }
}

#[derive(Debug)]
pub(super) struct ReportedCall {
    call_id: String,
    call: Call,
    state: CallState,
    answer: Option<(u64, CallResult)>,
    is_unobserved: bool,
}

impl ReportedCall {
    /// Returns the calls that the execution waits for.
    pub(super) fn open(run: &ToolRun) -> Vec<Self> {
        let calls = run.open_calls();
        calls.map(|call| Self::waiting(run, call)).collect()
    }

    fn waiting(run: &ToolRun, call: &Call) -> Self {
        Self {
            call_id: run.state.call_id(call.seq),
            call: call.clone(),
            state: run.log.state_of(call, false),
            answer: None,
            is_unobserved: false,
        }
    }

    /// Returns a call as it is now.
    pub(super) fn now(run: &ToolRun, call: &Call, is_final: bool) -> Self {
        let mut answers = run.log.answers();
        let answer = answers.find(|(seq, ..)| *seq == call.seq);
        Self {
            answer: answer.map(|(_, at_ms, result)| (at_ms, result.clone())),
            state: run.log.state_of(call, is_final),
            ..Self::waiting(run, call)
        }
    }

    /// Returns all calls of an execution that has ended.
    pub(super) fn all(run: &ToolRun, unobserved: &[u32]) -> Vec<Self> {
        let log = &run.log;
        let answers: HashMap<u32, (u64, &CallResult)> = (log.answers())
            .map(|(seq, at_ms, result)| (seq, (at_ms, result)))
            .collect();
        let calls = log.calls().iter().map(|call| {
            let answer = answers.get(&call.seq);
            Self {
                call_id: run.state.call_id(call.seq),
                call: call.clone(),
                state: log.state_of(call, true),
                answer: answer.map(|(at_ms, result)| (*at_ms, (*result).clone())),
                is_unobserved: unobserved.contains(&call.seq),
            }
        });
        calls.collect()
    }
}

/// A call of a tool.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Call)]
pub(super) struct CallView<'a> {
    /// ID for the answer.
    call_id: &'a str,
    /// Number of the call in its execution, from 0.
    seq: u32,
    /// Name of the tool.
    name: &'a str,
    /// Owner of the tool.
    owner: ToolOwner,
    /// Argument; absent if the script gave none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    argument: Option<&'a JsonText>,
    /// State of the call.
    state: CallState,
    /// The script's clock at the call, Unix milliseconds.
    at_ms: u64,
    /// Time from the call to its answer by the script's clock, milliseconds; null without an answer.
    #[schema(required)]
    duration_ms: Option<u64>,
    /// Length of the argument, bytes of JSON.
    argument_bytes: usize,
    /// Length of the result, bytes of JSON; null without a result.
    #[schema(required)]
    result_bytes: Option<usize>,
    /// Error with which the call's promise was rejected.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    error: Option<&'a ToolFailure>,
    /// True if the call failed and no code of the script handles that.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(default = false)]
    unobserved: bool,
}

impl<'a> From<&'a ReportedCall> for CallView<'a> {
    fn from(reported: &'a ReportedCall) -> Self {
        let ReportedCall { call, answer, .. } = reported;
        let (value, error) = match answer {
            Some((_, CallResult::Value(value))) => (Some(value), None),
            Some((_, CallResult::Failed(failure))) => (None, Some(failure)),
            None => (None, None),
        };
        Self {
            call_id: &reported.call_id,
            seq: call.seq,
            name: call.name.as_str(),
            owner: ToolOwner::Caller,
            argument: call.argument.as_ref(),
            state: reported.state,
            at_ms: call.at_ms,
            duration_ms: answer
                .as_ref()
                .map(|(at_ms, _)| at_ms.saturating_sub(call.at_ms)),
            argument_bytes: call.argument.as_ref().map_or(0, |text| text.as_str().len()),
            result_bytes: value.map(|value| value.as_str().len()),
            error,
            unobserved: reported.is_unobserved,
        }
    }
}
