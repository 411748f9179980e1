//! The command line: one script without a server, the report of the isolation layers, and errors that name the option.

use crate::support::{Service, descendants_of, eventually, is_alive};
use serde_json::Value;
use std::io::Write as _;
use std::net::TcpListener;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

const SOON: Duration = crate::support::SOON;

fn sandpiper(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sandpiper"));
    command
        .args(arguments)
        .env("SANDPIPER_STORE", "memory")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::null());
    command
}

fn output(arguments: &[&str]) -> Output {
    sandpiper(arguments).output().unwrap()
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

fn execution(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

fn with_stdin(arguments: &[&str], text: &[u8]) -> Output {
    let mut child = sandpiper(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(text).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn run_prints_the_execution_and_its_exit_status_tells_success() {
    let succeeded = output(&["run", "example-scripts/simple.js"]);
    assert_eq!(succeeded.status.code(), Some(0), "{succeeded:?}");
    let shown = execution(&succeeded);
    assert_eq!(shown["status"], "success");
    assert_eq!(shown["result"], 3);
    assert_eq!(shown["limits"]["timeoutMs"], 2000);

    let threw = output(&["run", "example-scripts/error.js"]);
    assert_eq!(threw.status.code(), Some(1));
    assert_eq!(execution(&threw)["outcome"], "threw");
    assert_eq!(execution(&threw)["error"]["fileName"], "error.js");
}

#[test]
fn run_takes_input_a_seed_and_limits() {
    let with_input = output(&["run", "example-scripts/pi.js", "--input", "5"]);
    assert_eq!(execution(&with_input)["result"], "3.14159");
    let random = |seed: &str| {
        execution(&output(&[
            "run",
            "example-scripts/random.js",
            "--seed",
            seed,
        ]))
    };
    assert_eq!(random("7")["result"], random("7")["result"]);
    assert_ne!(random("7")["result"], random("8")["result"]);
    // As in a request, a negative number is the same 64 bits.
    assert_eq!(
        random("-1")["result"],
        random("18446744073709551615")["result"]
    );
    let endless = output(&["run", "example-scripts/infinite.js", "--timeout-ms", "100"]);
    assert_eq!(endless.status.code(), Some(1));
    assert_eq!(execution(&endless)["outcome"], "timed_out");
    assert_eq!(execution(&endless)["limits"]["timeoutMs"], 100);
}

#[test]
fn run_may_have_more_than_a_client_could_ask_for() {
    // The person who starts the command is the operator: the only maximum is the option's own.
    let run = output(&[
        "run",
        "example-scripts/simple.js",
        "--timeout-ms",
        "60000",
        "--memory-bytes",
        "512MiB",
    ]);
    assert_eq!(execution(&run)["limits"]["timeoutMs"], 60_000);
    assert_eq!(execution(&run)["result"], 3);
}

#[test]
fn run_reads_a_dash_as_standard_input() {
    let run = with_stdin(&["run", "-", "--input", "[40, 2]"], b"input[0] + input[1]");
    assert_eq!(run.status.code(), Some(0), "{run:?}");
    assert_eq!(execution(&run)["result"], 42);
}

#[test]
fn a_script_that_run_cannot_run_is_one_line_of_error_and_exit_status_2() {
    let rows: [(&[&str], &str); 4] = [
        (&["run", "missing.js"], "missing.js"),
        (&["run", "example-scripts"], "example-scripts"),
        (
            &["run", "example-scripts/simple.js", "--input", "{"],
            "--input",
        ),
        (
            &[
                "run",
                "example-scripts/simple.js",
                "--min-isolation",
                "L4",
                "--max-isolation",
                "L3",
            ],
            "--min-isolation",
        ),
    ];
    for (arguments, named) in rows {
        let refused = output(arguments);
        assert_eq!(refused.status.code(), Some(2), "{refused:?}");
        assert!(refused.stdout.is_empty());
        assert!(stderr(&refused).contains(named), "{refused:?}");
        assert_eq!(stderr(&refused).lines().count(), 1, "{refused:?}");
    }
    for text in [b"a\0b".as_slice(), b"'\xff'", &[b' '; (1 << 20) + 1]] {
        let refused = with_stdin(&["run", "-"], text);
        assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    }
}

#[test]
fn doctor_lists_every_isolation_layer_and_the_level() {
    let doctor = output(&["doctor"]);
    assert_eq!(doctor.status.code(), Some(0), "{doctor:?}");
    let report = String::from_utf8(doctor.stdout).unwrap();
    let lines: Vec<&str> = report.lines().collect();
    for layer in [
        "fork",
        "seccomp",
        "unprivileged_user",
        "no_new_privileges",
        "rlimits",
        "landlock",
        "namespaces",
    ] {
        let line = lines
            .iter()
            .find(|line| line.split_whitespace().nth(1) == Some(layer));
        let line = line.unwrap_or_else(|| panic!("{layer} is not in {report}"));
        assert!(
            line.starts_with("present") || line.starts_with("absent"),
            "{line}"
        );
        let remedy = sandpiper_sandbox_client::remedy(layer);
        assert!(remedy.is_some_and(|remedy| remedy.len() > 20), "{layer}");
        // With a reason.
        assert!(line.split_whitespace().count() > 3, "{line}");
    }
    let level = lines.last().unwrap().strip_prefix("isolation: ").unwrap();
    assert!(["L2", "L3", "L4"].contains(&level), "{report}");
}

#[test]
fn doctor_stops_at_the_highest_level_and_refuses_a_minimum_above_it() {
    // With or without landlock on this machine, no layer above L2 is tested here.
    let doctor = output(&["doctor", "--max-isolation", "L2"]);
    assert_eq!(doctor.status.code(), Some(0), "{doctor:?}");
    let report = String::from_utf8(doctor.stdout).unwrap();
    for layer in ["landlock", "namespaces"] {
        assert_eq!(lines_of(&report, layer).len(), 2, "{report}");
    }
    assert!(report.ends_with("isolation: L2\n"), "{report}");

    let contradiction = output(&["doctor", "--max-isolation", "L2", "--min-isolation", "L3"]);
    assert_eq!(contradiction.status.code(), Some(2), "{contradiction:?}");
    for option in ["--min-isolation", "--max-isolation"] {
        assert!(stderr(&contradiction).contains(option), "{contradiction:?}");
    }
}

/// Returns the line of `layer` in doctor's report, and the line on how to enable it, if it is missing.
fn lines_of<'a>(report: &'a str, layer: &str) -> Vec<&'a str> {
    let mut lines = report.lines().skip_while(|line| !line.contains(layer));
    let own = lines.next().into_iter();
    own.chain(lines.take_while(|line| line.contains("to enable it: ")))
        .collect()
}

#[test]
fn speculation_control_is_shown_and_can_be_switched_off() {
    let report = |arguments: &[&str]| {
        let doctor = output(arguments);
        assert_eq!(doctor.status.code(), Some(0), "{doctor:?}");
        String::from_utf8(doctor.stdout).unwrap()
    };
    // The report names both, whatever this kernel allows.
    let auto = report(&["doctor"]);
    let line = lines_of(&auto, "speculation_control")[0];
    assert!(
        line.contains("store bypass: ") && line.contains("indirect branches: "),
        "{auto}"
    );
    let off = report(&["doctor", "--speculation-control", "off"]);
    let line = lines_of(&off, "speculation_control")[0];
    assert!(
        line.contains("not tried: --speculation-control is off"),
        "{off}"
    );
    let level = |report: &str| report.lines().last().map(str::to_owned);
    assert_eq!(level(&auto), level(&off));
}

#[test]
fn options_that_do_not_fit_together_are_both_named() {
    for (arguments, first, second) in [
        (
            ["--min-isolation", "L4", "--max-isolation", "L3"],
            "--min-isolation",
            "--max-isolation",
        ),
        (
            ["--timeout-ms", "9000", "--timeout-ms-ceiling", "5000"],
            "--timeout-ms ",
            "--timeout-ms-ceiling",
        ),
        (
            ["--memory-bytes", "9MiB", "--memory-bytes-ceiling", "8MiB"],
            "--memory-bytes ",
            "--memory-bytes-ceiling",
        ),
        (
            ["--output-bytes", "9MiB", "--output-bytes-ceiling", "8MiB"],
            "--output-bytes ",
            "--output-bytes-ceiling",
        ),
    ] {
        for command in [&["serve", "--port", "0"][..], &["--port", "0"]] {
            let refused = output(&[command, &arguments].concat());
            assert_eq!(refused.status.code(), Some(2), "{refused:?}");
            let said = stderr(&refused);
            assert!(said.contains(first) && said.contains(second), "{said}");
        }
    }
}

#[test]
fn a_bad_value_names_its_option_and_its_bound() {
    for (option, value, bound) in [
        ("--port", "65536", "65535"),
        ("--port", "http", "http"),
        ("--host", "example.org", "127.0.0.1"),
        ("--executors", "0", "1..=256"),
        ("--executors", "many", "many"),
        ("--timeout-ms", "0", "1..=86400000"),
        ("--memory-bytes", "1KiB", "1048576"),
        ("--memory-bytes", "-1", "memory-bytes"),
        ("--memory-bytes", "5TiB", "4294967296"),
        ("--output-bytes", "255", "256"),
        ("--body-bytes", "64GiB", "67108864"),
        ("--body-timeout-ms", "99", "100..=600000"),
        ("--header-timeout-ms", "999", "1000..=600000"),
        ("--queue-interactive", "0", "1..=1000000"),
        ("--queue-bytes", "1", "1048576"),
        ("--result-ttl-s", "0", "1..=2592000"),
        ("--wait-max-s", "3601", "0..=3600"),
        ("--drain-ms", "600001", "0..=600000"),
        ("--min-isolation", "L9", "L2"),
        ("--store", "postgres", "sqlite:PATH"),
        ("--netcheck-host", "example.org", "netcheck-host"),
        ("--client-header", "not a header", "client-header"),
        ("--client-header", "Host", "that is free"),
        ("--client-header", "content-length", "that is free"),
        ("--log-format", "xml", "json"),
        ("--kill-grace-ms", "10001", "0..=10000"),
    ] {
        let refused = output(&["serve", &format!("{option}={value}")]);
        assert_eq!(
            refused.status.code(),
            Some(2),
            "{option} {value}: {refused:?}"
        );
        let said = stderr(&refused);
        assert!(
            said.contains(option) && said.contains(bound),
            "{option} {value}: {said}"
        );
    }
    let filter = output(&["serve", "--port", "0", "--log", "sandpiper=loud"]);
    assert_eq!(filter.status.code(), Some(2));
    assert!(stderr(&filter).contains("--log"), "{filter:?}");
}

#[test]
fn every_option_can_be_given_by_its_environment_variable() {
    for (variable, value, named) in [
        ("HOST", "nowhere", "--host"),
        ("PORT", "-1", "--port"),
        ("SANDPIPER_EXECUTORS", "0", "--executors"),
        ("SANDPIPER_TIMEOUT_MS", "x", "--timeout-ms"),
        ("SANDPIPER_MIN_ISOLATION", "L1", "--min-isolation"),
        ("SANDPIPER_QUEUE_BACKGROUND", "0", "--queue-background"),
        ("SANDPIPER_STORE", "floppy", "--store"),
    ] {
        for arguments in [&["serve"][..], &[]] {
            let refused = sandpiper(arguments).env(variable, value).output().unwrap();
            assert_eq!(refused.status.code(), Some(2), "{variable}: {refused:?}");
            assert!(stderr(&refused).contains(named), "{variable}: {refused:?}");
        }
    }
}

#[test]
fn a_variable_that_is_set_does_not_keep_a_command_from_running() {
    for (variable, value) in [
        ("PORT", "9000"),
        ("HOST", "0.0.0.0"),
        ("SANDPIPER_EXECUTORS", "2"),
        ("SANDPIPER_TIMEOUT_MS", "15000"),
        ("SANDPIPER_MIN_ISOLATION", "L2"),
    ] {
        let run = sandpiper(&["run", "example-scripts/simple.js"])
            .env(variable, value)
            .output()
            .unwrap();
        assert_eq!(run.status.code(), Some(0), "{variable}: {run:?}");
        let doctor = sandpiper(&["doctor"])
            .env(variable, value)
            .output()
            .unwrap();
        assert_eq!(doctor.status.code(), Some(0), "{variable}: {doctor:?}");
    }
    let run = sandpiper(&["run", "example-scripts/simple.js"])
        .env("SANDPIPER_TIMEOUT_MS", "15000")
        .output()
        .unwrap();
    assert_eq!(execution(&run)["limits"]["timeoutMs"], 15000);
}

#[test]
fn a_flag_wins_over_its_variable() {
    let run = sandpiper(&["run", "example-scripts/simple.js", "--timeout-ms", "700"])
        .env("SANDPIPER_TIMEOUT_MS", "15000")
        .output()
        .unwrap();
    assert_eq!(execution(&run)["limits"]["timeoutMs"], 700);
}

#[test]
fn a_run_that_is_killed_leaves_no_process_behind() {
    let mut child = sandpiper(&["run", "-", "--timeout-ms", "60000"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"for (;;);").unwrap();
    eventually(SOON, "the script runs", || {
        descendants_of(child.id()).len() >= 2
    });
    let processes = descendants_of(child.id());
    child.kill().unwrap();
    child.wait().unwrap();
    eventually(SOON, "every process is gone", || {
        !processes.iter().any(|pid| is_alive(*pid))
    });
}

#[test]
fn health_asks_the_service_that_runs_here_and_its_exit_status_is_the_answer() {
    let ask = |port: u16, host: &str| {
        let mut command = sandpiper(&["health"]);
        command.env("PORT", port.to_string()).env("HOST", host);
        command.output().unwrap()
    };
    let service = Service::start();
    for host in ["127.0.0.1", "0.0.0.0", "localhost"] {
        let ready = ask(service.port, host);
        assert_eq!(ready.status.code(), Some(0), "{ready:?}");
        assert_eq!(execution(&ready)["status"], "UP");
    }
    // Its last job runs on for a while after the signal: the service responds, and rejects work.
    let port = service.port;
    service.submit(&serde_json::json!({"code": "while (true);", "limits": {"timeoutMs": 5000}}));
    service.signal(libc::SIGTERM);
    eventually(SOON, "it says that it is draining", || {
        let draining = ask(port, "127.0.0.1");
        draining.status.code() == Some(1)
            && String::from_utf8_lossy(&draining.stdout).contains("draining")
    });
    drop(service);
    let gone = ask(port, "127.0.0.1");
    assert_eq!(gone.status.code(), Some(1));
    let said = String::from_utf8_lossy(&gone.stdout);
    assert!(said.contains("does not respond"), "{said}");
}

#[test]
fn health_gives_up_on_a_service_that_says_nothing() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port().to_string();
    let gives_up_after = |timeout_ms: &str| {
        let start = Instant::now();
        let asked = output(&["health", "--port", &port, "--timeout-ms", timeout_ms]);
        assert_eq!(asked.status.code(), Some(1));
        start.elapsed()
    };
    assert!(gives_up_after("200") < gives_up_after("4000"));
}
