//! The limit of open files: if too low, the start fails and names it; if high enough, the service runs.

use crate::support::{Service, eventually};
use serde_json::json;
use std::net::TcpStream;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

const OPTIONS: [&str; 8] = [
    "--executors",
    "1",
    "--reserve-executors",
    "1",
    "--http-workers",
    "1",
    "--store",
    "memory",
];

/// Returns the command of the binary with this limit of open files.
fn limited_to(files: usize) -> Command {
    let mut command = Command::new("sh");
    command.args([
        "-c",
        &format!("ulimit -n {files} && exec \"$0\" \"$@\""),
        env!("CARGO_BIN_EXE_sandpiper"),
    ]);
    command
}

fn try_with(files: usize) -> Output {
    limited_to(files)
        .args(["serve", "--port", "0"])
        .args(OPTIONS)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// Returns the number that the error names.
fn needed(refusal: &str) -> usize {
    let number = refusal.split("at least ").nth(1).unwrap();
    number.split(' ').next().unwrap().parse().unwrap()
}

#[test]
fn a_limit_of_open_files_that_is_too_low_is_named_with_what_is_needed_and_that_is_enough() {
    let refusal = String::from_utf8(try_with(32).stderr).unwrap();
    let needed = needed(&refusal);
    for files in (3..needed).rev() {
        let ended = try_with(files);
        let said = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(2), "{files}: {said}");
        for part in ["RLIMIT_NOFILE", &format!("at least {needed} are needed")] {
            assert!(said.contains(part), "{files}: {said}");
        }
        assert!(!said.contains("panicked"), "{files}: {said}");
    }
    for files in [needed, needed + 1, needed + 100] {
        let service = Service::start_as(limited_to(files), &OPTIONS);
        // All the minimum connections, a reserve executor, and replacement zygotes.
        let connections: Vec<TcpStream> = (0..15)
            .map(|_| TcpStream::connect(("127.0.0.1", service.port)).unwrap())
            .collect();
        let id = service.submit(&json!({ "code": "for (;;);", "limits": { "timeoutMs": 30_000 } }));
        eventually(Duration::from_secs(20), "a reserve executor is up", || {
            service.get("/api/health/ready").json()["reserveExecutors"]["up"] == 1
        });
        assert_eq!(service.delete(&format!("/api/jobs/{id}")).status, 200);
        assert_eq!(service.result("1 + 2"), 3);
        drop(connections);
    }
}
