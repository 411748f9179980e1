//! Budgets of a tenant and of a key: requests beyond them are refused before anything runs, over every kind of store.

use crate::stores::{Postgres, Store, over_every_store};
use crate::support::{Answer, SOON, Service, assert_refused, eventually};
use crate::usage::{A, B, Key, serve};
use serde_json::{Value, json};
use std::cell::Cell;
use std::time::{Duration, Instant};

over_every_store!(
    a_request_beyond_a_budget_is_refused_until_the_budget_begins_anew,
    requests_at_the_same_time_exceed_no_budget,
    a_repeated_request_gets_its_job_although_the_budget_is_used_up,
    each_unit_has_a_budget_of_its_own,
    a_budget_outlives_the_process_where_the_store_does,
    a_job_reserves_its_processor_time_until_it_has_ended,
);

const DAY_S: u64 = 86_400;

type Request = fn(&Service, Key, &str) -> Answer;

fn with<'a>(key: Key, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    [&key.headers()[..], more].concat()
}

fn post(service: &Service, key: Key, path: &str, budget: &str, body: &Value) -> Answer {
    service.post_with(path, &with(key, &[("sandpiper-budget", budget)]), body)
}

fn execute(service: &Service, key: Key, budget: &str) -> Answer {
    post(
        service,
        key,
        "/api/execute",
        budget,
        &json!({ "code": "1 + 2" }),
    )
}

fn submit(service: &Service, key: Key, budget: &str) -> Answer {
    post(
        service,
        key,
        "/api/jobs",
        budget,
        &json!({ "code": "1 + 2" }),
    )
}

/// Returns a parameter of a budget in a header, such as `r` in `"tenant-day";r=12;t=3600`.
fn parameter(answer: &Answer, header: &str, policy: &str, name: &str) -> u64 {
    let header = answer.header(header);
    let mut items = header.split(", ");
    let item = items.find(|item| item.starts_with(&format!("\"{policy}\";")));
    let item = item.unwrap_or_else(|| panic!("no {policy} in {header}"));
    let mut parameters = item.split(';').filter_map(|part| part.split_once('='));
    let found = parameters.find(|(known, _)| *known == name);
    found.unwrap().1.parse().unwrap()
}

fn a_request_beyond_a_budget_is_refused_until_the_budget_begins_anew(store: &Store) {
    let service = serve(store, &[]);
    let budget = "tenant-day;executions=3, key-month;executions=100";
    let left = |answer: &Answer| parameter(answer, "ratelimit", "tenant-day", "r");
    let requests: [(Request, u16); 3] = [(execute, 200), (submit, 202), (execute, 200)];
    for (request, status) in requests {
        let answer = request(&service, A, budget);
        assert_eq!(answer.status, status, "{}", answer.text);
        let policy = "ratelimit-policy";
        assert_eq!(parameter(&answer, policy, "tenant-day", "q"), 3);
        assert_eq!(parameter(&answer, policy, "tenant-day", "w"), DAY_S);
        assert_eq!(parameter(&answer, policy, "key-month", "q"), 100);
        let month = parameter(&answer, policy, "key-month", "w");
        assert!((28 * DAY_S..=31 * DAY_S).contains(&month), "{month}");
    }
    for request in [execute, submit] {
        let refused = request(&service, A, budget);
        assert_refused(&refused, 429, "quota_exceeded", "the fourth");
        assert_eq!(refused.json()["bound"], 3);
        let detail = refused.json()["detail"].as_str().unwrap().to_owned();
        for part in ["tenant-day", "executions", " 3 "] {
            assert!(detail.contains(part), "{detail}");
        }
        assert_eq!(left(&refused), 0);
        assert_eq!(parameter(&refused, "ratelimit", "key-month", "r"), 97);
        let after: u64 = refused.header("retry-after").parse().unwrap();
        let reset = parameter(&refused, "ratelimit", "tenant-day", "t");
        assert!((1..=DAY_S).contains(&after) && after.abs_diff(reset) <= 1);
    }
    // A higher budget counts at once. Another tenant has its own, and a request without budgets has none.
    assert_eq!(left(&execute(&service, A, "tenant-day;executions=5")), 1);
    assert_eq!(left(&execute(&service, B, budget)), 2);
    assert_eq!(A.execute(&service, "1")["result"], 1);
    // An invalid request is charged nothing, and says what is left.
    let invalid = post(&service, B, "/api/execute", budget, &json!({}));
    assert_eq!((invalid.status, left(&invalid)), (400, 2));
    let mut headers = with(B, &[("sandpiper-budget", budget)]);
    let report = service.get_with("/api/usage", &headers).json();
    assert_eq!(report["budgets"][0]["policy"], "tenant-day", "{report}");
    assert_eq!(report["budgets"][0]["unit"], "executions");
    assert_eq!(report["budgets"][0]["limit"], 3);
    assert_eq!(report["budgets"][0]["used"], 1);
    assert_eq!(report["budgets"][0]["remaining"], 2);
    let resets_at = report["budgets"][0]["resetsAt"].as_str().unwrap();
    assert!(resets_at.ends_with("T00:00:00.000Z"), "{resets_at}");
    headers[2].1 = "admin";
    let of_another = service.get_with("/api/usage?tenant=a", &headers).json();
    assert_eq!(of_another["budgets"], json!([]));
    let of_all = service.get_with("/api/usage", &headers).json();
    assert_eq!(of_all["budgets"], report["budgets"]);
    let series = "budget_refusals_total{policy=\"tenant-day\"}";
    assert_eq!(service.metric(series), Some(2.0));
}

fn requests_at_the_same_time_exceed_no_budget(store: &Store) {
    let service = serve(store, &[]);
    let accepted = |request: Request, key, budget: &str| {
        std::thread::scope(|scope| {
            let sent: Vec<_> = (0..24)
                .map(|_| scope.spawn(|| request(&service, key, budget).status))
                .collect();
            let statuses = sent.into_iter().map(|sent| sent.join().unwrap());
            statuses.filter(|status| *status < 300).count()
        })
    };
    assert_eq!(accepted(execute, A, "key-day;executions=7"), 7);
    assert_eq!(accepted(submit, A, "key-day;executions=7"), 0);
    assert_eq!(accepted(submit, B, "tenant-month;executions=7"), 7);
    assert_eq!(accepted(execute, B, "tenant-month;executions=9"), 2);
}

fn a_repeated_request_gets_its_job_although_the_budget_is_used_up(store: &Store) {
    let service = serve(store, &[]);
    let budget = ("sandpiper-budget", "tenant-day;executions=1");
    let keyed = |key: &'static str, code: &str| {
        let headers = with(A, &[budget, ("idempotency-key", key)]);
        service.post_with("/api/jobs", &headers, &json!({ "code": code }))
    };
    let first = keyed("first", "1");
    assert_eq!(first.status, 202, "{}", first.text);
    for _ in 0..2 {
        let again = keyed("first", "1");
        assert!(again.status < 300, "{}", again.text);
        assert_eq!(again.header("idempotency-replayed"), "true");
        assert_eq!(again.json()["id"], first.json()["id"]);
    }
    let other = keyed("first", "2");
    assert_refused(&other, 422, "idempotency_key_reused", "another request");
    let second = keyed("second", "1");
    assert_refused(&second, 429, "quota_exceeded", "a new request");
    // A request that was refused leaves no key behind.
    let headers = with(A, &[("idempotency-key", "second")]);
    let later = service.post_with("/api/jobs", &headers, &json!({ "code": "2" }));
    assert_eq!(later.status, 202, "{}", later.text);
}

fn each_unit_has_a_budget_of_its_own(store: &Store) {
    let service = serve(store, &[]);
    let large = json!({ "code": "input.length", "input": "i".repeat(1_000) });
    let bytes = "tenant-day;queuedBytes=2500";
    for status in [202, 202, 429] {
        let answer = post(&service, A, "/api/jobs", bytes, &large);
        assert_eq!(answer.status, status, "{}", answer.text);
    }
    // A smaller job fits, and an execution is not queued.
    assert_eq!(submit(&service, A, bytes).status, 202);
    assert_eq!(post(&service, A, "/api/execute", bytes, &large).status, 200);
    let cpu = "key-day;cpuSeconds=1";
    let busy = json!({
        "code": "const end = Date.now() + 300; while (Date.now() < end);",
        "limits": { "timeoutMs": 30_000 },
    });
    let start = Instant::now();
    let refused = loop {
        let answer = post(&service, B, "/api/execute", cpu, &busy);
        if answer.status != 200 {
            break answer;
        }
        assert!(start.elapsed() < SOON, "processor time is not counted");
    };
    assert_refused(&refused, 429, "quota_exceeded", "processor time");
    let job = post(&service, B, "/api/jobs", cpu, &busy);
    assert_refused(&job, 429, "quota_exceeded", "processor time of a job");
    assert_eq!(parameter(&job, "ratelimit", "key-day-cpu", "r"), 0);
    let used = B.usage(&service, "")["totals"]["cpuMs"].as_f64().unwrap();
    assert!((1_000.0..2_000.0).contains(&used), "{used}");
}

fn a_budget_outlives_the_process_where_the_store_does(store: &Store) {
    let budget = "tenant-day;executions=4";
    let mut service = serve(store, &[]);
    for request in [execute as Request, submit] {
        for _ in 0..2 {
            assert!(request(&service, A, budget).status < 300);
        }
    }
    service.signal(15);
    assert!(service.exit_within(SOON).success());
    let service = serve(store, &[]);
    let answer = execute(&service, A, budget);
    if matches!(store, Store::Memory) {
        assert_eq!(answer.status, 200);
        return;
    }
    assert_refused(&answer, 429, "quota_exceeded", "after a restart");
    eventually(SOON, "the jobs have ended", || {
        A.usage(&service, "")["totals"]["executions"]["succeeded"] == 4
    });
}

fn a_job_reserves_its_processor_time_until_it_has_ended(store: &Store) {
    let options = ["--executors", "3"];
    let mut service = serve(store, &options);
    let (budget, policy) = ("tenant-day;cpuSeconds=50", "tenant-day-cpu");
    // It waits, and takes no processor time.
    let waiting = json!({
        "code": "await new Promise((done) => setTimeout(done, 29_000))",
        "limits": { "timeoutMs": 30_000 },
    });
    let id_of = |answer: &Answer| answer.json()["id"].as_str().unwrap().to_owned();
    let accepted = [20, 0].map(|left| {
        let answer = post(&service, A, "/api/jobs", budget, &waiting);
        assert_eq!(answer.status, 202, "{}", answer.text);
        assert_eq!(parameter(&answer, "ratelimit", policy, "r"), left);
        id_of(&answer)
    });
    let refusals = |service: &Service| {
        for request in [execute, submit] {
            let refused = request(service, A, budget);
            assert_refused(&refused, 429, "quota_exceeded", "reserved");
            let detail = refused.json()["detail"].as_str().unwrap().to_owned();
            assert!(detail.contains("60 of them reserved"), "{detail}");
            // It fits once the jobs have ended, which will be long before the next day.
            assert_eq!(refused.header("retry-after"), "5");
        }
    };
    refusals(&service);
    // Neither a budget of another unit nor another tenant is concerned.
    let other = execute(&service, A, "tenant-day;executions=3");
    assert_eq!(parameter(&other, "ratelimit", "tenant-day", "r"), 0);
    assert_eq!(execute(&service, B, budget).status, 200);
    if !matches!(store, Store::Memory) {
        // The jobs are still open after a restart.
        service.signal(9);
        service.exit_within(SOON);
        service = serve(store, &options);
        refusals(&service);
    }
    let used = |service: &Service| {
        let headers = with(A, &[("sandpiper-budget", budget)]);
        let report = service.get_with("/api/usage", &headers).json();
        report["budgets"][0]["used"].as_u64().unwrap()
    };
    assert!(used(&service) >= 60, "{}", used(&service));
    for id in accepted {
        let stopped = service.delete_with(&format!("/api/jobs/{id}"), &A.headers());
        assert_eq!(stopped.status, 200, "{}", stopped.text);
    }
    eventually(SOON, "the reserved time is free again", || {
        used(&service) < 50 && submit(&service, A, budget).status == 202
    });
}

#[test]
fn a_budget_that_two_nodes_use_up_together_is_exceeded_by_what_is_in_flight() {
    const LIMIT: usize = 60;
    let store = Store::Postgres(Postgres::shared_database());
    let nodes = [serve(&store, &[]), serve(&store, &[])];
    for node in &nodes {
        // A share of this budget is less than one request, so a node that knows of the other reads the totals.
        let number = Cell::new(0);
        eventually(SOON, "it knows of the other node", || {
            number.set(number.get() + 1);
            let tenant = format!("tenant-{}", number.get());
            let headers = [
                ("sandpiper-tenant", tenant.as_str()),
                ("sandpiper-budget", "tenant-day;executions=15"),
            ];
            let answer = node.post_with("/api/execute", &headers, &json!({ "code": "1" }));
            assert_eq!(answer.status, 200, "{}", answer.text);
            node.metric("budget_checks_waited_total") > Some(0.0)
        });
    }
    let budget = format!("tenant-day;executions={LIMIT}");
    let is_job = [false, true];
    let counts = std::thread::scope(|scope| {
        let senders = nodes
            .iter()
            .flat_map(|node| is_job.map(|is_job| (node, is_job)));
        let senders: Vec<_> = senders
            .map(|(node, is_job)| {
                let request: Request = if is_job { submit } else { execute };
                let budget = &budget;
                scope.spawn(move || {
                    let accepted = |_: &usize| request(node, A, budget).status < 300;
                    (0..).take_while(accepted).count()
                })
            })
            .collect();
        senders
            .into_iter()
            .map(|sender| sender.join().unwrap())
            .collect::<Vec<_>>()
    });
    let accepted: usize = counts.iter().sum();
    // Two senders at the other node, each with one request in flight and one whose usage is being written.
    assert!((LIMIT..=LIMIT + 4).contains(&accepted), "{counts:?}");
    for node in &nodes {
        assert_refused(&execute(node, A, &budget), 429, "quota_exceeded", "a node");
    }
}

#[test]
fn budgets_hold_over_all_nodes_of_a_database() {
    let store = Store::Postgres(Postgres::shared_database());
    let nodes = [serve(&store, &[]), serve(&store, &[])];
    let budget = "tenant-day;executions=6";
    // Both nodes know of the tenant before one of them uses its budget up.
    for node in &nodes {
        assert_eq!(execute(node, A, budget).status, 200);
    }
    for _ in 0..2 {
        assert_eq!(submit(&nodes[0], A, budget).status, 202);
        assert_eq!(execute(&nodes[0], A, budget).status, 200);
    }
    for node in &nodes {
        // A request beyond a lower budget has the node read the totals, and is charged nothing.
        eventually(SOON, "the node knows of the other", || {
            let refused = execute(node, A, "tenant-day;executions=1");
            assert_refused(&refused, 429, "quota_exceeded", "a lower budget");
            let detail = refused.json()["detail"].as_str().unwrap().to_owned();
            detail.contains("; 6 are used")
        });
        assert_refused(&execute(node, A, budget), 429, "quota_exceeded", "a node");
    }
    assert_eq!(A.usage(&nodes[1], "")["totals"]["executionsCharged"], 6);
}

#[test]
fn executions_go_on_while_the_store_is_away_and_a_node_knows_what_it_ran_itself() {
    let mut postgres = Postgres::start();
    let store = Store::Postgres(postgres.url());
    let service = serve(&store, &[]);
    let budget = "tenant-day;executions=4";
    assert_eq!(execute(&service, A, budget).status, 200);
    postgres.down();
    let start = Instant::now();
    for key in [A, B] {
        for _ in 0..3 {
            let answer = execute(&service, key, budget);
            assert_eq!(answer.status, 200, "{}", answer.text);
        }
    }
    assert!(start.elapsed() < Duration::from_secs(30), "they waited");
    assert_refused(&execute(&service, A, budget), 429, "quota_exceeded", "away");
    postgres.up();
    eventually(SOON, "what was run meanwhile is written", || {
        let report = A.get(&service, "/api/usage");
        report.status == 200 && report.json()["totals"]["executionsCharged"] == 4
    });
    eventually(SOON, "it is in the database", || {
        let written =
            "SELECT coalesce(sum(executions_charged), 0) FROM sandpiper_usage WHERE period = 'm'";
        postgres.ask(written).as_deref() == Some("7")
    });
}

#[test]
fn budgets_that_cannot_be_read_or_believed_refuse_the_request() {
    let service = Service::start_with(&["--client-header", "sandpiper-client"]);
    for budget in [
        "",
        "tenant-day",
        "tenant-day;executions=0",
        "tenant-day;executions=-1",
    ] {
        for path in ["/api/execute", "/api/jobs"] {
            let answer = post(&service, A, path, budget, &json!({ "code": "1" }));
            assert_refused(&answer, 500, "internal", budget);
        }
    }
    assert!(
        service
            .log()
            .contains("the budgets of a request cannot be read")
    );
    let without_key = [
        ("sandpiper-tenant", "a"),
        ("sandpiper-budget", "key-day;executions=1"),
    ];
    let body = json!({ "code": "1" });
    let answer = service.post_with("/api/execute", &without_key, &body);
    assert_refused(
        &answer,
        500,
        "internal",
        "a budget for a key, without a key",
    );
    let unbelieved = Service::start();
    let budget = [("sandpiper-budget", "tenant-day;executions=1")];
    let answer = unbelieved.post_with("/api/execute", &budget, &body);
    assert_refused(&answer, 403, "forbidden", "without --client-header");
}
