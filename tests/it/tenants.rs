//! Tenants: a job is seen, followed and cancelled by its owner alone, over every kind of store and from every node.

use crate::raw::{answer_on, post};
use crate::stores::{Postgres, Store, over_every_store};
use crate::support::{Answer, SOON, Service, assert_refused, eventually};
use proptest::prelude::{Just, Strategy, prop, prop_oneof};
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::Write as _;
use std::thread;
use std::time::Duration;

over_every_store!(
    another_tenants_job_is_unknown_in_every_route,
    a_list_has_the_jobs_of_its_tenant_and_an_admin_lists_all,
    a_key_that_may_run_reads_its_own_results_and_no_others,
    a_key_without_a_tenant_owns_what_its_client_owned_before,
    a_request_that_another_key_repeats_is_not_its_own,
    a_key_that_moves_to_another_tenant_takes_its_jobs_along,
    a_stream_ends_when_its_job_moves_to_another_tenant,
    a_purged_job_is_gone_with_its_result_and_its_key,
    a_purged_tenant_is_gone_and_its_keys_are_refused,
    a_request_that_began_before_the_purge_of_its_tenant_leaves_no_job,
    a_tenant_that_nothing_is_known_of_is_named_as_such,
    a_position_in_the_queue_counts_the_tenants_own_jobs,
    a_flood_by_all_keys_of_a_tenant_does_not_keep_back_another_tenant,
    no_sequence_of_requests_shows_one_tenant_anything_of_another,
);

const KEY_A: &str = "00000000000000aa";
const KEY_B: &str = "00000000000000bb";
const ALL_SCOPES: &str = "execute,jobs,read";

/// The headers that an ingress sends for a key.
#[derive(Clone, Copy)]
struct Key {
    id: &'static str,
    tenant: &'static str,
    scopes: &'static str,
}

const A: Key = Key {
    id: KEY_A,
    tenant: "a",
    scopes: ALL_SCOPES,
};
const B: Key = Key {
    id: KEY_B,
    tenant: "b",
    scopes: ALL_SCOPES,
};
const ADMIN: Key = Key {
    id: "00000000000000ad",
    tenant: "operators",
    scopes: "jobs,admin",
};

impl Key {
    fn headers(self) -> Vec<(&'static str, &'static str)> {
        vec![
            ("sandpiper-tenant", self.tenant),
            ("sandpiper-key", self.id),
            ("sandpiper-scopes", self.scopes),
        ]
    }

    fn with<'a>(self, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
        [&self.headers()[..], more].concat()
    }

    fn get(self, service: &Service, path: &str) -> Answer {
        service.get_with(path, &self.headers())
    }

    fn submit(self, service: &Service, body: &Value) -> String {
        let answer = service.post_with("/api/jobs", &self.headers(), body);
        assert_eq!(answer.status, 202, "{}", answer.text);
        answer.json()["id"].as_str().unwrap().to_owned()
    }

    fn execute(self, service: &Service, code: &str) -> String {
        let body = json!({ "code": code });
        let answer = service.post_with("/api/execute", &self.headers(), &body);
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json()["id"].as_str().unwrap().to_owned()
    }

    fn listed(self, service: &Service, query: &str) -> Vec<String> {
        let page = self.get(service, &format!("/api/jobs?limit=200{query}"));
        assert_eq!(page.status, 200, "{}", page.text);
        let jobs = page.json()["jobs"].as_array().unwrap().clone();
        let ids = jobs
            .iter()
            .map(|job| job["id"].as_str().unwrap().to_owned());
        ids.collect()
    }
}

fn serve(store: &Store, options: &[&str]) -> Service {
    store.serve(&[&["--client-header", "sandpiper-client"], options].concat())
}

fn path(id: &str) -> String {
    format!("/api/jobs/{id}")
}

fn endless() -> Value {
    json!({ "code": "for (;;);", "limits": { "timeoutMs": 30_000 } })
}

fn another_tenants_job_is_unknown_in_every_route(store: &Store) {
    let service = serve(store, &[]);
    let body = json!({ "code": "console.log('logged'); 'result'" });
    let finished = A.submit(&service, &body);
    let shown = service.get_with(&path(&finished), &A.with(&[("prefer", "wait=30")]));
    assert_eq!(shown.json()["state"], "finished", "{}", shown.text);
    assert_eq!(shown.json()["tenant"], "a");
    let tag = shown.header("etag").to_owned();
    let executed = A.execute(&service, "'executed'");
    let running = A.submit(&service, &endless());
    let unknown = B.get(&service, &path("01890000-0000-7000-8000-000000000000"));
    assert_refused(&unknown, 404, "job_not_found", "an id that nobody has");
    for id in [&finished, &executed, &running] {
        let refusals = [
            B.get(&service, &path(id)),
            service.get_with(&path(id), &B.with(&[("if-none-match", &tag)])),
            service.get_with(&path(id), &B.with(&[("if-none-match", "*")])),
            service.get_with(&path(id), &B.with(&[("prefer", "wait=30")])),
            B.get(&service, &format!("{}/events", path(id))),
            service.delete_with(&path(id), &B.headers()),
            service.get(&path(id)),
            service.delete(&path(id)),
        ];
        for refused in refusals {
            assert_eq!(refused.status, 404, "{}", refused.text);
            // The same text as for an id that nobody has.
            assert_eq!(refused.text, unknown.text);
        }
    }
    assert_eq!(A.get(&service, &path(&executed)).status, 200);
    let stopped = service.delete_with(&path(&running), &A.headers());
    assert_eq!(stopped.json()["state"], "cancelled");
}

fn a_list_has_the_jobs_of_its_tenant_and_an_admin_lists_all(store: &Store) {
    let service = serve(store, &[]);
    let short = json!({ "code": "1" });
    let of_a: Vec<String> = (0..3).map(|_| A.submit(&service, &short)).collect();
    let of_b = B.submit(&service, &short);
    let of_nobody = service.submit(&short);
    let newest_first: Vec<String> = of_a.iter().rev().cloned().collect();
    assert_eq!(A.listed(&service, ""), newest_first);
    assert_eq!(A.listed(&service, "&tenant=a"), newest_first);
    assert_eq!(B.listed(&service, ""), std::slice::from_ref(&of_b));
    let all = ADMIN.listed(&service, "");
    for id in of_a.iter().chain([&of_b, &of_nobody]) {
        assert!(all.contains(id), "{all:?}");
    }
    assert_eq!(
        ADMIN.listed(&service, "&tenant=b"),
        std::slice::from_ref(&of_b)
    );
    assert!(!ADMIN.listed(&service, "&tenant=default").contains(&of_b));
    assert_eq!(ADMIN.get(&service, &path(&of_b)).json()["tenant"], "b");
    let listed = service.get("/api/jobs?limit=200").text;
    assert!(listed.contains(&of_nobody) && !listed.contains(&of_b));
    // A page of one tenant is full, however many jobs of others lie between.
    let page = A.get(&service, "/api/jobs?limit=2").json();
    assert_eq!(page["jobs"].as_array().unwrap().len(), 2);
    assert_eq!(page["nextCursor"], json!(newest_first[1]));
    let refused = A.get(&service, "/api/jobs?tenant=b");
    assert_refused(&refused, 403, "forbidden", "a list of another tenant");
    let refused = ADMIN.get(&service, "/api/jobs?tenant=a%20b");
    assert_refused(&refused, 400, "invalid_field", "no name of a tenant");
    assert_eq!(refused.json()["field"], "tenant");
    let running = B.submit(&service, &endless());
    let stopped = service.delete_with(&path(&running), &ADMIN.headers());
    assert!(matches!(stopped.status, 200 | 202), "{}", stopped.text);
    eventually(SOON, "an admin cancels a job of any tenant", || {
        ADMIN.get(&service, &path(&running)).json()["state"] == "cancelled"
    });
}

fn a_key_that_may_run_reads_its_own_results_and_no_others(store: &Store) {
    let service = serve(store, &[]);
    let runner = Key {
        id: KEY_B,
        scopes: "execute,jobs",
        ..A
    };
    let own = [
        runner.execute(&service, "'own'"),
        runner.submit(&service, &json!({ "code": "'own'" })),
    ];
    let of_other_key = [
        A.execute(&service, "'other'"),
        A.submit(&service, &json!({ "code": "'other'" })),
    ];
    for id in &own {
        assert_eq!(runner.get(&service, &path(id)).status, 200);
        assert_eq!(A.get(&service, &path(id)).status, 200);
    }
    for id in &of_other_key {
        assert_eq!(runner.get(&service, &path(id)).status, 404);
        assert_eq!(
            service.delete_with(&path(id), &runner.headers()).status,
            404
        );
    }
    assert_eq!(runner.listed(&service, ""), [own[1].clone()]);
}

fn a_key_without_a_tenant_owns_what_its_client_owned_before(store: &Store) {
    let service = serve(store, &[]);
    // An ingress of an earlier version names the key as the client, and no tenant.
    let client = [("sandpiper-client", "key:00000000000000aa")];
    let answer = service.post_with("/api/jobs", &client, &json!({ "code": "1" }));
    let id = answer.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(answer.json()["tenant"], "key:00000000000000aa");
    let own = Key {
        tenant: "key:00000000000000aa",
        ..A
    };
    assert_eq!(own.get(&service, &path(&id)).status, 200);
    assert_eq!(service.get_with(&path(&id), &client).status, 200);
    assert_eq!(A.get(&service, &path(&id)).status, 404);
    assert_eq!(service.get(&path(&id)).status, 404);
}

fn a_request_that_another_key_repeats_is_not_its_own(store: &Store) {
    let service = serve(store, &[]);
    let body = json!({ "code": "'secret'" });
    let submit = |key: Key| {
        let headers = key.with(&[("idempotency-key", "same"), ("prefer", "wait=30")]);
        service.post_with("/api/jobs", &headers, &body)
    };
    let first = submit(A);
    assert_eq!(first.status, 200, "{}", first.text);
    let of_tenant = Key { id: KEY_B, ..A };
    let again = submit(of_tenant);
    assert_eq!(again.json()["id"], first.json()["id"]);
    assert_eq!(again.header("idempotency-replayed"), "true");
    let narrow = Key {
        scopes: "jobs",
        ..of_tenant
    };
    assert_refused(
        &submit(narrow),
        422,
        "idempotency_key_reused",
        "a key that may not read",
    );
    let of_other = submit(B);
    assert_ne!(of_other.json()["id"], first.json()["id"]);
}

fn a_key_that_moves_to_another_tenant_takes_its_jobs_along(store: &Store) {
    let service = serve(store, &[]);
    let before = Key {
        tenant: "key:00000000000000aa",
        ..A
    };
    let with_key = |key: Key, name: &str| {
        let headers = key.with(&[("idempotency-key", name)]);
        let answer = service.post_with("/api/jobs", &headers, &json!({ "code": "1" }));
        (
            answer.json()["id"].clone(),
            answer.header("idempotency-replayed").to_owned(),
        )
    };
    let (keyed, _) = with_key(before, "same");
    let finished = before.submit(&service, &json!({ "code": "1" }));
    let shown = service.get_with(&path(&finished), &before.with(&[("prefer", "wait=30")]));
    assert_eq!(shown.json()["state"], "finished");
    let executed = before.execute(&service, "1");
    let running = before.submit(&service, &endless());
    let of_other_key = Key { id: KEY_B, ..A }.submit(&service, &json!({ "code": "1" }));
    let assign = |key: Key, from: &str, to: &str| {
        let body = json!({ "key": KEY_A, "to": to });
        service.post_with(
            &format!("/api/tenants/{from}/assign"),
            &key.headers(),
            &body,
        )
    };
    assert_refused(&assign(A, before.tenant, "c"), 403, "forbidden", "no admin");
    let moved = assign(ADMIN, before.tenant, "c");
    assert_eq!(
        moved.json(),
        json!({ "tenant": "c", "jobs": 3 }),
        "{}",
        moved.text
    );
    let after = Key { tenant: "c", ..A };
    for id in [&finished, &executed, &running] {
        assert_eq!(after.get(&service, &path(id)).status, 200);
        assert_eq!(before.get(&service, &path(id)).status, 404);
    }
    assert_eq!(after.listed(&service, "").len(), 3);
    assert!(before.listed(&service, "").is_empty());
    assert_eq!(with_key(after, "same"), (keyed, "true".to_owned()));
    assert_eq!(A.listed(&service, ""), [of_other_key]);
    // The running job can still be stopped, and ends as any other.
    let stopped = service.delete_with(&path(&running), &after.headers());
    assert_eq!(stopped.json()["state"], "cancelled", "{}", stopped.text);
    assert_eq!(assign(ADMIN, before.tenant, "c").json()["jobs"], 0);
    for (from, to, field) in [
        ("a%20b", "c", "tenant"),
        ("a", "-", "to"),
        ("a", "default", "to"),
    ] {
        let refused = assign(ADMIN, from, to);
        assert_refused(&refused, 400, "invalid_field", field);
        assert_eq!(refused.json()["field"], field);
    }
}

fn a_stream_ends_when_its_job_moves_to_another_tenant(store: &Store) {
    let service = serve(store, &[]);
    let code =
        "for (;;) { const end = Date.now() + 20; while (Date.now() < end); console.log('logged') }";
    let id = A.submit(
        &service,
        &json!({ "code": code, "limits": { "timeoutMs": 30_000 } }),
    );
    let state = |key: Key| key.get(&service, &path(&id)).json()["state"].clone();
    eventually(SOON, "it runs", || state(A) == "running");
    // A key of the tenant that stays there.
    let stays = Key { id: KEY_B, ..A };
    thread::scope(|scope| {
        let stream = scope.spawn(|| stays.get(&service, &format!("{}/events", path(&id))));
        let body = json!({ "key": KEY_A, "to": "c" });
        let moved = service.post_with("/api/tenants/a/assign", &ADMIN.headers(), &body);
        assert_eq!(moved.json()["jobs"], 1, "{}", moved.text);
        let stream = stream.join().unwrap();
        assert!(!stream.text.contains("event: end"), "{}", stream.text);
    });
    assert_eq!(state(Key { tenant: "c", ..A }), "running");
    assert_eq!(stays.get(&service, &path(&id)).status, 404);
}

fn a_purged_job_is_gone_with_its_result_and_its_key(store: &Store) {
    let service = serve(store, &[]);
    let submit = || {
        let headers = A.with(&[("idempotency-key", "k"), ("prefer", "wait=30")]);
        service.post_with("/api/jobs", &headers, &json!({ "code": "'result'" }))
    };
    let purge =
        |key: Key, id: &str| service.delete_with(&format!("{}?purge", path(id)), &key.headers());
    let finished = submit().json()["id"].as_str().unwrap().to_owned();
    let running = A.submit(&service, &endless());
    eventually(SOON, "it runs", || {
        A.get(&service, &path(&running)).json()["state"] == "running"
    });
    let queued = A.submit(&service, &endless());
    let executed = A.execute(&service, "'result'");
    let kept = A.submit(&service, &json!({ "code": "1" }));
    for id in [&finished, &running, &queued, &executed] {
        assert_eq!(purge(B, id).status, 404);
        assert_eq!(
            A.get(&service, &path(id)).status,
            200,
            "another tenant purges nothing"
        );
        let purged = purge(A, id);
        assert_eq!(
            (purged.status, &purged.json()["id"]),
            (200, &json!(id)),
            "{}",
            purged.text
        );
        assert!(purged.json()["execution"].is_null());
        assert_refused(&A.get(&service, &path(id)), 404, "job_not_found", id);
        assert_refused(&purge(A, id), 404, "job_not_found", id);
    }
    assert_eq!(A.listed(&service, ""), [kept]);
    let again = submit();
    assert_eq!(again.status, 200);
    assert_ne!(again.json()["id"], json!(finished), "the key is free again");
    let refused = service.delete_with(&format!("{}?purge=1", path(&finished)), &A.headers());
    assert_refused(&refused, 400, "invalid_field", "purge=1");
}

fn a_request_that_began_before_the_purge_of_its_tenant_leaves_no_job(store: &Store) {
    let service = serve(store, &[]);
    let body = json!({ "code": "1" }).to_string();
    for route in ["/api/jobs", "/api/execute"] {
        A.submit(&service, &json!({ "code": "1" }));
        let request = post(route, &A.headers(), body.as_bytes());
        let (first, rest) = request.split_at(request.len() - 3);
        let mut open = service.send_raw(first);
        // Usually enough for the service to have read the headers. If it has not, it refuses them.
        thread::sleep(Duration::from_millis(200));
        let purged = service.delete_with("/api/tenants/a", &ADMIN.headers());
        assert_eq!(purged.status, 200, "{}", purged.text);
        open.write_all(rest).unwrap();
        let refused = answer_on(open).unwrap();
        assert_refused(&refused, 401, "unauthorized", route);
        assert_refused(
            &A.get(&service, "/api/netcheck"),
            401,
            "unauthorized",
            route,
        );
        let left = ADMIN.get(&service, "/api/jobs?tenant=a").json();
        assert_eq!(left["jobs"], json!([]), "{route}");
        let restored = service.post_raw("/api/tenants/a/restore", &ADMIN.headers(), b"");
        assert_eq!(restored.status, 204, "{}", restored.text);
    }
}

fn a_tenant_that_nothing_is_known_of_is_named_as_such(store: &Store) {
    let service = serve(store, &[]);
    let named = |tenant: &str, more: &[(&str, &str)]| {
        let headers = ADMIN.with(more);
        [
            service.get_with(&format!("/api/jobs?tenant={tenant}"), &headers),
            service.get_with(&format!("/api/usage?tenant={tenant}"), &headers),
            service.post_raw(&format!("/api/tenants/{tenant}/restore"), &headers, b""),
            service.delete_with(&format!("/api/tenants/{tenant}"), &headers),
        ]
    };
    for unknown in ["a", "key:00000000000000aa"] {
        for refused in named(unknown, &[]) {
            assert_refused(&refused, 404, "unknown_tenant", unknown);
            assert!(refused.text.contains(unknown), "{}", refused.text);
        }
    }
    // The ingress knows a tenant by its keys, and the store one that has used something.
    let of_ingress = [("sandpiper-known-tenant", "new")];
    A.execute(&service, "1");
    B.submit(&service, &json!({ "code": "1" }));
    let own = format!("/api/jobs?tenant={}", ADMIN.tenant);
    assert_eq!(ADMIN.get(&service, &own).status, 200);
    let cases: [(&str, &[(&str, &str)]); 4] = [
        ("new", &of_ingress),
        ("a", &[]),
        ("b", &[]),
        ("default", &[]),
    ];
    for (known, more) in cases {
        for answer in named(known, more) {
            assert!(answer.status < 300, "{known}: {}", answer.text);
        }
    }
    // A purged tenant stays known.
    for answer in [
        ADMIN.get(&service, "/api/jobs?tenant=b"),
        ADMIN.get(&service, "/api/usage?tenant=b"),
        service.delete_with("/api/tenants/b", &ADMIN.headers()),
    ] {
        assert_eq!(answer.status, 200, "{}", answer.text);
    }
    // A key without the scope `admin` does not learn which tenants there are.
    let narrow = Key { tenant: "c", ..A };
    for tenant in ["nobody", "new", "operators"] {
        let refused = narrow.get(&service, &format!("/api/jobs?tenant={tenant}"));
        assert_refused(&refused, 403, "forbidden", tenant);
    }
}

fn a_purged_tenant_is_gone_and_its_keys_are_refused(store: &Store) {
    let service = serve(store, &["--executors", "1"]);
    let gone = [
        A.execute(&service, "1"),
        A.submit(&service, &json!({ "code": "1" })),
        A.submit(&service, &endless()),
        A.submit(&service, &endless()),
    ];
    let kept = B.submit(&service, &json!({ "code": "1" }));
    let change = |method: &str, key: Key, path: &str| {
        let path = format!("/api/tenants/{path}");
        match method {
            "DELETE" => service.delete_with(&path, &key.headers()),
            _ => service.post_raw(&path, &key.headers(), b""),
        }
    };
    assert_refused(&change("DELETE", A, "a"), 403, "forbidden", "no admin");
    assert_refused(
        &change("POST", A, "a/restore"),
        403,
        "forbidden",
        "no admin",
    );
    assert_refused(
        &change("DELETE", ADMIN, "-"),
        400,
        "invalid_field",
        "no tenant",
    );
    let purged = change("DELETE", ADMIN, "a");
    assert_eq!(
        purged.json(),
        json!({ "tenant": "a", "jobs": 3 }),
        "{}",
        purged.text
    );
    for id in &gone {
        assert_eq!(ADMIN.get(&service, &path(id)).status, 404);
    }
    let refused = A.get(&service, "/api/jobs");
    assert_refused(&refused, 401, "unauthorized", "a purged tenant");
    assert_eq!(refused.header("www-authenticate"), "Bearer");
    let body = json!({ "code": "1" });
    for route in ["/api/jobs", "/api/execute"] {
        assert_eq!(service.post_with(route, &A.headers(), &body).status, 401);
    }
    assert_eq!(B.listed(&service, ""), [kept]);
    assert_eq!(change("DELETE", ADMIN, "a").json()["jobs"], 0);
    assert_eq!(change("POST", ADMIN, "a/restore").status, 204);
    assert!(A.listed(&service, "").is_empty());
    A.submit(&service, &body);
}

fn a_position_in_the_queue_counts_the_tenants_own_jobs(store: &Store) {
    let service = serve(store, &["--executors", "1"]);
    let running = A.submit(&service, &endless());
    eventually(SOON, "it runs", || {
        A.get(&service, &path(&running)).json()["state"] == "running"
    });
    let waiting: Vec<String> = (0..4).map(|_| A.submit(&service, &endless())).collect();
    let of_b = B.submit(&service, &endless());
    let position =
        |key: Key, id: &str| key.get(&service, &path(id)).json()["queuePosition"].clone();
    // A database hands out a few jobs at a time, and the others have no position yet.
    assert!([json!(1), Value::Null].contains(&position(B, &of_b)));
    for (index, id) in waiting.iter().enumerate() {
        let shown = position(A, id);
        assert!(
            [json!(index + 1), Value::Null].contains(&shown),
            "{index}: {shown}"
        );
    }
}

/// All keys of a tenant are one client. With a turn for each key the other tenant would wait for all of them.
fn a_flood_by_all_keys_of_a_tenant_does_not_keep_back_another_tenant(store: &Store) {
    const KEYS: usize = 20;
    let service = serve(store, &["--executors", "1"]);
    let submit = |tenant: &str, key: usize, body: &Value| {
        let key = format!("{key:016x}");
        let headers = [
            ("sandpiper-tenant", tenant),
            ("sandpiper-key", &key),
            ("sandpiper-scopes", ALL_SCOPES),
        ];
        let answer = service.post_with("/api/jobs", &headers, body);
        assert_eq!(answer.status, 202, "{}", answer.text);
        answer.json()["id"].as_str().unwrap().to_owned()
    };
    let holder = submit("holder", 1, &endless());
    eventually(SOON, "the holder runs", || {
        ADMIN.get(&service, &path(&holder)).json()["state"] == "running"
    });
    let short = json!({ "code": "const end = Date.now() + 10; while (Date.now() < end);" });
    thread::scope(|scope| {
        for sender in 0..6 {
            let (submit, short) = (&submit, &short);
            scope.spawn(move || {
                for key in (0..3 * KEYS).skip(sender).step_by(6) {
                    submit("many", 100 + key % KEYS, short);
                }
            });
        }
    });
    let few: Vec<String> = (0..3).map(|_| submit("few", 1, &short)).collect();
    let stopped = service.delete_with(&path(&holder), &ADMIN.headers());
    assert_eq!(stopped.status, 200, "{}", stopped.text);
    let last_start = few.iter().map(|id| {
        let ended = service.get_with(&path(id), &ADMIN.with(&[("prefer", "wait=30")]));
        ended.json()["startedAt"].as_str().unwrap().to_owned()
    });
    let last_start = last_start.max().unwrap();
    let ended = ADMIN.get(&service, "/api/jobs?tenant=many&state=finished&limit=200");
    let ended = ended.json()["jobs"].as_array().unwrap().clone();
    let before = ended
        .iter()
        .filter(|job| job["startedAt"].as_str().unwrap() < last_start.as_str());
    let before = before.count();
    assert!(before < KEYS, "{before} jobs of the flood went first");
}

/// One sequence for this many cases of other properties, whose cases take no time.
const CASES_SHARE: u32 = 43;

/// One request of a tenant. Numbers choose among the jobs that were made so far.
#[derive(Debug, Clone)]
enum Step {
    Execute,
    Submit {
        key: Option<u8>,
        endless: bool,
    },
    Get(usize),
    Wait(usize),
    Events(usize),
    Cancel(usize),
    Purge(usize),
    /// A request with the `ETag` of an earlier response, or with any.
    Unchanged(usize),
    Usage(&'static str),
    List {
        state: &'static str,
        cursor: Option<usize>,
    },
    Nodes,
}

fn steps() -> impl Strategy<Value = Vec<(bool, bool, Step)>> {
    let job = 0_usize..64;
    let step = prop_oneof![
        Just(Step::Execute),
        (prop::option::of(0_u8..3), prop::bool::ANY)
            .prop_map(|(key, endless)| Step::Submit { key, endless }),
        job.clone().prop_map(Step::Get),
        job.clone().prop_map(Step::Wait),
        job.clone().prop_map(Step::Events),
        job.clone().prop_map(Step::Cancel),
        job.clone().prop_map(Step::Purge),
        job.clone().prop_map(Step::Unchanged),
        prop::sample::select(vec!["", "?by=hour", "?format=csv"]).prop_map(Step::Usage),
        (
            prop::sample::select(vec![
                "",
                "&state=queued",
                "&state=running",
                "&state=finished",
                "&state=cancelled",
                "&state=lost"
            ]),
            prop::option::of(job)
        )
            .prop_map(|(state, cursor)| Step::List { state, cursor }),
        Just(Step::Nodes),
    ];
    // Which tenant, and which node.
    prop::collection::vec((prop::bool::ANY, prop::bool::ANY, step), 1..24)
}

/// The marks of a tenant: texts that occur in nothing but what belongs to it.
fn marks(key: Key) -> [String; 2] {
    [format!("mark-of-{}", key.tenant), key.id.to_owned()]
}

fn no_sequence_of_requests_shows_one_tenant_anything_of_another(store: &Store) {
    let options = ["--events-s", "1", "--client-jobs-max", "20"];
    let first = serve(store, &options);
    let second = matches!(store, Store::Postgres(_)).then(|| serve(store, &options));
    let nodes = [&first, second.as_ref().unwrap_or(&first)];
    let mut runner = TestRunner::new(Config {
        // `make fuzz` asks for more.
        cases: Config::default().cases.div_ceil(CASES_SHARE),
        failure_persistence: None,
        max_shrink_iters: 0,
        ..Config::default()
    });
    let jobs = std::cell::RefCell::new(Vec::<(bool, String)>::new());
    let outcome = runner.run(&steps(), |steps| {
        for (is_a, node, step) in steps {
            let key = if is_a { A } else { B };
            let text = take(nodes[usize::from(node)], key, is_a, &step, &jobs);
            let other = if is_a { B } else { A };
            for mark in marks(other) {
                assert!(!text.contains(&mark), "{step:?} shows {mark}: {text}");
            }
            let jobs = jobs.borrow();
            let of_other = jobs.iter().filter(|(owner, _)| *owner != is_a);
            for (_, id) in of_other {
                let is_asked = step_names(&step, &jobs) == Some(id);
                assert!(
                    is_asked || !text.contains(id.as_str()),
                    "{step:?} shows {id}: {text}"
                );
            }
        }
        Ok(())
    });
    outcome.unwrap();
    let states: HashMap<bool, usize> =
        jobs.borrow()
            .iter()
            .fold(HashMap::new(), |mut counts, (owner, _)| {
                *counts.entry(*owner).or_default() += 1;
                counts
            });
    assert!(states.len() == 2, "both tenants had jobs: {states:?}");
}

/// Returns the job that a step names.
fn step_names<'a>(step: &Step, jobs: &'a [(bool, String)]) -> Option<&'a String> {
    let number = match step {
        Step::Get(number)
        | Step::Wait(number)
        | Step::Events(number)
        | Step::Cancel(number)
        | Step::Purge(number)
        | Step::Unchanged(number) => *number,
        Step::List { cursor, .. } => (*cursor)?,
        _ => return None,
    };
    jobs.get(number % jobs.len().max(1)).map(|(_, id)| id)
}

/// Sends the request of a step, checks its status, and returns the head and body of the response.
fn take(
    service: &Service,
    key: Key,
    is_a: bool,
    step: &Step,
    jobs: &std::cell::RefCell<Vec<(bool, String)>>,
) -> String {
    let mark = &marks(key)[0];
    let code = format!(
        "console.log('{mark}'); if (Math.random() < 0.3) throw new Error('{mark}'); '{mark}'"
    );
    let chosen = step_names(step, &jobs.borrow()).cloned();
    let is_own = chosen.as_ref().is_some_and(|id| {
        jobs.borrow()
            .iter()
            .any(|(owner, other)| other == id && *owner == is_a)
    });
    let remember = |answer: &Answer| {
        if answer.status < 300 {
            let id = answer.json()["id"].as_str().unwrap().to_owned();
            jobs.borrow_mut().push((is_a, id));
        }
    };
    let job_path = chosen
        .as_deref()
        .map(path)
        .unwrap_or_else(|| path("01890000-0000-7000-8000-000000000000"));
    let answer = match step {
        Step::Execute => {
            let answer =
                service.post_with("/api/execute", &key.headers(), &json!({ "code": code }));
            remember(&answer);
            answer
        }
        Step::Submit {
            key: idempotency,
            endless,
        } => {
            let code = if *endless {
                format!("console.log('{mark}'); for (;;);")
            } else {
                code
            };
            let body = json!({ "code": code, "limits": { "timeoutMs": 1_000 } });
            let name = idempotency.map(|number| number.to_string());
            let header = name.as_deref().map(|name| ("idempotency-key", name));
            let headers = key.with(header.as_slice());
            let answer = service.post_with("/api/jobs", &headers, &body);
            if answer.header("idempotency-replayed").is_empty() {
                remember(&answer);
            }
            answer
        }
        Step::Get(_) => key.get(service, &job_path),
        Step::Wait(_) => service.get_with(&job_path, &key.with(&[("prefer", "wait=1")])),
        Step::Events(_) => key.get(service, &format!("{job_path}/events")),
        Step::Cancel(_) => service.delete_with(&job_path, &key.headers()),
        Step::Purge(_) => service.delete_with(&format!("{job_path}?purge"), &key.headers()),
        Step::Unchanged(_) => service.get_with(&job_path, &key.with(&[("if-none-match", "*")])),
        Step::Usage(query) => key.get(service, &format!("/api/usage{query}")),
        Step::List { state, .. } => {
            let cursor = chosen
                .as_ref()
                .map(|id| format!("&cursor={id}"))
                .unwrap_or_default();
            key.get(service, &format!("/api/jobs?limit=5{state}{cursor}"))
        }
        Step::Nodes => key.get(service, "/api/nodes"),
    };
    let names_a_job = matches!(
        step,
        Step::Get(_)
            | Step::Wait(_)
            | Step::Events(_)
            | Step::Cancel(_)
            | Step::Purge(_)
            | Step::Unchanged(_)
    );
    if names_a_job && !is_own {
        assert_eq!(answer.status, 404, "{step:?}: {}", answer.text);
    }
    format!("{:?} {}", answer.headers, answer.text)
}

#[test]
fn any_node_of_one_postgres_knows_whose_job_it_is() {
    let store = Store::Postgres(Postgres::shared_database());
    let nodes = [serve(&store, &[]), serve(&store, &[])];
    let id = A.submit(&nodes[0], &json!({ "code": "'result'" }));
    assert_eq!(A.get(&nodes[1], &path(&id)).status, 200);
    assert_eq!(B.get(&nodes[1], &path(&id)).status, 404);
    assert_eq!(A.listed(&nodes[1], ""), std::slice::from_ref(&id));
    assert!(B.listed(&nodes[1], "").is_empty());
}

#[test]
fn the_command_line_moves_the_jobs_of_a_key() {
    let service = serve(&Store::Memory, &[]);
    A.submit(&service, &json!({ "code": "1" }));
    let assign = |to: &str| {
        std::process::Command::new(env!("CARGO_BIN_EXE_sandpiper"))
            .args(["tenants", "assign", KEY_A, "--from", "a", "--to", to])
            .args(["--port", &service.port.to_string()])
            .output()
            .unwrap()
    };
    let moved = assign("c");
    assert!(moved.status.success(), "{moved:?}");
    assert_eq!(moved.stdout, b"{\"tenant\":\"c\",\"jobs\":1}\n");
    let refused = assign("default");
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stdout).contains("`to`"));
    assert_eq!(assign("a b").status.code(), Some(2));
}

#[test]
fn a_service_that_believes_no_headers_refuses_a_tenant() {
    let service = Service::start();
    for (name, value) in A.headers() {
        let answer = service.get_with("/api/jobs", &[(name, value)]);
        assert_refused(&answer, 403, "forbidden", name);
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains("--client-header"), "{detail}");
    }
    assert_eq!(service.get("/api/jobs").status, 200);
}

#[test]
fn an_invalid_header_of_a_tenant_is_refused_and_named() {
    let service = serve(&Store::Memory, &[]);
    for (name, value) in [
        ("sandpiper-tenant", "a b"),
        ("sandpiper-tenant", ""),
        ("sandpiper-tenant", "key:1"),
        ("sandpiper-key", "xyz"),
        ("sandpiper-key", "00000000000000AA"),
    ] {
        let answer = service.get_with("/api/jobs", &[(name, value)]);
        assert_refused(&answer, 400, "invalid_field", value);
        assert_eq!(answer.json()["field"], name);
    }
    let twice = [("sandpiper-tenant", "a"), ("sandpiper-tenant", "b")];
    assert_refused(
        &service.get_with("/api/jobs", &twice),
        400,
        "invalid_field",
        "twice",
    );
    // A key that may not read has only what it submitted, so the service must know which key it is.
    let narrow = [("sandpiper-tenant", "a"), ("sandpiper-scopes", "execute")];
    assert_refused(
        &service.get_with("/api/jobs", &narrow),
        400,
        "invalid_field",
        "no key",
    );
}

#[test]
fn totals_of_all_tenants_are_shown_to_an_admin_alone() {
    let store = Store::postgres();
    let service = serve(&store, &["--executors", "1"]);
    A.submit(&service, &endless());
    A.submit(&service, &endless());
    let oldest = |key: Key| key.get(&service, "/api/nodes").json()["oldestQueuedMs"].clone();
    eventually(SOON, "a job waits", || oldest(ADMIN).is_number());
    assert_eq!(oldest(B), Value::Null);
}
