//! The service's side of the sandbox: one zygote per executor, one job process per execution.
//!
//! | module | content |
//! |---|---|
//! | `sandbox` | [`Sandbox`]: runs one execution after the other; replaces zygotes |
//! | `zygote_process` | start, handshake and end of a zygote |
//! | `live_zygote` | orders to a zygote; kills and watches its job processes |
//! | `slots` | states of a zygote's two slots (with a diagram) |
//! | `supervise` | follows one execution to its end |
//! | `termination` | the ways in which an execution can end (with a table), and the [`Execution`] that results |
//! | `rounds`, `round_check` | rounds of scripts with tools: what a job process reports of one, held against its log |
//! | `channel`, `control` | the pipes and the control socket |
//! | `execution_handle`, `retained_log` | cancelling an execution, and reading its log |
//!
//! All bytes that a job process writes are treated as hostile. The crate knows no actor and no HTTP.
//!
//! [`Execution`]: sandpiper_domain::Execution

mod channel;
mod control;
mod error;
mod execution_handle;
mod live_zygote;
mod processors;
mod program;
mod remedy;
mod retained_log;
mod round_check;
mod rounds;
mod sandbox;
mod slots;
mod supervise;
mod sys;
mod termination;
mod zygote_process;

pub use error::SandboxError;
pub use execution_handle::ExecutionHandle;
pub use processors::Processors;
pub use program::{ProgramError, SandboxProgram};
pub use remedy::remedy;
pub use sandbox::{Sandbox, SandboxCounters, SandboxOptions};
pub use sandpiper_sandbox_protocol::{
    BUILD_ID as FINGERPRINT, IsolationLevel, LayerReport, RoundWork, SpeculationControl,
    UnknownIsolationLevel, Work, ZygotePlan,
};
pub use sys::map_large_blocks_separately;
