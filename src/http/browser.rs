//! Protection against requests that a page of another origin makes a browser send: checks of host, origin and media
//! type.
//!
//! The service has no API keys, so each of its ports accepts only the allowed hosts. The checks are in
//! `sandpiper_http_kit`; this module turns their errors into problems.

use super::Api;
use super::problem::{Code, Problem};
use actix_web::http::header::HeaderMap;
use actix_web::http::{Method, Uri};
use sandpiper_http_kit::{lacks_content_type, site};

/// Checks the head of a request before anything else reads it: the host and, for methods that may change something, the
/// origin.
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

/// Checks that the request's host is allowed.
pub(super) fn check_host(api: &Api, target: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
    let hosts = &api.bounds.allowed_hosts;
    hosts
        .check(target, headers, false)
        .map_err(|error| Problem::new(Code::HostNotAllowed, error.to_string()))
}

/// Checks that the request does not come from a page of another origin. A GET handler that starts work calls it.
pub(super) fn check_site(target: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
    site::check(target, headers, false, &[])
        .map_err(|error| Problem::new(Code::CrossOrigin, error.to_string()))
}

/// Checks that a body has a media type.
pub(super) fn check_content_type(headers: &HeaderMap) -> Result<(), Problem> {
    if !lacks_content_type(headers) {
        return Ok(());
    }
    Err(Problem::new(
        Code::UnsupportedMediaType,
        "the request has a body and no `Content-Type`; send `Content-Type: application/json` or multipart/form-data",
    ))
}
