//! The service's side: a sandbox that runs one execution after the other, each in a process of its own.

use crate::error::SandboxError;
use crate::execution_handle::{ExecutionHandle, Waker};
use crate::live_zygote::{JobProcess, LiveZygote, NoHello};
use crate::program::SandboxProgram;
use crate::supervise::{Buffers, Ending, Observed, Start, supervise};
use crate::sys;
use crate::verdict::{execution, never_began};
use sandpiper_domain::{Execution, JobId, Timestamp};
use sandpiper_sandbox_protocol::ChildReport;
use sandpiper_sandbox_protocol::ZygotePlan;
use sandpiper_sandbox_protocol::{self as protocol, Work};
use sandpiper_sandbox_protocol::{IsolationLevel, WallReport};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A job process that has not taken its whole job by then is given up.
const JOB_TAKEN_WITHIN: Duration = Duration::from_secs(2);
/// A silent execution that was killed before it had used more processor time than this is run again.
const SCARCELY_RUN: Duration = Duration::from_millis(20);
/// As long as it had not gone on for longer than this: whoever waits for its answer has a limit of time.
const KILLED_SOON: Duration = Duration::from_millis(250);
/// Zygotes that may fail one after the other before an execution is refused.
const ZYGOTES_TRIED: usize = 3;

/// What a sandbox is to be.
#[derive(Debug, Clone)]
pub struct SandboxOptions {
    /// The program that zygotes run.
    pub program: SandboxProgram,
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
    zygote: Option<LiveZygote>,
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
        self.zygote.as_ref().map(|zygote| zygote.pid())
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
        handle: &ExecutionHandle,
    ) -> Result<Execution, SandboxError> {
        protocol::encode(work, &mut self.job_bytes)
            .map_err(|error| SandboxError::Zygote(error.to_string()))?;
        let limits = work.limits();
        if handle.is_cancelled() {
            // Given and killed unread it would cost the zygote: what is left on a line stays there.
            return Ok(never_began(id, limits));
        }
        let mut was_rerun = false;
        for _ in 0..ZYGOTES_TRIED {
            let Given { job, at, start } = self.give_to_job_process(limits.timeout())?;
            let Some(zygote) = &mut self.zygote else {
                continue;
            };
            handle.attach(Some(Arc::clone(&self.waker)));
            let (waker, buffers) = (&self.waker, &mut self.buffers);
            let observed = supervise(&job, zygote, &limits, start, handle, waker, buffers);
            handle.attach(None);
            if matches!(observed.ending, Ending::DiedUnread) {
                // Nothing of it has run, so it may be tried again. What waits for it sees its line close.
                drop(job);
                self.give_zygote_up();
                continue;
            }
            let expects_death = matches!(work, Work::NetCheck { .. });
            let reaped = self.settle(&job, &observed, expects_death);
            if !expects_death {
                // Once: whoever is killed a second time may be what the machine's memory has no room for.
                if !was_rerun && was_killed_at_once(&observed, reaped) {
                    was_rerun = true;
                    continue;
                }
                self.counters.crashed += u64::from(is_crash(&observed.ending));
            }
            return Ok(execution(id, at, observed, &limits, reaped));
        }
        Err(SandboxError::Zygote(
            "its job processes die as soon as they have their jobs".to_owned(),
        ))
    }

    /// Finds out whether the zygote died while nothing ran, and replaces it if so.
    pub fn check_up(&mut self) -> Result<(), SandboxError> {
        let has_died = self.zygote.as_mut().is_some_and(LiveZygote::has_died);
        if has_died {
            self.give_zygote_up();
        }
        self.ensure_zygote()
    }

    /// Replaces a zygote that is gone or has served its share, and has the next job process made, outside any request's
    /// time.
    pub fn maintain(&mut self) -> Result<(), SandboxError> {
        let worn_out = self
            .zygote
            .as_ref()
            .is_some_and(|zygote| zygote.served >= self.options.executions_per_zygote);
        if worn_out {
            self.zygote = None;
        }
        self.ensure_zygote()?;
        self.zygote.iter_mut().for_each(LiveZygote::ensure_spare);
        Ok(())
    }

    /// Takes the spare and writes the job to it. Whatever dies before the job process has all of its job has run
    /// nothing of it, so the next one may try.
    fn give_to_job_process(&mut self, timeout: Duration) -> Result<Given, SandboxError> {
        let mut last_failure = SandboxError::Zygote("no zygote could be kept alive".to_owned());
        for _ in 0..ZYGOTES_TRIED {
            match self
                .ensure_zygote()
                .and_then(|()| self.try_to_give(timeout))
            {
                Ok(given) => return Ok(given),
                // What is missing stays missing.
                Err(
                    lasting
                    @ (SandboxError::WallMissing { .. } | SandboxError::BelowMinimum { .. }),
                ) => return Err(lasting),
                Err(passing) => last_failure = passing,
            }
            self.give_zygote_up();
        }
        Err(last_failure)
    }

    fn try_to_give(&mut self, timeout: Duration) -> Result<Given, SandboxError> {
        let failed = |error: NoHello| SandboxError::Zygote(error.to_string());
        let zygote = self.zygote.as_mut().ok_or_else(|| failed(NoHello::Died))?;
        zygote.ensure_spare();
        let job = zygote.take_spare().map_err(failed)?;
        zygote.served += 1;
        // What it took to be born is not the script's, if it had been by now.
        let born = zygote.pid_of(&job);
        let cpu_before = born.and_then(sys::cpu_time_of).unwrap_or_default();
        let (at, given) = (Timestamp::now(), Instant::now());
        match zygote.send(&job, &self.job_bytes, given + JOB_TAKEN_WITHIN) {
            Ok(()) => Ok(Given {
                job,
                at,
                start: Start {
                    given,
                    kill_at: Instant::now() + timeout + self.options.kill_grace,
                    cpu_before,
                },
            }),
            // The zygote is given up, and with it whatever may be left of its job process.
            Err(errno) => Err(SandboxError::Zygote(format!(
                "its job process did not take its job: {errno}"
            ))),
        }
    }

    /// After an execution: counts what happened, and gives the zygote up where its children may know its layout.
    fn settle(
        &mut self,
        job: &JobProcess,
        observed: &Observed,
        expects_death: bool,
    ) -> Option<ChildReport> {
        let ending = &observed.ending;
        self.counters.killed_at_deadline += u64::from(matches!(ending, Ending::Overran));
        if !observed.is_over {
            // With the zygote it goes.
            self.give_zygote_up();
            return None;
        }
        let zygote = self.zygote.as_mut()?;
        if matches!(ending, Ending::Done(_)) {
            zygote.stop_watching(job);
            return None;
        }
        let reaped = zygote.ask_how_it_ended(job).ok();
        let unexpected = !matches!(ending, Ending::Overran | Ending::Cancelled) && !expects_death;
        // A job of which something is left would be the next one's.
        if unexpected || reaped.is_none() || job.line.has_unread() {
            self.give_zygote_up();
        }
        reaped
    }

    fn give_zygote_up(&mut self) {
        self.zygote = None;
        self.counters.zygotes_failed += 1;
    }

    fn ensure_zygote(&mut self) -> Result<(), SandboxError> {
        if self.zygote.is_some() {
            return Ok(());
        }
        self.counters.zygotes_started += 1;
        let mut zygote = LiveZygote::spawn(&self.options.program, &self.options.plan)?;
        if zygote.level < self.options.min_isolation {
            return Err(SandboxError::BelowMinimum {
                reached: zygote.level,
                wanted: self.options.min_isolation,
                missing: absent_walls(&zygote.walls),
            });
        }
        zygote.ensure_spare();
        zygote.prove_that_kill_kills()?;
        self.zygote = Some(zygote);
        Ok(())
    }
}

/// Whether the job process is to blame.
fn is_crash(ending: &Ending) -> bool {
    matches!(
        ending,
        Ending::Died | Ending::DiedUnread | Ending::Broke(_) | Ending::LineFailed(_)
    )
}

/// Whether it was killed from outside, by whoever killed its zygote or it, about when it got its job, and had said nothing.
/// A process that is being killed may still take its job from the pipe. Nobody has seen anything of such an execution, and a
/// script can do nothing but be seen, so it may be run again.
fn was_killed_at_once(observed: &Observed, reaped: Option<ChildReport>) -> bool {
    // What it used of a processor is not known when its zygote has died as well; then it is no more than the time.
    let (is_kill, used) = match reaped {
        Some(reaped) => (reaped.signal == Some(libc::SIGKILL), reaped.cpu),
        None => (true, observed.wall),
    };
    matches!(observed.ending, Ending::Died)
        && observed.log.is_empty()
        && is_kill
        && used < SCARCELY_RUN
        && observed.wall < KILLED_SOON
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
