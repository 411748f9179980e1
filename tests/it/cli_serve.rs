//! `sandpiper serve` on the command line: its address, and the errors that prevent its start.

use crate::support::Service;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};

/// Runs a start that must fail, and returns its error.
fn refused(options: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_sandpiper"))
        .arg("serve")
        .args(options)
        .env("SANDPIPER_STORE", "memory")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    output
}

fn folder(name: &str, files: &[(&str, &str)]) -> String {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&folder).unwrap();
    for (file, text) in files {
        std::fs::write(folder.join(file), text).unwrap();
    }
    folder.into_os_string().into_string().unwrap()
}

#[test]
fn a_port_that_is_taken_is_named() {
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let by_flag = refused(&["--port", &port]);
    let by_variable = Command::new(env!("CARGO_BIN_EXE_sandpiper"))
        .env("PORT", &port)
        .env("HOST", "localhost")
        .env("SANDPIPER_STORE", "memory")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    for output in [by_flag, by_variable] {
        assert_eq!(output.status.code(), Some(2));
        let said = String::from_utf8(output.stderr).unwrap();
        let last = said.lines().last().unwrap();
        assert!(last.contains(&format!("127.0.0.1:{port}")), "{said}");
    }
}

#[test]
fn a_folder_of_scripts_that_cannot_be_used_is_named_with_what_is_wrong() {
    let no_expectation = folder("no-expectation", &[("a.js", "1\n")]);
    let nul = folder("nul", &[("a.js", "// expect: 1\n\0\n")]);
    for (path, what) in [
        ("/nonexistent/scripts", "/nonexistent/scripts"),
        ("Cargo.toml", "Cargo.toml"),
        (&no_expectation, "// expect:"),
        (&nul, "NUL"),
    ] {
        let said =
            String::from_utf8(refused(&["--port", "0", "--scripts-dir", path]).stderr).unwrap();
        assert!(
            said.contains("--scripts-dir") && said.contains(what),
            "{said}"
        );
    }
}

#[test]
fn another_folder_of_scripts_is_what_clients_then_see() {
    let own = folder(
        "own",
        &[
            ("own.js", "// expect: 7\n// Ours.\n7\n"),
            ("notes.txt", "no script"),
        ],
    );
    let service = Service::start_with(&["--scripts-dir", &own]);
    let list = service.get("/api/scripts").json();
    assert_eq!(list["scripts"].as_array().unwrap().len(), 1);
    assert_eq!(
        service.execute(&serde_json::json!({ "file": "own.js" }))["result"],
        7
    );
    assert_eq!(service.get("/api/scripts/simple.js").status, 404);
}

#[test]
fn the_service_listens_at_the_given_address() {
    for host in ["127.0.0.1", "localhost", "0.0.0.0"] {
        let service = Service::start_with(&["--host", host]);
        assert_eq!(service.result("1 + 2"), 3, "{host}");
    }
}

#[test]
fn errors_of_options_are_plain_text_in_every_log_format() {
    let output = refused(&[
        "--port",
        "0",
        "--log-format",
        "json",
        "--scripts-dir",
        "/nonexistent",
    ]);
    // Errors of options are for the person at the terminal, not for a log collector.
    assert!(
        output.stderr.starts_with(b"sandpiper: --scripts-dir"),
        "{output:?}"
    );
}
