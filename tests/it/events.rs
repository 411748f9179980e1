//! `/api/jobs/<id>/events`: state changes and log entries of a job as they happen, over every kind of store.

use crate::stores::{Store, over_every_store};
use crate::support::{Service, eventually};
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Read};
use std::time::{Duration, Instant};

const SOON: Duration = crate::support::SOON;

over_every_store!(
    a_job_is_followed_from_its_place_in_the_queue_to_its_end,
    a_log_comes_as_it_is_written,
    a_client_that_reconnects_gets_the_rest_and_nothing_twice,
    an_ended_job_is_sent_whole,
    a_late_follower_of_a_long_log_gets_the_retained_entries,
);

/// One event.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) name: String,
    pub(crate) id: Option<String>,
    pub(crate) data: Value,
}

/// An open stream.
pub(crate) struct Events<Body: Read>(BufReader<Body>);

impl<Body: Read> Events<Body> {
    /// Returns the next event, or `None` at the end.
    pub(crate) fn next(&mut self) -> Option<Event> {
        let (mut name, mut id, mut data) = (None, None, None);
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line).unwrap() == 0 {
                return None;
            }
            let line = line.trim_end_matches('\n');
            if line.is_empty() {
                if let (Some(name), Some(data)) = (name.take(), data.take()) {
                    return Some(Event { name, id, data });
                }
                continue;
            }
            match line.split_once(": ").unwrap() {
                ("event", value) => name = Some(value.to_owned()),
                ("id", value) => id = Some(value.to_owned()),
                ("data", value) => data = Some(serde_json::from_str(value).unwrap()),
                ("retry", value) => assert_eq!(value, "1000"),
                (field, _) => assert_eq!(field, "", "{line}"),
            }
        }
    }

    pub(crate) fn rest(mut self) -> Vec<Event> {
        std::iter::from_fn(move || self.next()).collect()
    }
}

pub(crate) fn follow(service: &Service, id: &str, last: Option<&str>) -> Events<impl Read + use<>> {
    let mut request = ureq::get(format!("{}/api/jobs/{id}/events", service.url()));
    if let Some(last) = last {
        request = request.header("last-event-id", last);
    }
    let response = request.call().unwrap();
    assert_eq!(response.status(), 200);
    let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(header("content-type"), "text/event-stream");
    assert_eq!(header("cache-control"), "no-store");
    Events(BufReader::new(response.into_body().into_reader()))
}

fn names(events: &[Event]) -> Vec<&str> {
    events.iter().map(|event| &*event.name).collect()
}

fn logged(events: &[Event]) -> Vec<u64> {
    let logs = events.iter().filter(|event| event.name == "log");
    logs.map(|event| event.data["data"][0].as_u64().unwrap())
        .collect()
}

fn a_job_is_followed_from_its_place_in_the_queue_to_its_end(store: &Store) {
    let service = store.serve(&["--executors", "1"]);
    let holder = service.submit(&json!({
        "code": "for (;;);", "limits": { "timeoutMs": 30_000 },
    }));
    eventually(SOON, "the holder runs", || {
        service.get(&format!("/api/jobs/{holder}")).json()["state"] == "running"
    });
    let id = service.submit(&json!({
        "code": "console.log(1); await new Promise(done => setTimeout(done, 1000)); 'done'",
    }));
    let mut events = follow(&service, &id, None);
    let first = events.next().unwrap();
    assert_eq!(
        (&*first.name, &first.data["state"]),
        ("state", &json!("queued"))
    );
    assert_eq!(first.data["id"], *id);
    service.delete(&format!("/api/jobs/{holder}"));
    let rest = events.rest();
    assert_eq!(names(&rest), ["state", "log", "end"]);
    assert_eq!(rest[0].data["state"], "running");
    assert_eq!(rest[0].data["attempt"], 1);
    assert_eq!(rest[1].data["data"], json!([1]));
    assert_eq!(rest[2].data["state"], "finished");
    assert_eq!(rest[2].data["outcome"], "succeeded");
}

fn a_log_comes_as_it_is_written(store: &Store) {
    let service = store.serve(&[]);
    let id = service.submit(&json!({
        "code": "for (let n = 0; n < 5; n += 1) { console.log(n); await new Promise(done => setTimeout(done, 300)); }",
        "limits": { "timeoutMs": 10_000 },
    }));
    let mut events = follow(&service, &id, None);
    let mut came = Vec::new();
    while let Some(event) = events.next() {
        if event.name == "log" {
            came.push(Instant::now());
        }
    }
    assert_eq!(came.len(), 5);
    // The entries are logged over 1.2 seconds. If they came at the end, they would all come at one moment.
    let between = came[4] - came[0];
    assert!(between > Duration::from_millis(300), "{between:?}");
}

fn a_client_that_reconnects_gets_the_rest_and_nothing_twice(store: &Store) {
    let service = store.serve(&[]);
    let id = service.submit(&json!({
        "code": "for (let n = 0; n < 30; n += 1) { console.log(n, '\\n\\nevent: end\\ndata: {}\\n\\n'); await new Promise(done => setTimeout(done, 30)); }",
        "limits": { "timeoutMs": 10_000 },
    }));
    let mut last = None;
    let mut seen = Vec::new();
    let ended = 'end: loop {
        let mut events = follow(&service, &id, last.as_deref());
        for _ in 0..9 {
            let Some(event) = events.next() else {
                panic!("it ended without an end");
            };
            match &*event.name {
                "log" => {
                    seen.push(event.data["data"][0].as_u64().unwrap());
                    last = event.id;
                }
                "end" => break 'end event,
                name => assert_eq!(name, "state"),
            }
        }
    };
    assert_eq!(seen, (0..30).collect::<Vec<_>>());
    assert_eq!(ended.data["state"], "finished");
    // A second follower, after the end.
    let again = follow(&service, &id, last.as_deref()).rest();
    assert_eq!(names(&again), ["end"]);
    let middle = follow(&service, &id, Some("1-19")).rest();
    assert_eq!(logged(&middle), (20..30).collect::<Vec<_>>());
}

fn an_ended_job_is_sent_whole(store: &Store) {
    let service = store.serve(&[]);
    let id = service.submit(&json!({ "code": "console.log(1); console.error(2); throw 3" }));
    service.finished(&id);
    let events = follow(&service, &id, None).rest();
    assert_eq!(names(&events), ["log", "log", "end"]);
    assert_eq!(logged(&events), [1, 2]);
    assert_eq!(events[1].data["type"], "error");
    assert_eq!(events[2].data["outcome"], "threw");
    assert!(events[2].data.get("execution").is_none());
    let unknown = "/api/jobs/01890a5d-ac96-774b-bcce-b302099a8057/events";
    assert_eq!(service.get(unknown).code(), "job_not_found");
    assert_eq!(service.get("/api/jobs/1/events").code(), "job_not_found");
}

fn a_late_follower_of_a_long_log_gets_the_retained_entries(store: &Store) {
    let service = store.serve(&[]);
    let id = service.submit(&json!({
        "code": "for (let n = 0; n < 500; n += 1) console.log(n);",
        "limits": { "outputBytes": 5_000 },
    }));
    let execution = service.finished(&id)["execution"].clone();
    let at = execution["logDroppedAt"].as_u64().unwrap();
    let dropped = execution["logDropped"].as_u64().unwrap();
    let events = follow(&service, &id, None).rest();
    let received = logged(&events);
    let expected: Vec<u64> = (0..at).chain(at + dropped..500).collect();
    assert_eq!(received, expected);
    let last = events.iter().rev().find_map(|event| event.id.clone());
    assert_eq!(last.as_deref(), Some("1-499"));
}

#[test]
fn while_nothing_happens_there_is_a_sign_of_life() {
    let service = Service::start();
    let id = service.submit(&json!({ "code": "for (;;);", "limits": { "timeoutMs": 30_000 } }));
    let mut events = follow(&service, &id, None);
    let start = Instant::now();
    let mut line = String::new();
    while !line.starts_with(':') {
        line.clear();
        assert!(events.0.read_line(&mut line).unwrap() > 0, "it ended");
    }
    let after = start.elapsed();
    assert!(after > Duration::from_secs(10) && after < SOON, "{after:?}");
}

#[test]
fn a_client_follows_so_many_and_no_more() {
    let service = Service::start_with(&["--events-client-max", "2", "--events-s", "2"]);
    let id = service.submit(&json!({ "code": "for (;;);", "limits": { "timeoutMs": 30_000 } }));
    let mut first = follow(&service, &id, None);
    let second = follow(&service, &id, None);
    let refused = service.get(&format!("/api/jobs/{id}/events"));
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (429, "too_many_streams")
    );
    assert_eq!(refused.json()["bound"], 2);
    assert!(!refused.header("retry-after").is_empty());
    // A stream is closed after its time, and frees its place.
    first.next().unwrap();
    assert!(names(&first.rest()).iter().all(|name| *name == "state"));
    drop(second);
    eventually(SOON, "there is room again", || {
        service.metric("event_streams") == Some(0.0)
    });
    follow(&service, &id, None);
}

#[test]
fn a_service_that_stops_ends_its_streams() {
    let mut service = Service::start_with(&["--drain-ms", "200"]);
    let id = service.submit(&json!({ "code": "for (;;);", "limits": { "timeoutMs": 30_000 } }));
    let mut events = follow(&service, &id, None);
    events.next().unwrap();
    service.signal(15);
    events.rest();
    assert!(service.exit_within(SOON).success());
}
