//! The upgrade of a large database of the version before tenants, usage and the account of bytes.

use super::terms::in_a_month;
use super::{Database, over_each};
use crate::support::{Answer, SOON, Service};
use serde_json::{Value, json};
use std::time::Instant;

/// Jobs that have ended, of [`KEYS`] keys, unless the variable `UPGRADE_JOBS` has another number. The promise is half a
/// minute for 100,000 jobs: `UPGRADE_JOBS=100000 cargo test --test it upgrade:: -- --nocapture` prints the time.
const ENDED: usize = 5_000;
const KEYS: usize = 100;
/// Jobs that wait for their time.
const WAITING: usize = 100;
const PAGE: usize = 200;

/// Returns the number of jobs that have ended, a multiple of [`KEYS`].
#[allow(clippy::disallowed_methods)] // no option of the service
fn ended() -> usize {
    let number = std::env::var("UPGRADE_JOBS").map(|number| number.parse().unwrap());
    number.unwrap_or(ENDED) / KEYS * KEYS
}

fn serve(database: &Database) -> Service {
    database.serve(&["--client-header", "sandpiper-client"])
}

fn key_of(number: usize) -> String {
    format!("{number:016}")
}

fn id_of(number: usize) -> String {
    format!("01890000-0000-7000-8000-{number:012}")
}

/// The headers of an ingress that knows no tenants.
fn submit(service: &Service, key: usize, body: &Value) -> Answer {
    let client = format!("key:{}", key_of(key));
    let headers = [("sandpiper-client", client.as_str()), ("prefer", "wait=30")];
    service.post_with("/api/jobs", &headers, body)
}

/// Returns the ids of all jobs that a request with these headers lists.
fn listed(service: &Service, headers: &[(&str, &str)]) -> Vec<String> {
    let (mut ids, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = service.get_with(&format!("/api/jobs?limit={PAGE}{cursor}"), headers);
        assert_eq!(page.status, 200, "{}", page.text);
        let page = page.json();
        let jobs = page["jobs"].as_array().unwrap();
        ids.extend(
            jobs.iter()
                .map(|job| job["id"].as_str().unwrap().to_owned()),
        );
        match page["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return ids,
        }
    }
}

/// Takes the tables back to what the version of 28 November 2026 made of them (migrations 1 and 2), and fills them.
fn downgrade_and_fill(database: &Database, sample: &str) {
    let ended = ended();
    database.downgrade_to_4();
    database.change(match database {
        Database::Postgres(_) => {
            "DROP TABLE sandpiper_bytes; \
             DROP FUNCTION sandpiper_jobs_added, sandpiper_jobs_changed, sandpiper_jobs_gone, \
                 sandpiper_logs_client, sandpiper_logs_added, sandpiper_logs_gone CASCADE; \
             ALTER TABLE sandpiper_logs DROP COLUMN client"
        }
        Database::Sqlite(_) => {
            "DROP TRIGGER sandpiper_jobs_added; DROP TRIGGER sandpiper_jobs_changed; \
             DROP TRIGGER sandpiper_jobs_gone; DROP TABLE sandpiper_bytes"
        }
    });
    database.change(
        "ALTER TABLE sandpiper_keys DROP COLUMN meaning; DELETE FROM sandpiper_migrations WHERE version > 2",
    );
    database.change(&format!(
        "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {ended}) \
         INSERT INTO sandpiper_jobs (id, river_id, client, request, state, attempt, created_at, run_at, started_at, \
             finished_at, expires_at, outcome, execution) \
         SELECT '01890000-0000-7000-8000-' || substr(CAST(1000000000000 + n AS TEXT), 2), -n, \
             'key:' || substr(CAST(10000000000000000 + n % {KEYS} AS TEXT), 2), s.request, s.state, s.attempt, \
             s.created_at, s.run_at, s.started_at, s.finished_at, 9000000000000, s.outcome, s.execution \
         FROM sandpiper_jobs s CROSS JOIN numbers WHERE s.id = '{sample}'"
    ));
}

#[test]
fn a_large_database_of_the_version_before_tenants_is_upgraded_and_loses_nothing() {
    over_each(|database| {
        let mut service = serve(database);
        let body = json!({ "code": "console.log(input); input", "input": "kept".repeat(50) });
        let sample = submit(&service, 0, &body);
        assert_eq!(sample.json()["state"], "finished", "{}", sample.text);
        let sample = sample.json()["id"].as_str().unwrap().to_owned();
        let later = json!({ "code": "1", "runAt": in_a_month() });
        for _ in 0..WAITING {
            let client = [("sandpiper-client", "key:0000000000000001")];
            let answer = service.post_with("/api/jobs", &client, &later);
            assert_eq!(answer.status, 202, "{}", answer.text);
        }
        service.signal(15);
        service.exit_within(SOON);
        downgrade_and_fill(database, &sample);
        let start = Instant::now();
        let service = serve(database);
        println!("{} jobs were upgraded in {:?}", ended(), start.elapsed());
        let admin = [("sandpiper-tenant", "ops"), ("sandpiper-scopes", "admin")];
        let mut all = listed(&service, &admin);
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), ended() + WAITING + 1);
        for key in [0, 1, KEYS - 1] {
            let tenant = format!("key:{}", key_of(key));
            let (id, scopes) = (key_of(key), "execute,jobs");
            let own = [
                ("sandpiper-tenant", tenant.as_str()),
                ("sandpiper-key", id.as_str()),
                ("sandpiper-scopes", scopes),
            ];
            let more = match key {
                0 => 1,
                1 => WAITING,
                _ => 0,
            };
            assert_eq!(
                listed(&service, &own).len(),
                ended() / KEYS + more,
                "{tenant}"
            );
            // A key that may only run reads what it submitted before the upgrade.
            let old = format!("/api/jobs/{}", id_of(ended() - KEYS + key));
            let shown = service.get_with(&old, &own);
            assert_eq!(shown.status, 200, "{old}: {}", shown.text);
            assert_eq!(
                shown.json()["execution"]["result"],
                json!("kept".repeat(50))
            );
            let other = [("sandpiper-tenant", "key:0000000000000050")];
            assert_eq!(service.get_with(&old, &other).status, 404, "{old}");
        }
    });
}
