//! The runner of an Executor: a sandbox, or a fake in the tests of Executors.

use crate::tool_runs::ToolRun;
use sandpiper_domain::tools::{Arrived, ReplayLog, Round, RoundEnd, ToolLimits, Unawaited};
use sandpiper_domain::{
    Execution, Job, JobId, Limits, Outcome, ScriptError, Timestamp, TraceContext, Usage,
};
use sandpiper_sandbox_client::{
    ExecutionHandle, RoundWork, Sandbox, SandboxCounters, SandboxError, SandboxOptions, Work,
};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

/// A task of an Executor, owned so that it can cross threads.
#[derive(Debug, Clone)]
pub enum Task {
    Script(Arc<Job>),
    Round(Arc<RoundTask>),
    /// Tries to open a connection from inside a job process.
    NetCheck {
        id: JobId,
        host: IpAddr,
        port: u16,
        limits: Limits,
    },
}

/// One round of an execution with tools.
#[derive(Debug)]
pub struct RoundTask {
    /// The job whose script runs. Its id is that of the round.
    pub job: Arc<Job>,
    pub tool_limits: ToolLimits,
    /// The log of the rounds before.
    pub log: ReplayLog,
    /// The answers that are at hand and in no record.
    pub arrived: Vec<Arrived>,
    /// Decides about calls that the script made and did not await when it succeeded.
    pub unawaited: Unawaited,
}

impl RoundTask {
    /// Returns the next round of `run`, the execution of `job`.
    #[must_use]
    pub fn new(job: Arc<Job>, run: &ToolRun) -> Self {
        Self {
            job,
            tool_limits: run.state.tool_limits,
            log: run.log.clone(),
            arrived: run.state.arrived.clone(),
            unawaited: run.state.unawaited,
        }
    }

    /// Returns the outcome with which the execution has ended; `None` if it goes on. A script that has succeeded may still
    /// wait for calls that it did not await.
    #[must_use]
    pub fn outcome_of(&self, round: &Round) -> Option<Outcome> {
        let RoundEnd::Finished(execution) = &round.end else {
            return None;
        };
        let is_awaited = self.log.has_ended() || self.log.unoffered_after(round).next().is_none();
        if execution.outcome != Outcome::Succeeded || is_awaited {
            return Some(execution.outcome);
        }
        match self.unawaited {
            Unawaited::Offer => None,
            Unawaited::Drop => Some(Outcome::Succeeded),
            Unawaited::Fail => Some(Outcome::Threw),
        }
    }
}

/// The result of a task.
#[derive(Debug)]
#[allow(clippy::large_enum_variant)] // each result is moved a few times, and boxed nowhere else
pub enum Ran {
    Execution(Execution),
    Round(Round),
}

impl Ran {
    /// Returns the outcome of the execution; `None` while it waits.
    pub(super) fn outcome(&self) -> Option<Outcome> {
        self.execution().map(|execution| execution.outcome)
    }

    /// Returns the name of the outcome, or of what took its place.
    pub(super) fn outcome_name(&self) -> &'static str {
        match self {
            Self::Execution(execution) => execution.outcome.as_str(),
            Self::Round(round) => match &round.end {
                RoundEnd::Finished(execution) => execution.outcome.as_str(),
                RoundEnd::Suspended(_) => "suspended",
                RoundEnd::ReplayFailed(_) => "replay_failed",
            },
        }
    }

    pub(super) fn error(&self) -> Option<&ScriptError> {
        self.execution()?.error.as_ref()
    }

    pub(super) fn usage(&self) -> Usage {
        match self {
            Self::Execution(execution) => execution.usage,
            Self::Round(round) => match &round.end {
                RoundEnd::Finished(execution) => execution.usage,
                RoundEnd::Suspended(suspension) => suspension.usage,
                RoundEnd::ReplayFailed(_) => Usage::default(),
            },
        }
    }

    /// Returns the execution, unless it waits.
    pub(super) fn execution(&self) -> Option<&Execution> {
        match self {
            Self::Execution(execution) => Some(execution),
            Self::Round(round) => match &round.end {
                RoundEnd::Finished(execution) => Some(execution),
                RoundEnd::Suspended(_) | RoundEnd::ReplayFailed(_) => None,
            },
        }
    }
}

impl Task {
    #[must_use]
    pub fn id(&self) -> JobId {
        match self {
            Self::NetCheck { id, .. } => *id,
            Self::Script(job) => job.id,
            Self::Round(round) => round.job.id,
        }
    }

    /// Returns the job whose script runs.
    #[must_use]
    pub fn job(&self) -> Option<&Job> {
        match self {
            Self::Script(job) => Some(job),
            Self::Round(round) => Some(&round.job),
            Self::NetCheck { .. } => None,
        }
    }

    /// Returns the bytes of memory that the task holds while it waits, approximately.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        match self {
            Self::Script(job) => job.script.size_bytes(),
            Self::Round(round) => round.job.script.size_bytes() + round.log.size_bytes(),
            Self::NetCheck { .. } => 0,
        }
    }

    /// Returns the span of the request.
    #[must_use]
    pub fn trace(&self) -> Option<&TraceContext> {
        self.job()?.trace.as_ref()
    }
}

/// Runs one task at a time. The service's runner is a [`Sandbox`]; the tests of Executors have others.
pub trait Runner: fmt::Debug + Unpin + 'static {
    fn run(&mut self, task: &Task, handle: &ExecutionHandle) -> Result<Ran, SandboxError>;
    /// Does the upkeep that can wait until the result is sent.
    fn maintain(&mut self) -> Result<(), SandboxError>;
    /// Checks an idle runner, and replaces its zygote if that died.
    fn check_up(&mut self) -> Result<(), SandboxError>;
    fn zygote_pid(&self) -> Option<u32>;
    fn counters(&self) -> SandboxCounters;
}

impl Runner for Sandbox {
    fn run(&mut self, task: &Task, handle: &ExecutionHandle) -> Result<Ran, SandboxError> {
        let work = match task {
            Task::Script(job) => Work::Script {
                script: &job.script,
                limits: job.limits,
                // Children of one zygote inherit the same state of every random generator, so each gets entropy of its
                // own.
                entropy: rand::random(),
            },
            &Task::NetCheck {
                host, port, limits, ..
            } => Work::NetCheck { host, port, limits },
            Task::Round(round) => {
                let work = RoundWork {
                    script: &round.job.script,
                    limits: round.job.limits,
                    tool_limits: &round.tool_limits,
                    log: &round.log,
                    arrived: &round.arrived,
                    now_ms: Timestamp::now().as_unix_millis(),
                    wait_ms: ToolLimits::WAITS_IN_PROCESS_MS,
                    strict: false,
                };
                return Ok(Ran::Round(self.run_round(task.id(), &work, handle)?));
            }
        };
        Self::run(self, task.id(), &work, handle).map(Ran::Execution)
    }

    fn maintain(&mut self) -> Result<(), SandboxError> {
        Self::maintain(self)
    }

    fn check_up(&mut self) -> Result<(), SandboxError> {
        Self::check_up(self)
    }

    fn zygote_pid(&self) -> Option<u32> {
        Self::zygote_pid(self)
    }

    fn counters(&self) -> SandboxCounters {
        Self::counters(self)
    }
}

/// Creates a [`Runner`]; called again for each replacement.
pub type RunnerFactory<R> = Arc<dyn Fn() -> Result<R, SandboxError> + Send + Sync>;

#[must_use]
pub fn sandboxes(options: SandboxOptions) -> RunnerFactory<Sandbox> {
    Arc::new(move || Sandbox::start(options.clone()))
}
