//! Limits on the bytes of jobs in a database: of one client, and of all together.

use super::terms::in_a_month;
use super::{Database, over_each};
use crate::stores::Postgres;
use crate::support::{Answer, Service, assert_refused, eventually};
use serde_json::{Value, json};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(30);
const BYTES_OF_JOBS: &str = "SELECT CAST(coalesce(sum(octet_length(request) + coalesce(octet_length(execution), 0)), 0) AS BIGINT) \
    FROM sandpiper_jobs";
const BYTES_OF_LOGS: &str =
    "SELECT CAST(coalesce(sum(octet_length(entries)), 0) AS BIGINT) FROM sandpiper_logs";
const ACCOUNT: &str = "SELECT CAST(coalesce(sum(bytes), 0) AS BIGINT) FROM sandpiper_bytes";
/// The stored bytes that the account lacks, read in one statement: a sweep between two statements would change both.
const UNCOUNTED: &str = "SELECT CAST( \
    (SELECT coalesce(sum(octet_length(request) + coalesce(octet_length(execution), 0)), 0) FROM sandpiper_jobs) \
    + (SELECT coalesce(sum(octet_length(entries)), 0) FROM sandpiper_logs) \
    - (SELECT coalesce(sum(bytes), 0) FROM sandpiper_bytes) AS BIGINT)";
const ACCOUNT_OF_EXPIRING: &str =
    "SELECT CAST(coalesce(sum(expiring), 0) AS BIGINT) FROM sandpiper_bytes";
const BOUNDS: [&str; 8] = [
    "--client-header",
    "x-client",
    "--executors",
    "1",
    "--client-bytes",
    "2MiB",
    "--durable-bytes",
    "3MiB",
];

impl Database {
    /// Returns the number that a statement returns.
    fn number(&self, select: &'static str) -> i64 {
        match self {
            Self::Postgres(postgres) => postgres.ask(select).unwrap().parse().unwrap(),
            Self::Sqlite(folder) => {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .unwrap();
                runtime.block_on(async {
                    use sqlx::{ConnectOptions as _, Connection as _};
                    let options = sqlx::sqlite::SqliteConnectOptions::new()
                        .filename(folder.path("deep/er/jobs.db"))
                        .read_only(true);
                    let mut connection = options.connect().await.unwrap();
                    let (number,): (i64,) = sqlx::query_as(select)
                        .fetch_one(&mut connection)
                        .await
                        .unwrap();
                    connection.close().await.unwrap();
                    number
                })
            }
        }
    }

    /// Compares the account with the stored rows.
    fn assert_is_counted(&self, what: &str) -> i64 {
        assert_eq!(self.number(UNCOUNTED), 0, "{what}");
        self.number(BYTES_OF_JOBS) + self.number(BYTES_OF_LOGS)
    }
}

fn post_as(service: &Service, client: &str, body: &Value) -> Answer {
    service.post_with("/api/jobs", &[("x-client", client)], body)
}

/// Returns a job that runs far in the future, with an input of half a megabyte.
fn large() -> Value {
    json!({ "code": "1", "input": "i".repeat(500_000), "runAt": in_a_month() })
}

/// Returns a job with a result of this many bytes.
fn talkative(bytes: usize) -> Value {
    json!({ "code": format!("'r'.repeat({bytes})") })
}

fn stored(service: &Service) -> f64 {
    service.metric("store_bytes{kind=\"stored\"}").unwrap()
}

#[test]
fn jobs_take_so_many_bytes_of_each_client_and_in_all_also_after_a_restart() {
    over_each(|database| {
        let mut service = database.serve(&BOUNDS);
        let submit = |service: &Service, client: &str| {
            let answer = post_as(service, client, &large());
            assert_eq!(answer.status, 202, "{}", answer.text);
            answer.json()["id"].as_str().unwrap().to_owned()
        };
        let ids: Vec<String> = (0..4).map(|_| submit(&service, "a")).collect();
        let of_client = post_as(&service, "a", &large());
        assert_refused(&of_client, 429, "client_queue_full", "the client's bytes");
        assert_eq!(of_client.json()["bound"], 2 << 20);
        assert!(of_client.header("retry-after").parse::<u64>().unwrap() >= 1);
        for _ in 0..2 {
            submit(&service, "b");
        }
        let of_all = post_as(&service, "c", &large());
        assert_refused(&of_all, 503, "store_full", "all bytes");
        assert!(of_all.header("retry-after").parse::<u64>().unwrap() >= 1);
        // A small job still fits.
        assert_eq!(post_as(&service, "c", &json!({ "code": "1" })).status, 202);
        for (reason, times) in [("client_bytes", 1.0), ("full", 1.0), ("client_jobs", 0.0)] {
            let series = format!("store_refusals_total{{reason=\"{reason}\"}}");
            assert_eq!(service.metric(&series), Some(times), "{reason}");
        }
        service.signal(9);
        service.exit_within(SOON);
        let service = database.serve(&BOUNDS);
        assert_eq!(post_as(&service, "a", &large()).status, 429);
        assert_eq!(post_as(&service, "c", &large()).status, 503);
        let before = database.assert_is_counted("after a restart");
        // A job that was cancelled before it ran has nothing to read.
        assert_eq!(service.delete(&format!("/api/jobs/{}", ids[0])).status, 200);
        let after = database.assert_is_counted("after a cancel");
        // The small job may have run in between, and its result is stored.
        assert!(before - after > 499_000, "{before} {after}");
        eventually(SOON, "there is room again", || {
            post_as(&service, "a", &large()).status == 202
        });
        assert_eq!(
            service.metric("store_bytes{kind=\"most\"}"),
            Some(3_145_728.0)
        );
        eventually(SOON, "the metric says what is stored", || {
            format!("{:.0}", stored(&service)) == database.number(ACCOUNT).to_string()
        });
    });
}

#[test]
fn results_and_logs_count_until_they_are_swept() {
    over_each(|database| {
        let service = database.serve(&[&BOUNDS[..], &["--result-ttl-s", "6"]].concat());
        for _ in 0..2 {
            let answer = post_as(&service, "a", &talkative(900_000));
            service.finished(answer.json()["id"].as_str().unwrap());
        }
        let logs =
            json!({ "code": "for (let n = 0; n < 100; n += 1) console.log('l'.repeat(2_000))" });
        let answer = post_as(&service, "a", &logs);
        assert_eq!(answer.status, 202, "{}", answer.text);
        service.finished(answer.json()["id"].as_str().unwrap());
        let counted = database.assert_is_counted("what has run");
        assert!(counted > 2_000_000, "{counted}");
        assert_eq!(database.number(ACCOUNT_OF_EXPIRING), counted);
        let refused = post_as(
            &service,
            "a",
            &json!({ "code": "1", "input": "i".repeat(200_000) }),
        );
        assert_refused(&refused, 429, "client_queue_full", "results count");
        eventually(SOON, "it is swept", || database.number(ACCOUNT) == 0);
        database.assert_is_counted("after the sweep");
        assert_eq!(database.number(ACCOUNT_OF_EXPIRING), 0);
        eventually(SOON, "there is room again", || {
            post_as(&service, "a", &talkative(1)).status == 202
        });
    });
}

/// A thousand small requests may return far more bytes than they have. Each of them has been accepted.
#[test]
fn what_was_accepted_waits_for_room_and_is_run_in_the_end() {
    over_each(|database| {
        let service = database.serve(
            &[
                &BOUNDS[..],
                &["--result-ttl-s", "3", "--reserve-executors", "0"],
            ]
            .concat(),
        );
        // Nothing runs, and so no result takes room, before all are submitted.
        let endless = json!({ "code": "for (;;);", "limits": { "timeoutMs": 30_000 } });
        let blockers: Vec<String> = (0..2)
            .map(|_| {
                post_as(&service, "z", &endless).json()["id"]
                    .as_str()
                    .unwrap()
                    .to_owned()
            })
            .collect();
        let ids: Vec<String> = (0..8)
            .map(|_| {
                let answer = post_as(&service, "a", &talkative(900_000));
                assert_eq!(answer.status, 202, "{}", answer.text);
                answer.json()["id"].as_str().unwrap().to_owned()
            })
            .collect();
        for blocker in blockers {
            service.delete(&format!("/api/jobs/{blocker}"));
        }
        let mut finished = std::collections::BTreeSet::new();
        let mut most = 0;
        // The results of some have expired when others get theirs.
        eventually_mut(Duration::from_secs(300), "all have run", || {
            most = most.max(database.number(ACCOUNT));
            for id in &ids {
                let answer = service.get(&format!("/api/jobs/{id}"));
                if answer.status == 410 || answer.json()["state"] == "finished" {
                    finished.insert(id.clone());
                }
            }
            let of_another = post_as(&service, "b", &json!({ "code": "7" }));
            let job = service.finished(of_another.json()["id"].as_str().unwrap());
            assert_eq!(job["execution"]["result"], 7, "{job}");
            finished.len() == ids.len()
        });
        // A job that starts while there is a little room may return more than that.
        assert!(most < (2 << 20) + 1_100_000, "{most}");
        assert!(service.metric("jobs_put_off_total") >= Some(1.0));
        let lost = service.metric("jobs_lost_total");
        assert_eq!(lost, Some(0.0));
        database.assert_is_counted("in the end");
    });
}

fn eventually_mut(within: Duration, what: &str, mut is_so: impl FnMut() -> bool) {
    let start = std::time::Instant::now();
    while !is_so() {
        assert!(start.elapsed() < within, "not within {within:?}: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn nodes_on_one_database_hold_one_bound_together() {
    let database = Database::Postgres(Postgres::start());
    let nodes = [database.serve(&BOUNDS), database.serve(&BOUNDS)];
    for number in 0..4 {
        // Each time the other node, once it has counted again.
        std::thread::sleep(Duration::from_millis(1_100));
        assert_eq!(post_as(&nodes[number % 2], "a", &large()).status, 202);
        database.assert_is_counted("of both nodes");
    }
    std::thread::sleep(Duration::from_millis(1_100));
    for node in &nodes {
        let refused = post_as(node, "a", &large());
        assert_refused(&refused, 429, "client_queue_full", "on either node");
    }
    // A log that is stored while its job runs counts, and its bytes are freed when the job ends.
    let running = post_as(
        &nodes[0],
        "b",
        &json!({
            "code": "console.log('l'.repeat(50_000)); await new Promise(done => setTimeout(done, 3_000)); 1",
            "limits": { "timeoutMs": 10_000 },
        }),
    );
    eventually(SOON, "a part of the log is stored", || {
        database.number(BYTES_OF_LOGS) > 50_000
    });
    database.assert_is_counted("with a part of a log");
    nodes[1].finished(running.json()["id"].as_str().unwrap());
    eventually(SOON, "the part has gone", || {
        database.number(BYTES_OF_LOGS) == 0
    });
    database.assert_is_counted("without it");
    eventually(SOON, "the account has a row for each client", || {
        database.number("SELECT count(*) FROM sandpiper_bytes") == 2
    });
}

/// The statements of a node of the previous version, which does not know the account, are counted like all others. So
/// are jobs from before the upgrade.
#[test]
fn what_an_earlier_version_has_stored_and_goes_on_to_store_counts() {
    let database = Database::Postgres(Postgres::start());
    let Database::Postgres(postgres) = &database else {
        unreachable!()
    };
    let mut service = database.serve(&BOUNDS);
    for _ in 0..3 {
        assert_eq!(post_as(&service, "a", &large()).status, 202);
    }
    service.signal(15);
    service.exit_within(SOON);
    database.downgrade_to_4();
    // The table as the version before that left it.
    postgres
        .ask(
            "DROP TABLE sandpiper_bytes; \
             DROP FUNCTION sandpiper_jobs_added, sandpiper_jobs_changed, sandpiper_jobs_gone, \
                 sandpiper_logs_client, sandpiper_logs_added, sandpiper_logs_gone CASCADE; \
             ALTER TABLE sandpiper_logs DROP COLUMN client; \
             DELETE FROM sandpiper_migrations WHERE version >= 4; \
             INSERT INTO sandpiper_logs (job_id, attempt, first_number, next_number, entries, created_at) \
                 SELECT id, 1, 0, 1, repeat('l', 1000), 9000000000000 FROM sandpiper_jobs LIMIT 1",
        )
        .unwrap();
    let service = database.serve(&BOUNDS);
    let counted = database.assert_is_counted("what was there before");
    assert!(counted > 1_500_000, "{counted}");
    assert_eq!(post_as(&service, "a", &large()).status, 202);
    assert_eq!(post_as(&service, "a", &large()).status, 429);
    postgres
        .ask(
            "INSERT INTO sandpiper_jobs (id, river_id, client, request, state, attempt, created_at, run_at) \
                 SELECT 'old-' || n, -n, 'b', repeat('x', 100000), 'open', 0, 0, NULL FROM generate_series(1, 10) n; \
             UPDATE sandpiper_jobs SET state = 'finished', expires_at = 9000000000000, execution = repeat('y', 50000) \
                 WHERE client = 'b'; \
             INSERT INTO sandpiper_logs (job_id, attempt, first_number, next_number, entries, created_at) \
                 VALUES ('old-1', 1, 0, 1, repeat('l', 1000), 0)",
        )
        .unwrap();
    database.assert_is_counted("what a node of the version before has written");
    eventually(SOON, "it fills the store for this one", || {
        post_as(&service, "c", &large()).status == 503
    });
    postgres
        .ask("DELETE FROM sandpiper_logs; DELETE FROM sandpiper_jobs")
        .unwrap();
    assert_eq!(database.assert_is_counted("nothing is left"), 0);
}

#[test]
fn a_file_of_sqlite_gives_back_what_large_jobs_took() {
    let database = Database::Sqlite(crate::stores::Folder::new());
    let service = database.serve(&["--executors", "1"]);
    let ids: Vec<String> = (0..30)
        .map(|_| {
            let body =
                json!({ "code": "1", "input": "i".repeat(1_000_000), "runAt": in_a_month() });
            service.submit(&body)
        })
        .collect();
    let pages = || database.number("PRAGMA page_count");
    let before = pages();
    assert!(before > 7_000, "{before}");
    for id in ids {
        service.delete(&format!("/api/jobs/{id}"));
    }
    eventually(SOON, "the file is small again", || pages() < before / 2);
}

#[test]
fn bounds_below_the_longest_body_are_refused_at_the_start() {
    for option in ["--client-bytes", "--durable-bytes"] {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_sandpiper"))
            .args(["serve", "--port", "0", "--store", "memory", option, "1MiB"])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success());
        assert!(
            said.contains(option) && said.contains("--body-bytes"),
            "{said}"
        );
    }
}
