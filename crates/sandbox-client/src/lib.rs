//! The service's side of the sandbox: one zygote an executor, one job process an execution.
//!
//! [`Sandbox`] runs one execution after the other. It treats everything that a job process writes as hostile bytes.
//! `live_zygote` starts a zygote and orders job processes, `supervise` follows one execution to its end, `verdict` turns the
//! observations into an [`Execution`](sandpiper_domain::Execution). The crate knows no actor and no HTTP.

mod client;
mod control;
mod error;
mod execution_handle;
mod heard;
mod kept_log;
mod line;
mod live_zygote;
mod processors;
mod program;
mod remedy;
mod supervise;
mod sys;
mod verdict;

pub use client::{Sandbox, SandboxCounters, SandboxOptions};
pub use error::SandboxError;
pub use execution_handle::ExecutionHandle;
pub use processors::Processors;
pub use program::{ProgramError, SandboxProgram};
pub use remedy::remedy;
pub use sandpiper_sandbox_protocol::{
    IsolationLevel, SpeculationControl, UnknownIsolationLevel, WallReport, Work, ZygotePlan,
};
pub use sys::return_large_blocks;
