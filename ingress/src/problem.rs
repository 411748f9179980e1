//! The error responses of the ingress: RFC 9457 `application/problem+json`, in the form that the service uses.
//!
//! The texts never contain the service's address or internal errors. Error responses of the service are forwarded
//! unchanged.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use serde::Serialize;
use std::time::Duration;

/// The stable name of a problem. Clients may match on it; it never changes its meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    /// The path has dot segments.
    InvalidPath,
    /// The body ended early, or contradicts its headers.
    InvalidBody,
    /// A field of the body has an invalid value.
    InvalidField,
    /// The request has no key, or an unknown one.
    Unauthorized,
    /// The key does not have the scope.
    Forbidden,
    /// A page of another origin makes a browser send the request.
    CrossOrigin,
    /// A public demonstration lists no jobs.
    NotListed,
    /// The location of a script is not in `--source-allow`.
    SourceNotAllowed,
    /// No page has this path.
    NotFound,
    /// Pages allow `GET` and `HEAD`; `TRACE` and `CONNECT` are never forwarded.
    MethodNotAllowed,
    /// The body did not arrive in time.
    BodyTimeout,
    /// The body is longer than `--body-bytes`.
    BodyTooLarge,
    /// The content at the location is not a valid script.
    SourceUnfit,
    /// The host of a script does not deliver it.
    SourceUnavailable,
    /// A body has no media type.
    UnsupportedMediaType,
    /// The host of the request is not allowed.
    HostNotAllowed,
    /// The target is longer than `--url-bytes`.
    UrlTooLong,
    /// A rate limit or the maximum of open requests was exceeded.
    RateLimited,
    /// The head is longer than `--header-bytes`.
    HeadTooLarge,
    /// A script could not be written to the cache folder.
    SourceNotKept,
    /// The service cannot be reached, or closed the connection before it responded.
    ServiceUnreachable,
    /// Scripts in use fill the whole cache.
    SourcesFull,
    /// The service did not respond in time.
    ServiceTimeout,
    /// The host of a script did not respond in time.
    SourceTimeout,
}

impl Code {
    /// Returns status, name and title.
    const fn row(self) -> (u16, &'static str, &'static str) {
        match self {
            Self::InvalidPath => (400, "invalid_path", "The path is not one that is served"),
            Self::InvalidBody => (400, "invalid_body", "The body cannot be read"),
            Self::InvalidField => (400, "invalid_field", "A field has a value it cannot have"),
            Self::Unauthorized => (401, "unauthorized", "A key is needed"),
            Self::Forbidden => (403, "forbidden", "The key may not do this"),
            Self::CrossOrigin => (
                403,
                "cross_origin",
                "A page of another origin sends the request",
            ),
            Self::NotListed => (403, "not_listed", "Nothing is listed here"),
            Self::SourceNotAllowed => {
                (403, "source_not_allowed", "Scripts may not come from there")
            }
            Self::NotFound => (404, "not_found", "There is nothing at this path"),
            Self::MethodNotAllowed => (405, "method_not_allowed", "The path has no such method"),
            Self::BodyTimeout => (408, "body_timeout", "The body took too long to arrive"),
            Self::BodyTooLarge => (413, "body_too_large", "The body is too large"),
            Self::UrlTooLong => (414, "url_too_long", "The URL is too long"),
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
            Self::SourceUnfit => (422, "source_unfit", "The script cannot be taken"),
            Self::SourceUnavailable => (424, "source_unavailable", "The script cannot be had"),
            Self::RateLimited => (429, "rate_limited", "Too many requests"),
            Self::HeadTooLarge => (431, "head_too_large", "The request's head is too large"),
            Self::SourceNotKept => (500, "source_not_kept", "The script could not be kept"),
            Self::ServiceUnreachable => (502, "service_unreachable", "The service did not answer"),
            Self::SourcesFull => (503, "sources_full", "There is no room for the script"),
            Self::SourceTimeout => (504, "source_timeout", "The script was not here in time"),
            Self::ServiceTimeout => (504, "service_timeout", "The service did not answer in time"),
        }
    }
}

/// An error response.
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

    /// Returns the code.
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

    /// Builds the response.
    #[must_use]
    pub(crate) fn into_response(self) -> HttpResponse {
        let (status, code, title) = self.code.row();
        let status_code = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = HttpResponse::build(status_code);
        response
            .insert_header((CONTENT_TYPE, "application/problem+json"))
            .insert_header((CACHE_CONTROL, "no-store"));
        if let Some(after) = self.retry_after {
            response.insert_header((RETRY_AFTER, whole_seconds(after)));
        }
        match self.code {
            Code::Unauthorized => {
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
#[must_use]
pub(crate) fn whole_seconds(duration: Duration) -> u64 {
    (duration.as_secs() + u64::from(duration.subsec_nanos() > 0)).max(1)
}
