//! Scheduling and priority of jobs, and idempotent requests.

use super::{Database, endless, over_each};
use crate::same_request::{assert_the_same_request_is_the_same_job, submit_with_key};
use crate::stores::Postgres;
use crate::support::{Service, eventually};
use serde_json::json;
use std::time::{Duration, Instant, SystemTime};

const SOON: Duration = crate::support::SOON;

#[test]
fn the_same_request_with_the_same_key_is_the_same_job_and_stays_it_after_a_restart() {
    over_each(|database| {
        let mut service = database.serve(&[]);
        assert_the_same_request_is_the_same_job(&service);
        let body = json!({ "code": "7" });
        let (_, id, _) = submit_with_key(&service, "z", &body);
        service.signal(9);
        service.exit_within(SOON);
        let service = database.serve(&["--result-ttl-s", "3"]);
        let (_, again, is_replay) = submit_with_key(&service, "z", &body);
        assert_eq!((again, is_replay), (id, true));
        // Once the record has expired, the response says so, and the job does not run a second time.
        let (_, short, _) = submit_with_key(&service, "y", &body);
        service.finished(&short);
        eventually(SOON, "it has gone", || {
            submit_with_key(&service, "y", &body).0 == 410
        });
    });
}

/// A service of the previous version knows no meanings: it writes rows without one, and compares the bytes of values.
#[test]
fn a_request_that_an_earlier_version_has_stored_is_the_same_after_the_upgrade() {
    let database = Database::Postgres(Postgres::start());
    let Database::Postgres(postgres) = &database else {
        unreachable!()
    };
    let service = database.serve(&[]);
    let body = json!({ "code": "1", "input": { "b": 1, "a": [2.0] } });
    let (_, id, _) = submit_with_key(&service, "old", &body);
    service.finished(&id);
    let stored = postgres.ask("SELECT length(fingerprint) FROM sandpiper_keys");
    assert_eq!(stored.as_deref(), Some("64"));
    postgres
        .ask("UPDATE sandpiper_keys SET meaning = NULL")
        .unwrap();
    assert_eq!(submit_with_key(&service, "old", &body), (200, id, true));
    let other = json!({ "code": "2" });
    assert_eq!(submit_with_key(&service, "old", &other).0, 422);
}

#[test]
fn a_job_waits_for_its_time_also_across_a_restart() {
    over_each(|database| {
        let mut service = database.serve(&[]);
        let soon = SystemTime::now() + Duration::from_secs(10);
        let run_at = rfc3339(soon);
        let id = service.submit(&json!({ "code": "Date.now()", "runAt": run_at }));
        let job = service.job(&id);
        assert_eq!(
            (&job["state"], &job["runAt"]),
            (&json!("queued"), &json!(run_at))
        );
        service.signal(9);
        service.exit_within(SOON);
        let service = database.serve(&[]);
        assert_eq!(service.state(&id), "queued");
        let job = service.finished(&id);
        let ran_at = job["execution"]["result"].as_f64().unwrap();
        let since = soon.duration_since(std::time::UNIX_EPOCH).unwrap();
        // The request named whole seconds.
        let wanted = since.as_secs_f64().floor() * 1000.0;
        assert!(
            ran_at >= wanted && ran_at < wanted + 12_000.0,
            "{}",
            ran_at - wanted
        );
        // A moment in the past means now, and a scheduled job can be cancelled.
        let past = service.submit(&json!({ "code": "1", "runAt": "2020-01-01T00:00:00Z" }));
        assert_eq!(service.finished(&past)["state"], "finished");
        let elsewhere = in_a_month().replace('Z', "+02:00");
        let far = service.submit(&json!({ "code": "1", "runAt": elsewhere }));
        assert_eq!(
            service.delete(&format!("/api/jobs/{far}")).json()["state"],
            "cancelled"
        );
    });
}

#[test]
fn an_urgent_job_overtakes_those_that_wait() {
    over_each(|database| {
        let service = database.serve(&["--executors", "1", "--claims-per-executor", "1"]);
        let blocker = service.submit(&endless());
        eventually(SOON, "it runs", || service.state(&blocker) == "running");
        let submit =
            |priority: u8| service.submit(&json!({ "code": "Date.now()", "priority": priority }));
        let ids = [
            submit(4),
            submit(3),
            service.submit(&json!({ "code": "Date.now()" })),
            submit(1),
        ];
        service.delete(&format!("/api/jobs/{blocker}"));
        let ran: Vec<f64> = ids
            .iter()
            .map(|id| {
                service.finished(id)["execution"]["result"]
                    .as_f64()
                    .unwrap()
            })
            .collect();
        assert!(ran.is_sorted_by(|later, sooner| later >= sooner), "{ran:?}");
    });
}

#[test]
fn terms_that_cannot_be_kept_are_refused_by_name() {
    let service = Service::start();
    let start = Instant::now();
    for (field, value, status, code) in [
        ("runAt", json!(in_a_month()), 422, "unsupported"),
        ("priority", json!(1), 422, "unsupported"),
        ("runAt", json!("tomorrow"), 400, "invalid_field"),
        ("runAt", json!(7), 400, "invalid_field"),
        ("runAt", json!("2999-01-01T00:00:00Z"), 400, "invalid_field"),
        ("priority", json!(0), 400, "invalid_field"),
        ("priority", json!(5), 400, "invalid_field"),
        ("priority", json!("high"), 400, "invalid_field"),
    ] {
        let answer = service.post("/api/jobs", &json!({ "code": "1", field: value }));
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (status, code),
            "{field} {value}"
        );
        assert!(answer.text.contains(field), "{}", answer.text);
    }
    for field in ["runAt", "priority"] {
        let value = if field == "runAt" {
            json!(in_a_month())
        } else {
            json!(1)
        };
        let answer = service.post("/api/execute", &json!({ "code": "1", field: value }));
        assert_eq!(answer.code(), "invalid_field");
        assert_eq!(answer.json()["field"], field);
    }
    assert!(start.elapsed() < SOON);
}

/// Returns a moment too late for any job here to run.
pub(super) fn in_a_month() -> String {
    rfc3339(SystemTime::now() + Duration::from_secs(30 * 24 * 60 * 60))
}

/// Returns a moment in whole seconds, as the API writes it.
pub(super) fn rfc3339(moment: SystemTime) -> String {
    let seconds = moment
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let said = std::process::Command::new("date")
        .args([
            "-u",
            "-d",
            &format!("@{seconds}"),
            "+%Y-%m-%dT%H:%M:%S.000Z",
        ])
        .output()
        .unwrap();
    String::from_utf8(said.stdout).unwrap().trim().to_owned()
}
