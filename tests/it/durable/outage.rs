//! The database becomes unavailable, and returns.

use super::endless;
use crate::stores::Postgres;
use crate::support::{Service, assert_refused, eventually};
use serde_json::json;
use std::time::{Duration, Instant};

const SOON: Duration = crate::support::SOON;

#[test]
fn without_its_database_the_service_refuses_jobs_honestly_runs_scripts_and_loses_nothing() {
    let mut postgres = Postgres::start();
    let service = Service::start_with(&["--store", &postgres.url(), "--executors", "2"]);
    let before = service.submit(&json!({ "code": "1" }));
    service.finished(&before);
    let running = service.submit(&json!({
        "code": "const until = Date.now() + 3000; while (Date.now() < until); 'ended meanwhile'",
        "limits": { "timeoutMs": 20_000 },
    }));
    eventually(SOON, "it runs", || service.state(&running) == "running");
    postgres.down();
    let start = Instant::now();
    for answer in [
        service.post("/api/jobs", &json!({ "code": "1" })),
        service.get(&format!("/api/jobs/{before}")),
        service.get("/api/jobs"),
        service.delete(&format!("/api/jobs/{before}")),
    ] {
        assert_refused(&answer, 503, "store_unavailable", "without a database");
        assert!(!answer.header("retry-after").is_empty());
    }
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
    assert_eq!(service.metric("store_up"), Some(0.0));
    assert!(service.metric("store_failures_total").unwrap() >= 1.0);
    let start = Instant::now();
    // A request that waited for the database would take as long as each rejection above.
    for _ in 0..100 {
        assert_eq!(service.result("1 + 2"), 3);
    }
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
    // The job ends while its result cannot be stored.
    std::thread::sleep(Duration::from_secs(3));
    postgres.up();
    eventually(SOON, "it answers again", || {
        service.get(&format!("/api/jobs/{before}")).status == 200
    });
    let job = service.finished(&running);
    assert_eq!(job["execution"]["result"], "ended meanwhile", "{job}");
    let after = service.submit(&json!({ "code": "2" }));
    assert_eq!(service.finished(&after)["execution"]["result"], 2);
}

#[test]
fn a_service_whose_database_is_gone_stops_all_the_same() {
    let mut postgres = Postgres::start();
    let store = postgres.url();
    let mut service = Service::start_with(&["--store", &store, "--drain-ms", "300"]);
    let id = service.submit(&endless());
    eventually(SOON, "it runs", || service.state(&id) == "running");
    postgres.down();
    service.signal(15);
    service.exit_within(SOON);
}
