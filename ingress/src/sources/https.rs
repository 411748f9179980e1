//! Scripts by HTTPS: every redirect is held to the same rules as the location itself.

use super::address::{Guard, NotReachable};
use super::failure::Failure;
use super::location::{Allowed, Location, literal_address};
use super::{Fetched, Known, Validator};
use reqwest::header::{
    CONTENT_ENCODING, ETAG, HeaderMap, HeaderName, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED,
    LOCATION,
};
use reqwest::{Client, Response, StatusCode};
use std::error::Error;
use url::Url;

/// Redirects that are followed.
const REDIRECTS_MAX: usize = 5;

fn validator_in(headers: &HeaderMap) -> Option<Validator> {
    let text = |name| Some(headers.get(name)?.to_str().ok()?.to_owned());
    let tag = text(ETAG).map(Validator::Tag);
    tag.or_else(|| text(LAST_MODIFIED).map(Validator::Date))
}

fn condition(validator: &Validator) -> (HeaderName, &str) {
    match validator {
        Validator::Tag(tag) => (IF_NONE_MATCH, tag),
        Validator::Date(date) => (IF_MODIFIED_SINCE, date),
    }
}

/// Fetches over HTTPS from the hosts that are allowed.
pub(super) struct Https {
    client: Client,
    guard: Guard,
    bytes_max: u64,
}

impl Https {
    pub(super) fn new(client: Client, guard: Guard, bytes_max: u64) -> Self {
        Self {
            client,
            guard,
            bytes_max,
        }
    }

    /// `known` says which content of a location is here already.
    pub(super) async fn fetch(
        &self,
        url: &Url,
        allowed: &[Allowed],
        known: impl Fn(&str) -> Option<Known>,
    ) -> Result<Fetched, Failure> {
        let mut url = url.clone();
        for _ in 0..=REDIRECTS_MAX {
            if literal_address(&url).is_some_and(|address| !self.guard.allows(address)) {
                return Err(Failure::NotReachable);
            }
            let known = known(url.as_str());
            let mut request = self.client.get(url.clone());
            if let Some(known) = &known {
                let (name, value) = condition(&known.validator);
                request = request.header(name, value);
            }
            let answer = request.send().await.map_err(|error| failure_of(&error))?;
            match (answer.status(), known) {
                (StatusCode::OK, _) => return self.read(url, answer).await,
                (StatusCode::NOT_MODIFIED, Some(known)) => {
                    return Ok(Fetched::Unchanged(known.script));
                }
                (status, _)
                    if status.is_redirection() && answer.headers().contains_key(LOCATION) =>
                {
                    url = redirected(&url, &answer, allowed)?;
                }
                (StatusCode::NOT_FOUND | StatusCode::GONE, _) => return Err(Failure::NotFound),
                (status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN), _) => {
                    return Err(Failure::Refused(status.as_u16()));
                }
                (status, _) => return Err(Failure::Status(status.as_u16())),
            }
        }
        Err(Failure::Redirects(REDIRECTS_MAX))
    }

    async fn read(&self, url: Url, mut answer: Response) -> Result<Fetched, Failure> {
        if let Some(encoding) = answer.headers().get(CONTENT_ENCODING) {
            let encoding = encoding.to_str().unwrap_or("in an unknown way");
            if !encoding.eq_ignore_ascii_case("identity") {
                return Err(Failure::Encoded(encoding.chars().take(40).collect()));
            }
        }
        let too_large = Failure::TooLarge(self.bytes_max);
        if answer
            .content_length()
            .is_some_and(|length| length > self.bytes_max)
        {
            return Err(too_large);
        }
        let validator = validator_in(answer.headers());
        let most = usize::try_from(self.bytes_max).unwrap_or(usize::MAX);
        let mut content = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| failure_of(&error))? {
            if content.len() + chunk.len() > most {
                return Err(too_large);
            }
            content.extend_from_slice(&chunk);
        }
        Ok(Fetched::New {
            location: url.into(),
            content,
            validator,
        })
    }
}

fn redirected(from: &Url, answer: &Response, allowed: &[Allowed]) -> Result<Url, Failure> {
    let to = answer.headers().get(LOCATION);
    let to = to.and_then(|to| to.to_str().ok()).unwrap_or_default();
    let location = Location::redirected(from, to).map_err(Failure::RedirectNowhere)?;
    if !allowed.iter().any(|allowed| allowed.covers(&location)) {
        return Err(Failure::RedirectNotAllowed);
    }
    match location {
        Location::Https(url) => Ok(url),
        Location::Object { .. } => Err(Failure::RedirectNotAllowed),
    }
}

fn failure_of(error: &reqwest::Error) -> Failure {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.is::<NotReachable>() {
            return Failure::NotReachable;
        }
        cause = error.source();
    }
    tracing::debug!(?error, "a source was not fetched");
    Failure::Unreachable
}
