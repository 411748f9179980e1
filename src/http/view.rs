//! The JSON views of the API. A stored job is never serialised directly: a field is public only if it is declared here.
#![allow(unused_qualifications)] // in what utoipa derives

use crate::actors::types::JobSnapshot;
use sandpiper_domain::{
    Execution, JobId, JobRecord, JobState, JsonText, Limit, Limits, LogEntry, LogSoFar, Outcome,
    ScriptError, Tenant, Timestamp, Usage, ValueType,
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
    /// Success or error; `outcome` has the reason.
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
    /// Outcome of the execution.
    outcome: Outcome,
    /// Type of the value before its conversion to JSON; null if there is none.
    #[schema(required)]
    result_type: Option<ValueType>,
    /// Resources used.
    #[schema(value_type = Usage)]
    usage: &'a Usage,
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
}

/// Success or error.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum StatusWord {
    Success,
    Error,
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
}

impl From<&Limits> for LimitsView {
    fn from(limits: &Limits) -> Self {
        Self {
            timeout_ms: limits.timeout_ms(),
            memory_bytes: limits.memory_bytes(),
            stack_bytes: Limits::STACK_BYTES,
            output_bytes: limits.output_bytes(),
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
            execution_time: (execution.usage.wall_micros + 500) / 1000,
            id: execution.id,
            outcome: execution.outcome,
            result_type: execution.result_type,
            usage: &execution.usage,
            limits: LimitsView::from(&execution.limits),
            limit_hit: execution.outcome.limit(),
            log_dropped: execution.log_dropped,
            log_dropped_at: (execution.log_dropped > 0).then_some(execution.log_dropped_at),
        }
    }
}

/// The fields of a job that a list shows too.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct JobFields {
    /// Job ID (UUID).
    #[schema(value_type = String, format = Uuid)]
    id: JobId,
    /// Tenant that the job belongs to; absent for jobs without an API key.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, nullable = false)]
    tenant: Option<Tenant>,
    /// State of the job.
    state: JobState,
    /// Time at which the job was accepted.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// Earliest start, if the client gave one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime, nullable = false)]
    run_at: Option<Timestamp>,
    /// Time at which an executor last started the job; null before.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    started_at: Option<Timestamp>,
    /// Time at which the job reached its final state; null before.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    finished_at: Option<Timestamp>,
    /// Time until which the job can be read; null before it is final.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    expires_at: Option<Timestamp>,
    /// Number of attempts so far.
    attempt: u32,
}

impl From<&JobRecord> for JobFields {
    fn from(job: &JobRecord) -> Self {
        Self {
            id: job.id,
            tenant: (job.owner.tenant != Tenant::default()).then(|| job.owner.tenant.clone()),
            state: job.state,
            created_at: job.created_at,
            run_at: job.run_at,
            started_at: job.started_at,
            finished_at: job.finished_at,
            expires_at: job.expires_at,
            attempt: job.attempt,
        }
    }
}

/// A job.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Job)]
pub(super) struct JobView<'a> {
    #[serde(flatten)]
    #[schema(inline)]
    job: JobFields,
    /// Position in the queue, 1 being the next; only while the job is queued.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    queue_position: Option<usize>,
    /// The log so far; only while the job is running.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<LogEntry>>, nullable = false)]
    log: Option<Vec<&'a LogEntry>>,
    /// Number of entries dropped from the middle of `log`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    log_dropped: Option<u64>,
    /// The execution, once the job has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    execution: Option<ExecutionView<'a>>,
}

impl<'a> From<&'a JobSnapshot> for JobView<'a> {
    fn from(now: &'a JobSnapshot) -> Self {
        let log = now.log.as_ref();
        let entries = |log: &'a LogSoFar| log.entries.iter().map(|(_, entry)| entry).collect();
        Self {
            job: JobFields::from(&now.job),
            queue_position: now.queue_position,
            log: log.map(entries),
            log_dropped: log.map(LogSoFar::dropped),
            execution: now.job.execution.as_deref().map(ExecutionView::from),
        }
    }
}

/// A job in a list: without its log and its execution, so that the size of a page is bounded.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct JobSummary {
    #[serde(flatten)]
    #[schema(inline)]
    job: JobFields,
    /// Outcome of the execution, if there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    outcome: Option<Outcome>,
}

impl From<&JobRecord> for JobSummary {
    fn from(job: &JobRecord) -> Self {
        Self {
            job: JobFields::from(job),
            outcome: job.outcome,
        }
    }
}

/// A page of jobs, newest first.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = JobPage)]
pub(super) struct JobPageView {
    /// The jobs.
    pub(super) jobs: Vec<JobSummary>,
    /// Value of `cursor` for the next page; null on the last page.
    #[schema(value_type = Option<String>, format = Uuid, required)]
    pub(super) next_cursor: Option<JobId>,
}

/// Returns an execution as JSON text, for `sandpiper run`.
pub fn execution_json(execution: &Execution) -> serde_json::Result<String> {
    serde_json::to_string_pretty(&ExecutionView::from(execution))
}
