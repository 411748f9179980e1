//! A full or read-only disk, a database that is slow or accepts no more connections: each is reported, nothing is lost,
//! and scripts still run.

use crate::stores::{Folder, Postgres};
use crate::support::{Service, assert_refused, descendants_of, eventually, signal};
use serde_json::{Value, json};
use std::io::Write as _;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

const SOON: Duration = crate::support::SOON;
const SIGSTOP: i32 = 19;
const SIGCONT: i32 = 18;

/// Returns a command that sees `folder` as a disk of its own, prepared by `prepare`.
fn with_disk(folder: &Folder, prepare: &str) -> Command {
    // A user other than root becomes root for the mount, and the same user again before the service starts.
    let is_root = nix::unistd::geteuid().is_root();
    let (enter, leave) = if is_root {
        ("--mount", "")
    } else {
        ("--map-root-user", "unshare --map-user=1000")
    };
    let script = format!(
        "D='{}' && {prepare} && exec {leave} \"$@\"",
        folder.text("")
    );
    let mut command = Command::new("unshare");
    command.args([enter, "--mount", "sh", "-c", &script, "sh"]);
    command.arg(env!("CARGO_BIN_EXE_sandpiper"));
    command
}

fn large(number: usize) -> Value {
    json!({ "code": format!("/* {} */ {number}", "x".repeat(100_000)) })
}

#[test]
fn on_a_full_disk_jobs_are_refused_scripts_run_and_what_was_accepted_is_kept_until_there_is_room() {
    let folder = Folder::new();
    let disk = with_disk(
        &folder,
        "mount -t tmpfs -o size=6m tmpfs $D && head -c 3000000 /dev/zero > $D/ballast",
    );
    let store = format!("sqlite:{}", folder.text("jobs.db"));
    let service = Service::start_as(disk, &["--store", &store, "--executors", "1"]);
    let early = service.submit(&json!({ "code": "'early'" }));
    service.finished(&early);
    // None of these jobs ends before the disk is full.
    let blocker = service.submit(&json!({ "code": "for (;;);", "limits": { "timeoutMs": 4_000 } }));
    eventually(SOON, "it runs", || service.state(&blocker) == "running");
    let mut accepted = Vec::new();
    let refused = loop {
        assert!(accepted.len() < 100, "the disk takes whatever comes");
        let answer = service.post("/api/jobs", &large(accepted.len()));
        if answer.status != 202 {
            break answer;
        }
        accepted.push(answer.json()["id"].as_str().unwrap().to_owned());
    };
    assert_refused(&refused, 503, "store_unavailable", "a full disk");
    assert!(!refused.header("retry-after").is_empty());
    assert!(accepted.len() > 3);
    assert_eq!(service.result("1 + 2"), 3);
    assert_eq!(service.state(&early), "finished");
    // The remaining space is too small for a large job, but not for the end of a small one.
    let disk = format!("/proc/{}/root{}", service.pid(), folder.text(""));
    let mut rest = std::fs::File::create(format!("{disk}rest")).unwrap();
    while rest.write_all(&[0; 4096]).is_ok() {}
    // The job ends while nothing new can be written. SQLite may still have free pages in its files for the record of
    // that end.
    eventually(SOON, "it has ended", || {
        service.metric("executions_total{outcome=\"timed_out\"}") == Some(1.0)
    });
    thread::sleep(Duration::from_secs(1));
    let state = service.state(&blocker);
    assert!(["running", "finished"].contains(&state.as_str()), "{state}");
    drop(rest);
    for file in ["rest", "ballast"] {
        std::fs::remove_file(format!("{disk}{file}")).unwrap();
    }
    for (number, id) in accepted.iter().enumerate() {
        let job = service.finished(id);
        assert_eq!(job["execution"]["result"], number, "{job}");
    }
    assert_eq!(
        service.finished(&blocker)["execution"]["outcome"],
        "timed_out"
    );
    let after = service.submit(&large(7));
    assert_eq!(service.finished(&after)["execution"]["result"], 7);
}

#[test]
fn on_a_disk_that_cannot_be_written_the_service_does_not_start_and_names_the_file() {
    let folder = Folder::new();
    let store = format!("sqlite:{}", folder.text("jobs.db"));
    let empty = "mount -t tmpfs tmpfs $D && mount -o remount,ro $D";
    let not_empty =
        "mount -t tmpfs tmpfs $D && touch $D/jobs.db $D/jobs.db.lock && mount -o remount,ro $D";
    for prepare in [empty, not_empty] {
        let output = with_disk(&folder, prepare)
            .args(["serve", "--port", "0", "--store", &store])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success());
        assert!(
            said.contains("--store") && said.contains("jobs.db") && said.contains("ead-only"),
            "{said}"
        );
    }
}

#[test]
fn the_wait_for_a_database_that_does_not_respond_is_bounded() {
    let postgres = Postgres::start();
    let service = Service::start_with(&["--store", &postgres.url(), "--executors", "2"]);
    let before = service.submit(&json!({ "code": "1" }));
    service.finished(&before);
    let processes = descendants_of(std::process::id());
    let all: Vec<u32> = processes
        .into_iter()
        .filter(|pid| postgres.has_process(*pid))
        .collect();
    assert!(all.len() > 3, "{all:?}");
    for pid in &all {
        signal(*pid, SIGSTOP);
    }
    for ask in 0..2 {
        let start = Instant::now();
        let answer = match ask {
            0 => service.post("/api/jobs", &json!({ "code": "2" })),
            _ => service.get(&format!("/api/jobs/{before}")),
        };
        assert_refused(&answer, 503, "store_unavailable", "a database that hangs");
        let refused_after = start.elapsed();
        assert!(refused_after < SOON, "{ask}");
        let start = Instant::now();
        assert_eq!(service.result("1 + 2"), 3);
        assert_eq!(service.get("/api/health/ready").status, 503);
        assert!(start.elapsed() < refused_after, "they wait for it too");
    }
    assert_eq!(service.metric("store_up"), Some(0.0));
    for pid in &all {
        signal(*pid, SIGCONT);
    }
    eventually(SOON, "it answers again", || {
        service.get(&format!("/api/jobs/{before}")).status == 200
    });
    let after = service.submit(&json!({ "code": "3" }));
    assert_eq!(service.finished(&after)["execution"]["result"], 3);
    assert_eq!(service.metric("store_up"), Some(1.0));
}

#[test]
fn connections_that_the_database_has_not_are_missed_at_the_start_and_not_under_load() {
    // Three connections are reserved for the administrator.
    let postgres = Postgres::start_with(18);
    let start = |connections: &str| {
        let store = postgres.url();
        Command::new(env!("CARGO_BIN_EXE_sandpiper"))
            .args(["serve", "--port", "0", "--store", &store])
            .args(["--store-connections", connections])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .unwrap()
    };
    let refused = String::from_utf8(start("40").stderr).unwrap();
    assert!(
        refused.contains("--store-connections") && refused.contains("40"),
        "{refused}"
    );
    let serve = || {
        let store = postgres.url();
        Service::start_with(&["--store", &store, "--store-connections", "6"])
    };
    let nodes = [serve(), serve()];
    let refused = String::from_utf8(start("6").stderr).unwrap();
    assert!(refused.contains("--store-connections"), "{refused}");
    thread::scope(|scope| {
        for client in 0..16 {
            let node = &nodes[client % 2];
            scope.spawn(move || {
                for number in 0..20 {
                    let id = node.submit(&json!({ "code": format!("{number}") }));
                    let job = node.finished(&id);
                    assert_eq!(job["execution"]["result"], number);
                    assert_eq!(job["attempt"], 1);
                }
            });
        }
    });
}
