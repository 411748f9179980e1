//! The ingress in front of the real service.

use super::support::{
    Connection, Running, WITHIN, eventually, free_port, get_from, ingress, service,
};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use std::io::{PipeWriter, Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Sends a script without waiting for the response.
fn begin(ingress: &Running, body: &str) -> Connection {
    let mut connection = ingress.connect();
    let headers = ["content-type: application/json"];
    connection.request("POST", "/api/execute", &headers, body);
    connection
}

/// Fills a pipe until it accepts no further byte.
fn fill(mut pipe: &PipeWriter) {
    fcntl(pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
    while pipe.write(b"\n").is_ok() {}
    fcntl(pipe, FcntlArg::F_SETFL(OFlag::empty())).unwrap();
}

#[test]
fn a_script_runs_and_a_job_is_polled_through_the_ingress() {
    let service = service(&["--port", "0"]);
    let ingress = ingress(service.port, &[]);
    let answer = ingress.execute("1 + 2");
    assert_eq!((answer.status, &answer.json()["result"]), (200, &json!(3)));
    let id = answer.header("location").to_owned();
    assert_eq!(ingress.get(&id).json()["execution"]["result"], 3);
    let submitted = ingress.send(
        "POST",
        "/api/jobs",
        &["content-type: application/json"],
        r#"{"code":"6 * 7"}"#,
    );
    assert_eq!(submitted.status, 202);
    let job = ingress.send(
        "GET",
        submitted.header("location"),
        &["prefer: wait=10"],
        "",
    );
    assert_eq!(job.json()["execution"]["result"], 42);
    assert_eq!(job.header("preference-applied"), "wait=10");
    // Error responses of the service are forwarded unchanged.
    let refused = ingress.send(
        "POST",
        "/api/execute",
        &["content-type: application/json"],
        r#"{"code":1}"#,
    );
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (400, "invalid_field")
    );
    assert_eq!(ingress.get("/api/scripts").status, 200);
    let metrics = ingress.get("/metrics");
    assert_eq!(
        (metrics.status, metrics.code().as_str()),
        (404, "not_found")
    );
}

#[test]
fn a_client_that_disconnects_kills_its_script() {
    let service = service(&["--port", "0", "--executors", "1"]);
    let ingress = ingress(service.port, &[]);
    let body = json!({"code": "for (;;);", "limits": {"timeoutMs": 30_000}}).to_string();
    let connection = begin(&ingress, &body);
    thread::sleep(Duration::from_millis(200));
    drop(connection);
    let start = Instant::now();
    assert_eq!(ingress.execute("1").json()["result"], 1);
    assert!(
        start.elapsed() < Duration::from_secs(20),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn readiness_follows_the_service() {
    let port = free_port();
    let ingress = ingress(port, &[]);
    assert_eq!(ingress.get("/ingress/live").status, 200);
    let answer = ingress.get("/ingress/ready");
    assert_eq!(
        (answer.status, answer.json()),
        (
            503,
            json!({"status": "DOWN", "reasons": ["the service cannot be reached"]})
        )
    );
    let service = service(&["--port", &port.to_string()]);
    // A readiness report is valid for a second.
    eventually("it is up", || {
        ingress.get("/ingress/ready").json() == json!({"status": "UP"})
    });
    assert_eq!(ingress.execute("1").status, 200);
    drop(service);
    eventually("it is down", || ingress.get("/ingress/ready").status == 503);
    assert_eq!(ingress.get("/ingress/live").status, 200);
}

/// The responses that a client got while the service was killed and restarted.
#[derive(Default)]
struct Seen {
    right: AtomicU64,
    refused: AtomicU64,
    wrong: AtomicU64,
}

fn ask_until(over: &AtomicBool, ingress: &Running, seen: &Seen) {
    let body = r#"{"code":"6 * 7"}"#;
    while !over.load(Ordering::Relaxed) {
        let answer = ingress.send(
            "POST",
            "/api/execute",
            &["content-type: application/json"],
            body,
        );
        let counter = match answer.status {
            200 if answer.json()["result"] == 42 => &seen.right,
            502 if answer.code() == "service_unreachable" => &seen.refused,
            _ => &seen.wrong,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_killed_service_costs_only_requests_in_flight_and_is_reached_again() {
    let port = free_port();
    let text = port.to_string();
    let ingress = ingress(
        port,
        &[
            "--run-quota",
            "1000000/s:1000000",
            "--total-quota",
            "1000000/s:1000000",
        ],
    );
    let (over, seen) = (AtomicBool::new(false), Seen::default());
    thread::scope(|scope| {
        let mut running = service(&["--port", &text]);
        for _ in 0..4 {
            scope.spawn(|| ask_until(&over, &ingress, &seen));
        }
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        for _ in 0..3 {
            let before = count(&seen.right);
            eventually("requests are answered", || count(&seen.right) > before + 50);
            let refused = count(&seen.refused);
            running.signal(Signal::SIGKILL);
            running.exit_within(WITHIN);
            eventually("requests are refused", || count(&seen.refused) > refused);
            running = service(&["--port", &text]);
        }
        let before = count(&seen.right);
        eventually("requests are answered again", || {
            count(&seen.right) > before + 50
        });
        let refused = count(&seen.refused);
        let right = count(&seen.right);
        eventually("and no other way", || count(&seen.right) > right + 100);
        assert_eq!(count(&seen.refused), refused);
        over.store(true, Ordering::Relaxed);
    });
    assert_eq!(seen.wrong.load(Ordering::Relaxed), 0);
}

#[test]
fn on_a_stop_signal_open_requests_finish_and_new_ones_are_rejected() {
    let service = service(&["--port", "0"]);
    let mut ingress = ingress(service.port, &[]);
    let body =
        json!({"code": "await new Promise((done) => setTimeout(done, 2000)); 'ended'", "limits": {"timeoutMs": 10_000}}).to_string();
    let mut connection = begin(&ingress, &body);
    eventually("the script runs", || {
        get_from(service.port, "/api/health/ready").json()["executors"]["busy"] == 1
    });
    ingress.signal(Signal::SIGTERM);
    let answer = connection.answer();
    assert_eq!(answer.json()["result"], "ended");
    assert_eq!(answer.header("connection"), "close");
    assert!(ingress.exit_within(WITHIN).success());
}

#[test]
fn a_stop_signal_during_the_start_stops_gracefully() {
    let port = free_port();
    let (mut log, log_end) = std::io::pipe().unwrap();
    // The log is a full pipe, so the start blocks at the first line after the port is bound.
    fill(&log_end);
    let mut ingress = Command::new(env!("CARGO_BIN_EXE_sandpiper-ingress"))
        .args(["--port", &port.to_string(), "--connections-max", "64"])
        .stderr(log_end)
        .spawn()
        .unwrap();
    eventually("it listens", || {
        TcpStream::connect(("127.0.0.1", port)).is_ok()
    });
    kill(
        Pid::from_raw(ingress.id().try_into().unwrap()),
        Signal::SIGTERM,
    )
    .unwrap();
    log.read_to_string(&mut String::new()).unwrap();
    assert!(ingress.wait().unwrap().success());
}

#[test]
fn a_second_signal_stops_the_ingress_at_once() {
    let service = service(&["--port", "0"]);
    let mut ingress = ingress(service.port, &["--drain-ms", "600000"]);
    let body = json!({"code": "for (;;);", "limits": {"timeoutMs": 30_000}}).to_string();
    let _connection = begin(&ingress, &body);
    thread::sleep(Duration::from_millis(100));
    ingress.signal(Signal::SIGTERM);
    thread::sleep(Duration::from_millis(100));
    ingress.signal(Signal::SIGINT);
    // The script runs for 30 seconds.
    assert!(ingress.exit_within(Duration::from_secs(20)).success());
}

#[test]
fn the_exit_status_of_health_is_the_readiness_of_the_ingress() {
    let ask = |port: u16| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sandpiper-ingress"));
        let asked = command.args(["health", "--port", &port.to_string()]);
        let output = asked.output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        (output.status.code(), said)
    };
    let api = service(&[]);
    let ingress = ingress(api.port, &[]);
    assert_eq!(
        ask(ingress.port),
        (Some(0), "{\"status\":\"UP\"}\n".to_owned())
    );
    drop(api);
    // A readiness report is valid for a second.
    eventually("it is down", || {
        let (status, said) = ask(ingress.port);
        status == Some(1) && said.contains("cannot be reached")
    });
    let (status, said) = ask(free_port());
    assert_eq!(status, Some(1));
    assert!(said.contains("does not answer"), "{said}");
}
