//! Cross-origin resource sharing: which pages of other origins may use the API from a browser.
//!
//! Pages of the origins in `--cors-origins` may send every request header and read every response header that
//! docs/api.md lists. A preflight is counted, limited by its client's quota, and rejected with a problem, like any
//! other request. Credentials are never allowed: keys travel in headers.

use crate::problem::{Code, Problem};
use actix_web::HttpResponse;
use actix_web::http::Method;
use actix_web::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, HeaderMap, HeaderValue, ORIGIN, VARY,
};
use sandpiper_http_kit::site;

const METHODS: &str = "GET, HEAD, POST, DELETE";
/// The request headers of the API, except those that need no permission.
const REQUEST_HEADERS: [&str; 10] = [
    "authorization",
    "content-type",
    "idempotency-key",
    "if-none-match",
    "last-event-id",
    "prefer",
    "traceparent",
    "tracestate",
    "x-api-key",
    "x-request-id",
];
/// The response headers of the API, except those that every page may read.
const RESPONSE_HEADERS: &str = "allow, etag, idempotency-replayed, location, preference-applied, ratelimit, \
     ratelimit-policy, retry-after, sandpiper-source, www-authenticate, x-ratelimit-limit, x-ratelimit-remaining, \
     x-ratelimit-reset, x-request-id";
/// Time for which a browser may cache a preflight response, seconds.
const MAX_AGE: &str = "3600";

/// The origins whose pages may use the API.
#[derive(Debug)]
pub(crate) struct Cors {
    origins: Vec<String>,
}

impl Cors {
    pub(crate) fn new(origins: Vec<String>) -> Self {
        Self { origins }
    }

    pub(crate) fn origins(&self) -> &[String] {
        &self.origins
    }

    /// Responds to a preflight with permission for every method and header of the API.
    ///
    /// # Errors
    ///
    /// The origin is not listed, or the page asks for another method or header.
    pub(crate) fn preflight(&self, headers: &HeaderMap) -> Result<HttpResponse, Problem> {
        let refused = |detail: String| Err(Problem::new(Code::CrossOrigin, detail));
        if self.listed(headers).is_none() {
            return refused("the origin is not listed in --cors-origins".to_owned());
        }
        let method = text(headers, &ACCESS_CONTROL_REQUEST_METHOD);
        if !METHODS.split(", ").any(|allowed| allowed == method) {
            return refused(format!("pages of other origins may use {METHODS}"));
        }
        let requested = text(headers, &ACCESS_CONTROL_REQUEST_HEADERS).split(',');
        for name in requested.map(str::trim).filter(|name| !name.is_empty()) {
            if !REQUEST_HEADERS
                .iter()
                .any(|allowed| allowed.eq_ignore_ascii_case(name))
            {
                return refused(format!(
                    "pages of other origins may send the headers {}",
                    REQUEST_HEADERS.join(", ")
                ));
            }
        }
        let mut response = HttpResponse::NoContent();
        response
            .insert_header((ACCESS_CONTROL_ALLOW_METHODS, METHODS))
            .insert_header((ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS.join(", ")))
            .insert_header((ACCESS_CONTROL_MAX_AGE, MAX_AGE))
            .insert_header((
                VARY,
                "Access-Control-Request-Method, Access-Control-Request-Headers",
            ));
        Ok(response.finish())
    }

    /// Writes into a response of the API whether the requesting page may read it.
    pub(crate) fn write(&self, request: &HeaderMap, response: &mut HeaderMap) {
        response.append(VARY, HeaderValue::from_static("Origin"));
        let Some(origin) = self.listed(request) else {
            return;
        };
        response.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        response.insert(
            ACCESS_CONTROL_EXPOSE_HEADERS,
            HeaderValue::from_static(RESPONSE_HEADERS),
        );
    }

    fn listed<'h>(&self, headers: &'h HeaderMap) -> Option<&'h HeaderValue> {
        let origin = headers.get(ORIGIN)?;
        let is_listed = site::is_listed(origin.to_str().ok()?, &self.origins);
        is_listed.then_some(origin)
    }
}

/// Returns true for a preflight: a browser asks whether a page of another origin may send a request.
pub(crate) fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    method == Method::OPTIONS
        && headers.contains_key(ORIGIN)
        && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

fn text<'h>(headers: &'h HeaderMap, name: &actix_web::http::header::HeaderName) -> &'h str {
    let value = headers.get(name).and_then(|value| value.to_str().ok());
    value.unwrap_or_default()
}
