//! A sandbox that runs one execution after the other, each in a process of its own.

use crate::error::SandboxError;
use crate::execution_handle::{ExecutionHandle, Waker};
use crate::live_zygote::{JobProcess, LiveZygote, SpawnError};
use crate::program::SandboxProgram;
use crate::rounds;
use crate::supervise::{Buffers, Start, supervise};
use crate::sys;
use crate::termination::{Observation, Termination, never_started};
use sandpiper_domain::tools::Round;
use sandpiper_domain::{Execution, JobId, Timestamp};
use sandpiper_sandbox_protocol::{
    self as protocol, ChildReport, IsolationLevel, LayerReport, RoundWork, Work, ZygotePlan,
};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Time for a job process to take its whole job. It is killed afterwards.
const JOB_TAKEN_WITHIN: Duration = Duration::from_secs(2);
/// Zygotes that may fail in succession before an execution is refused.
const ZYGOTES_TRIED: usize = 3;

#[derive(Debug, Clone)]
pub struct SandboxOptions {
    pub program: SandboxProgram,
    pub plan: ZygotePlan,
    /// The sandbox refuses to start below this level.
    pub min_isolation: IsolationLevel,
    /// Time from `timeoutMs` to SIGKILL.
    pub kill_grace: Duration,
    /// Executions after which a zygote is replaced.
    pub executions_per_zygote: u32,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SandboxCounters {
    /// Zygotes started, including the first.
    pub zygotes_started: u64,
    /// Zygotes replaced because they or one of their children died unexpectedly.
    pub zygotes_failed: u64,
    pub killed_at_deadline: u64,
    /// Job processes that broke the protocol or died.
    pub crashed: u64,
}

/// Runs one execution at a time. One executor thread owns it: the zygote dies with the thread that started it.
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
    /// Starts a zygote and returns once it has reached the required level.
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

    /// Returns the level reached and one report for each isolation layer; `None` while there is no zygote.
    pub fn isolation(&self) -> Option<(IsolationLevel, &[LayerReport])> {
        let zygote = self.zygote.as_ref()?;
        Some((zygote.level(), zygote.layers()))
    }

    /// Returns the pid of the zygote, or of its launcher if it has one.
    pub fn zygote_pid(&self) -> Option<u32> {
        self.zygote.as_ref().map(|zygote| zygote.pid())
    }

    pub fn counters(&self) -> SandboxCounters {
        self.counters
    }

    /// Runs `work` to its end. A script's failure is an [`Execution`]; an error means that the sandbox itself failed.
    ///
    /// Call [`Sandbox::maintain`] afterwards, once the response has been sent.
    pub fn run(
        &mut self,
        id: JobId,
        work: &Work<'_>,
        handle: &ExecutionHandle,
    ) -> Result<Execution, SandboxError> {
        let limits = work.limits();
        let Some(ran) = self.observe(work, limits.timeout(), handle)? else {
            return Ok(never_started(id, limits));
        };
        Ok(ran.observed.into_execution(id, ran.at, &limits, ran.report))
    }

    /// Runs one round of a script with tools. The [`Round`] is checked against its log. As with [`Sandbox::run`], an error
    /// means that the sandbox itself failed.
    pub fn run_round(
        &mut self,
        id: JobId,
        round: &RoundWork<'_>,
        handle: &ExecutionHandle,
    ) -> Result<Round, SandboxError> {
        let work = Work::Round(*round);
        let Some(ran) = self.observe(&work, rounds::time_of(round), handle)? else {
            return Ok(rounds::never_started(id, round));
        };
        Ok(rounds::into_round(ran, id, round))
    }

    /// Runs `work` in a job process, for `time` at most. Returns `None` if it was cancelled before it started.
    fn observe(
        &mut self,
        work: &Work<'_>,
        time: Duration,
        handle: &ExecutionHandle,
    ) -> Result<Option<Ran>, SandboxError> {
        protocol::encode(work, &mut self.job_bytes)
            .map_err(|error| SandboxError::Zygote(error.to_string()))?;
        if handle.is_cancelled() {
            // Do not write the job. If its job process were killed before it read the job, the bytes would stay in the
            // channel, and the zygote would have to be discarded.
            return Ok(None);
        }
        let mut was_rerun = false;
        for _ in 0..ZYGOTES_TRIED {
            let StartedJob { job, at, start } = self.start_job(time)?;
            let Some(zygote) = &mut self.zygote else {
                continue;
            };
            handle.attach(Some(Arc::clone(&self.waker)));
            let (waker, buffers) = (&self.waker, &mut self.buffers);
            let observed = supervise(&job, zygote, work, start, handle, waker, buffers);
            handle.attach(None);
            if matches!(observed.termination, Termination::DiedUnread) {
                // Nothing of the job has run, so it may be tried again. The job process sees its channel close.
                drop(job);
                self.discard_zygote();
                continue;
            }
            let expects_death = matches!(work, Work::NetCheck { .. });
            let report = self.settle(&job, &observed, expects_death);
            if !expects_death {
                // Once only: a job that is killed a second time may be too large for the machine's memory.
                if !was_rerun && observed.was_killed_at_once(report) {
                    was_rerun = true;
                    continue;
                }
                self.counters.crashed += u64::from(observed.termination.is_crash());
            }
            return Ok(Some(Ran {
                observed,
                at,
                report,
            }));
        }
        Err(SandboxError::Zygote(
            "its job processes die as soon as they get their jobs".to_owned(),
        ))
    }

    /// Finds out whether the zygote died while it was idle, and replaces it if so.
    pub fn check_up(&mut self) -> Result<(), SandboxError> {
        let has_died = self.zygote.as_mut().is_some_and(LiveZygote::has_died);
        if has_died {
            self.discard_zygote();
        }
        self.ensure_zygote()
    }

    /// Replaces a zygote that is gone or has served its executions, and orders the next job process. Neither delays a
    /// request.
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

    /// Takes the spare and writes the job to it. If anything dies before the job process has its whole job, nothing of
    /// the job has run, so the next zygote may try.
    fn start_job(&mut self, timeout: Duration) -> Result<StartedJob, SandboxError> {
        let mut last_failure = SandboxError::Zygote("no zygote stayed alive".to_owned());
        for _ in 0..ZYGOTES_TRIED {
            match self
                .ensure_zygote()
                .and_then(|()| self.try_to_start_job(timeout))
            {
                Ok(started) => return Ok(started),
                // A missing layer stays missing.
                Err(
                    lasting @ (SandboxError::LayerMissing { .. }
                    | SandboxError::BelowMinimum { .. }),
                ) => return Err(lasting),
                Err(passing) => last_failure = passing,
            }
            self.discard_zygote();
        }
        Err(last_failure)
    }

    fn try_to_start_job(&mut self, timeout: Duration) -> Result<StartedJob, SandboxError> {
        let failed = |error: SpawnError| SandboxError::Zygote(error.to_string());
        let zygote = self
            .zygote
            .as_mut()
            .ok_or_else(|| failed(SpawnError::Died))?;
        zygote.ensure_spare();
        let job = zygote.take_spare().map_err(failed)?;
        zygote.served += 1;
        // The processor time of the fork is not the script's. It can be deducted if the fork is over by now.
        let forked = zygote.pid_of(&job);
        let cpu_before = forked.and_then(sys::cpu_time_of).unwrap_or_default();
        let (at, written_at) = (Timestamp::now(), Instant::now());
        match zygote.send(&job, &self.job_bytes, written_at + JOB_TAKEN_WITHIN) {
            Ok(()) => Ok(StartedJob {
                job,
                at,
                start: Start {
                    written_at,
                    kill_at: Instant::now() + timeout + self.options.kill_grace,
                    cpu_before,
                },
            }),
            // The caller discards the zygote, and with it the rest of its job process.
            Err(errno) => Err(SandboxError::Zygote(format!(
                "its job process did not read its job: {errno}"
            ))),
        }
    }

    /// Counts the outcome. Discards the zygote after an unexpected death, because its children may know its layout.
    fn settle(
        &mut self,
        job: &JobProcess,
        observed: &Observation,
        expects_death: bool,
    ) -> Option<ChildReport> {
        let termination = &observed.termination;
        self.counters.killed_at_deadline += u64::from(matches!(termination, Termination::Overran));
        if !observed.is_over {
            // The job process dies with its zygote.
            self.discard_zygote();
            return None;
        }
        let zygote = self.zygote.as_mut()?;
        if matches!(termination, Termination::Done(_) | Termination::Suspended) {
            zygote.stop_watching(job);
            return None;
        }
        let report = zygote.wait_for_report(job).ok();
        let is_unexpected = termination.is_crash() && !expects_death;
        // If part of this job is unread, the next job process would read it.
        if is_unexpected || report.is_none() || job.channel.has_unread() {
            self.discard_zygote();
        }
        report
    }

    fn discard_zygote(&mut self) {
        self.zygote = None;
        self.counters.zygotes_failed += 1;
    }

    fn ensure_zygote(&mut self) -> Result<(), SandboxError> {
        if self.zygote.is_some() {
            return Ok(());
        }
        self.counters.zygotes_started += 1;
        let mut zygote = LiveZygote::spawn(&self.options.program, &self.options.plan)?;
        if zygote.level() < self.options.min_isolation {
            return Err(SandboxError::BelowMinimum {
                reached: zygote.level(),
                wanted: self.options.min_isolation,
                missing: absent_layers(zygote.layers()),
            });
        }
        zygote.ensure_spare();
        zygote.prove_that_kill_kills()?;
        self.zygote = Some(zygote);
        Ok(())
    }
}

fn absent_layers(layers: &[LayerReport]) -> String {
    let absent: Vec<String> = layers
        .iter()
        .filter(|report| !report.present)
        .map(|report| format!("{} ({})", report.layer, report.detail))
        .collect();
    absent.join(", ")
}

/// An execution or a round that was observed to its end.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) observed: Observation,
    pub(crate) at: Timestamp,
    /// The kernel's report of the job process, if it was requested.
    pub(crate) report: Option<ChildReport>,
}

/// A job process that has its whole job.
struct StartedJob {
    job: JobProcess,
    at: Timestamp,
    start: Start,
}
