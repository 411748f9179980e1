//! The answers to calls of a job: taken once, all or none, and only from who may see the job.

use super::jobs::ToolJob;
use super::{echo, request};
use crate::stores::{Store, over_every_store};
use crate::support::{Service, assert_refused};
use serde_json::{Value, json};

over_every_store!(
    the_same_answer_is_taken_once_and_another_one_is_refused,
    an_answer_to_no_call_of_the_job_is_refused,
    a_call_that_waited_too_long_fails_for_the_script,
    answers_to_a_part_of_the_calls_are_kept_until_the_rest_comes,
    a_job_of_another_tenant_takes_no_answers,
    a_log_without_room_fails_the_call,
);

fn answer(call_id: &Value, result: &Value) -> Value {
    json!([{ "callId": call_id, "result": result }])
}

fn the_same_answer_is_taken_once_and_another_one_is_refused(store: &Store) {
    let service = store.serve(&[]);
    let code = "[await tools.a(1), await tools.a(2)]";
    let mut job = ToolJob::begin(&service, &request(code, &["a"]));
    let first = job.call_id(0);
    job.go_on(&answer(&first, &json!({ "x": 1, "y": [2] })));
    let second = job.call_id(0);
    assert_ne!(first, second);
    // Another spelling of the same value, after the round that took it.
    let again = job.send(
        &json!([{ "callId": first, "result": { "y": [2.0], "x": 1 } }]),
        &[],
    );
    assert_eq!(again.status, 202, "{}", again.text);
    // Nothing of a request is taken if one answer contradicts.
    let mixed = json!([
        { "callId": second, "result": 5 },
        { "callId": first, "result": "other" },
    ]);
    let refused = job.send(&mixed, &[]);
    assert_refused(&refused, 409, "already_answered", "another answer");
    assert_eq!(refused.json()["callIds"], json!([first]));
    let error = json!([{ "callId": first, "error": { "message": "no" } }]);
    assert_refused(&job.send(&error, &[]), 409, "already_answered", "an error");
    job.go_on(&answer(&second, &json!(3)));
    assert_eq!(
        job.now["execution"]["result"],
        json!([{ "x": 1, "y": [2] }, 3]),
        "{}",
        job.now
    );
    // The sender of the last answer repeats it because its connection broke.
    let again = job.send(&answer(&second, &json!(3)), &[]);
    assert_eq!(again.status, 202, "{}", again.text);
    let late = job.send(&answer(&second, &json!(4)), &[]);
    assert_refused(&late, 409, "job_already_final", "the job has ended");
    assert_eq!(late.json()["state"], "finished");
}

fn an_answer_to_no_call_of_the_job_is_refused(store: &Store) {
    let service = store.serve(&[]);
    let job = ToolJob::begin(&service, &request("await tools.a(1)", &["a"]));
    let other = ToolJob::begin(&service, &request("await tools.a(1)", &["a"]));
    for call_id in [json!("call_1"), other.call_id(0)] {
        let refused = job.send(&answer(&call_id, &json!(1)), &[]);
        assert_refused(&refused, 422, "unknown_call", "another job's call");
        assert_eq!(refused.json()["field"], "answers[0].callId");
    }
    let call_id = job.call_id(0);
    let twice = json!([{ "callId": call_id, "result": 1 }, { "callId": call_id, "result": 1 }]);
    for (answers, field) in [
        (twice, "answers[1].callId"),
        (json!([{ "callId": call_id }]), "answers[0]"),
        (json!([]), "answers"),
        (json!(1), "answers"),
        (
            json!([{ "callId": call_id, "result": "x".repeat(300_000) }]),
            "answers[0].result",
        ),
    ] {
        let refused = job.send(&answers, &[]);
        assert_refused(&refused, 400, "invalid_field", field);
        assert_eq!(refused.json()["field"], field, "{}", refused.text);
    }
    let path = format!("{}/answers", job.path());
    assert_refused(
        &service.post(&path, &json!({})),
        400,
        "invalid_field",
        "no answers",
    );
    let unknown = json!({ "answers": [], "x": 1 });
    assert_refused(&service.post(&path, &unknown), 400, "unknown_field", "x");
    assert_refused(&service.get(&path), 405, "method_not_allowed", "GET");
    let plain = service.submit(&json!({ "code": "1" }));
    let execute = service.execute(&json!({ "code": "1" }));
    let of = |id: &str| {
        service.post(
            &format!("/api/jobs/{id}/answers"),
            &json!({ "answers": answer(&call_id, &json!(1)) }),
        )
    };
    assert_refused(&of(&plain), 422, "not_answerable", "a job without tools");
    assert_refused(
        &of(execute["id"].as_str().unwrap()),
        422,
        "not_answerable",
        "no job",
    );
    let unknown = "01890000-0000-7000-8000-000000000000";
    assert_refused(&of(unknown), 404, "job_not_found", "no such job");
    assert_eq!(job.finish(echo)["execution"]["result"], 1);
}

fn a_call_that_waited_too_long_fails_for_the_script(store: &Store) {
    let service = store.serve(&[]);
    let code = "try { await tools.a(1) } catch (e) { await tools.b([e.name, e.code]) }";
    let mut asked = request(code, &["a", "b"]);
    asked["limits"]["callTimeoutMs"] = json!(1_500);
    let mut job = ToolJob::begin(&service, &asked);
    assert!(job.now["resumeAt"].is_string(), "{}", job.now);
    let late = job.call_id(0);
    crate::support::eventually(crate::support::SOON, "the call has timed out", || {
        let now = service.get(&job.path()).json();
        now["calls"][0]["name"] == "b"
    });
    job.look();
    assert_eq!(job.calls()[0]["argument"], json!(["ToolError", "timeout"]));
    let refused = job.send(&answer(&late, &json!(1)), &[]);
    assert_refused(&refused, 409, "call_timed_out", "too late");
    assert_eq!(refused.json()["callIds"], json!([late]));
    job.go_on(&answer(&job.call_id(0), &json!("told")));
    let calls = &job.now["execution"]["calls"];
    assert_eq!(
        (&calls[0]["state"], &calls[1]["state"]),
        (&json!("failed"), &json!("done"))
    );
}

fn answers_to_a_part_of_the_calls_are_kept_until_the_rest_comes(store: &Store) {
    let service = store.serve(&[]);
    let code = "(await Promise.all([1, 2, 3].map((n) => tools.a(n)))).join()";
    let mut job = ToolJob::begin(&service, &request(code, &["a"]));
    let ids: Vec<Value> = (0..3).map(|index| job.call_id(index)).collect();
    for (answered, index) in [2, 0].into_iter().enumerate() {
        job.go_on(&answer(&ids[index], &json!(index * 10)));
        assert_eq!(job.now["state"], "waiting");
        assert_eq!(job.calls().len(), 2 - answered, "{}", job.now);
    }
    job.go_on(&answer(&ids[1], &json!(10)));
    assert_eq!(job.now["execution"]["result"], "0,10,20", "{}", job.now);
}

fn a_job_of_another_tenant_takes_no_answers(store: &Store) {
    let service = store.serve(&["--client-header", "sandpiper-client"]);
    let as_tenant = |tenant: &'static str| [("sandpiper-tenant", tenant), ("prefer", "wait=30")];
    let asked = request("await tools.a(1)", &["a"]);
    let job = service
        .post_with("/api/jobs", &as_tenant("acme"), &asked)
        .json();
    let path = format!("/api/jobs/{}/answers", job["id"].as_str().unwrap());
    let body = json!({ "answers": answer(&job["calls"][0]["callId"], &json!(1)) });
    let other = service.post_with(&path, &as_tenant("other"), &body);
    assert_refused(&other, 404, "job_not_found", "another tenant's job");
    let own = service.post_with(&path, &as_tenant("acme"), &body);
    assert_eq!(own.json()["execution"]["result"], 1, "{}", own.text);
}

fn a_log_without_room_fails_the_call(store: &Store) {
    let service = store.serve(&[]);
    let code = "let failed = 0; for (let n = 0; n < 4; n++) { try { await tools.a(n) } catch (e) { failed++; console.log(e.code) } } failed";
    let mut asked = request(code, &["a"]);
    asked["limits"]["logBytes"] = json!(4_096);
    asked["limits"]["resultBytes"] = json!(2_000);
    let job = ToolJob::begin(&service, &asked);
    let ended = job.finish(|_, _| json!({ "result": "x".repeat(1_500) }));
    assert_eq!(ended["execution"]["result"], 2, "{ended}");
    assert_eq!(ended["execution"]["log"][0]["data"], json!(["log_full"]));
}

#[test]
fn a_client_with_too_many_jobs_that_wait_cannot_submit_another_and_the_others_go_on() {
    let service = Service::start_with(&["--client-waiting-max", "2"]);
    let asked = request("await tools.a(1)", &["a"]);
    let jobs: Vec<ToolJob<'_>> = (0..2).map(|_| ToolJob::begin(&service, &asked)).collect();
    let refused = service.post("/api/jobs", &asked);
    assert_refused(&refused, 429, "client_queue_full", "two jobs wait");
    assert_eq!(refused.json()["bound"], 2);
    assert!(!refused.header("retry-after").is_empty());
    let plain = service.submit(&json!({ "code": "1" }));
    assert_eq!(service.finished(&plain)["execution"]["result"], 1);
    for job in jobs {
        assert_eq!(job.finish(echo)["execution"]["result"], 1);
    }
    assert_eq!(service.post("/api/jobs", &asked).status, 202);
}
