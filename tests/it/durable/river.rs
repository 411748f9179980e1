//! Jobs that another program enqueues through River's tables, in a transaction of its own.

use super::Database;
use crate::stores::Postgres;
use crate::support::{Service, eventually};
use serde_json::json;
use std::time::Duration;

const SOON: Duration = crate::support::SOON;

/// Inserts a job as River's clients do.
fn insert(args: &str) -> String {
    format!(
        "INSERT INTO river_job (args, kind, max_attempts, queue) VALUES ('{args}', 'sandpiper_run', 3, 'sandpiper')"
    )
}

#[test]
fn a_job_that_was_enqueued_in_a_transaction_elsewhere_runs_if_that_commits() {
    let database = Database::Postgres(Postgres::start());
    let service: Service = database.serve(&[]);
    let Database::Postgres(postgres) = &database else {
        unreachable!()
    };
    let id = "01a21382-4b4f-754c-aaa6-cf04619b0edf";
    let wanted = format!(r#"{{"id": "{id}", "code": "input.a * 7", "input": {{"a": 6}}}}"#);
    let unwanted = r#"{"code": "1"}"#;
    let said = postgres.ask(&format!(
        "CREATE TABLE orders (id INT); BEGIN; INSERT INTO orders VALUES (1); {}; COMMIT; BEGIN; {}; ROLLBACK",
        insert(&wanted),
        insert(unwanted)
    ));
    assert!(said.is_some());
    eventually(SOON, "it has run", || {
        service.get(&format!("/api/jobs/{id}")).status == 200
    });
    let job = service.finished(id);
    assert_eq!(job["execution"]["result"], 42, "{job}");
    // Without an id, the job is found by River's id.
    let quoted = r#"{"code": "''by river''", "limits": {"timeoutMs": 500}}"#;
    postgres.ask(&insert(quoted));
    let result = || {
        postgres.ask(
            "SELECT j.execution::json->>'result' FROM sandpiper_jobs j JOIN river_job r ON r.id = j.river_id \
             WHERE r.args->>'code' LIKE '%by river%' AND j.state = 'finished'",
        )
    };
    eventually(SOON, "it has run too", || {
        result().as_deref() == Some("by river")
    });
    assert_eq!(
        service.get("/api/jobs").json()["jobs"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    let rivers = postgres.ask("SELECT count(*) FROM river_job WHERE state = 'completed'");
    assert_eq!(rivers.as_deref(), Some("2"));
}

#[test]
fn what_another_program_enqueues_is_held_to_the_same_rules() {
    let database = Database::Postgres(Postgres::start());
    let service: Service = database.serve(&[]);
    let Database::Postgres(postgres) = &database else {
        unreachable!()
    };
    for args in [
        r#"{"code": "1", "limits": {"timeoutMs": 999999999}}"#,
        r#"{"code": "1", "unknown": 1}"#,
        "{}",
    ] {
        postgres.ask(&insert(args));
    }
    let failed = || {
        postgres.ask("SELECT count(*) FROM river_job WHERE state = 'discarded' AND array_length(errors, 1) = 3")
    };
    eventually(SOON, "all are cancelled with their reason", || {
        failed().as_deref() == Some("3")
    });
    let why = postgres
        .ask("SELECT string_agg(errors[1]->>'error', '; ') FROM river_job")
        .unwrap();
    assert!(
        why.contains("above this service") && why.contains("unknown"),
        "{why}"
    );
    assert_eq!(service.get("/api/jobs").json()["jobs"], json!([]));
    // The queue continues.
    let id = service.submit(&json!({ "code": "1" }));
    assert_eq!(service.finished(&id)["state"], "finished");
}

#[test]
fn of_two_jobs_that_another_program_gives_one_id_one_runs_and_the_other_fails_with_the_reason() {
    let database = Database::Postgres(Postgres::start());
    let Database::Postgres(postgres) = &database else {
        unreachable!()
    };
    // Both jobs exist when the first node looks, and are claimed at the same moment.
    database.serve(&[]);
    let id = "01a21382-4b4f-754c-aaa6-cf04619b0edf";
    for number in [1, 2] {
        postgres
            .ask(&insert(&format!(r#"{{"id": "{id}", "code": "{number}"}}"#)))
            .unwrap();
    }
    let service = database.serve(&["--executors", "2"]);
    let states = || {
        postgres
            .ask("SELECT string_agg(state::text, ',' ORDER BY state) FROM river_job")
            .unwrap()
    };
    eventually(SOON, "both have their end", || {
        states() == "completed,discarded"
    });
    let job = service.finished(id);
    assert!(
        [json!(1), json!(2)].contains(&job["execution"]["result"]),
        "{job}"
    );
    let why = postgres
        .ask("SELECT errors[1]->>'error' FROM river_job WHERE state = 'discarded'")
        .unwrap();
    assert!(why.contains("another job's"), "{why}");
}
