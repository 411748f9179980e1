//! Which headers pass, in both directions.

use super::Introduction;
use crate::hex::to_hex;
use crate::keys::Scope;
use actix_web::http::Method;
use actix_web::http::header::{
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, CONNECTION, CONTENT_LENGTH,
    EXPECT, FORWARDED, HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, X_FORWARDED_FOR,
    X_FORWARDED_HOST, X_FORWARDED_PROTO,
};

/// Tells the service who is asking. Only the ingress may say anything under this prefix.
pub(super) const OWN_PREFIX: &str = "sandpiper-";
/// Under which browsers say which page asks, and for what.
const FETCH_PREFIX: &str = "sec-fetch-";
/// The host that the service is asked for, whatever it is called in its network: one that it always answers.
pub(super) const SERVICE_HOST: HeaderValue = HeaderValue::from_static("localhost");
/// The SHA-256 of a script that a request only points at: tells the service what to run, and the client what was run.
const SOURCE: HeaderName = HeaderName::from_static("sandpiper-source");
const CLIENT: HeaderName = HeaderName::from_static("sandpiper-client");
const PREFER: HeaderName = HeaderName::from_static("prefer");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// Those of one connection, and the framing, which each connection has its own of.
fn is_hop_by_hop(name: &HeaderName) -> bool {
    [
        &CONNECTION,
        &CONTENT_LENGTH,
        &KEEP_ALIVE,
        &PROXY_AUTHENTICATE,
        &PROXY_AUTHORIZATION,
        &PROXY_CONNECTION,
        &TE,
        &TRAILER,
        &TRANSFER_ENCODING,
        &UPGRADE,
    ]
    .contains(&name)
}

/// What a client may not say for itself, what only its own connection is about, and what a browser says of the page that
/// asks: the ingress has decided on that.
fn is_the_proxys(name: &HeaderName) -> bool {
    [
        &ACCESS_CONTROL_REQUEST_HEADERS,
        &ACCESS_CONTROL_REQUEST_METHOD,
        &ORIGIN,
        &EXPECT,
        &FORWARDED,
        &HOST,
        &REAL_IP,
        &X_FORWARDED_FOR,
        &X_FORWARDED_HOST,
        &X_FORWARDED_PROTO,
    ]
    .contains(&name)
        || name.as_str().starts_with(OWN_PREFIX)
        || name.as_str().starts_with(FETCH_PREFIX)
}

/// Whether `Connection` names this header as its own.
fn is_named_by_connection(headers: &HeaderMap, name: &HeaderName) -> bool {
    headers
        .get_all(CONNECTION)
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|token| token.trim().eq_ignore_ascii_case(name.as_str()))
}

/// Copies what passes from a client to the service.
pub(super) fn copy_request(from: &HeaderMap, to: &mut HeaderMap) {
    for (name, value) in from {
        if !is_the_proxys(name) {
            copy(from, name, value, to);
        }
    }
}

/// Copies what passes from the service to a client.
pub(super) fn copy_response(from: &HeaderMap, to: &mut HeaderMap) {
    for (name, value) in from {
        copy(from, name, value, to);
    }
}

fn copy(from: &HeaderMap, name: &HeaderName, value: &HeaderValue, to: &mut HeaderMap) {
    if !is_hop_by_hop(name) && !is_named_by_connection(from, name) {
        to.append(name.clone(), value.clone());
    }
}

/// Says who is asking: the address for logs, the asker for the queue; and which script is meant.
pub(super) fn introduce(who: &Introduction, to: &mut HeaderMap) {
    let mut insert = |name: HeaderName, text: String| {
        if let Ok(value) = HeaderValue::try_from(text) {
            to.insert(name, value);
        }
    };
    insert(X_FORWARDED_FOR, who.address.to_canonical().to_string());
    insert(CLIENT, who.asker.to_string());
    to.insert(HOST, SERVICE_HOST);
    name_script(who, to);
}

/// Asks for a response without results, where a key may stop jobs and not read them. What the client prefers does not count.
pub(super) fn hide_results(who: &Introduction, method: &Method, to: &mut HeaderMap) {
    let may_read = who.key.as_ref().is_none_or(|key| key.allows(Scope::Read));
    if *method == Method::DELETE && !may_read {
        to.insert(PREFER, HeaderValue::from_static("return=minimal"));
    }
}

/// Says which script is meant by a request that points at one, to the service and to the client.
pub(super) fn name_script(who: &Introduction, to: &mut HeaderMap) {
    let Some(script) = &who.script else { return };
    if let Ok(value) = HeaderValue::try_from(to_hex(script.digest())) {
        to.insert(SOURCE, value);
    }
}
