//! The commands that list and change keys.

use super::support::{
    Folder, eventually, free_port, id_of, ingress, key, key_command, new_key, service,
};
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt as _;
use std::thread;

fn list(folder: &Folder) -> Value {
    serde_json::from_str(&key(folder, "list", &["--json"])).unwrap()
}

/// Runs a command that must fail, and returns its error.
fn refused(folder: &Folder, command: &str, options: &[&str]) -> String {
    let output = key_command(folder, command, options);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        output.status.code(),
        Some(2),
        "{command} {options:?}: {said}"
    );
    assert!(output.stdout.is_empty(), "{command} {options:?}");
    said
}

#[test]
fn a_key_is_listed_and_shown_with_everything_but_its_secret() {
    let folder = Folder::new();
    let options = [
        "--tenant",
        "acme",
        "--scopes",
        "execute,admin",
        "--expires",
        "2099-12-31T23:59:59+01:00",
        "--run-quota",
        "5/s:10",
        "--read-quota",
        "20/s:40",
        "--requests-max",
        "8",
        "--budget",
        "day:executions=1000",
        "--budget",
        "month:cpuSeconds=60,month:queuedBytes=7",
        "--note",
        "for the reports",
    ];
    let one = new_key(&folder, &options);
    let second = new_key(&folder, &[]);
    let of_tenant = ["--tenant", "acme", "--set", "day:executions=9"];
    let said = key(&folder, "budget", &of_tenant);
    assert_eq!(said, "day:executions=9");
    let budgets =
        json!({"day": {"executions": 1000}, "month": {"cpuSeconds": 60, "queuedBytes": 7}});
    let shown = json!({
        "id": id_of(&one),
        "name": "a test",
        "tenant": "acme",
        "scopes": ["execute", "admin"],
        "expires": "2099-12-31T22:59:59Z",
        "expired": false,
        "lastUsed": null,
        "runQuota": "5/s:10",
        "readQuota": "20/s:40",
        "requestsMax": 8,
        "budgets": budgets,
        "tenantBudgets": {"day": {"executions": 9}},
        "note": "for the reports",
    });
    let json = key(&folder, "show", &[id_of(&one), "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&json).unwrap(), shown);
    let list = list(&folder);
    assert_eq!(list["keys"][0], shown);
    assert_eq!(list["keys"][1]["id"], id_of(&second));
    assert_eq!(list["keys"][1]["tenant"], format!("key:{}", id_of(&second)));
    assert_eq!(
        list["tenants"],
        json!([{"name": "acme", "keys": 1, "budgets": {"day": {"executions": 9}}}])
    );
    let table = key(&folder, "list", &[]);
    let text = key(&folder, "show", &[id_of(&one)]);
    assert!(table.starts_with("ID "), "{table}");
    for part in [id_of(&one), "acme", "execute,admin", "2099-12-31T22:59:59Z"] {
        assert!(table.contains(part) && text.contains(part), "{table}{text}");
    }
    let file = std::fs::read_to_string(folder.path("keys.json")).unwrap();
    let file: Value = serde_json::from_str(&file).unwrap();
    let hash = file["keys"][0]["sha256"].as_str().unwrap();
    for text in [&json, &table, &text] {
        assert!(!text.contains(hash), "{text}");
        assert!(!text.contains(one.rsplit('_').next().unwrap()), "{text}");
    }
}

#[test]
fn a_key_is_rotated_assigned_given_budgets_and_revoked() {
    let folder = Folder::new();
    let one = new_key(&folder, &[]);
    let id = id_of(&one);
    let rotated = key_command(
        &folder,
        "rotate",
        &[id, "--overlap", "1h", "--expires", "90d"],
    );
    let said = String::from_utf8(rotated.stderr).unwrap();
    assert!(said.contains("the old secret is valid until 20"), "{said}");
    let shown = list(&folder)["keys"][0].clone();
    assert!(shown["previousSecretUntil"].is_string(), "{shown}");
    assert!(shown["expires"].is_string(), "{shown}");
    let service = service(&[]);
    let port = service.port.to_string();
    let to = |tenant| ["--tenant", tenant, "--api-port", &port];
    let moved = key(&folder, "assign", &[&[id], &to("acme")[..]].concat());
    assert_eq!(moved, r#"{"tenant":"acme","jobs":0}"#);
    let again = key_command(&folder, "assign", &[id, "--tenant", "acme"]);
    let said = String::from_utf8(again.stderr).unwrap();
    assert!(said.contains("already"), "{said}");
    let second = new_key(&folder, &["--tenant", "acme"]);
    drop(service);
    // Without the service the key moves, and the error says how its jobs can follow.
    let moved = key_command(&folder, "assign", &[&[id], &to("other")[..]].concat());
    assert!(!moved.status.success());
    let said = String::from_utf8(moved.stderr).unwrap();
    let command = format!("`sandpiper tenants assign {id} --from acme --to other`");
    assert!(said.contains(&command), "{said}");
    assert_eq!(list(&folder)["keys"][0]["tenant"], "other");
    let set = [id, "--set", "day:executions=5,month:cpuSeconds=6"];
    key(&folder, "budget", &set);
    let removed = key(&folder, "budget", &[id, "--set", "month:cpuSeconds=none"]);
    assert_eq!(removed, "day:executions=5");
    let revoked = key_command(&folder, "revoke", &[id]);
    let said = String::from_utf8(revoked.stderr).unwrap();
    assert!(said.contains(id) && said.contains("a test"), "{said}");
    let keys = list(&folder)["keys"].clone();
    assert_eq!(keys.as_array().unwrap().len(), 1);
    assert_eq!(keys[0]["id"], id_of(&second));
    let mode = std::fs::metadata(folder.path("keys.json")).unwrap();
    assert_eq!(mode.permissions().mode() & 0o777, 0o600);
}

#[test]
fn the_parts_of_a_key_are_changed_and_its_secret_stays() {
    let folder = Folder::new();
    let one = new_key(
        &folder,
        &["--tenant", "acme", "--budget", "day:executions=7"],
    );
    let id = id_of(&one);
    let of_file = || -> Value {
        let file = std::fs::read_to_string(folder.path("keys.json")).unwrap();
        serde_json::from_str::<Value>(&file).unwrap()["keys"][0].clone()
    };
    let before = of_file();
    let options = [
        "--name",
        "the reports",
        "--scopes",
        "read,execute,read",
        "--expires",
        "2099-12-31T23:59:59Z",
        "--run-quota",
        "5/s:10",
        "--read-quota",
        "20/s:40",
        "--requests-max",
        "8",
        "--note",
        "asked for by mail",
    ];
    let shown = key(&folder, "set", &[&[id], &options[..]].concat());
    for part in ["the reports", "execute,read", "2099-12-31T23:59:59Z"] {
        assert!(shown.contains(part), "{shown}");
    }
    let mut expected = before.clone();
    expected["name"] = "the reports".into();
    expected["scopes"] = json!(["execute", "read"]);
    expected["expires"] = "2099-12-31T23:59:59Z".into();
    expected["runQuota"] = "5/s:10".into();
    expected["readQuota"] = "20/s:40".into();
    expected["requestsMax"] = 8.into();
    expected["note"] = "asked for by mail".into();
    assert_eq!(of_file(), expected);
    // One part alone, and then each away again.
    key(&folder, "set", &[id, "--note", "a new one"]);
    expected["note"] = "a new one".into();
    assert_eq!(of_file(), expected);
    for (option, part) in [
        ("--expires", "expires"),
        ("--run-quota", "runQuota"),
        ("--read-quota", "readQuota"),
        ("--requests-max", "requestsMax"),
        ("--note", "note"),
    ] {
        key(&folder, "set", &[id, option, "none"]);
        expected.as_object_mut().unwrap().remove(part);
        assert_eq!(of_file(), expected, "{option}");
    }
}

#[test]
fn an_invalid_value_is_refused_with_its_name_and_bound() {
    let folder = Folder::new();
    let one = new_key(&folder, &[]);
    let id = id_of(&one);
    let before = std::fs::read(folder.path("keys.json")).unwrap();
    let name = ["--name", "n"];
    let long = "x".repeat(201);
    for (options, option, said) in [
        (["--scopes", "root"], "--scopes", "admin"),
        (["--tenant", "key:1"], "--tenant", "1 to 64 letters"),
        (["--tenant", "default"], "--tenant", "without a key"),
        (["--tenant", ""], "--tenant", "1 to 64 letters"),
        (
            ["--expires", "2020-01-01T00:00:00Z"],
            "--expires",
            "in the past",
        ),
        (["--expires", "0d"], "--expires", "in the past"),
        (["--expires", "36526d"], "--expires", "36525d"),
        (["--expires", "next year"], "--expires", "such as 90d"),
        (
            ["--budget", "day:executions=0"],
            "--budget",
            "from 1 to 9007199254740991",
        ),
        (
            ["--budget", "day:cpuSeconds=-1"],
            "--budget",
            "day:cpuSeconds",
        ),
        (
            ["--budget", "year:executions=1"],
            "--budget",
            "day or month",
        ),
        (["--requests-max", "0"], "--requests-max", "1"),
        (["--run-quota", "0/s:1"], "--run-quota", "1 to 1000000"),
        (["--note", "a\nb"], "--note", "control characters"),
        (["--name", &long], "--name", "1 to 200 characters"),
    ] {
        let name = if option == "--name" { &[][..] } else { &name };
        let error = refused(&folder, "new", &[name, &options].concat());
        assert!(error.contains(option) && error.contains(said), "{error}");
    }
    for (command, options, said) in [
        ("show", vec!["00000000000000aa"], "00000000000000aa"),
        ("show", vec!["x"], "16 lower-case hexadecimal digits"),
        ("rotate", vec![id, "--overlap", "91d"], "from 1s to 90d"),
        ("set", vec![id], "--scopes"),
        ("set", vec!["--note", "x"], "<ID>"),
        ("set", vec![id, "--tenant", "acme"], "--tenant"),
        ("set", vec![id, "--scopes", "none"], "admin"),
        ("set", vec![id, "--scopes", ""], "--scopes"),
        ("set", vec![id, "--expires", "0d"], "in the past; give"),
        ("set", vec![id, "--expires", "soon"], "36525d; or none"),
        ("set", vec![id, "--run-quota", "0/s:1"], "1 to 1000000"),
        ("set", vec![id, "--requests-max", "0"], "1 to 4294967295"),
        ("set", vec![id, "--note", ""], "1 to 1000 characters"),
        ("set", vec![id, "--name", "a\nb"], "control characters"),
        (
            "set",
            vec!["00000000000000aa", "--note", "x"],
            "00000000000000aa",
        ),
        ("revoke", vec![], "--tenant"),
        ("revoke", vec![id, "--tenant", "acme"], "--tenant"),
        ("revoke", vec!["--tenant", "acme"], "acme"),
        ("assign", vec![id], "--tenant"),
        ("assign", vec![id, "--tenant", "default"], "without a key"),
        ("budget", vec![id], "--set"),
        (
            "budget",
            vec![id, "--set", "day:executions=0"],
            "9007199254740991",
        ),
        (
            "budget",
            vec!["--tenant", "acne", "--set", "day:executions=1"],
            "acne",
        ),
    ] {
        let error = refused(&folder, command, &options);
        assert!(error.contains(said), "{command}: {error}");
    }
    assert_eq!(std::fs::read(folder.path("keys.json")).unwrap(), before);
    let missing = refused(&Folder::new(), "list", &[]);
    assert!(missing.contains("keys.json"), "{missing}");
}

#[test]
fn one_command_revokes_the_keys_of_a_tenant_and_deletes_its_data() {
    let folder = Folder::new();
    let acme = ["--tenant", "acme"];
    let one = new_key(&folder, &acme);
    let other = new_key(&folder, &["--tenant", "other"]);
    let service = service(&[]);
    let options = ["--keys-file", &folder.text_of("keys.json")];
    let ingress = ingress(service.port, &options);
    let submit = |key: &str| {
        let header = format!("x-api-key: {key}");
        let headers = [header.as_str(), "content-type: application/json"];
        ingress.send("POST", "/api/jobs", &headers, r#"{"code":"1"}"#)
    };
    for key in [&one, &other] {
        assert_eq!(submit(key).status, 202);
    }
    let (port, closed) = (service.port.to_string(), free_port().to_string());
    let to = |port| [&acme[..], &["--purge", "--api-port", port]].concat();
    let refused = key_command(&folder, "revoke", &[id_of(&other), "--purge"]);
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    // A service that cannot be reached leaves the data, and the command can be repeated.
    let unreached = key_command(&folder, "revoke", &to(&closed));
    assert!(!unreached.status.success());
    let said = String::from_utf8(unreached.stderr).unwrap();
    assert!(said.contains("`sandpiper tenants purge acme`"), "{said}");
    let purged = key(&folder, "revoke", &to(&port));
    assert_eq!(purged, r#"{"tenant":"acme","jobs":1}"#);
    assert_eq!(submit(&one).status, 401);
    assert_eq!(submit(&other).status, 202);
    // Keys of that name that are made later are refused until the tenant is restored.
    new_key(&folder, &acme);
    let never_used = key(&folder, "revoke", &to(&port));
    assert_eq!(never_used, r#"{"tenant":"acme","jobs":0}"#);
}

#[test]
fn concurrent_commands_lose_nothing() {
    let folder = Folder::new();
    let keys: Vec<String> = (0..8).map(|_| new_key(&folder, &[])).collect();
    let service = service(&[]);
    let port = &service.port.to_string();
    thread::scope(|scope| {
        for (number, one) in keys.iter().enumerate() {
            let folder = &folder;
            scope.spawn(move || match number % 4 {
                0 => key(folder, "revoke", &[id_of(one)]),
                1 => {
                    let options = ["--tenant", "acme", "--api-port", port];
                    key(folder, "assign", &[&[id_of(one)], &options[..]].concat())
                }
                2 => key(folder, "set", &[id_of(one), "--note", "changed"]),
                _ => key(folder, "rotate", &[id_of(one), "--overlap", "1h"]),
            });
            scope.spawn(move || new_key(folder, &[]));
        }
    });
    let list = list(&folder);
    let listed = list["keys"].as_array().unwrap();
    assert_eq!(listed.len(), 14);
    let count = |is: &dyn Fn(&Value) -> bool| listed.iter().filter(|key| is(key)).count();
    assert_eq!(count(&|key| key["tenant"] == "acme"), 2);
    assert_eq!(count(&|key| key["note"] == "changed"), 2);
    assert_eq!(count(&|key| key["previousSecretUntil"].is_string()), 2);
    assert!(!list.to_string().contains(id_of(&keys[0])));
}

#[test]
fn a_key_takes_its_jobs_to_its_new_tenant() {
    let folder = Folder::new();
    let one = new_key(&folder, &[]);
    let service = service(&[]);
    let options = ["--keys-file", &folder.text_of("keys.json")];
    let ingress = ingress(service.port, &options);
    let header = format!("x-api-key: {one}");
    let headers = [header.as_str(), "content-type: application/json"];
    let submitted = ingress.send("POST", "/api/jobs", &headers, r#"{"code":"1"}"#);
    assert_eq!(submitted.status, 202, "{submitted:?}");
    let job = submitted.json();
    let path = format!("/api/jobs/{}", job["id"].as_str().unwrap());
    let port = service.port.to_string();
    let moved = key(
        &folder,
        "assign",
        &[id_of(&one), "--tenant", "acme", "--api-port", &port],
    );
    assert_eq!(moved, r#"{"tenant":"acme","jobs":1}"#);
    // The ingress reads the changed file within a second, and the key still reads its job.
    eventually("the key has its tenant", || {
        let shown = ingress.send("GET", &path, &headers[..1], "");
        shown.status == 200 && shown.json()["tenant"] == "acme"
    });
}
