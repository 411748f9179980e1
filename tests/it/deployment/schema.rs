//! Google's own descriptions of its APIs as JSON Schema. Fields that they do not name are rejected.

use super::project;
use jsonschema::Validator;
use serde_json::{Map, Value, json};
use std::fs;

/// Returns the description of one API (`run.v1`).
pub(super) fn description(api: &str) -> Value {
    let packages = project("target/schemas/lib");
    let python = fs::read_dir(&packages)
        .unwrap_or_else(|error| panic!("{}: {error}: `make tools-test`", packages.display()))
        .next()
        .unwrap()
        .unwrap()
        .path();
    let file = python.join(format!(
        "site-packages/googleapiclient/discovery_cache/documents/{api}.json"
    ));
    serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap()
}

/// Returns the schema of a message.
pub(super) fn validator(description: &Value, message: &str) -> Validator {
    let messages = description["schemas"].as_object().unwrap();
    let definitions: Map<String, Value> = messages
        .iter()
        .map(|(name, message)| (name.clone(), translated(message)))
        .collect();
    let whole = json!({"$ref": format!("#/$defs/{message}"), "$defs": definitions});
    jsonschema::draft202012::new(&whole).unwrap()
}

fn translated(schema: &Value) -> Value {
    if let Some(name) = schema["$ref"].as_str() {
        return json!({"$ref": format!("#/$defs/{name}")});
    }
    match schema["type"].as_str().unwrap() {
        "object" => {
            let properties = schema["properties"].as_object().cloned();
            let properties: Map<String, Value> = properties
                .unwrap_or_default()
                .iter()
                .map(|(name, property)| (name.clone(), translated(property)))
                .collect();
            let others = match &schema["additionalProperties"] {
                Value::Null => json!(false),
                others => translated(others),
            };
            json!({"type": "object", "properties": properties, "additionalProperties": others})
        }
        "array" => json!({"type": "array", "items": translated(&schema["items"])}),
        "any" => json!(true),
        kind => match &schema["enum"] {
            Value::Null => json!({"type": kind}),
            values => json!({"type": kind, "enum": values}),
        },
    }
}

pub(super) fn assert_valid(validator: &Validator, value: &Value) {
    let faults: Vec<String> = validator
        .iter_errors(value)
        .map(|fault| format!("{}: {fault}", fault.instance_path()))
        .collect();
    assert!(faults.is_empty(), "{faults:#?}");
}
