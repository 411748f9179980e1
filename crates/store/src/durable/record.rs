//! The JSON text of a job's request, execution and log in a row.
//!
//! The columns are TEXT and never `jsonb`, which changes numbers and rejects NUL.

use crate::StoreError;
use sandpiper_domain::{
    ClientKey, Execution, Job, JobId, JsonText, Limits, LogEntry, LogKind, Outcome, Owner, Script,
    ScriptError, Tenant, Timestamp, TraceContext, Usage, ValueType, given_json,
};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

#[derive(Serialize, Deserialize)]
struct StoredRequest<'a> {
    script: Cow<'a, Script>,
    limits: Limits,
    /// The span of the submit. Absent in rows of earlier versions, and in rows of other River clients.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "stored_trace"
    )]
    trace: Option<TraceContext>,
}

/// Stores a trace context as its two headers.
mod stored_trace {
    use super::{Cow, TraceContext};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    struct Stored<'a> {
        parent: Cow<'a, str>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        state: Option<Cow<'a, str>>,
    }

    pub(super) fn serialize<S: Serializer>(
        trace: &Option<TraceContext>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let stored = trace.as_ref().map(|trace| Stored {
            parent: trace.to_string().into(),
            state: trace.state().map(Cow::from),
        });
        stored.serialize(serializer)
    }

    /// Reads a trace context. An unreadable one is left out: no job is lost because of its trace.
    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<TraceContext>, D::Error> {
        let stored = Option::<Stored<'_>>::deserialize(deserializer)?;
        Ok(stored.and_then(|stored| TraceContext::read(&stored.parent, stored.state.as_deref())))
    }
}

#[derive(Serialize, Deserialize)]
struct StoredExecution {
    started_at: u64,
    finished_at: u64,
    outcome: Outcome,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "given_json")]
    result: Option<JsonText>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    result_type: Option<ValueType>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<ScriptError>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    log: Vec<StoredLogEntry>,
    log_dropped: u64,
    #[serde(default)]
    log_dropped_at: usize,
    wall_micros: u64,
    cpu_micros: u64,
    peak_memory_bytes: u64,
    output_bytes: u64,
    limits: Limits,
}

#[derive(Serialize, Deserialize)]
struct StoredLogEntry {
    kind: LogKind,
    at: u64,
    depth: u32,
    data: JsonText,
}

impl From<&LogEntry> for StoredLogEntry {
    fn from(entry: &LogEntry) -> Self {
        Self {
            kind: entry.kind,
            at: entry.timestamp.as_unix_millis(),
            depth: entry.depth,
            data: entry.data.clone(),
        }
    }
}

impl From<StoredLogEntry> for LogEntry {
    fn from(stored: StoredLogEntry) -> Self {
        Self {
            kind: stored.kind,
            timestamp: Timestamp::from_unix_millis(stored.at),
            depth: stored.depth,
            data: stored.data,
        }
    }
}

/// The error of a row that cannot be read: another version or another program wrote the row.
#[derive(Debug, thiserror::Error)]
#[error("a stored {what} cannot be read: {cause}")]
pub(super) struct Unreadable {
    what: &'static str,
    cause: serde_json::Error,
}

fn unreadable(what: &'static str) -> impl Fn(serde_json::Error) -> Unreadable {
    move |cause| Unreadable { what, cause }
}

impl From<Unreadable> for StoreError {
    fn from(error: Unreadable) -> Self {
        Self::Unreadable(error.to_string())
    }
}

pub(super) fn request_to_text(job: &Job) -> Result<String, Unreadable> {
    let stored = StoredRequest {
        script: Cow::Borrowed(&job.script),
        limits: job.limits,
        trace: job.trace.clone(),
    };
    serde_json::to_string(&stored).map_err(unreadable("request"))
}

/// Reads an owner. A key that cannot be read is left out: the job still belongs to its tenant.
pub(super) fn owner_from_text(tenant: &str, api_key: Option<&str>) -> Owner {
    Owner {
        tenant: Tenant::stored(tenant),
        key: api_key.and_then(|id| id.parse().ok()),
    }
}

/// Reads a job. Its id, its owner and its client have columns of their own.
pub(super) fn job_from_text(
    id: JobId,
    owner: Owner,
    client: ClientKey,
    text: &str,
) -> Result<Job, Unreadable> {
    let stored: StoredRequest<'_> = serde_json::from_str(text).map_err(unreadable("request"))?;
    Ok(Job {
        id,
        script: stored.script.into_owned(),
        limits: stored.limits,
        owner,
        client,
        trace: stored.trace,
    })
}

pub(super) fn execution_to_text(execution: &Execution) -> Result<String, Unreadable> {
    let stored = StoredExecution {
        started_at: execution.started_at.as_unix_millis(),
        finished_at: execution.finished_at.as_unix_millis(),
        outcome: execution.outcome,
        result: execution.result.clone(),
        result_type: execution.result_type,
        error: execution.error.clone(),
        hint: execution.hint.clone(),
        log: execution.log.iter().map(StoredLogEntry::from).collect(),
        log_dropped: execution.log_dropped,
        log_dropped_at: execution.log_dropped_at,
        wall_micros: execution.usage.wall_micros,
        cpu_micros: execution.usage.cpu_micros,
        peak_memory_bytes: execution.usage.peak_memory_bytes,
        output_bytes: execution.usage.output_bytes,
        limits: execution.limits,
    };
    serde_json::to_string(&stored).map_err(unreadable("execution"))
}

pub(super) fn outcome_to_text(outcome: Outcome) -> String {
    serde_json::to_string(&outcome).unwrap_or_default()
}

pub(super) fn log_to_text(entries: &[(u64, LogEntry)]) -> Result<String, Unreadable> {
    let stored: Vec<(u64, StoredLogEntry)> = entries
        .iter()
        .map(|(number, entry)| (*number, entry.into()))
        .collect();
    serde_json::to_string(&stored).map_err(unreadable("log"))
}

pub(super) fn log_from_text(text: &str) -> Result<Vec<(u64, LogEntry)>, Unreadable> {
    let stored: Vec<(u64, StoredLogEntry)> =
        serde_json::from_str(text).map_err(unreadable("log"))?;
    let entries = stored.into_iter();
    Ok(entries
        .map(|(number, entry)| (number, entry.into()))
        .collect())
}

pub(super) fn execution_from_text(id: JobId, text: &str) -> Result<Execution, Unreadable> {
    let stored: StoredExecution = serde_json::from_str(text).map_err(unreadable("execution"))?;
    Ok(Execution {
        id,
        started_at: Timestamp::from_unix_millis(stored.started_at),
        finished_at: Timestamp::from_unix_millis(stored.finished_at),
        outcome: stored.outcome,
        result: stored.result,
        result_type: stored.result_type,
        error: stored.error,
        hint: stored.hint,
        log: stored.log.into_iter().map(LogEntry::from).collect(),
        log_dropped: stored.log_dropped,
        log_dropped_at: stored.log_dropped_at,
        usage: Usage {
            wall_micros: stored.wall_micros,
            cpu_micros: stored.cpu_micros,
            peak_memory_bytes: stored.peak_memory_bytes,
            output_bytes: stored.output_bytes,
        },
        limits: stored.limits,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use sandpiper_domain::samples;

    #[test]
    fn an_execution_and_a_request_are_read_as_they_were_written() {
        let id = JobId::generate();
        let mut execution = samples::success(id, 2);
        execution.result = Some(JsonText::parse(r#"[1.0, "\u0000", 1e400]"#.to_owned()).unwrap());
        let mut error = ScriptError::of_service("Error", "x").with_hint("a hint");
        error.properties = Some(JsonText::parse(r#"{"status":502}"#.to_owned()).unwrap());
        error.errors = Some(JsonText::parse("[1]".to_owned()).unwrap());
        execution.error = Some(error);
        execution.hint = Some("another".to_owned());
        let text = execution_to_text(&execution).unwrap();
        assert_eq!(execution_from_text(id, &text).unwrap(), execution);
        let mut job = samples::job("a", 3);
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        job.trace = TraceContext::read(parent, Some("a=1"));
        let text = request_to_text(&job).unwrap();
        let read = job_from_text(job.id, job.owner.clone(), job.client.clone(), &text).unwrap();
        assert_eq!(read.script, job.script);
        assert_eq!(read.limits, job.limits);
        assert_eq!(read.trace, job.trace);
    }

    #[test]
    fn a_result_of_null_is_not_a_result_left_out() {
        let id = JobId::generate();
        let mut execution = samples::success(id, 1);
        execution.result = Some(JsonText::null());
        let text = execution_to_text(&execution).unwrap();
        assert_eq!(
            execution_from_text(id, &text).unwrap().result,
            execution.result
        );
    }
}
