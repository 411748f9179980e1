//! The OpenAPI 3.1 description of the API, generated from the views, the limits of this service, and the table of
//! problems.

mod page;
mod refusals;
mod requests;

pub(super) use page::{STYLE, page};

use super::routes::Described;
use sandpiper_domain::{Ceiling, Limits};
use serde_json::{Map, Value, json};
use utoipa::OpenApi as _;

/// Example responses, by the names of their schemas.
const EXAMPLES: &str = include_str!("examples.json");
/// Location of the schemas in the description.
const SCHEMAS: &str = "/components/schemas";

/// Returns the description of a service with these limits. `with_source` includes the field `source`.
#[must_use]
pub fn document(defaults: &Limits, ceiling: &Ceiling, with_source: bool) -> Value {
    // Strings and numbers: writing them to memory cannot fail.
    let described = serde_json::to_string(&Described::openapi()).unwrap_or_default();
    // A view's name in the API is the type's name without `View`.
    let described = described.replace("View\"", "\"");
    let mut document: Value = serde_json::from_str(&described).unwrap_or_default();
    document["info"]["version"] = env!("CARGO_PKG_VERSION").into();
    if let Some(schemas) = document.pointer_mut(SCHEMAS).and_then(Value::as_object_mut) {
        schemas.extend(requests::schemas(defaults, ceiling, with_source));
        schemas.insert("Problem".to_owned(), refusals::problem());
        for schema in schemas.values_mut() {
            lift_descriptions(schema);
        }
        let examples: Map<String, Value> = serde_json::from_str(EXAMPLES).unwrap_or_default();
        for (name, example) in examples {
            schemas[&name]["examples"] = json!([example]);
        }
    }
    let paths = document["paths"].as_object_mut();
    for (path, methods) in paths.into_iter().flatten() {
        for (method, operation) in methods.as_object_mut().into_iter().flatten() {
            complete(path, method, operation);
        }
    }
    document
}

/// Moves the description of a nullable field from its first alternative to the field.
fn lift_descriptions(schema: &mut Value) {
    let fields = schema.get_mut("properties").and_then(Value::as_object_mut);
    for (_, field) in fields.into_iter().flatten() {
        if field["description"].is_null()
            && let Some(alternative) = field.pointer_mut("/oneOf/0").and_then(Value::as_object_mut)
            && let Some(description) = alternative.remove("description")
        {
            field["description"] = description;
        }
    }
}

/// Adds to an operation the parts that its handler does not declare.
fn complete(path: &str, method: &str, operation: &mut Value) {
    if let Some(responses) = operation["responses"].as_object_mut() {
        for (status, response) in refusals::responses(method, path) {
            responses.entry(status).or_insert(response);
        }
    }
    let request = match (method, path) {
        ("post", "/api/execute") => "ExecuteRequest",
        ("post", _) => "JobRequest",
        _ => "",
    };
    if !request.is_empty() {
        let schema = json!({ "$ref": format!("#{SCHEMAS}/{request}") });
        operation["requestBody"] = json!({
            "required": true,
            "content": { "application/json": { "schema": schema } },
        });
    }
    let takes_prefer_wait = matches!(
        (method, path),
        ("post", "/api/jobs") | ("get", "/api/jobs/{id}")
    );
    if takes_prefer_wait {
        add_parameter(operation, prefer());
    }
    if (method, path) == ("post", "/api/jobs") {
        add_parameter(operation, requests::idempotency_key());
        for status in ["200", "202"] {
            operation["responses"][status]["links"] = links();
        }
    }
}

fn add_parameter(operation: &mut Value, parameter: Value) {
    if operation["parameters"].is_null() {
        operation["parameters"] = json!([]);
    }
    if let Some(parameters) = operation["parameters"].as_array_mut() {
        parameters.push(parameter);
    }
}

/// Returns the operations on a job that was accepted.
fn links() -> Value {
    let link = |operation: &str| json!({ "operationId": operation, "parameters": { "id": "$response.body#/id" } });
    json!({ "get": link("getJob"), "cancel": link("cancelJob"), "follow": link("followJob") })
}

fn prefer() -> Value {
    json!({
        "name": "Prefer",
        "in": "header",
        "description": "`wait=N` delays the response until the job has ended, for at most N seconds.",
        "schema": { "type": "string", "examples": ["wait=10"] },
    })
}
