//! The answers of a request: checked before anything runs, and taken together or not at all.

use crate::http::problem::{Code, Problem};
use crate::http::request::{Answer, AnsweredError};
use crate::tool_runs::{TIMEOUT, ToolRun};
use sandpiper_domain::tools::{
    Arrived, CallResult, Refusal, ToolFailure, ToolLimits, canonical_result, is_same_json,
};
use sandpiper_domain::{JsonText, Script, Timestamp};
use std::collections::{HashMap, HashSet};

/// Takes the answers of a request. An answer that was taken before is the same answer again, or an error.
pub(super) fn take(answers: Vec<Answer>, run: &mut ToolRun, now: Timestamp) -> Result<(), Problem> {
    if answers.is_empty() {
        return Ok(());
    }
    let ToolRun { state, log } = run;
    let calls: HashMap<String, u32> = (log.calls().iter())
        .filter(|call| call.refused.is_none() && log.is_offered(call.seq))
        .map(|call| (state.call_id(call.seq), call.seq))
        .collect();
    let mut seen = HashSet::new();
    let (mut taken, mut contradictions) = (Vec::new(), Contradictions::default());
    let mut log_bytes = log.log_bytes() + bytes_of(&state.arrived);
    for (index, answer) in answers.into_iter().enumerate() {
        let call_id = answer.call_id.clone();
        let Some(seq) = calls.get(&call_id).copied() else {
            return Err(unknown_call(index, &call_id));
        };
        if !seen.insert(seq) {
            return Err(twice(index));
        }
        let result = checked(index, answer, &state.tool_limits)?;
        let arrived = state.arrived.iter().find(|arrived| arrived.seq == seq);
        let earlier = arrived
            .map(|arrived| &arrived.result)
            .or_else(|| log.answer(seq));
        if let Some(earlier) = earlier {
            contradictions.compare(call_id, earlier, &result);
            continue;
        }
        let fits = log_bytes + result.log_bytes() <= as_size(state.tool_limits.log_bytes);
        let result = match fits {
            true => result,
            false => CallResult::Failed(Refusal::LogFull.failure()),
        };
        log_bytes += result.log_bytes();
        taken.push(Arrived {
            seq,
            arrived_ms: now.as_unix_millis(),
            result,
        });
    }
    contradictions.check()?;
    state.arrived.extend(taken);
    Ok(())
}

fn bytes_of(arrived: &[Arrived]) -> usize {
    arrived.iter().map(|one| one.result.log_bytes()).sum()
}

fn as_size(bytes: u32) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// Returns the problem of a second answer to the same call in one request.
pub(super) fn twice(index: usize) -> Problem {
    let field = format!("answers[{index}].callId");
    let detail = format!("`{field}` is that of another answer in this request");
    Problem::invalid_field(&field, detail)
}

/// The calls that have another answer already.
#[derive(Debug, Default)]
pub(super) struct Contradictions {
    pub(super) answered: Vec<String>,
    pub(super) timed_out: Vec<String>,
}

impl Contradictions {
    fn compare(&mut self, call_id: String, earlier: &CallResult, again: &CallResult) {
        if is_same(earlier, again) {
            return;
        }
        match earlier {
            CallResult::Failed(failure) if failure.code.as_deref() == Some(TIMEOUT) => {
                self.timed_out.push(call_id);
            }
            // The answer had no room in the log when it came first.
            CallResult::Failed(failure) if *failure == Refusal::LogFull.failure() => {}
            _ => self.answered.push(call_id),
        }
    }

    pub(super) fn check(self) -> Result<(), Problem> {
        if !self.answered.is_empty() {
            let detail = format!(
                "{} has another answer already; nothing of this request was taken",
                self.answered.join(", ")
            );
            return Err(Problem::new(Code::AlreadyAnswered, detail).with("callIds", self.answered));
        }
        if !self.timed_out.is_empty() {
            let detail = format!(
                "{} waited longer than callTimeoutMs and has failed for the script; send the request without this answer",
                self.timed_out.join(", ")
            );
            return Err(Problem::new(Code::CallTimedOut, detail).with("callIds", self.timed_out));
        }
        Ok(())
    }
}

pub(super) fn is_same(one: &CallResult, other: &CallResult) -> bool {
    match (one, other) {
        (CallResult::Value(one), CallResult::Value(other)) => {
            is_same_json(one.as_str(), other.as_str())
        }
        (CallResult::Failed(one), CallResult::Failed(other)) => one == other,
        (CallResult::Value(_), CallResult::Failed(_))
        | (CallResult::Failed(_), CallResult::Value(_)) => false,
    }
}

pub(super) fn unknown_call(index: usize, call_id: &str) -> Problem {
    let shown: String = call_id.chars().take(100).collect();
    let field = format!("answers[{index}].callId");
    let detail =
        format!("`{field}` is \"{shown}\", and this execution has offered no call of that id");
    Problem::new(Code::UnknownCall, detail).with("field", field)
}

/// Returns the result in an answer, within its bounds.
pub(super) fn checked(
    index: usize,
    answer: Answer,
    limits: &ToolLimits,
) -> Result<CallResult, Problem> {
    let Some(error) = answer.error else {
        let result = answer.result.unwrap_or_else(JsonText::null);
        return checked_result(index, &result, limits).map(CallResult::Value);
    };
    let AnsweredError {
        code,
        message,
        name,
        retryable,
    } = error;
    let message = message.unwrap_or_default();
    let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    for (part, bytes, most) in [
        ("code", length(&code), ToolFailure::WORD_BYTES_MAX),
        ("message", message.len(), ToolFailure::MESSAGE_BYTES_MAX),
        ("name", length(&name), ToolFailure::WORD_BYTES_MAX),
    ] {
        check_bytes(&format!("answers[{index}].error.{part}"), bytes, most)?;
    }
    Ok(CallResult::Failed(ToolFailure {
        message,
        name,
        code,
        retryable: retryable.unwrap_or_default(),
    }))
}

/// Returns a result in the form in which it is logged, shown and delivered. `resultBytes` bounds that form.
fn checked_result(
    index: usize,
    result: &JsonText,
    limits: &ToolLimits,
) -> Result<JsonText, Problem> {
    let field = format!("answers[{index}].result");
    let (depth, most) = (result.depth(), Script::JSON_DEPTH_MAX);
    if depth > most {
        let detail = format!("`{field}` is nested {depth} deep; the most is {most}");
        return Err(Problem::invalid_field(&field, detail).with("bound", most));
    }
    let result = canonical_result(result).map_err(|error| {
        let detail = format!("`{field}` has a number that no script can read: {error}");
        Problem::invalid_field(&field, detail)
    })?;
    check_bytes(&field, result.as_str().len(), as_size(limits.result_bytes))?;
    Ok(result)
}

fn check_bytes(field: &str, bytes: usize, most: usize) -> Result<(), Problem> {
    if bytes <= most {
        return Ok(());
    }
    let detail = format!("`{field}` has {bytes} bytes; the most is {most}");
    Err(Problem::invalid_field(field, detail).with("bound", most))
}
