//! Answers are checked before anything runs, and are taken together or not at all.

use super::{Conversation, assert_continuation_refused, echo, request};
use crate::support::{PATIENT_MS, Service, assert_refused};
use serde_json::{Value, json};

#[test]
fn an_answer_that_is_not_valid_names_its_field_and_changes_nothing() {
    let service = Service::start();
    let mut talk = Conversation::begin(&service, request("await tools.a(1)", &["a"]));
    let id = talk.calls()[0]["callId"].clone();
    let deep: Value = (0..101).fold(json!(1), |inner, _| json!([inner]));
    for (answers, field) in [
        (json!(1), "answers"),
        (json!([1]), "answers[0]"),
        (json!([{}]), "answers[0].callId"),
        (json!([{ "callId": 1, "result": 1 }]), "answers[0].callId"),
        (json!([{ "callId": id }]), "answers[0]"),
        (
            json!([{ "callId": id, "result": 1, "error": { "message": "x" } }]),
            "answers[0]",
        ),
        (json!([{ "callId": id, "error": "no" }]), "answers[0].error"),
        (
            json!([{ "callId": id, "error": {} }]),
            "answers[0].error.message",
        ),
        (
            json!([{ "callId": id, "error": { "message": "x", "name": "n".repeat(129) } }]),
            "answers[0].error.name",
        ),
        (
            json!([{ "callId": id, "error": { "message": "x".repeat(16_385) } }]),
            "answers[0].error.message",
        ),
        (
            json!([{ "callId": id, "error": { "message": "x", "retryable": 1 } }]),
            "answers[0].error.retryable",
        ),
        (
            json!([{ "callId": id, "result": deep }]),
            "answers[0].result",
        ),
        (
            json!([{ "callId": id, "result": "x".repeat(300_000) }]),
            "answers[0].result",
        ),
        (
            json!([{ "callId": id, "result": 1 }, { "callId": id, "result": 1 }]),
            "answers[1].callId",
        ),
    ] {
        let answer = talk.send(&answers);
        assert_refused(&answer, 400, "invalid_field", &answers.to_string());
        assert_eq!(answer.json()["field"], field, "{}", answer.text);
    }
    let unknown = json!([{ "callId": id, "value": 1 }]);
    assert_continuation_refused(&talk, &unknown, 400, "unknown_field");
    let bound = talk.send(&json!([{ "callId": id, "result": "x".repeat(300_000) }]));
    assert_eq!(bound.json()["bound"], 262_144);
    talk.answer_with(echo);
    assert_eq!(talk.now["result"], 1, "{}", talk.now);
}

#[test]
fn an_error_may_have_an_empty_message_and_its_texts_have_no_lone_surrogates() {
    let service = Service::start();
    let code = "try { await tools.a() } catch (e) { [e.name, e.message, e.code] }";
    for (error, told) in [
        (json!({ "message": "" }), json!(["ToolError", "", null])),
        (
            json!({ "message": "a[surrogate]", "name": "[surrogate]", "code": "[surrogate]b" }),
            json!(["\u{fffd}", "a\u{fffd}", "\u{fffd}b"]),
        ),
    ] {
        let mut talk = Conversation::begin(&service, request(code, &["a"]));
        let id = talk.calls()[0]["callId"].clone();
        let next = talk.next_request(&json!([{ "callId": id, "error": error }]));
        let next = next.to_string().replace("[surrogate]", "\\ud800");
        let json = [("content-type", "application/json")];
        let answer = service.post_raw("/api/execute", &json, next.as_bytes());
        talk.now = answer.json();
        assert_eq!(talk.now["result"], told, "{}", talk.now);
    }
}

#[test]
fn a_result_counts_by_its_value_and_not_by_its_spelling() {
    let service = Service::start();
    let code = "const got = await tools.a(1); await tools.a(2); got";
    let mut first = request(code, &["a"]);
    first["limits"]["resultBytes"] = 256.into();
    let spelled = |result: &str, talk: &Conversation<'_>| {
        let id = talk.calls()[0]["callId"].clone();
        let next = talk.next_request(&json!([{ "callId": id, "result": "[result]" }]));
        let next = next.to_string().replace("\"[result]\"", result);
        let json = [("content-type", "application/json")];
        service.post_raw("/api/execute", &json, next.as_bytes())
    };
    let mut talk = Conversation::begin(&service, first);
    // 200 bytes in 1,200.
    let long = format!("[ \"{}\", \"\\ud800\" ]", "\\u0061".repeat(190));
    let twice = talk.calls()[0]["callId"].clone();
    let answer = spelled(&long, &talk);
    assert_eq!(answer.status, 200, "{}", answer.text);
    talk.now = answer.json();
    // The same value again, though no text of a program can have its lone surrogate.
    let again = json!([{ "callId": twice, "result": ["a".repeat(190), "\u{fffd}"] }]);
    talk.go_on(&again);
    let refused = spelled("1e999", &talk);
    assert_refused(&refused, 400, "invalid_field", "1e999");
    assert_eq!(refused.json()["field"], "answers[0].result");
    talk.answer_with(echo);
    let last = &talk.now;
    assert_eq!(last["result"][1], "\u{fffd}", "{last}");
    assert_eq!(last["calls"][0]["resultBytes"], 200, "{last}");
}

#[test]
fn an_answer_for_a_call_that_never_was_is_refused() {
    let service = Service::start();
    let talk = Conversation::begin(&service, request("await tools.a(1)", &["a"]));
    let other = Conversation::begin(&service, request("await tools.a(1)", &["a"]));
    let of_other = other.calls()[0]["callId"].clone();
    assert_ne!(of_other, talk.calls()[0]["callId"]);
    for id in [
        of_other,
        json!("call_0"),
        json!("0"),
        json!("é".repeat(500)),
    ] {
        let answers = json!([{ "callId": id, "result": 1 }]);
        assert_continuation_refused(&talk, &answers, 422, "unknown_call");
    }
    assert_eq!(talk.finish(echo)["result"], 1);
}

#[test]
fn the_same_answer_again_is_taken_once_and_another_one_is_refused() {
    let service = Service::start();
    let code = "const a = await tools.a(1); const b = await tools.a(2); [a, b]";
    let mut talk = Conversation::begin(&service, request(code, &["a"]));
    let first = talk.calls()[0]["callId"].clone();
    talk.go_on(&json!([{ "callId": first, "result": { "x": 1, "y": [2] } }]));
    let second = talk.calls()[0]["callId"].clone();
    let other = json!([{ "callId": first, "result": 2 }, { "callId": second, "result": 3 }]);
    let refused = talk.send(&other);
    assert_refused(&refused, 409, "already_answered", "another value");
    assert_eq!(refused.json()["callIds"], json!([first]));
    let failed = json!([{ "callId": first, "error": { "message": "no" } }]);
    assert_continuation_refused(&talk, &failed, 409, "already_answered");
    // The same value in another spelling.
    talk.go_on(&json!([{ "callId": first, "result": { "y": [2.0], "x": 1 } }, { "callId": second, "result": 3 }]));
    assert_eq!(
        talk.now["result"],
        json!([{ "x": 1, "y": [2] }, 3]),
        "{}",
        talk.now
    );
    assert_eq!(talk.calls().len(), 2);
}

#[test]
fn the_limits_of_calls_can_be_requested_and_are_enforced() {
    let service = Service::start();
    let code = "const told = []; for (const argument of input) { \
        try { told.push(await tools.a(argument)) } catch (e) { told.push(e.code) } } told";
    let with = |limits: Value, input: Value| {
        let mut request = request(code, &["a"]);
        request["limits"] = limits;
        request["limits"]["timeoutMs"] = PATIENT_MS.into();
        request["input"] = input;
        Conversation::begin(&service, request).finish(echo)
    };
    let few = with(json!({ "callsMax": 2 }), json!([1, 2, 3]));
    assert_eq!(few["result"], json!([1, 2, "too_many_calls"]), "{few}");
    assert_eq!(few["calls"][2]["state"], "failed");
    assert_eq!(few["limits"]["callsMax"], 2);
    let long = "x".repeat(1000);
    let short = with(json!({ "argumentBytes": 500 }), json!([1, long]));
    assert_eq!(short["result"], json!([1, "argument_too_large"]), "{short}");
    let full = with(json!({ "logBytes": 4000 }), json!([long, long, long, 1]));
    assert!(full["result"].to_string().contains("log_full"), "{full}");
    for (limits, status, code, field) in [
        (
            json!({ "callsMax": 1001 }),
            422,
            "limit_above_ceiling",
            "limits.callsMax",
        ),
        (
            json!({ "argumentBytes": 2_000_000 }),
            422,
            "limit_above_ceiling",
            "limits.argumentBytes",
        ),
        (
            json!({ "resultBytes": 2_000_000 }),
            422,
            "limit_above_ceiling",
            "limits.resultBytes",
        ),
        (
            json!({ "logBytes": 2_000_000 }),
            422,
            "limit_above_ceiling",
            "limits.logBytes",
        ),
        (
            json!({ "waitTimeoutS": 86_401 }),
            422,
            "limit_above_ceiling",
            "limits.waitTimeoutS",
        ),
        (
            json!({ "callTimeoutMs": 1e10 }),
            422,
            "limit_above_ceiling",
            "limits.callTimeoutMs",
        ),
        (
            json!({ "callTimeoutMs": 0 }),
            400,
            "invalid_field",
            "limits.callTimeoutMs",
        ),
        (
            json!({ "resultBytes": 1 }),
            400,
            "invalid_field",
            "limits.resultBytes",
        ),
        (
            json!({ "callsMax": "2" }),
            400,
            "invalid_field",
            "limits.callsMax",
        ),
    ] {
        let body = json!({ "code": "1", "tools": ["a"], "limits": limits });
        let answer = service.post("/api/execute", &body);
        assert_refused(&answer, status, code, &body.to_string());
        assert_eq!(answer.json()["field"], field);
    }
}

#[test]
fn a_call_whose_answer_comes_too_late_has_failed_for_the_script() {
    let service = Service::start();
    let code = "try { await tools.a() } catch (e) { e.code }";
    let mut request = request(code, &["a"]);
    request["limits"]["callTimeoutMs"] = 50.into();
    let mut talk = Conversation::begin(&service, request);
    assert!(talk.now["resumeAt"].is_string(), "{}", talk.now);
    std::thread::sleep(std::time::Duration::from_millis(60));
    let late = json!([{ "callId": talk.calls()[0]["callId"], "result": 1 }]);
    assert_continuation_refused(&talk, &late, 409, "call_timed_out");
    talk.go_on(&json!([]));
    assert_eq!(talk.now["result"], "timeout", "{}", talk.now);
    assert_eq!(talk.calls()[0]["state"], "failed");
    assert_eq!(talk.calls()[0]["error"]["code"], "timeout");
}
