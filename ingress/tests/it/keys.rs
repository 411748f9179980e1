//! API keys: created by the command, required by the ingress, and not forwarded.

use super::support::{Folder, OK, Running, Scripted, eventually, ingress, new_key};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use std::io::Write as _;
use std::process::Command;
use std::thread;

struct Keyed {
    folder: Folder,
    service: Scripted,
    ingress: Running,
}

fn keyed(options: &[&str]) -> Keyed {
    let folder = Folder::new();
    folder.write("keys.json", r#"{"keys":[]}"#);
    let service = Scripted::answering(OK);
    let keys_file = folder.text_of("keys.json");
    let mut all = vec!["--keys-file", &keys_file];
    all.extend(options);
    let ingress = ingress(service.port, &all);
    Keyed {
        folder,
        service,
        ingress,
    }
}

impl Keyed {
    /// Creates a key and waits until it is valid.
    fn key(&self, options: &[&str]) -> String {
        let key = new_key(&self.folder, options);
        eventually("the key counts", || {
            self.ask("GET", "/api", &key).status == 200
        });
        while self.service.requests() > 0 {
            self.service.request();
        }
        key
    }

    fn ask(&self, method: &str, target: &str, key: &str) -> super::support::Answer {
        let header = format!("authorization: Bearer {key}");
        self.ingress.send(
            method,
            target,
            &[&header],
            if method == "POST" { "{}" } else { "" },
        )
    }
}

#[test]
fn without_a_key_only_public_paths_are_served() {
    let keyed = keyed(&[]);
    for target in [
        "/api",
        "/api/health",
        "/api/health/ready",
        "/api/scripts",
        "/api/openapi.json",
        "/",
        "/ingress/live",
    ] {
        assert_eq!(keyed.ingress.get(target).status, 200, "{target}");
    }
    for (method, target) in [
        ("POST", "/api/execute"),
        ("POST", "/api/jobs"),
        ("GET", "/api/jobs"),
        ("GET", "/api/jobs/1"),
        ("DELETE", "/api/jobs/1"),
        ("GET", "/api/netcheck"),
        ("GET", "/api/usage"),
        ("GET", "/api/what-comes-later"),
    ] {
        let answer = keyed.ingress.send(method, target, &[], "");
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (401, "unauthorized"),
            "{method} {target}"
        );
        assert_eq!(answer.header("www-authenticate"), "Bearer");
    }
}

#[test]
fn a_key_is_accepted_and_not_forwarded() {
    let keyed = keyed(&[]);
    let key = keyed.key(&[]);
    for header in [
        format!("authorization: bearer {key}"),
        format!("X-API-Key: {key}"),
    ] {
        assert_eq!(
            keyed
                .ingress
                .send("POST", "/api/execute", &[&header], "{}")
                .status,
            200
        );
        let request = keyed.service.request();
        assert!(
            !request.has("authorization") && !request.has("x-api-key"),
            "{request:?}"
        );
        let principal = request.header("sandpiper-client");
        assert!(
            principal.starts_with("key:") && !key.ends_with(&principal[4..]),
            "{principal}"
        );
    }
    for wrong in [
        "",
        "sp_",
        "Bearer",
        &key[..key.len() - 1],
        &format!("{key}0"),
        &key.replace("sp_", "xx_"),
    ] {
        assert_eq!(
            keyed.ask("POST", "/api/execute", wrong).status,
            401,
            "{wrong}"
        );
    }
    // A wrong key is rejected even where no key is needed.
    assert_eq!(keyed.ask("GET", "/api", "sp_wrong").status, 401);
}

#[test]
fn a_key_may_do_what_its_scopes_allow() {
    let keyed = keyed(&[]);
    let read = keyed.key(&["--scopes", "read"]);
    let run = keyed.key(&["--scopes", "execute,jobs"]);
    let admin = keyed.key(&["--scopes", "admin"]);
    for (method, target, of_read, of_run, of_admin) in [
        ("POST", "/api/execute", 403, 200, 403),
        ("GET", "/api/netcheck", 403, 200, 403),
        ("POST", "/api/jobs", 403, 200, 403),
        ("DELETE", "/api/jobs/1", 403, 200, 403),
        ("GET", "/api/jobs", 200, 403, 200),
        ("GET", "/api/jobs?tenant=acme", 200, 403, 200),
        ("GET", "/api/nodes", 200, 403, 200),
        ("DELETE", "/api/tenants/acme", 403, 403, 200),
        ("POST", "/api/tenants/acme/assign", 403, 403, 200),
        // The service shows a key without `read` only its own jobs, and each key its own usage.
        ("GET", "/api/jobs/1", 200, 200, 200),
        ("GET", "/api/jobs/1/events", 200, 200, 200),
        ("GET", "/api/usage?by=day", 200, 200, 200),
        ("GET", "/api", 200, 200, 200),
    ] {
        for (key, expected) in [(&read, of_read), (&run, of_run), (&admin, of_admin)] {
            let status = keyed.ask(method, target, key).status;
            assert_eq!(status, expected, "{method} {target}");
        }
    }
    let refused = keyed.ask("POST", "/api/jobs", &read);
    assert_eq!(refused.code(), "forbidden");
    assert!(refused.message.text().contains("scope `jobs`"));
}

/// The response to a cancel contains the job's execution, which only keys with the scope `read` may see.
#[test]
fn a_key_that_may_stop_but_not_read_jobs_gets_no_results() {
    let keyed = keyed(&[]);
    let jobs = keyed.key(&["--scopes", "jobs"]);
    let both = keyed.key(&["--scopes", "jobs,read"]);
    let preferred = |method: &str, key: &str, preferences: &[&str]| {
        let key = format!("authorization: Bearer {key}");
        let headers = [&[key.as_str()], preferences].concat();
        let body = if method == "POST" { "{}" } else { "" };
        let target = if method == "POST" {
            "/api/jobs"
        } else {
            "/api/jobs/1"
        };
        assert_eq!(
            keyed.ingress.send(method, target, &headers, body).status,
            200
        );
        let passed = keyed.service.request();
        let headers = passed.headers.into_iter();
        let named = headers.filter(|(name, _)| name.eq_ignore_ascii_case("prefer"));
        named.map(|(_, value)| value).collect::<Vec<_>>()
    };
    let all = ["prefer: return=representation", "Prefer: wait=1"];
    assert_eq!(preferred("DELETE", &jobs, &[]), ["return=minimal"]);
    assert_eq!(preferred("DELETE", &jobs, &all), ["return=minimal"]);
    assert_eq!(preferred("DELETE", &both, &[]), [""; 0]);
    assert_eq!(
        preferred("DELETE", &both, &all),
        ["return=representation", "wait=1"]
    );
    // A key may wait for the job that it submits.
    assert_eq!(preferred("POST", &jobs, &all[1..]), ["wait=1"]);
}

#[test]
fn a_key_has_its_own_quota_and_guessing_has_a_rate() {
    let keyed = keyed(&["--read-quota", "10/s:20"]);
    let key = keyed.key(&["--run-quota", "1/h:2"]);
    let statuses: Vec<u16> = (0..3)
        .map(|_| keyed.ask("POST", "/api/execute", &key).status)
        .collect();
    assert_eq!(statuses, [200, 200, 429]);
    assert_eq!(
        keyed
            .ask("POST", "/api/execute", &key)
            .header("ratelimit-policy"),
        "\"key-run\";q=2;w=7200"
    );
    let guesses: Vec<u16> = (0..40)
        .map(|_| keyed.ask("POST", "/api/execute", "sp_guess").status)
        .collect();
    assert!(guesses.contains(&429), "{guesses:?}");
    // Guesses from the same address do not slow down a client with a key.
    assert_eq!(keyed.ask("GET", "/api/jobs", &key).status, 200);
}

#[test]
fn keys_are_reloaded_while_the_ingress_runs_and_a_broken_file_changes_nothing() {
    let keyed = keyed(&[]);
    let key = keyed.key(&[]);
    let file = std::fs::read_to_string(keyed.folder.path("keys.json")).unwrap();
    keyed.folder.write("keys.json", "{");
    thread::sleep(std::time::Duration::from_millis(1500));
    assert_eq!(keyed.ask("GET", "/api/jobs", &key).status, 200);
    keyed.folder.write("keys.json", r#"{"keys":[]}"#);
    let header = format!("authorization: Bearer {key}");
    eventually("the key is gone", || {
        let mut connection = keyed.ingress.connect();
        connection.request("GET", "/api/jobs", &[&header], "");
        // A response in progress is aborted when its key is removed.
        let answer = connection.answer_within(super::support::WITHIN);
        answer.is_some_and(|answer| answer.status == 401)
    });
    keyed.folder.write("keys.json", file);
    eventually("the key is back", || {
        keyed.ask("GET", "/api/jobs", &key).status == 200
    });
}

#[test]
fn an_unreadable_keys_file_fails_the_start() {
    let folder = Folder::new();
    folder.write("keys.json", r#"{"keys":[{"id":"x"}]}"#);
    for name in ["keys.json", "none.json"] {
        let output = Command::new(env!("CARGO_BIN_EXE_sandpiper-ingress"))
            .args(["--port", "0", "--keys-file", &folder.text_of(name)])
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(
            said.contains("--keys-file") && said.contains(name),
            "{said}"
        );
    }
}

#[test]
fn keys_created_at_the_same_time_are_all_in_the_file() {
    let folder = Folder::new();
    let keys: Vec<String> = thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| new_key(&folder, &[])))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    let file = std::fs::read_to_string(folder.path("keys.json")).unwrap();
    assert_eq!(file.matches("\"sha256\"").count(), 8, "{file}");
    for key in keys {
        let id = key.split('_').nth(1).unwrap();
        assert!(file.contains(id), "{id}: {file}");
    }
}

#[test]
fn open_requests_of_a_revoked_key_end_and_those_of_others_go_on() {
    let folder = Folder::new();
    let (revoked, stays) = (new_key(&folder, &[]), new_key(&folder, &[]));
    let service = Scripted::start(|mut connection, _| {
        let Ok(request) = connection.head() else {
            return;
        };
        if request.first_line.contains("/events") {
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
            let _ = connection.write(format!("{head}2\r\n:\n\r\n"));
        }
        // Sends nothing until the other end closes.
        connection.rest();
    });
    let ingress = ingress(service.port, &["--keys-file", &folder.text_of("keys.json")]);
    let open = |key: &str, target: &str| {
        let mut connection = ingress.connect();
        let header = format!("x-api-key: {key}");
        connection.request("GET", target, &[&header], "");
        connection
    };
    let stream = |key: &str| {
        let mut connection = open(key, "/api/jobs/1/events");
        assert!(connection.head().unwrap().first_line.contains("200"));
        assert_eq!(connection.chunk().unwrap(), b":\n");
        connection
    };
    let (mut ends, mut goes_on) = (stream(&revoked), stream(&stays));
    let mut waiting = open(&revoked, "/api/jobs/1");
    eventually("all three are open", || service.connections() == 3);
    let id = revoked.split('_').nth(1).unwrap();
    let file = std::fs::read_to_string(folder.path("keys.json")).unwrap();
    let mut file: serde_json::Value = serde_json::from_str(&file).unwrap();
    let keys = file["keys"].as_array_mut().unwrap();
    keys.retain(|key| key["id"] != id);
    assert_eq!(keys.len(), 1);
    folder.write("keys.json", file.to_string());
    assert!(ends.closes_within(super::support::WITHIN));
    assert_eq!(waiting.answer().code(), "key_ended");
    assert!(!goes_on.closes_within(std::time::Duration::from_millis(500)));
}

#[test]
fn a_change_while_the_file_is_first_read_is_not_missed() {
    let folder = Folder::new();
    let key = new_key(&folder, &[]);
    let with_key = std::fs::read_to_string(folder.path("keys.json")).unwrap();
    // The file is a pipe, so the first read blocks until the test writes; meanwhile the file is replaced.
    std::fs::remove_file(folder.path("keys.json")).unwrap();
    mkfifo(&folder.path("keys.json"), Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    let service = Scripted::answering(OK);
    let options = ["--keys-file".to_owned(), folder.text_of("keys.json")];
    let port = service.port;
    let ingress = thread::scope(|scope| {
        let starting = scope.spawn(|| ingress(port, &[&options[0], &options[1]]));
        let mut pipe = std::fs::OpenOptions::new()
            .write(true)
            .open(folder.path("keys.json"))
            .unwrap();
        folder.write("new.json", &with_key);
        std::fs::rename(folder.path("new.json"), folder.path("keys.json")).unwrap();
        pipe.write_all(br#"{"keys":[]}"#).unwrap();
        drop(pipe);
        starting.join().unwrap()
    });
    let header = format!("x-api-key: {key}");
    eventually("the key of the new file counts", || {
        ingress.send("GET", "/api/jobs", &[&header], "").status == 200
    });
}
