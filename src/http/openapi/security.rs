//! The API keys of an ingress. They are optional in the description: the service itself has no keys.

use crate::http::routes::Route;
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

/// Returns the security requirement of an operation: no key, or a key with this scope.
pub(super) fn requirement(scope: Option<&str>) -> Value {
    let [bearer, header] = SCHEMES;
    let scopes: Vec<&str> = scope.into_iter().collect();
    json!([{}, { bearer: scopes }, { header: scopes }])
}

/// Returns the scope that an ingress with keys requires; `None` where it requires no key.
pub(super) fn scope(method: &str, route: Route) -> Option<&'static str> {
    match (method, route) {
        (_, Route::Execute | Route::NetCheck) => Some("execute"),
        ("post" | "delete", Route::Jobs | Route::Job) => Some("jobs"),
        (_, Route::Jobs | Route::Job | Route::JobEvents | Route::Nodes) => Some("read"),
        (_, Route::Tenant | Route::TenantAssign | Route::TenantRestore) => Some("admin"),
        _ => None,
    }
}
