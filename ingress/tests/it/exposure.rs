//! The access that the ingress allows by default, and the options that allow more.

use super::support::{Folder, OK, Scripted, ingress, service};
use serde_json::json;
use std::process::{Command, Output};

/// Starts an ingress that must fail, and returns its error.
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
fn an_address_that_other_machines_reach_needs_an_access_option() {
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
        // The setting of compose with keys.
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
fn the_ingress_listens_on_loopback_by_default() {
    let help = Command::new(env!("CARGO_BIN_EXE_sandpiper-ingress"))
        .args(["serve", "--help"])
        .output()
        .unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let (_, host) = help.split_once("--host").unwrap();
    assert!(host.trim_start().contains("[default: 127.0.0.1]"));
    let service = Scripted::answering(OK);
    for host in ["127.0.0.1", "127.0.0.2", "localhost"] {
        // `connect` of the tests goes to 127.0.0.1, so it cannot be used here.
        ingress(service.port, &["--host", host]);
    }
}

#[test]
fn contradicting_options_fail_the_start() {
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
fn an_invalid_value_is_reported_with_option_and_bound() {
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
fn a_demonstration_runs_code_and_shows_jobs_by_id_alone() {
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
