//! Requests that a browser may have been made to send by somebody else's page: their host, their origin, their media type.
//!
//! The service has no keys, so each of its ports holds every request to the hosts that are allowed. Decisions are made in
//! `sandpiper_http_kit`; this module turns them into problems.

use super::Api;
use super::problem::{Code, Problem};
use actix_web::http::header::HeaderMap;
use actix_web::http::{Method, Uri};
use sandpiper_http_kit::{lacks_content_type, site};

/// Checks the head of a request before anything reads further: its host and, where it may change something, its origin.
pub(super) fn check(
    api: &Api,
    method: &Method,
    target: &Uri,
    headers: &HeaderMap,
) -> Result<(), Problem> {
    check_host(api, target, headers)?;
    match *method {
        Method::GET | Method::HEAD | Method::OPTIONS => Ok(()),
        _ => check_site(target, headers),
    }
}

/// Checks that the request is for a host that is allowed.
pub(super) fn check_host(api: &Api, target: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
    let hosts = &api.bounds.allowed_hosts;
    hosts
        .check(target, headers, false)
        .map_err(|refused| Problem::new(Code::HostNotAllowed, refused.to_string()))
}

/// Checks that no page of another origin sends the request. A GET that does work calls it by itself.
pub(super) fn check_site(target: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
    site::check(target, headers, false, &[])
        .map_err(|refused| Problem::new(Code::CrossOrigin, refused.to_string()))
}

/// Checks that a body comes with its media type.
pub(super) fn check_content_type(headers: &HeaderMap) -> Result<(), Problem> {
    if !lacks_content_type(headers) {
        return Ok(());
    }
    Err(Problem::new(
        Code::UnsupportedMediaType,
        "the request has a body and no `Content-Type`; send `Content-Type: application/json` or multipart/form-data",
    ))
}
