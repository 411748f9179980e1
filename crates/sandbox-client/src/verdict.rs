//! What an executor saw of a job process, told as an execution.
//!
//! The process may claim any outcome that is a script's to reach; how it died is the kernel's word.

use crate::supervise::{Ending, Observed};
use sandpiper_domain::{Execution, JobId, Limits, Outcome, ScriptError, Timestamp, Usage};
use sandpiper_sandbox_protocol::ChildReport;

/// The execution that `observed` comes to. `reaped` is how the kernel says that the process ended, where that was asked.
pub(crate) fn execution(
    id: JobId,
    started_at: Timestamp,
    observed: Observed,
    limits: &Limits,
    reaped: Option<ChildReport>,
) -> Execution {
    let wall_micros = u64::try_from(observed.wall.as_micros()).unwrap_or(u64::MAX);
    let cpu_micros = observed
        .cpu
        .and_then(|cpu| u64::try_from(cpu.as_micros()).ok())
        .unwrap_or_default();
    let log_bytes = u64::try_from(observed.log.bytes).unwrap_or(u64::MAX);
    let peak_resident = reaped.map_or(0, |reaped| reaped.peak_resident_bytes);
    let mut execution = Execution {
        id,
        started_at,
        finished_at: started_at.plus(observed.wall),
        outcome: Outcome::Crashed,
        result: None,
        result_type: None,
        error: None,
        log: observed.log.entries,
        log_dropped: observed.log.dropped,
        log_dropped_at: observed.log.dropped_at,
        usage: Usage {
            wall_micros,
            cpu_micros,
            peak_memory_bytes: peak_resident,
            output_bytes: log_bytes,
        },
        limits: *limits,
    };
    let crashed = |message: String| {
        (
            Outcome::Crashed,
            ScriptError::of_service("Crashed", message),
        )
    };
    let (outcome, error) = match observed.ending {
        Ending::Done(done) => {
            let result_bytes = done.result_bytes();
            execution.outcome = done.outcome;
            execution.result_type = done.result_type;
            execution.result = done.result;
            execution.error = done.error;
            execution.usage.peak_memory_bytes = done.peak_memory_bytes;
            execution.usage.output_bytes += u64::try_from(result_bytes).unwrap_or_default();
            return execution;
        }
        Ending::Overran => (
            Outcome::TimedOut,
            ScriptError::of_service(
                "TimeoutError",
                format!(
                    "the script did not end within {} ms and was killed",
                    limits.timeout_ms()
                ),
            ),
        ),
        Ending::Cancelled => (Outcome::Cancelled, cancelled()),
        Ending::Died | Ending::DiedUnread => crashed(how_it_died(reaped)),
        Ending::Broke(broken) => crashed(format!(
            "the job process broke the rules it is held to and was killed: {broken}"
        )),
        Ending::LineFailed(errno) => crashed(format!("the job process was lost: {errno}")),
    };
    execution.outcome = outcome;
    execution.error = Some(error);
    execution
}

/// The execution of what was cancelled before it began.
pub(crate) fn never_began(id: JobId, limits: Limits) -> Execution {
    Execution::never_ran(id, limits, Outcome::Cancelled, cancelled())
}

fn cancelled() -> ScriptError {
    ScriptError::of_service("Cancelled", "the execution was cancelled")
}

fn how_it_died(reaped: Option<ChildReport>) -> String {
    let Some(reaped) = reaped else {
        return "the job process died, and its zygote with it".to_owned();
    };
    match (reaped.signal, reaped.exit_code) {
        (Some(libc::SIGSYS), _) => {
            "the job process made a system call that is forbidden, and was killed".to_owned()
        }
        (Some(signal), _) => format!("the job process was killed by signal {signal}"),
        (None, Some(code)) => format!("the job process ended by itself with code {code}"),
        (None, None) => "the job process died".to_owned(),
    }
}
