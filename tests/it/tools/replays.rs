//! `replay`: sealed, of one request, of one tenant, and for a while.

use super::{Conversation, assert_continuation_refused, echo, request};
use crate::stores::Folder;
use crate::support::{PATIENT_MS, Service, assert_refused, assert_serves};
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

const CODE: &str = "const a = await tools.a('needle'); await tools.a(a)";

fn answers(talk: &Conversation<'_>) -> Value {
    json!([{ "callId": talk.calls()[0]["callId"], "result": 1 }])
}

#[test]
fn a_replay_that_is_cut_or_changed_is_refused() {
    let service = Service::start();
    let talk = Conversation::begin(&service, request(CODE, &["a"]));
    let whole = talk.now["replay"].as_str().unwrap().to_owned();
    let answers = answers(&talk);
    let send = |replay: &str, what: &str| {
        let mut next = talk.next_request(&answers);
        next["replay"] = replay.into();
        let answer = service.post("/api/execute", &next);
        assert_refused(&answer, 422, "invalid_replay", what);
        assert_eq!(answer.json()["field"], "replay");
    };
    for end in (0..whole.len()).step_by(50) {
        send(&whole[..end], &format!("cut at {end}"));
        let other = if &whole[end..=end] == "A" { "B" } else { "A" };
        let mut changed = whole.clone();
        changed.replace_range(end..=end, other);
        send(&changed, &format!("changed at {end}"));
    }
    for text in [
        "x",
        ".",
        "a.b",
        "é",
        &format!("{whole}A"),
        &format!(" {whole}"),
    ] {
        send(text, text);
    }
    assert!(!whole.contains("needle"));
    let refused = service.metric("replay_refusals_total{reason=\"invalid\"}");
    assert!(refused > Some(10.0), "{refused:?}");
    assert_eq!(talk.finish(echo)["result"], "needle");
    assert_serves(&service);
}

#[test]
fn a_replay_continues_the_same_request_alone() {
    let service = Service::start();
    let mut first = request(CODE, &["a"]);
    first["input"] = json!({ "x": 1, "y": [2, "z"] });
    first["globals"] = json!({ "rate": 1.5 });
    first["modules"] = json!({ "./m.js": "1" });
    first["seed"] = json!(7);
    let talk = Conversation::begin(&service, first);
    let answers = answers(&talk);
    for (field, value) in [
        ("code", json!(format!("{CODE};"))),
        ("prelude", json!("1")),
        ("kind", json!("function")),
        ("language", json!("typescript")),
        ("input", json!({ "x": 1, "y": [2, "Z"] })),
        ("input", Value::Null),
        ("globals", json!({ "rate": 2 })),
        ("modules", json!({ "./m.js": "2" })),
        ("seed", json!(8)),
        ("tools", json!(["a", "b"])),
        ("tools", json!(["b"])),
        ("unawaited", json!("drop")),
        ("limits", json!({ "timeoutMs": PATIENT_MS - 1 })),
        ("limits", json!({ "timeoutMs": PATIENT_MS, "callsMax": 3 })),
    ] {
        let mut next = talk.next_request(&answers);
        next[field] = value.clone();
        let answer = service.post("/api/execute", &next);
        assert_refused(&answer, 422, "replay_mismatch", &format!("{field} {value}"));
        assert_eq!(answer.json()["field"], field, "{}", answer.text);
    }
    assert_eq!(
        service.metric("replay_refusals_total{reason=\"mismatch\"}"),
        Some(14.0)
    );
    // Another spelling of the same values is the same request.
    let mut next = talk.next_request(&answers).to_string();
    next = next.replace("1.5", "15e-1").replace("[2,", "[ 2.0 ,");
    let json = [("content-type", "application/json")];
    let answer = service.post_raw("/api/execute", &json, next.as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.text);
}

#[test]
fn a_replay_expires() {
    let service = Service::start_with(&["--replay-ttl-s", "1"]);
    let talk = Conversation::begin(&service, request(CODE, &["a"]));
    std::thread::sleep(std::time::Duration::from_millis(1_100));
    assert_continuation_refused(&talk, &answers(&talk), 410, "replay_expired");
    assert_eq!(
        service.metric("replay_refusals_total{reason=\"expired\"}"),
        Some(1.0)
    );
}

#[test]
fn a_request_can_wait_for_a_shorter_time() {
    let service = Service::start();
    let mut first = request(CODE, &["a"]);
    first["limits"]["waitTimeoutS"] = 1.into();
    let talk = Conversation::begin(&service, first);
    std::thread::sleep(std::time::Duration::from_millis(1_100));
    assert_continuation_refused(&talk, &answers(&talk), 410, "replay_expired");
}

#[test]
fn another_tenant_cannot_continue_an_execution() {
    let service = Service::start_with(&["--client-header", "sandpiper-client"]);
    let of = |tenant: &'static str| {
        [
            ("sandpiper-tenant", tenant),
            ("sandpiper-key", "00000000000000aa"),
            ("sandpiper-scopes", "execute"),
        ]
    };
    let first = request("await tools.a(1)", &["a"]);
    let waiting = service.post_with("/api/execute", &of("one"), &first);
    assert_eq!(waiting.status, 200, "{}", waiting.text);
    let waiting = waiting.json();
    let mut next = first.clone();
    next["replay"] = waiting["replay"].clone();
    next["answers"] = json!([{ "callId": waiting["calls"][0]["callId"], "result": 1 }]);
    let refused = service.post_with("/api/execute", &of("two"), &next);
    assert_refused(&refused, 422, "replay_mismatch", "another tenant");
    let own = service.post_with("/api/execute", &of("one"), &next);
    assert_eq!(own.json()["result"], 1, "{}", own.text);
}

#[test]
fn a_long_log_stays_below_the_bound_of_a_body() {
    let service = Service::start();
    let code = "let all = 0; for (let n = 0; n < 4; n++) all += (await tools.a('x'.repeat(100000))).length; all";
    let last = Conversation::begin(&service, request(code, &["a"])).finish(echo);
    assert_eq!(last["result"], 400_000, "{last}");
}

/// Returns a new key, as a line of a file of keys.
fn new_key() -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_sandpiper"))
        .arg("data-key")
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn write_keys(folder: &Folder, lines: &[&str]) -> String {
    let path = folder.path("replay-keys");
    std::fs::write(&path, lines.join("\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    folder.text("replay-keys")
}

#[test]
fn keys_of_a_file_are_shared_and_rotated() {
    let folder = Folder::new();
    let [former, current] = [new_key(), new_key()];
    let path = write_keys(&folder, &[&former]);
    let serve = || Service::start_with(&["--replay-key-file", &path]);
    let (one, other) = (serve(), serve());
    let talk = Conversation::begin(&one, request("await tools.a(1)", &["a"]));
    let next = talk.next_request(&answers(&talk));
    assert_eq!(other.execute(&next)["result"], 1);
    write_keys(&folder, &[&current, &former]);
    let rotated = serve();
    assert_eq!(rotated.execute(&next)["result"], 1);
    write_keys(&folder, &[&current]);
    let without = serve();
    let refused = without.post("/api/execute", &next);
    assert_refused(
        &refused,
        422,
        "invalid_replay",
        "a key that is no longer in use",
    );
}

#[test]
fn an_unusable_file_of_keys_stops_the_start_with_its_name() {
    let folder = Folder::new();
    let path = write_keys(&folder, &["nonsense"]);
    for path in [&path, "/nowhere/keys"] {
        let output = Command::new(env!("CARGO_BIN_EXE_sandpiper"))
            .args([
                "serve",
                "--port",
                "0",
                "--store",
                "memory",
                "--replay-key-file",
                path,
            ])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(
            said.contains("--replay-key-file") && said.contains(path),
            "{said}"
        );
    }
}
