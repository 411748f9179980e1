//! The runner of an Executor: a sandbox, or a fake in the tests of Executors.

use sandpiper_domain::{Execution, Job, JobId, Limits, TraceContext};
use sandpiper_sandbox_client::{
    ExecutionHandle, Sandbox, SandboxCounters, SandboxError, SandboxOptions, Work,
};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

/// A task of an Executor, owned so that it can cross threads.
#[derive(Debug, Clone)]
pub enum Task {
    Script(Arc<Job>),
    /// Tries to open a connection from inside a job process.
    NetCheck {
        id: JobId,
        host: IpAddr,
        port: u16,
        limits: Limits,
    },
}

impl Task {
    #[must_use]
    pub fn id(&self) -> JobId {
        match self {
            Self::Script(job) => job.id,
            Self::NetCheck { id, .. } => *id,
        }
    }

    /// Returns the span of the request.
    #[must_use]
    pub fn trace(&self) -> Option<&TraceContext> {
        match self {
            Self::Script(job) => job.trace.as_ref(),
            Self::NetCheck { .. } => None,
        }
    }
}

/// Runs one task at a time. The service's runner is a [`Sandbox`]; the tests of Executors have others.
pub trait Runner: fmt::Debug + Unpin + 'static {
    fn run(&mut self, task: &Task, handle: &ExecutionHandle) -> Result<Execution, SandboxError>;
    /// Does the upkeep that can wait until the result is sent.
    fn maintain(&mut self) -> Result<(), SandboxError>;
    /// Checks an idle runner, and replaces its zygote if that died.
    fn check_up(&mut self) -> Result<(), SandboxError>;
    fn zygote_pid(&self) -> Option<u32>;
    fn counters(&self) -> SandboxCounters;
}

impl Runner for Sandbox {
    fn run(&mut self, task: &Task, handle: &ExecutionHandle) -> Result<Execution, SandboxError> {
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
        };
        Self::run(self, task.id(), &work, handle)
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
