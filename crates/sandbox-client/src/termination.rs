//! The termination of a job process, as its executor observes it, and the execution that results.
//!
//! ```text
//!   observation                                termination     result
//!   final frame                                Done            the outcome in the frame
//!   report of a round that suspends            Suspended       a suspended round
//!   deadline and grace period over             Overran         timed out; the job process is killed
//!   cancelled                                  Cancelled       cancelled; the job process is killed
//!   death, the job unread                      DiedUnread      repeated on another zygote
//!   death, the job read                        Died            crashed; repeated once if it was killed at once
//!   bytes that break the protocol              Broke           crashed; the job process is killed
//!   the channel fails                          ChannelFailed   crashed; the job process is killed
//! ```
//!
//! The job process may claim any outcome that a script can reach. The kernel alone says how the process died.

use crate::retained_log::FinishedLog;
use crate::rounds::CheckedRound;
use nix::errno::Errno;
use sandpiper_domain::{Execution, JobId, Limits, Outcome, ScriptError, Timestamp, Usage};
use sandpiper_sandbox_protocol::{BrokenProtocol, ChildReport, Done};
use std::time::Duration;

/// Processor time below which a job process that was killed from outside is run again.
const KILLED_AT_ONCE_CPU: Duration = Duration::from_millis(20);
/// Run time below which such a job process is run again: the client that waits for the response has a time limit.
const KILLED_AT_ONCE_WALL: Duration = Duration::from_millis(250);

const OUT_OF_MEMORY_HINT: &str = "The kernel kills a process like this when the container or the machine has no memory left. \
     The container needs more memory, or the service fewer executors or a lower `memoryBytes`";

/// The end of a job process, as its executor observed it. See the table of this module.
#[derive(Debug)]
pub(crate) enum Termination {
    Done(Box<Done>),
    /// The execution has tools, and waits.
    Suspended,
    Overran,
    Cancelled,
    Died,
    /// The job process died before it had read its job, or was not forked in time. Nothing of the job has run.
    DiedUnread,
    Broke(BrokenProtocol),
    ChannelFailed(Errno),
}

impl Termination {
    pub(crate) fn is_death(&self) -> bool {
        matches!(self, Self::Died | Self::DiedUnread)
    }

    pub(crate) fn is_crash(&self) -> bool {
        !matches!(
            self,
            Self::Done(_) | Self::Suspended | Self::Overran | Self::Cancelled
        )
    }
}

#[derive(Debug)]
pub(crate) struct Observation {
    pub(crate) termination: Termination,
    pub(crate) log: FinishedLog,
    /// The report of a round, checked, if the job process ran one.
    pub(crate) round: Option<CheckedRound>,
    pub(crate) wall: Duration,
    /// Processor time by the kernel; absent if the process was reaped before the executor could ask.
    pub(crate) cpu: Option<Duration>,
    /// True if the job process is dead or has been killed.
    pub(crate) is_over: bool,
}

impl Observation {
    /// Returns whether the job process was killed from outside, about when it got its job and before it logged
    /// anything.
    ///
    /// A process that is being killed may still take its job from the pipe. Nothing of such an execution is visible,
    /// and a script can have no effect but a visible one, so it may be run again.
    pub(crate) fn was_killed_at_once(&self, report: Option<ChildReport>) -> bool {
        // If the zygote has died as well, the processor time is unknown. It is at most the elapsed time.
        let (is_kill, used) = match report {
            Some(report) => (report.signal == Some(libc::SIGKILL), report.cpu),
            None => (true, self.wall),
        };
        matches!(self.termination, Termination::Died)
            && self.log.is_empty()
            && is_kill
            && used < KILLED_AT_ONCE_CPU
            && self.wall < KILLED_AT_ONCE_WALL
    }

    /// Returns the execution that results. `report` is the kernel's report of the job process, if it was requested.
    pub(crate) fn into_execution(
        self,
        id: JobId,
        started_at: Timestamp,
        limits: &Limits,
        report: Option<ChildReport>,
    ) -> Execution {
        let mut execution = Execution {
            id,
            started_at,
            finished_at: started_at.plus(self.wall),
            outcome: Outcome::Crashed,
            result: None,
            result_type: None,
            error: None,
            hint: None,
            usage: self.usage(report),
            log: self.log.entries,
            log_dropped: self.log.dropped,
            log_dropped_at: self.log.dropped_at,
            limits: *limits,
        };
        let (outcome, error) = match self.termination {
            Termination::Done(done) => {
                let result_bytes = done.result_bytes();
                execution.outcome = done.outcome;
                execution.result_type = done.result_type;
                execution.result = done.result;
                execution.error = done.error.map(|error| hinted(done.outcome, error));
                execution.hint = done.hint;
                execution.usage.peak_memory_bytes = done.peak_memory_bytes;
                execution.usage.output_bytes += u64::try_from(result_bytes).unwrap_or_default();
                return execution;
            }
            Termination::Overran => {
                let error = timed_out(limits);
                (Outcome::TimedOut, hinted(Outcome::TimedOut, error))
            }
            Termination::Cancelled => (Outcome::Cancelled, cancelled()),
            // A caller turns a suspended round into no execution (`rounds`).
            Termination::Suspended => crashed("it suspended".to_owned()),
            Termination::Died | Termination::DiedUnread => died(report),
            Termination::Broke(broken) => crashed(format!(
                "the job process broke the rules it is held to and was killed: {broken}"
            )),
            Termination::ChannelFailed(errno) => {
                crashed(format!("the job process was lost: {errno}"))
            }
        };
        execution.outcome = outcome;
        execution.error = Some(error);
        execution
    }

    pub(crate) fn usage(&self, report: Option<ChildReport>) -> Usage {
        let micros = |time: Duration| u64::try_from(time.as_micros());
        Usage {
            wall_micros: micros(self.wall).unwrap_or(u64::MAX),
            cpu_micros: self
                .cpu
                .and_then(|cpu| micros(cpu).ok())
                .unwrap_or_default(),
            peak_memory_bytes: report.map_or(0, |report| report.peak_resident_bytes),
            output_bytes: u64::try_from(self.log.bytes).unwrap_or(u64::MAX),
        }
    }
}

pub(crate) fn never_started(id: JobId, limits: Limits) -> Execution {
    Execution::never_ran(id, limits, Outcome::Cancelled, cancelled())
}

/// Returns an error with the hint of the limit that was hit, if it has no better one.
fn hinted(outcome: Outcome, mut error: ScriptError) -> ScriptError {
    if error.hint.is_none() {
        error.hint = outcome.limit().map(|limit| limit.hint().to_owned());
    }
    error
}

/// Returns the outcome of a job process that died. The kernel sends this signal to processes when memory has run out, and
/// the service has sent none.
fn died(report: Option<ChildReport>) -> (Outcome, ScriptError) {
    let (outcome, error) = crashed(cause_of_death(report));
    if report.is_none_or(|report| report.signal != Some(libc::SIGKILL)) {
        return (outcome, error);
    }
    (outcome, error.with_hint(OUT_OF_MEMORY_HINT))
}

fn cancelled() -> ScriptError {
    ScriptError::of_service("Cancelled", "the execution was cancelled")
}

fn timed_out(limits: &Limits) -> ScriptError {
    let message = format!(
        "the script did not end within {} ms and was killed",
        limits.timeout_ms()
    );
    ScriptError::of_service("TimeoutError", message)
}

fn crashed(message: String) -> (Outcome, ScriptError) {
    let error = ScriptError::of_service("Crashed", message);
    (Outcome::Crashed, error)
}

fn cause_of_death(report: Option<ChildReport>) -> String {
    let Some(report) = report else {
        return "the job process died, and its zygote with it".to_owned();
    };
    match (report.signal, report.exit_code) {
        (Some(libc::SIGSYS), _) => {
            "the job process made a system call that is forbidden, and was killed".to_owned()
        }
        (Some(signal), _) => format!("the job process was killed by signal {signal}"),
        (None, Some(code)) => format!("the job process ended by itself with code {code}"),
        (None, None) => "the job process died".to_owned(),
    }
}
