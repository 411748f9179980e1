//! The codes of the ingress's own error responses: one table from code to status and title.
//!
//! The ingress sends them. The service lists them in the description of the API, which the ingress forwards unchanged.

use strum::VariantArray;

/// The stable name of a problem. Clients may match on it; it never changes its meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, VariantArray)]
pub enum IngressCode {
    InvalidPath,
    /// The body ended early, or contradicts its headers.
    InvalidBody,
    InvalidField,
    /// The request has no key, or one that is unknown or not valid any more.
    Unauthorized,
    /// The key was revoked or expired while the request was open: the service may have done what the request asked for.
    KeyEnded,
    Forbidden,
    CrossOrigin,
    NotListed,
    /// The location of a script is not in `--source-allow`.
    SourceNotAllowed,
    NotFound,
    /// Pages allow `GET` and `HEAD`; `TRACE` and `CONNECT` are never forwarded.
    MethodNotAllowed,
    BodyTimeout,
    /// The body is longer than `--body-bytes`.
    BodyTooLarge,
    SourceUnfit,
    SourceUnavailable,
    /// A body has no media type.
    UnsupportedMediaType,
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
    ServiceTimeout,
    SourceTimeout,
}

impl IngressCode {
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// Returns whether the response has a `Retry-After`.
    pub const fn has_retry_after(self) -> bool {
        matches!(
            self,
            Self::RateLimited | Self::SourceNotKept | Self::ServiceUnreachable | Self::SourcesFull
        )
    }

    pub const fn name(self) -> &'static str {
        self.row().1
    }

    /// Returns status, name and title.
    pub const fn row(self) -> (u16, &'static str, &'static str) {
        match self {
            Self::InvalidPath => (400, "invalid_path", "The path is not one that is served"),
            Self::InvalidBody => (400, "invalid_body", "The body cannot be read"),
            Self::InvalidField => (400, "invalid_field", "A field has a value it cannot have"),
            Self::Unauthorized => (401, "unauthorized", "A key is needed"),
            Self::KeyEnded => (401, "key_ended", "The key ended while its request was open"),
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
            Self::SourceUnfit => (422, "source_unfit", "The script cannot be used"),
            Self::SourceUnavailable => {
                (424, "source_unavailable", "The script could not be fetched")
            }
            Self::RateLimited => (429, "rate_limited", "Too many requests"),
            Self::HeadTooLarge => (431, "head_too_large", "The request's head is too large"),
            Self::SourceNotKept => (500, "source_not_kept", "The script could not be stored"),
            Self::ServiceUnreachable => (502, "service_unreachable", "The service did not answer"),
            Self::SourcesFull => (503, "sources_full", "There is no room for the script"),
            Self::SourceTimeout => (504, "source_timeout", "The script took too long to arrive"),
            Self::ServiceTimeout => (504, "service_timeout", "The service did not answer in time"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_documented() {
        let documented = include_str!("../../../docs/ingress.md");
        for code in IngressCode::ALL {
            let name = code.row().1;
            assert!(
                documented.contains(&format!("`{name}`")),
                "{name} is not in docs/ingress.md"
            );
        }
    }
}
