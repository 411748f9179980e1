//! A database that another client has locked: every wait is bounded, and readiness reports it.

use super::{Database, endless};
use crate::stores::{Folder, Postgres};
use crate::support::{Answer, Service, assert_refused, eventually};
use serde_json::json;
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(30);
const TIMEOUT: [&str; 4] = ["--store-timeout-ms", "1000", "--executors", "2"];

/// Sends every kind of request that reads the store, and returns the responses by name.
fn ask_everything(service: &Service, id: &str) -> Vec<(&'static str, Answer)> {
    let path = format!("/api/jobs/{id}");
    vec![
        ("submit", service.post("/api/jobs", &json!({ "code": "1" }))),
        ("get", service.get(&path)),
        ("wait", service.get_with(&path, &[("prefer", "wait=2")])),
        ("follow", service.get(&format!("{path}/events"))),
        ("list", service.get("/api/jobs")),
        ("list running", service.get("/api/jobs?state=running")),
        ("cancel", service.delete(&path)),
        ("nodes", service.get("/api/nodes")),
    ]
}

fn assert_not_ready(service: &Service) {
    let answer = service.get("/api/health/ready");
    let ready = answer.json();
    assert_eq!(
        (answer.status, &ready["status"]),
        (503, &json!("DOWN")),
        "{ready}"
    );
    assert_eq!(ready["reasons"][0]["code"], "store_unavailable");
}

fn is_ready(service: &Service) -> bool {
    service.get("/api/health/ready").status == 200
}

#[test]
fn the_wait_for_a_locked_table_is_bounded() {
    let postgres = Postgres::start();
    let service = Service::start_with(&[&["--store", &postgres.url()], &TIMEOUT[..]].concat());
    let before = service.submit(&json!({ "code": "1" }));
    service.finished(&before);
    let running = service.submit(&json!({
        "code": "const until = Date.now() + 1000; while (Date.now() < until); 'ended meanwhile'",
        "limits": { "timeoutMs": 20_000 },
    }));
    eventually(SOON, "it runs", || service.state(&running) == "running");
    assert!(is_ready(&service));
    let lock = postgres.session("BEGIN; LOCK TABLE sandpiper_jobs IN ACCESS EXCLUSIVE MODE");
    for (what, answer) in ask_everything(&service, &before) {
        assert_refused(&answer, 503, "store_unavailable", what);
        assert!(!answer.header("retry-after").is_empty(), "{what}");
        assert_eq!(service.result("1 + 2"), 3, "{what}");
    }
    assert_eq!(service.get("/api/health/live").status, 200);
    assert_eq!(service.metric("store_up"), Some(0.0));
    // Probes get responses, and add no load to the database.
    let asked = || {
        service
            .metric("store_operation_seconds_count{operation=\"health\"}")
            .unwrap_or_default()
    };
    let (asked_before, start) = (asked(), Instant::now());
    for _ in 0..50 {
        assert_not_ready(&service);
    }
    let seconds = start.elapsed().as_secs_f64();
    let more = asked() - asked_before;
    assert!(more <= seconds + 2.0, "{more} in {seconds} s");
    // The database does not continue with statements whose request has ended: this took far less time than all of them.
    let longest = postgres.ask(
        "SELECT coalesce(max(extract(epoch FROM clock_timestamp() - query_start)), 0) < 5 FROM pg_stat_activity \
         WHERE application_name = 'sandpiper' AND wait_event_type = 'Lock'",
    );
    assert_eq!(longest.as_deref(), Some("t"));
    drop(lock);
    eventually(SOON, "it is ready again", || is_ready(&service));
    for (what, answer) in ask_everything(&service, &before) {
        assert!(
            answer.status < 300 || what == "cancel",
            "{what}: {}",
            answer.text
        );
    }
    let job = service.finished(&running);
    assert_eq!(job["execution"]["result"], "ended meanwhile", "{job}");
    let after = service.submit(&json!({ "code": "2" }));
    assert_eq!(service.finished(&after)["execution"]["result"], 2);
}

#[test]
fn a_file_that_another_writer_holds_is_waited_for_for_so_long_and_no_longer() {
    let database = Database::Sqlite(Folder::new());
    let Database::Sqlite(folder) = &database else {
        unreachable!()
    };
    let service = database.serve(&TIMEOUT);
    let before = service.submit(&json!({ "code": "1" }));
    service.finished(&before);
    let waiting = service.submit(&json!({ "code": "1", "runAt": super::terms::in_a_month() }));
    let running = service.submit(&endless());
    eventually(SOON, "it runs", || service.state(&running) == "running");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let writer = runtime.block_on(async {
        use sqlx::ConnectOptions as _;
        let options = sqlx::sqlite::SqliteConnectOptions::new()
            .filename(folder.path("deep/er/jobs.db"))
            .busy_timeout(SOON);
        let mut writer = options.connect().await.unwrap();
        sqlx::query("BEGIN IMMEDIATE")
            .execute(&mut writer)
            .await
            .unwrap();
        writer
    });
    for answer in [
        service.post("/api/jobs", &json!({ "code": "1" })),
        service.delete(&format!("/api/jobs/{waiting}")),
    ] {
        assert_refused(&answer, 503, "store_unavailable", "a file that is held");
        assert!(!answer.header("retry-after").is_empty());
    }
    // Readers do not wait for a writer.
    assert_eq!(service.state(&before), "finished");
    assert_eq!(service.result("1 + 2"), 3);
    eventually(SOON, "readiness reports it", || !is_ready(&service));
    assert_not_ready(&service);
    runtime.block_on(async {
        use sqlx::Connection as _;
        writer.close().await.unwrap();
    });
    eventually(SOON, "it is ready again", || is_ready(&service));
    let after = service.submit(&json!({ "code": "2" }));
    assert_eq!(service.finished(&after)["execution"]["result"], 2);
    assert_eq!(service.delete(&format!("/api/jobs/{waiting}")).status, 200);
}
