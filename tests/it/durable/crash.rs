//! Processes are killed at random, again and again, and every accepted job has one end.
//!
//! `make crashtest` runs longer.

use super::Database;
use crate::stores::Folder;
use crate::stores::Postgres;
use crate::support::Service;
use serde_json::json;
use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use ureq::Agent;

const SOON: Duration = crate::support::SOON;
/// Maximum time until the backlog of a long test is processed.
const ENDED_WITHIN: Duration = Duration::from_secs(900);

/// Returns the number of kills; `CRASHES` overrides it.
#[allow(clippy::disallowed_methods)] // a test's own variable
pub(super) fn crashes() -> usize {
    std::env::var("CRASHES").map_or(6, |text| text.parse().unwrap())
}

/// A small generator with a fixed seed.
pub(super) fn chance(state: &mut u64, below: u64) -> u64 {
    *state = state
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1);
    (*state >> 33) % below
}

/// Submits to any node that responds, and records the accepted jobs.
fn submit_until(
    stop: &AtomicBool,
    urls: &Mutex<Vec<String>>,
    accepted: &Mutex<HashMap<String, u64>>,
    longest_ms: u64,
) {
    let agent: Agent = Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(10)))
        .build()
        .new_agent();
    let mut number = 0;
    while !stop.load(Ordering::SeqCst) {
        number += 1;
        let url = {
            let urls = urls.lock().unwrap();
            urls[usize::try_from(number).unwrap() % urls.len()].clone()
        };
        let body = json!({ "code": format!("const until = Date.now() + {}; while (Date.now() < until); {number}", number * 7 % longest_ms) });
        let sent = agent
            .post(format!("{url}/api/jobs"))
            .header("content-type", "application/json")
            .send(body.to_string());
        if let Ok(mut answer) = sent
            && answer.status() == 202
        {
            let job: serde_json::Value =
                serde_json::from_str(&answer.body_mut().read_to_string().unwrap()).unwrap();
            let id = job["id"].as_str().unwrap().to_owned();
            accepted.lock().unwrap().insert(id, number);
            // No more long jobs than can be run.
            thread::sleep(Duration::from_millis(longest_ms / 100 * 25));
        } else {
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Checks that every accepted job ended as expected. Returns how many ran more than once, and how long the last one
/// took.
#[allow(clippy::print_stdout)] // for `make crashtest`
fn assert_all_ended(node: &Service, accepted: &HashMap<String, u64>) {
    let start = Instant::now();
    let is_left = |state: &str| {
        let page = node.get(&format!("/api/jobs?state={state}&limit=1"));
        page.json()["jobs"] != json!([])
    };
    // Clients submit far more jobs than run between two kills.
    while is_left("queued") || is_left("running") {
        assert!(start.elapsed() < ENDED_WITHIN, "jobs are left");
        thread::sleep(Duration::from_millis(100));
    }
    let ended = start.elapsed();
    let mut again = 0;
    for (id, number) in accepted {
        let job = node.finished(id);
        assert_eq!(job["state"], "finished", "{job}");
        assert_eq!(job["execution"]["result"], *number, "{job}");
        again += u64::from(job["attempt"].as_u64().unwrap() > 1);
    }
    println!(
        "{} accepted, {again} of them run more than once, all ended {:?} after the last kill",
        accepted.len(),
        ended
    );
    for state in ["lost", "cancelled"] {
        assert!(!is_left(state), "{state}");
    }
}

const SIGSTOP: i32 = 19;
const SIGCONT: i32 = 18;
const OPTIONS: [&str; 4] = ["--attempts-max", "100", "--result-ttl-s", "3600"];

#[test]
fn a_service_that_is_killed_again_and_again_loses_no_job() {
    let database = Database::Sqlite(Folder::new());
    let mut service = database.serve(&OPTIONS);
    let urls = Mutex::new(vec![service.url().to_owned()]);
    let (stop, accepted) = (AtomicBool::new(false), Mutex::new(HashMap::new()));
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| submit_until(&stop, &urls, &accepted, 30));
        }
        let mut state = 1;
        for _ in 0..crashes() {
            thread::sleep(Duration::from_millis(100 + chance(&mut state, 900)));
            service.signal(9);
            service.exit_within(SOON);
            service = database.serve(&OPTIONS);
            *urls.lock().unwrap() = vec![service.url().to_owned()];
        }
        thread::sleep(Duration::from_millis(300));
        stop.store(true, Ordering::SeqCst);
    });
    let accepted = accepted.into_inner().unwrap();
    assert!(accepted.len() > 20, "{}", accepted.len());
    assert_all_ended(&service, &accepted);
}

#[test]
fn three_nodes_and_their_postgres_that_are_killed_again_and_again_lose_no_job() {
    let mut postgres = Postgres::start();
    let store = postgres.url();
    let serve = || {
        let options = [&["--store", &store, "--executors", "1"][..], &OPTIONS].concat();
        Service::start_with(&options)
    };
    let mut nodes: Vec<Service> = (0..3).map(|_| serve()).collect();
    let urls_of = |nodes: &[Service]| nodes.iter().map(|node| node.url().to_owned()).collect();
    let urls: Mutex<Vec<String>> = Mutex::new(urls_of(&nodes));
    let (stop, accepted) = (AtomicBool::new(false), Mutex::new(HashMap::new()));
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| submit_until(&stop, &urls, &accepted, 30));
        }
        let mut state = 2;
        for crash in 0..crashes() {
            thread::sleep(Duration::from_millis(200 + chance(&mut state, 1_500)));
            if crash % 3 == 2 {
                postgres.down();
                postgres.up();
                continue;
            }
            let victim = usize::try_from(chance(&mut state, 3)).unwrap();
            nodes[victim].signal(9);
            nodes[victim].exit_within(SOON);
            nodes[victim] = serve();
            *urls.lock().unwrap() = urls_of(&nodes);
        }
        thread::sleep(Duration::from_millis(500));
        stop.store(true, Ordering::SeqCst);
    });
    let accepted = accepted.into_inner().unwrap();
    assert!(accepted.len() > 20, "{}", accepted.len());
    assert_all_ended(&nodes[0], &accepted);
}

#[test]
fn nodes_that_are_frozen_while_others_take_their_jobs_spoil_none_when_they_thaw() {
    let postgres = Postgres::start();
    let store = postgres.url();
    let serve = || {
        let options = [&["--store", &store, "--executors", "1"][..], &OPTIONS].concat();
        Service::start_with(&options)
    };
    let nodes: Vec<Service> = (0..3).map(|_| serve()).collect();
    let urls: Vec<String> = nodes.iter().map(|node| node.url().to_owned()).collect();
    // The first node is never frozen, so that jobs come in all the time.
    let urls = Mutex::new(vec![urls[0].clone()]);
    let (stop, accepted) = (AtomicBool::new(false), Mutex::new(HashMap::new()));
    thread::scope(|scope| {
        scope.spawn(|| submit_until(&stop, &urls, &accepted, 900));
        let mut state = 3;
        for freeze in 0..crashes().div_ceil(3) {
            thread::sleep(Duration::from_millis(chance(&mut state, 2_000)));
            // About the time after which a node is considered dead.
            let victims = if freeze % 3 == 2 {
                &nodes[1..]
            } else {
                &nodes[1 + freeze % 2..][..1]
            };
            for node in victims {
                node.signal(SIGSTOP);
            }
            thread::sleep(Duration::from_millis(5_500 + chance(&mut state, 4_000)));
            for node in victims {
                node.signal(SIGCONT);
            }
        }
        stop.store(true, Ordering::SeqCst);
    });
    let accepted = accepted.into_inner().unwrap();
    assert!(accepted.len() > 20, "{}", accepted.len());
    assert_all_ended(&nodes[0], &accepted);
}
