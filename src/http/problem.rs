//! Error responses as RFC 9457 `application/problem+json`: one table from code to status, and no internals in the text.
//!
//! Use [`Problem`] for every response other than the requested one. A script's failure is data, and no problem.

use crate::actors::types::DispatchError;
use actix_web::http::StatusCode;
use actix_web::http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER};
use actix_web::{HttpResponse, ResponseError};
use sandpiper_domain::{JobState, LimitError, ScriptRefusal};
use serde::Serialize;
use serde_json::{Map, Value};
use std::fmt;
use std::time::Duration;

/// The stable code of a problem. Clients may match on it; its meaning never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::enum_variant_names)] // the names are the API's
pub(crate) enum Code {
    InvalidPath,
    InvalidJson,
    InvalidBody,
    InvalidField,
    UnknownField,
    MissingCode,
    CrossOrigin,
    NotFound,
    JobNotFound,
    ScriptNotFound,
    MethodNotAllowed,
    BodyTimeout,
    JobAlreadyFinal,
    JobExpired,
    BodyTooLarge,
    CodeTooLarge,
    UnsupportedMediaType,
    LimitAboveCeiling,
    HostNotAllowed,
    Unsupported,
    IdempotencyKeyReused,
    ClientQueueFull,
    TooManyStreams,
    Internal,
    SourceMissing,
    QueueFull,
    StoreFull,
    StoreUnavailable,
    Draining,
    IsolationLost,
    QueueWaitExceeded,
}

impl Code {
    /// Every code.
    pub(crate) const ALL: [Self; 31] = [
        Self::InvalidPath,
        Self::InvalidJson,
        Self::InvalidBody,
        Self::InvalidField,
        Self::UnknownField,
        Self::MissingCode,
        Self::CrossOrigin,
        Self::NotFound,
        Self::JobNotFound,
        Self::ScriptNotFound,
        Self::MethodNotAllowed,
        Self::BodyTimeout,
        Self::JobAlreadyFinal,
        Self::JobExpired,
        Self::BodyTooLarge,
        Self::CodeTooLarge,
        Self::UnsupportedMediaType,
        Self::LimitAboveCeiling,
        Self::HostNotAllowed,
        Self::Unsupported,
        Self::IdempotencyKeyReused,
        Self::ClientQueueFull,
        Self::TooManyStreams,
        Self::Internal,
        Self::SourceMissing,
        Self::QueueFull,
        Self::StoreFull,
        Self::StoreUnavailable,
        Self::Draining,
        Self::IsolationLost,
        Self::QueueWaitExceeded,
    ];

    /// Returns the status of the response.
    pub(crate) fn status(self) -> u16 {
        self.row().0
    }

    /// Returns the name in the API.
    pub(crate) fn name(self) -> &'static str {
        self.row().1
    }

    /// Returns the title: the meaning of the code.
    pub(crate) fn title(self) -> &'static str {
        self.row().2
    }

    /// Returns whether the response may have a `Retry-After`.
    pub(crate) fn has_retry_after(self) -> bool {
        matches!(self.status(), 429 | 503 | 504)
    }

    /// Returns the status, name and title.
    const fn row(self) -> (u16, &'static str, &'static str) {
        match self {
            Self::InvalidPath => (400, "invalid_path", "The path has more than one reading"),
            Self::InvalidJson => (400, "invalid_json", "The body is not a JSON object"),
            Self::InvalidBody => (400, "invalid_body", "The body cannot be read"),
            Self::InvalidField => (400, "invalid_field", "A field has a value it cannot have"),
            Self::UnknownField => (400, "unknown_field", "A field is not known"),
            Self::MissingCode => (400, "missing_code", "There is nothing to run"),
            Self::CrossOrigin => (
                403,
                "cross_origin",
                "A page of another origin sends the request",
            ),
            Self::NotFound => (404, "not_found", "There is nothing at this path"),
            Self::JobNotFound => (404, "job_not_found", "There is no such job"),
            Self::ScriptNotFound => (404, "script_not_found", "There is no such example script"),
            Self::MethodNotAllowed => (405, "method_not_allowed", "The path has no such method"),
            Self::BodyTimeout => (408, "body_timeout", "The body took too long to arrive"),
            Self::JobAlreadyFinal => (409, "job_already_final", "The job has ended already"),
            Self::JobExpired => (410, "job_expired", "The job's record has expired"),
            Self::BodyTooLarge => (413, "body_too_large", "The body is too large"),
            Self::CodeTooLarge => (413, "code_too_large", "The code is too large"),
            Self::UnsupportedMediaType => (
                415,
                "unsupported_media_type",
                "The body has a type that is not understood",
            ),
            Self::HostNotAllowed => (
                421,
                "host_not_allowed",
                "The request is for a host that is not answered here",
            ),
            Self::LimitAboveCeiling => (
                422,
                "limit_above_ceiling",
                "A limit lies above what this service grants",
            ),
            Self::Unsupported => (422, "unsupported", "This is not supported yet"),
            Self::IdempotencyKeyReused => (
                422,
                "idempotency_key_reused",
                "The key was used for another request",
            ),
            Self::ClientQueueFull => (
                429,
                "client_queue_full",
                "This client has too many jobs, or too many bytes of them",
            ),
            Self::TooManyStreams => (
                429,
                "too_many_streams",
                "Too many streams of events are open",
            ),
            Self::Internal => (500, "internal", "The service failed"),
            Self::SourceMissing => (500, "source_missing", "The script was not handed over"),
            Self::QueueFull => (503, "queue_full", "The queue is full"),
            Self::StoreFull => (503, "store_full", "The store of jobs is full"),
            Self::StoreUnavailable => (
                503,
                "store_unavailable",
                "The store of jobs is not available",
            ),
            Self::Draining => (503, "draining", "The service is stopping"),
            Self::IsolationLost => (503, "isolation_lost", "No sandbox is available"),
            Self::QueueWaitExceeded => {
                (504, "queue_wait_exceeded", "No executor came free in time")
            }
        }
    }
}

/// An error response.
#[derive(Debug)]
pub(crate) struct Problem {
    code: Code,
    detail: String,
    retry_after: Option<Duration>,
    allow: Option<&'static str>,
    members: Map<String, Value>,
}

impl Problem {
    /// Returns a problem. `detail` says what is wrong with this request and what would be right.
    pub(crate) fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            retry_after: None,
            allow: None,
            members: Map::new(),
        }
    }

    /// Returns the problem of an invalid field.
    pub(crate) fn invalid_field(field: &str, detail: impl Into<String>) -> Self {
        Self::new(Code::InvalidField, detail).with("field", field)
    }

    /// Returns the problem of a method that the path does not have. `allow` lists the methods that it has.
    pub(crate) fn method_not_allowed(allow: &'static str) -> Self {
        let mut problem = Self::new(Code::MethodNotAllowed, format!("use {allow}"));
        problem.allow = Some(allow);
        problem
    }

    /// Adds a member for programs to read.
    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.members.insert(name.to_owned(), value.into());
        self
    }

    pub(super) fn retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// Returns the problem of an unknown job.
    pub(crate) fn job_not_found() -> Self {
        Self::new(
            Code::JobNotFound,
            "no job of this id is known here; results of `POST /api/execute` may be evicted early",
        )
    }

    /// Returns the problem of a job whose record has expired.
    pub(crate) fn job_expired() -> Self {
        Self::new(
            Code::JobExpired,
            "the job ended, and its result was kept for as long as this service keeps results",
        )
    }

    /// Returns the problem of a job that can no longer be cancelled.
    pub(crate) fn job_already_final(state: JobState) -> Self {
        Self::new(
            Code::JobAlreadyFinal,
            format!("the job is {} and cannot be cancelled", state.as_str()),
        )
        .with("state", state.as_str())
    }
}

/// Members in the order in which people read them.
#[derive(Debug, Serialize)]
struct Body<'a> {
    #[serde(rename = "type")]
    kind: String,
    title: &'static str,
    status: u16,
    code: &'static str,
    detail: &'a str,
    #[serde(flatten)]
    members: &'a Map<String, Value>,
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.detail)
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.code.row().0).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse {
        let (status, code, title) = self.code.row();
        let body = Body {
            kind: format!("urn:sandpiper:problem:{code}"),
            title,
            status,
            code,
            detail: &self.detail,
            members: &self.members,
        };
        let mut response = HttpResponse::build(self.status_code());
        response.insert_header((CONTENT_TYPE, "application/problem+json"));
        if let Some(after) = self.retry_after {
            let whole_seconds = after.as_millis().div_ceil(1000).max(1);
            response.insert_header((RETRY_AFTER, whole_seconds.to_string()));
        }
        if let Some(allow) = self.allow {
            response.insert_header((ALLOW, allow));
        }
        // Strings and numbers: writing them to memory cannot fail.
        response.body(serde_json::to_vec(&body).unwrap_or_default())
    }
}

impl From<DispatchError> for Problem {
    fn from(refusal: DispatchError) -> Self {
        const SOON: Duration = Duration::from_secs(1);
        match refusal {
            DispatchError::QueueFull { retry_after } => Self::new(
                Code::QueueFull,
                "too many jobs wait already; try again after the time in Retry-After",
            )
            .retry_after(retry_after),
            DispatchError::ClientFull { most, retry_after } => Self::new(
                Code::ClientQueueFull,
                format!("this client has {most} jobs queued or running, as many as one client may; try again when some have ended"),
            )
            .with("bound", most)
            .retry_after(retry_after),
            DispatchError::ClientBytesFull { most, retry_after } => Self::new(
                Code::ClientQueueFull,
                format!("the jobs of this client may have {most} bytes of requests, logs and results, and this one would be more; try again when some have expired"),
            )
            .with("bound", most)
            .retry_after(retry_after),
            DispatchError::StoreFull { retry_after } => Self::new(
                Code::StoreFull,
                "no more jobs can be remembered until one expires; try again after the time in Retry-After",
            )
            .retry_after(retry_after),
            DispatchError::Draining => Self::new(
                Code::Draining,
                "the service takes no new work; another instance, or this one after its restart, will",
            )
            .retry_after(SOON),
            DispatchError::IsolationLost => Self::new(
                Code::IsolationLost,
                "no sandbox could be raised for this execution, and nothing runs without one",
            )
            .retry_after(SOON),
            DispatchError::StoreUnavailable => Self::new(
                Code::StoreUnavailable,
                "the database of jobs cannot be reached or written; POST /api/execute works without it",
            )
            .retry_after(SOON),
            DispatchError::KeyReused => Self::new(
                Code::IdempotencyKeyReused,
                "this `Idempotency-Key` came before with another request; use a new key for a new request",
            ),
            DispatchError::KeyExpired => Self::job_expired(),
            DispatchError::NeedsDatabase => Self::new(
                Code::Unsupported,
                "`runAt` and `priority` need a database (--store); this service keeps jobs in memory",
            ),
            DispatchError::QueueWaitExceeded { waited } => Self::new(
                Code::QueueWaitExceeded,
                format!(
                    "the job waited {} ms for an executor and was cancelled; nothing of it ran",
                    waited.as_millis()
                ),
            )
            .retry_after(SOON),
            DispatchError::Internal => Self::new(
                Code::Internal,
                "the service failed to answer; the log has the reason under this request's X-Request-ID",
            ),
        }
    }
}

impl From<LimitError> for Problem {
    fn from(error: LimitError) -> Self {
        let detail = error.to_string();
        match error {
            LimitError::AboveCeiling(above) => Self::new(Code::LimitAboveCeiling, detail)
                .with("field", format!("limits.{}", above.field))
                .with("ceiling", above.ceiling),
            LimitError::TooSmall { field, .. } => {
                Self::invalid_field(&format!("limits.{field}"), detail)
            }
        }
    }
}

impl From<ScriptRefusal> for Problem {
    fn from(refusal: ScriptRefusal) -> Self {
        let detail = refusal.to_string();
        match refusal {
            ScriptRefusal::MissingCode => Self::new(Code::MissingCode, detail),
            ScriptRefusal::CodeTooLarge { most, .. } => {
                Self::new(Code::CodeTooLarge, detail).with("bound", most)
            }
            ScriptRefusal::InvalidField { field, .. } => Self::invalid_field(&field, detail),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_code_has_a_unique_name_and_is_documented() {
        let source = include_str!("problem.rs");
        let variants = source
            .split("enum Code {")
            .nth(1)
            .and_then(|rest| rest.split('}').next())
            .map(|variants| {
                variants
                    .split(',')
                    .filter(|name| !name.trim().is_empty())
                    .count()
            });
        assert_eq!(variants, Some(Code::ALL.len()));
        let names: BTreeSet<&str> = Code::ALL.iter().map(|code| code.name()).collect();
        assert_eq!(names.len(), Code::ALL.len());
        let documented = include_str!("../../docs/api.md");
        for name in names {
            assert!(
                documented.contains(&format!("`{name}`")),
                "{name} is not in docs/api.md"
            );
        }
    }
}
