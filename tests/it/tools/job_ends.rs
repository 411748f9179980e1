//! The ends of jobs with tools: each has its receipt.

use super::jobs::ToolJob;
use super::{echo, request};
use crate::stores::{Store, over_every_store};
use crate::support::{SOON, assert_refused, eventually};
use serde_json::{Value, json};

over_every_store!(
    every_end_has_a_receipt_and_the_log_of_all_rounds,
    a_job_that_waits_is_cancelled_with_its_receipt,
    calls_that_nobody_awaited_are_offered_before_the_job_ends,
    a_job_that_waits_too_long_is_timed_out,
    a_purged_job_leaves_nothing,
);

fn every_end_has_a_receipt_and_the_log_of_all_rounds(store: &Store) {
    let service = store.serve(&[]);
    for (last, outcome) in [
        ("n", "succeeded"),
        ("tools.b(1); throw new Error('stop')", "threw"),
        ("for (;;);", "timed_out"),
        ("'x'.repeat(3e6)", "output_exceeded"),
        ("(function f() { f() })()", "stack_exceeded"),
    ] {
        let code = format!(
            "console.log('first'); const n = await tools.a(7); console.log('second'); {last}"
        );
        let mut asked = request(&code, &["a", "b"]);
        if outcome == "timed_out" {
            asked["limits"]["timeoutMs"] = json!(500);
        }
        let ended = ToolJob::begin(&service, &asked).finish(echo);
        let execution = &ended["execution"];
        assert_eq!(ended["state"], "finished", "{ended}");
        assert_eq!(execution["outcome"], outcome, "{ended}");
        let calls = execution["calls"].as_array().unwrap();
        if outcome != "timed_out" {
            assert_eq!(calls[0]["state"], "done", "{ended}");
        }
        assert_eq!(calls[0]["argument"], 7);
        let is_thrown = outcome == "threw";
        assert_eq!(calls.len(), 1 + usize::from(is_thrown));
        if is_thrown {
            assert_eq!(calls[1]["state"], "not_sent");
        }
        assert_eq!(execution["log"][0]["data"], json!(["first"]), "{ended}");
        assert_eq!(execution["usage"]["rounds"], 2);
        assert!(execution["usage"]["waitedMs"].is_u64());
    }
}

fn a_job_that_waits_is_cancelled_with_its_receipt(store: &Store) {
    let service = store.serve(&[]);
    let code = "console.log('begun'); await tools.a(1); await tools.b(2)";
    let mut job = ToolJob::begin(&service, &request(code, &["a", "b"]));
    let first = job.call_id(0);
    job.go_on(&json!([{ "callId": first, "result": null }]));
    let second = job.call_id(0);
    let cancelled = service.delete(&job.path());
    assert_eq!(cancelled.status, 200, "{}", cancelled.text);
    for shown in [cancelled.json(), service.get(&job.path()).json()] {
        assert_eq!(shown["state"], "cancelled", "{shown}");
        let execution = &shown["execution"];
        assert_eq!(execution["outcome"], "cancelled");
        assert_eq!(execution["log"][0]["data"], json!(["begun"]));
        assert_eq!(execution["calls"][0]["state"], "done");
        assert_eq!(execution["calls"][1]["state"], "abandoned");
        assert_eq!(execution["usage"]["rounds"], 2);
    }
    let late = job.send(&json!([{ "callId": second, "result": 1 }]), &[]);
    assert_refused(&late, 409, "job_already_final", "the job is cancelled");
    let again = service.delete(&job.path());
    assert_refused(&again, 409, "job_already_final", "cancelled before");
}

fn calls_that_nobody_awaited_are_offered_before_the_job_ends(store: &Store) {
    let service = store.serve(&[]);
    let code = "tools.note('x'); tools.note('y'); console.log('once'); 'done'";
    let mut job = ToolJob::begin(&service, &request(code, &["note"]));
    assert_eq!(job.now["state"], "waiting", "{}", job.now);
    let ids = [job.call_id(0), job.call_id(1)];
    job.go_on(&json!([{ "callId": ids[1], "error": { "message": "no" } }]));
    assert_eq!(job.calls().len(), 1, "{}", job.now);
    job.go_on(&json!([{ "callId": ids[0], "result": 1 }]));
    let execution = &job.now["execution"];
    assert_eq!(execution["result"], "done", "{}", job.now);
    let states: Vec<&Value> = (execution["calls"].as_array().unwrap().iter())
        .map(|call| &call["state"])
        .collect();
    assert_eq!(states, ["done", "failed"]);
    assert_eq!(execution["log"].as_array().unwrap().len(), 1);
    let mut asked = request(code, &["note"]);
    for (unawaited, outcome, state) in [
        ("drop", "succeeded", "not_sent"),
        ("fail", "threw", "not_sent"),
    ] {
        asked["unawaited"] = json!(unawaited);
        let ended = ToolJob::begin(&service, &asked).now;
        assert_eq!(ended["execution"]["outcome"], outcome, "{ended}");
        assert_eq!(ended["execution"]["calls"][0]["state"], state);
    }
}

fn a_job_that_waits_too_long_is_timed_out(store: &Store) {
    let service = store.serve(&[]);
    let mut asked = request("await tools.a(1)", &["a"]);
    asked["limits"]["waitTimeoutS"] = json!(1);
    let job = ToolJob::begin(&service, &asked);
    let state = || service.get(&job.path()).json()["state"].clone();
    eventually(SOON, "the job has ended", || state() == "finished");
    let ended = service.get(&job.path()).json();
    let execution = &ended["execution"];
    assert_eq!(execution["outcome"], "timed_out", "{ended}");
    assert_eq!(execution["limitHit"], "waitTimeoutS");
    assert_eq!(execution["error"]["name"], "WaitLimitError");
    assert_eq!(execution["calls"][0]["state"], "abandoned");
}

fn a_purged_job_leaves_nothing(store: &Store) {
    let service = store.serve(&[]);
    let job = ToolJob::begin(&service, &request("await tools.a(1)", &["a"]));
    let purged = service.delete(&format!("{}?purge", job.path()));
    assert_eq!(purged.status, 200, "{}", purged.text);
    let answers = json!([{ "callId": job.call_id(0), "result": 1 }]);
    let status = job.send(&answers, &[]).status;
    assert!(status == 404 || status == 410, "{status}");
}
