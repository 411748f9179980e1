//! The error responses of the ingress: RFC 9457 `application/problem+json`, in the form that the service uses.
//!
//! The texts never contain the service's address or internal errors. Error responses of the service are forwarded
//! unchanged.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
pub(crate) use sandpiper_http_kit::ingress_code::IngressCode as Code;
use serde::Serialize;
use std::time::Duration;

#[derive(Debug)]
pub(crate) struct Problem {
    code: Code,
    detail: String,
    field: Option<&'static str>,
    retry_after: Option<Duration>,
}

#[derive(Serialize)]
struct Body<'a> {
    #[serde(rename = "type")]
    kind: String,
    title: &'static str,
    status: u16,
    code: &'static str,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'static str>,
}

impl Problem {
    /// A problem; `detail` says what is wrong with this request and what would be right.
    pub(crate) fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            field: None,
            retry_after: None,
        }
    }

    pub(crate) fn code(&self) -> Code {
        self.code
    }

    /// Sets the field of the body that is invalid.
    #[must_use]
    pub(crate) fn field(mut self, field: &'static str) -> Self {
        self.field = Some(field);
        self
    }

    /// Sets the time after which the client may retry.
    #[must_use]
    pub(crate) fn retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    pub(crate) fn into_response(self) -> HttpResponse {
        let (status, code, title) = self.code.row();
        let status_code = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = HttpResponse::build(status_code);
        // For the log.
        response.extensions_mut().insert(self.code);
        response
            .insert_header((CONTENT_TYPE, "application/problem+json"))
            .insert_header((CACHE_CONTROL, "no-store"));
        if let Some(after) = self.retry_after {
            response.insert_header((RETRY_AFTER, whole_seconds(after)));
        }
        match self.code {
            Code::Unauthorized | Code::KeyEnded => {
                response.insert_header((WWW_AUTHENTICATE, "Bearer"));
            }
            Code::MethodNotAllowed => {
                response.insert_header((ALLOW, "GET, HEAD"));
            }
            _ => {}
        }
        let body = Body {
            kind: format!("urn:sandpiper:problem:{code}"),
            title,
            status,
            code,
            detail: &self.detail,
            field: self.field,
        };
        // A body of strings and numbers always serializes.
        response.body(serde_json::to_vec(&body).unwrap_or_default())
    }
}

/// Returns whole seconds for a header: rounded up, at least one.
pub(crate) fn whole_seconds(duration: Duration) -> u64 {
    (duration.as_secs() + u64::from(duration.subsec_nanos() > 0)).max(1)
}
