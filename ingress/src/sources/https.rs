//! Scripts over HTTPS. Redirects follow the same rules as the location itself.

use super::address::{AddressNotAllowed, GuardedResolver};
use super::error::SourceError;
use super::location::{Allowed, Location, literal_address};
use super::{CachedVersion, Fetched, Validator};
use reqwest::header::{
    CONTENT_ENCODING, ETAG, HeaderMap, HeaderName, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED,
    LOCATION,
};
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use std::error::Error;
use url::Url;

/// Maximum redirects.
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

/// The HTTPS client for allowed hosts.
pub(super) struct Https {
    client: Client,
    guard: GuardedResolver,
    bytes_max: u64,
}

impl Https {
    pub(super) fn new(client: Client, guard: GuardedResolver, bytes_max: u64) -> Self {
        Self {
            client,
            guard,
            bytes_max,
        }
    }

    /// Fetches a script. `cached` returns the cached version of a location, if there is one.
    pub(super) async fn fetch(
        &self,
        url: &Url,
        allowed: &[Allowed],
        cached: impl Fn(&str) -> Option<CachedVersion>,
    ) -> Result<Fetched, SourceError> {
        let mut url = url.clone();
        for _ in 0..=REDIRECTS_MAX {
            if literal_address(&url).is_some_and(|address| !self.guard.allows(address)) {
                return Err(SourceError::AddressNotAllowed);
            }
            let cached = cached(url.as_str());
            let mut request = self.client.get(url.clone());
            if let Some(cached) = &cached {
                let (name, value) = condition(&cached.validator);
                request = request.header(name, value);
            }
            let answer = self.send(request).await?;
            match (answer.status(), cached) {
                (StatusCode::OK, _) => return self.read(url, answer).await,
                (StatusCode::NOT_MODIFIED, Some(cached)) => {
                    return Ok(Fetched::Unchanged(cached.script));
                }
                (status, _)
                    if status.is_redirection() && answer.headers().contains_key(LOCATION) =>
                {
                    url = redirected(&url, &answer, allowed)?;
                }
                (StatusCode::NOT_FOUND | StatusCode::GONE, _) => return Err(SourceError::NotFound),
                (status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN), _) => {
                    return Err(SourceError::Refused(status.as_u16()));
                }
                (status, _) => return Err(SourceError::Status(status.as_u16())),
            }
        }
        Err(SourceError::Redirects(REDIRECTS_MAX))
    }

    /// Sends a request. A host may close a kept connection at the moment at which the next request is written to it; the
    /// request is then sent once more.
    async fn send(&self, request: RequestBuilder) -> Result<Response, SourceError> {
        let again = request.try_clone();
        let answer = match (request.send().await, again) {
            (Err(error), Some(again)) if was_connection_lost(&error) => again.send().await,
            (answer, _) => answer,
        };
        answer.map_err(|error| source_error(&error))
    }

    async fn read(&self, url: Url, mut answer: Response) -> Result<Fetched, SourceError> {
        if let Some(encoding) = answer.headers().get(CONTENT_ENCODING) {
            let encoding = encoding.to_str().unwrap_or("in an unknown way");
            if !encoding.eq_ignore_ascii_case("identity") {
                return Err(SourceError::Encoded(encoding.chars().take(40).collect()));
            }
        }
        let too_large = SourceError::TooLarge(self.bytes_max);
        if answer
            .content_length()
            .is_some_and(|length| length > self.bytes_max)
        {
            return Err(too_large);
        }
        let validator = validator_in(answer.headers());
        let most = usize::try_from(self.bytes_max).unwrap_or(usize::MAX);
        let mut content = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| source_error(&error))? {
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

fn redirected(from: &Url, answer: &Response, allowed: &[Allowed]) -> Result<Url, SourceError> {
    let to = answer.headers().get(LOCATION);
    let to = to.and_then(|to| to.to_str().ok()).unwrap_or_default();
    let location = Location::redirected(from, to).map_err(SourceError::RedirectNowhere)?;
    if !allowed.iter().any(|allowed| allowed.covers(&location)) {
        return Err(SourceError::RedirectNotAllowed);
    }
    match location {
        Location::Https(url) => Ok(url),
        Location::Object { .. } => Err(SourceError::RedirectNotAllowed),
    }
}

/// Returns whether a connection was opened and ended without a response.
fn was_connection_lost(error: &reqwest::Error) -> bool {
    error.is_request() && !error.is_connect() && !error.is_timeout()
}

fn source_error(error: &reqwest::Error) -> SourceError {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.is::<AddressNotAllowed>() {
            return SourceError::AddressNotAllowed;
        }
        cause = error.source();
    }
    tracing::debug!(?error, "a script could not be fetched");
    SourceError::Unreachable
}
