//! The walls: one zygote an executor, one forked and filtered process an execution.
//!
//! ```text
//!   executor thread                zygote (walled in)             job process (walled in as well)
//!   Sandbox::run ── order a spare ──▶ fork ───────────────────────▶ "hello", read…
//!        │ job, over one of two lines ──────────────────────────────▶ run the engine
//!        ◀──────────────────────── frames: log, log, done ──────────┘
//!        └── kill ──────────────────▶ reap
//! ```
//!
//! [`client`](Sandbox) is the service's side and treats all that a job process writes as hostile bytes. `zygote` and
//! `job_process` are the other side, entered from the top of `main` before any thread exists. Raw system calls stand in
//! `sys`, those that are a zygote's alone in `privilege`. Called by `actors::executor` and by the command line; knows no actor and no HTTP.

#![allow(unsafe_code)] // raw system calls, and the stack of a forked process

mod client;
mod control;
mod execution_handle;
mod filters;
mod frames;
mod heard;
mod job_process;
mod kept_log;
mod level;
mod line;
mod live_zygote;
mod mappings;
mod privilege;
mod processors;
mod proof;
mod rehearsal;
mod remedy;
mod stack;
mod supervise;
mod sys;
mod text;
mod verdict;
mod walls;
mod wire;
mod zygote;

/// For a service that holds large answers: memory that is freed goes back to the system. Call it before any thread.
pub fn return_large_blocks() {
    sys::return_large_blocks();
}

pub use client::{Sandbox, SandboxCounters, SandboxError, SandboxOptions};
pub use control::{SpeculationControl, ZygotePlan};
pub use execution_handle::ExecutionHandle;
pub use job_process::{Channel, EngineBody, JobBody, JobBytes};
pub use level::{IsolationLevel, UnknownIsolationLevel, WallReport};
pub use processors::Processors;
pub use remedy::remedy;
pub use wire::Work;
pub use zygote::{ZYGOTE_ARGUMENT, enter_if_asked};
