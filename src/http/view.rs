//! The JSON views of jobs. A stored job is never serialised directly: a field is public only if it is declared here.
#![allow(unused_qualifications)] // in what utoipa derives

use super::calls_view::{CallView, Report, WaitReason};
use super::execution_view::ExecutionView;
use crate::actors::types::JobSnapshot;
use crate::tool_runs::JobRun;
use sandpiper_domain::{
    JobId, JobRecord, JobState, LogEntry, LogSoFar, Outcome, Tenant, Timestamp,
};
use serde::Serialize;
use utoipa::ToSchema;

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
    /// The log so far; only while the job is running, and of a job with tools until it has ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<LogEntry>>, nullable = false)]
    log: Option<Vec<&'a LogEntry>>,
    /// Number of entries dropped from the middle of `log`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    log_dropped: Option<u64>,
    /// Only while the job waits: the causes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    waiting_for: Option<Vec<WaitReason>>,
    /// Only while the job waits: time at which it goes on without an answer; null if only answers let it go on.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    resume_at: Option<Option<Timestamp>>,
    /// Only with tools, until the job has ended: the calls that wait for answers. Afterwards `execution` has all calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    calls: Option<Vec<CallView<'a>>>,
    /// The execution, once the job has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    execution: Option<ExecutionView<'a>>,
}

impl<'a> JobView<'a> {
    /// Shows a job. `report` is that of a job with tools.
    pub(super) fn new(now: &'a JobSnapshot, report: Option<&'a Report>) -> Self {
        let log = now.log.as_ref();
        let entries = |log: &'a LogSoFar| log.entries.iter().map(|(_, entry)| entry).collect();
        let execution = now.job.execution.as_deref().map(ExecutionView::from);
        let waiting = (now.tools.as_deref()).filter(|_| now.job.state == JobState::Waiting);
        let open = report.filter(|_| !now.job.state.is_final());
        Self {
            job: JobFields::from(&now.job),
            queue_position: now.queue_position,
            log: log.map(entries),
            log_dropped: log.map(LogSoFar::dropped),
            waiting_for: waiting.map(|run| {
                let waits_for_calls = run.open_calls().next().is_some();
                WaitReason::of(waits_for_calls, run.run.state.resume_at.is_some())
            }),
            resume_at: waiting.map(JobRun::resume_at),
            calls: open.map(|report| report.calls.iter().map(CallView::from).collect()),
            execution: match report {
                None => execution,
                Some(report) => execution.map(|execution| execution.with_report(report)),
            },
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
