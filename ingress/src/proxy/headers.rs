//! The headers that are forwarded, in both directions.

use super::ForwardingContext;
use crate::hex::to_hex;
use crate::keys::{Identity, Scope};
use actix_web::http::header as client;
use hyper::Method;
use hyper::header::{HOST, HeaderMap, HeaderName, HeaderValue};

/// Prefix of headers from the ingress to the service. Headers of clients with this prefix are dropped.
pub(super) const OWN_PREFIX: &str = "sandpiper-";
/// Prefix of fetch metadata, which browsers send.
const FETCH_PREFIX: &str = "sec-fetch-";
/// The `Host` of forwarded requests, which the service always accepts, whatever its name in the network is.
pub(super) const SERVICE_HOST: HeaderValue = HeaderValue::from_static("localhost");
/// The SHA-256 of the script that a request references, for the service and for the client.
const SOURCE: &str = "sandpiper-source";
const CLIENT: HeaderName = HeaderName::from_static("sandpiper-client");
const TENANT: HeaderName = HeaderName::from_static("sandpiper-tenant");
const KEY: HeaderName = HeaderName::from_static("sandpiper-key");
const SCOPES: HeaderName = HeaderName::from_static("sandpiper-scopes");
const KNOWN_TENANT: HeaderName = HeaderName::from_static("sandpiper-known-tenant");
const BUDGET: HeaderName = HeaderName::from_static("sandpiper-budget");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// The code of an error response, and the outcome of an execution, from the service for the ingress alone.
const PROBLEM: HeaderName = HeaderName::from_static("sandpiper-problem");
const OUTCOME: HeaderName = HeaderName::from_static("sandpiper-outcome");
const PREFER: HeaderName = HeaderName::from_static("prefer");

/// The facts that the service adds to a response for the ingress alone, in headers that no client gets.
#[derive(Debug, Clone)]
pub(crate) struct ServiceNotes {
    /// The code of an error response.
    pub problem: Option<HeaderValue>,
    /// The outcome of an execution.
    pub outcome: Option<HeaderValue>,
}

impl ServiceNotes {
    /// Reads the notes of a response, if it has any.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let notes = Self {
            problem: headers.get(PROBLEM).cloned(),
            outcome: headers.get(OUTCOME).cloned(),
        };
        (notes.problem.is_some() || notes.outcome.is_some()).then_some(notes)
    }
}

/// Returns true for headers of a single connection, and for headers of the framing.
fn is_hop_by_hop(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "content-length"
            | "keep-alive"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    )
}

/// Returns true for headers that clients may not set, that concern the client's own connection, or that the ingress has
/// evaluated: those of CORS and fetch metadata.
fn is_dropped(name: &str) -> bool {
    matches!(
        name,
        "access-control-request-headers"
            | "access-control-request-method"
            | "origin"
            | "expect"
            | "forwarded"
            | "host"
            | "x-real-ip"
            | "x-forwarded-for"
            | "x-forwarded-host"
            | "x-forwarded-proto"
    ) || name.starts_with(OWN_PREFIX)
        || name.starts_with(FETCH_PREFIX)
}

/// Returns the names that the values of `Connection` list.
fn named_by_connection<'a>(values: impl Iterator<Item = &'a [u8]>) -> Vec<&'a [u8]> {
    let names = values.flat_map(|value| value.split(|byte| *byte == b','));
    names.map(<[u8]>::trim_ascii).collect()
}

fn is_forwarded(name: &str, named: &[&[u8]]) -> bool {
    let is_named = |named: &&[u8]| named.eq_ignore_ascii_case(name.as_bytes());
    !is_hop_by_hop(name) && !named.iter().any(is_named)
}

/// Copies the headers of a request to the service.
pub(super) fn copy_request(from: &client::HeaderMap, to: &mut HeaderMap) {
    let values = from.get_all(client::CONNECTION);
    let named = named_by_connection(values.map(|value| value.as_bytes()));
    for (name, value) in from {
        if is_dropped(name.as_str()) || !is_forwarded(name.as_str(), &named) {
            continue;
        }
        let name = HeaderName::from_bytes(name.as_str().as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value.as_bytes())) {
            to.append(name, value);
        }
    }
}

/// Copies the headers of a response to the client, without the notes of the service.
pub(super) fn copy_response(from: &HeaderMap, to: &mut client::HeaderMap) {
    let values = from.get_all(hyper::header::CONNECTION);
    let named = named_by_connection(values.iter().map(HeaderValue::as_bytes));
    for (name, value) in from {
        if [PROBLEM, OUTCOME].contains(name) || !is_forwarded(name.as_str(), &named) {
            continue;
        }
        let name = client::HeaderName::from_bytes(name.as_str().as_bytes());
        if let (Ok(name), Ok(value)) = (name, client::HeaderValue::from_bytes(value.as_bytes())) {
            to.append(name, value);
        }
    }
}

/// Inserts the address of the client for the service's log, the client or the identity of the key, and the referenced
/// script.
pub(super) fn insert_context(context: &ForwardingContext, to: &mut HeaderMap) {
    let mut insert = |name: HeaderName, text: String| {
        if let Ok(value) = HeaderValue::try_from(text) {
            to.insert(name, value);
        }
    };
    insert(FORWARDED_FOR, context.address.to_canonical().to_string());
    if context.credential.is_none() {
        insert(CLIENT, context.principal.to_string());
    }
    if let Some(tenant) = &context.known_tenant {
        insert(KNOWN_TENANT, tenant.clone());
    }
    if let Some(script) = &context.script {
        insert(HeaderName::from_static(SOURCE), to_hex(script.digest()));
    }
    to.insert(HOST, SERVICE_HOST);
    if let Some(credential) = &context.credential {
        insert_identity(credential.key.identity(), to);
    } else if context.lacks_key {
        // The service shows a request without scopes nothing of the load of all tenants.
        to.insert(SCOPES, HeaderValue::from_static(""));
    }
}

/// Inserts what the service is told of a key: its tenant, its scopes and its budgets.
fn insert_identity(identity: &Identity, to: &mut HeaderMap) {
    to.insert(CLIENT, identity.client.clone());
    to.insert(TENANT, identity.tenant.clone());
    to.insert(KEY, identity.key.clone());
    to.insert(SCOPES, identity.scopes.clone());
    if let Some(budget) = &identity.budget {
        to.insert(BUDGET, budget.clone());
    }
}

/// Requests a response without results (`Prefer: return=minimal`) if the key may stop jobs but not read them.
///
/// The client's own `Prefer` is replaced.
pub(super) fn hide_results(context: &ForwardingContext, method: Method, to: &mut HeaderMap) {
    let may_read = context
        .credential
        .as_ref()
        .is_none_or(|credential| credential.key.allows(Scope::Read));
    if method == Method::DELETE && !may_read {
        to.insert(PREFER, HeaderValue::from_static("return=minimal"));
    }
}

/// Tells the client the SHA-256 of the referenced script, if there is one.
pub(super) fn insert_script(context: &ForwardingContext, to: &mut client::HeaderMap) {
    let value = (context.script.as_ref())
        .and_then(|script| client::HeaderValue::try_from(to_hex(script.digest())).ok());
    if let Some(value) = value {
        to.insert(client::HeaderName::from_static(SOURCE), value);
    }
}
