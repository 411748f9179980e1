//! The description of the API is complete, and matches the service that serves it.

use crate::support::{Answer, Service, eventually};
use jsonschema::Validator;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const SOON: Duration = crate::support::SOON;
/// The description, as a service serves it.
struct Description(Value);

impl Description {
    fn of(service: &Service) -> Self {
        let answer = service.get("/api/openapi.json");
        assert_eq!(answer.header("content-type"), "application/json");
        Self(answer.json())
    }

    /// Checks that a response is described: its status, its type, each of its fields.
    fn assert_describes(&self, method: &str, path: &str, answer: &Answer) {
        let what = format!("{method} {path} {}: {}", answer.status, answer.text);
        let response = &self.0["paths"][path][method]["responses"][answer.status.to_string()];
        assert!(response.is_object(), "this status is not described: {what}");
        let content = response["content"].as_object();
        let kind = answer.header("content-type");
        let Some(schema) = content.and_then(|content| Some(&content.get(kind)?["schema"])) else {
            assert!(
                content.is_none() && answer.text.is_empty(),
                "{kind}: {what}"
            );
            return;
        };
        if kind.contains("json") {
            let problems: Vec<String> = self
                .strictly(schema)
                .iter_errors(&answer.json())
                .map(|error| format!("{error} at {}", error.instance_path()))
                .collect();
            assert!(problems.is_empty(), "{problems:?}: {what}");
        }
    }

    /// Returns a validator that rejects fields without a description.
    fn strictly(&self, schema: &Value) -> Validator {
        let mut components = self.0["components"].clone();
        for schema in components["schemas"].as_object_mut().unwrap().values_mut() {
            if schema["type"] == "object" && schema["properties"].is_object() {
                schema["additionalProperties"] = false.into();
            }
        }
        let mut whole = schema.clone();
        whole["components"] = components;
        // Values may be added to an open list later; today's responses have none of those.
        let closed = whole.to_string().replace("x-extensible-enum", "enum");
        jsonschema::draft202012::new(&serde_json::from_str(&closed).unwrap()).unwrap()
    }
}

#[test]
fn operations_have_unique_names_and_references_resolve() {
    let description = Description::of(&Service::start());
    assert_eq!(description.0["openapi"], "3.1.0");
    assert_eq!(description.0["info"]["version"], env!("CARGO_PKG_VERSION"));
    let paths = description.0["paths"].as_object().unwrap().values();
    let operations: Vec<&Value> = paths
        .flat_map(|methods| methods.as_object().unwrap().values())
        .collect();
    let names: BTreeSet<&str> = operations
        .iter()
        .map(|operation| operation["operationId"].as_str().unwrap())
        .collect();
    assert_eq!(names.len(), operations.len());
    assert!(names.len() > 10, "{names:?}");
    let text = description.0.to_string();
    for reference in text.split("\"$ref\":\"#").skip(1) {
        let pointer = reference.split('"').next().unwrap();
        assert!(description.0.pointer(pointer).is_some(), "{pointer}");
    }
}

#[test]
fn every_response_is_described() {
    let service = Service::start();
    let description = Description::of(&service);
    for path in [
        "/api",
        "/api/health",
        "/api/health/live",
        "/api/health/ready",
        "/api/netcheck",
        "/api/nodes",
        "/api/scripts",
        "/api/jobs",
        "/api/usage",
    ] {
        description.assert_describes("get", path, &service.get(path));
    }
    for code in [
        "1",
        "'text'",
        "({ a: [1, null, { b: 2n }] })",
        "undefined",
        "new Map([[1, 2]])",
        "console.log('a'); console.group('g'); console.table([{ a: 1 }]); console.error(new Error('x')); console.time('t'); console.timeEnd('t')",
        "throw new TypeError('no')",
        "throw null",
        "throw { any: 'thing' }",
        "throw new Error('outer', { cause: { why: 1 } })",
        "(",
        "for (;;);",
        "const a = []; for (;;) a.push('x'.repeat(1000));",
        "(function f() { f() })()",
        "'x'.repeat(2_000_000)",
        "for (let n = 0; n < 200; n += 1) console.log('x'.repeat(20_000));",
    ] {
        let body = json!({ "code": code, "limits": { "timeoutMs": 500 } });
        let answer = service.post("/api/execute", &body);
        assert_eq!(answer.status, 200);
        description.assert_describes("post", "/api/execute", &answer);
    }
    let mut with_tools = json!({
        "code": "try { await tools.a({ x: 1 }) } catch {} tools.b(); 'done'",
        "tools": ["a", { "name": "b", "description": "B", "inputSchema": {} }],
    });
    for error in [true, false] {
        let waiting = service.post("/api/execute", &with_tools);
        description.assert_describes("post", "/api/execute", &waiting);
        let waiting = waiting.json();
        assert_eq!(waiting["status"], "waiting");
        let id = &waiting["calls"][0]["callId"];
        with_tools["replay"] = waiting["replay"].clone();
        with_tools["answers"] = match error {
            true => json!([{ "callId": id, "error": { "message": "no" } }]),
            false => json!([{ "callId": id, "result": 1 }]),
        };
    }
    let ended = service.post("/api/execute", &with_tools);
    assert_eq!(ended.json()["result"], "done", "{}", ended.text);
    description.assert_describes("post", "/api/execute", &ended);
    let wait = [("prefer", "wait=20")];
    let done = service.post_with("/api/jobs", &wait, &json!({ "code": "console.log(1); 2" }));
    assert_eq!(done.status, 200);
    description.assert_describes("post", "/api/jobs", &done);
    let endless = json!({ "code": "console.log(1); for (;;);", "limits": { "timeoutMs": 30_000 } });
    let accepted = service.post("/api/jobs", &endless);
    assert_eq!(accepted.status, 202);
    description.assert_describes("post", "/api/jobs", &accepted);
    let id = accepted.json()["id"].as_str().unwrap().to_owned();
    let path = format!("/api/jobs/{id}");
    eventually(SOON, "it has logged", || {
        service.get(&path).json()["log"][0].is_object()
    });
    let running = service.get(&path);
    description.assert_describes("get", "/api/jobs/{id}", &running);
    let tag = running.header("etag");
    let unchanged = service.get_with(&path, &[("if-none-match", tag)]);
    assert_eq!(unchanged.status, 304);
    description.assert_describes("get", "/api/jobs/{id}", &unchanged);
    description.assert_describes("delete", "/api/jobs/{id}", &service.delete(&path));
    description.assert_describes("delete", "/api/jobs/{id}", &service.delete(&path));
    description.assert_describes("get", "/api/jobs/{id}", &service.get(&path));
    description.assert_describes(
        "get",
        "/api/jobs/{id}/events",
        &service.get(&format!("{path}/events")),
    );
    description.assert_describes("get", "/api/jobs", &service.get("/api/jobs"));
    for query in ["?by=hour", "?format=csv"] {
        let report = service.get(&format!("/api/usage{query}"));
        description.assert_describes("get", "/api/usage", &report);
    }
    let script = service.get("/api/scripts").json()["scripts"][0]["name"].clone();
    let script = service.get(&format!("/api/scripts/{}", script.as_str().unwrap()));
    description.assert_describes("get", "/api/scripts/{name}", &script);
}

#[test]
fn every_error_response_is_described() {
    let service = Service::start();
    let description = Description::of(&service);
    let mut codes = BTreeSet::new();
    let mut refused = |method: &str, path: &str, answer: &Answer| {
        assert!(answer.status >= 400, "{}", answer.text);
        description.assert_describes(method, path, answer);
        codes.insert(answer.code());
    };
    for path in ["/api/execute", "/api/jobs"] {
        for body in [
            "{",
            "[]",
            "{}",
            r#"{"code":1}"#,
            r#"{"code":"1","foo":2}"#,
            r#"{"code":"1","limits":{"timeoutMs":0}}"#,
            r#"{"code":"1","limits":{"timeoutMs":1e9}}"#,
            r#"{"code":"1","language":"python"}"#,
            r#"{"code":"1","kind":"worker"}"#,
            r#"{"code":"1","modules":{"../x":""}}"#,
            r#"{"file":"none.js"}"#,
            r#"{"file":"simple.js","kind":"module"}"#,
            r#"{"code":"1","priority":9}"#,
            r#"{"code":"1","runAt":"soon"}"#,
        ] {
            let json = [("content-type", "application/json")];
            refused(
                "post",
                path,
                &service.post_raw(path, &json, body.as_bytes()),
            );
        }
        let form = [("content-type", "multipart/form-data; boundary=x")];
        refused("post", path, &service.post_raw(path, &form, b"nonsense"));
        let text = [("content-type", "text/plain")];
        refused("post", path, &service.post_raw(path, &text, b"1"));
        let long = json!({ "code": " ".repeat(1_100_000) });
        refused("post", path, &service.post(path, &long));
        let longer = json!({ "code": " ".repeat(3_000_000) });
        refused("post", path, &service.post(path, &longer));
    }
    let keyed = |code: &str| {
        let key = [("idempotency-key", "k")];
        service.post_with("/api/jobs", &key, &json!({ "code": code }))
    };
    keyed("1");
    refused("post", "/api/jobs", &keyed("2"));
    let delayed = json!({ "code": "1", "priority": 1 });
    refused("post", "/api/jobs", &service.post("/api/jobs", &delayed));
    let unknown = "/api/jobs/01890a5d-ac96-774b-bcce-b302099a8057";
    refused("get", "/api/jobs/{id}", &service.get(unknown));
    refused("delete", "/api/jobs/{id}", &service.delete(unknown));
    refused(
        "get",
        "/api/jobs/{id}/events",
        &service.get(&format!("{unknown}/events")),
    );
    refused("get", "/api/jobs", &service.get("/api/jobs?state=done"));
    for query in ["by=minute", "tenant=another"] {
        let answer = service.get(&format!("/api/usage?{query}"));
        refused("get", "/api/usage", &answer);
    }
    refused("get", "/api/netcheck", &service.get("/api/netcheck?port=0"));
    refused(
        "get",
        "/api/scripts/{name}",
        &service.get("/api/scripts/none.js"),
    );
    let done = service.submit(&json!({ "code": "1" }));
    service.finished(&done);
    refused(
        "delete",
        "/api/jobs/{id}",
        &service.delete(&format!("/api/jobs/{done}")),
    );
    assert!(codes.len() >= 14, "{codes:?}");
}

#[test]
fn every_field_says_what_it_is_and_every_answer_has_an_example_that_is_right() {
    let description = Description::of(&Service::start());
    let schemas = description.0["components"]["schemas"].as_object().unwrap();
    for (name, schema) in schemas {
        let says = |of: &Value| {
            of["description"]
                .as_str()
                .is_some_and(|text| !text.is_empty())
        };
        assert!(says(schema), "{name}");
        for (field, schema) in schema["properties"].as_object().into_iter().flatten() {
            assert!(says(schema), "{name}.{field}");
        }
    }
    let mut examples = 0;
    let operations = description.0["paths"].as_object().unwrap().values();
    for operation in operations.flat_map(|methods| methods.as_object().unwrap().values()) {
        for response in operation["responses"].as_object().unwrap().values() {
            for (kind, content) in response["content"].as_object().into_iter().flatten() {
                let schema = &content["schema"];
                let Some(named) = schema["$ref"].as_str().filter(|_| kind.contains("json")) else {
                    continue;
                };
                let example = description
                    .0
                    .pointer(&format!("{}/examples/0", &named[1..]));
                let example = example.unwrap_or_else(|| panic!("{named} has no example"));
                let named = json!({ "$ref": named });
                let problems: Vec<String> = description
                    .strictly(&named)
                    .iter_errors(example)
                    .map(|error| error.to_string())
                    .collect();
                assert!(problems.is_empty(), "{named}: {problems:?}");
                examples += 1;
            }
        }
    }
    assert!(examples > 20, "{examples}");
}

#[test]
fn limits_are_described_as_this_service_grants_them() {
    let service = Service::start_with(&["--timeout-ms", "700", "--timeout-ms-ceiling", "900"]);
    let description = Description::of(&service);
    let limits = &description.0["components"]["schemas"]["RequestedLimits"]["properties"];
    assert_eq!(limits["timeoutMs"]["default"], 700);
    assert_eq!(limits["timeoutMs"]["maximum"], 900);
    assert_eq!(limits["timeoutMs"]["minimum"], 1);
    // Without an ingress that fetches scripts, there is no field `source`.
    let request = &description.0["components"]["schemas"]["JobRequest"]["properties"];
    assert!(request["code"].is_object() && request["source"].is_null());
}

#[test]
fn the_description_can_be_had_without_a_service() {
    let output = Command::new(env!("CARGO_BIN_EXE_sandpiper"))
        .arg("openapi")
        .output()
        .unwrap();
    assert!(output.status.success());
    let printed: Value = serde_json::from_slice(&output.stdout).unwrap();
    // A service without `--sources-dir` has no `source`; the printed description has every field.
    let sources = crate::stores::Folder::new();
    let service = Service::start_with(&["--sources-dir", &sources.text("")]);
    assert_eq!(printed, Description::of(&service).0);
}

#[test]
fn the_description_as_a_page_needs_no_script_and_nothing_from_elsewhere() {
    let service = Service::start();
    let page = service.get("/api/docs");
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    let policy = page.header("content-security-policy");
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"));
    assert!(!page.text.contains("<script") && !page.text.contains("style="));
    assert!(!page.text.contains("http://") && !page.text.contains("https://"));
    for said in [
        "/api/jobs/{id}/events",
        "client_queue_full",
        "timeoutMs",
        "Idempotency-Key",
    ] {
        assert!(page.text.contains(said), "{said}");
    }
    // Every link resolves.
    for link in page.text.split("href=\"#").skip(1) {
        let id = link.split('"').next().unwrap();
        assert!(page.text.contains(&format!("id=\"{id}\"")), "{id}");
    }
    assert_eq!(
        service.get("/api/docs.css").header("content-type"),
        "text/css; charset=utf-8"
    );
}

#[test]
fn requests_made_up_from_the_description_find_no_fault() {
    let tool = Path::new("target/openapi/bin/schemathesis");
    assert!(tool.exists(), "`make tools-test` installs it");
    let folder = crate::stores::Folder::new();
    let store = format!("sqlite:{}", folder.text("jobs.db"));
    let service = Service::start_with(&[
        "--store",
        &store,
        "--timeout-ms",
        "200",
        "--timeout-ms-ceiling",
        "1000",
    ]);
    let hooks = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/openapi/hooks.py");
    let output = Command::new(tool.canonicalize().unwrap())
        .arg("run")
        .arg(format!("{}/api/openapi.json", service.url()))
        // A stream of events lasts as long as its job, and has tests of its own.
        .args(["--exclude-path", "/api/jobs/{id}/events"])
        // No answer can be made up: it names a call that a job waits for. `tools::job_answers` sends wrong ones.
        .args(["--exclude-path", "/api/jobs/{id}/answers"])
        // A cancelled job can still be read.
        .args(["--exclude-checks", "use_after_free"])
        .args(["--max-examples", "50", "--seed", "1", "--no-color"])
        // Longer than a request with `Prefer: wait` takes, which may ask for ten seconds.
        .args(["--request-timeout", "60"])
        .env("SCHEMATHESIS_HOOKS", hooks)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        // The tool stores its findings, and would start with them the next time.
        .current_dir(folder.text(""))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("Test cases:"), "{said}");
}
