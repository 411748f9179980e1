//! `Idempotency-Key`: the same request is the same job, over every kind of store.

use crate::stores::{Store, over_every_store};
use crate::support::{Service, assert_refused};
use serde_json::{Value, json};
use std::thread;

over_every_store!(
    the_same_request_with_the_same_key_is_the_same_job,
    a_request_is_the_same_by_what_it_means_and_not_by_how_it_is_written,
);

pub(crate) fn submit_with_key(service: &Service, key: &str, body: &Value) -> (u16, String, bool) {
    let answer = service.post_with("/api/jobs", &[("idempotency-key", key)], body);
    if answer.status >= 400 {
        return (answer.status, answer.code(), false);
    }
    let id = answer.json()["id"].as_str().unwrap().to_owned();
    (
        answer.status,
        id,
        answer.header("idempotency-replayed") == "true",
    )
}

/// Checks the promise on `service`, whatever its store is.
pub(crate) fn assert_the_same_request_is_the_same_job(service: &Service) {
    let body = json!({ "code": "Math.random()" });
    let (status, id, is_replay) = submit_with_key(service, "a", &body);
    assert_eq!((status, is_replay), (202, false));
    let result = service.finished(&id)["execution"]["result"].clone();
    let again = json!({ "code": "Math.random()", "globals": {} });
    let answer = service.post_with("/api/jobs", &[("idempotency-key", "a")], &again);
    assert_eq!(
        (answer.status, answer.json()["id"].as_str()),
        (200, Some(id.as_str()))
    );
    assert_eq!(answer.header("idempotency-replayed"), "true");
    assert_eq!(answer.json()["execution"]["result"], result);
    let other = json!({ "code": "1" });
    let refused = (422, "idempotency_key_reused".to_owned(), false);
    assert_eq!(submit_with_key(service, "a", &other), refused);
    assert_ne!(submit_with_key(service, "b", &body).1, id);
    let twice = [("idempotency-key", "a"), ("idempotency-key", "a")];
    assert_refused(
        &service.post_with("/api/jobs", &twice, &body),
        400,
        "invalid_field",
        "two keys",
    );
    for key in ["", "a b", "é", &"k".repeat(256)] {
        let answer = service.post_with("/api/jobs", &[("idempotency-key", key)], &body);
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (400, "invalid_field"),
            "{key}"
        );
    }
    // At once, and still one job.
    let ids: Vec<String> = thread::scope(|scope| {
        let sent: Vec<_> = (0..16)
            .map(|_| scope.spawn(|| submit_with_key(service, "c", &body).1))
            .collect();
        sent.into_iter().map(|sent| sent.join().unwrap()).collect()
    });
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
}

fn the_same_request_with_the_same_key_is_the_same_job(store: &Store) {
    assert_the_same_request_is_the_same_job(&store.serve(&[]));
}

/// Groups of bodies with the same meaning. Bodies of different groups differ in meaning.
const GROUPS: [&[&str]; 14] = [
    &[
        r#"{"code":"1","input":{"a":1,"b":[{"c":"x/y","d":1e2}]}}"#,
        r#"{ "input" : { "b":[ {"d":100.0, "c":"\u0078\/y"} ], "a":1.0 }, "code" : "\u0031" }"#,
        r#"{"code":"1","input":{"a":2,"b":[{"c":"x/y","d":1e2}],"a":10e-1},"globals":{},"priority":null}"#,
        r#"{"code":"1","input":{"a":1,"b":[{"c":"x/y","d":100}]},"limits":{},"language":"javascript","kind":"script"}"#,
        r#"{"code":"1","input":{"a":1,"b":[{"c":"x/y","d":100}]},"limits":{"timeoutMs":2000}}"#,
        r#"{"code":"1","input":{"a":1,"b":[{"c":"x/y","d":100}]},"limits":{"memoryBytes":33554432,"timeoutMs":2e3}}"#,
    ],
    &[
        r#"{"code":"1","globals":{"p":{"x":-0,"y":9007199254740993},"q":["\ud800"]}}"#,
        r#"{"globals":{"q":[ "\uD800" ],"p":{"y":9007199254740992,"x":-0.0}},"code":"1"}"#,
    ],
    &[r#"{"code":"1","globals":{"p":{"x":0,"y":9007199254740992},"q":["\ud800"]}}"#],
    &[r#"{"code":"1","globals":{"p":{"x":-0,"y":9007199254740992},"q":["\udc00"]}}"#],
    &[r#"{"code":"1","globals":{"p":{"x":-0,"y":9007199254740994},"q":["\ud800"]}}"#],
    &[
        r#"{"code":"1","input":[1,2]}"#,
        r#"{"code":"1","input":[ 1.0, 2 ]}"#,
    ],
    &[r#"{"code":"1","input":[2,1]}"#],
    &[r#"{"code":"1","input":["1",2]}"#],
    &[
        r#"{"file":"pi.js","seed":1,"limits":{"timeoutMs":1999}}"#,
        r#"{"seed":1.0,"limits":{"timeoutMs":1.999e3},"file":"pi.js"}"#,
    ],
    &[
        r#"{"code":"1","input":[1,2],"kind":"module"}"#,
        r#"{"kind":"module","modules":{},"prelude":null,"code":"1","input":[1,2.0]}"#,
    ],
    &[r#"{"code":"1","input":[1,2],"kind":"function"}"#],
    &[
        r#"{"code":"1","input":[1,2],"language":"typescript"}"#,
        r#"{"language":"typescript","kind":"script","code":"1","input":[1,2.0]}"#,
    ],
    &[
        r#"{"code":"1","kind":"module","modules":{"./a.js":"1","./b.js":"2"}}"#,
        r#"{"code":"1","kind":"module","modules":{"./b.js":"\u0032", "./a.js":"1"}}"#,
    ],
    &[r#"{"code":"1","kind":"module","modules":{"./a.js":"1","./b.js":"2"},"prelude":"1"}"#],
];

fn a_request_is_the_same_by_what_it_means_and_not_by_how_it_is_written(store: &Store) {
    let service = store.serve(&[]);
    let send = |key: &str, body: &str| {
        let headers = [
            ("idempotency-key", key),
            ("content-type", "application/json"),
        ];
        service.post_raw("/api/jobs", &headers, body.as_bytes())
    };
    for (number, group) in GROUPS.iter().enumerate() {
        let key = format!("group-{number}");
        let first = send(&key, group[0]);
        assert_eq!(first.status, 202, "{}: {}", group[0], first.text);
        let id = first.json()["id"].clone();
        for body in &group[1..] {
            let again = send(&key, body);
            assert_eq!(
                again.header("idempotency-replayed"),
                "true",
                "{body}: {}",
                again.text
            );
            assert_eq!(again.json()["id"], id, "{body}");
        }
        for (other, bodies) in GROUPS.iter().enumerate() {
            if other != number {
                let refused = send(&key, bodies[0]);
                assert_refused(&refused, 422, "idempotency_key_reused", bodies[0]);
            }
        }
    }
}

#[test]
fn an_execution_takes_no_idempotency_key_and_runs_nothing_of_what_has_one() {
    let service = Service::start();
    for key in ["order-4711", "", "a b"] {
        let headers = [("Idempotency-Key", key)];
        let answer = service.post_with("/api/execute", &headers, &json!({ "code": "1" }));
        assert_refused(&answer, 400, "invalid_field", key);
        assert_eq!(answer.json()["field"], "Idempotency-Key");
    }
    let ready = service.get("/api/health/ready").json();
    assert_eq!(ready["executions"]["ended"], 0);
}
