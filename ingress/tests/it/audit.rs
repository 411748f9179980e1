//! The audit log: a line for each request to the API, without code, input or result.

use super::support::{
    Folder, OK, Running, Scripted, WITHIN, eventually, free_port, get_from, id_of, ingress, new_key,
};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};
use std::sync::mpsc;

const JOB: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

fn audited(port: u16, folder: &Folder, options: &[&str]) -> Running {
    let log = folder.text_of("audit.jsonl");
    ingress(port, &[&["--audit-log", log.as_str()], options].concat())
}

/// Waits for this number of lines, and returns them.
fn lines(folder: &Folder, count: usize) -> Vec<Value> {
    let read = || std::fs::read_to_string(folder.path("audit.jsonl")).unwrap_or_default();
    eventually("the lines are written", || {
        read().matches('\n').count() >= count
    });
    let text = read();
    assert_eq!(text.lines().count(), count, "{text}");
    let line = |line| serde_json::from_str(line).unwrap();
    text.lines().map(line).collect()
}

#[test]
fn each_request_to_the_api_has_a_line_with_who_what_and_how_it_ended() {
    let folder = Folder::new();
    let one = new_key(&folder, &["--tenant", "acme", "--scopes", "jobs"]);
    let service = Scripted::answering_by(|request| {
        let (status, header) = if request.first_line.starts_with("POST /api/jobs") {
            ("202 Accepted", format!("location: /api/jobs/{JOB}"))
        } else if request.first_line.contains("/events") {
            (
                "404 Not Found",
                "sandpiper-problem: job_not_found".to_owned(),
            )
        } else {
            ("200 OK", "sandpiper-outcome: succeeded".to_owned())
        };
        format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\n{header}\r\n\r\nok")
    });
    let keys_file = folder.text_of("keys.json");
    let options = ["--keys-file", &keys_file, "--trusted-hops", "1"];
    let ingress = audited(service.port, &folder, &options);
    let key = format!("x-api-key: {one}");
    let address = "x-forwarded-for: 203.0.113.7";
    let send = |method: &str, target: &str, headers: &[&str]| {
        let headers = [&[address], headers].concat();
        let body = if method == "POST" { "{}" } else { "" };
        let answer = ingress.send(method, target, &headers, body);
        for name in ["sandpiper-outcome", "sandpiper-problem"] {
            assert!(!answer.message.has(name), "{answer:?}");
        }
        answer.status
    };
    let named = [key.as_str(), "x-request-id: of-the-client"];
    let job = format!("/api/jobs/{JOB}");
    let events = format!("{job}/events");
    assert_eq!(send("POST", "/api/jobs?secret=1", &named), 202);
    assert_eq!(send("GET", &job, &[&key]), 200);
    assert_eq!(send("GET", &events, &[&key]), 404);
    assert_eq!(send("POST", "/api/execute", &[&key]), 403);
    assert_eq!(send("GET", "/api/jobs/secret", &[]), 401);
    assert_eq!(send("PROPFIND", "/api/secret", &[&key]), 403);
    assert_eq!(send("GET", "/api/%61/secret", &[&key]), 400);
    assert_eq!(send("GET", "/api", &[]), 200);
    // Pages, health checks and preflights have no line.
    for target in ["/", "/ingress/live", "/api/health", "/api/health/ready"] {
        assert_eq!(send("GET", target, &[]), 200, "{target}");
    }
    let preflight = [
        "origin: https://example.org",
        "access-control-request-method: POST",
    ];
    assert_eq!(send("OPTIONS", "/api/jobs", &preflight), 403);
    let all = lines(&folder, 8);
    let fields = ["method", "route", "job", "status", "code", "outcome", "key"];
    let id = id_of(&one);
    let text = |line: &Value| fields.map(|field| line[field].as_str().unwrap_or("").to_owned());
    let expected = [
        ["POST", "/api/jobs", JOB, "", "", "", id],
        ["GET", "/api/jobs/{id}", JOB, "", "", "succeeded", id],
        [
            "GET",
            "/api/jobs/{id}/events",
            JOB,
            "",
            "job_not_found",
            "",
            id,
        ],
        ["POST", "/api/execute", "", "", "forbidden", "", id],
        ["GET", "/api/jobs/{id}", "", "", "unauthorized", "", ""],
        ["other", "other", "", "", "forbidden", "", id],
        ["GET", "other", "", "", "invalid_path", "", ""],
        ["GET", "/api", "", "", "", "succeeded", ""],
    ];
    for (line, expected) in all.iter().zip(expected) {
        let expected = expected.map(str::to_owned);
        assert_eq!(text(line), expected, "{line}");
        assert_eq!(line["client"], "203.0.113.7");
        let time = line["time"].as_str().unwrap();
        assert!(time.starts_with("20") && time.ends_with('Z'), "{line}");
        assert!(line["durationMs"].is_u64(), "{line}");
        let tenant = (!expected[6].is_empty()).then_some("acme");
        assert_eq!(line["tenant"].as_str(), tenant, "{line}");
    }
    assert_eq!(all[0]["requestId"], "of-the-client");
    assert_eq!(all[1]["requestId"].as_str().unwrap().len(), 36);
    let statuses: Vec<_> = all
        .iter()
        .map(|line| line["status"].as_u64().unwrap())
        .collect();
    assert_eq!(statuses, [202, 200, 404, 403, 401, 403, 400, 200]);
    let log = std::fs::read_to_string(folder.path("audit.jsonl")).unwrap();
    assert!(!log.contains("secret"), "{log}");
    assert!(!log.contains(one.rsplit('_').next().unwrap()), "{log}");
    let mode = std::fs::metadata(folder.path("audit.jsonl")).unwrap();
    assert_eq!(mode.permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_request_whose_client_leaves_has_a_line_without_a_status() {
    let folder = Folder::new();
    let (told, asked) = mpsc::channel();
    let service = Scripted::start(move |mut connection, _| {
        let _ = connection.message();
        told.send(()).unwrap();
        connection.rest();
    });
    let ingress = audited(service.port, &folder, &[]);
    let mut connection = ingress.connect();
    connection.request("POST", "/api/execute", &[], "{}");
    asked.recv_timeout(WITHIN).unwrap();
    drop(connection);
    let all = lines(&folder, 1);
    assert_eq!(all[0]["route"], "/api/execute");
    assert_eq!(all[0]["status"], Value::Null);
}

#[test]
fn every_line_is_written_when_the_ingress_stops() {
    let folder = Folder::new();
    let service = Scripted::answering(OK);
    let metrics_port = free_port();
    let port = metrics_port.to_string();
    let options = ["--metrics-port", &port, "--read-quota", "10000/s:10000"];
    let mut ingress = audited(service.port, &folder, &options);
    let mut connection = ingress.connect();
    for _ in 0..200 {
        connection.request("GET", "/api/jobs", &[], "");
        assert_eq!(connection.answer().status, 200);
    }
    eventually("the lines are counted", || {
        let metrics = get_from(metrics_port, "/metrics").message.text();
        metrics.contains("audit_lines_total{fate=\"written\"} 200")
    });
    for _ in 0..50 {
        connection.request("GET", "/api/jobs", &[], "");
        assert_eq!(connection.answer().status, 200);
    }
    ingress.signal(Signal::SIGTERM);
    drop(connection);
    assert!(ingress.exit_within(WITHIN).success());
    let text = std::fs::read_to_string(folder.path("audit.jsonl")).unwrap();
    assert_eq!(text.lines().count(), 250);
    // The next ingress appends.
    let ingress = audited(service.port, &folder, &[]);
    ingress.get("/api/jobs");
    lines(&folder, 251);
}

#[test]
fn a_rotated_log_is_begun_anew_by_itself_and_on_sighup() {
    let folder = Folder::new();
    let service = Scripted::answering(OK);
    let mut ingress = audited(service.port, &folder, &[]);
    for (number, signals) in [false, true].into_iter().enumerate() {
        ingress.get("/api/jobs");
        lines(&folder, 1);
        let old = folder.path(&format!("audit.{number}"));
        std::fs::rename(folder.path("audit.jsonl"), &old).unwrap();
        if signals {
            ingress.signal(Signal::SIGHUP);
            eventually("the file is opened anew", || {
                folder.path("audit.jsonl").exists()
            });
        }
        ingress.get("/api/nodes");
        assert_eq!(lines(&folder, 1)[0]["route"], "/api/nodes");
        assert_eq!(std::fs::read_to_string(old).unwrap().lines().count(), 1);
        std::fs::remove_file(folder.path("audit.jsonl")).unwrap();
    }
    ingress.signal(Signal::SIGTERM);
    assert!(ingress.exit_within(WITHIN).success());
}

#[test]
fn the_lines_go_to_standard_output_and_the_log_does_not() {
    let service = Scripted::answering(OK);
    let port = free_port();
    let child = Command::new(env!("CARGO_BIN_EXE_sandpiper-ingress"))
        .args(["--port", &port.to_string(), "--audit-log", "-"])
        .args(["--api-port", &service.port.to_string()])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    eventually("it listens", || {
        std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
    });
    assert_eq!(get_from(port, "/api/jobs").status, 200);
    let pid = nix::unistd::Pid::from_raw(child.id().try_into().unwrap());
    nix::sys::signal::kill(pid, Signal::SIGTERM).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let said = String::from_utf8(output.stdout).unwrap();
    let line: Value = serde_json::from_str(said.trim_end()).unwrap();
    assert_eq!(
        (&line["route"], &line["status"]),
        (&"/api/jobs".into(), &200.into())
    );
}

#[test]
fn an_audit_log_that_cannot_be_opened_fails_the_start() {
    let output = Command::new(env!("CARGO_BIN_EXE_sandpiper-ingress"))
        .args(["--port", "0", "--audit-log", "/nowhere/audit.jsonl"])
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("--audit-log: /nowhere/audit.jsonl"), "{said}");
}
