//! Jobs with tools outlive the nodes that run them.

use super::jobs::ToolJob;
use super::{echo, request};
use crate::stores::{Postgres, Store};
use crate::support::{SOON, Service};
use serde_json::{Value, json};

const CHAIN: &str =
    "let sum = 0; for (let n = 0; n < 5; n++) { console.log(n); sum += await tools.next(n) } sum";

fn assert_ended_as_if_nothing_had_happened(ended: &Value) {
    let execution = &ended["execution"];
    assert_eq!(execution["result"], 10, "{ended}");
    assert_eq!(execution["calls"].as_array().unwrap().len(), 5);
    let logged: Vec<&Value> = (execution["log"].as_array().unwrap().iter())
        .map(|entry| &entry["data"][0])
        .collect();
    assert_eq!(logged, [0, 1, 2, 3, 4]);
}

/// Restarts the service between all rounds of a job.
fn a_job_survives_restarts(store: &Store, signal: i32) {
    let mut service = store.serve(&[]);
    let id = ToolJob::begin(&service, &request(CHAIN, &["next"])).id;
    for round in 0..5 {
        service.signal(signal);
        service.exit_within(SOON);
        service = store.serve(&[]);
        let mut job = ToolJob::at(&service, &id);
        assert_eq!(job.now["state"], "waiting", "{}", job.now);
        assert_eq!(job.calls()[0]["argument"], round);
        let answers = json!([{ "callId": job.call_id(0), "result": round }]);
        job.go_on(&answers);
    }
    assert_ended_as_if_nothing_had_happened(&ToolJob::at(&service, &id).now);
}

#[test]
fn a_job_in_sqlite_survives_stops_and_kills() {
    a_job_survives_restarts(&Store::sqlite(), 15);
    a_job_survives_restarts(&Store::sqlite(), 9);
}

#[test]
fn a_job_in_postgres_survives_stops_and_kills() {
    a_job_survives_restarts(&Store::postgres(), 15);
    a_job_survives_restarts(&Store::postgres(), 9);
}

/// Kills the service while a round runs: the round is repeated, and nothing of the first try is seen.
fn a_round_that_was_killed_runs_again(store: &Store) {
    let mut service = store.serve(&["--executors", "1"]);
    let code = "console.log('begin'); const n = await tools.a(1); for (const until = 5e7 * n; globalThis.i < until; i++); \
        console.log('computed'); n + await tools.b(2)";
    let mut asked = request(&format!("globalThis.i = 0; {code}"), &["a", "b"]);
    asked["limits"]["timeoutMs"] = json!(30_000);
    let job = ToolJob::begin(&service, &asked);
    let (id, call_id) = (job.id.clone(), job.call_id(0));
    let answers = json!([{ "callId": call_id, "result": 1 }]);
    assert_eq!(job.send(&answers, &[]).status, 202);
    crate::support::eventually(SOON, "the round runs", || service.executors_busy() == 1);
    service.signal(9);
    service.exit_within(SOON);
    let service = store.serve(&[]);
    let ended = ToolJob::at(&service, &id).finish(echo);
    assert_eq!(ended["execution"]["result"], 3, "{ended}");
    assert_eq!(ended["execution"]["log"].as_array().unwrap().len(), 2);
    assert_eq!(ended["execution"]["calls"].as_array().unwrap().len(), 2);
}

#[test]
fn a_round_of_a_job_in_a_database_that_was_killed_runs_again() {
    a_round_that_was_killed_runs_again(&Store::sqlite());
    a_round_that_was_killed_runs_again(&Store::postgres());
}

#[test]
fn a_job_is_answered_at_one_node_and_runs_at_any() {
    let store = Store::Postgres(Postgres::shared_database());
    let nodes: Vec<Service> = (0..2).map(|_| store.serve(&["--executors", "1"])).collect();
    for turn in 0..4 {
        let id = ToolJob::begin(&nodes[turn % 2], &request(CHAIN, &["next"])).id;
        for round in 0..5 {
            let node = &nodes[(turn + round) % 2];
            let mut job = ToolJob::at(node, &id);
            let answers = json!([{ "callId": job.call_id(0), "result": round }]);
            job.go_on(&answers);
        }
        for node in &nodes {
            assert_ended_as_if_nothing_had_happened(&ToolJob::at(node, &id).now);
        }
    }
}
