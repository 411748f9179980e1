//! Functions and modules as jobs in a database: they survive, and no earlier version runs them as scripts.

use super::{Database, over_each};
use crate::stores::Postgres;
use crate::support::{SOON, eventually};
use serde_json::{Value, json};

fn module() -> Value {
    json!({
        "code": "import { twice } from './util.js'; export default (input) => twice(input) + base",
        "kind": "module",
        "modules": { "./util.js": "export const twice = (number) => 2 * number" },
        "prelude": "var base = 1",
        "input": 20,
    })
}

#[test]
fn a_module_runs_after_its_service_was_killed() {
    over_each(|database| {
        let mut service = database.serve(&["--executors", "1"]);
        service.submit(&json!({ "code": "for (;;);", "limits": { "timeoutMs": 30_000 } }));
        eventually(SOON, "the executor is busy", || {
            service.executors_busy() == 1
        });
        let ids = [
            service.submit(&module()),
            service.submit(&json!({ "code": "return input", "kind": "function", "input": 7 })),
            service.submit(&json!({ "code": "5 as number", "language": "typescript" })),
        ];
        service.signal(9);
        service.exit_within(SOON);
        let service = database.serve(&["--executors", "2"]);
        let results = ids.map(|id| service.finished(&id)["execution"]["result"].clone());
        assert_eq!(results, [json!(41), json!(7), json!(5)]);
    });
}

#[test]
fn what_earlier_versions_cannot_run_waits_in_a_queue_that_they_do_not_work() {
    let postgres = Postgres::start();
    let database = Database::Postgres(postgres);
    let service = database.serve(&[]);
    let Database::Postgres(postgres) = &database else {
        unreachable!()
    };
    let queue_of = |request: Value| {
        let id = service.submit(&request);
        service.finished(&id);
        let select = format!(
            "SELECT r.queue || ' ' || r.kind FROM river_job r JOIN sandpiper_jobs j ON j.river_id = r.id WHERE j.id = '{id}'"
        );
        postgres.ask(&select).unwrap()
    };
    for plain in [
        json!({ "code": "1" }),
        json!({ "code": "1", "kind": "script", "language": "javascript", "modules": {} }),
        json!({ "code": "1", "file": "simple.js" }),
    ] {
        assert_eq!(queue_of(plain), "sandpiper sandpiper_run");
    }
    for other in [
        module(),
        json!({ "code": "return 1", "kind": "function" }),
        json!({ "code": "1", "modules": { "a": "" } }),
        json!({ "code": "1", "prelude": "1" }),
        json!({ "code": "1", "language": "typescript" }),
    ] {
        assert_eq!(queue_of(other), "sandpiper-kinds sandpiper_run");
    }
    // The text of a plain script is stored as before: an earlier version reads it.
    let id = service.submit(&json!({ "code": "1" }));
    let request = postgres.ask(&format!(
        "SELECT (request::json->'script')::text FROM sandpiper_jobs WHERE id = '{id}'"
    ));
    let script: Value = serde_json::from_str(&request.unwrap()).unwrap();
    let fields: Vec<&String> = script.as_object().unwrap().keys().collect();
    assert_eq!(fields, ["globals", "seed", "sources"]);
}

#[test]
fn another_program_enqueues_a_module_with_its_fields() {
    let database = Database::Postgres(Postgres::start());
    let service = database.serve(&[]);
    let Database::Postgres(postgres) = &database else {
        unreachable!()
    };
    let id = "01a21382-4b4f-754c-aaa6-cf04619b0ed0";
    let args = json!({
        "id": id,
        "kind": "module",
        "code": "import a from \"./a.js\"; export default a + b",
        "language": "typescript",
        "modules": { "./a.js": "export default 40" },
        "prelude": "var b: number = 2",
    });
    postgres.ask(&format!(
        "INSERT INTO river_job (args, kind, max_attempts, queue) VALUES ('{args}', 'sandpiper_run', 3, 'sandpiper-kinds')"
    ));
    eventually(SOON, "a node has claimed it", || {
        service.get(&format!("/api/jobs/{id}")).status == 200
    });
    assert_eq!(service.finished(id)["execution"]["result"], 42);
}
