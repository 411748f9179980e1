//! Several nodes on one Postgres.

use super::terms::{in_a_month, rfc3339};
use super::{Database, endless};
use crate::stores::Postgres;
use crate::support::{Service, eventually};
use serde_json::json;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

const SOON: Duration = crate::support::SOON;
const SIGSTOP: i32 = 19;
const SIGCONT: i32 = 18;

#[test]
fn any_node_runs_a_job_and_any_node_responds_for_it() {
    let database = Database::Postgres(Postgres::start());
    let nodes: Vec<Service> = thread::scope(|scope| {
        // All start at once, so that their migrations collide.
        let starting: Vec<_> = (0..3)
            .map(|_| scope.spawn(|| database.serve(&[])))
            .collect();
        starting
            .into_iter()
            .map(|node| node.join().unwrap())
            .collect()
    });
    let ids: Vec<String> = (0..60)
        .map(|number| nodes[number % 3].submit(&json!({ "code": format!("{number}") })))
        .collect();
    for (number, id) in ids.iter().enumerate() {
        let job = nodes[(number + 1) % 3].finished(id);
        assert_eq!(job["execution"]["result"], number);
        assert_eq!(job["attempt"], 1);
    }
    let listed = nodes[0].get("/api/jobs?limit=200").json();
    assert_eq!(listed["jobs"].as_array().unwrap().len(), 60);
    let reported = nodes[1].get("/api/nodes").json();
    let reported = reported["nodes"].as_array().unwrap();
    assert_eq!(reported.len(), 3);
    assert_eq!(
        reported
            .iter()
            .filter(|node| node["isThis"] == true)
            .count(),
        1
    );
    assert!(
        reported.iter().all(|node| node["executors"] == 2),
        "{reported:?}"
    );
    let running = nodes[0].submit(&endless());
    eventually(SOON, "it runs", || nodes[1].state(&running) == "running");
    for node in &nodes {
        assert_eq!(node.state(&running), "running");
    }
    // Two of the three nodes do not have the job.
    let answer = nodes[2].delete(&format!("/api/jobs/{running}"));
    assert_eq!(
        (answer.status, &answer.json()["state"]),
        (200, &json!("cancelled"))
    );
}

#[test]
fn a_client_that_waits_at_one_node_learns_at_once_of_an_end_at_another() {
    let database = Database::Postgres(Postgres::start());
    let nodes = [database.serve(&[]), database.serve(&[])];
    eventually(SOON, "they know of each other", || {
        let reported = nodes[0].get("/api/nodes").json();
        reported["nodes"].as_array().unwrap().len() == 2
    });
    // Each node reports this with its next heartbeat.
    thread::sleep(Duration::from_secs(3));
    let body = json!({ "code": "await new Promise(done => setTimeout(done, 100)); 1" });
    let mut quickest = [Duration::MAX; 2];
    for number in 0..16 {
        let id = nodes[number % 2].submit(&body);
        let start = Instant::now();
        // Whichever node runs the job, the other one is queried as well.
        thread::scope(|scope| {
            for node in &nodes {
                scope.spawn(|| assert_eq!(node.finished(&id)["state"], "finished"));
            }
        });
        quickest[number % 2] = quickest[number % 2].min(start.elapsed());
    }
    // Without a notification, each of them would be polled again after a second.
    for waited in quickest {
        assert!(waited < Duration::from_millis(800), "{waited:?}");
    }
}

#[test]
fn what_a_job_has_logged_is_read_from_any_node_while_it_runs() {
    let database = Database::Postgres(Postgres::start());
    let first = database.serve(&["--executors", "1"]);
    let id = first.submit(&json!({
        "code": "for (let n = 0; ; n += 1) { console.log(n); await new Promise(done => setTimeout(done, 100)); }",
        "limits": { "timeoutMs": 30_000, "outputBytes": 2_000 },
    }));
    eventually(SOON, "it runs", || first.state(&id) == "running");
    let second = database.serve(&["--executors", "1"]);
    let logged = |node: &Service| {
        let job = node.job(&id);
        let log = job["log"].as_array().cloned().unwrap_or_default();
        let numbers: Vec<u64> = log
            .iter()
            .map(|entry| entry["data"][0].as_u64().unwrap())
            .collect();
        (numbers, job["logDropped"].as_u64().unwrap_or_default())
    };
    eventually(SOON, "the other node has it", || {
        logged(&second).0.len() > 3
    });
    // More entries than are retained: head, tail, and the number of missing ones.
    eventually(SOON, "it has lost its middle", || logged(&second).1 > 10);
    let (numbers, dropped) = logged(&second);
    assert_eq!(numbers[..3], [0, 1, 2]);
    assert!(numbers.is_sorted());
    let all = u64::try_from(numbers.len()).unwrap() + dropped;
    assert_eq!(numbers.last(), Some(&(all - 1)));
    // At most the retained size, and the last part.
    assert!(numbers.len() < 40, "{numbers:?}");
    assert!(logged(&first).0.last() >= numbers.last());
    second.delete(&format!("/api/jobs/{id}"));
    let job = second.finished(&id);
    assert_eq!(job["state"], "cancelled");
    assert!(job.get("log").is_none());
    let Database::Postgres(postgres) = &database else {
        unreachable!()
    };
    eventually(SOON, "nothing is left of it", || {
        postgres
            .ask("SELECT count(*) FROM sandpiper_logs")
            .as_deref()
            == Some("0")
    });
}

/// The database may store a part of a log although the node has no response.
#[test]
fn a_log_is_uploaded_further_after_a_part_of_it_was_stored_without_a_response() {
    let database = Database::Postgres(Postgres::start());
    let Database::Postgres(postgres) = &database else {
        unreachable!()
    };
    let first = database.serve(&["--executors", "1"]);
    let id = first.submit(&json!({
        "code": "for (let n = 0; ; n += 1) { console.log(n); await new Promise(done => setTimeout(done, 100)); }",
        "limits": { "timeoutMs": 30_000 },
        "runAt": rfc3339(SystemTime::now() + Duration::from_secs(3)),
    }));
    let stored = postgres.ask(&format!(
        "INSERT INTO sandpiper_logs (job_id, attempt, first_number, next_number, entries, created_at) \
         VALUES ('{id}', 1, 0, 1, '[]', extract(epoch FROM now()) * 1000) RETURNING 1"
    ));
    assert_eq!(stored.as_deref(), Some("1"));
    eventually(SOON, "it runs", || first.state(&id) == "running");
    let second = database.serve(&["--executors", "1"]);
    let logged = || {
        let log = second.job(&id)["log"].clone();
        log.as_array().cloned().unwrap_or_default()
    };
    eventually(SOON, "the other node has it", || logged().len() > 3);
    assert_eq!(logged()[0]["data"], json!([0]));
    second.delete(&format!("/api/jobs/{id}"));
    assert_eq!(second.finished(&id)["state"], "cancelled");
    eventually(SOON, "nothing is left of it", || {
        let left = postgres.ask("SELECT count(*) FROM sandpiper_logs");
        left.as_deref() == Some("0")
    });
}

#[test]
fn what_one_node_has_taken_and_cannot_run_is_run_by_another() {
    let database = Database::Postgres(Postgres::start());
    let first = database.serve(&["--executors", "1"]);
    // The node learns that jobs are short, and claims many at a time.
    for _ in 0..100 {
        first.submit(&json!({ "code": "1" }));
    }
    let last = first.submit(&json!({ "code": "1" }));
    first.finished(&last);
    first.submit(&endless());
    let ids: Vec<String> = (0..20)
        .map(|number| first.submit(&json!({ "code": format!("{number}") })))
        .collect();
    let second = database.serve(&["--executors", "1"]);
    let start = Instant::now();
    for (number, id) in ids.iter().enumerate() {
        let job = second.finished(id);
        assert_eq!(
            (&job["execution"]["result"], &job["attempt"]),
            (&json!(number), &json!(1)),
            "{job}"
        );
    }
    // The other node is frozen for 30 seconds.
    assert!(start.elapsed() < Duration::from_secs(25));
}

#[test]
fn what_a_dead_node_ran_is_taken_up_by_another_soon_after() {
    let database = Database::Postgres(Postgres::start());
    let mut first = database.serve(&["--executors", "1"]);
    let job = json!({
        "code": "const until = Date.now() + 1000; while (Date.now() < until); 'done'",
        "limits": { "timeoutMs": 20_000 },
    });
    let ids: Vec<String> = (0..4).map(|_| first.submit(&job)).collect();
    eventually(SOON, "it runs", || first.state(&ids[0]) == "running");
    first.signal(9);
    first.exit_within(SOON);
    let dead_since = Instant::now();
    let second = database.serve(&["--executors", "2"]);
    for id in &ids {
        let job = second.finished(id);
        assert_eq!(job["execution"]["result"], "done", "{job}");
    }
    let reported = second.get("/api/nodes").json();
    assert_eq!(
        reported["nodes"].as_array().unwrap().len(),
        1,
        "the dead node is still listed: {reported}"
    );
    let recovered = dead_since.elapsed();
    assert!(recovered < SOON, "{recovered:?}");
    assert_eq!(second.job(&ids[0])["attempt"], 2);
}

#[test]
fn a_node_that_only_seemed_dead_can_record_nothing_of_what_was_taken_from_it() {
    let database = Database::Postgres(Postgres::start());
    let first = database.serve(&["--executors", "1"]);
    let slow = json!({
        "code": "const until = Date.now() + 300; while (Date.now() < until); Math.random()",
        "limits": { "timeoutMs": 20_000 },
    });
    let id = first.submit(&slow);
    eventually(SOON, "it runs", || first.state(&id) == "running");
    first.signal(SIGSTOP);
    let second = database.serve(&["--executors", "1"]);
    let settled = second.finished(&id);
    assert_eq!(
        (&settled["state"], &settled["attempt"]),
        (&json!("finished"), &json!(2))
    );
    first.signal(SIGCONT);
    eventually(SOON, "it serves again", || {
        first.get("/api/health/live").status == 200
    });
    thread::sleep(Duration::from_secs(1));
    assert_eq!(second.job(&id)["execution"], settled["execution"]);
    assert_eq!(first.job(&id)["execution"], settled["execution"]);
}

#[test]
fn a_node_that_only_seemed_dead_does_not_take_a_job_from_its_new_node() {
    let database = Database::Postgres(Postgres::start());
    let first = database.serve(&["--executors", "1"]);
    let id = first.submit(&json!({
        "code": "console.log('begun'); const until = Date.now() + 9000; while (Date.now() < until); 'ran'",
        "limits": { "timeoutMs": 20_000 },
    }));
    eventually(SOON, "it runs", || {
        first.job(&id)["log"][0]["data"] == json!(["begun"])
    });
    first.signal(SIGSTOP);
    let second = database.serve(&["--executors", "1"]);
    eventually(SOON, "the other node runs it", || {
        second.job(&id)["attempt"] == 2
    });
    // Its own attempt ends while the other node's attempt continues.
    first.signal(SIGCONT);
    eventually(SOON, "it is refused", || {
        first.metric("finishes_stale_total") == Some(1.0)
    });
    assert_eq!(second.state(&id), "running");
    let job = second.finished(&id);
    assert_eq!(
        (&job["state"], &job["attempt"], &job["execution"]["result"]),
        (&json!("finished"), &json!(2), &json!("ran"))
    );
    assert_eq!(second.metric("finishes_stale_total"), Some(0.0));
}

#[test]
fn a_job_that_was_cancelled_on_a_dead_node_is_not_run_again() {
    const STOP: i32 = 19;
    let database = Database::Postgres(Postgres::start());
    let first = database.serve(&["--executors", "1"]);
    let id = first.submit(&endless());
    eventually(SOON, "it runs", || first.state(&id) == "running");
    first.signal(STOP);
    let second = database.serve(&["--executors", "1"]);
    assert_eq!(second.delete(&format!("/api/jobs/{id}")).status, 200);
    eventually(SOON, "it is cancelled", || second.state(&id) == "cancelled");
    assert_eq!(second.job(&id)["attempt"], 1);
}

/// The database crashed after it had given the job to the node, and before it had confirmed that.
#[test]
fn a_job_that_never_came_to_the_node_that_took_it_is_run_all_the_same() {
    let database = Database::Postgres(Postgres::start());
    let service = database.serve(&[]);
    let Database::Postgres(postgres) = &database else {
        unreachable!()
    };
    let later = json!({ "code": "'it came'", "runAt": in_a_month() });
    let id = service.submit(&later);
    let cancelled = service.submit(&later);
    let nodes = service.get("/api/nodes").json();
    let node = nodes["nodes"][0]["id"].as_str().unwrap().to_owned();
    postgres.ask(&format!(
        "UPDATE river_job SET state = 'running', attempt = 1, attempted_at = now() - interval '20 s', scheduled_at = now(), \
         attempted_by = ARRAY['{node}'], metadata = CASE WHEN args->>'id' = '{cancelled}' \
             THEN jsonb_build_object('cancel_attempted_at', now()) ELSE metadata END"
    ));
    assert_eq!(service.state(&id), "running");
    let job = service.finished(&id);
    assert_eq!(job["execution"]["result"], "it came", "{job}");
    assert_eq!(job["attempt"], 1);
    // Unless the job was cancelled meanwhile.
    let job = service.finished(&cancelled);
    assert_eq!(job["state"], "cancelled", "{job}");
    assert!(job.get("execution").is_none(), "{job}");
}
