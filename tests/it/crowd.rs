//! Many clients at once, over every kind of store: whatever they do to each other's jobs, each job has one end and is
//! listed once.

use crate::stores::{Store, over_every_store};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::thread;

over_every_store!(
    clients_that_submit_wait_and_cancel_at_once_see_one_end_of_each_job,
    a_job_is_listed_once_while_others_come_and_go,
);

const CLIENTS: usize = 8;
const JOBS_EACH: usize = 12;

fn clients_that_submit_wait_and_cancel_at_once_see_one_end_of_each_job(store: &Store) {
    let service = store.serve(&[]);
    let body = json!({ "code": "const end = Date.now() + 3; while (Date.now() < end); 'ran'" });
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (service, body) = (&service, &body);
            scope.spawn(move || {
                for number in 0..JOBS_EACH {
                    let id = service.submit(body);
                    let path = format!("/api/jobs/{id}");
                    // Two requests that cancel and one that waits, all for the same job.
                    let is_cancelled = (client + number) % 2 == 0;
                    let (cancels, waited) = thread::scope(|scope| {
                        let waits = scope.spawn(|| service.finished(&id));
                        let cancels: Vec<_> = (0..2)
                            .filter(|_| is_cancelled)
                            .map(|_| scope.spawn(|| service.delete(&path)))
                            .collect();
                        let cancels = cancels.into_iter().map(|one| one.join().unwrap());
                        (cancels.collect::<Vec<_>>(), waits.join().unwrap())
                    });
                    let state = waited["state"].as_str().unwrap();
                    assert_eq!(service.get(&path).json(), waited);
                    match state {
                        "finished" => assert_eq!(waited["execution"]["result"], "ran"),
                        state => assert_eq!((state, is_cancelled), ("cancelled", true)),
                    }
                    for cancel in cancels {
                        match cancel.status {
                            200 => assert_eq!(cancel.json()["state"], "cancelled"),
                            _ => assert_eq!(cancel.code(), "job_already_final"),
                        }
                        assert_eq!(cancel.json()["state"], state, "{}", cancel.text);
                    }
                }
            });
        }
    });
    let listed = |state: &str| {
        let page = service.get(&format!("/api/jobs?limit=200&state={state}"));
        page.json()["jobs"].as_array().unwrap().len()
    };
    assert_eq!(
        listed("finished") + listed("cancelled"),
        CLIENTS * JOBS_EACH
    );
}

fn a_job_is_listed_once_while_others_come_and_go(store: &Store) {
    let service = store.serve(&[]);
    let before: HashSet<String> = (0..50)
        .map(|number| service.submit(&json!({ "code": format!("{number}") })))
        .collect();
    thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..50 {
                service.submit(&json!({ "code": "'more'" }));
            }
        });
        for _ in 0..4 {
            let mut seen = Vec::new();
            let mut cursor = String::new();
            loop {
                let page = service.get(&format!("/api/jobs?limit=7{cursor}")).json();
                let jobs = page["jobs"].as_array().unwrap().iter();
                seen.extend(jobs.map(|job| job["id"].as_str().unwrap().to_owned()));
                match &page["nextCursor"] {
                    Value::String(next) => cursor = format!("&cursor={next}"),
                    _ => break,
                }
            }
            assert!(seen.windows(2).all(|two| two[0] > two[1]), "{seen:?}");
            let seen: HashSet<String> = seen.into_iter().collect();
            assert!(before.is_subset(&seen));
        }
    });
}
