//! `/api/jobs`: submit, get, list and cancel. Every kind of store must keep each promise.

use crate::raw::post;
use crate::stores::{Store, over_every_store};
use crate::support::{Answer, Service, eventually};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const SOON: Duration = crate::support::SOON;
const UNKNOWN: &str = "/api/jobs/01890a5d-ac96-774b-bcce-b302099a8057";

over_every_store!(
    a_job_is_accepted_with_202_a_location_and_a_retry_after,
    a_job_is_polled_until_it_is_final,
    a_script_that_fails_makes_a_finished_job,
    a_submitter_that_prefers_to_wait_gets_the_result_at_once,
    a_wait_that_is_over_first_gets_the_job_as_it_stands,
    a_long_poll_is_answered_the_moment_the_job_ends,
    what_is_no_wait_is_ignored,
    a_job_that_has_not_changed_is_not_sent_again,
    the_list_is_newest_first_and_says_how_each_ended_but_not_what_it_said,
    pages_follow_each_other_without_a_gap_or_a_double,
    the_list_can_be_held_to_one_state,
    a_queued_job_that_is_cancelled_never_runs,
    a_running_job_that_is_cancelled_stops_at_once_and_its_waiting_client_gets_a_response,
    what_a_job_has_logged_is_read_while_it_runs,
    the_log_of_a_cancelled_job_is_retained,
    a_final_job_cannot_be_cancelled,
    an_unknown_job_is_a_404_to_look_at_and_to_cancel,
    an_expired_job_is_reported_as_expired,
    a_submitter_that_hangs_up_does_not_take_its_job_along,
);

fn path_of(id: &str) -> String {
    format!("/api/jobs/{id}")
}

fn endless() -> Value {
    json!({ "code": "console.log('begun'); for (;;);", "limits": { "timeoutMs": 30_000 } })
}

fn job(service: &Service, id: &str) -> Value {
    service.get(&path_of(id)).json()
}

fn wait_until_running(service: &Service, id: &str) {
    eventually(SOON, "the job runs", || {
        job(service, id)["state"] == "running"
    });
}

fn ids_of(page: &Answer) -> Vec<String> {
    let page = page.json();
    let jobs = page["jobs"].as_array().unwrap().iter();
    jobs.map(|job| job["id"].as_str().unwrap().to_owned())
        .collect()
}

fn a_job_is_accepted_with_202_a_location_and_a_retry_after(store: &Store) {
    let service = store.serve(&["--executors", "1"]);
    let answer = service.post("/api/jobs", &endless());
    assert_eq!(answer.status, 202);
    let job = answer.json();
    let id = job["id"].as_str().unwrap();
    assert_eq!(answer.header("location"), path_of(id));
    assert_eq!(answer.header("retry-after"), "1");
    assert_eq!(job["state"], "queued");
    assert_eq!(job["attempt"], 0);
    assert!(job["createdAt"].is_string());
    for field in ["startedAt", "finishedAt", "expiresAt"] {
        assert_eq!(job[field], Value::Null);
    }
    assert!(job.get("execution").is_none());
}

fn a_job_is_polled_until_it_is_final(store: &Store) {
    let service = store.serve(&[]);
    let request = json!({ "code": "console.log('a'); input * 2", "input": 21 });
    let id = service.submit(&request);
    eventually(SOON, "the job is final", || {
        let answer = service.get(&path_of(&id));
        let is_final = answer.json()["state"] == "finished";
        // A polling client gets a `Retry-After` while the job runs, and none once it has ended.
        assert_eq!(answer.header("retry-after").is_empty(), is_final);
        is_final
    });
    let job = job(&service, &id);
    assert_eq!(job["attempt"], 1);
    assert_eq!(job["execution"]["id"], job["id"]);
    assert_eq!(job["execution"]["result"], 42);
    assert_eq!(job["execution"]["log"][0]["data"], json!(["a"]));
    let time = |field: &str| job[field].as_str().unwrap().to_owned();
    assert!(time("createdAt") <= time("startedAt"));
    assert!(time("startedAt") <= time("finishedAt"));
    assert!(time("finishedAt") < time("expiresAt"));
}

fn a_script_that_fails_makes_a_finished_job(store: &Store) {
    let service = store.serve(&[]);
    let job = service.finished(&service.submit(&json!({ "code": "throw new RangeError('no')" })));
    assert_eq!(job["state"], "finished");
    assert_eq!(job["attempt"], 1);
    assert_eq!(job["execution"]["outcome"], "threw");
    assert_eq!(job["execution"]["error"]["name"], "RangeError");
}

fn a_submitter_that_prefers_to_wait_gets_the_result_at_once(store: &Store) {
    let service = store.serve(&[]);
    let answer = service.post_with(
        "/api/jobs",
        &[("prefer", "wait=30")],
        &json!({ "code": "7" }),
    );
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.header("preference-applied"), "wait=30");
    assert_eq!(answer.header("vary"), "Prefer");
    assert_eq!(answer.header("retry-after"), "");
    assert_eq!(answer.json()["execution"]["result"], 7);
    let id = answer.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(answer.header("location"), path_of(&id));
}

fn a_wait_that_is_over_first_gets_the_job_as_it_stands(store: &Store) {
    let service = store.serve(&["--wait-max-s", "1"]);
    // A wait above the maximum is reduced to the maximum, and the response says so.
    let start = Instant::now();
    let answer = service.post_with("/api/jobs", &[("prefer", "wait=50")], &endless());
    assert_eq!(answer.status, 202, "{}", answer.text);
    assert_eq!(answer.header("preference-applied"), "wait=1");
    assert_eq!(answer.header("retry-after"), "1");
    assert_eq!(answer.json()["state"], "running");
    let id = answer.json()["id"].as_str().unwrap().to_owned();
    let answer = service.get_with(&path_of(&id), &[("prefer", "wait=1")]);
    assert_eq!(
        (answer.status, &answer.json()["state"]),
        (200, &json!("running"))
    );
    // Twice one second, and not the 50 that the request asks for.
    assert!((2.0..40.0).contains(&start.elapsed().as_secs_f64()));
}

fn a_long_poll_is_answered_the_moment_the_job_ends(store: &Store) {
    let service = store.serve(&[]);
    let id =
        service.submit(&json!({ "code": "await new Promise(done => setTimeout(done, 300)); 1" }));
    let start = Instant::now();
    let answer = service.get_with(&path_of(&id), &[("prefer", "respond-async, wait=25")]);
    assert_eq!(answer.header("preference-applied"), "wait=25");
    assert_eq!(answer.json()["state"], "finished");
    // The response does not wait for all of its 25 seconds.
    assert!(start.elapsed() < Duration::from_secs(20));
}

fn what_is_no_wait_is_ignored(store: &Store) {
    let service = store.serve(&[]);
    let id = service.submit(&endless());
    for prefer in ["wait", "wait=soon", "wait=-1", "return=minimal"] {
        let answer = service.get_with(&path_of(&id), &[("prefer", prefer)]);
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("preference-applied"), "", "{prefer}");
    }
}

fn a_job_that_has_not_changed_is_not_sent_again(store: &Store) {
    let service = store.serve(&[]);
    let id = service.submit(&endless());
    eventually(SOON, "it has logged", || {
        job(&service, &id)["log"][0]["data"] == json!(["begun"])
    });
    let first = service.get(&path_of(&id));
    let tag = first.header("etag");
    let again = service.get_with(&path_of(&id), &[("if-none-match", tag)]);
    assert_eq!((again.status, again.text.as_str()), (304, ""));
    assert_eq!(again.header("etag"), tag);

    service.delete(&path_of(&id));
    let changed = service.get_with(&path_of(&id), &[("if-none-match", tag)]);
    assert_eq!(changed.status, 200);
    assert_ne!(changed.header("etag"), tag);
    assert_eq!(changed.json()["state"], "cancelled");
}

fn the_list_is_newest_first_and_says_how_each_ended_but_not_what_it_said(store: &Store) {
    let service = store.serve(&[]);
    let mut ids: Vec<String> = (0..3)
        .map(|n| service.submit(&json!({ "code": format!("console.log('x'); {n}") })))
        .collect();
    for id in &ids {
        service.finished(id);
    }
    let page = service.get("/api/jobs");
    ids.reverse();
    assert_eq!(ids_of(&page), ids);
    assert_eq!(page.json()["nextCursor"], Value::Null);
    let newest = &page.json()["jobs"][0];
    assert_eq!(
        (&newest["state"], &newest["outcome"]),
        (&json!("finished"), &json!("succeeded"))
    );
    assert!(newest.get("execution").is_none());
}

fn pages_follow_each_other_without_a_gap_or_a_double(store: &Store) {
    let service = store.serve(&[]);
    let mut ids: Vec<String> = (0..7)
        .map(|_| service.submit(&json!({ "code": "1" })))
        .collect();
    ids.reverse();
    let mut seen = Vec::new();
    let mut path = "/api/jobs?limit=3".to_owned();
    let mut pages = 0;
    loop {
        let page = service.get(&path);
        pages += 1;
        seen.extend(ids_of(&page));
        // Jobs that are submitted meanwhile are newer than the cursor, and shift nothing.
        service.submit(&json!({ "code": "2" }));
        let Some(cursor) = page.json()["nextCursor"].as_str().map(str::to_owned) else {
            break;
        };
        path = format!("/api/jobs?limit=3&cursor={cursor}");
    }
    assert_eq!((seen, pages), (ids, 3));
}

fn the_list_can_be_held_to_one_state(store: &Store) {
    let service = store.serve(&["--executors", "1"]);
    let done = service.submit(&json!({ "code": "1" }));
    service.finished(&done);
    let running = service.submit(&endless());
    wait_until_running(&service, &running);
    let queued: Vec<String> = (0..2).map(|_| service.submit(&endless())).collect();
    let cancelled = service.submit(&endless());
    service.delete(&path_of(&cancelled));
    for (state, expected) in [
        ("finished", vec![done]),
        ("running", vec![running]),
        ("queued", queued.into_iter().rev().collect()),
        ("cancelled", vec![cancelled]),
        ("lost", vec![]),
    ] {
        let page = service.get(&format!("/api/jobs?state={state}"));
        assert_eq!(ids_of(&page), expected, "{state}");
    }
}

fn a_queued_job_that_is_cancelled_never_runs(store: &Store) {
    let service = store.serve(&["--executors", "1"]);
    let running = service.submit(&endless());
    wait_until_running(&service, &running);
    let queued = service.submit(&json!({ "code": "1" }));
    let answer = service.delete(&path_of(&queued));
    assert_eq!(
        (answer.status, &answer.json()["state"]),
        (200, &json!("cancelled"))
    );
    service.delete(&path_of(&running));
    assert_eq!(service.result("1 + 2"), 3);
    let job = job(&service, &queued);
    assert_eq!(job["state"], "cancelled");
    assert_eq!(
        (&job["startedAt"], &job["attempt"]),
        (&Value::Null, &json!(0))
    );
    assert!(job.get("execution").is_none());
}

fn a_running_job_that_is_cancelled_stops_at_once_and_its_waiting_client_gets_a_response(
    store: &Store,
) {
    let service = store.serve(&["--executors", "1"]);
    let id = service.submit(&endless());
    wait_until_running(&service, &id);
    let start = Instant::now();
    let answer = std::thread::scope(|scope| {
        let poll = scope.spawn(|| service.finished(&id));
        let answer = service.delete(&path_of(&id));
        assert_eq!(poll.join().unwrap()["state"], "cancelled");
        answer
    });
    // Long before the loop's own limit of 30 seconds.
    assert!(start.elapsed() < Duration::from_secs(20));
    assert_eq!(answer.status, 200);
    let job = answer.json();
    assert_eq!(job["state"], "cancelled");
    assert_eq!(job["execution"]["outcome"], "cancelled");
    assert_eq!(job["execution"]["status"], "error");
    assert_eq!(service.result("1 + 2"), 3);
}

fn what_a_job_has_logged_is_read_while_it_runs(store: &Store) {
    let service = store.serve(&["--executors", "1"]);
    let id = service.submit(&json!({
        "code": "console.log('first', 1); console.warn('then'); for (;;);",
        "limits": { "timeoutMs": 30_000 },
    }));
    eventually(SOON, "its log is there", || {
        job(&service, &id)["log"].as_array().map(Vec::len) == Some(2)
    });
    let now = service.get(&path_of(&id));
    let running = now.json();
    assert_eq!(running["state"], "running");
    assert_eq!(running["log"][0]["data"], json!(["first", 1]));
    assert_eq!(running["log"][1]["type"], "warn");
    assert_eq!(running["logDropped"], 0);
    let ended = service.delete(&path_of(&id)).json();
    assert!(ended.get("log").is_none(), "{ended}");
    assert_eq!(ended["execution"]["log"], running["log"]);

    // A long log has its head and its tail.
    let id = service.submit(&json!({
        "code": "for (let n = 0; n < 500; n += 1) console.log(n); for (;;);",
        "limits": { "timeoutMs": 30_000, "outputBytes": 10_000 },
    }));
    eventually(SOON, "the last of it is there", || {
        let log = job(&service, &id)["log"].clone();
        log.as_array()
            .is_some_and(|log| log.last().is_some_and(|last| last["data"] == json!([499])))
    });
    let running = job(&service, &id);
    let kept = running["log"].as_array().unwrap();
    assert_eq!(kept[0]["data"], json!([0]));
    assert_eq!(running["logDropped"], 500 - kept.len());
}

fn the_log_of_a_cancelled_job_is_retained(store: &Store) {
    let service = store.serve(&["--executors", "1"]);
    let id = service.submit(&endless());
    eventually(SOON, "it has logged", || {
        job(&service, &id)["log"][0]["data"] == json!(["begun"])
    });
    let job = service.delete(&path_of(&id)).json();
    assert_eq!(job["execution"]["log"][0]["data"], json!(["begun"]));
}

#[test]
fn a_cancel_that_prefers_a_minimal_response_gets_no_execution() {
    let service = Service::start();
    let id = service.submit(&endless());
    eventually(SOON, "it runs", || job(&service, &id)["state"] == "running");
    let answer = service.delete_with(&path_of(&id), &[("prefer", "return=minimal")]);
    assert_eq!(answer.header("preference-applied"), "return=minimal");
    let cancelled = answer.json();
    assert_eq!(cancelled["state"], "cancelled");
    assert!(cancelled.get("execution").is_none(), "{cancelled}");
    assert_eq!(job(&service, &id)["execution"]["outcome"], "cancelled");
}

fn a_final_job_cannot_be_cancelled(store: &Store) {
    let service = store.serve(&[]);
    let id = service.submit(&json!({ "code": "1" }));
    service.finished(&id);
    let refused = service.delete(&path_of(&id));
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (409, "job_already_final")
    );
    assert_eq!(refused.json()["state"], "finished");
    let executed = service.run("1")["id"].as_str().unwrap().to_owned();
    assert_eq!(
        service.delete(&path_of(&executed)).code(),
        "job_already_final"
    );

    let cancelled = service.submit(&endless());
    assert_eq!(service.delete(&path_of(&cancelled)).status, 200);
    let twice = service.delete(&path_of(&cancelled));
    assert_eq!(
        (twice.status, &twice.json()["state"]),
        (409, &json!("cancelled"))
    );
}

fn an_unknown_job_is_a_404_to_look_at_and_to_cancel(store: &Store) {
    let service = store.serve(&[]);
    for path in [UNKNOWN, "/api/jobs/1", "/api/jobs/not-a-uuid"] {
        for answer in [service.get(path), service.delete(path)] {
            assert_eq!(
                (answer.status, answer.code().as_str()),
                (404, "job_not_found"),
                "{path}"
            );
        }
    }
    // The request does not wait either.
    let start = Instant::now();
    assert_eq!(
        service.get_with(UNKNOWN, &[("prefer", "wait=30")]).status,
        404
    );
    assert!(start.elapsed() < Duration::from_secs(20));
}

fn an_expired_job_is_reported_as_expired(store: &Store) {
    let service = store.serve(&["--result-ttl-s", "3"]);
    let id = service.submit(&json!({ "code": "1" }));
    assert_eq!(service.finished(&id)["state"], "finished");
    eventually(SOON, "the job expires", || {
        service.get(&path_of(&id)).status == 410
    });
    assert_eq!(service.get(&path_of(&id)).code(), "job_expired");
    assert_eq!(service.delete(&path_of(&id)).code(), "job_expired");
    assert_eq!(ids_of(&service.get("/api/jobs")), Vec::<String>::new());
}

fn a_submitter_that_hangs_up_does_not_take_its_job_along(store: &Store) {
    let service = store.serve(&[]);
    let body = json!({ "code": "await new Promise(done => setTimeout(done, 500)); 'done'" });
    let waiting = post(
        "/api/jobs",
        &[("prefer", "wait=30")],
        body.to_string().as_bytes(),
    );
    let connection = service.send_raw(&waiting);
    eventually(SOON, "the job is accepted", || {
        ids_of(&service.get("/api/jobs")).len() == 1
    });
    drop(connection);
    let id = &ids_of(&service.get("/api/jobs"))[0];
    assert_eq!(service.finished(id)["execution"]["result"], "done");
}
