//! The codes of error responses: one table from code to status and title.

use strum::VariantArray;

/// The stable code of a problem. Clients may match on it; its meaning never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, VariantArray)]
#[allow(clippy::enum_variant_names)] // the names are the API's
pub(crate) enum Code {
    InvalidPath,
    InvalidJson,
    InvalidBody,
    InvalidField,
    UnknownField,
    MissingCode,
    Unauthorized,
    KeyEnded,
    CrossOrigin,
    Forbidden,
    NotFound,
    JobNotFound,
    ScriptNotFound,
    UnknownTenant,
    MethodNotAllowed,
    BodyTimeout,
    JobAlreadyFinal,
    AlreadyAnswered,
    CallTimedOut,
    JobExpired,
    ReplayExpired,
    BodyTooLarge,
    CodeTooLarge,
    UnsupportedMediaType,
    LimitAboveCeiling,
    HostNotAllowed,
    Unsupported,
    IdempotencyKeyReused,
    InvalidReplay,
    ReplayMismatch,
    ToolNameTaken,
    UnknownCall,
    NotAnswerable,
    ClientQueueFull,
    TooManyStreams,
    QuotaExceeded,
    Internal,
    SourceMissing,
    QueueFull,
    StoreFull,
    StoreUnavailable,
    Draining,
    IsolationLost,
    JobsStillRun,
    QueueWaitExceeded,
}

impl Code {
    /// Every code.
    pub(crate) const ALL: &'static [Self] = Self::VARIANTS;

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
    pub(super) const fn row(self) -> (u16, &'static str, &'static str) {
        match self {
            Self::InvalidPath => (400, "invalid_path", "The path has more than one reading"),
            Self::InvalidJson => (400, "invalid_json", "The body is not a JSON object"),
            Self::InvalidBody => (400, "invalid_body", "The body cannot be read"),
            Self::InvalidField => (400, "invalid_field", "A field has a value it cannot have"),
            Self::UnknownField => (400, "unknown_field", "A field is not known"),
            Self::MissingCode => (400, "missing_code", "There is nothing to run"),
            Self::Unauthorized => (401, "unauthorized", "The key is not accepted"),
            Self::KeyEnded => (401, "key_ended", "The key ended while its request was open"),
            Self::CrossOrigin => (
                403,
                "cross_origin",
                "A page of another origin sends the request",
            ),
            Self::Forbidden => (403, "forbidden", "The request may not do this"),
            Self::NotFound => (404, "not_found", "There is nothing at this path"),
            Self::JobNotFound => (404, "job_not_found", "There is no such job"),
            Self::ScriptNotFound => (404, "script_not_found", "There is no such example script"),
            Self::UnknownTenant => (404, "unknown_tenant", "There is no such tenant"),
            Self::MethodNotAllowed => (405, "method_not_allowed", "The path has no such method"),
            Self::BodyTimeout => (408, "body_timeout", "The body took too long to arrive"),
            Self::JobAlreadyFinal => (409, "job_already_final", "The job has ended already"),
            Self::AlreadyAnswered => (409, "already_answered", "A call has another answer already"),
            Self::CallTimedOut => (
                409,
                "call_timed_out",
                "A call waited too long for its answer",
            ),
            Self::JobExpired => (410, "job_expired", "The job's record has expired"),
            Self::ReplayExpired => (410, "replay_expired", "The replay is too old"),
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
            Self::InvalidReplay => (422, "invalid_replay", "The replay cannot be read"),
            Self::ReplayMismatch => (
                422,
                "replay_mismatch",
                "The replay belongs to another request",
            ),
            Self::ToolNameTaken => (
                422,
                "tool_name_taken",
                "The operator has a tool of this name",
            ),
            Self::UnknownCall => (
                422,
                "unknown_call",
                "An answer is for no call of this execution",
            ),
            Self::NotAnswerable => (422, "not_answerable", "The job takes no answers"),
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
            Self::QuotaExceeded => (429, "quota_exceeded", "A budget is used up"),
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
            Self::JobsStillRun => (
                503,
                "jobs_still_run",
                "Jobs that are to be deleted still run",
            ),
            Self::IsolationLost => (503, "isolation_lost", "No sandbox is available"),
            Self::QueueWaitExceeded => {
                (504, "queue_wait_exceeded", "No executor came free in time")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_code_has_a_unique_name_and_is_documented() {
        let names: BTreeSet<&str> = Code::ALL.iter().map(|code| code.name()).collect();
        assert_eq!(names.len(), Code::ALL.len());
        let documented = include_str!("../../../docs/api.md");
        for name in names {
            assert!(
                documented.contains(&format!("`{name}`")),
                "{name} is not in docs/api.md"
            );
        }
    }
}
