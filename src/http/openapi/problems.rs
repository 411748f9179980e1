//! The error responses of each route.

use super::OPEN_ENUM;
use crate::http::problem::Code;
use crate::http::routes::Route;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

const SUBMIT: [Code; 11] = [
    Code::InvalidJson,
    Code::InvalidBody,
    Code::InvalidField,
    Code::UnknownField,
    Code::MissingCode,
    Code::ScriptNotFound,
    Code::BodyTimeout,
    Code::BodyTooLarge,
    Code::CodeTooLarge,
    Code::UnsupportedMediaType,
    Code::LimitAboveCeiling,
];
const JOB: [Code; 3] = [Code::JobNotFound, Code::JobExpired, Code::StoreUnavailable];

/// Returns the problems of a route, including those of every route.
fn of(method: &str, route: Route) -> Vec<Code> {
    let own: &[Code] = match (method, route) {
        ("post", Route::Execute) => &[
            Code::Unsupported,
            Code::SourceMissing,
            Code::QueueFull,
            Code::Draining,
            Code::IsolationLost,
            Code::QueueWaitExceeded,
        ],
        ("post", Route::Jobs) => &[
            Code::Unsupported,
            Code::SourceMissing,
            Code::JobExpired,
            Code::IdempotencyKeyReused,
            Code::ClientQueueFull,
            Code::QueueFull,
            Code::StoreFull,
            Code::StoreUnavailable,
            Code::Draining,
        ],
        ("get", Route::Jobs) => &[Code::InvalidField, Code::StoreUnavailable],
        ("delete", Route::Job) => &[Code::JobAlreadyFinal],
        ("get", Route::JobEvents) => &[Code::TooManyStreams, Code::Draining],
        ("get", Route::Script) => &[Code::ScriptNotFound],
        ("get", Route::NetCheck) => &[
            Code::InvalidField,
            Code::QueueFull,
            Code::Draining,
            Code::IsolationLost,
            Code::QueueWaitExceeded,
        ],
        ("get", Route::Nodes) => &[Code::StoreUnavailable],
        _ => &[],
    };
    let shared: &[Code] = match (method, route) {
        ("post", _) => &SUBMIT,
        (_, Route::Job | Route::JobEvents) => &JOB,
        _ => &[],
    };
    let mut all = [shared, own, &[Code::Internal, Code::HostNotAllowed]].concat();
    if matches!(method, "post" | "delete") || route == Route::NetCheck {
        all.push(Code::CrossOrigin);
    }
    if route.path().contains('{') {
        // A slash in a path parameter makes it another path.
        all.extend([Code::NotFound, Code::InvalidPath]);
    }
    all
}

/// Returns the error responses of a route, by status.
pub(super) fn responses(method: &str, route: Route) -> Map<String, Value> {
    let mut by_status: BTreeMap<u16, Vec<Code>> = BTreeMap::new();
    for code in of(method, route) {
        by_status.entry(code.status()).or_default().push(code);
    }
    by_status
        .into_iter()
        .map(|(status, codes)| (status.to_string(), response(&codes)))
        .collect()
}

fn response(codes: &[Code]) -> Value {
    let lines: Vec<String> = codes
        .iter()
        .map(|code| format!("`{}`: {}", code.name(), code.title()))
        .collect();
    let names: Vec<&str> = codes.iter().map(|code| code.name()).collect();
    let mut response = json!({
        "description": lines.join("\n\n"),
        "content": {
            "application/problem+json": {
                "schema": {
                    "allOf": [{ "$ref": "#/components/schemas/Problem" }],
                    "properties": { "code": { OPEN_ENUM: names } },
                },
            },
        },
    });
    if codes.iter().any(|code| code.has_retry_after()) {
        response["headers"] = json!({
            "Retry-After": {
                "description": "Time until a retry is worthwhile, seconds; not with every code.",
                "schema": { "type": "integer", "minimum": 1 },
            },
        });
    }
    response
}

/// Returns the schema of a problem.
pub(super) fn problem() -> Value {
    let names: Vec<&str> = Code::ALL.iter().map(|code| code.name()).collect();
    json!({
        "type": "object",
        "description": "Error response (RFC 9457). `code` is stable; `detail` says what is wrong with this request and what would be right.",
        "required": ["type", "title", "status", "code", "detail"],
        "properties": {
            "type": { "type": "string", "description": "`urn:sandpiper:problem:` and the code." },
            "title": { "type": "string", "description": "Meaning of the code." },
            "status": { "type": "integer", "description": "Status of the response." },
            "code": { "type": "string", OPEN_ENUM: names, "description": "Stable; clients may match on it. Codes may be added, also by an ingress." },
            "detail": { "type": "string", "description": "Explanation: what is wrong with this request, and what would be right." },
            "field": { "type": "string", "description": "Invalid field, such as `limits.timeoutMs`." },
            "bound": { "type": "integer", "description": "Bound that was exceeded." },
            "ceiling": { "type": "integer", "description": "Maximum of this service." },
            "state": { "type": "string", "description": "State of a job that can no longer be cancelled." },
        },
    })
}
