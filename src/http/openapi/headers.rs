//! The response headers that many operations share.

use serde_json::{Map, Value, json};

/// The header of every response.
pub(super) const REQUEST_ID: &str = "X-Request-ID";
/// Headers of a response that an ingress has counted.
const RATE_LIMIT: &[&str] = &[
    "RateLimit",
    "RateLimit-Policy",
    "X-RateLimit-Limit",
    "X-RateLimit-Remaining",
    "X-RateLimit-Reset",
];

/// Returns the shared headers, by their names.
pub(super) fn components() -> Value {
    let text =
        |description: &str| json!({ "description": description, "schema": { "type": "string" } });
    let number = |description: &str, minimum: u8| json!({ "description": description, "schema": { "type": "integer", "minimum": minimum } });
    json!({
        "RateLimit": text("Remaining quota at an ingress, such as `\"client-run\";r=99;t=1`: requests left, and seconds until the quota is full; and what is left of each budget, such as `\"tenant-day\";r=12;t=3600`"),
        "RateLimit-Policy": text("Quota at an ingress, such as `\"client-run\";q=100;w=2`: requests, and seconds until an empty quota is full; and each budget, such as `\"tenant-day\";q=1000;w=86400`"),
        "Retry-After": number("Time until a retry is worthwhile, seconds; not with every code", 1),
        "WWW-Authenticate": text("`Bearer`: the ingress requires a key"),
        "X-RateLimit-Limit": number("Requests of the quota at an ingress", 0),
        "X-RateLimit-Remaining": number("Requests left of the quota at an ingress", 0),
        "X-RateLimit-Reset": number("Time until the quota at an ingress is full, seconds", 0),
        REQUEST_ID: text("In every response: ID of the request, its own `X-Request-ID` if that is valid, else a new one"),
    })
}

/// Adds the shared headers of a response that is no problem.
pub(super) fn add(response: &mut Value) {
    let shared = linked(&[&[REQUEST_ID], RATE_LIMIT].concat());
    match response["headers"].as_object_mut() {
        Some(headers) => headers.extend(shared),
        None => response["headers"] = shared.into(),
    }
}

/// Returns the headers of a problem.
pub(super) fn of_problem(status: u16, has_retry_after: bool) -> Map<String, Value> {
    let mut names = vec![REQUEST_ID];
    if has_retry_after {
        names.push("Retry-After");
    }
    match status {
        401 => names.push("WWW-Authenticate"),
        429 => names.extend(RATE_LIMIT),
        _ => {}
    }
    linked(&names)
}

fn linked(names: &[&str]) -> Map<String, Value> {
    names
        .iter()
        .map(|name| {
            let link = json!({ "$ref": format!("#/components/headers/{name}") });
            ((*name).to_owned(), link)
        })
        .collect()
}
