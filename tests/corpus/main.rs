//! The whole corpus of `sandpiper selftest`, at each isolation level that a container may have. The binary is separate
//! so that the corpus takes no processor from other tests.

#![allow(clippy::unwrap_used)] // a test says what it expects by unwrapping

use std::process::Command;

/// Runs the whole corpus, and prints the report if any script did not end as expected.
fn every_script_ends_as_it_must_at(level: &str) {
    let done = Command::new(env!("CARGO_BIN_EXE_sandpiper"))
        .args(["selftest", "--max-isolation", level])
        // Other tests, builds and programs may share the machine.
        .args(["--time-factor", "24"])
        .output()
        .unwrap();
    let account = String::from_utf8(done.stdout).unwrap();
    let said = String::from_utf8(done.stderr).unwrap();
    assert_eq!(done.status.code(), Some(0), "{account}\n{said}");
    assert!(account.ends_with("as expected, 0 not\n"), "{account}");
    let scripts: usize = account
        .lines()
        .skip(1) // the head of the table
        .filter_map(|line| line.split_whitespace().nth(1)?.parse::<usize>().ok())
        .sum();
    assert!(scripts > 2_900, "{account}");
}

#[test]
fn every_script_ends_as_it_must_at_l3() {
    every_script_ends_as_it_must_at("L3");
}

#[test]
fn every_script_ends_as_it_must_at_l2() {
    every_script_ends_as_it_must_at("L2");
}
