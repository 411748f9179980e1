//! The schemas of requests. `fields.rs` reads requests field by field, to name the field that is wrong, so there is no
//! type to derive these schemas from. A test holds the two together.

use sandpiper_domain::{Ceiling, IdempotencyKey, JobTerms, Limits, Priority, Script};
use serde_json::{Map, Value, json};

/// Returns the schemas of requests, by their names.
pub(super) fn schemas(
    defaults: &Limits,
    ceiling: &Ceiling,
    with_source: bool,
) -> Map<String, Value> {
    let mut fields = script_fields();
    if with_source {
        fields.insert("source".to_owned(), source());
    }
    let mut with_terms = fields.clone();
    with_terms.extend(terms());
    let mut schemas = Map::new();
    schemas.insert("RequestedLimits".to_owned(), limits(defaults, ceiling));
    schemas.insert(
        "ExecuteRequest".to_owned(),
        request("Request to run a script now.", fields, with_source),
    );
    schemas.insert(
        "JobRequest".to_owned(),
        request("Request to run a script later.", with_terms, with_source),
    );
    schemas
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

fn request(description: &str, fields: Map<String, Value>, with_source: bool) -> Value {
    let mut one_of_these = vec![
        json!({ "required": ["code"], "properties": { "code": { "type": "string" } } }),
        json!({ "required": ["file"], "properties": { "file": { "type": "string" } } }),
    ];
    if with_source {
        one_of_these.push(
            json!({ "required": ["source"], "properties": { "source": { "type": ["string", "object"] } } }),
        );
    }
    json!({
        "type": "object",
        "description": description,
        "properties": fields,
        "additionalProperties": false,
        "anyOf": one_of_these,
        "examples": [{
            "code": "console.log(input.a); input.a + input.b",
            "input": { "a": 1, "b": 2 },
            "limits": { "timeoutMs": 500 },
        }],
    })
}

fn script_fields() -> Map<String, Value> {
    fields([
        (
            "code",
            json!({
                "type": ["string", "null"],
                "maxLength": Script::CODE_BYTES_MAX,
                "pattern": "^[^\\u0000]*$",
                "description": format!(
                    "JavaScript, at most {} bytes of UTF-8 without NUL. Its completion value is the result; `await` works at its top level.",
                    Script::CODE_BYTES_MAX
                ),
            }),
        ),
        (
            "file",
            json!({
                "type": ["string", "null"],
                "description": "Name of an example script, which runs after `code`.",
            }),
        ),
        (
            "input",
            json!({
                "description": format!(
                    "Any JSON, nested at most {} deep: the global `input`. Left out, `typeof input` is \"undefined\".",
                    Script::JSON_DEPTH_MAX
                ),
            }),
        ),
        (
            "globals",
            json!({
                "type": ["object", "null"],
                "maxProperties": Script::GLOBALS_MAX,
                "propertyNames": {
                    "pattern": "^[A-Za-z_$][A-Za-z0-9_$]*$",
                    "maxLength": Script::GLOBAL_NAME_BYTES_MAX,
                    "not": { "enum": ["input", "undefined", "NaN", "Infinity", "globalThis", "__proto__"] },
                },
                "description": "Further global variables, by name.",
            }),
        ),
        (
            "limits",
            json!({
                "oneOf": [{ "$ref": "#/components/schemas/RequestedLimits" }, { "type": "null" }],
            "description": "Limits of the execution.",
            }),
        ),
        (
            "seed",
            json!({
                "type": ["integer", "null"],
                "minimum": i64::MIN,
                "maximum": u64::MAX,
                "description": "64-bit integer. The same seed gives the same `Math.random` and the same clock.",
            }),
        ),
        (
            "language",
            json!({ "enum": ["javascript", null], "description": "Language of the script." }),
        ),
        (
            "kind",
            json!({ "enum": ["script", null], "description": "Kind of script." }),
        ),
    ])
}

fn terms() -> Map<String, Value> {
    let days = JobTerms::AHEAD_MAX.as_secs() / 86_400;
    fields([
        (
            "runAt",
            json!({
                "type": ["string", "null"],
                "format": "date-time",
                "description": format!("Earliest start, at most {days} days ahead. Needs a database as the store."),
            }),
        ),
        (
            "priority",
            json!({
                "type": ["integer", "null"],
                "minimum": 1,
                "maximum": Priority::LAST,
                "default": Priority::default().get(),
                "description": format!(
                    "1 is first, {} is last. Other than the default it needs a database as the store.",
                    Priority::LAST
                ),
            }),
        ),
    ])
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
                    "sha256": { "type": "string", "description": "SHA-256 of the script, hexadecimal. A script with another hash is rejected." },
                },
            },
            { "type": "null" },
        ],
    })
}

fn limits(defaults: &Limits, ceiling: &Ceiling) -> Value {
    let limit = |least: u64, default: u64, most: u64, description: &str| {
        json!({
            "type": ["integer", "null"],
            "minimum": least,
            "default": default,
            "maximum": most,
            "description": description,
        })
    };
    json!({
        "type": "object",
        "description": "Limits of one execution. A value above the maximum is rejected, not reduced.",
        "properties": {
            "timeoutMs": limit(
                Limits::SMALLEST_TIMEOUT_MS.into(),
                defaults.timeout_ms().into(),
                ceiling.timeout_ms.into(),
                "Maximum duration, milliseconds.",
            ),
            "memoryBytes": limit(
                Limits::SMALLEST_MEMORY_BYTES,
                defaults.memory_bytes(),
                ceiling.memory_bytes,
                "JavaScript heap, bytes.",
            ),
            "outputBytes": limit(
                Limits::SMALLEST_OUTPUT_BYTES.into(),
                defaults.output_bytes().into(),
                ceiling.output_bytes.into(),
                "Result and log together, bytes of JSON.",
            ),
        },
        "additionalProperties": false,
    })
}

fn fields<const COUNT: usize>(all: [(&str, Value); COUNT]) -> Map<String, Value> {
    all.into_iter()
        .map(|(name, schema)| (name.to_owned(), schema))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::fields::{LIMIT_NAMES, NAMES};
    use sandpiper_domain::samples;

    #[test]
    fn exactly_the_fields_that_are_read_are_described() {
        let ceiling = Ceiling {
            timeout_ms: 10_000,
            memory_bytes: 1 << 30,
            output_bytes: 1 << 20,
        };
        let schemas = schemas(&samples::limits(), &ceiling, true);
        let described = |name: &str| {
            let properties = schemas[name]["properties"].as_object().unwrap();
            let names: Vec<&str> = properties.keys().map(String::as_str).collect();
            names.join(", ")
        };
        assert_eq!(described("JobRequest"), NAMES);
        assert_eq!(described("RequestedLimits"), LIMIT_NAMES);
        let of_both = described("ExecuteRequest");
        assert_eq!(
            of_both,
            NAMES.replace("priority, runAt, ", ""),
            "POST /api/execute has neither priority nor runAt"
        );
    }
}
