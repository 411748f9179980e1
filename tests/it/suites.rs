//! `tests/suites`, which `make test` runs: every suite runs, and the end lists the failures.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Output of cargo in which one binary has failures and another was killed.
const RUST: &str = r#"     Running unittests src/lib.rs (target/debug/deps/sandpiper-0)
test a::passes ... ok

test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s

     Running tests/it/main.rs (target/debug/deps/it-0)
test limits::fails ... FAILED

failures:

---- limits::fails stdout ----
    a line of a log, which is no name

failures:
    limits::fails

test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s

     Running tests/walls/main.rs (target/debug/deps/walls-0)
error: 2 targets failed:
    `-p sandpiper --test it`
    `-p sandpiper --test walls`
"#;

/// Output of Playwright.
const PAGE: &str = "
  1 failed
    page.spec.ts:53:1 › the page opens ───────────────────
  22 passed (1.0m)
";

/// Stand-ins for cargo and npm, in a folder of the test's own.
struct Programs(PathBuf);

impl Programs {
    fn new(name: &str) -> Self {
        let folder = format!("sandpiper-suites-{name}-{}", std::process::id());
        let folder = std::env::temp_dir().join(folder);
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    /// Makes `program` print `says` and exit with `status`.
    fn stand_in(&self, program: &str, says: &str, status: u8) -> &Self {
        fs::write(self.0.join(format!("{program}.says")), says).unwrap();
        let file = self.0.join(program);
        let script = format!("#!/bin/sh\ncat \"$0.says\"\nexit {status}\n");
        fs::write(&file, script).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        self
    }

    fn run(&self, suites: &[&str]) -> (Output, String) {
        let project = Path::new(env!("CARGO_MANIFEST_DIR"));
        let path = format!("{}:/usr/bin:/bin", self.0.display());
        let output = Command::new(project.join("tests/suites"))
            .args(suites)
            .env("PATH", path)
            .env("CARGO", "cargo")
            .env("TRIPLE", "host")
            .env("CARGO_TARGET_DIR", &self.0)
            .output()
            .unwrap();
        let said = String::from_utf8(output.stdout.clone()).unwrap();
        (output, said)
    }
}

impl Drop for Programs {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_failure_stops_no_suite_and_the_end_lists_every_failed_test() {
    let programs = Programs::new("fail");
    programs
        .stand_in("cargo", RUST, 101)
        .stand_in("npm", PAGE, 1);
    let (output, said) = programs.run(&["rust", "page"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let (_, end) = said.split_once("\nrust: 3 passed, 1 failed\n").unwrap();
    let lines: Vec<&str> = end.lines().collect();
    assert_eq!(lines[0], "page: 22 passed, 1 failed");
    assert!(lines[1].starts_with("FAILED: rust "), "{end}");
    let of_rust = [
        "  tests/it/main.rs limits::fails",
        "  to run again: cargo test -p sandpiper --test it",
        "  to run again: cargo test -p sandpiper --test walls",
    ];
    assert_eq!(lines[2..5], of_rust, "{end}");
    assert!(lines[5].starts_with("FAILED: page "), "{end}");
    assert_eq!(lines[6], "  page.spec.ts:53:1 › the page opens");
    assert_eq!(lines.len(), 7, "{end}");
}

#[test]
fn when_everything_passes_the_end_says_how_many_and_the_status_is_0() {
    let programs = Programs::new("pass");
    let passed = "test result: ok. 7 passed; 0 failed; 0 ignored\nNOT TESTED: gVisor\n";
    programs.stand_in("cargo", passed, 0);
    let (output, said) = programs.run(&["rust"]);
    assert!(output.status.success(), "{output:?}");
    assert!(
        said.ends_with("\nrust: 7 passed, 0 failed\nNOT TESTED: gVisor\n"),
        "{said}"
    );
}
