//! The rounds of an execution: what a response shows, and in how many requests a script ends.

use super::{Conversation, echo, request};
use crate::support::Service;
use serde_json::{Value, json};

#[test]
fn a_call_comes_out_and_its_answer_goes_in() {
    let service = Service::start();
    let code = "console.log('before'); const order = await tools.getOrder({ id: 7 }); \
        console.log('after'); order.total * 2";
    let mut talk = Conversation::begin(&service, request(code, &["getOrder"]));
    let first = talk.now.clone();
    assert_eq!(first["status"], "waiting", "{first}");
    for field in ["result", "outcome", "resultType", "resumeAt"] {
        assert_eq!(first[field], Value::Null, "{field}: {first}");
    }
    assert_eq!(first["error"], false);
    assert_eq!(first["waitingFor"], json!(["calls"]));
    assert_eq!(first["attestedBy"], "caller");
    assert_eq!(first["log"][0]["data"], json!(["before"]));
    assert_eq!(first["logFrom"], 0);
    assert!(first["replay"].as_str().unwrap().len() > 100);
    assert!(first["replayExpiresAt"].is_string());
    let call = &first["calls"][0];
    assert_eq!(first["calls"].as_array().unwrap().len(), 1);
    assert_eq!(call["seq"], 0);
    assert_eq!(call["name"], "getOrder");
    assert_eq!(call["owner"], "caller");
    assert_eq!(call["argument"], json!({ "id": 7 }));
    assert_eq!(call["argumentBytes"], r#"{"id":7}"#.len());
    assert_eq!(call["state"], "waiting");
    assert_eq!(call["durationMs"], Value::Null);
    talk.answer_with(|_, _| json!({ "result": { "total": 21 } }));
    let last = talk.now;
    assert_eq!(last["status"], "success", "{last}");
    assert_eq!(
        (&last["result"], &last["outcome"]),
        (&json!(42), &json!("succeeded"))
    );
    assert_eq!(last["log"].as_array().unwrap().len(), 1, "{last}");
    assert_eq!(last["log"][0]["data"], json!(["after"]));
    assert_eq!(last["logFrom"], 1);
    assert_eq!(last["usage"]["rounds"], 2);
    for absent in ["replay", "waitingFor", "resumeAt", "replayExpiresAt"] {
        assert!(last.get(absent).is_none(), "{absent}: {last}");
    }
    let done = &last["calls"][0];
    assert_eq!(done["callId"], call["callId"]);
    assert_eq!(done["state"], "done");
    assert_eq!(done["resultBytes"], r#"{"total":21}"#.len());
    assert!(done["durationMs"].is_u64());
}

#[test]
fn calls_in_parallel_are_one_round() {
    let service = Service::start();
    let code = "await Promise.all(Array.from({ length: 50 }, (_, n) => tools.square(n)))";
    let mut talk = Conversation::begin(&service, request(code, &["square"]));
    assert_eq!(talk.calls().len(), 50);
    talk.answer_with(|_, n| json!({ "result": n.as_u64().unwrap().pow(2) }));
    assert_eq!(talk.now["status"], "success", "{}", talk.now);
    assert_eq!(talk.now["result"][49], 49 * 49);
    assert_eq!(talk.now["usage"]["rounds"], 2);
    assert_eq!(talk.calls().len(), 50);
}

#[test]
fn calls_beyond_those_that_may_be_open_wait_in_their_order() {
    let service = Service::start();
    let code =
        "const all = await Promise.all(Array.from({ length: 7 }, (_, n) => tools.a(n))); all";
    let mut first = request(code, &["a"]);
    first["limits"]["concurrentCallsMax"] = 3.into();
    let arguments = |talk: &Conversation<'_>| {
        let calls = talk.calls().iter();
        calls
            .map(|call| call["argument"].as_u64().unwrap())
            .collect::<Vec<_>>()
    };
    let mut talk = Conversation::begin(&service, first.clone());
    assert_eq!(arguments(&talk), [0, 1, 2]);
    let one = json!([{ "callId": talk.calls()[1]["callId"], "result": 1 }]);
    talk.go_on(&one);
    assert_eq!(arguments(&talk), [0, 2, 3]);
    talk.answer_with(echo);
    assert_eq!(arguments(&talk), [4, 5, 6]);
    talk.answer_with(echo);
    assert_eq!(
        talk.now["result"],
        json!([0, 1, 2, 3, 4, 5, 6]),
        "{}",
        talk.now
    );
    assert_eq!(talk.now["limits"]["concurrentCallsMax"], 3);
    // Calls that nobody awaits are offered in the same way, also those of earlier rounds.
    first["code"] = "for (let n = 0; n < 7; n++) tools.a(n); 'done'".into();
    let mut talk = Conversation::begin(&service, first.clone());
    let mut offered = arguments(&talk);
    while talk.waits() {
        talk.answer_with(echo);
        if talk.waits() {
            assert!(talk.calls().len() <= 3, "{}", talk.now);
            offered.extend(arguments(&talk));
        }
    }
    assert_eq!(offered, [0, 1, 2, 3, 4, 5, 6]);
    assert_eq!(talk.now["result"], "done", "{}", talk.now);
    first["code"] = "await Promise.race([0, 1, 2, 3, 4].map((n) => tools.a(n)))".into();
    let mut talk = Conversation::begin(&service, first);
    let one = json!([{ "callId": talk.calls()[0]["callId"], "result": "first" }]);
    talk.go_on(&one);
    assert_eq!(arguments(&talk), [3, 4], "{}", talk.now);
    let last = talk.finish(echo);
    let states: Vec<&Value> = last["calls"]
        .as_array()
        .unwrap()
        .iter()
        .map(|call| &call["state"])
        .collect();
    assert_eq!(states, ["done", "abandoned", "abandoned", "done", "done"]);
    assert_eq!(last["result"], "first");
}

#[test]
fn twenty_calls_one_after_another_are_twenty_rounds() {
    let service = Service::start();
    let code = "let sum = 0; for (let n = 0; n < 20; n++) { console.log(n); sum += await tools.next(n) } sum";
    let mut talk = Conversation::begin(&service, request(code, &["next"]));
    let mut logged = Vec::new();
    let mut ids = std::collections::BTreeSet::new();
    loop {
        for entry in talk.now["log"].as_array().unwrap() {
            logged.push(entry["data"][0].clone());
        }
        assert_eq!(
            talk.now["logFrom"].as_u64().unwrap()
                + talk.now["log"].as_array().unwrap().len() as u64,
            logged.len() as u64
        );
        if !talk.waits() {
            break;
        }
        assert_eq!(talk.calls().len(), 1);
        assert!(ids.insert(talk.calls()[0]["callId"].to_string()));
        talk.answer_with(echo);
    }
    assert_eq!(talk.now["result"], 190, "{}", talk.now);
    assert_eq!(talk.requests, 21);
    assert_eq!(logged, (0..20).map(|n| json!(n)).collect::<Vec<_>>());
    let usage = &talk.now["usage"];
    assert_eq!(usage["rounds"], 21);
    for part in ["ownMs", "replayMs", "waitedMs", "cpuMs"] {
        assert!(usage[part].is_number(), "{part}: {usage}");
    }
}

#[test]
fn an_error_of_a_call_is_caught_in_the_script() {
    let service = Service::start();
    let code = "const told = []; for (const name of ['plain', 'own']) { \
        try { await tools.find(name) } catch (e) { \
        told.push([e.name, e.message, e.code, e.retryable, e instanceof Error]) } } told";
    let talk = Conversation::begin(&service, request(code, &["find"]));
    let last = talk.finish(|_, argument| match argument.as_str().unwrap() {
        "plain" => json!({ "error": { "message": "no such row" } }),
        _ => json!({ "error": { "message": "later", "name": "BusyError", "code": "busy", "retryable": true } }),
    });
    assert_eq!(last["status"], "success", "{last}");
    assert_eq!(last["result"][0][0], "ToolError");
    assert_eq!(last["result"][0][1], "no such row");
    assert_eq!(
        last["result"][1],
        json!(["BusyError", "later", "busy", true, true])
    );
    assert_eq!(last["calls"][0]["state"], "failed");
    assert_eq!(last["calls"][1]["error"]["code"], "busy");
}

#[test]
fn an_error_of_a_call_that_is_not_caught_is_the_outcome() {
    let service = Service::start();
    let talk = Conversation::begin(&service, request("await tools.a()", &["a"]));
    let last = talk.finish(|_, _| json!({ "error": { "message": "no" } }));
    assert_eq!(
        (&last["status"], &last["outcome"]),
        (&json!("error"), &json!("threw"))
    );
    assert_eq!(last["error"]["message"], "no");
    assert_eq!(last["calls"][0]["state"], "failed");
    assert_eq!(last["attestedBy"], "caller");
}

#[test]
fn a_part_of_the_calls_can_be_answered_first() {
    let service = Service::start();
    let code = "const got = []; const one = tools.t(1).then(v => got.push(v)); \
        const two = tools.t(2).then(v => got.push(v)); await Promise.all([one, two]); got";
    let mut talk = Conversation::begin(&service, request(code, &["t"]));
    let ids: Vec<Value> = talk
        .calls()
        .iter()
        .map(|call| call["callId"].clone())
        .collect();
    talk.go_on(&json!([{ "callId": ids[1], "result": "second" }]));
    assert!(talk.waits());
    assert_eq!(talk.calls().len(), 1);
    assert_eq!(talk.calls()[0]["callId"], ids[0]);
    talk.go_on(&json!([{ "callId": ids[0], "result": "first" }]));
    assert_eq!(
        talk.now["result"],
        json!(["second", "first"]),
        "{}",
        talk.now
    );
}

#[test]
fn a_short_delay_is_waited_for_and_a_long_one_waits_outside() {
    let service = Service::start();
    let code = "const a = await tools.a(); await new Promise(r => setTimeout(r, 50)); a + 1";
    let talk = Conversation::begin(&service, request(code, &["a"]));
    let last = talk.finish(|_, _| json!({ "result": 1 }));
    assert_eq!(
        (&last["result"], &last["usage"]["rounds"]),
        (&json!(2), &json!(2)),
        "{last}"
    );
    let code = "await new Promise(r => setTimeout(r, 1500)); await tools.a()";
    let mut talk = Conversation::begin(&service, request(code, &["a"]));
    assert_eq!(talk.now["waitingFor"], json!(["timer"]), "{}", talk.now);
    assert!(talk.now["resumeAt"].is_string());
    assert!(talk.calls().is_empty());
    // Too early: nothing runs, and the same state waits on.
    let replay = talk.now["replay"].clone();
    talk.go_on(&json!([]));
    assert_eq!(talk.now["replay"], replay);
    let deadline = std::time::Instant::now() + crate::support::SOON;
    while talk.calls().is_empty() {
        assert!(std::time::Instant::now() < deadline, "{}", talk.now);
        std::thread::sleep(std::time::Duration::from_millis(100));
        talk.go_on(&json!([]));
    }
    assert_eq!(talk.now["waitingFor"], json!(["calls"]));
    talk.answer_with(|_, _| json!({ "result": "done" }));
    assert_eq!(talk.now["result"], "done", "{}", talk.now);
}

#[test]
fn the_clock_and_randomness_repeat_in_every_round() {
    let service = Service::start();
    let code = "const seen = [Math.random(), Date.now(), crypto.randomUUID()]; \
        const back = await tools.keep(seen); JSON.stringify(back) === JSON.stringify(seen)";
    let talk = Conversation::begin(&service, request(code, &["keep"]));
    let last = talk.finish(echo);
    assert_eq!(last["result"], true, "{last}");
}

#[test]
fn a_form_has_tools_and_answers_as_json() {
    let service = Service::start();
    let form = |parts: &[(&str, &str)]| {
        let body: String = parts
            .iter()
            .map(|(name, text)| {
                format!("--x\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{text}\r\n")
            })
            .collect();
        let headers = [("content-type", "multipart/form-data; boundary=x")];
        let answer = service.post_raw(
            "/api/execute",
            &headers,
            format!("{body}--x--\r\n").as_bytes(),
        );
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json()
    };
    let first = [("code", "await tools.a(1)"), ("tools", r#"["a"]"#)];
    let waiting = form(&first);
    let id = waiting["calls"][0]["callId"].as_str().unwrap();
    let answers = format!(r#"[{{"callId":"{id}","result":"yes"}}]"#);
    let replay = waiting["replay"].as_str().unwrap();
    let last = form(&[
        first[0],
        first[1],
        ("replay", replay),
        ("answers", answers.as_str()),
    ]);
    assert_eq!(last["result"], "yes", "{last}");
}

#[test]
fn functions_modules_and_typescript_call_tools() {
    let service = Service::start();
    for (kind, language, code) in [
        ("function", "javascript", "return await tools.a(input)"),
        (
            "module",
            "javascript",
            "export default async (input) => tools.a(input)",
        ),
        (
            "module",
            "typescript",
            "export default async (input: number): Promise<number> => tools.a(input)",
        ),
    ] {
        let mut request = request(code, &["a"]);
        request["kind"] = kind.into();
        request["language"] = language.into();
        request["input"] = 5.into();
        let last = Conversation::begin(&service, request).finish(echo);
        assert_eq!(last["result"], 5, "{kind}: {last}");
    }
}

#[test]
fn a_script_without_tools_has_none_of_the_fields() {
    let service = Service::start();
    let execution = service.execute(&json!({ "code": "typeof tools" }));
    assert_eq!(execution["result"], "undefined");
    for field in [
        "calls",
        "logFrom",
        "attestedBy",
        "replay",
        "waitingFor",
        "resumeAt",
    ] {
        assert!(execution.get(field).is_none(), "{field}");
    }
    for field in ["ownMs", "replayMs", "waitedMs", "rounds"] {
        assert!(execution["usage"].get(field).is_none(), "{field}");
    }
    assert!(execution["limits"].get("callsMax").is_none());
}

#[test]
fn the_result_of_the_last_round_stays_readable_and_usage_counts_the_calls() {
    let service = Service::start();
    let talk = Conversation::begin(
        &service,
        request("await tools.a(1) + await tools.a(2)", &["a"]),
    );
    let last = talk.finish(echo);
    assert_eq!(last["result"], 3);
    let job = service.get(&format!("/api/jobs/{}", last["id"].as_str().unwrap()));
    assert_eq!(job.json()["execution"]["result"], 3, "{}", job.text);
    let totals = service.get("/api/usage").json()["totals"].clone();
    assert_eq!(totals["calls"], 2, "{totals}");
    assert_eq!(totals["executionsCharged"], 1);
    assert_eq!(totals["executions"]["succeeded"], 1);
    assert_eq!(service.metric("tool_rounds_total"), Some(3.0));
    assert_eq!(service.metric("tool_calls_total"), Some(2.0));
    assert_eq!(service.metric("tool_suspensions_total"), Some(2.0));
}

#[test]
fn two_names_that_would_become_one_are_a_type_error_with_the_path() {
    let service = Service::start();
    let code = r#"try { await tools.f({ a: { "\ud800": 1, "\ud801": 2 } }) } catch (error) { String(error) }"#;
    let execution = service.execute(&request(code, &["f"]));
    let error = execution["result"].as_str().unwrap();
    assert!(
        error.starts_with("TypeError: tools.f: argument.a is"),
        "{execution}"
    );
}

#[test]
fn a_wrong_name_among_many_long_ones_uses_little_time() {
    let service = Service::start();
    let names: Vec<String> = (0..256)
        .map(|number| format!("{}{number}", "t".repeat(120)))
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let code =
        "let n = 0; for (let i = 0; i < 20; i++) try { tools['x'.repeat(200)] } catch { n += 1 } n";
    let execution = service.execute(&request(code, &names));
    assert_eq!(execution["result"], 20, "{execution}");
    assert!(
        execution["usage"]["cpuMs"].as_f64() < Some(10_000.0),
        "{execution}"
    );
}
