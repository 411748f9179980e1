//! Checks against requests that a page of another site makes a browser send: DNS rebinding and cross-site request
//! forgery.
//!
//! `sandpiper_http_kit` decides on host, origin and media type. This module decides where each check applies, and
//! returns problems.

use crate::gateway::Gateway;
use crate::limits::Class;
use crate::open;
use crate::problem::{Code, Problem};
use crate::target::Target;
use actix_web::dev::ServiceRequest;
use actix_web::http::header::HeaderMap;
use actix_web::http::{Method, Uri};
use sandpiper_http_kit::{lacks_content_type, site};
use std::net::IpAddr;

pub(crate) fn check(
    gateway: &Gateway,
    request: &ServiceRequest,
    peer: IpAddr,
    target: Target,
) -> Result<(), Problem> {
    let (uri, headers) = (request.uri(), request.headers());
    let is_proxy_trusted = gateway.trust.trusts(peer);
    // Where keys are needed, DNS rebinding gains nothing: the page has no key.
    if gateway.keys.is_none() {
        check_host(gateway, uri, headers, is_proxy_trusted)?;
    }
    let Target::Api { class, .. } = target else {
        return Ok(());
    };
    if gateway.is_demonstration && !open::allows(request.method(), uri.path()) {
        return Err(Problem::new(
            Code::NotListed,
            "this is a public demonstration (--open): what was run is read by its id alone",
        ));
    }
    if may_change_something(request.method(), class) {
        site::check(uri, headers, is_proxy_trusted, gateway.cors.origins()).map_err(|refused| {
            let detail = format!(
                "{refused} in --cors-origins; a proxy in front must pass the client's `Host` on"
            );
            Problem::new(Code::CrossOrigin, detail)
        })?;
    }
    if request.method() == Method::POST && lacks_content_type(headers) {
        return Err(Problem::new(
            Code::UnsupportedMediaType,
            "the request has a body and no `Content-Type`; send `Content-Type: application/json` or multipart/form-data",
        ));
    }
    Ok(())
}

pub(crate) fn check_host(
    gateway: &Gateway,
    target: &Uri,
    headers: &HeaderMap,
    is_proxy_trusted: bool,
) -> Result<(), Problem> {
    gateway
        .hosts
        .check(target, headers, is_proxy_trusted)
        .map_err(|refused| Problem::new(Code::HostNotAllowed, refused.to_string()))
}

/// Returns true for requests that run code, and for every method that does not only read.
fn may_change_something(method: &Method, class: Class) -> bool {
    class == Class::Run || !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}
