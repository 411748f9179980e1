//! Contents of jobs are encrypted in the database where the operator gives data keys.

use super::{Database, over_each};
use crate::stores::{Folder, Postgres};
use crate::support::{SOON, Service, eventually};
use serde_json::{Value, json};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

const BINARY: &str = env!("CARGO_BIN_EXE_sandpiper");

/// A file of data keys.
struct Keys(Folder);

impl Keys {
    fn new(lines: &[&str]) -> Self {
        let keys = Self(Folder::new());
        keys.write(lines);
        keys
    }

    fn write(&self, lines: &[&str]) {
        std::fs::write(self.0.path("keys"), lines.join("\n")).unwrap();
        self.set_mode(0o600);
    }

    fn set_mode(&self, mode: u32) {
        let permissions = Permissions::from_mode(mode);
        std::fs::set_permissions(self.0.path("keys"), permissions).unwrap();
    }

    fn serve(&self, database: &Database) -> Service {
        database.serve(&["--data-keys-file", &self.0.text("keys")])
    }

    /// Starts a service that must refuse to start, and returns the reason.
    fn refused(&self, database: &Database) -> String {
        refused(database, &["--data-keys-file", &self.0.text("keys")])
    }
}

fn refused(database: &Database, options: &[&str]) -> String {
    refused_with(&database.store(), options)
}

fn refused_with(store: &str, options: &[&str]) -> String {
    let output = Command::new(BINARY)
        .args(["serve", "--port", "0", "--store", store])
        .args(options)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

fn new_key() -> String {
    let output = Command::new(BINARY).arg("data-key").output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn id_of(key: &str) -> &str {
    key.split(':').next().unwrap()
}

/// A job with a mark in its code, modules, prelude, input, globals, log and result.
fn marked() -> Value {
    json!({
        "code": "console.log('secret-mark'); [input, name, 'secret-mark']",
        "modules": { "./secret-mark.js": "'secret-mark'" },
        "prelude": "'secret-mark'",
        "input": "secret-mark",
        "globals": { "name": "secret-mark" },
    })
}

/// Returns all that the database has on disk, as far as a reader without keys can see it.
fn dump(database: &Database) -> String {
    match database {
        Database::Postgres(postgres) => [
            "sandpiper_jobs",
            "sandpiper_keys",
            "sandpiper_logs",
            "sandpiper_secrets",
            "river_job",
        ]
        .map(|table| {
            let select = format!("SELECT coalesce(string_agg(t::text, ' '), '') FROM {table} t");
            postgres.ask(&select).unwrap()
        })
        .concat(),
        Database::Sqlite(folder) => {
            let files = std::fs::read_dir(folder.path("deep/er")).unwrap();
            let contents = files.map(|file| std::fs::read(file.unwrap().path()).unwrap());
            contents
                .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
                .collect()
        }
    }
}

#[test]
fn no_content_of_a_job_can_be_read_in_the_database() {
    over_each(|database| {
        let key = new_key();
        let keys = Keys::new(&[&key]);
        let mut service = keys.serve(database);
        let headers = [("idempotency-key", "same"), ("prefer", "wait=30")];
        let answer = service.post_with("/api/jobs", &headers, &marked());
        let execution = &answer.json()["execution"];
        assert_eq!(
            execution["result"],
            json!(["secret-mark", "secret-mark", "secret-mark"])
        );
        let thrown = service.submit(&json!({ "code": "throw new Error('secret-mark')" }));
        service.finished(&thrown);
        let waiting = service
            .submit(&json!({ "code": "'secret-mark'", "runAt": super::terms::in_a_month() }));
        let stored = dump(database);
        assert!(stored.contains(&format!("sealed1.{}.", id_of(&key))));
        assert!(!stored.contains("secret-mark"));
        // Lists need no key, and a repeated request is recognised.
        let page = service.get("/api/jobs").json();
        assert_eq!(page["jobs"].as_array().unwrap().len(), 3);
        let again = service.post_with("/api/jobs", &headers, &marked());
        assert_eq!(again.header("idempotency-replayed"), "true");
        let other = service.post_with("/api/jobs", &headers, &json!({ "code": "2" }));
        assert_eq!(other.status, 422);
        service.signal(9);
        service.exit_within(SOON);
        let service = keys.serve(database);
        let id = answer.json()["id"].as_str().unwrap().to_owned();
        assert_eq!(service.job(&id)["execution"], *execution);
        assert_eq!(
            service.job(&thrown)["execution"]["error"]["message"],
            "secret-mark"
        );
        assert_eq!(service.state(&waiting), "queued");
    });
}

#[test]
fn keys_are_rotated_and_rows_of_before_stay_readable() {
    over_each(|database| {
        let [first, second] = [new_key(), new_key()];
        let mut service = database.serve(&[]);
        let plain = service.submit(&json!({ "code": "'plain'" }));
        service.finished(&plain);
        let stop = |service: &mut Service| {
            service.signal(15);
            service.exit_within(SOON);
        };
        stop(&mut service);
        let keys = Keys::new(&[&first]);
        let mut service = keys.serve(database);
        let headers = [("idempotency-key", "same"), ("prefer", "wait=30")];
        let sealed = service.post_with("/api/jobs", &headers, &json!({ "code": "'sealed'" }));
        let id = sealed.json()["id"].as_str().unwrap().to_owned();
        stop(&mut service);
        keys.write(&["# rotated", &second, &first]);
        let mut service = keys.serve(database);
        assert_eq!(service.job(&plain)["execution"]["result"], "plain");
        assert_eq!(service.job(&id)["execution"]["result"], "sealed");
        let again = service.post_with("/api/jobs", &headers, &json!({ "code": "'sealed'" }));
        assert_eq!(again.json()["id"], json!(id));
        let new = service.submit(&json!({ "code": "'new'" }));
        assert_eq!(service.finished(&new)["execution"]["result"], "new");
        stop(&mut service);
        // A service without a key that is in use does not start.
        keys.write(&[&second]);
        let said = keys.refused(database);
        assert!(
            said.contains(id_of(&first)) && said.contains("--data-keys-file"),
            "{said}"
        );
        let said = refused(database, &[]);
        assert!(said.contains("--data-keys-file"), "{said}");
        let wrong = format!("{}:{}", id_of(&first), second.split(':').nth(1).unwrap());
        keys.write(&[&second, &wrong]);
        assert!(keys.refused(database).contains("another data key"));
        // Once the rows of a key have expired, the key can go.
        keys.write(&[&second, &first]);
        let mut service = database.serve(&["--data-keys-file", &keys.0.text("keys")]);
        for id in [&id, &new] {
            assert_eq!(service.delete(&format!("/api/jobs/{id}?purge")).status, 200);
        }
        stop(&mut service);
        keys.write(&[&second]);
        let service = keys.serve(database);
        assert_eq!(service.job(&plain)["execution"]["result"], "plain");
    });
}

#[test]
fn a_row_of_a_key_that_a_node_does_not_know_loses_no_job() {
    let database = Database::Postgres(Postgres::start());
    let [first, second] = [new_key(), new_key()];
    let old = Keys::new(&[&first]);
    let node = old.serve(&database);
    let both = Keys::new(&[&second, &first]);
    let newer = both.serve(&database);
    let ids: Vec<String> = (0..20)
        .map(|number| newer.submit(&json!({ "code": format!("{number}") })))
        .collect();
    for (number, id) in ids.iter().enumerate() {
        let job = newer.finished(id);
        assert_eq!(
            (&job["state"], &job["execution"]["result"]),
            (&json!("finished"), &json!(number))
        );
    }
    let answer = node.get(&format!("/api/jobs/{}", ids[0]));
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (503, "store_unavailable")
    );
}

#[test]
fn a_value_that_is_moved_to_another_row_is_not_shown() {
    let database = Database::Postgres(Postgres::start());
    let keys = Keys::new(&[&new_key()]);
    let service = keys.serve(&database);
    let ids: Vec<String> = ["'first'", "'second'"]
        .map(|code| service.submit(&json!({ "code": code })))
        .into();
    for id in &ids {
        service.finished(id);
    }
    let [first, second] = [&ids[0], &ids[1]];
    database.change(&format!(
        "UPDATE sandpiper_jobs SET execution = (SELECT execution FROM sandpiper_jobs WHERE id = '{first}') WHERE id = '{second}'"
    ));
    assert_eq!(service.get(&format!("/api/jobs/{second}")).status, 500);
    assert_eq!(service.job(first)["execution"]["result"], "first");
}

#[test]
fn the_log_of_a_running_job_is_encrypted_for_the_other_nodes_too() {
    let database = Database::Postgres(Postgres::start());
    let keys = Keys::new(&[&new_key()]);
    let nodes = [keys.serve(&database), keys.serve(&database)];
    let id = nodes[0].submit(&json!({
        "code": "console.log('secret-mark'); for (;;);",
        "limits": { "timeoutMs": 20_000 },
    }));
    eventually(SOON, "both nodes show the log", || {
        nodes
            .iter()
            .all(|node| node.job(&id)["log"][0]["data"][0] == "secret-mark")
    });
    assert!(!dump(&database).contains("secret-mark"));
}

#[test]
fn unusable_data_keys_are_refused_by_name() {
    let database = Database::Sqlite(Folder::new());
    for (content, reason) in [("", "no key"), ("x", "line 1"), ("a:00", "line 1")] {
        let said = Keys::new(&[content]).refused(&database);
        assert!(
            said.contains("--data-keys-file") && said.contains(reason),
            "{said}"
        );
    }
    for store in [database.store().as_str(), "memory"] {
        let said = refused_with(store, &["--data-keys-file", "/nowhere/keys"]);
        assert!(said.contains("/nowhere/keys"), "{store}: {said}");
    }
    let keys = Keys::new(&[&new_key()]);
    for mode in [0o604, 0o640, 0o644, 0o660, 0o666] {
        keys.set_mode(mode);
        let said = keys.refused(&database);
        assert!(said.contains("chmod go= "), "{mode:o}: {said}");
    }
    keys.set_mode(0o400);
    keys.serve(&database);
    let said = refused(&database, &["--data-keys", "x"]);
    assert!(
        said.contains("--data-keys") && !said.contains("--data-keys-file"),
        "{said}"
    );
}

#[test]
fn the_key_of_replays_is_encrypted_and_follows_the_data_keys() {
    over_each(|database| {
        let [first, second] = [new_key(), new_key()];
        let begin = |service: &Service| {
            let request = json!({ "code": "await tools.a(1)", "tools": ["a"] });
            let waiting = service.execute(&request);
            let mut next = request.clone();
            next["replay"] = waiting["replay"].clone();
            next["answers"] = json!([{ "callId": waiting["calls"][0]["callId"], "result": 7 }]);
            next
        };
        let keys = Keys::new(&[&first]);
        let mut service = keys.serve(database);
        let next = begin(&service);
        assert!(dump(database).contains(&format!("sealed1.{}.", id_of(&first))));
        service.signal(15);
        service.exit_within(SOON);
        // The start with both keys encrypts it anew, so that the former key can be removed.
        for lines in [&[&second, &first][..], &[&second]] {
            let lines: Vec<&str> = lines.iter().map(|line| line.as_str()).collect();
            keys.write(&lines);
            let mut service = keys.serve(database);
            assert_eq!(service.execute(&next)["result"], 7);
            service.signal(15);
            service.exit_within(SOON);
        }
        // Without its data key the key is replaced, and what it sealed cannot be opened.
        let service = database.serve(&[]);
        let refused = service.post("/api/execute", &next);
        assert_eq!(refused.code(), "invalid_replay", "{}", refused.text);
        assert_eq!(service.execute(&begin(&service))["result"], 7);
        assert!(service.log().contains("is replaced"), "{}", service.log());
    });
}
