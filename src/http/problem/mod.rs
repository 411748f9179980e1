//! Error responses as RFC 9457 `application/problem+json`, without internals in their text.
//!
//! Use [`Problem`] for every response other than the requested one. A script's failure is data, and no problem.

mod code;

pub(crate) use code::Code;

use crate::actors::types::DispatchError;
use actix_web::http::StatusCode;
use actix_web::http::header::{ALLOW, CONTENT_TYPE, HeaderName, RETRY_AFTER, WWW_AUTHENTICATE};
use actix_web::{HttpResponse, ResponseError};
use sandpiper_domain::{JobState, LimitError, ScriptRefusal};
use serde::Serialize;
use serde_json::{Map, Value};
use std::fmt;
use std::time::Duration;

/// Response header that tells a gateway the code of a problem.
const PROBLEM: HeaderName = HeaderName::from_static("sandpiper-problem");

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

    /// Returns the problem of a job for which no executor came free in time.
    fn queue_wait_exceeded(waited: Duration) -> Self {
        let detail = format!(
            "the job waited {} ms for an executor and was cancelled; nothing of it ran",
            waited.as_millis()
        );
        Self::new(Code::QueueWaitExceeded, detail).retry_after(SOON)
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
        response.insert_header((PROBLEM, code));
        if let Some(after) = self.retry_after {
            let whole_seconds = after.as_millis().div_ceil(1000).max(1);
            response.insert_header((RETRY_AFTER, whole_seconds.to_string()));
        }
        if matches!(self.code, Code::Unauthorized | Code::KeyEnded) {
            response.insert_header((WWW_AUTHENTICATE, "Bearer"));
        }
        if let Some(allow) = self.allow {
            response.insert_header((ALLOW, allow));
        }
        // Strings and numbers: writing them to memory cannot fail.
        response.body(serde_json::to_vec(&body).unwrap_or_default())
    }
}

/// The `Retry-After` of a state that may end at any moment.
const SOON: Duration = Duration::from_secs(1);

impl From<DispatchError> for Problem {
    fn from(error: DispatchError) -> Self {
        match error {
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
            DispatchError::WaitingFull { most, retry_after } => Self::new(
                Code::ClientQueueFull,
                format!("this client has {most} jobs that wait for answers, as many as one client may; answer or cancel some"),
            )
            .with("bound", most)
            .retry_after(retry_after),
            DispatchError::WaitingBytesFull { most, retry_after } => Self::new(
                Code::ClientQueueFull,
                format!("the jobs of this client that wait for answers may have {most} bytes, and have as many; answer or cancel some"),
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
                "no sandbox could be started for this execution, and nothing runs without one",
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
            DispatchError::TenantPurged => Self::new(
                Code::Unauthorized,
                "the tenant of this key was purged; its keys are no longer accepted",
            ),
            DispatchError::PurgedMeanwhile => Self::new(
                Code::KeyEnded,
                "the tenant of this key was purged while its request was open; what was asked for may have happened",
            ),
            DispatchError::JobsStillRun => Self::new(
                Code::JobsStillRun,
                "a job to be deleted has not stopped in time, and its data is still there; repeat the request",
            )
            .retry_after(SOON),
            DispatchError::QueueWaitExceeded { waited } => Self::queue_wait_exceeded(waited),
            DispatchError::ReplayFailed => Self::new(
                Code::Internal,
                "the service failed to continue this execution; send the request again, and nothing is called twice",
            ),
            // A handler that asks for a repetition only says itself why it does.
            DispatchError::NoReplay | DispatchError::Internal => Self::new(
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
            ScriptRefusal::CodeTooLarge { most, .. }
            | ScriptRefusal::TogetherTooLarge { most, .. } => {
                Self::new(Code::CodeTooLarge, detail).with("bound", most)
            }
            ScriptRefusal::InvalidField { field, .. } => Self::invalid_field(&field, detail),
        }
    }
}
