//! What runs an Executor's work: a sandbox, and in the tests of Executors something else.

use sandpiper_domain::{Execution, JobId, Limits, Script};
use sandpiper_sandbox_client::{
    ExecutionHandle, Sandbox, SandboxCounters, SandboxError, SandboxOptions, Work,
};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

/// What an Executor is to run, owned so that it can cross threads.
#[derive(Debug, Clone)]
pub enum Task {
    /// A script.
    Script(Arc<Script>, Limits),
    /// Try the network from inside.
    NetCheck(IpAddr, u16, Limits),
}

/// Runs one thing. The service's is a [`Sandbox`]; the Executor's own tests put others here.
pub trait Runner: fmt::Debug + Unpin + 'static {
    /// To its end.
    fn run(
        &mut self,
        id: JobId,
        task: &Task,
        handle: &ExecutionHandle,
    ) -> Result<Execution, SandboxError>;
    /// What can wait until the answer is out.
    fn maintain(&mut self) -> Result<(), SandboxError>;
    /// While nothing runs: whatever died meanwhile is brought back.
    fn check_up(&mut self) -> Result<(), SandboxError>;
    /// For the board.
    fn zygote_pid(&self) -> Option<u32>;
    /// For the board.
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
                    // Children of one zygote inherit the same state of every generator they could have.
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

/// Makes a [`Runner`], again and again.
pub type RunnerFactory<R> = Arc<dyn Fn() -> Result<R, SandboxError> + Send + Sync>;

/// The factory of real sandboxes.
#[must_use]
pub fn sandboxes(options: SandboxOptions) -> RunnerFactory<Sandbox> {
    Arc::new(move || Sandbox::start(options.clone()))
}
