//! The schemas of requests, derived from [`SubmitRequest`]. The limits of this service, and the rules that a derived
//! schema cannot express, are added here.

use crate::http::request::{ANSWERS_MAX, EXECUTE_FIELDS, JOB_FIELDS, SubmitRequest};
use sandpiper_domain::tools::{ToolLimits, Tools};
use sandpiper_domain::{Ceiling, IdempotencyKey, Limits, Script};
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::{PartialSchema as _, ToSchema as _};

/// Returns the schemas of requests, and those of their fields that have a name.
pub(super) fn schemas(
    defaults: &Limits,
    ceiling: &Ceiling,
    with_source: bool,
) -> Map<String, Value> {
    let mut schemas = named_fields();
    add_bounds(&mut schemas["RequestedLimits"], defaults, ceiling);
    schemas.insert("Globals".to_owned(), globals());
    schemas.insert("Modules".to_owned(), modules());
    if with_source {
        schemas.insert("PinnedSource".to_owned(), pinned_source());
    }
    for name in ["Execute", "Job"] {
        schemas.insert(format!("{name}Request"), request(name, with_source));
        schemas.insert(format!("{name}Form"), form(name));
    }
    schemas
}

/// Returns the content of a request's body: JSON, or a form with the same fields.
pub(super) fn content(name: &str) -> Value {
    let link = |kind: &str| json!({ "$ref": format!("#/components/schemas/{name}{kind}") });
    let named = named_fields();
    let is_text = |schema: &Value| {
        let link = schema["oneOf"][0]["$ref"].as_str().unwrap_or_default();
        let named = link.rsplit('/').next().and_then(|name| named.get(name));
        named.unwrap_or(schema)["type"] == "string"
    };
    let mut encoding = form(name)["properties"].take();
    if let Some(parts) = encoding.as_object_mut() {
        parts.retain(|_, schema| !is_text(schema));
        for part in parts.values_mut() {
            *part = json!({ "contentType": "application/json" });
        }
    }
    json!({
        "application/json": { "schema": link("Request") },
        "multipart/form-data": { "schema": link("Form"), "encoding": encoding },
    })
}

/// Returns the description of the `Idempotency-Key` header.
pub(super) fn idempotency_key() -> Value {
    json!({
        "name": "Idempotency-Key",
        "in": "header",
        "description": "A request with the same key and content returns the same job. Keys are stored for a day.",
        "schema": {
            "type": "string", "minLength": 1, "maxLength": IdempotencyKey::BYTES_MAX, "pattern": "^[!-~]+$"
        },
    })
}

/// Returns the schemas to which fields refer.
fn named_fields() -> Map<String, Value> {
    let mut schemas = Vec::new();
    SubmitRequest::schemas(&mut schemas);
    let schemas = schemas.into_iter();
    schemas
        .map(|(name, schema)| (name, as_json(schema)))
        .collect()
}

fn as_json(schema: impl Serialize) -> Value {
    // Strings and numbers: writing them to memory cannot fail.
    serde_json::to_value(schema).unwrap_or_default()
}

fn request(name: &str, with_source: bool) -> Value {
    let mut schema = as_json(SubmitRequest::schema());
    let fields = &mut schema["properties"];
    for (field, named) in [("globals", "Globals"), ("modules", "Modules")] {
        fields[field] = json!({
            "description": fields[field]["description"],
            "oneOf": [{ "$ref": format!("#/components/schemas/{named}") }, { "type": "null" }],
        });
    }
    let declared = fields["tools"]["items"].take();
    fields["tools"]["items"] = json!({ "oneOf": [{ "type": "string" }, declared] });
    for (field, most) in [("tools", Tools::COUNT_MAX), ("answers", ANSWERS_MAX)] {
        fields[field]["maxItems"] = most.into();
    }
    fields["source"]["oneOf"] = json!([
        location(),
        { "$ref": "#/components/schemas/PinnedSource" },
        { "type": "null" },
    ]);
    if let Some(fields) = fields.as_object_mut() {
        fields.retain(|field, _| match field.as_str() {
            "source" => with_source,
            field if JOB_FIELDS.contains(&field) => name == "Job",
            field if EXECUTE_FIELDS.contains(&field) => name == "Execute",
            _ => true,
        });
    }
    if let Some(examples) = schema["examples"].as_array_mut() {
        examples.push(json!({
            "code": "const order = await tools.getOrder({ id: 7 }); order.total * 2",
            "tools": ["getOrder"],
        }));
    }
    let when = if name == "Job" { "later" } else { "now" };
    // Stated in words: generators of clients make a type of each alternative in `anyOf`.
    let sources = if with_source {
        "`code`, `file` or `source`"
    } else {
        "`code` or `file`"
    };
    schema["description"] =
        format!("Request to run a script {when}. It needs a script: {sources}.").into();
    schema
}

/// Returns the schema of a form, which has no `source` and no null.
fn form(name: &str) -> Value {
    let mut form = request(name, false);
    // Tools are JSON text in a form.
    if let Some(examples) = form["examples"].as_array_mut() {
        examples.retain(|example| example["tools"].is_null());
    }
    let properties = form["properties"].as_object_mut();
    for (_, property) in properties.into_iter().flatten() {
        remove_null(property);
    }
    form
}

/// Removes null from a schema's types or alternatives.
pub(super) fn remove_null(schema: &mut Value) {
    let null_type = json!({ "type": "null" });
    for key in ["type", "oneOf"] {
        let Some(choices) = schema.get_mut(key).and_then(Value::as_array_mut) else {
            continue;
        };
        choices.retain(|choice| *choice != "null" && *choice != null_type);
        if key == "type" && choices.len() == 1 {
            let only = choices.remove(0);
            schema[key] = only;
        }
    }
}

fn globals() -> Value {
    json!({
        "type": "object",
        "description": "Global variables, by name.",
        "maxProperties": Script::GLOBALS_MAX,
        "propertyNames": {
            "pattern": "^[A-Za-z_$][A-Za-z0-9_$]*$",
            "maxLength": Script::GLOBAL_NAME_BYTES_MAX,
            "not": { "enum": ["input", "undefined", "NaN", "Infinity", "globalThis", "__proto__"] },
        },
    })
}

fn modules() -> Value {
    json!({
        "type": "object",
        "description": "Texts of ES modules, by the names under which they are imported: `./util.js`, or a bare name.",
        "maxProperties": Script::MODULES_MAX,
        "propertyNames": {
            "minLength": 1,
            "maxLength": Script::MODULE_NAME_BYTES_MAX,
            "pattern": r"^[^\s\\\u0000-\u001f\u007f-\u009f]+$",
            "not": { "enum": ["code", "source", "prelude"] },
        },
        "additionalProperties": {
            "type": "string",
            "maxLength": Script::CODE_BYTES_MAX,
        },
    })
}

fn location() -> Value {
    json!({
        "type": "string",
        "description": "`https://…`, `s3://bucket/key` or `gs://bucket/key`.",
    })
}

fn pinned_source() -> Value {
    json!({
        "type": "object",
        "description": "Location of a script, and the hash that the script must have.",
        "required": ["url"],
        "properties": {
            "url": location(),
            "sha256": {
                "type": "string",
                "description": "SHA-256 of the script, hexadecimal. A script with another hash is rejected.",
            },
        },
    })
}

fn add_bounds(limits: &mut Value, defaults: &Limits, ceiling: &Ceiling) {
    let bounds: [(&str, u64, u64, u64); 3] = [
        (
            "memoryBytes",
            Limits::SMALLEST_MEMORY_BYTES,
            defaults.memory_bytes(),
            ceiling.memory_bytes,
        ),
        (
            "outputBytes",
            Limits::SMALLEST_OUTPUT_BYTES.into(),
            defaults.output_bytes().into(),
            ceiling.output_bytes.into(),
        ),
        (
            "timeoutMs",
            Limits::SMALLEST_TIMEOUT_MS.into(),
            defaults.timeout_ms().into(),
            ceiling.timeout_ms.into(),
        ),
    ];
    for (name, least, default, most) in bounds {
        let limit = &mut limits["properties"][name];
        limit["minimum"] = least.into();
        limit["default"] = default.into();
        limit["maximum"] = most.into();
    }
    // Without defaults: generated clients send them, and a request without `tools` may not have these limits.
    let of_bytes = ToolLimits::BYTES_SMALLEST;
    for (name, least, most) in [
        (
            "argumentBytes",
            of_bytes,
            ToolLimits::ARGUMENT_BYTES_CEILING,
        ),
        ("callTimeoutMs", 1, ToolLimits::CALL_TIMEOUT_MS_CEILING),
        ("callsMax", 0, ToolLimits::CALLS_MAX_CEILING),
        (
            "concurrentCallsMax",
            1,
            ToolLimits::CONCURRENT_CALLS_MAX_CEILING,
        ),
        ("logBytes", of_bytes, ToolLimits::LOG_BYTES_OF_JOB),
        ("resultBytes", of_bytes, ToolLimits::RESULT_BYTES_CEILING),
        ("waitTimeoutS", 1, ToolLimits::WAIT_TIMEOUT_S_CEILING),
    ] {
        let limit = &mut limits["properties"][name];
        limit["minimum"] = least.into();
        limit["maximum"] = most.into();
    }
}
