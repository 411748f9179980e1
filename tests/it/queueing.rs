//! The order of executions: as many at a time as there are executors, two lanes that do not starve each other, clients
//! in turn.

use crate::support::{Service, eventually};
use serde_json::{Value, json};
use std::time::Duration;

const SOON: Duration = crate::support::SOON;

/// Returns a job that holds an executor until it is cancelled.
fn endless() -> Value {
    json!({ "code": "for (;;);", "limits": { "timeoutMs": 30_000 } })
}

/// Returns a job that runs long enough for the order of starts to show in whole milliseconds.
fn short() -> Value {
    json!({ "code": "const end = Date.now() + 20; while (Date.now() < end);" })
}

fn cancel(service: &Service, id: &str) {
    assert_eq!(service.delete(&format!("/api/jobs/{id}")).status, 200);
}

fn job(service: &Service, id: &str) -> Value {
    service.get(&format!("/api/jobs/{id}")).json()
}

fn time(job: &Value, field: &str) -> String {
    job[field].as_str().unwrap().to_owned()
}

/// Returns a service with one executor, and a job that holds it until it is cancelled.
fn service_that_is_held(options: &[&str]) -> (Service, String) {
    let service = Service::start_with(&[&["--executors", "1"], options].concat());
    let holder = service.submit(&endless());
    eventually(SOON, "the holder runs", || {
        job(&service, &holder)["state"] == "running"
    });
    (service, holder)
}

fn queued(service: &Service, lane: &str) -> u64 {
    let ready = service.get("/api/health/ready").json();
    ready["queue"][lane].as_u64().unwrap()
}

#[test]
fn never_more_run_at_one_time_than_there_are_executors_and_no_fewer_while_some_wait() {
    let service = Service::start();
    let ids: Vec<String> = (0..12).map(|_| service.submit(&short())).collect();
    // +1 at a start, -1 at an end; an end precedes a start of the same millisecond.
    let mut changes = Vec::new();
    for id in &ids {
        let job = service.finished(id);
        changes.push((time(&job, "startedAt"), 1));
        changes.push((time(&job, "finishedAt"), -1));
    }
    changes.sort();
    let (mut running, mut most) = (0, 0);
    for (_, change) in changes {
        running += change;
        most = most.max(running);
    }
    assert_eq!((running, most), (0, 2));
}

#[test]
fn a_queued_job_shows_its_position_and_moves_up() {
    let (service, holder) = service_that_is_held(&[]);
    let ids: Vec<String> = (0..3).map(|_| service.submit(&short())).collect();
    let places = |ids: &[String]| -> Vec<Value> {
        let jobs = ids.iter().map(|id| job(&service, id));
        jobs.map(|job| job["queuePosition"].clone()).collect()
    };
    assert_eq!(places(&ids), [json!(1), json!(2), json!(3)]);
    let tag = service
        .get(&format!("/api/jobs/{}", ids[2]))
        .header("etag")
        .to_owned();
    cancel(&service, &ids[0]);
    assert_eq!(places(&ids[1..]), [json!(1), json!(2)]);
    // The position is part of the view, so the tag has changed with it.
    let again = service.get_with(&format!("/api/jobs/{}", ids[2]), &[("if-none-match", &tag)]);
    assert_eq!(again.status, 200);
    cancel(&service, &holder);
    let done = service.finished(&ids[2]);
    assert!(done.get("queuePosition").is_none(), "{done}");
}

#[test]
fn background_jobs_do_not_delay_interactive_ones() {
    let service = Service::start_with(&["--executors", "1"]);
    let slow = json!({ "code": "const end = Date.now() + 200; while (Date.now() < end);" });
    let ids: Vec<String> = (0..20).map(|_| service.submit(&slow)).collect();
    assert_eq!(service.result("1 + 2"), 3);
    let waiting = ids
        .iter()
        .filter(|id| job(&service, id)["state"] == "queued");
    assert!(waiting.count() >= 10);
}

#[test]
fn interactive_jobs_do_not_starve_background_ones() {
    let (service, holder) = service_that_is_held(&["--interactive-weight", "4"]);
    let background = service.submit(&short());
    let started: Vec<String> = std::thread::scope(|scope| {
        let flood: Vec<_> = (0..12)
            .map(|_| scope.spawn(|| service.execute(&short())))
            .collect();
        eventually(SOON, "all of them wait", || {
            queued(&service, "interactive") == 12
        });
        cancel(&service, &holder);
        let answers = flood.into_iter().map(|one| one.join().unwrap());
        answers
            .map(|answer| time(&job(&service, answer["id"].as_str().unwrap()), "startedAt"))
            .collect()
    });
    let background = time(&service.finished(&background), "startedAt");
    let before = started.iter().filter(|one| **one < background).count();
    assert!(before <= 4, "{before} interactive jobs went first");
}

#[test]
fn a_client_with_one_job_does_not_wait_for_another_with_many() {
    let (service, holder) = service_that_is_held(&["--client-header", "x-client"]);
    let submit_as = |client: &str| {
        let answer = service.post_with("/api/jobs", &[("x-client", client)], &short());
        answer.json()["id"].as_str().unwrap().to_owned()
    };
    let many: Vec<String> = (0..10).map(|_| submit_as("many")).collect();
    let one = submit_as("one");
    assert_eq!(job(&service, &one)["queuePosition"], 2);
    assert_eq!(job(&service, &many[1])["queuePosition"], 3);
    cancel(&service, &holder);
    let started = time(&service.finished(&one), "startedAt");
    let before = many
        .iter()
        .map(|id| time(&service.finished(id), "startedAt"))
        .filter(|other| *other < started);
    assert_eq!(before.count(), 1);
}

#[test]
fn a_client_header_that_is_not_configured_is_ignored() {
    let (service, _holder) = service_that_is_held(&[]);
    let submit_as = |client: &str| {
        let answer = service.post_with("/api/jobs", &[("x-client", client)], &short());
        answer.json()["id"].as_str().unwrap().to_owned()
    };
    submit_as("a");
    submit_as("a");
    let last = submit_as("b");
    assert_eq!(job(&service, &last)["queuePosition"], 3);
}
