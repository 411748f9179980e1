//! The view of an execution.
#![allow(unused_qualifications)] // in what utoipa derives

use super::calls_view::{Attested, CallView, Pending, Report, WaitReason};
use sandpiper_domain::tools::{Suspension, ToolLimits};
use sandpiper_domain::{
    Execution, JobId, JsonText, Limit, Limits, LogEntry, Outcome, ScriptError, Timestamp, Usage,
    ValueType,
};
use serde::{Serialize, Serializer};
use std::borrow::Cow;
use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Type};
use utoipa::openapi::{Ref, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

/// An execution. The first five fields have the names and meanings of the system that this service replaces.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Execution)]
pub(super) struct ExecutionView<'a> {
    /// Success or error; `outcome` has the reason. An execution with tools may be waiting for answers to its calls.
    status: StatusWord,
    /// The value as JSON; null if there is none.
    #[schema(value_type = Option<serde_json::Value>, required)]
    result: Option<&'a JsonText>,
    /// `false`, or the error.
    error: ErrorView<'a>,
    /// For a script that succeeded and probably does not do what was meant: a sentence that says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    hint: Option<&'a str>,
    /// The log, oldest entry first. A long log has only its head and its tail.
    #[schema(value_type = Vec<LogEntry>)]
    log: &'a [LogEntry],
    /// Duration, whole milliseconds.
    execution_time: u64,
    /// ID (UUID) under which the result can be read again.
    #[schema(value_type = String, format = Uuid)]
    id: JobId,
    /// Outcome of the execution; null while it waits.
    #[schema(required)]
    outcome: Option<Outcome>,
    /// Type of the value before its conversion to JSON; null if there is none.
    #[schema(required)]
    result_type: Option<ValueType>,
    /// Resources used.
    usage: UsageView,
    /// Limits of this execution.
    limits: LimitsView,
    /// The limit that ended the execution, if one did.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    limit_hit: Option<Limit>,
    /// Number of entries dropped from the middle of a long log.
    log_dropped: u64,
    /// Number of entries of `log` before the dropped ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    log_dropped_at: Option<usize>,
    /// Only of an execution that was no job, with tools: number of the first entry of `log`. Entries of earlier rounds are not repeated.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    log_from: Option<u64>,
    /// Only while the execution waits: the causes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    waiting_for: Option<Vec<WaitReason>>,
    /// Only while the execution waits: time at which it can go on without an answer; null if only answers can let it go on.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    resume_at: Option<Option<Timestamp>>,
    /// Only with tools: while the execution waits, the calls that wait for answers; afterwards all calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    calls: Option<Vec<CallView<'a>>>,
    /// Only of an execution that was no job, with tools: the source of the answers. `caller`: the caller gave them, and the service has not checked them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    attested_by: Option<Attested>,
    /// Only while the execution waits: its state, sealed. The same request with this text as `replay`, and with `answers`,
    /// continues it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    replay: Option<&'a str>,
    /// Only while the execution waits: time until which `replay` can be continued.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime, nullable = false)]
    replay_expires_at: Option<Timestamp>,
}

/// Success, error or waiting.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum StatusWord {
    Success,
    Error,
    Waiting,
}

/// Resources used.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Usage)]
struct UsageView {
    #[serde(flatten)]
    #[schema(inline)]
    usage: Usage,
    /// Only with tools: the script's own time in all rounds, milliseconds. `timeoutMs` bounds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    own_ms: Option<f64>,
    /// Only with tools: time in which the script repeated earlier rounds, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    replay_ms: Option<f64>,
    /// Only with tools: time between rounds, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    waited_ms: Option<u64>,
    /// Only with tools: rounds so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    rounds: Option<u32>,
}

impl From<&Usage> for UsageView {
    fn from(usage: &Usage) -> Self {
        Self {
            usage: *usage,
            own_ms: None,
            replay_ms: None,
            waited_ms: None,
            rounds: None,
        }
    }
}

#[derive(Debug)]
struct ErrorView<'a>(Option<&'a ScriptError>);

impl PartialSchema for ErrorView<'_> {
    fn schema() -> RefOr<Schema> {
        let nothing = ObjectBuilder::new()
            .schema_type(Type::Boolean)
            .enum_values(Some([false]));
        OneOfBuilder::new()
            .description(Some("`false`, or what went wrong."))
            .item(nothing)
            .item(Ref::from_schema_name("ScriptError"))
            .into()
    }
}

impl ToSchema for ErrorView<'_> {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("ExecutionError")
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push(("ScriptError".to_owned(), ScriptError::schema()));
        ScriptError::schemas(schemas);
    }
}

impl Serialize for ErrorView<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Some(error) => error.serialize(serializer),
            None => serializer.serialize_bool(false),
        }
    }
}

/// Limits of an execution, including those that are the same for all.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Limits)]
pub(super) struct LimitsView {
    /// Maximum duration, milliseconds.
    timeout_ms: u32,
    /// JavaScript heap, bytes.
    memory_bytes: u64,
    /// Stack, bytes; the same for all.
    stack_bytes: usize,
    /// Result and log together, bytes of JSON.
    output_bytes: u32,
    /// Only with tools: calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    calls_max: Option<u32>,
    /// Only with tools: calls that wait for their answers at the same time.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    concurrent_calls_max: Option<u32>,
    /// Only with tools: argument of one call, bytes of JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    argument_bytes: Option<u32>,
    /// Only with tools: result of one call, bytes of JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    result_bytes: Option<u32>,
    /// Only with tools: all calls and answers together, bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    log_bytes: Option<u32>,
    /// Only with tools: times at which timers come due.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    wakes: Option<u32>,
    /// Only with tools: time that a call may wait for its answer, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<u64>)]
    call_timeout_ms: Option<u32>,
    /// Only with tools: time that the execution waits until a request continues it, seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    wait_timeout_s: Option<u32>,
    /// Only with tools: time in which the script repeats earlier rounds, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    replay_ms: Option<u32>,
}

impl From<&Limits> for LimitsView {
    fn from(limits: &Limits) -> Self {
        Self {
            timeout_ms: limits.timeout_ms(),
            memory_bytes: limits.memory_bytes(),
            stack_bytes: Limits::STACK_BYTES,
            output_bytes: limits.output_bytes(),
            calls_max: None,
            concurrent_calls_max: None,
            argument_bytes: None,
            result_bytes: None,
            log_bytes: None,
            wakes: None,
            call_timeout_ms: None,
            wait_timeout_s: None,
            replay_ms: None,
        }
    }
}

impl LimitsView {
    /// Adds the limits of an execution with tools.
    pub(super) fn with_tools(self, limits: &ToolLimits) -> Self {
        Self {
            calls_max: Some(limits.calls_max),
            concurrent_calls_max: Some(limits.concurrent_calls_max),
            argument_bytes: Some(limits.argument_bytes),
            result_bytes: Some(limits.result_bytes),
            log_bytes: Some(limits.log_bytes),
            wakes: Some(limits.wakes),
            call_timeout_ms: Some(limits.call_timeout_ms),
            wait_timeout_s: Some(limits.wait_timeout_s),
            replay_ms: Some(limits.replay_ms),
            ..self
        }
    }
}

impl<'a> From<&'a Execution> for ExecutionView<'a> {
    fn from(execution: &'a Execution) -> Self {
        let succeeded = execution.outcome == Outcome::Succeeded;
        Self {
            status: if succeeded {
                StatusWord::Success
            } else {
                StatusWord::Error
            },
            result: execution.result.as_ref(),
            error: ErrorView(execution.error.as_ref()),
            hint: execution.hint.as_deref(),
            log: &execution.log,
            execution_time: whole_millis(execution.usage.wall_micros),
            id: execution.id,
            outcome: Some(execution.outcome),
            result_type: execution.result_type,
            usage: UsageView::from(&execution.usage),
            limits: LimitsView::from(&execution.limits),
            limit_hit: execution.limit_hit(),
            log_dropped: execution.log_dropped,
            log_dropped_at: (execution.log_dropped > 0).then_some(execution.log_dropped_at),
            log_from: None,
            waiting_for: None,
            resume_at: None,
            calls: None,
            attested_by: None,
            replay: None,
            replay_expires_at: None,
        }
    }
}

impl<'a> ExecutionView<'a> {
    /// Adds the calls of an execution with tools.
    pub(super) fn with_report(self, report: &'a Report) -> Self {
        let usage = &report.usage;
        Self {
            execution_time: whole_millis(usage.wall_micros),
            usage: UsageView {
                usage: *usage,
                own_ms: Some(millis(report.own_micros)),
                replay_ms: Some(millis(report.replay_micros)),
                waited_ms: Some(report.waited_millis),
                rounds: Some(report.rounds),
            },
            limits: self.limits.with_tools(&report.tool_limits),
            log_from: report.log_from,
            calls: Some(report.calls.iter().map(CallView::from).collect()),
            attested_by: report.attested_by,
            ..self
        }
    }

    /// Shows an execution that waits.
    pub(super) fn waiting(pending: &'a Pending, report: &'a Report) -> Self {
        let Suspension {
            id,
            log,
            log_dropped,
            log_dropped_at,
            limits,
            usage,
            ..
        } = &pending.suspension;
        let view = Self {
            status: StatusWord::Waiting,
            result: None,
            error: ErrorView(None),
            hint: None,
            log,
            execution_time: 0,
            id: *id,
            outcome: None,
            result_type: None,
            usage: UsageView::from(usage),
            limits: LimitsView::from(limits),
            limit_hit: None,
            log_dropped: *log_dropped,
            log_dropped_at: (*log_dropped > 0).then_some(*log_dropped_at),
            log_from: None,
            waiting_for: Some(pending.waiting_for()),
            resume_at: Some(pending.resume_at),
            calls: None,
            attested_by: None,
            replay: Some(&pending.replay),
            replay_expires_at: Some(pending.expires_at),
        };
        view.with_report(report)
    }
}

fn whole_millis(micros: u64) -> u64 {
    (micros + 500) / 1000
}

#[allow(clippy::cast_precision_loss)] // exact for 285 years
fn millis(micros: u64) -> f64 {
    micros as f64 / 1000.0
}

/// Returns an execution as JSON text, for `sandpiper run`.
pub fn execution_json(execution: &Execution) -> serde_json::Result<String> {
    serde_json::to_string_pretty(&ExecutionView::from(execution))
}
