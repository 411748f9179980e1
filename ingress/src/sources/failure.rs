//! Why a script could not be fetched, as its client is told. Nothing of addresses or of the inside is in the text.

use super::location::NoLocation;
use crate::problem::{Code, Problem};
use std::time::Duration;

/// Why there is no script.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Failure {
    #[error("`source`: {0}")]
    NoLocation(#[from] NoLocation),
    #[error("`source.sha256` must be 64 hexadecimal digits")]
    NoDigest,
    #[error("`source` must be a string, or an object of `url` and, if wanted, `sha256`")]
    Shape,
    #[error(
        "`source`: scripts may not come from there; --source-allow of the ingress lists where from"
    )]
    NotAllowed,
    #[error("`source`: its host has no address that may be reached")]
    NotReachable,
    #[error("`source`: it redirects to where scripts may not come from")]
    RedirectNotAllowed,
    #[error("`source`: it redirects more than {0} times")]
    Redirects(usize),
    #[error("`source`: it redirects to no location: {0}")]
    RedirectNowhere(NoLocation),
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
    #[error("`source`: its SHA-256 is {found}, and not {wanted}")]
    OtherContent { wanted: String, found: String },
    #[error("as many scripts as fit are on their way already; try again soon")]
    Full,
    #[error("the script could not be kept; the log of the ingress says why")]
    NotKept,
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        const SOON: Duration = Duration::from_secs(1);
        let code = match failure {
            Failure::NoLocation(_) | Failure::NoDigest | Failure::Shape => Code::InvalidField,
            Failure::NotAllowed | Failure::NotReachable | Failure::RedirectNotAllowed => {
                Code::SourceNotAllowed
            }
            Failure::Redirects(_)
            | Failure::RedirectNowhere(_)
            | Failure::NotFound
            | Failure::Refused(_)
            | Failure::Status(_)
            | Failure::Unreachable => Code::SourceUnavailable,
            Failure::TimedOut(_) => Code::SourceTimeout,
            Failure::TooLarge(_)
            | Failure::NotText
            | Failure::Encoded(_)
            | Failure::OtherContent { .. } => Code::SourceUnfit,
            Failure::Full => Code::SourcesFull,
            Failure::NotKept => Code::SourceNotKept,
        };
        let problem = Self::new(code, failure.to_string());
        let problem = match failure {
            Failure::NoDigest => problem.field("source.sha256"),
            _ => problem.field("source"),
        };
        match code {
            Code::SourcesFull | Code::SourceNotKept => problem.retry_after(SOON),
            _ => problem,
        }
    }
}
