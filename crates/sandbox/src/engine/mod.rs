//! The JavaScript engine inside a job process: a QuickJS context, its console and timers, and values as JSON.
//!
//! This is the only module that uses rquickjs. It knows no actor, no async runtime and no isolation layer. It takes
//! sources, limits and an [`Output`], and reports the result there. Called by `job_process`, after the fork.

pub(crate) use allocator::placement::Placement;
pub use allocator::placement::Written;
/// The heap of a zygote, of which every job process inherits a copy.
pub(crate) use allocator::process as heap;
#[cfg(sandpiper_asan)]
pub(crate) use allocator::sanitized::{Refusals, refuse_by_choice, was_refused_by_choice};

mod advice;
mod allocator;
mod clock;
mod console;
mod convert;
mod entropy;
mod error_parts;
mod execution;
mod failure;
mod globals;
mod host;
mod imports;
mod kinds;
mod mended;
mod modules;
mod numbered;
mod realm;
mod rehearsal;
mod rejections;
mod reports;
mod stack;
mod stack_bound;
mod timers;
mod tools;
mod typescript;
mod warm;
mod web;

pub use rehearsal::Sample;
pub(crate) use rehearsal::rehearse;
pub use warm::{EngineError, WarmEngine};

use sandpiper_domain::LogKind;
use sandpiper_sandbox_protocol::RoundReport;
pub use sandpiper_sandbox_protocol::{Completion, EngineJob};

/// The receiver of an execution's log and result.
pub trait Output {
    /// Sends a log entry at once. `data` is a JSON array.
    fn log(&self, kind: LogKind, depth: u32, timestamp_millis: u64, data: &str);
    /// Reports that a log entry was too long to be sent.
    fn log_dropped(&self);
    /// Sends the final message. Does not return: the engine may call it from inside the script's own call stack.
    fn finish(&self, completion: &Completion) -> !;
    /// Reports that a script with tools has reached the end of its log.
    fn replayed(&self) {}
    /// Sends the report of a round, before the final message.
    fn round(&self, _report: &RoundReport) {}
    /// Sends the report of a round that suspends, as its final message.
    fn suspend(&self, _report: &RoundReport) -> ! {
        unreachable!("only a script with tools suspends")
    }
}

#[cfg(test)]
mod tests {
    use rquickjs::qjs;

    /// `.cargo/config.toml` sets this. A `CFLAGS` variable in the environment overrides it, and the speed of scripts
    /// then depends on chance.
    #[test]
    fn the_engines_functions_begin_at_lines_of_the_processor() {
        const LINE_BYTES: usize = 64;
        let functions = [
            qjs::JS_NewRuntime as *const (),
            qjs::JS_NewContext as *const (),
            qjs::JS_Eval as *const (),
            qjs::JS_Call as *const (),
            qjs::JS_FreeContext as *const (),
            qjs::JS_GetOwnPropertyNames as *const (),
            qjs::JS_ParseJSON as *const (),
            qjs::JS_NewPromiseCapability as *const (),
        ];
        for (index, function) in functions.into_iter().enumerate() {
            assert_eq!(function.addr() % LINE_BYTES, 0, "function {index}");
        }
    }
}
