//! The owners of jobs that an earlier version has stored, or goes on to store beside this one.

use super::{Database, over_each};
use crate::stores::{Folder, Postgres};
use crate::support::{SOON, Service, eventually};
use crate::usage_store::durable_options;
use sandpiper_domain::{Job, JobTerms, Script, ScriptDraft, Timestamp, samples};
use sandpiper_store::{Address, DurableStore, JobStore as _, NewJob, QueuePlace};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

const KEY: &str = "key:00000000000000aa";

fn serve(database: &Database) -> Service {
    database.serve(&["--client-header", "sandpiper-client"])
}

/// Submits a job as an ingress of the previous version does, and returns its id.
fn submit_as(service: &Service, client: &str) -> String {
    let headers = [("sandpiper-client", client), ("prefer", "wait=30")];
    let answer = service.post_with("/api/jobs", &headers, &json!({ "code": "'kept'" }));
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()["id"].as_str().unwrap().to_owned()
}

fn status_for(service: &Service, id: &str, tenant: &str) -> u16 {
    let headers = [("sandpiper-tenant", tenant)];
    service
        .get_with(&format!("/api/jobs/{id}"), &headers)
        .status
}

#[test]
fn jobs_from_before_the_upgrade_belong_to_their_key_or_to_nobody() {
    over_each(|database| {
        let mut service = serve(database);
        let of_key = submit_as(&service, KEY);
        let of_address = submit_as(&service, "10.0.0.1");
        service.signal(15);
        service.exit_within(SOON);
        database.downgrade_to_4();
        let service = serve(database);
        for (id, owner) in [(&of_key, KEY), (&of_address, "default")] {
            for tenant in [KEY, "default", "acme"] {
                let expected = if tenant == owner { 200 } else { 404 };
                assert_eq!(
                    status_for(&service, id, tenant),
                    expected,
                    "{owner} {tenant}"
                );
            }
        }
        let own = service.get_with("/api/jobs", &[("sandpiper-tenant", KEY)]);
        let own = own.json()["jobs"].as_array().unwrap().clone();
        assert_eq!((own.len(), &own[0]["id"]), (1, &json!(of_key)));
    });
}

#[test]
fn what_a_node_of_the_previous_version_inserts_has_an_owner_too() {
    let postgres = Postgres::start();
    let database = Database::Postgres(postgres);
    let service = serve(&database);
    for (number, client) in [(1, KEY), (2, "tenant:acme"), (3, "10.0.0.1")] {
        let id = id_of(number);
        database.change(&format!(
            "INSERT INTO sandpiper_jobs (id, river_id, client, request, state, attempt, created_at, run_at) \
             VALUES ('{id}', -{number}, '{client}', '', 'cancelled', 0, 0, NULL)"
        ));
    }
    for (number, owner) in [(1, KEY), (2, "acme"), (3, "default")] {
        for tenant in [KEY, "acme", "default"] {
            let expected = if tenant == owner { 200 } else { 404 };
            assert_eq!(
                status_for(&service, &id_of(number), tenant),
                expected,
                "{number} {tenant}"
            );
        }
    }
    // The key of the job is known as well.
    let narrow = [
        ("sandpiper-tenant", KEY),
        ("sandpiper-key", "00000000000000aa"),
        ("sandpiper-scopes", "execute"),
    ];
    let answer = service.get_with(&format!("/api/jobs/{}", id_of(1)), &narrow);
    assert_eq!(answer.status, 200, "{}", answer.text);
}

fn id_of(number: u32) -> String {
    format!("01890000-0000-7000-8000-00000000000{number}")
}

/// Counts the files of SQLite that contain a text.
fn files_with(folder: &Folder, text: &str) -> usize {
    let files = std::fs::read_dir(folder.path("deep/er")).unwrap();
    let contents = files.map(|file| std::fs::read(file.unwrap().path()).unwrap());
    let contains = |bytes: &Vec<u8>| {
        bytes
            .windows(text.len())
            .any(|part| part == text.as_bytes())
    };
    contents.filter(contains).count()
}

#[test]
fn what_is_purged_leaves_no_byte_in_a_file_of_sqlite() {
    let database = Database::Sqlite(Folder::new());
    let Database::Sqlite(folder) = &database else {
        unreachable!()
    };
    let service = serve(&database);
    let of = |tenant: &'static str| [("sandpiper-tenant", tenant), ("prefer", "wait=30")];
    let submit = |tenant: &'static str, mark: &str| {
        // Short values lie in the page of their row, long ones in pages of their own.
        let code = format!("console.log('{mark}'); '{mark}'.repeat(input.length / 100)");
        let body = json!({ "code": code, "input": mark.repeat(2_000) });
        let answer = service.post_with("/api/jobs", &of(tenant), &body);
        assert_eq!(
            answer.json()["execution"]["outcome"],
            "succeeded",
            "{}",
            answer.text
        );
        answer.json()["id"].as_str().unwrap().to_owned()
    };
    let one = submit("a", "one-mark");
    submit("a", "all-mark");
    submit("b", "other-mark");
    for mark in ["one-mark", "all-mark", "other-mark"] {
        assert!(files_with(folder, mark) > 0, "{mark} is stored");
    }
    let purged = service.delete_with(&format!("/api/jobs/{one}?purge"), &of("a"));
    assert_eq!(purged.status, 200);
    eventually(SOON, "the job is gone", || {
        files_with(folder, "one-mark") == 0
    });
    assert!(files_with(folder, "all-mark") > 0);
    let admin = [("sandpiper-tenant", "ops"), ("sandpiper-scopes", "admin")];
    assert_eq!(service.delete_with("/api/tenants/a", &admin).status, 200);
    eventually(SOON, "the tenant is gone", || {
        files_with(folder, "all-mark") == 0
    });
    assert!(files_with(folder, "other-mark") > 0);
}

#[test]
fn what_has_expired_leaves_no_byte_in_a_file_of_sqlite_after_a_minute() {
    let folder = Folder::new();
    std::fs::create_dir_all(folder.path("deep/er")).unwrap();
    let options = durable_options(Address::Sqlite(folder.path("deep/er/jobs.db")));
    let (ttl, store) = (options.ttl, DurableStore::open(options).unwrap());
    let draft = ScriptDraft {
        code: Some("'expired-mark'".to_owned()),
        ..ScriptDraft::default()
    };
    let job = Job {
        script: Script::new(draft).unwrap(),
        ..samples::job("tenant:a", 1)
    };
    let id = job.id;
    let new = NewJob {
        job: Arc::new(job),
        created_at: Timestamp::now(),
        terms: JobTerms::default(),
        queue_place: QueuePlace::default(),
        tool_head: None,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        store.submit(new).await.unwrap();
        store.cancel(id).await.unwrap();
        assert!(files_with(&folder, "expired-mark") > 0);
        let minute = Duration::from_mins(1);
        let expiry = Timestamp::now().plus(ttl).plus(minute);
        assert_eq!(store.sweep(expiry).await.unwrap(), 1);
        store.sweep(expiry.plus(minute)).await.unwrap();
    });
    assert_eq!(files_with(&folder, "expired-mark"), 0);
}

#[test]
fn a_tenant_is_restored_whatever_the_clock_of_the_node_that_purged_it_was() {
    over_each(|database| {
        let mut service = serve(database);
        let of_a = [("sandpiper-tenant", "a")];
        let admin = [("sandpiper-tenant", "ops"), ("sandpiper-scopes", "admin")];
        let body = json!({ "code": "1" });
        assert_eq!(service.post_with("/api/jobs", &of_a, &body).status, 202);
        assert_eq!(service.delete_with("/api/tenants/a", &admin).status, 200);
        service.signal(15);
        service.exit_within(SOON);
        database.change("UPDATE sandpiper_tenants SET purged_at = purged_at + 3600000");
        let service = serve(database);
        assert_eq!(service.get_with("/api/jobs", &of_a).status, 401);
        let restored = service.post_raw("/api/tenants/a/restore", &admin, b"");
        assert_eq!(restored.status, 204, "{}", restored.text);
        assert_eq!(service.get_with("/api/jobs", &of_a).status, 200);
    });
}

#[test]
fn a_purge_at_one_node_is_known_at_the_others_and_after_a_restart() {
    let database = Database::Postgres(Postgres::start());
    let nodes = [serve(&database), serve(&database)];
    eventually(SOON, "they know of each other", || {
        nodes[0].get("/api/nodes").json()["nodes"]
            .as_array()
            .unwrap()
            .len()
            == 2
    });
    let of_a = [("sandpiper-tenant", "a")];
    let admin = [("sandpiper-tenant", "ops"), ("sandpiper-scopes", "admin")];
    let body = json!({ "code": "for (;;);", "limits": { "timeoutMs": 30_000 } });
    for node in nodes.iter().cycle().take(6) {
        assert_eq!(node.post_with("/api/jobs", &of_a, &body).status, 202);
    }
    let purged = nodes[0].delete_with("/api/tenants/a", &admin);
    assert_eq!(purged.json()["jobs"], 6, "{}", purged.text);
    assert_eq!(nodes[1].get_with("/api/jobs", &of_a).status, 401);
    let restarted = serve(&database);
    eventually(SOON, "it is known", || {
        restarted.get_with("/api/jobs", &of_a).status == 401
    });
}
