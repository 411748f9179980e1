//! The error of fetching a script, with the text for its client. The text contains no address and no internal error.

use super::location::LocationError;
use crate::problem::{Code, Problem};
use std::time::Duration;

/// A script could not be fetched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum SourceError {
    #[error("`source`: {0}")]
    LocationError(#[from] LocationError),
    #[error("`source.sha256` must be 64 hexadecimal digits")]
    NoDigest,
    #[error("`source` must be a string, or an object of `url` and, if wanted, `sha256`")]
    Shape,
    #[error(
        "`source`: scripts may not come from there; --source-allow of the ingress lists where from"
    )]
    NotAllowed,
    #[error("`source`: its host has no address that may be reached")]
    AddressNotAllowed,
    #[error("`source`: it redirects to where scripts may not come from")]
    RedirectNotAllowed,
    #[error("`source`: it redirects more than {0} times")]
    Redirects(usize),
    #[error("`source`: it redirects to no location: {0}")]
    RedirectNowhere(LocationError),
    #[error("`source`: there is no such script")]
    NotFound,
    #[error("`source`: its host refuses it ({0})")]
    Refused(u16),
    #[error("`source`: its host answers {0}")]
    Status(u16),
    #[error("`source`: its host cannot be reached, or broke off")]
    Unreachable,
    #[error("`source`: it was not here within {} ms", .0.as_millis())]
    TimedOut(Duration),
    #[error("`source`: it is longer than {0} bytes")]
    TooLarge(u64),
    #[error("`source`: it is not UTF-8 text")]
    NotText,
    #[error("`source`: it is compressed ({0}), and must be plain text")]
    Encoded(String),
    #[error("`source`: its SHA-256 is {found}, and not {expected}")]
    OtherContent { expected: String, found: String },
    #[error("as many scripts as fit are on their way already; try again soon")]
    Full,
    #[error("the script could not be kept; the log of the ingress says why")]
    NotKept,
}

impl From<SourceError> for Problem {
    fn from(failure: SourceError) -> Self {
        const SOON: Duration = Duration::from_secs(1);
        let code = match failure {
            SourceError::LocationError(_) | SourceError::NoDigest | SourceError::Shape => {
                Code::InvalidField
            }
            SourceError::NotAllowed
            | SourceError::AddressNotAllowed
            | SourceError::RedirectNotAllowed => Code::SourceNotAllowed,
            SourceError::Redirects(_)
            | SourceError::RedirectNowhere(_)
            | SourceError::NotFound
            | SourceError::Refused(_)
            | SourceError::Status(_)
            | SourceError::Unreachable => Code::SourceUnavailable,
            SourceError::TimedOut(_) => Code::SourceTimeout,
            SourceError::TooLarge(_)
            | SourceError::NotText
            | SourceError::Encoded(_)
            | SourceError::OtherContent { .. } => Code::SourceUnfit,
            SourceError::Full => Code::SourcesFull,
            SourceError::NotKept => Code::SourceNotKept,
        };
        let problem = Self::new(code, failure.to_string());
        let problem = match failure {
            SourceError::NoDigest => problem.field("source.sha256"),
            _ => problem.field("source"),
        };
        match code {
            Code::SourcesFull | Code::SourceNotKept => problem.retry_after(SOON),
            _ => problem,
        }
    }
}
