//! The domain types of the service: a client's submission, the limits of an execution, its outcome.
//!
//! Values are parsed at the border and trusted inside: fields that carry a rule are private, and a value that exists
//! obeys the rule. This crate depends on no other crate of the workspace: no actor, no HTTP, no engine, no operating
//! system.
#![forbid(unsafe_code)]

mod escapes;
mod execution;
mod job;
mod json_text;
mod kind;
mod limits;
mod log;
mod modules;
pub mod samples;
mod script;
mod script_checks;
mod tenant;
mod terms;
mod timestamp;
pub mod tools;
mod trace;
mod usage;

pub use escapes::without_lone_surrogates;
pub use execution::{Execution, Outcome, ScriptError, Usage, ValueType};
pub use job::{ClientKey, Job, JobId, JobRecord, JobState, Lane, UnknownJobState};
pub use json_text::given_json;
pub use json_text::{InvalidJson, JsonText};
pub use kind::{Language, ScriptKind};
pub use limits::{AboveCeiling, Ceiling, Limit, LimitError, Limits, RequestedLimits};
pub use log::{LogEntry, LogKind, LogSoFar};
pub use modules::resolve as resolve_module;
pub use script::{Global, Script, ScriptDraft, ScriptRefusal, Source};
pub use tenant::{Access, ApiKeyId, InvalidApiKeyId, InvalidTenant, Owner, Tenant};
pub use terms::{IdempotencyKey, JobTerms, Priority};
pub use timestamp::Timestamp;
pub use trace::{TraceContext, TraceText};
pub use usage::{
    BudgetPeriod, BudgetScope, BudgetUnit, Budgets, ChargedUsage, InvalidBudgets, Period, Policy,
    UsageCounts,
};

/// The JavaScript engine, as `/api` names it. A test compares the version with the lock file.
pub const ENGINE: &str = "quickjs-ng (rquickjs 0.14.0)";
