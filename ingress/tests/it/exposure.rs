//! Whom the ingress lets in by default, and what has to be said before it lets in more.

use super::support::{Folder, OK, Scripted, ingress, service};
use serde_json::json;
use std::process::{Command, Output};

/// An ingress that must not start.
fn refused(options: &[&str], variables: &[(&str, &str)]) -> String {
    let Output { status, stderr, .. } = Command::new(env!("CARGO_BIN_EXE_sandpiper-ingress"))
        .args(["--port", "0"])
        .args(options)
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let said = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(2), "{options:?}: {said}");
    said
}

#[test]
fn an_address_that_others_reach_needs_to_be_said_for_whom() {
    for host in ["0.0.0.0", "::", "192.0.2.1", "::ffff:10.0.0.1"] {
        for said in [
            refused(&["--host", host], &[]),
            refused(&[], &[("HOST", host)]),
            refused(&["--host", host, "--open=false"], &[]),
            refused(
                &["--host", host],
                &[("SANDPIPER_INGRESS_TRUSTED_NETWORK", "no")],
            ),
        ] {
            for option in ["--keys-file", "--trusted-network", "--open", host] {
                assert!(said.contains(option), "{said}");
            }
        }
    }
    let service = Scripted::answering(OK);
    let folder = Folder::new();
    folder.write("keys.json", r#"{"keys":[]}"#);
    let keys = folder.text_of("keys.json");
    for options in [
        vec!["--trusted-network"],
        vec!["--open"],
        vec!["--keys-file", &keys],
        // As compose is, where keys are added.
        vec!["--trusted-network", "--keys-file", &keys],
    ] {
        let all = [&["--host", "0.0.0.0"], options.as_slice()].concat();
        let ingress = ingress(service.port, &all);
        assert_eq!(ingress.get("/ingress/live").status, 200);
        let needs_key = options.contains(&"--keys-file");
        let status = ingress.get("/api/jobs/1").status;
        assert_eq!(status, if needs_key { 401 } else { 200 }, "{options:?}");
    }
}

#[test]
fn it_listens_on_this_machine_alone_unless_told_otherwise() {
    let help = Command::new(env!("CARGO_BIN_EXE_sandpiper-ingress"))
        .args(["serve", "--help"])
        .output()
        .unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let (_, host) = help.split_once("--host").unwrap();
    assert!(host.trim_start().contains("[default: 127.0.0.1]"));
    let service = Scripted::answering(OK);
    for host in ["127.0.0.1", "127.0.0.2", "localhost"] {
        // Not by `connect` of the tests, which goes to 127.0.0.1.
        ingress(service.port, &["--host", host]);
    }
}

#[test]
fn what_contradicts_is_refused_at_start() {
    let folder = Folder::new();
    folder.write("keys.json", r#"{"keys":[]}"#);
    let keys = folder.text_of("keys.json");
    let said = refused(&["--open", "--keys-file", &keys], &[]);
    assert!(
        said.contains("--open") && said.contains("--keys-file"),
        "{said}"
    );
    let said = refused(&["--open", "--trusted-network"], &[]);
    assert!(
        said.contains("--open") && said.contains("--trusted-network"),
        "{said}"
    );
    let variables = [
        ("SANDPIPER_INGRESS_OPEN", "true"),
        ("SANDPIPER_INGRESS_TRUSTED_NETWORK", "true"),
    ];
    assert!(refused(&[], &variables).contains("--trusted-network"));
    assert!(refused(&["--open=flase"], &[]).contains("--open"));
}

#[test]
fn a_bad_value_names_its_option_and_its_bound() {
    for (option, value, bound) in [
        ("--url-bytes", "63", "64 to 65536 bytes"),
        ("--header-bytes", "1", "256 to 65536 bytes"),
        ("--header-bytes", "1GiB", "256 to 65536 bytes"),
        ("--body-bytes", "0", "1024 to 67108864 bytes"),
        ("--source-bytes", "2MiB", "1 to 1048576 bytes"),
        ("--sources-bytes", "0", "1 to 1099511627776 bytes"),
        ("--log", ",", "error, warn, info"),
        ("--log", "inof", "error, warn, info"),
        ("--header-timeout-ms", "9", "10..=600000"),
    ] {
        let said = refused(&[option, value], &[]);
        assert!(said.contains(option) && said.contains(bound), "{said}");
    }
}

#[test]
fn a_demonstration_runs_code_and_shows_it_by_its_id_alone() {
    let service = service(&["--port", "0"]);
    let ingress = ingress(service.port, &["--open"]);
    assert_eq!(ingress.execute("1 + 2").json()["result"], json!(3));
    let submitted = ingress.send("POST", "/api/jobs", &[], r#"{"code":"6 * 7"}"#);
    assert_eq!(submitted.status, 202);
    let job = submitted.header("location");
    let read = ingress.send("GET", job, &["prefer: wait=10"], "");
    assert_eq!(read.json()["execution"]["result"], 42);
    assert_eq!(ingress.get(&format!("{job}/events")).status, 200);
    for (method, target) in [
        ("GET", "/api/jobs"),
        ("GET", "/api/jobs?limit=1"),
        ("HEAD", "/api/jobs"),
        ("GET", "/api/nodes"),
        ("GET", "/api/metrics"),
    ] {
        let answer = ingress.send(method, target, &[], "");
        assert_eq!(answer.status, 403, "{method} {target}");
        if method == "GET" {
            assert_eq!(answer.code(), "not_listed");
            assert!(answer.message.text().contains("--open"));
        }
    }
    assert_eq!(ingress.get("/api/jobs/").code(), "invalid_path");
    for target in [
        "/api",
        "/api/scripts",
        "/api/health/ready",
        "/api/docs",
        "/api/openapi.json",
    ] {
        assert_eq!(ingress.get(target).status, 200, "{target}");
    }
}
