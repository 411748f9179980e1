//! Which problems each route may answer with.

use crate::http::problem::Code;
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

/// The problems of a route, beside those that any route may have.
fn of(method: &str, path: &str) -> Vec<Code> {
    let own: &[Code] = match (method, path) {
        ("post", "/api/execute") => &[
            Code::Unsupported,
            Code::SourceMissing,
            Code::QueueFull,
            Code::Draining,
            Code::IsolationLost,
            Code::QueueWaitExceeded,
        ],
        ("post", "/api/jobs") => &[
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
        ("get", "/api/jobs") => &[Code::InvalidField, Code::StoreUnavailable],
        ("delete", "/api/jobs/{id}") => &[Code::JobAlreadyFinal],
        ("get", "/api/jobs/{id}/events") => &[Code::TooManyStreams, Code::Draining],
        ("get", "/api/scripts/{name}") => &[Code::ScriptNotFound],
        ("get", "/api/netcheck") => &[
            Code::InvalidField,
            Code::QueueFull,
            Code::Draining,
            Code::IsolationLost,
            Code::QueueWaitExceeded,
        ],
        ("get", "/api/nodes") => &[Code::StoreUnavailable],
        _ => &[],
    };
    let shared: &[Code] = match (method, path) {
        ("post", _) => &SUBMIT,
        (_, "/api/jobs/{id}" | "/api/jobs/{id}/events") => &JOB,
        _ => &[],
    };
    let mut all = [shared, own, &[Code::Internal, Code::HostNotAllowed]].concat();
    if matches!(method, "post" | "delete") || path == "/api/netcheck" {
        all.push(Code::CrossOrigin);
    }
    if path.contains('{') {
        // A name with a slash in it is another path.
        all.extend([Code::NotFound, Code::InvalidPath]);
    }
    all
}

/// The answers of a route that say no, by their status.
pub(super) fn responses(method: &str, path: &str) -> Map<String, Value> {
    let mut by_status: BTreeMap<u16, Vec<Code>> = BTreeMap::new();
    for code in of(method, path) {
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
                    "properties": { "code": { "enum": names } },
                },
            },
        },
    });
    if codes.iter().any(|code| code.says_when()) {
        response["headers"] = json!({
            "Retry-After": {
                "description": "When it is worth trying again, seconds; not with every code.",
                "schema": { "type": "integer", "minimum": 1 },
            },
        });
    }
    response
}

/// The form of every refusal.
pub(super) fn problem() -> Value {
    let names: Vec<&str> = Code::ALL.iter().map(|code| code.name()).collect();
    json!({
        "type": "object",
        "description": "A refusal (RFC 9457). `code` is stable; `detail` says what is wrong with this request and what would be right.",
        "required": ["type", "title", "status", "code", "detail"],
        "properties": {
            "type": { "type": "string", "description": "`urn:sandpiper:problem:` and the code." },
            "title": { "type": "string", "description": "What the code means." },
            "status": { "type": "integer", "description": "The status of the answer." },
            "code": { "type": "string", "enum": names, "description": "Stable; clients may match on it." },
            "detail": { "type": "string", "description": "What is wrong with this request, and what would be right." },
            "field": { "type": "string", "description": "The field that is wrong, as `limits.timeoutMs`." },
            "bound": { "type": "integer", "description": "The bound that was passed." },
            "ceiling": { "type": "integer", "description": "The most that this service grants." },
            "state": { "type": "string", "description": "The state of a job that cannot be cancelled any more." },
        },
        "additionalProperties": false,
    })
}
