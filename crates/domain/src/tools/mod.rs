//! Tools: functions outside of the sandbox that a script calls, and the log from which an execution with tools is
//! replayed.
//!
//! | module | content |
//! |---|---|
//! | `name` | [`ToolName`]: the rules for names and namespaces |
//! | `declared` | [`Tool`], [`Tools`]: what a request declares |
//! | `limits` | [`ToolLimits`] of one execution |
//! | `call` | [`Call`], [`CallResult`], [`ToolFailure`], the states of a call |
//! | `log` | [`ReplayLog`]: seed, start, calls and records, from which every round runs again |
//! | `round` | [`Round`]: what one process added to the log, and how it ended |
//! | `json` | the one form in which an argument is stored |
//! | `canonical` | the one form in which a result is stored, and equality of JSON values |
//!
//! An execution with tools runs in *rounds*. A round is one job process. It runs the script from the start along the log,
//! goes on behind the log with the answers at hand, and ends or suspends. Only [`ReplayLog::commit`] makes a log longer.

mod call;
mod canonical;
mod declared;
mod json;
mod limits;
mod log;
mod name;
mod round;
mod seed;

pub use call::{Arrived, Call, CallResult, CallState, Refusal, ToolFailure};
pub use canonical::{NumberOutOfRange, canonical_result, is_same_json, sorted_json, text_of_json};
pub use declared::{Tool, ToolRefusal, Tools, Unawaited};
pub use json::{BadArgument, restated_argument, write_number};
pub use limits::ToolLimits;
pub use log::{BadLog, LogPart, Record, ReplayLog};
pub use name::{InvalidToolName, ToolName};
pub use round::{ConsoleBytes, Round, RoundEnd, RoundUsage, Suspension};
pub use seed::Seed;
