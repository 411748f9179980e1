//! Jobs in a database: they survive restarts, and each has one end.

use super::{Database, endless, over_each};
use crate::stores::{Folder, Postgres};

use crate::support::{Service, eventually};
use serde_json::json;
use std::time::{Duration, Instant};

const SOON: Duration = crate::support::SOON;

#[test]
fn a_job_that_was_accepted_survives_kill_9_and_runs_afterwards() {
    over_each(|database| {
        let mut service = database.serve(&["--executors", "1"]);
        let blocker = service.submit(&endless());
        let ids: Vec<String> = (0..20)
            .map(|number| service.submit(&json!({ "code": format!("{number} + 1") })))
            .collect();
        eventually(SOON, "it runs", || service.state(&blocker) == "running");
        service.signal(9);
        service.exit_within(SOON);
        let service = database.serve(&["--executors", "1"]);
        // A job that ran when the service was killed runs again, as its second attempt.
        eventually(SOON, "it runs again", || {
            let job = service.job(&blocker);
            job["state"] == "running" && job["attempt"] == 2
        });
        assert_eq!(service.delete(&format!("/api/jobs/{blocker}")).status, 200);
        for (number, id) in ids.iter().enumerate() {
            let job = service.finished(id);
            assert_eq!(job["state"], "finished");
            assert_eq!(job["execution"]["result"], number + 1);
        }
    });
}

#[test]
fn a_service_that_stops_in_order_hands_back_what_it_has_without_using_up_an_attempt() {
    over_each(|database| {
        let mut service = database.serve(&["--executors", "1", "--drain-ms", "200"]);
        let running = service.submit(&json!({
            "code": "const until = Date.now() + 1500; while (Date.now() < until); 7",
            "limits": { "timeoutMs": 10_000 },
        }));
        let waiting = service.submit(&json!({ "code": "8" }));
        eventually(SOON, "it runs", || service.state(&running) == "running");
        service.signal(15);
        assert!(service.exit_within(SOON).success());
        let service = database.serve(&["--executors", "1"]);
        for (id, result) in [(&running, 7), (&waiting, 8)] {
            let job = service.finished(id);
            assert_eq!(job["execution"]["result"], result, "{job}");
            assert_eq!(job["attempt"], 1, "{job}");
        }
    });
}

#[test]
fn a_result_is_read_after_a_restart_as_it_was_and_gone_when_its_time_is_over() {
    over_each(|database| {
        let mut service = database.serve(&["--result-ttl-s", "4"]);
        let request = json!({
            "code": "console.log('a\\u0000', 1e300, [null]); console.error(new Error('x')); ({ input, n: [1.5, -0, 1e21] })",
            "input": { "nul": "\u{0}", "long": "é".repeat(2000), "nothing": null },
            "globals": { "g": 1 },
            "seed": 7,
        });
        let mut now = service.execute(&request);
        let id = service.submit(&request);
        service.finished(&id);
        service.signal(9);
        service.exit_within(SOON);
        let service = database.serve(&["--result-ttl-s", "4"]);
        let mut later = service.finished(&id)["execution"].clone();
        for execution in [&mut now, &mut later] {
            let object = execution.as_object_mut().unwrap();
            for its_own in ["id", "executionTime", "usage"] {
                object.remove(its_own);
            }
            for entry in object["log"].as_array_mut().unwrap() {
                entry.as_object_mut().unwrap().remove("timestamp");
            }
        }
        assert_eq!(now, later);
        eventually(SOON, "it is gone", || {
            service.get(&format!("/api/jobs/{id}")).status == 410
        });
        assert_eq!(
            service.get(&format!("/api/jobs/{id}")).code(),
            "job_expired"
        );
        assert_eq!(service.get("/api/jobs").json()["jobs"], json!([]));
    });
}

#[test]
fn a_job_that_dies_with_its_process_as_often_as_it_may_is_lost_and_says_so() {
    over_each(|database| {
        let mut service = database.serve(&["--attempts-max", "1"]);
        let id = service.submit(&endless());
        eventually(SOON, "it runs", || service.state(&id) == "running");
        service.signal(9);
        service.exit_within(SOON);
        let service = database.serve(&["--attempts-max", "1"]);
        eventually(SOON, "it is lost", || {
            let job = service.job(&id);
            job["state"] == "lost" && !job["execution"].is_null()
        });
        let job = service.job(&id);
        assert_eq!(job["execution"]["outcome"], "crashed");
        assert_eq!(job["execution"]["error"]["name"], "Lost");
        assert!(!job["expiresAt"].is_null());
    });
}

#[test]
fn a_job_that_cannot_be_read_is_lost_and_keeps_nothing_else_back() {
    let database = Database::Postgres(Postgres::start());
    let Database::Postgres(postgres) = &database else {
        unreachable!()
    };
    let options = ["--result-ttl-s", "2", "--attempts-max", "2"];
    let mut service = database.serve(&[&options[..], &["--executors", "1"]].concat());
    let blocker = service.submit(&endless());
    eventually(SOON, "it runs", || service.state(&blocker) == "running");
    let broken = service.submit(&json!({ "code": "1" }));
    let whole = service.submit(&json!({ "code": "2" }));
    postgres
        .ask(&format!(
            "UPDATE sandpiper_jobs SET request = '{{}}' WHERE id = '{broken}'"
        ))
        .unwrap();
    service.delete(&format!("/api/jobs/{blocker}"));
    assert_eq!(service.finished(&whole)["execution"]["result"], 2);
    let job = service.finished(&broken);
    assert_eq!(
        (&job["state"], &job["attempt"]),
        (&json!("lost"), &json!(2))
    );
    let said = job["execution"]["error"]["message"].as_str().unwrap();
    assert!(said.contains("cannot be read"), "{said}");
    assert_eq!(service.metric("jobs_lost_total"), Some(1.0));
    eventually(SOON, "its time is over", || {
        service.get(&format!("/api/jobs/{whole}")).status == 410
    });
    service.signal(15);
    assert!(service.exit_within(SOON).success());
}

#[test]
fn a_job_can_be_cancelled_while_it_waits_and_while_it_runs() {
    over_each(|database| {
        let service = database.serve(&["--executors", "1"]);
        let running = service.submit(&endless());
        eventually(SOON, "it runs", || service.state(&running) == "running");
        let waiting: Vec<String> = (0..40)
            .map(|_| service.submit(&json!({ "code": "1" })))
            .collect();
        let last = waiting.last().unwrap();
        for id in [last, &running] {
            let start = Instant::now();
            let answer = service.delete(&format!("/api/jobs/{id}"));
            assert_eq!(
                (answer.status, &answer.json()["state"]),
                (200, &json!("cancelled"))
            );
            // The loop has 30 seconds.
            assert!(start.elapsed() < Duration::from_secs(20));
            assert_eq!(
                service.delete(&format!("/api/jobs/{id}")).code(),
                "job_already_final"
            );
        }
        for id in &waiting[..39] {
            assert_eq!(service.finished(id)["state"], "finished");
        }
        assert_eq!(service.state(last), "cancelled");
    });
}

#[test]
fn a_file_of_sqlite_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let database = Database::Sqlite(Folder::new());
    let service = database.serve(&[]);
    service.finished(&service.submit(&json!({ "code": "1" })));
    let Database::Sqlite(folder) = &database else {
        unreachable!()
    };
    for file in ["jobs.db", "jobs.db-wal", "jobs.db-shm"] {
        let metadata = std::fs::metadata(folder.path("deep/er").join(file)).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600, "{file}");
    }
}

#[test]
fn a_file_of_sqlite_belongs_to_one_service() {
    let database = Database::Sqlite(Folder::new());
    let _service = database.serve(&[]);
    let said = refused(&database.store());
    assert!(said.contains("in use by another process"), "{said}");
}

#[test]
fn a_store_that_cannot_be_opened_is_named_with_its_reason() {
    let folder = Folder::new();
    std::fs::write(folder.path("file"), "no folder").unwrap();
    std::fs::write(
        folder.path("text.db"),
        "this is no database at all, but text",
    )
    .unwrap();
    for (store, reason) in [
        (
            format!("sqlite:{}", folder.text("file/jobs.db")),
            "cannot be used",
        ),
        (
            format!("sqlite:{}", folder.text("text.db")),
            "not a database",
        ),
        (
            "postgres://nobody@127.0.0.1:1/none".to_owned(),
            "cannot be reached",
        ),
    ] {
        let said = refused(&store);
        assert!(said.contains("--store") && said.contains(reason), "{said}");
    }
}

#[test]
fn tables_of_a_later_version_are_left_alone() {
    over_each(|database| {
        drop(database.serve(&[]));
        database.change("INSERT INTO sandpiper_migrations (version) VALUES (999)");
        let said = refused(&database.store());
        assert!(
            said.contains("version 999") && said.contains("start a newer one"),
            "{said}"
        );
    });
}

/// Starts a service that must fail to start, and returns its error.
fn refused(store: &str) -> String {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_sandpiper"))
        .args(["serve", "--port", "0", "--store", store])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn the_info_names_the_store_and_its_promise() {
    let database = Database::Sqlite(Folder::new());
    let service: Service = database.serve(&[]);
    let store = service.get("/api").json()["store"].clone();
    assert_eq!(store["name"], "sqlite");
    assert!(store["promise"].as_str().unwrap().contains("survives"));
}
