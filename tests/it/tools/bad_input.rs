//! Requests with tools that cannot be run.

use super::request;
use crate::support::{Service, assert_refused, assert_serves};
use serde_json::{Value, json};

#[test]
fn tools_that_cannot_be_used_name_their_element() {
    let service = Service::start();
    let many: Vec<String> = (0..257).map(|number| format!("t{number}")).collect();
    let long = "x".repeat(129);
    for (tools, field) in [
        (json!(1), "tools"),
        (json!({}), "tools"),
        (json!([]), "tools"),
        (json!(many), "tools"),
        (json!([1]), "tools[0]"),
        (json!([""]), "tools[0]"),
        (json!([long]), "tools[0]"),
        (json!(["a", "b c"]), "tools[1]"),
        (json!(["a.b.c"]), "tools[0]"),
        (json!(["1a"]), "tools[0]"),
        (json!(["then"]), "tools[0]"),
        (json!(["a.constructor"]), "tools[0]"),
        (json!(["__proto__"]), "tools[0]"),
        (json!(["billing.*"]), "tools[0]"),
        (json!(["a", "a"]), "tools[1]"),
        (json!(["a", "a.b"]), "tools[1]"),
        (json!([{}]), "tools[0].name"),
        (json!([{ "name": 1 }]), "tools[0].name"),
        (json!([{ "name": "a b" }]), "tools[0].name"),
        (
            json!([{ "name": "a", "description": 1 }]),
            "tools[0].description",
        ),
        (
            json!([{ "name": "a", "description": "x".repeat(5000) }]),
            "tools[0].description",
        ),
        (
            json!([{ "name": "a", "inputSchema": [] }]),
            "tools[0].inputSchema",
        ),
        (
            json!([{ "name": "a", "outputSchema": { "x": "x".repeat(70_000) } }]),
            "tools[0].outputSchema",
        ),
    ] {
        let answer = service.post("/api/execute", &json!({ "code": "1", "tools": tools }));
        assert_refused(&answer, 400, "invalid_field", &tools.to_string());
        assert_eq!(answer.json()["field"], field, "{}", answer.text);
    }
    for tools in [json!(["fetch"]), json!([{ "name": "fetch" }])] {
        let answer = service.post("/api/execute", &json!({ "code": "1", "tools": tools }));
        assert_refused(&answer, 422, "tool_name_taken", "fetch");
    }
    let unknown = json!({ "code": "1", "tools": [{ "name": "a", "schema": {} }] });
    let answer = service.post("/api/execute", &unknown);
    assert_refused(&answer, 400, "unknown_field", "schema");
    assert_serves(&service);
}

#[test]
fn fields_of_tools_need_tools() {
    let service = Service::start();
    for (field, value) in [
        ("replay", json!("x")),
        ("answers", json!([])),
        ("unawaited", json!("drop")),
    ] {
        let mut body = json!({ "code": "1" });
        body[field] = value;
        let answer = service.post("/api/execute", &body);
        assert_refused(&answer, 400, "invalid_field", field);
        assert_eq!(answer.json()["field"], field);
    }
    let limits = json!({ "code": "1", "limits": { "callsMax": 1 } });
    let answer = service.post("/api/execute", &limits);
    assert_refused(&answer, 400, "invalid_field", "limits.callsMax");
    let mut body = request("1", &["a"]);
    body["unawaited"] = "wait".into();
    assert_refused(
        &service.post("/api/execute", &body),
        400,
        "invalid_field",
        "unawaited",
    );
    let mut body = request("1", &["a"]);
    body["answers"] = json!([{ "callId": "x", "result": 1 }]);
    let answer = service.post("/api/execute", &body);
    assert_refused(&answer, 400, "invalid_field", "answers without replay");
    let mut body = request("1", &["a"]);
    body["globals"] = json!({ "tools": 1 });
    let answer = service.post("/api/execute", &body);
    assert_refused(&answer, 400, "invalid_field", "globals.tools");
}

#[test]
fn a_job_takes_no_replay_and_no_answers_with_its_submit() {
    let service = Service::start();
    for (field, value) in [("replay", json!("x")), ("answers", json!([]))] {
        let mut asked = request("await tools.a(1)", &["a"]);
        asked[field] = value;
        let answer = service.post("/api/jobs", &asked);
        assert_refused(&answer, 400, "invalid_field", field);
        assert_eq!(answer.json()["field"], field);
    }
}

#[test]
fn an_argument_that_is_no_json_throws_in_the_script() {
    let service = Service::start();
    let code = "const cycle = {}; cycle.self = cycle; \
        const bad = [NaN, 1n, () => 1, Symbol('s'), cycle, new Promise(() => {})]; const told = []; \
        for (const argument of bad) { try { tools.a(argument); told.push('none') } catch (e) { told.push(e.name) } } \
        try { tools.a(1, 2); told.push('none') } catch (e) { told.push(e.name) } told";
    let execution = service.execute(&request(code, &["a"]));
    let expected: Vec<Value> = vec!["TypeError".into(); 7];
    assert_eq!(execution["result"], json!(expected), "{execution}");
}

#[test]
fn a_tool_that_was_not_declared_is_an_error_with_the_names_there_are() {
    let service = Service::start();
    let execution = service.execute(&request("tools.getOrdre(1)", &["getOrder", "crm.find"]));
    assert_eq!(execution["outcome"], "threw", "{execution}");
    let message = execution["error"]["message"].as_str().unwrap();
    assert!(message.contains("getOrder"), "{message}");
    let keys = service.execute(&request(
        "Object.keys(tools).concat('a' in tools, 'crm' in tools)",
        &["a", "crm.find"],
    ));
    assert_eq!(keys["result"], json!(["a", "crm", true, true]), "{keys}");
}
