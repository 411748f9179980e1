//! Reserve executors: one client's endless scripts hold every executor, and another client still gets its response.

use crate::raw::post;
use crate::stores::{Store, over_every_store};
use crate::support::{Service, children_of, eventually, is_alive, signal};
use libc::{SIGKILL, SIGTERM};
use serde_json::{Value, json};
use std::net::TcpStream;
use std::time::{Duration, Instant};

over_every_store!(jobs_of_another_client_are_run_while_jobs_of_one_hold_every_executor,);

const SOON: Duration = Duration::from_secs(20);
/// Far shorter than the scripts that hold the executors, and far longer than another client's script should take.
const NOT_HELD_UP: Duration = Duration::from_secs(5);

fn endless() -> Value {
    json!({ "code": "for (;;);", "limits": { "timeoutMs": 30_000 } })
}

fn serve(store: &Store, options: &[&str]) -> Service {
    let common = ["--client-header", "x-client", "--reserve-executors", "2"];
    store.serve(&[&common, options].concat())
}

fn submit_as(service: &Service, client: &str, body: &Value) -> String {
    let answer = service.post_with("/api/jobs", &[("x-client", client)], body);
    assert_eq!(answer.status, 202, "{}", answer.text);
    answer.json()["id"].as_str().unwrap().to_owned()
}

/// Sends `code` to `POST /api/execute` as this client.
fn result_for(service: &Service, client: &str, code: &str) -> Value {
    let answer = service.post_with(
        "/api/execute",
        &[("x-client", client)],
        &json!({ "code": code }),
    );
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()["result"].clone()
}

/// A request of this client that waits for an endless script while the connection is open.
fn begin_endless_as(service: &Service, client: &str) -> TcpStream {
    let body = endless().to_string();
    let request = post("/api/execute", &[("x-client", client)], body.as_bytes());
    service.send_raw(&request)
}

fn wait_until_held(service: &Service) {
    eventually(SOON, "every executor is held", || {
        service.executors_busy() == 2
    });
}

fn reserve(service: &Service) -> Value {
    service.get("/api/health/ready").json()["reserveExecutors"].clone()
}

fn wait_until_reserve_is_up(service: &Service) {
    eventually(SOON, "a reserve executor is up", || {
        // Two may be: the second one is raised if the first is slow.
        reserve(service)["up"].as_u64() >= Some(1)
    });
}

#[test]
fn a_client_that_holds_every_executor_keeps_no_other_waiting() {
    let service = serve(&Store::Memory, &[]);
    // Running and waiting ones, in both lanes.
    let _loops: Vec<TcpStream> = (0..4)
        .map(|_| begin_endless_as(&service, "holder"))
        .collect();
    let _jobs: Vec<String> = (0..2)
        .map(|_| submit_as(&service, "holder", &endless()))
        .collect();
    wait_until_held(&service);
    for number in 1..=5 {
        let begun = Instant::now();
        let client = format!("client {}", number % 2);
        assert_eq!(result_for(&service, &client, "1 + 1"), 2);
        assert!(begun.elapsed() < NOT_HELD_UP, "{:?}", begun.elapsed());
        assert_eq!(
            service.metric("reserve_executions_total"),
            Some(f64::from(number))
        );
    }
    assert_eq!(service.executors_busy(), 2);
    let up = service.metric("reserve_executors{state=\"up\"}");
    assert!((1.0..=2.0).contains(&up.unwrap()), "{up:?}");
    assert_eq!(
        service.metric("reserve_executors{state=\"all\"}"),
        Some(2.0)
    );
}

#[test]
fn two_names_of_one_holder_change_nothing() {
    let service = serve(&Store::Memory, &[]);
    let _loops: Vec<TcpStream> = (0..3)
        .flat_map(|_| ["one", "two"])
        .map(|client| begin_endless_as(&service, client))
        .collect();
    wait_until_held(&service);
    let begun = Instant::now();
    assert_eq!(result_for(&service, "other", "1 + 1"), 2);
    assert!(begun.elapsed() < NOT_HELD_UP, "{:?}", begun.elapsed());
}

#[test]
fn a_client_alone_has_its_executors_and_no_reserve() {
    let service = serve(&Store::Memory, &[]);
    let _loops: Vec<TcpStream> = (0..5)
        .map(|_| begin_endless_as(&service, "alone"))
        .collect();
    wait_until_reserve_is_up(&service);
    // Two run and three wait, however long.
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(reserve(&service)["busy"], 0);
    assert_eq!(service.metric("reserve_executions_total"), Some(0.0));
    let queue = service.get("/api/health/ready").json()["queue"].clone();
    assert_eq!(queue["interactive"], 3);
}

fn jobs_of_another_client_are_run_while_jobs_of_one_hold_every_executor(store: &Store) {
    let service = serve(store, &[]);
    let held: Vec<String> = (0..8)
        .map(|_| submit_as(&service, "holder", &endless()))
        .collect();
    wait_until_held(&service);
    let begun = Instant::now();
    // The first starts when none of its client runs, the others one after the other.
    let jobs: Vec<String> = (0..3)
        .map(|number| {
            submit_as(
                &service,
                "other",
                &json!({ "code": format!("1 + {number}") }),
            )
        })
        .collect();
    for (number, id) in jobs.iter().enumerate() {
        let done = service.finished(id);
        assert_eq!(done["execution"]["result"], 1 + number, "{done}");
    }
    assert!(begun.elapsed() < NOT_HELD_UP, "{:?}", begun.elapsed());
    assert_eq!(service.executors_busy(), 2);
    assert_eq!(service.metric("reserve_executions_total"), Some(3.0));
    // The waiting jobs of the holder still wait.
    let states = held.iter().map(|id| {
        let job = service.get(&format!("/api/jobs/{id}")).json();
        job["state"].as_str().unwrap().to_owned()
    });
    let running = states.filter(|state| state == "running").count();
    assert!(running >= 2, "{running}");
}

/// Returns the lines of `/proc/PID/status` on isolation and on the allowed processors.
fn isolation_of(pid: u32) -> Vec<String> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let fields = ["Seccomp:", "NoNewPrivs:", "CapEff:", "CapBnd:", "Uid:"];
    let lines = status
        .lines()
        .filter(|line| fields.iter().any(|field| line.starts_with(field)));
    lines.map(str::to_owned).collect()
}

fn processors_of(pid: u32) -> String {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = |line: &str| Some(line.strip_prefix("Cpus_allowed_list:")?.trim().to_owned());
    status.lines().find_map(line).unwrap()
}

#[test]
fn a_reserve_executor_is_isolated_like_the_others_is_not_pinned_and_is_released() {
    let service = serve(&Store::Memory, &["--reserve-idle-s", "1"]);
    let zygotes = children_of(service.pid());
    let loops: Vec<TcpStream> = (0..2)
        .map(|_| begin_endless_as(&service, "holder"))
        .collect();
    wait_until_reserve_is_up(&service);
    let raised = || {
        let mut children = children_of(service.pid());
        children.retain(|pid| !zygotes.contains(pid));
        children
    };
    let [reserve_zygote] = raised()[..] else {
        panic!("{:?} were started next to {zygotes:?}", raised())
    };
    assert_eq!(isolation_of(reserve_zygote), isolation_of(zygotes[0]));
    assert_eq!(
        processors_of(reserve_zygote),
        processors_of(std::process::id())
    );
    drop(loops);
    eventually(SOON, "it is let go", || {
        reserve(&service)["up"] == 0 && !is_alive(reserve_zygote)
    });
    assert_eq!(children_of(service.pid()), zygotes);
}

#[test]
fn a_reserve_executor_whose_zygote_is_killed_is_raised_anew() {
    let service = serve(&Store::Memory, &[]);
    let zygotes = children_of(service.pid());
    let _loops: Vec<TcpStream> = (0..2)
        .map(|_| begin_endless_as(&service, "holder"))
        .collect();
    for _ in 0..3 {
        wait_until_reserve_is_up(&service);
        for pid in children_of(service.pid()) {
            if !zygotes.contains(&pid) {
                signal(pid, SIGKILL);
            }
        }
        assert_eq!(result_for(&service, "other", "1 + 1"), 2);
    }
}

#[test]
fn what_runs_on_a_reserve_executor_ends_at_its_limit_with_its_client_and_with_the_service() {
    let mut service = serve(&Store::Memory, &["--drain-ms", "300"]);
    let _loops: Vec<TcpStream> = (0..2)
        .map(|_| begin_endless_as(&service, "holder"))
        .collect();
    wait_until_held(&service);
    let busy = |count: u64| {
        eventually(SOON, "so many reserve executors are busy", || {
            reserve(&service)["busy"] == count
        });
    };
    let limited = json!({ "code": "for (;;);", "limits": { "timeoutMs": 300 } });
    let answer = service.post_with("/api/execute", &[("x-client", "other")], &limited);
    assert_eq!(answer.json()["outcome"], "timed_out", "{}", answer.text);
    busy(0);
    let gone = begin_endless_as(&service, "other");
    busy(1);
    drop(gone);
    busy(0);
    let id = submit_as(&service, "other", &endless());
    busy(1);
    assert_eq!(service.delete(&format!("/api/jobs/{id}")).status, 200);
    busy(0);
    let _last = begin_endless_as(&service, "other");
    busy(1);
    let processes = service.descendants();
    service.signal(SIGTERM);
    assert_eq!(service.exit_within(SOON).code(), Some(0));
    eventually(SOON, "every process is gone", || {
        !processes.iter().any(|pid| is_alive(*pid))
    });
}
