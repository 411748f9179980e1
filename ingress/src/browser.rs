//! Requests that a browser may have been made to send by somebody else's page: their host, their origin, their media type.
//!
//! Decisions are made in `sandpiper_http_kit`; this module says where they apply and turns them into problems.

use crate::door::Door;
use crate::limits::Class;
use crate::open;
use crate::problem::{Code, Problem};
use crate::target::Target;
use actix_web::dev::ServiceRequest;
use actix_web::http::header::HeaderMap;
use actix_web::http::{Method, Uri};
use sandpiper_http_kit::{lacks_content_type, site};
use std::net::IpAddr;

/// Checks the head of a request whose connection comes from `peer`.
pub(crate) fn check(
    door: &Door,
    request: &ServiceRequest,
    peer: IpAddr,
    target: Target,
) -> Result<(), Problem> {
    let (uri, headers) = (request.uri(), request.headers());
    let is_proxy_trusted = door.trust.believes(peer);
    // With keys a page's own name gets it nothing: it has no key.
    if door.keys.is_none() {
        check_host(door, uri, headers, is_proxy_trusted)?;
    }
    let Target::Api { class, .. } = target else {
        return Ok(());
    };
    if door.is_open && !open::allows(request.method(), uri.path()) {
        return Err(Problem::new(
            Code::NotListed,
            "this is a public demonstration (--open): what was run is read by its id alone",
        ));
    }
    if may_change_something(request.method(), class) {
        site::check(uri, headers, is_proxy_trusted, door.cors.origins()).map_err(|refused| {
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

/// Checks that a request is for a host that is answered.
pub(crate) fn check_host(
    door: &Door,
    target: &Uri,
    headers: &HeaderMap,
    is_proxy_trusted: bool,
) -> Result<(), Problem> {
    door.hosts
        .check(target, headers, is_proxy_trusted)
        .map_err(|refused| Problem::new(Code::HostNotAllowed, refused.to_string()))
}

/// Returns true for every method but those that only read, and for whatever runs code.
fn may_change_something(method: &Method, class: Class) -> bool {
    class == Class::Run || !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}
