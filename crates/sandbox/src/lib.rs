//! The sandbox program: one zygote an executor, one forked and filtered job process an execution.
//!
//! ```text
//!   executor (service)             zygote                          job process
//!        │ order: spare ────────────▶ fork ──────────────────────▶ hello, read…
//!        │ job, through the slot's pipe ──────────────────────────▶ run the engine
//!        ◀──────────────────────── frames: log, log, done ──────────┘
//!        └── kill ──────────────────▶ reap
//! ```
//!
//! `zygote` sets up the isolation layers (`walls`, `filters`, `proof`) and forks; `job_process` is what its children run;
//! `engine` is the JavaScript engine inside them. Raw system calls are in `sys`, those that only a zygote may make in
//! `privilege`. `sandpiper-sandbox-client` is the other end of every message.
//!
//! `text` and `code_mover` put the program on huge pages, so that a fork is cheap.
//!
//! The crate is a library so that the attackers of `crates/sandbox-attackers` can take the engine's place.
#![allow(unsafe_code)] // raw system calls, the stack of a forked process, the allocator

mod code_mover;
mod control;
pub mod engine;
mod filters;
mod job_process;
mod mappings;
mod privilege;
mod proof;
mod rehearsal;
mod stack;
mod sys;
mod text;
mod walls;
mod zygote;

pub use job_process::{Channel, EngineBody, JobBody, JobBytes};
pub use zygote::enter_if_asked;
