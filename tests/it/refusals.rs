//! Rejected requests: each with its code and its `Retry-After`, and room again afterwards.

use crate::raw::answer_on;
use crate::support::{Answer, Service, assert_refused, assert_serves, eventually};
use serde_json::{Value, json};
use std::iter;
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

const SOON: Duration = crate::support::SOON;

fn endless() -> Value {
    json!({ "code": "for (;;);", "limits": { "timeoutMs": 30_000 } })
}

fn ready(service: &Service) -> Value {
    service.get("/api/health/ready").json()
}

/// Returns a service with one executor, and the connection that holds it until it is dropped.
fn service_that_is_held(options: &[&str]) -> (Service, TcpStream) {
    let service = Service::start_with(&[&["--executors", "1"], options].concat());
    let holder = service.begin_execute(&endless());
    eventually(SOON, "the holder runs", || {
        ready(&service)["executors"]["busy"] == 1
    });
    (service, holder)
}

/// Checks that a response rejects for now, and says when to retry.
fn assert_put_off(answer: &Answer, status: u16, code: &str) {
    assert_refused(answer, status, code, "for now");
    let seconds: u64 = answer.header("retry-after").parse().unwrap();
    assert!((1..=900).contains(&seconds), "{seconds}");
}

#[test]
fn a_full_interactive_lane_refuses_and_takes_again() {
    let (service, holder) = service_that_is_held(&["--queue-interactive", "1"]);
    let waiting = service.begin_execute(&json!({ "code": "'waited'" }));
    eventually(SOON, "one waits", || {
        ready(&service)["queue"]["interactive"] == 1
    });
    assert_put_off(
        &service.post("/api/execute", &json!({ "code": "1" })),
        503,
        "queue_full",
    );
    // The other lane has room of its own.
    let id = service.submit(&json!({ "code": "2" }));
    drop(holder);
    // The waiting request was not affected.
    assert_eq!(answer_on(waiting).unwrap().json()["result"], "waited");
    assert_eq!(service.finished(&id)["execution"]["result"], 2);
    assert_serves(&service);
}

#[test]
fn a_full_background_lane_refuses_and_takes_again() {
    let (service, holder) = service_that_is_held(&["--queue-background", "2"]);
    let ids = [1, 2].map(|n| service.submit(&json!({ "code": n.to_string() })));
    assert_put_off(
        &service.post("/api/jobs", &json!({ "code": "3" })),
        503,
        "queue_full",
    );
    // The rejected requests left nothing behind.
    assert_eq!(
        service.get("/api/jobs").json()["jobs"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    // A place that a cancelled job frees is free at once.
    assert_eq!(service.delete(&format!("/api/jobs/{}", ids[0])).status, 200);
    let third = service.submit(&json!({ "code": "3" }));
    drop(holder);
    assert_eq!(service.finished(&third)["execution"]["result"], 3);
}

#[test]
fn a_queue_that_is_full_in_bytes_refuses_in_both_lanes() {
    // Room for one job in the background's three quarters, and not for a second one in the whole queue.
    let options = ["--queue-bytes", "1200KiB", "--body-bytes", "900KiB"];
    let (service, holder) = service_that_is_held(&options);
    let large = json!({ "code": format!("/*{}*/ 1", "x".repeat(880_000)) });
    let id = service.submit(&large);
    assert_put_off(&service.post("/api/jobs", &large), 503, "queue_full");
    assert_put_off(&service.post("/api/execute", &large), 503, "queue_full");
    let small = service.submit(&json!({ "code": "1" }));
    drop(holder);
    service.finished(&id);
    service.finished(&small);
    assert_eq!(service.execute(&large)["result"], 1);
}

#[test]
fn a_store_that_is_full_of_jobs_refuses_until_one_expires() {
    let service = Service::start_with(&["--store-jobs-max", "2", "--result-ttl-s", "4"]);
    for _ in 0..2 {
        service.finished(&service.submit(&json!({ "code": "1" })));
    }
    let refused = service.post("/api/jobs", &json!({ "code": "1" }));
    assert_put_off(&refused, 503, "store_full");
    assert!(refused.header("retry-after").parse::<u64>().unwrap() <= 4);
    // Requests that need no store are not affected.
    assert_serves(&service);
    eventually(SOON, "a job is taken again", || {
        service.post("/api/jobs", &json!({ "code": "1" })).status == 202
    });
}

#[test]
fn a_store_that_is_full_of_bytes_refuses_and_keeps_what_it_has() {
    let service = Service::start_with(&["--store-bytes", "1MiB"]);
    let large = json!({ "code": "'x'.repeat(600_000)" });
    let kept = service.submit(&large);
    let kept_result = service.finished(&kept)["execution"]["result"].clone();
    // Results count as well as scripts: the second job fits only while it has not run.
    service.finished(&service.submit(&large));
    assert_put_off(
        &service.post("/api/jobs", &json!({ "code": "1" })),
        503,
        "store_full",
    );
    assert_eq!(service.finished(&kept)["execution"]["result"], kept_result);
}

#[test]
fn a_client_that_waited_too_long_for_an_executor_learns_that_nothing_ran() {
    let (service, holder) = service_that_is_held(&["--queue-wait-ms", "100"]);
    assert_put_off(
        &service.post("/api/execute", &json!({ "code": "1" })),
        504,
        "queue_wait_exceeded",
    );
    eventually(SOON, "the queue is empty", || {
        ready(&service)["queue"]["interactive"] == 0
    });
    // No client waits for a background job, so it may wait longer.
    let id = service.submit(&json!({ "code": "2" }));
    assert_eq!(
        service.post("/api/execute", &json!({ "code": "1" })).status,
        504
    );
    drop(holder);
    assert_eq!(service.finished(&id)["execution"]["result"], 2);
}

#[test]
fn a_service_that_is_stopping_takes_no_new_work() {
    let (service, _holder) = service_that_is_held(&[]);
    service.signal(libc::SIGTERM);
    eventually(SOON, "it drains", || {
        service.get("/api/health/ready").status == 503
    });
    for path in ["/api/execute", "/api/jobs"] {
        assert_put_off(
            &service.post(path, &json!({ "code": "1" })),
            503,
            "draining",
        );
    }
    assert_put_off(&service.get("/api/netcheck"), 503, "draining");
    assert_eq!(service.get("/api/health/live").status, 200);
}

#[test]
fn refusals_come_at_once_while_every_executor_spins() {
    let (service, _holder) = service_that_is_held(&["--queue-background", "1"]);
    let waiting = service.submit(&endless());
    for _ in 0..100 {
        assert_put_off(&service.post("/api/jobs", &endless()), 503, "queue_full");
    }
    // All of them came before the executor was free.
    let waiting = service.get(&format!("/api/jobs/{waiting}")).json();
    assert_eq!(waiting["state"], "queued");
}

#[test]
fn results_that_fill_the_store_hold_jobs_back_and_lose_none() {
    let service = Service::start_with(&["--store-bytes", "1MiB", "--result-ttl-s", "3"]);
    let submitted = Instant::now();
    // If jobs run faster than they come, the store is full for one of the last.
    let accepted = || {
        let answer = service.post("/api/jobs", &json!({ "code": "'x'.repeat(400_000)" }));
        if answer.status == 202 {
            return Some(answer.json()["id"].as_str().unwrap().to_owned());
        }
        assert_refused(&answer, 503, "store_full", "no room");
        thread::sleep(Duration::from_millis(20));
        None
    };
    let ids: Vec<String> = (0..8)
        .map(|_| iter::repeat_with(accepted).flatten().next().unwrap())
        .collect();
    // Three or four results fill the store; the others wait until those have expired.
    let last = service.finished(&ids[7]);
    assert_eq!(last["execution"]["outcome"], "succeeded");
    let waited = submitted.elapsed();
    assert!(
        waited >= Duration::from_secs(3),
        "the last ran after {waited:?}"
    );
    for id in &ids {
        let status = service.get(&format!("/api/jobs/{id}")).status;
        assert!(matches!(status, 200 | 410), "{status}");
    }
}
