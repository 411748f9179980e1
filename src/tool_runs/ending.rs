//! The ends of executions with tools that the service itself decides.

use sandpiper_domain::tools::{Call, Suspension, ToolLimits, Unawaited};
use sandpiper_domain::{Execution, Job, Limit, Outcome, ScriptError, Timestamp, Usage};

/// Most names of calls in an error message.
const NAMES_MAX: usize = 5;
/// Name of the error of an execution that did not await its calls.
const NOT_AWAITED: &str = "UnawaitedCallError";

/// The fate of the calls that a script did not await before it succeeded.
#[derive(Debug)]
#[allow(clippy::large_enum_variant)] // one of them exists, for a moment
pub(super) enum UnawaitedCalls {
    /// There are none, or they are not sent.
    Ignored,
    Offered,
    Failed(ScriptError),
}

/// Decides about the calls that nobody was told of when a script succeeds.
pub(super) fn of_unawaited(unawaited: Unawaited, unoffered: &[Call]) -> UnawaitedCalls {
    let names: Vec<&str> = unoffered.iter().map(|call| call.name.as_str()).collect();
    match unawaited {
        _ if names.is_empty() => UnawaitedCalls::Ignored,
        Unawaited::Offer => UnawaitedCalls::Offered,
        Unawaited::Drop => UnawaitedCalls::Ignored,
        Unawaited::Fail => UnawaitedCalls::Failed(not_awaited(&names)),
    }
}

fn not_awaited(names: &[&str]) -> ScriptError {
    let shown: Vec<String> = (names.iter().take(NAMES_MAX))
        .map(|name| format!("tools.{name}"))
        .collect();
    let more = match names.len().saturating_sub(NAMES_MAX) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let message = format!(
        "the script ended without awaiting its calls of {}{more}; they were not sent",
        shown.join(", ")
    );
    ScriptError::of_service(NOT_AWAITED, message).with_hint(
        "Put `await` before each call, or send the request with \"unawaited\": \"offer\"",
    )
}

/// Makes an execution that succeeded one that failed with `error`.
pub(super) fn fail(execution: &mut Execution, error: ScriptError) {
    execution.outcome = Outcome::Threw;
    execution.result = None;
    execution.result_type = None;
    execution.hint = None;
    execution.error = Some(error);
}

/// Returns what is shown of an execution that has succeeded and waits for calls that it did not await: its log. The same
/// result comes again with the last round.
pub(super) fn withheld(execution: Execution) -> Suspension {
    Suspension {
        id: execution.id,
        started_at: execution.started_at,
        finished_at: execution.finished_at,
        resume_at_ms: None,
        log: execution.log,
        log_dropped: execution.log_dropped,
        log_dropped_at: execution.log_dropped_at,
        usage: execution.usage,
        limits: execution.limits,
    }
}

/// Returns what is shown of an execution that waits on without a round.
pub(crate) fn nothing_new(job: &Job) -> Suspension {
    let now = Timestamp::now();
    Suspension {
        id: job.id,
        started_at: now,
        finished_at: now,
        resume_at_ms: None,
        log: Vec::new(),
        log_dropped: 0,
        log_dropped_at: 0,
        usage: Usage::default(),
        limits: job.limits,
    }
}

/// Returns the end of an execution whose replays took longer than they may.
pub(super) fn replayed_too_long(job: &Job, limits: &ToolLimits) -> Execution {
    let message = format!(
        "repeating earlier rounds took longer than replayMs, which is {} ms",
        limits.replay_ms
    );
    let error = ScriptError::of_service(ScriptError::REPLAYED_TOO_LONG, message)
        .with_hint(Limit::ReplayMs.hint());
    Execution::never_ran(job.id, job.limits, Outcome::TimedOut, error)
}

/// Returns the end of an execution that waits for a timer alone, which is due after the time until which the execution can
/// be continued.
pub(super) fn waits_too_long(
    suspension: Suspension,
    due: Timestamp,
    limits: &ToolLimits,
) -> Execution {
    let message = format!(
        "the script waits for a timer that is due at {}, and an execution waits for {} s at most",
        due.to_rfc3339(),
        limits.wait_timeout_s
    );
    let error = ScriptError::of_service(ScriptError::WAITS_TOO_LONG, message)
        .with_hint(Limit::WaitTimeoutS.hint());
    Execution {
        started_at: suspension.started_at,
        finished_at: suspension.finished_at,
        log: suspension.log,
        log_dropped: suspension.log_dropped,
        log_dropped_at: suspension.log_dropped_at,
        ..Execution::never_ran(suspension.id, suspension.limits, Outcome::TimedOut, error)
    }
}

/// Returns the end of an execution that has waited as long as it may.
pub(super) fn waited_too_long(job: &Job, limits: &ToolLimits) -> Execution {
    let message = format!(
        "nothing let the script go on within waitTimeoutS, which is {} s",
        limits.wait_timeout_s
    );
    let error = ScriptError::of_service(ScriptError::WAITS_TOO_LONG, message)
        .with_hint(Limit::WaitTimeoutS.hint());
    Execution::never_ran(job.id, job.limits, Outcome::TimedOut, error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sandpiper_domain::samples;

    #[test]
    fn ends_by_the_service_name_their_own_limits() {
        let job = samples::job("a", 1);
        let limits = ToolLimits::default();
        let ended = replayed_too_long(&job, &limits);
        assert_eq!(ended.limit_hit(), Some(Limit::ReplayMs));
        let ended = waits_too_long(nothing_new(&job), Timestamp::now(), &limits);
        assert_eq!(ended.outcome, Outcome::TimedOut);
        assert_eq!(ended.limit_hit(), Some(Limit::WaitTimeoutS));
    }
}
