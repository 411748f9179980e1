//! Usage in a database: counted once over all nodes and kills, and migrated from earlier versions.

use super::over_each;
use crate::support::{SOON, Service, eventually};
use crate::usage::{A, B};
use serde_json::json;

const HEADER: [&str; 2] = ["--client-header", "sandpiper-client"];

/// Returns how many executions and jobs of a tenant are counted: charged, queued, and ended.
fn counted(service: &Service, tenant: crate::usage::Key) -> [u64; 3] {
    let report = tenant.usage(service, "");
    let totals = &report["totals"];
    let outcomes = totals["executions"].as_object().unwrap().values();
    [
        totals["executionsCharged"].as_u64().unwrap(),
        totals["jobsQueued"].as_u64().unwrap(),
        outcomes.map(|count| count.as_u64().unwrap()).sum(),
    ]
}

#[test]
fn usage_is_there_after_a_stop_and_after_a_kill() {
    over_each(|database| {
        let mut service = database.serve(&HEADER);
        A.execute(&service, "1");
        B.finish(&service, &json!({ "code": "2" }));
        service.signal(15);
        assert!(service.exit_within(SOON).success());
        let mut service = database.serve(&HEADER);
        assert_eq!(counted(&service, A), [1, 0, 1]);
        assert_eq!(counted(&service, B), [1, 1, 1]);
        A.execute(&service, "3");
        B.finish(&service, &json!({ "code": "4" }));
        // Longer than it takes until usage is written.
        eventually(SOON, "it is written", || {
            service.metric("usage_flushes_total{result=\"written\"}") >= Some(1.0)
        });
        service.signal(9);
        service.exit_within(SOON);
        let service = database.serve(&HEADER);
        assert_eq!(counted(&service, A), [2, 0, 2]);
        assert_eq!(counted(&service, B), [2, 2, 2]);
    });
}

#[test]
fn a_job_that_runs_again_after_a_kill_counts_once() {
    over_each(|database| {
        let mut service = database.serve(&[&HEADER[..], &["--executors", "1"]].concat());
        let body = json!({
            "code": "const end = Date.now() + 1_000; while (Date.now() < end);",
            "limits": { "timeoutMs": 30_000 },
        });
        let answer = A.post(&service, "/api/jobs", &body);
        let path = format!("/api/jobs/{}", answer.json()["id"].as_str().unwrap());
        let state = |service: &Service| A.get(service, &path).json()["state"].clone();
        eventually(SOON, "it runs", || state(&service) == "running");
        service.signal(9);
        service.exit_within(SOON);
        let service = database.serve(&HEADER);
        eventually(SOON, "it has run again", || state(&service) == "finished");
        assert_eq!(A.get(&service, &path).json()["attempt"], 2);
        assert_eq!(counted(&service, A), [1, 1, 1]);
    });
}

/// `make crashtest` runs longer.
mod crash {
    use super::{A, B, HEADER, counted};
    use crate::durable::Database;
    use crate::durable::crash::{chance, crashes};
    use crate::stores::{Folder, Postgres};
    use crate::support::{SOON, Service, eventually};
    use crate::usage::Key;
    use serde_json::{Value, json};
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    use std::thread;
    use std::time::{Duration, Instant};
    use ureq::Agent;

    /// Executions that ended this long before a kill are counted. Usage is written twice a second; the rest is for a busy
    /// machine.
    const WRITTEN_WITHIN: Duration = Duration::from_secs(1);
    const OPTIONS: [&str; 4] = ["--attempts-max", "100", "--result-ttl-s", "3600"];
    /// Maximum time until the backlog of a long test is processed.
    const ENDED_WITHIN: Duration = Duration::from_secs(300);

    #[derive(Default)]
    struct Log {
        stop: AtomicBool,
        executions_sent: AtomicU64,
        /// The node that responded to an execution, and the moment.
        responses: Mutex<Vec<(usize, Instant)>>,
        kills: Mutex<Vec<(usize, Instant)>>,
    }

    fn agent() -> Agent {
        Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(20)))
            .build()
            .new_agent()
    }

    fn post(agent: &Agent, url: &str, path: &str, key: Key, body: &Value) -> Option<u16> {
        let mut request = agent
            .post(format!("{url}{path}"))
            .header("content-type", "application/json");
        for (name, value) in key.headers() {
            request = request.header(name, value);
        }
        let mut answer = request.send(body.to_string()).ok()?;
        let status = answer.status().as_u16();
        answer.body_mut().read_to_string().ok().map(|_| status)
    }

    /// Executes scripts until the test is over.
    fn execute_until(log: &Log, node: usize, url: &Mutex<String>) {
        let agent = agent();
        while !log.stop.load(Ordering::SeqCst) {
            let url = url.lock().unwrap().clone();
            log.executions_sent.fetch_add(1, Ordering::SeqCst);
            let status = post(&agent, &url, "/api/execute", A, &json!({ "code": "1" }));
            if status == Some(200) {
                log.responses.lock().unwrap().push((node, Instant::now()));
            } else {
                thread::sleep(Duration::from_millis(20));
            }
        }
    }

    /// Submits jobs until the test is over.
    fn submit_until(log: &Log, url: &Mutex<String>) {
        let agent = agent();
        while !log.stop.load(Ordering::SeqCst) {
            let url = url.lock().unwrap().clone();
            post(&agent, &url, "/api/jobs", B, &json!({ "code": "2" }));
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Returns the number of the tenant's jobs in this state.
    fn jobs(service: &Service, state: &str) -> u64 {
        let (mut count, mut cursor) = (0, String::new());
        loop {
            let page = B.get(
                service,
                &format!("/api/jobs?state={state}&limit=200{cursor}"),
            );
            let page = page.json();
            count += u64::try_from(page["jobs"].as_array().unwrap().len()).unwrap();
            match page["nextCursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return count,
            }
        }
    }

    /// Compares the sums with what ran.
    #[allow(clippy::print_stdout)] // for `make crashtest`
    fn assert_is_counted(log: &Log, service: &Service) {
        let start = Instant::now();
        while jobs(service, "queued") + jobs(service, "running") > 0 {
            assert!(start.elapsed() < ENDED_WITHIN, "jobs are left");
            thread::sleep(Duration::from_millis(100));
        }
        let finished = jobs(service, "finished");
        assert!(finished > 20, "only {finished} jobs");
        // Every job counts exactly once.
        assert_eq!(counted(service, B), [finished; 3]);
        let (responses, kills) = (log.responses.lock().unwrap(), log.kills.lock().unwrap());
        let is_late = |response: &&(usize, Instant)| {
            let (node, at) = **response;
            let mut of_node = kills.iter().filter(|(killed, _)| *killed == node);
            of_node.any(|(_, kill)| at <= *kill && *kill - at < WRITTEN_WITHIN)
        };
        let responded = u64::try_from(responses.len()).unwrap();
        let late = u64::try_from(responses.iter().filter(is_late).count()).unwrap();
        let sent = log.executions_sent.load(Ordering::SeqCst);
        // Another node may still be about to write its last usage.
        eventually(SOON, "all executions but late ones are counted", || {
            counted(service, A)[0] >= responded - late
        });
        let [charged, queued, ended] = counted(service, A);
        println!(
            "{} kills: {sent} executions sent, {responded} with a response, {late} of them within a second before a kill, \
             {charged} counted; {finished} jobs, all counted",
            kills.len()
        );
        assert_eq!((charged, queued), (ended, 0));
        assert!(charged <= sent, "{charged} of {sent} are counted");
    }

    #[test]
    fn usage_of_a_service_that_is_killed_again_and_again_lacks_the_last_second_and_nothing_else() {
        let database = Database::Sqlite(Folder::new());
        let serve = || database.serve(&[&HEADER[..], &OPTIONS].concat());
        kill_again_and_again(serve, 1, || {});
    }

    #[test]
    fn usage_of_two_nodes_and_their_postgres_that_are_killed_counts_nothing_twice() {
        let postgres = Mutex::new(Postgres::start());
        let store = postgres.lock().unwrap().url();
        let serve = || {
            let store = ["--store", &store, "--executors", "1"];
            Service::start_with(&[&store[..], &HEADER, &OPTIONS].concat())
        };
        kill_again_and_again(serve, 2, || {
            let mut postgres = postgres.lock().unwrap();
            postgres.down();
            postgres.up();
        });
    }

    /// Kills a node under load, again and again, and its database beside it.
    fn kill_again_and_again(serve: impl Fn() -> Service, nodes: usize, kill_database: impl Fn()) {
        let mut victims: Vec<Service> = (0..nodes).map(|_| serve()).collect();
        let log = Log::default();
        let urls = victims.iter().map(|node| Mutex::new(node.url().to_owned()));
        let urls: Vec<Mutex<String>> = urls.collect();
        thread::scope(|scope| {
            for (node, url) in urls.iter().enumerate() {
                let log = &log;
                scope.spawn(move || execute_until(log, node, url));
                scope.spawn(move || submit_until(log, url));
            }
            let mut state = 7;
            for crash in 0..crashes().div_ceil(2) {
                // Far longer than the second whose usage may be lost.
                thread::sleep(Duration::from_millis(1_500 + chance(&mut state, 2_000)));
                if crash % 3 == 2 {
                    kill_database();
                    continue;
                }
                let node = crash % nodes;
                log.kills.lock().unwrap().push((node, Instant::now()));
                victims[node].signal(9);
                victims[node].exit_within(SOON);
                victims[node] = serve();
                *urls[node].lock().unwrap() = victims[node].url().to_owned();
            }
            thread::sleep(Duration::from_millis(300));
            log.stop.store(true, Ordering::SeqCst);
        });
        assert_is_counted(&log, &victims[0]);
    }
}
