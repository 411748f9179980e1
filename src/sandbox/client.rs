//! The service's side: a sandbox that runs one execution after the other, each in a process of its own.

use super::cancel::{CancelToken, Waker};
use super::channel::{JobProcess, Ordered, Spare};
use super::control::{
    Readiness, ZygotePlan, order_report, order_spare, receive_message, send_message,
};
use super::level::{IsolationLevel, WallReport};
use super::supervise::{Buffers, Ending, Observed, Start, supervise};
use super::sys::{self, Reaped};
use super::wire::{self, Work};
use super::zygote::ZYGOTE_ARGUMENT;
use crate::domain::{Execution, JobId, Outcome, ScriptError, Timestamp, Usage};
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, setsockopt, socketpair, sockopt};
use nix::sys::time::{TimeVal, TimeValLike};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A zygote that is not ready by then never will be.
const READY_WITHIN: Duration = Duration::from_secs(10);
/// A spare that did not say hello by then is given up.
const HELLO_WITHIN: Duration = Duration::from_secs(2);
/// A job process that has not taken its whole job by then is given up.
const JOB_TAKEN_WITHIN: Duration = Duration::from_secs(2);
/// Zygotes that may fail one after the other before an execution is refused.
const ZYGOTES_TRIED: usize = 3;

/// The sandbox itself failed; the script is not to blame and may not have run at all.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The zygote could not be started.
    #[error("a zygote cannot be started: {0}")]
    Spawn(#[from] io::Error),
    /// The zygote said that a wall is missing.
    #[error("wall `{wall}` is missing: {reason}")]
    WallMissing {
        /// Its name.
        wall: String,
        /// What was tried.
        reason: String,
    },
    /// The zygote stands, but below the level that was asked for.
    #[error("isolation is {reached}, below the {wanted} asked for; missing: {missing}")]
    BelowMinimum {
        /// What stands.
        reached: IsolationLevel,
        /// What was asked for.
        wanted: IsolationLevel,
        /// The walls that are absent, and why.
        missing: String,
    },
    /// The zygote or its children did not do what they always do.
    #[error("the zygote failed: {0}")]
    Zygote(String),
}

/// What a sandbox is to be.
#[derive(Debug, Clone)]
pub struct SandboxOptions {
    /// How the zygote walls itself in.
    pub plan: ZygotePlan,
    /// Below this it refuses to run anything.
    pub min_isolation: IsolationLevel,
    /// From `timeoutMs` to SIGKILL.
    pub kill_grace: Duration,
    /// Executions before a zygote is replaced.
    pub executions_per_zygote: u32,
}

/// What one sandbox has seen, for health and metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SandboxCounters {
    /// Zygotes started, the first included.
    pub zygotes_started: u64,
    /// Zygotes that were replaced because they or a child of theirs died unexpectedly.
    pub zygotes_failed: u64,
    /// Job processes killed at their deadline.
    pub killed_at_deadline: u64,
    /// Job processes that broke the protocol or died.
    pub crashed: u64,
}

/// Runs one execution at a time. Owned by one executor thread: the zygote dies with the thread that started it.
#[derive(Debug)]
pub struct Sandbox {
    options: SandboxOptions,
    zygote: Option<Zygote>,
    waker: Arc<Waker>,
    buffers: Buffers,
    job_bytes: Vec<u8>,
    counters: SandboxCounters,
}

impl Sandbox {
    /// A sandbox with a live zygote that reached the level asked for.
    pub fn start(options: SandboxOptions) -> Result<Self, SandboxError> {
        let waker = Waker::new().map_err(io::Error::from)?;
        let mut sandbox = Self {
            options,
            zygote: None,
            waker: Arc::new(waker),
            buffers: Buffers::default(),
            job_bytes: Vec::new(),
            counters: SandboxCounters::default(),
        };
        sandbox.ensure_zygote()?;
        Ok(sandbox)
    }

    /// The level that was reached, and each wall; `None` while there is no zygote.
    #[must_use]
    pub fn isolation(&self) -> Option<(IsolationLevel, &[WallReport])> {
        let zygote = self.zygote.as_ref()?;
        Some((zygote.level, &zygote.walls))
    }

    /// The operating system's name of the zygote (where there is one, of its launcher).
    #[must_use]
    pub fn zygote_pid(&self) -> Option<u32> {
        self.zygote.as_ref().map(|zygote| zygote.process.id())
    }

    /// What happened so far.
    #[must_use]
    pub fn counters(&self) -> SandboxCounters {
        self.counters
    }

    /// Runs `work` to its end. A script's failure is an [`Execution`]; an error means that the sandbox itself failed.
    ///
    /// Afterwards call [`Sandbox::maintain`], when the answer is out.
    pub fn run(
        &mut self,
        id: JobId,
        work: &Work<'_>,
        cancel: &CancelToken,
    ) -> Result<Execution, SandboxError> {
        wire::encode(work, &mut self.job_bytes)
            .map_err(|error| SandboxError::Zygote(error.to_string()))?;
        let Given {
            job,
            at: started_at,
            start,
        } = self.give_to_job_process()?;
        // While this job runs, the next job process is made.
        if let Some(zygote) = &mut self.zygote {
            zygote.order_spare();
            zygote.served += 1;
        }
        cancel.attach(Some(Arc::clone(&self.waker)));
        let limits = work.limits();
        let observed = supervise(
            &job,
            &limits,
            self.options.kill_grace,
            start,
            cancel,
            &self.waker,
            &mut self.buffers,
        );
        cancel.attach(None);
        let expects_death = matches!(work, Work::NetCheck { .. });
        let fate = self.settle(job, &observed.ending, expects_death);
        Ok(execution(id, started_at, observed, &limits, &fate))
    }

    /// Finds out whether the zygote died while nothing ran, and replaces it if so.
    pub fn check_up(&mut self) -> Result<(), SandboxError> {
        let has_died = self.zygote.as_mut().is_some_and(Zygote::has_died);
        if has_died {
            self.zygote = None;
            self.counters.zygotes_failed += 1;
        }
        self.ensure_zygote()
    }

    /// Replaces a zygote that is gone or has served its share, outside any request's time.
    pub fn maintain(&mut self) -> Result<(), SandboxError> {
        let worn_out = self
            .zygote
            .as_ref()
            .is_some_and(|zygote| zygote.served >= self.options.executions_per_zygote);
        if worn_out {
            self.zygote = None;
        }
        self.ensure_zygote()
    }

    /// Takes the spare and writes the job to it. Whatever dies before the job process has all of its job has run
    /// nothing of it, so the next one may try.
    fn give_to_job_process(&mut self) -> Result<Given, SandboxError> {
        let mut last_failure = SandboxError::Zygote("no zygote could be kept alive".to_owned());
        for _ in 0..ZYGOTES_TRIED {
            self.ensure_zygote()?;
            match self.try_to_give() {
                Ok(given) => return Ok(given),
                Err(error) => last_failure = error,
            }
            self.zygote = None;
            self.counters.zygotes_failed += 1;
        }
        Err(last_failure)
    }

    fn try_to_give(&mut self) -> Result<Given, SandboxError> {
        let spare = self
            .zygote
            .as_mut()
            .and_then(|zygote| zygote.spare.take())
            .ok_or_else(|| SandboxError::Zygote("it takes no orders".to_owned()))?;
        let job = spare
            .ready(HELLO_WITHIN)
            .map_err(|error| SandboxError::Zygote(error.to_string()))?;
        // What it took to be forked and filtered is not the script's.
        let cpu_before = sys::cpu_time_of(job.pid()).unwrap_or_default();
        let (at, given) = (Timestamp::now(), Instant::now());
        match job.send(&self.job_bytes, given + JOB_TAKEN_WITHIN) {
            Ok(()) => Ok(Given {
                job,
                at,
                start: Start {
                    given,
                    taken: Instant::now(),
                    cpu_before,
                },
            }),
            Err(errno) => {
                job.kill();
                Err(SandboxError::Zygote(format!(
                    "its job process did not take its job: {errno}"
                )))
            }
        }
    }

    /// After an execution: counts what happened, and gives the zygote up where its children may know its layout.
    fn settle(&mut self, job: JobProcess, ending: &Ending, expects_death: bool) -> Fate {
        match ending {
            Ending::Done(_) | Ending::Cancelled => return Fate::default(),
            Ending::Overran => self.counters.killed_at_deadline += 1,
            Ending::Died | Ending::Broke(_) | Ending::ChannelFailed(_) => {
                self.counters.crashed += 1;
            }
        }
        drop(job);
        let reaped = self
            .zygote
            .as_ref()
            .and_then(|zygote| zygote.ask_how_it_ended().ok());
        let unexpected = !matches!(ending, Ending::Overran) && !expects_death;
        if unexpected || reaped.is_none() {
            self.zygote = None;
            self.counters.zygotes_failed += 1;
        }
        Fate { reaped }
    }

    fn ensure_zygote(&mut self) -> Result<(), SandboxError> {
        if self.zygote.is_some() {
            return Ok(());
        }
        self.counters.zygotes_started += 1;
        let mut zygote = Zygote::spawn(&self.options.plan)?;
        if zygote.level < self.options.min_isolation {
            return Err(SandboxError::BelowMinimum {
                reached: zygote.level,
                wanted: self.options.min_isolation,
                missing: absent_walls(&zygote.walls),
            });
        }
        zygote.order_spare();
        self.zygote = Some(zygote);
        Ok(())
    }
}

fn absent_walls(walls: &[WallReport]) -> String {
    let absent: Vec<String> = walls
        .iter()
        .filter(|wall| !wall.present)
        .map(|wall| format!("{} ({})", wall.wall, wall.detail))
        .collect();
    absent.join(", ")
}

/// A job process that has its job.
struct Given {
    job: JobProcess,
    at: Timestamp,
    start: Start,
}

/// How the kernel says that the job process ended, where that was asked.
#[derive(Debug, Default)]
struct Fate {
    reaped: Option<Reaped>,
}

/// A live zygote.
#[derive(Debug)]
struct Zygote {
    process: Child,
    control: OwnedFd,
    spare: Option<Ordered>,
    level: IsolationLevel,
    walls: Vec<WallReport>,
    served: u32,
}

impl Zygote {
    fn spawn(plan: &ZygotePlan) -> Result<Self, SandboxError> {
        let (control, far_end) = socketpair(
            AddressFamily::Unix,
            SockType::SeqPacket,
            None,
            SockFlag::SOCK_CLOEXEC,
        )
        .map_err(io::Error::from)?;
        setsockopt(
            &control,
            sockopt::ReceiveTimeout,
            &TimeVal::milliseconds(i64::try_from(READY_WITHIN.as_millis()).unwrap_or(i64::MAX)),
        )
        .map_err(io::Error::from)?;
        // The running binary itself, even when the file has been replaced since.
        let process = Command::new("/proc/self/exe")
            .arg0("sandpiper-zygote")
            .arg(ZYGOTE_ARGUMENT)
            .env_clear()
            // A zone that needs no file.
            .env("TZ", "UTC0")
            .current_dir("/")
            .stdin(Stdio::from(far_end))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let mut zygote = Self {
            process,
            control,
            spare: None,
            level: IsolationLevel::L2,
            walls: Vec::new(),
            served: 0,
        };
        zygote.shake_hands(plan)?;
        Ok(zygote)
    }

    fn shake_hands(&mut self, plan: &ZygotePlan) -> Result<(), SandboxError> {
        let failed = |errno: Errno| SandboxError::Zygote(format!("it did not get ready: {errno}"));
        send_message(self.control.as_fd(), plan).map_err(failed)?;
        match receive_message(self.control.as_fd()).map_err(failed)? {
            Readiness::Ready { level, walls } => {
                self.level = level;
                self.walls = walls;
                Ok(())
            }
            Readiness::Failed { wall, reason } => Err(SandboxError::WallMissing { wall, reason }),
        }
    }

    fn has_died(&mut self) -> bool {
        !matches!(self.process.try_wait(), Ok(None))
    }

    /// Orders the next job process. If that fails the zygote is gone, which the next execution finds out.
    fn order_spare(&mut self) {
        self.spare = Spare::new()
            .and_then(|spare| {
                order_spare(self.control.as_fd(), spare.far_end.as_fd())?;
                Ok(spare.ordered())
            })
            .ok();
    }

    fn ask_how_it_ended(&self) -> Result<Reaped, Errno> {
        order_report(self.control.as_fd())?;
        receive_message(self.control.as_fd())
    }
}

impl Drop for Zygote {
    fn drop(&mut self) {
        // Its children die with it.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn execution(
    id: JobId,
    started_at: Timestamp,
    observed: Observed,
    limits: &crate::domain::Limits,
    fate: &Fate,
) -> Execution {
    let wall_micros = u64::try_from(observed.wall.as_micros()).unwrap_or(u64::MAX);
    let cpu_micros = observed
        .cpu
        .and_then(|cpu| u64::try_from(cpu.as_micros()).ok())
        .unwrap_or_default();
    let peak_resident = fate.reaped.map_or(0, |reaped| reaped.peak_resident_bytes);
    let mut execution = Execution {
        id,
        started_at,
        finished_at: started_at.plus(observed.wall),
        outcome: Outcome::Crashed,
        result: None,
        result_type: None,
        error: None,
        log: observed.log,
        log_dropped: 0,
        usage: Usage {
            wall_micros,
            cpu_micros,
            peak_memory_bytes: peak_resident,
            output_bytes: observed.log_bytes,
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
            let result_bytes = done
                .result
                .as_ref()
                .map_or(0, |result| result.as_str().len());
            execution.outcome = done.outcome;
            execution.result_type = done.result_type;
            execution.result = done.result;
            execution.error = done.error;
            execution.log_dropped = done.log_dropped;
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
        Ending::Cancelled => (
            Outcome::Cancelled,
            ScriptError::of_service("Cancelled", "the execution was cancelled"),
        ),
        Ending::Died => crashed(how_it_died(fate)),
        Ending::Broke(broken) => crashed(format!(
            "the job process broke the rules it is held to and was killed: {broken}"
        )),
        Ending::ChannelFailed(errno) => crashed(format!("the job process was lost: {errno}")),
    };
    execution.outcome = outcome;
    execution.error = Some(error);
    execution
}

fn how_it_died(fate: &Fate) -> String {
    let Some(reaped) = fate.reaped else {
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
