//! Messages between the service and its sandbox program.
//!
//! | module | content | sent by |
//! |---|---|---|
//! | `control` | set-up and handshake of a zygote, orders, reports | both, over the control socket |
//! | `job` | one job: limits, sources, input | the executor, over a pipe |
//! | `frames` | log entries and the result of one execution | the job process, over a pipe; hostile bytes |
//! | `round` | what an execution with tools gets beside its script, and what it reports | both |
//! | `slot` | the two pairs of pipes that job processes use in turn | |
//! | `level` | isolation layers and the levels they add up to | the zygote |
//!
//! The crate encodes and parses. It opens no descriptor and makes no system call. Every length is bounded before it is
//! believed.
#![forbid(unsafe_code)]

mod control;
mod frames;
mod job;
mod level;
mod round;
mod slot;

pub use control::{
    CONTROL_MESSAGE_BYTES_MAX, ChildReport, ORDER_BYTES_MAX, Order, REPORT_BYTES_MAX, Readiness,
    Setup, Sibling, Spare, SpeculationControl, ZygotePlan,
};
pub use frames::{
    BrokenProtocol, Completion, Done, Frame, FrameReader, encode_done, encode_dropped, encode_log,
    encode_replayed, encode_round,
};
pub use job::{
    BadJob, EngineJob, Header, PREFIX_BYTES, Prefix, Work, decode_header, encode, engine_job,
    prefix, replay_memory_bytes,
};
pub use level::{IsolationLevel, LayerReport, UnknownIsolationLevel};
pub use round::{
    EngineTool, EngineTools, LogDigest, ReportedEnd, ReportedRecord, RoundReport, RoundWork,
};
pub use slot::{Descriptors, Slot};

/// Identifies the sources that both programs were built from. A zygote of another build refuses to start.
pub const BUILD_ID: &str = env!("SANDPIPER_SANDBOX_BUILD_ID");

/// The first argument that makes the sandbox program a zygote.
pub const ZYGOTE_ARGUMENT: &str = "zygote";
