//! The limit of open files: a limit that is too low fails the start with a message.

use crate::support::Running;
use std::process::{Command, Output, Stdio};

/// Returns the command of an ingress that may open this many files.
fn limited_to(files: usize) -> Command {
    let mut command = Command::new("sh");
    command
        .args([
            "-c",
            &format!("ulimit -n {files} && exec \"$0\" \"$@\""),
            env!("CARGO_BIN_EXE_sandpiper-ingress"),
        ])
        .args(["--host", "127.0.0.1", "--port", "0", "--http-workers", "2"])
        .current_dir(std::env::temp_dir());
    command
}

fn try_with(files: usize) -> Output {
    let mut command = limited_to(files);
    command.stdin(Stdio::null()).output().unwrap()
}

#[test]
fn a_limit_of_open_files_that_is_too_low_is_reported_with_the_limit_that_suffices() {
    let refusal = String::from_utf8(try_with(32).stderr).unwrap();
    let number = refusal.split("at least ").nth(1).unwrap();
    let needed: usize = number.split(' ').next().unwrap().parse().unwrap();
    for files in 3..needed {
        let ended = try_with(files);
        let said = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(2), "{files}: {said}");
        for part in ["RLIMIT_NOFILE", &format!("at least {needed} are needed")] {
            assert!(said.contains(part), "{files}: {said}");
        }
        assert!(!said.contains("panicked"), "{files}: {said}");
    }
    for files in [needed, needed + 1, needed + 100] {
        let ingress = Running::start(limited_to(files));
        let kept: Vec<_> = (0..15).map(|_| ingress.connect()).collect();
        assert_eq!(ingress.get("/ingress/live").status, 200);
        drop(kept);
    }
}
