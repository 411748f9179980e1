//! The end of a key: expiry, rotation and revocation by the commands, also for requests that are open.

use super::support::{
    Connection, Folder, OK, Running, Scripted, WITHIN, eventually, free_port, id_of, ingress, key,
    key_command, new_key,
};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::time::{Duration, Instant};

/// Starts a service that begins an event stream and sends nothing more.
fn streaming() -> Scripted {
    Scripted::start(|mut connection, _| {
        if connection.head().is_err() {
            return;
        }
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
        let _ = connection.write(format!("{head}2\r\n:\n\r\n"));
        // Sends nothing until the other end closes.
        connection.rest();
    })
}

fn keyed(service: &Scripted, folder: &Folder) -> Running {
    ingress(
        service.port,
        &[
            "--keys-file",
            &folder.text_of("keys.json"),
            "--log",
            "debug",
        ],
    )
}

/// Opens an event stream and returns the connection.
fn stream(ingress: &Running, key: &str) -> Connection {
    let mut connection = ingress.connect();
    let header = format!("x-api-key: {key}");
    connection.request("GET", "/api/jobs/1/events", &[&header], "");
    let head = connection.head().unwrap();
    assert!(head.first_line.contains("200"), "{head:?}");
    assert_eq!(connection.chunk().unwrap(), b":\n");
    connection
}

fn status(ingress: &Running, key: &str) -> u16 {
    let header = format!("x-api-key: {key}");
    ingress.send("GET", "/api/usage", &[&header], "").status
}

#[test]
fn a_key_ends_at_its_expiry_with_its_open_streams() {
    let folder = Folder::new();
    let service = streaming();
    let (expiring, stays) = (
        new_key(&folder, &["--expires", "8s"]),
        new_key(&folder, &["--expires", "1d"]),
    );
    let ingress = keyed(&service, &folder);
    let (mut ends, mut goes_on) = (stream(&ingress, &expiring), stream(&ingress, &stays));
    assert!(ends.closes_within(WITHIN));
    let header = format!("x-api-key: {expiring}");
    let answer = ingress.send("GET", "/api/usage", &[&header], "");
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (401, "unauthorized")
    );
    assert!(
        answer.message.text().contains("expired at 20"),
        "{answer:?}"
    );
    assert!(!goes_on.closes_within(Duration::from_millis(500)));
}

#[test]
fn a_request_that_waits_when_its_key_expires_gets_401() {
    let folder = Folder::new();
    let expiring = new_key(&folder, &["--expires", "8s"]);
    let service = Scripted::start(|mut connection, _| {
        connection.rest();
    });
    let ingress = keyed(&service, &folder);
    let header = format!("x-api-key: {expiring}");
    let answer = ingress.send("GET", "/api/jobs/1", &[&header, "prefer: wait=60"], "");
    assert_eq!((answer.status, answer.code().as_str()), (401, "key_ended"));
    assert_eq!(answer.header("www-authenticate"), "Bearer");
    assert!(
        answer.message.text().contains("may have happened"),
        "{answer:?}"
    );
}

#[test]
fn a_rotated_key_has_two_secrets_until_the_overlap_ends() {
    let folder = Folder::new();
    let service = streaming();
    let old = new_key(&folder, &["--tenant", "acme"]);
    let ingress = keyed(&service, &folder);
    let mut open = stream(&ingress, &old);
    let new = key(&folder, "rotate", &[id_of(&old), "--overlap", "8s"]);
    assert_eq!(id_of(&new), id_of(&old));
    assert_ne!(new, old);
    let mut of_new = None;
    eventually("the new secret counts", || {
        let mut connection = ingress.connect();
        let header = format!("x-api-key: {new}");
        connection.request("GET", "/api/jobs/1/events", &[&header], "");
        let is_accepted = connection.head().unwrap().first_line.contains("200");
        of_new = is_accepted.then_some(connection);
        is_accepted
    });
    // The old secret is valid, and its stream open, until the overlap ends.
    stream(&ingress, &old);
    assert!(open.closes_within(WITHIN));
    let header = format!("x-api-key: {old}");
    let answer = ingress.send("GET", "/api/jobs/1/events", &[&header], "");
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (401, "unauthorized")
    );
    assert!(
        answer.message.text().contains("use the new key"),
        "{answer:?}"
    );
    let mut of_new = of_new.unwrap();
    assert_eq!(of_new.chunk().unwrap(), b":\n");
    assert!(!of_new.closes_within(Duration::from_millis(500)));
}

#[test]
fn revoke_assign_and_rotate_end_open_streams_within_a_second() {
    for command in ["revoke", "assign", "rotate"] {
        let folder = Folder::new();
        let service = streaming();
        let (ends, stays) = (new_key(&folder, &[]), new_key(&folder, &[]));
        let ingress = keyed(&service, &folder);
        let (mut ended, mut goes_on) = (stream(&ingress, &ends), stream(&ingress, &stays));
        let port = free_port().to_string();
        let options = match command {
            "assign" => vec![id_of(&ends), "--tenant", "acme", "--api-port", &port],
            _ => vec![id_of(&ends)],
        };
        let output = key_command(&folder, command, &options);
        // No service answers that the jobs of the key have moved.
        assert_eq!(output.status.success(), command != "assign", "{output:?}");
        let began = Instant::now();
        assert!(ended.closes_within(WITHIN), "{command}");
        // Only a hang takes this long.
        assert!(began.elapsed() < Duration::from_secs(20), "{command}");
        assert!(
            !goes_on.closes_within(Duration::from_millis(300)),
            "{command}"
        );
    }
}

#[test]
fn a_changed_key_counts_for_open_streams_too() {
    let folder = Folder::new();
    let service = streaming();
    let [narrowed, widened, ended, prolonged] = [
        &["--scopes", "jobs,read"][..],
        &["--scopes", "read"],
        &["--expires", "1d"],
        &["--expires", "8s"],
    ]
    .map(|options| new_key(&folder, options));
    let ingress = keyed(&service, &folder);
    let open = |key: &str| stream(&ingress, key);
    let (mut of_narrowed, mut of_widened) = (open(&narrowed), open(&widened));
    let (mut of_ended, mut of_prolonged) = (open(&ended), open(&prolonged));
    for (changed, option, value) in [
        (&prolonged, "--expires", "none"),
        (&narrowed, "--scopes", "read"),
        (&widened, "--scopes", "jobs,read"),
        (&ended, "--expires", "1s"),
    ] {
        key(&folder, "set", &[id_of(changed), option, value]);
    }
    assert!(of_narrowed.closes_within(WITHIN));
    assert!(of_ended.closes_within(WITHIN));
    assert_eq!(status(&ingress, &ended), 401);
    // The expired key is valid again, with the secret that it had.
    key(&folder, "set", &[id_of(&ended), "--expires", "1d"]);
    let header = format!("x-api-key: {ended}");
    eventually("the key is valid again", || {
        let mut connection = ingress.connect();
        connection.request("GET", "/api/jobs/1/events", &[&header], "");
        connection.head().unwrap().first_line.contains("200")
    });
    // Longer than the first expiry of the prolonged key.
    assert!(!of_prolonged.closes_within(Duration::from_secs(9)));
    assert!(!of_widened.closes_within(Duration::from_millis(300)));
}

#[test]
fn a_changed_quota_counts_within_a_second_without_a_restart() {
    let folder = Folder::new();
    let service = Scripted::answering(OK);
    let limited = new_key(&folder, &[]);
    let ingress = keyed(&service, &folder);
    assert_eq!(status(&ingress, &limited), 200);
    key(&folder, "set", &[id_of(&limited), "--read-quota", "1/h:1"]);
    eventually("the quota is used up", || status(&ingress, &limited) == 429);
    key(&folder, "set", &[id_of(&limited), "--read-quota", "none"]);
    eventually("the quota is gone", || status(&ingress, &limited) == 200);
}

#[test]
fn the_keys_of_a_tenant_are_revoked_together() {
    let folder = Folder::new();
    let service = Scripted::answering(OK);
    let acme = [(); 2].map(|()| new_key(&folder, &["--tenant", "acme"]));
    let other = new_key(&folder, &["--tenant", "other"]);
    key(
        &folder,
        "budget",
        &["--tenant", "acme", "--set", "day:executions=1"],
    );
    let ingress = keyed(&service, &folder);
    key(&folder, "revoke", &["--tenant", "acme"]);
    for gone in &acme {
        eventually("the key is gone", || status(&ingress, gone) == 401);
    }
    assert_eq!(status(&ingress, &other), 200);
    let file = std::fs::read_to_string(folder.path("keys.json")).unwrap();
    assert!(!file.contains("acme"), "{file}");
}

/// A key that ends between the head and the body of a response must not close the connection before the head.
#[test]
fn a_request_is_answered_even_if_its_key_ends_at_that_moment() {
    const KEYS: usize = 8;
    let folder = Folder::new();
    let service = Scripted::answering(OK);
    let keys = [(); KEYS].map(|()| new_key(&folder, &["--tenant", "acme"]));
    let ingress = keyed(&service, &folder);
    std::thread::scope(|scope| {
        for key_text in &keys {
            let ingress = &ingress;
            scope.spawn(move || while status(ingress, key_text) != 401 {});
        }
        key(&folder, "revoke", &["--tenant", "acme"]);
    });
}

#[test]
fn a_changed_file_that_others_may_write_changes_nothing() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = Folder::new();
    let service = Scripted::answering(OK);
    let one = new_key(&folder, &[]);
    let ingress = keyed(&service, &folder);
    folder.write("new.json", r#"{"keys":[]}"#);
    let permissions = std::fs::Permissions::from_mode(0o666);
    std::fs::set_permissions(folder.path("new.json"), permissions).unwrap();
    std::fs::rename(folder.path("new.json"), folder.path("keys.json")).unwrap();
    eventually("the log has the remedy", || {
        ingress.log().contains("chmod go-w")
    });
    assert_eq!(status(&ingress, &one), 200);
    let output = key_command(&folder, "list", &[]);
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("0666") && said.contains("chmod go-w"),
        "{said}"
    );
}

#[test]
fn the_last_use_is_shown_after_the_ingress_has_stopped() {
    let folder = Folder::new();
    let service = Scripted::answering(OK);
    let used = new_key(&folder, &[]);
    let idle = new_key(&folder, &[]);
    let last_used = |key_text: &str| {
        let shown = key(&folder, "show", &[id_of(key_text), "--json"]);
        let shown: Value = serde_json::from_str(&shown).unwrap();
        shown["lastUsed"].clone()
    };
    let before = std::fs::read(folder.path("keys.json")).unwrap();
    for _ in 0..2 {
        let mut ingress = keyed(&service, &folder);
        assert_eq!(status(&ingress, &used), 200);
        ingress.signal(Signal::SIGTERM);
        assert!(ingress.exit_within(WITHIN).success());
        assert_eq!(last_used(&idle), Value::Null);
        assert!(last_used(&used).as_str().unwrap().starts_with("20"));
    }
    assert_eq!(std::fs::read(folder.path("keys.json")).unwrap(), before);
    let list = key(&folder, "list", &["--json"]);
    let list: Value = serde_json::from_str(&list).unwrap();
    assert_eq!(list["keys"][0]["lastUsed"], last_used(&used));
    // An ingress that serves no key keeps the times.
    let last = last_used(&used);
    let mut ingress = keyed(&service, &folder);
    ingress.signal(Signal::SIGTERM);
    assert!(ingress.exit_within(WITHIN).success());
    assert_eq!(last_used(&used), last);
}

#[test]
fn the_last_use_may_be_written_elsewhere_than_beside_the_keys() {
    let folder = Folder::new();
    let service = Scripted::answering(OK);
    let one = new_key(&folder, &[]);
    let elsewhere = folder.text_of("uses.json");
    let keys = folder.text_of("keys.json");
    let options = ["--keys-file", &keys, "--key-uses-file", &elsewhere];
    let mut ingress = ingress(service.port, &options);
    assert_eq!(status(&ingress, &one), 200);
    ingress.signal(Signal::SIGTERM);
    assert!(ingress.exit_within(WITHIN).success());
    assert!(!folder.path("keys.json.used.json").exists());
    let shown = |options: &[&str]| {
        let options = [&[id_of(&one), "--json"], options].concat();
        let shown = key(&folder, "show", &options);
        let shown: Value = serde_json::from_str(&shown).unwrap();
        shown["lastUsed"].clone()
    };
    assert_eq!(shown(&[]), Value::Null);
    let last = shown(&["--key-uses-file", &elsewhere]);
    assert!(last.as_str().unwrap().starts_with("20"), "{last}");
    let listed = key(&folder, "list", &["--key-uses-file", &elsewhere]);
    assert!(listed.contains(last.as_str().unwrap()), "{listed}");
    // The keys are not overwritten by mistake.
    let before = std::fs::read(folder.path("keys.json")).unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_sandpiper-ingress"))
        .args(["serve", "--port", "0", "--keys-file", &keys])
        .args(["--key-uses-file", &keys])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert_eq!(std::fs::read(folder.path("keys.json")).unwrap(), before);
}

/// The tests run as root, for whom no folder is read-only: a folder in the place of the file cannot be replaced.
#[test]
fn last_uses_that_cannot_be_written_are_logged_once_and_nothing_else_happens() {
    let folder = Folder::new();
    let service = Scripted::answering(OK);
    let one = new_key(&folder, &[]);
    folder.write("keys.json.used.json/in-the-way", "");
    let mut ingress = keyed(&service, &folder);
    assert_eq!(status(&ingress, &one), 200);
    ingress.signal(Signal::SIGTERM);
    assert!(ingress.exit_within(WITHIN).success());
    let log = ingress.log();
    let lines = log.matches("times of last use of keys cannot be written");
    assert_eq!(lines.count(), 1, "{log}");
}

#[test]
fn the_log_names_the_key_and_never_has_it() {
    let folder = Folder::new();
    let service = Scripted::answering(OK);
    let one = new_key(&folder, &["--tenant", "acme", "--scopes", "read"]);
    let ingress = keyed(&service, &folder);
    assert_eq!(status(&ingress, &one), 200);
    let header = format!("authorization: Bearer {one}");
    let refused = ingress.send("POST", "/api/execute", &[&header], "{}");
    assert_eq!(refused.code(), "forbidden");
    eventually("both requests are in the log", || {
        ingress.log().matches("request completed").count() == 2
    });
    let log = ingress.log();
    let lines: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("request completed"))
        .collect();
    for line in &lines {
        for part in [id_of(&one), "a test", "acme"] {
            assert!(line.contains(part), "{part}: {line}");
        }
    }
    assert!(lines[1].contains("forbidden"), "{log}");
    let secret = one.rsplit('_').next().unwrap();
    assert!(!log.contains(secret), "{log}");
}
