//! The runner of an Executor: a sandbox, or a fake in the tests of Executors.

use sandpiper_domain::{Execution, JobId, Limits, Script};
use sandpiper_sandbox_client::{
    ExecutionHandle, Sandbox, SandboxCounters, SandboxError, SandboxOptions, Work,
};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

/// A task of an Executor, owned so that it can cross threads.
#[derive(Debug, Clone)]
pub enum Task {
    /// Runs a script.
    Script(Arc<Script>, Limits),
    /// Tries to open a connection from inside a job process.
    NetCheck(IpAddr, u16, Limits),
}

/// Runs one task at a time. The service's runner is a [`Sandbox`]; the tests of Executors have others.
pub trait Runner: fmt::Debug + Unpin + 'static {
    /// Runs a task to its end.
    fn run(
        &mut self,
        id: JobId,
        task: &Task,
        handle: &ExecutionHandle,
    ) -> Result<Execution, SandboxError>;
    /// Does the upkeep that can wait until the result is sent.
    fn maintain(&mut self) -> Result<(), SandboxError>;
    /// Checks an idle runner, and replaces its zygote if that died.
    fn check_up(&mut self) -> Result<(), SandboxError>;
    /// Returns the pid of the zygote, for the stats.
    fn zygote_pid(&self) -> Option<u32>;
    /// Returns the counters of the sandbox, for the stats.
    fn counters(&self) -> SandboxCounters;
}

impl Runner for Sandbox {
    fn run(
        &mut self,
        id: JobId,
        task: &Task,
        handle: &ExecutionHandle,
    ) -> Result<Execution, SandboxError> {
        match task {
            Task::Script(script, limits) => {
                let work = Work::Script {
                    script,
                    limits: *limits,
                    // Children of one zygote inherit the same state of every random generator, so each gets entropy of
                    // its own.
                    entropy: rand::random(),
                };
                Self::run(self, id, &work, handle)
            }
            Task::NetCheck(host, port, limits) => {
                let work = Work::NetCheck {
                    host: *host,
                    port: *port,
                    limits: *limits,
                };
                Self::run(self, id, &work, handle)
            }
        }
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

/// Returns the factory of real sandboxes.
#[must_use]
pub fn sandboxes(options: SandboxOptions) -> RunnerFactory<Sandbox> {
    Arc::new(move || Sandbox::start(options.clone()))
}
