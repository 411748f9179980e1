//! The OpenAPI 3.1 description of the API, generated from the views, the limits of this service, and the table of
//! problems.

mod headers;
mod page;
mod problems;
mod requests;
mod security;

pub(super) use page::{STYLE, page};

use super::routes::{Described, Route};
use sandpiper_domain::{Ceiling, Limits, Tenant};
use serde_json::{Map, Value, json};
use utoipa::OpenApi as _;

/// Example responses, by the names of their schemas.
const EXAMPLES: &str = include_str!("examples.json");
/// Schemas of responses whose values may be added to.
const OPEN_ENUMS: [&str; 7] = [
    "CallState",
    "Limit",
    "LogKind",
    "Outcome",
    "ToolOwner",
    "ValueType",
    "WaitReason",
];
/// Keyword of the known values where values may be added, so that generated clients accept the others.
const OPEN_ENUM: &str = "x-extensible-enum";
/// Location of the schemas in the description.
const SCHEMAS: &str = "/components/schemas";

/// Returns the description of a service with these limits. `with_source` includes the field `source`.
#[must_use]
pub fn document(defaults: &Limits, ceiling: &Ceiling, with_source: bool) -> Value {
    // Strings and numbers: writing them to memory cannot fail.
    let mut document = serde_json::to_value(Described::openapi()).unwrap_or_default();
    document["info"]["version"] = env!("CARGO_PKG_VERSION").into();
    document["servers"] =
        json!([{ "url": "/", "description": "The host that serves this description" }]);
    document["security"] = security::requirement(&[]);
    document["components"]["securitySchemes"] = security::schemes();
    document["components"]["headers"] = headers::components();
    if let Some(schemas) = document.pointer_mut(SCHEMAS).and_then(Value::as_object_mut) {
        schemas.extend(requests::schemas(defaults, ceiling, with_source));
        schemas.insert("Problem".to_owned(), problems::problem());
        for schema in schemas.values_mut() {
            merge_flattened(schema);
            lift_alternatives(schema);
        }
        for name in OPEN_ENUMS {
            open_enum(&mut schemas[name]);
        }
        let examples: Map<String, Value> = serde_json::from_str(EXAMPLES).unwrap_or_default();
        for (name, example) in examples {
            schemas[&name]["examples"] = json!([example]);
        }
    }
    let paths = document["paths"].as_object_mut();
    for (path, methods) in paths.into_iter().flatten() {
        let Some(route) = Route::at(path) else {
            continue;
        };
        for (method, operation) in methods.as_object_mut().into_iter().flatten() {
            complete(route, method, with_source, operation);
        }
    }
    document
}

/// Turns the closed list of values of a schema into an open one.
fn open_enum(schema: &mut Value) {
    let values = schema.as_object_mut().and_then(|it| it.remove("enum"));
    if let Some(values) = values {
        schema[OPEN_ENUM] = values;
    }
}

/// Makes one object of a struct and the structs that are flattened into it.
fn merge_flattened(schema: &mut Value) {
    let parts = schema.as_object_mut().and_then(|it| it.remove("allOf"));
    for part in parts.iter().filter_map(Value::as_array).flatten() {
        for (key, value) in part.as_object().into_iter().flatten() {
            match (&mut schema[key], value) {
                (Value::Object(all), Value::Object(more)) => all.extend(more.clone()),
                (Value::Array(all), Value::Array(more)) => all.extend(more.iter().cloned()),
                (Value::Null, value) => schema[key] = value.clone(),
                _ => {}
            }
        }
    }
}

/// Moves the description of a nullable field from its first alternative to the field, and an only alternative too.
fn lift_alternatives(schema: &mut Value) {
    let fields = schema.get_mut("properties").and_then(Value::as_object_mut);
    for (_, field) in fields.into_iter().flatten() {
        if field["description"].is_null()
            && let Some(alternative) = field.pointer_mut("/oneOf/0").and_then(Value::as_object_mut)
            && let Some(description) = alternative.remove("description")
        {
            field["description"] = description;
        }
        if let Some([Value::Object(only)]) = field["oneOf"].as_array().map(Vec::as_slice) {
            let only = only.clone();
            if let Some(field) = field.as_object_mut() {
                field.remove("oneOf");
                field.extend(only);
            }
        }
    }
}

/// Adds to an operation the parts that its handler does not declare.
fn complete(route: Route, method: &str, with_source: bool, operation: &mut Value) {
    if let Some(responses) = operation["responses"].as_object_mut() {
        responses.values_mut().for_each(headers::add);
        for (status, response) in problems::responses(method, route, with_source) {
            responses.entry(status).or_insert(response);
        }
    }
    if route == Route::Script {
        // A string without a format is a file to generated TypeScript clients, by its media type.
        let content = &mut operation["responses"]["200"]["content"];
        content["text/javascript; charset=utf-8"]["schema"]["format"] = "javascript".into();
    }
    security::add(method, route, operation);
    let parameters = operation.get_mut("parameters");
    let parameters = parameters.and_then(Value::as_array_mut);
    for parameter in parameters.into_iter().flatten() {
        // A parameter is left out, and never null.
        requests::remove_null(&mut parameter["schema"]);
        if parameter["name"] == "tenant" {
            parameter["schema"]["pattern"] = Tenant::PATTERN.into();
        }
    }
    let submitted = match (method, route) {
        ("post", Route::Execute) => Some("Execute"),
        ("post", Route::Jobs) => Some("Job"),
        _ => None,
    };
    if let Some(name) = submitted {
        operation["requestBody"] = json!({
            "required": true,
            "content": requests::content(name),
        });
    }
    if matches!((method, route), ("post", Route::Jobs) | ("get", Route::Job)) {
        add_parameter(operation, prefer());
    }
    if (method, route) == ("post", Route::Jobs) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use sandpiper_domain::{JobTerms, Priority, Script, samples};
    use std::collections::BTreeSet;

    fn description() -> Value {
        let ceiling = Ceiling {
            timeout_ms: 10_000,
            memory_bytes: 1 << 30,
            output_bytes: 1 << 20,
        };
        document(&samples::limits(), &ceiling, true)
    }

    fn members(object: &Value) -> impl Iterator<Item = (&String, &Value)> {
        object.as_object().unwrap().iter()
    }

    #[test]
    fn exactly_the_routes_of_the_api_are_described_with_their_methods() {
        let routes = Route::ALL.iter().filter(|route| route.is_described());
        let routes: BTreeSet<(String, String)> = routes
            .flat_map(|route| {
                let methods = route.methods().split(", ");
                let methods = methods.filter(|method| *method != "HEAD");
                methods.map(|method| (route.path().to_owned(), method.to_lowercase()))
            })
            .collect();
        let description = description();
        let described: BTreeSet<(String, String)> = members(&description["paths"])
            .flat_map(|(path, methods)| {
                members(methods).map(|(method, _)| (path.clone(), method.clone()))
            })
            .collect();
        assert_eq!(described, routes);
    }

    #[test]
    fn requests_are_described_as_json_and_as_forms() {
        let description = description();
        let content = &description["paths"]["/api/jobs"]["post"]["requestBody"]["content"];
        let form = &content["multipart/form-data"];
        assert_eq!(form["schema"]["$ref"], "#/components/schemas/JobForm");
        assert_eq!(form["encoding"]["input"]["contentType"], "application/json");
        let json_parts: Vec<&String> = members(&form["encoding"]).map(|(name, _)| name).collect();
        assert_eq!(
            json_parts,
            [
                "globals", "input", "limits", "modules", "priority", "seed", "tools"
            ]
        );
        let content = &description["paths"]["/api/execute"]["post"]["requestBody"]["content"];
        let encoding = &content["multipart/form-data"]["encoding"];
        assert!(encoding["answers"].is_object() && encoding["tools"].is_object());
        assert!(encoding["replay"].is_null() && encoding["unawaited"].is_null());
        let schemas = &description["components"]["schemas"];
        assert!(schemas["JobRequest"]["properties"]["source"].is_object());
        assert!(schemas["JobForm"]["properties"]["source"].is_null());
        assert_eq!(schemas["JobForm"]["properties"]["code"]["type"], "string");
        assert!(schemas["ExecuteRequest"]["properties"]["runAt"].is_null());
        assert!(!description.to_string().contains("\"anyOf\""));
    }

    #[test]
    fn fields_are_described_with_the_bounds_that_the_code_has() {
        let description = description();
        let fields = &description["components"]["schemas"]["JobRequest"]["properties"];
        let days = usize::try_from(JobTerms::AHEAD_MAX.as_secs() / 86_400).unwrap();
        for (field, bound) in [
            ("code", Script::CODE_BYTES_MAX),
            ("input", Script::JSON_DEPTH_MAX),
            ("priority", Priority::LAST.into()),
            ("runAt", days),
        ] {
            let described = fields[field]["description"].as_str().unwrap();
            assert!(described.contains(&format!(" {bound} ")), "{described}");
        }
        assert_eq!(fields["code"]["maxLength"], Script::CODE_BYTES_MAX);
        assert_eq!(fields["priority"]["maximum"], Priority::LAST);
        assert_eq!(fields["priority"]["default"], Priority::default().get());
        assert_eq!(fields["seed"]["minimum"], i64::MIN);
        assert_eq!(fields["seed"]["maximum"], u64::MAX);
    }

    #[test]
    fn values_that_may_be_added_to_are_no_closed_list() {
        let description = description();
        let schemas = &description["components"]["schemas"];
        for name in OPEN_ENUMS {
            assert!(schemas[name][OPEN_ENUM].is_array(), "{name}");
            assert!(schemas[name]["enum"].is_null(), "{name}");
        }
        assert!(schemas["Problem"]["properties"]["code"]["enum"].is_null());
        assert!(schemas["JobState"]["enum"].is_array());
    }
}
