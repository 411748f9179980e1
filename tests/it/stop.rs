//! The end of the service: graceful, immediate or forced. Nothing stays behind.

use crate::raw::answer_on;
use crate::support::{Service, children_of, eventually, free_port, is_alive, signal};
use libc::{SIGINT, SIGKILL, SIGTERM};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, PipeWriter, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const SOON: Duration = crate::support::SOON;
/// Far longer than a stop that waits for nothing, and shorter than one that waits.
const LONG_DRAIN: &[&str] = &["--drain-ms", "600000"];

fn endless() -> Value {
    json!({ "code": "console.log('begun'); for (;;);", "limits": { "timeoutMs": 30_000 } })
}

fn wait_until_busy(service: &Service, executors: u64) {
    eventually(SOON, "the executors are busy", || {
        service.get("/api/health/ready").json()["executors"]["busy"] == executors
    });
}

fn wait_until_draining(service: &Service) {
    eventually(SOON, "it drains", || {
        service.get("/api/health/ready").status == 503
    });
}

/// Waits until the port accepts connections.
fn connect(port: u16) -> TcpStream {
    let start = Instant::now();
    loop {
        match TcpStream::connect(("127.0.0.1", port)) {
            Ok(connection) => return connection,
            Err(refused) => assert!(start.elapsed() < SOON, "{refused}"),
        }
    }
}

/// Writes until the pipe is full.
fn fill(mut pipe: &PipeWriter) {
    fcntl(pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
    while pipe.write(b"\n").is_ok() {}
    fcntl(pipe, FcntlArg::F_SETFL(OFlag::empty())).unwrap();
}

fn assert_all_gone(pids: &[u32]) {
    assert!(pids.len() >= 2, "there was nothing to leave behind");
    eventually(SOON, "every process is gone", || {
        !pids.iter().any(|pid| is_alive(*pid))
    });
}

#[test]
fn what_runs_may_end_while_nothing_new_is_taken() {
    let mut service = Service::start_with(LONG_DRAIN);
    let running = service.begin_execute(&json!({
        "code": "await new Promise(done => setTimeout(done, 1500)); 'done'"
    }));
    wait_until_busy(&service, 1);
    let processes = service.descendants();
    service.signal(SIGTERM);
    wait_until_draining(&service);
    let ready = service.get("/api/health/ready");
    assert_eq!(ready.json()["status"], "DOWN");
    assert_eq!(ready.json()["reasons"][0]["code"], "draining");
    assert_eq!(
        service.post("/api/execute", &json!({ "code": "1" })).code(),
        "draining"
    );
    // Reads still get a response.
    assert_eq!(service.get("/api/health").status, 200);

    let answer = answer_on(running).unwrap();
    assert_eq!(
        (answer.status, &answer.json()["result"]),
        (200, &json!("done"))
    );
    assert_eq!(service.exit_within(SOON).code(), Some(0));
    assert_all_gone(&processes);
}

#[test]
fn a_running_job_may_end_and_its_waiting_client_gets_a_response() {
    let mut service = Service::start_with(LONG_DRAIN);
    let id = service.submit(&json!({
        "code": "await new Promise(done => setTimeout(done, 1000)); 'done'"
    }));
    wait_until_busy(&service, 1);
    let job = std::thread::scope(|scope| {
        let poll = scope.spawn(|| service.finished(&id));
        service.signal(SIGTERM);
        poll.join().unwrap()
    });
    assert_eq!(job["execution"]["result"], "done");
    assert_eq!(service.exit_within(SOON).code(), Some(0));
}

#[test]
fn a_script_that_runs_longer_than_the_drain_is_killed_and_its_client_gets_a_response() {
    let mut service = Service::start_with(&["--executors", "1", "--drain-ms", "300"]);
    let running = service.begin_execute(&endless());
    wait_until_busy(&service, 1);
    let waiting = service.begin_execute(&endless());
    eventually(SOON, "the other waits", || {
        service.get("/api/health/ready").json()["queue"]["interactive"] == 1
    });
    let processes = service.descendants();
    service.signal(SIGTERM);
    let answer = answer_on(running).unwrap();
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["outcome"], "cancelled");
    assert_eq!(answer.json()["log"][0]["data"], json!(["begun"]));
    assert_eq!(answer_on(waiting).unwrap().code(), "draining");
    assert_eq!(service.exit_within(SOON).code(), Some(0));
    assert_all_gone(&processes);
}

#[test]
fn a_service_that_has_nothing_to_do_stops_at_once_by_either_signal() {
    for signal in [SIGTERM, SIGINT] {
        let mut service = Service::start_with(LONG_DRAIN);
        assert_eq!(service.result("1 + 2"), 3);
        // The client's idle connection does not delay the stop.
        let processes = service.descendants();
        service.signal(signal);
        assert_eq!(service.exit_within(SOON).code(), Some(0));
        assert_all_gone(&processes);
    }
}

#[test]
fn a_service_that_is_stopped_as_soon_as_it_answers_stops_in_order() {
    let port = free_port();
    let before = Service::start_with(&["--executors", "1"]).log();
    let lines_before = before
        .lines()
        .take_while(|line| !line.contains("listening"));
    let (log, log_end) = std::io::pipe().unwrap();
    let mut service = Command::new(env!("CARGO_BIN_EXE_sandpiper"))
        .args(["serve", "--store", "memory", "--executors", "1"])
        .args(["--port", &port.to_string()])
        .stderr(log_end.try_clone().unwrap())
        .spawn()
        .unwrap();
    // The log accepts no more, so the service gets no further than the line that names its address.
    let mut log = BufReader::new(log);
    for _ in lines_before {
        log.read_line(&mut String::new()).unwrap();
    }
    fill(&log_end);
    drop(log_end);

    let mut connection = connect(port);
    write!(
        connection,
        "GET /api/health/live HTTP/1.1\r\nhost: localhost\r\n\r\n"
    )
    .unwrap();
    connection.read_exact(&mut [0; 12]).unwrap();
    signal(service.id(), SIGTERM);
    log.read_to_string(&mut String::new()).unwrap();
    assert_eq!(service.wait().unwrap().code(), Some(0));
}

#[test]
fn a_second_signal_stops_at_once() {
    let mut service = Service::start_with(LONG_DRAIN);
    let _running = service.begin_execute(&endless());
    wait_until_busy(&service, 1);
    let processes = service.descendants();
    service.signal(SIGTERM);
    wait_until_draining(&service);
    service.signal(SIGTERM);
    // The loop has 30 seconds.
    service.exit_within(Duration::from_secs(20));
    assert_all_gone(&processes);
}

#[test]
fn a_queued_job_does_not_delay_the_stop_and_its_poll_gets_a_response() {
    let mut service = Service::start_with(&["--executors", "1", "--drain-ms", "200"]);
    let _running = service.submit(&endless());
    wait_until_busy(&service, 1);
    let queued = service.submit(&endless());
    let poll = format!(
        "GET /api/jobs/{queued} HTTP/1.1\r\nhost: localhost\r\nprefer: wait=30\r\nconnection: close\r\n\r\n"
    );
    let poll = service.send_raw(poll.as_bytes());
    service.signal(SIGTERM);
    let answer = answer_on(poll).unwrap();
    assert_eq!(
        (answer.status, &answer.json()["state"]),
        (200, &json!("queued"))
    );
    assert_eq!(service.exit_within(SOON).code(), Some(0));
}

#[test]
fn a_service_that_is_killed_leaves_no_process_behind() {
    let mut service = Service::start();
    let loops: Vec<_> = (0..2).map(|_| service.begin_execute(&endless())).collect();
    wait_until_busy(&service, 2);
    let processes = service.descendants();
    let zygotes = children_of(service.pid()).len();
    assert!(processes.len() >= zygotes + loops.len(), "{processes:?}");
    service.signal(SIGKILL);
    assert_eq!(service.exit_within(SOON).code(), None);
    assert_all_gone(&processes);
}

#[test]
fn a_service_whose_log_is_no_longer_read_stops_in_order() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_sandpiper"))
        .args(["serve", "--port", "0", "--store", "memory"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("listening on") {
        line.clear();
        assert!(log.read_line(&mut line).unwrap() > 0, "it did not start");
    }
    drop(log);
    signal(child.id(), SIGTERM);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
