//! Limits per client and fairness between clients, over every kind of store.

use crate::stores::{Store, over_every_store};
use crate::support::{Answer, Service, eventually};
use serde_json::{Value, json};
use std::time::Duration;

const SOON: Duration = crate::support::SOON;

over_every_store!(
    a_client_has_so_many_jobs_open_and_no_more,
    a_flood_of_one_client_does_not_keep_back_the_job_of_another,
    a_client_runs_so_many_at_a_time_and_leaves_the_rest_to_others,
);

fn endless() -> Value {
    json!({ "code": "for (;;);", "limits": { "timeoutMs": 30_000 } })
}

fn short() -> Value {
    json!({ "code": "const end = Date.now() + 10; while (Date.now() < end);" })
}

fn serve(store: &Store, options: &[&str]) -> Service {
    store.serve(&[&["--client-header", "x-client"], options].concat())
}

fn post_as(service: &Service, client: &str, body: &Value) -> Answer {
    service.post_with("/api/jobs", &[("x-client", client)], body)
}

fn submit_as(service: &Service, client: &str, body: &Value) -> String {
    let answer = post_as(service, client, body);
    assert_eq!(answer.status, 202, "{}", answer.text);
    answer.json()["id"].as_str().unwrap().to_owned()
}

fn job(service: &Service, id: &str) -> Value {
    service.get(&format!("/api/jobs/{id}")).json()
}

fn cancel(service: &Service, id: &str) {
    assert_eq!(service.delete(&format!("/api/jobs/{id}")).status, 200);
}

fn a_client_has_so_many_jobs_open_and_no_more(store: &Store) {
    let service = serve(store, &["--executors", "1", "--client-jobs-max", "3"]);
    let with_key = |key: &str| {
        let headers = [("x-client", "a"), ("idempotency-key", key)];
        service.post_with("/api/jobs", &headers, &endless())
    };
    let first = with_key("first");
    assert_eq!(first.status, 202);
    let ids: Vec<String> = (0..2)
        .map(|_| submit_as(&service, "a", &endless()))
        .collect();
    let refused = post_as(&service, "a", &endless());
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (429, "client_queue_full")
    );
    assert_eq!(refused.json()["bound"], 3);
    assert!(refused.header("retry-after").parse::<u64>().unwrap() >= 1);
    assert_eq!(with_key("second").code(), "client_queue_full");
    // A job that was accepted before is not counted again.
    let again = with_key("first");
    assert_eq!(
        (again.status, &again.json()["id"]),
        (202, &first.json()["id"])
    );
    submit_as(&service, "b", &endless());
    cancel(&service, &ids[0]);
    eventually(SOON, "there is room again", || {
        post_as(&service, "a", &endless()).status == 202
    });
    // The limit applies to that client only.
    assert_eq!(post_as(&service, "a", &endless()).status, 429);
    // Concurrent requests cannot exceed the limit together.
    let accepted = std::thread::scope(|scope| {
        let sent: Vec<_> = (0..24)
            .map(|_| scope.spawn(|| post_as(&service, "c", &endless()).status))
            .collect();
        let answers = sent.into_iter().map(|sent| sent.join().unwrap());
        answers.filter(|status| *status == 202).count()
    });
    assert_eq!(accepted, 3);
}

fn a_flood_of_one_client_does_not_keep_back_the_job_of_another(store: &Store) {
    let service = serve(store, &["--executors", "1"]);
    let holder = submit_as(&service, "holder", &endless());
    eventually(SOON, "the holder runs", || {
        job(&service, &holder)["state"] == "running"
    });
    let flood: Vec<String> = (0..300)
        .map(|_| submit_as(&service, "many", &short()))
        .collect();
    let few: Vec<String> = (0..3)
        .map(|_| submit_as(&service, "few", &short()))
        .collect();
    cancel(&service, &holder);
    for id in &few {
        let answer = service.get_with(&format!("/api/jobs/{id}"), &[("prefer", "wait=30")]);
        assert_eq!(answer.json()["state"], "finished");
    }
    let ended = |state: &str| {
        let page = service.get(&format!("/api/jobs?limit=200&state={state}"));
        page.json()["jobs"].as_array().unwrap().len()
    };
    let before = ended("finished");
    assert!(before < 150, "{before} of the flood went first");
    service.finished(flood.last().unwrap());
}

fn a_client_runs_so_many_at_a_time_and_leaves_the_rest_to_others(store: &Store) {
    let options = ["--executors", "2", "--client-running-max", "1"];
    let service = serve(store, &options);
    let first = submit_as(&service, "a", &endless());
    eventually(SOON, "it runs", || {
        job(&service, &first)["state"] == "running"
    });
    let second = submit_as(&service, "a", &endless());
    let of_another = submit_as(&service, "b", &json!({ "code": "7" }));
    let done = service.finished(&of_another);
    assert_eq!(done["execution"]["result"], 7);
    // A job in a database may still be on its way to the queue.
    eventually(SOON, "the second waits", || {
        job(&service, &second)["state"] == "queued"
    });
    // Synchronous executions are not subject to the limit.
    let ran = service.post_with(
        "/api/execute",
        &[("x-client", "a")],
        &json!({ "code": "8" }),
    );
    assert_eq!(ran.json()["result"], 8);
    cancel(&service, &first);
    eventually(SOON, "the second runs", || {
        job(&service, &second)["state"] == "running"
    });
}
