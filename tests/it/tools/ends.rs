//! The end of an execution: calls that nobody awaited, and receipts of scripts that failed.

use super::{Conversation, echo, request};
use crate::support::Service;
use serde_json::{Value, json};

fn with_unawaited(unawaited: &str) -> Value {
    let mut request = request(
        "tools.note('a'); tools.note('b'); console.log('told'); 'done'",
        &["note"],
    );
    request["unawaited"] = unawaited.into();
    request
}

#[test]
fn calls_that_nobody_awaited_are_offered_before_the_result_comes() {
    let service = Service::start();
    let mut request = with_unawaited("offer");
    request.as_object_mut().unwrap().remove("unawaited");
    let mut talk = Conversation::begin(&service, request);
    assert!(talk.waits(), "{}", talk.now);
    assert_eq!(talk.calls().len(), 2);
    assert_eq!(talk.now["result"], Value::Null);
    assert_eq!(talk.now["log"][0]["data"], json!(["told"]));
    let ids: Vec<Value> = talk
        .calls()
        .iter()
        .map(|call| call["callId"].clone())
        .collect();
    talk.go_on(&json!([{ "callId": ids[0], "result": 1 }]));
    assert!(talk.waits() && talk.calls().len() == 1, "{}", talk.now);
    talk.go_on(&json!([{ "callId": ids[1], "error": { "message": "no" } }]));
    let last = &talk.now;
    assert_eq!(
        (&last["status"], &last["result"]),
        (&json!("success"), &json!("done")),
        "{last}"
    );
    assert_eq!(last["log"], json!([]));
    let states: Vec<&Value> = talk.calls().iter().map(|call| &call["state"]).collect();
    assert_eq!(states, ["done", "failed"]);
    let executions = service.get("/api/usage").json()["totals"]["executions"].clone();
    assert_eq!(executions["succeeded"], 1, "{executions}");
}

#[test]
fn calls_that_nobody_awaited_are_dropped_or_fail_the_script() {
    let service = Service::start();
    let dropped = service.execute(&with_unawaited("drop"));
    assert_eq!(dropped["result"], "done", "{dropped}");
    assert_eq!(dropped["calls"][0]["state"], "not_sent");
    let failed = service.execute(&with_unawaited("fail"));
    assert_eq!(
        (&failed["status"], &failed["outcome"]),
        (&json!("error"), &json!("threw")),
        "{failed}"
    );
    assert_eq!(failed["result"], Value::Null);
    let message = failed["error"]["message"].as_str().unwrap();
    assert!(message.contains("tools.note"), "{message}");
    assert_eq!(failed["calls"][1]["state"], "not_sent");
    let executions = service.get("/api/usage").json()["totals"]["executions"].clone();
    assert_eq!(
        (&executions["succeeded"], &executions["threw"]),
        (&json!(1), &json!(1))
    );
}

#[test]
fn a_script_that_fails_has_its_receipt_and_sends_nothing_more() {
    let service = Service::start();
    let code = "await tools.a(1); tools.a(2); throw new Error('no')";
    let last = Conversation::begin(&service, request(code, &["a"])).finish(echo);
    assert_eq!(last["outcome"], "threw", "{last}");
    assert_eq!(states(&last), ["done", "not_sent"], "{last}");
    for (end, outcome) in [
        (
            "const all = []; for (;;) all.push(new Array(1000).fill(0))",
            "memory_exceeded",
        ),
        ("const deep = () => 1 + deep(); deep()", "stack_exceeded"),
    ] {
        let code = format!("await tools.a(1); tools.a(2); {end}");
        let last = Conversation::begin(&service, request(&code, &["a"])).finish(echo);
        assert_eq!(last["outcome"], outcome, "{last}");
        assert_eq!(states(&last), ["done", "not_sent"], "{last}");
    }
    // The process is killed inside a native function. Its answer was given all the same.
    let code = "await tools.a(1); tools.a(2); /(a+)+$/.test('a'.repeat(40) + 'b')";
    let mut first = request(code, &["a"]);
    first["limits"]["timeoutMs"] = 300.into();
    let last = Conversation::begin(&service, first).finish(echo);
    assert_eq!(last["outcome"], "timed_out", "{last}");
    assert_eq!(last["calls"][0]["state"], "done", "{last}");
    let code = "await tools.a(1); for (;;);";
    let mut request = request(code, &["a"]);
    request["limits"]["timeoutMs"] = 300.into();
    let last = Conversation::begin(&service, request).finish(echo);
    assert_eq!(last["outcome"], "timed_out", "{last}");
    assert_eq!(last["calls"][0]["state"], "done");
}

#[test]
fn a_call_that_was_answered_is_done_in_the_receipt_however_the_execution_ends() {
    let service = Service::start();
    // The second answer comes with the first, which ends the script.
    let code = "await Promise.race([tools.a(1), tools.a(2)])";
    let last = Conversation::begin(&service, request(code, &["a"])).finish(echo);
    assert_eq!(last["result"], 1, "{last}");
    assert_eq!(states(&last), ["done", "done"], "{last}");
}

#[test]
fn a_script_that_waits_for_a_timer_beyond_its_replay_ends() {
    let service = Service::start();
    let sleep = "new Promise((done) => setTimeout(done, 3_600_000))";
    let mut first = request(&format!("console.log('told'); await {sleep}"), &["a"]);
    first["limits"]["waitTimeoutS"] = 60.into();
    let ended = service.execute(&first);
    assert_eq!(
        (&ended["outcome"], &ended["limitHit"]),
        (&json!("timed_out"), &json!("waitTimeoutS")),
        "{ended}"
    );
    assert_eq!(ended["log"][0]["data"], json!(["told"]));
    let limit = service.metric("limits_hit_total{limit=\"waitTimeoutS\"}");
    assert_eq!(limit, Some(1.0));
    let executions = service.get("/api/usage").json()["totals"]["executions"].clone();
    assert_eq!(executions["timed_out"], 1, "{executions}");
    // A call beside the timer may still be answered.
    first["code"] = format!("await Promise.race([{sleep}, tools.a(7)])").into();
    let talk = Conversation::begin(&service, first);
    assert_eq!(talk.now["waitingFor"], json!(["calls"]), "{}", talk.now);
    assert_eq!(talk.now["resumeAt"], Value::Null, "{}", talk.now);
    assert_eq!(talk.finish(echo)["result"], 7);
}

#[test]
fn the_limit_that_ended_a_script_is_named_and_counted_under_its_own_name() {
    let service = Service::start();
    let code = "for (let i = 0; i < 1e6; i++); await tools.a(1); for (;;) await tools.a(2)";
    let mut first = request(code, &["a"]);
    first["limits"]["timeoutMs"] = 100.into();
    let mut talk = Conversation::begin(&service, first);
    let mut times = 0;
    while talk.waits() && times < 200 {
        talk.answer_with(echo);
        times += 1;
    }
    let last = &talk.now;
    assert_eq!(last["outcome"], "timed_out", "{last}");
    // A busy machine may use up the script's own time first.
    let limit = last["limitHit"].as_str().unwrap();
    assert!(["replayMs", "timeoutMs"].contains(&limit), "{last}");
    let name = format!("limits_hit_total{{limit=\"{limit}\"}}");
    assert_eq!(service.metric(&name), Some(1.0), "{last}");
}

/// Returns the states of an execution's calls.
fn states(execution: &Value) -> Vec<&Value> {
    let calls = execution["calls"].as_array().unwrap().iter();
    calls.map(|call| &call["state"]).collect()
}

#[test]
fn a_call_that_nobody_waits_for_is_abandoned() {
    let service = Service::start();
    let code = "await Promise.race([tools.a('slow'), tools.a('fast')])";
    let mut talk = Conversation::begin(&service, request(code, &["a"]));
    let fast = talk.calls()[1]["callId"].clone();
    talk.go_on(&json!([{ "callId": fast, "result": "first" }]));
    assert_eq!(talk.now["result"], "first", "{}", talk.now);
    assert_eq!(talk.calls()[0]["state"], "abandoned");
    assert_eq!(talk.calls()[1]["state"], "done");
}

#[test]
fn at_its_end_an_execution_waits_for_the_calls_that_were_not_offered_before_alone() {
    let service = Service::start();
    let code = "const first = await Promise.race([tools.a('slow'), tools.a('fast')]); tools.a('last'); first";
    let mut talk = Conversation::begin(&service, request(code, &["a"]));
    let fast = talk.calls()[1]["callId"].clone();
    talk.go_on(&json!([{ "callId": fast, "result": "fast" }]));
    assert!(talk.waits(), "{}", talk.now);
    assert_eq!(talk.calls().len(), 1);
    assert_eq!(talk.calls()[0]["argument"], "last");
    talk.answer_with(echo);
    assert_eq!(talk.now["result"], "fast", "{}", talk.now);
    let states: Vec<&Value> = talk.calls().iter().map(|call| &call["state"]).collect();
    assert_eq!(states, ["abandoned", "done", "done"]);
}
