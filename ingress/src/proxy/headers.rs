//! The headers that are forwarded, in both directions.

use super::ForwardingContext;
use crate::hex::to_hex;
use crate::keys::Scope;
use actix_web::http::Method;
use actix_web::http::header::{
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, CONNECTION, CONTENT_LENGTH,
    EXPECT, FORWARDED, HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, X_FORWARDED_FOR,
    X_FORWARDED_HOST, X_FORWARDED_PROTO,
};

/// Prefix of headers from the ingress to the service. Headers of clients with this prefix are dropped.
pub(super) const OWN_PREFIX: &str = "sandpiper-";
/// Prefix of fetch metadata, which browsers send.
const FETCH_PREFIX: &str = "sec-fetch-";
/// The `Host` of forwarded requests, which the service always accepts, whatever its name in the network is.
pub(super) const SERVICE_HOST: HeaderValue = HeaderValue::from_static("localhost");
/// The SHA-256 of the script that a request references, for the service and for the client.
const SOURCE: HeaderName = HeaderName::from_static("sandpiper-source");
const CLIENT: HeaderName = HeaderName::from_static("sandpiper-client");
const PREFER: HeaderName = HeaderName::from_static("prefer");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// Returns true for headers of a single connection, and for headers of the framing.
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

/// Returns true for headers that clients may not set, that concern the client's own connection, or that the ingress has
/// evaluated: those of CORS and fetch metadata.
fn is_dropped(name: &HeaderName) -> bool {
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

/// Returns true if `Connection` lists this header.
fn is_named_by_connection(headers: &HeaderMap, name: &HeaderName) -> bool {
    headers
        .get_all(CONNECTION)
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|token| token.trim().eq_ignore_ascii_case(name.as_str()))
}

/// Copies the headers of a request to the service.
pub(super) fn copy_request(from: &HeaderMap, to: &mut HeaderMap) {
    for (name, value) in from {
        if !is_dropped(name) {
            copy(from, name, value, to);
        }
    }
}

/// Copies the headers of a response to the client.
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

/// Inserts the address of the client for the service's log, the principal for its queue, and the referenced script.
pub(super) fn insert_context(context: &ForwardingContext, to: &mut HeaderMap) {
    let mut insert = |name: HeaderName, text: String| {
        if let Ok(value) = HeaderValue::try_from(text) {
            to.insert(name, value);
        }
    };
    insert(X_FORWARDED_FOR, context.address.to_canonical().to_string());
    insert(CLIENT, context.principal.to_string());
    to.insert(HOST, SERVICE_HOST);
    insert_script(context, to);
}

/// Requests a response without results (`Prefer: return=minimal`) if the key may stop jobs but not read them.
///
/// The client's own `Prefer` is replaced.
pub(super) fn hide_results(context: &ForwardingContext, method: &Method, to: &mut HeaderMap) {
    let may_read = context
        .key
        .as_ref()
        .is_none_or(|key| key.allows(Scope::Read));
    if *method == Method::DELETE && !may_read {
        to.insert(PREFER, HeaderValue::from_static("return=minimal"));
    }
}

/// Inserts the SHA-256 of the referenced script, if there is one.
pub(super) fn insert_script(context: &ForwardingContext, to: &mut HeaderMap) {
    let Some(script) = &context.script else {
        return;
    };
    if let Ok(value) = HeaderValue::try_from(to_hex(script.digest())) {
        to.insert(SOURCE, value);
    }
}
