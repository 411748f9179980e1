//! The schemas of requests: one for each [`Field`], which `fields.rs` reads.

use crate::http::field_names::{Field, LimitField};
use sandpiper_domain::{Ceiling, IdempotencyKey, JobTerms, Limits, Priority, Script};
use serde_json::{Map, Value, json};

/// Returns the schemas of requests, by their names.
pub(super) fn schemas(
    defaults: &Limits,
    ceiling: &Ceiling,
    with_source: bool,
) -> Map<String, Value> {
    let job_fields = || {
        let all = Field::ALL.iter().copied();
        all.filter(move |field| with_source || *field != Field::Source)
    };
    let fields = || job_fields().filter(|field| !field.is_for_jobs_only());
    let run = "Request to run a script now. It needs a script:";
    let submit = "Request to run a script later. It needs a script:";
    let schemas = [
        ("RequestedLimits", limits(defaults, ceiling)),
        ("ExecuteRequest", request(run, fields())),
        ("ExecuteForm", form(run, fields())),
        ("JobRequest", request(submit, job_fields())),
        ("JobForm", form(submit, job_fields())),
    ];
    schemas
        .into_iter()
        .map(|(name, schema)| (name.to_owned(), schema))
        .collect()
}

/// Returns the content of a request's body: JSON, or a form with the same fields.
pub(super) fn content(name: &str) -> Value {
    let link = |kind: &str| json!({ "$ref": format!("#/components/schemas/{name}{kind}") });
    let json_parts = Field::ALL.iter().filter(|field| field.is_json_in_forms());
    let encoding: Map<String, Value> = json_parts
        .filter(|field| name == "Job" || !field.is_for_jobs_only())
        .map(|field| {
            let part = json!({ "contentType": "application/json" });
            (field.name().to_owned(), part)
        })
        .collect();
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

fn request(description: &str, fields: impl Iterator<Item = Field>) -> Value {
    let properties: Map<String, Value> = fields
        .map(|field| (field.name().to_owned(), schema(field)))
        .collect();
    // Stated in words: generators of clients make a type of each alternative in `anyOf`.
    let sources = if properties.contains_key(Field::Source.name()) {
        "`code`, `file` or `source`"
    } else {
        "`code` or `file`"
    };
    json!({
        "type": "object",
        "description": format!("{description} {sources}."),
        "properties": properties,
        "additionalProperties": false,
        "examples": [{
            "code": "console.log(input.a); input.a + input.b",
            "input": { "a": 1, "b": 2 },
            "limits": { "timeoutMs": 500 },
        }],
    })
}

/// Returns the schema of a form, which has no `source` and no null.
fn form(description: &str, fields: impl Iterator<Item = Field>) -> Value {
    let fields = fields.filter(|field| *field != Field::Source);
    let mut form = request(description, fields);
    let properties = form["properties"].as_object_mut();
    for (_, property) in properties.into_iter().flatten() {
        remove_null(property);
    }
    form
}

/// Removes null from a schema's types, alternatives or values.
fn remove_null(schema: &mut Value) {
    let null_type = json!({ "type": "null" });
    for key in ["type", "oneOf", "enum"] {
        let Some(choices) = schema.get_mut(key).and_then(Value::as_array_mut) else {
            continue;
        };
        choices.retain(|choice| !choice.is_null() && *choice != "null" && *choice != null_type);
        if key == "type" && choices.len() == 1 {
            let only = choices.remove(0);
            schema[key] = only;
        }
    }
}

/// Returns the schema of a field.
fn schema(field: Field) -> Value {
    match field {
        Field::Code => json!({
            "type": ["string", "null"],
            "maxLength": Script::CODE_BYTES_MAX,
            "pattern": "^[^\\u0000]*$",
            "description": format!(
                "JavaScript, at most {} bytes of UTF-8 without NUL. Its completion value is the result; `await` works at its top level.",
                Script::CODE_BYTES_MAX
            ),
        }),
        Field::File => json!({
            "type": ["string", "null"],
            "description": "Name of an example script, which runs after `code`.",
        }),
        Field::Globals => globals(),
        Field::Input => json!({
            "description": format!(
                "Any JSON, nested at most {} deep: the global `input`. Left out, `typeof input` is \"undefined\".",
                Script::JSON_DEPTH_MAX
            ),
        }),
        Field::Kind => json!({ "enum": ["script", null], "description": "Kind of script." }),
        Field::Language => {
            json!({ "enum": ["javascript", null], "description": "Language of the script." })
        }
        Field::Limits => json!({
            "oneOf": [{ "$ref": "#/components/schemas/RequestedLimits" }, { "type": "null" }],
            "description": "Limits of the execution.",
        }),
        Field::Priority => json!({
            "type": ["integer", "null"],
            "minimum": 1,
            "maximum": Priority::LAST,
            "default": Priority::default().get(),
            "description": format!(
                "1 is first, {} is last. Other than the default it needs a database as the store.",
                Priority::LAST
            ),
        }),
        Field::RunAt => json!({
            "type": ["string", "null"],
            "format": "date-time",
            "description": format!(
                "Earliest start, at most {} days ahead. Needs a database as the store.",
                JobTerms::AHEAD_MAX.as_secs() / 86_400
            ),
        }),
        Field::Seed => json!({
            "type": ["integer", "null"],
            "minimum": i64::MIN,
            "maximum": u64::MAX,
            "description": "64-bit integer. The same seed gives the same `Math.random` and the same clock.",
        }),
        Field::Source => source(),
    }
}

fn globals() -> Value {
    json!({
        "type": ["object", "null"],
        "maxProperties": Script::GLOBALS_MAX,
        "propertyNames": {
            "pattern": "^[A-Za-z_$][A-Za-z0-9_$]*$",
            "maxLength": Script::GLOBAL_NAME_BYTES_MAX,
            "not": { "enum": ["input", "undefined", "NaN", "Infinity", "globalThis", "__proto__"] },
        },
        "description": "Further global variables, by name.",
    })
}

fn source() -> Value {
    let location = json!({
        "type": "string",
        "description": "`https://…`, `s3://bucket/key` or `gs://bucket/key`.",
    });
    json!({
        "description": "Location of a script, instead of `code`. The ingress fetches it, if its operator allows that location.",
        "oneOf": [
            location,
            {
                "type": "object",
                "required": ["url"],
                "properties": {
                    "url": location,
                    "sha256": {
                        "type": "string",
                        "description": "SHA-256 of the script, hexadecimal. A script with another hash is rejected.",
                    },
                },
            },
            { "type": "null" },
        ],
    })
}

fn limits(defaults: &Limits, ceiling: &Ceiling) -> Value {
    let properties: Map<String, Value> = LimitField::ALL
        .iter()
        .map(|field| {
            let (least, default, most, description) = match field {
                LimitField::MemoryBytes => (
                    Limits::SMALLEST_MEMORY_BYTES,
                    defaults.memory_bytes(),
                    ceiling.memory_bytes,
                    "JavaScript heap, bytes.",
                ),
                LimitField::OutputBytes => (
                    Limits::SMALLEST_OUTPUT_BYTES.into(),
                    defaults.output_bytes().into(),
                    ceiling.output_bytes.into(),
                    "Result and log together, bytes of JSON.",
                ),
                LimitField::TimeoutMs => (
                    Limits::SMALLEST_TIMEOUT_MS.into(),
                    defaults.timeout_ms().into(),
                    ceiling.timeout_ms.into(),
                    "Maximum duration, milliseconds.",
                ),
            };
            let schema = json!({
                "type": ["integer", "null"],
                "minimum": least,
                "default": default,
                "maximum": most,
                "description": description,
            });
            (field.name().to_owned(), schema)
        })
        .collect();
    json!({
        "type": "object",
        "description": "Limits of one execution. A value above the maximum is rejected, not reduced.",
        "properties": properties,
        "additionalProperties": false,
    })
}
