//! The API keys of an ingress. They are optional in the description: the service itself has no keys.

use crate::http::routes::Route;
use sandpiper_http_kit::scopes::{self, Access, Scope};
use serde_json::{Value, json};

/// Names of the security schemes: a key may be in either header.
const SCHEMES: [&str; 2] = ["apiKey", "apiKeyHeader"];

/// Returns the security schemes, by their names.
pub(super) fn schemes() -> Value {
    let [bearer, header] = SCHEMES;
    json!({
        bearer: {
            "type": "http",
            "scheme": "bearer",
            "description": "API key of an ingress. An ingress with keys rejects a missing or unknown key with 401 `unauthorized`, a key without the scope with 403 `forbidden`, and requests beyond the quota with 429 `rate_limited`. The service itself needs no key.",
        },
        header: {
            "type": "apiKey",
            "in": "header",
            "name": "X-API-Key",
            "description": "The same key in a header of its own.",
        },
    })
}

/// Member of an operation that needs a key: the scopes of which the key must have one; empty if any key will do.
pub(super) const SCOPES: &str = "x-key-scopes";

/// Returns the security requirement of an operation: no key, or a key with one of these scopes.
pub(super) fn requirement(scopes: &[Scope]) -> Value {
    let mut alternatives = vec![json!({})];
    for scheme in SCHEMES {
        match scopes {
            [] => alternatives.push(json!({ scheme: [] })),
            scopes => {
                let scopes = scopes.iter().map(|scope| json!({ scheme: [scope.name()] }));
                alternatives.extend(scopes);
            }
        }
    }
    alternatives.into()
}

/// Returns the key that an ingress with keys requires.
pub(super) fn access(method: &str, route: Route) -> Access {
    let path = route.path().strip_prefix("/api").unwrap_or(route.path());
    scopes::access(&method.to_uppercase(), path)
}

/// Adds to an operation the key that it needs.
pub(super) fn add(method: &str, route: Route, operation: &mut Value) {
    let scopes = match access(method, route) {
        Access::Public => return,
        Access::AnyKey => &[],
        Access::AnyOf(scopes) => scopes,
    };
    operation["security"] = requirement(scopes);
    operation[SCOPES] = scopes.iter().map(|scope| scope.name()).collect();
}
