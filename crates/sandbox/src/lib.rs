//! The sandbox program: one zygote per executor, one forked and filtered job process per execution.
//!
//! ```text
//!   executor (service)             zygote                          job process
//!        │ order: spare ────────────▶ fork ──────────────────────▶ hello, read…
//!        │ job, through the slot's pipe ──────────────────────────▶ run the engine
//!        ◀──────────────────────── frames: log, log, done ──────────┘
//!        └── kill ──────────────────▶ reap
//! ```
//!
//! `zygote` sets up the isolation layers (`layers`, `filters`, `proof`) and forks. `job_process` is the code of its
//! children, and `engine` is the JavaScript engine inside them. `sys` has the raw system calls, `privilege` those that
//! only a zygote may make. `guarded` turns a parser that runs out of stack into an answer. `huge_pages` and `code_mover` put the program on huge pages, so that a fork is cheap.
//! `sandpiper-sandbox-client` is the other end of every message.
//!
//! The crate is a library so that the attackers of `crates/sandbox-attackers` can take the engine's place.
#![allow(unsafe_code)] // raw system calls, the stack of a forked process, the allocator

mod code_mover;
mod control;
pub mod engine;
mod filters;
mod guarded;
mod huge_pages;
mod job_process;
mod layers;
mod mappings;
mod privilege;
mod proof;
mod rehearsal;
mod stack;
mod sys;
mod zygote;

pub use job_process::{Channel, EngineBody, JobBody, JobBytes};
pub use zygote::enter_if_requested;
