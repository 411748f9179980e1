//! `Idempotency-Key`: the same request is the same job, over every kind of store.

use crate::stores::{Store, over_every_store};
use crate::support::Service;
use serde_json::{Value, json};
use std::thread;

over_every_store!(the_same_request_with_the_same_key_is_the_same_job);

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

/// Holds on `service` whatever its store is.
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
