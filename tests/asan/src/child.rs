//! One execution in a forked child, and the end of that child.

use crate::cases::Case;
use sandpiper_domain::{Ceiling, Limits, LogKind};
use crate::engine::{
    Completion, EngineJob, Output, WarmEngine, refuse_by_choice, was_refused_by_choice,
};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork, pipe};
use std::fs::File;
use std::io::{Read, Write as _};
use std::os::fd::{AsFd, AsRawFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Time from a script's deadline to SIGKILL. A sanitized engine is slow inside built-ins.
const GRACE: Duration = Duration::from_secs(2);
/// Maximum bytes of a report that are retained.
const REPORT_BYTES_MAX: usize = 6_000;
const OUTPUT_BYTES: u32 = 1 << 20;

/// The end of a child.
pub(crate) enum Ended {
    /// The child wrote its final message.
    WithOutcome { outcome: String, was_refused: bool },
    /// The child was still inside a built-in after its deadline.
    Stopped,
    /// A sanitizer's report, a signal, or a panic.
    Otherwise { how: String, report: String },
}

/// Runs `case` in a child, with the engine that the child inherits.
pub(crate) fn run(engine: &mut Option<WarmEngine>, case: &Case) -> Ended {
    let (Ok((message, message_end)), Ok((report, report_end))) = (pipe(), pipe()) else {
        return otherwise("no pipe");
    };
    // SAFETY: this program has one thread.
    match unsafe { fork() } {
        Err(errno) => otherwise(&format!("no fork: {errno}")),
        Ok(ForkResult::Child) => {
            // SAFETY: standard error is the child's own.
            unsafe { libc::dup2(report_end.as_raw_fd(), libc::STDERR_FILENO) };
            let output = Pipe(File::from(message_end));
            match engine.take() {
                Some(engine) => execute(engine, case, output),
                None => exit(70),
            }
        }
        Ok(ForkResult::Parent { child }) => {
            drop((message_end, report_end));
            judge(child, File::from(message), File::from(report), case)
        }
    }
}

fn otherwise(how: &str) -> Ended {
    Ended::Otherwise {
        how: how.to_owned(),
        report: String::new(),
    }
}

fn judge(child: Pid, message: File, report: File, case: &Case) -> Ended {
    let deadline = Instant::now() + Duration::from_millis(u64::from(case.timeout_ms)) + GRACE;
    // The report is read first: a child that blocks on a full pipe would never end.
    let report = read_until(report, deadline);
    let was_stopped = report.is_none();
    if was_stopped {
        let _ = kill(child, Signal::SIGKILL);
    }
    let status = waitpid(child, None);
    let mut said = String::new();
    let mut message = message;
    let _ = message.read_to_string(&mut said);
    let mut report = report.unwrap_or_default();
    report.truncate(report.floor_char_boundary(REPORT_BYTES_MAX));
    match (status, said.split_once(' ')) {
        (Ok(WaitStatus::Exited(_, 0)), Some((outcome, refused))) if report.is_empty() => {
            Ended::WithOutcome {
                outcome: outcome.to_owned(),
                was_refused: refused == "true",
            }
        }
        _ if was_stopped => Ended::Stopped,
        (status, _) => Ended::Otherwise {
            how: format!("{status:?}"),
            report,
        },
    }
}

/// Reads until the other end closes. Returns `None` if it does not close in time.
fn read_until(mut file: File, deadline: Instant) -> Option<String> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let millis = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let ready = poll(&mut [PollFd::new(file.as_fd(), PollFlags::POLLIN)], millis);
        if ready == Ok(0) {
            return None;
        }
        match file.read(&mut buffer) {
            Ok(0) => return Some(String::from_utf8_lossy(&bytes).into_owned()),
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
            Err(_) => return None,
        }
    }
}

fn execute(engine: WarmEngine, case: &Case, output: Pipe) -> ! {
    let ceiling = Ceiling {
        timeout_ms: case.timeout_ms,
        memory_bytes: case.memory_bytes,
        output_bytes: OUTPUT_BYTES,
    };
    let limits = Limits::defaults(case.timeout_ms, case.memory_bytes, OUTPUT_BYTES, &ceiling);
    let Ok(limits) = limits else { exit(71) };
    let modules = case.script.modules.iter();
    let modules = modules.map(|module| (module.file_name.as_str(), module.text.as_str()));
    let job = EngineJob {
        sources: vec![("code", case.script.code.as_str())],
        kind: case.script.kind,
        language: case.script.language,
        modules: modules.collect(),
        input: None,
        globals: Vec::new(),
        limits,
        seed: None,
        entropy: 1,
        tools: None,
    };
    refuse_by_choice(case.refusals);
    engine.run(&job, Rc::new(output))
}

/// Writes the outcome, and ends the child at once.
struct Pipe(File);

impl Output for Pipe {
    fn log(&self, _: LogKind, _: u32, _: u64, _: &str) {}

    fn log_dropped(&self) {}

    fn finish(&self, completion: &Completion) -> ! {
        let line = format!("{:?} {}", completion.outcome, was_refused_by_choice());
        let _ = (&self.0).write_all(line.as_bytes());
        exit(0)
    }
}

fn exit(code: i32) -> ! {
    // SAFETY: `_exit` has no precondition.
    unsafe { libc::_exit(code) }
}
