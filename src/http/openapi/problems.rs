//! The error responses of each route: those of the service, and those of an ingress in front of it.

use super::{OPEN_ENUM, headers, security};
use crate::http::problem::Code;
use crate::http::routes::Route;
use sandpiper_http_kit::ingress_code::IngressCode;
use sandpiper_http_kit::scopes::Access;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

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
            Code::AlreadyAnswered,
            Code::CallTimedOut,
            Code::ReplayExpired,
            Code::InvalidReplay,
            Code::ReplayMismatch,
            Code::ToolNameTaken,
            Code::UnknownCall,
            Code::Unsupported,
            Code::QuotaExceeded,
            Code::SourceMissing,
            Code::QueueFull,
            Code::Draining,
            Code::IsolationLost,
            Code::QueueWaitExceeded,
        ],
        ("post", Route::Jobs) => &[
            Code::ToolNameTaken,
            Code::Unsupported,
            Code::SourceMissing,
            Code::JobExpired,
            Code::IdempotencyKeyReused,
            Code::ClientQueueFull,
            Code::QuotaExceeded,
            Code::QueueFull,
            Code::StoreFull,
            Code::StoreUnavailable,
            Code::Draining,
        ],
        ("get", Route::Jobs) => &[
            Code::InvalidField,
            Code::UnknownTenant,
            Code::StoreUnavailable,
        ],
        ("delete", Route::Job) => &[
            Code::InvalidField,
            Code::JobAlreadyFinal,
            Code::JobsStillRun,
        ],
        ("delete", Route::Tenant) => &[
            Code::InvalidField,
            Code::UnknownTenant,
            Code::JobsStillRun,
            Code::StoreUnavailable,
        ],
        ("post", Route::TenantRestore) => &[
            Code::InvalidField,
            Code::UnknownTenant,
            Code::StoreUnavailable,
        ],
        ("post", Route::JobAnswers) => &[
            Code::InvalidJson,
            Code::InvalidBody,
            Code::InvalidField,
            Code::UnknownField,
            Code::BodyTimeout,
            Code::BodyTooLarge,
            Code::UnsupportedMediaType,
            Code::JobAlreadyFinal,
            Code::AlreadyAnswered,
            Code::CallTimedOut,
            Code::UnknownCall,
            Code::NotAnswerable,
        ],
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
        ("get", Route::Usage) => &[
            Code::InvalidField,
            Code::Forbidden,
            Code::UnknownTenant,
            Code::StoreUnavailable,
        ],
        ("post", Route::TenantAssign) => &[
            Code::InvalidJson,
            Code::InvalidBody,
            Code::InvalidField,
            Code::BodyTimeout,
            Code::BodyTooLarge,
            Code::UnsupportedMediaType,
            Code::StoreUnavailable,
        ],
        _ => &[],
    };
    let shared: &[Code] = match (method, route) {
        ("post", Route::Execute | Route::Jobs) => &SUBMIT,
        (_, Route::Job | Route::JobAnswers | Route::JobEvents) => &JOB,
        _ => &[],
    };
    let mut all = [shared, own, &[Code::Internal, Code::HostNotAllowed]].concat();
    if matches!(method, "post" | "delete") || route == Route::NetCheck {
        all.push(Code::CrossOrigin);
    }
    if matches!(security::access(method, route), Access::AnyOf(_)) {
        all.push(Code::Forbidden);
    }
    if route.path().contains('{') {
        // A slash in a path parameter makes it another path.
        all.extend([Code::NotFound, Code::InvalidPath]);
    }
    all
}

/// Returns the problems of a route that an ingress adds. Those that service and ingress share are the service's.
fn of_ingress(method: &str, route: Route, with_source: bool) -> Vec<IngressCode> {
    let mut all = vec![
        IngressCode::Unauthorized,
        IngressCode::KeyEnded,
        IngressCode::UrlTooLong,
        IngressCode::RateLimited,
        IngressCode::HeadTooLarge,
        IngressCode::ServiceUnreachable,
        IngressCode::ServiceTimeout,
    ];
    let is_of_tenants = matches!(
        route,
        Route::Tenant | Route::TenantAssign | Route::TenantRestore
    );
    let is_listed = matches!(
        (method, route),
        ("get", Route::Jobs) | (_, Route::Nodes | Route::Usage)
    );
    if is_of_tenants || is_listed {
        all.push(IngressCode::NotListed);
    }
    if matches!((method, route), ("post", Route::Execute | Route::Jobs)) && with_source {
        all.extend([
            IngressCode::SourceNotAllowed,
            IngressCode::SourceUnfit,
            IngressCode::SourceUnavailable,
            IngressCode::SourceNotKept,
            IngressCode::SourcesFull,
            IngressCode::SourceTimeout,
        ]);
    }
    all
}

/// A code of an error response.
struct Listed {
    name: &'static str,
    title: String,
    has_retry_after: bool,
}

/// Returns the error responses of a route, by status.
pub(super) fn responses(method: &str, route: Route, with_source: bool) -> Map<String, Value> {
    let mut by_status: BTreeMap<u16, Vec<Listed>> = BTreeMap::new();
    for code in of(method, route) {
        by_status.entry(code.status()).or_default().push(Listed {
            name: code.name(),
            title: code.title().to_owned(),
            has_retry_after: code.has_retry_after(),
        });
    }
    for code in of_ingress(method, route, with_source) {
        let (status, name, title) = code.row();
        by_status.entry(status).or_default().push(Listed {
            name,
            title: format!("{title} (ingress)"),
            has_retry_after: code.has_retry_after(),
        });
    }
    by_status
        .into_iter()
        .map(|(status, codes)| (status.to_string(), response(status, &codes)))
        .collect()
}

fn response(status: u16, codes: &[Listed]) -> Value {
    let lines: Vec<String> = codes
        .iter()
        .map(|code| format!("`{}`: {}", code.name, code.title))
        .collect();
    let names: Vec<&str> = codes.iter().map(|code| code.name).collect();
    let has_retry_after = codes.iter().any(|code| code.has_retry_after);
    json!({
        "description": lines.join("\n\n"),
        "headers": headers::of_problem(status, has_retry_after),
        "content": {
            "application/problem+json": {
                // Beside the reference, so that generated clients have one type for every problem.
                "schema": {
                    "$ref": "#/components/schemas/Problem",
                    "properties": { "code": { OPEN_ENUM: names } },
                },
            },
        },
    })
}

/// Returns the schema of a problem.
pub(super) fn problem() -> Value {
    let of_service = Code::ALL.iter().map(|code| code.name());
    let of_ingress = IngressCode::ALL.iter().map(|code| code.row().1);
    let names: BTreeSet<&str> = of_service.chain(of_ingress).collect();
    json!({
        "type": "object",
        "description": "Error response (RFC 9457). `code` is stable; `detail` says what is wrong with this request and what would be right.",
        "required": ["type", "title", "status", "code", "detail"],
        "properties": {
            "type": { "type": "string", "description": "`urn:sandpiper:problem:` and the code." },
            "title": { "type": "string", "description": "Meaning of the code." },
            "status": { "type": "integer", "description": "Status of the response." },
            "code": { "type": "string", OPEN_ENUM: names, "description": "Stable; clients may match on it. Codes may be added." },
            "detail": { "type": "string", "description": "Explanation: what is wrong with this request, and what would be right." },
            "field": { "type": "string", "description": "Invalid field, such as `limits.timeoutMs`." },
            "bound": { "type": "integer", "description": "Bound that was exceeded." },
            "ceiling": { "type": "integer", "description": "Maximum of this service." },
            "callIds": { "type": "array", "items": { "type": "string" }, "description": "Calls that have another answer already." },
            "state": { "type": "string", "description": "State of a job that can no longer be cancelled." },
        },
    })
}
