//! A script that does something else than its log says has diverged, and nothing is called.

use crate::driver::{Driver, draft, error, result, sandbox, value};
use sandpiper_domain::tools::{ReplayLog, RoundEnd};
use sandpiper_domain::{Outcome, Script};

const NAMES: [&str; 2] = ["f", "g"];
const RECORDED: &str = "console.log('start'); const a = await tools.f({ a: 1, b: [2] }); const b = await tools.g(a); b";

/// Returns the log of [`RECORDED`], with its first call answered, and its second open.
fn recorded() -> ReplayLog {
    let mut sandbox = sandbox();
    let mut driver = Driver::new(&mut sandbox, RECORDED, &NAMES);
    driver.round(&[]);
    driver.now_ms += 10;
    let answer = sandpiper_domain::tools::Arrived {
        seq: 0,
        arrived_ms: driver.now_ms,
        result: value("5"),
    };
    assert!(matches!(driver.round(&[answer]), RoundEnd::Suspended(_)));
    driver.log
}

/// Returns the message of `code` along that log, with its second call answered.
fn message(code: &str) -> String {
    let log = recorded();
    let mut sandbox = sandbox();
    let mut driver = Driver::of(&mut sandbox, Script::new(draft(code, &NAMES)).unwrap());
    driver.now_ms += 20;
    let answer = sandpiper_domain::tools::Arrived {
        seq: 1,
        arrived_ms: driver.now_ms,
        result: value("6"),
    };
    driver.log = log;
    let round = driver.run(&[answer], false);
    assert!(round.calls.is_empty() && round.records.is_empty(), "{code}");
    let RoundEnd::Finished(execution) = round.end else {
        panic!("{code}: {round:?}")
    };
    assert_eq!(execution.outcome, Outcome::Diverged, "{code}");
    let (name, message) = error(&execution);
    assert_eq!(name, "DivergedError");
    message
}

#[test]
fn a_mismatch_in_name_argument_order_or_text_is_told_with_both() {
    for (from, to, said) in [
        (
            "tools.f({ a: 1, b: [2] })",
            "tools.g({ a: 1, b: [2] })",
            "call 0 is `g`",
        ),
        ("a: 1", "a: 3", r#"was `f` with {"a":1,"b":[2]} in the log"#),
        (
            "tools.g(a)",
            "tools.g(a + 1)",
            "call 1 is `g` with 6 now, and was `g` with 5 in the log",
        ),
        ("const b", "tools.f(1); const b", "call 1 is `f` with 1"),
        (
            "'start'",
            "'begin'",
            "the script logs another text than before",
        ),
        (
            "console.log('start');",
            "",
            "the script logs another text than before",
        ),
        (
            "await tools.f",
            "console.log(2); await tools.f",
            r#"the script logs [2], and the log has no such entry here"#,
        ),
        (
            "await tools.g(a)",
            "1",
            "the script ends here (succeeded), and its log goes on",
        ),
        (
            "const b",
            "throw new Error('x'); const b",
            "the script ends here (threw: x)",
        ),
        (
            "const b =",
            "tools.g(a); const b =",
            "the log has no such call here",
        ),
        (
            "await tools.g(a)",
            "await new Promise((done) => setTimeout(done, 1e6))",
            "does not call `g` with 5 any more",
        ),
        (
            "const a = await tools.f({ a: 1, b: [2] })",
            "const a = 5; await new Promise((done) => setTimeout(done, 5))",
            "where the script has not made that call",
        ),
    ] {
        assert!(RECORDED.contains(from));
        let message = message(&RECORDED.replace(from, to));
        assert!(message.contains(said), "{from} → {to}: {message}");
        assert!(message.contains("Nothing was called"), "{message}");
    }
}

#[test]
fn the_order_of_keys_does_not_matter() {
    let log = recorded();
    let mut sandbox = sandbox();
    let code = RECORDED.replace("a: 1, b: [2]", "b: [2.0], a: 1");
    let mut driver = Driver::of(&mut sandbox, Script::new(draft(&code, &NAMES)).unwrap());
    driver.log = log;
    driver.now_ms += 20;
    let answer = sandpiper_domain::tools::Arrived {
        seq: 1,
        arrived_ms: driver.now_ms,
        result: value("6"),
    };
    let RoundEnd::Finished(execution) = driver.round(&[answer]) else {
        panic!("it did not finish")
    };
    assert_eq!(result(&execution), "6");
}

#[test]
fn another_build_is_named_as_the_cause() {
    let mut log = recorded();
    let text = String::from_utf8(log.to_bytes()).unwrap();
    let text = text.replace(log.fingerprint(), "0123456789abcdef");
    log = ReplayLog::from_bytes(text.as_bytes()).unwrap();
    let mut sandbox = sandbox();
    let code = RECORDED.replace("a: 1", "a: 2");
    let mut driver = Driver::of(&mut sandbox, Script::new(draft(&code, &NAMES)).unwrap());
    driver.log = log.clone();
    let RoundEnd::Finished(execution) = driver.run(&[], false).end else {
        panic!("it did not finish")
    };
    assert!(
        error(&execution)
            .1
            .contains("Build 0123456789abcdef of the sandbox made the log")
    );
    // A script that does the same goes on under another build.
    let mut driver = Driver::new(&mut sandbox, RECORDED, &NAMES);
    driver.log = log;
    assert!(matches!(driver.run(&[], false).end, RoundEnd::Suspended(_)));
}

#[test]
fn a_strict_replay_calls_nothing() {
    let mut sandbox = sandbox();
    let mut driver = Driver::new(&mut sandbox, RECORDED, &NAMES);
    let execution = driver.finish(|_| (10, value("5")));
    let round = driver.run(&[], true);
    assert!(round.calls.is_empty() && round.records.is_empty());
    let RoundEnd::Finished(again) = &round.end else {
        panic!("{round:?}")
    };
    assert_eq!(
        (result(again), &again.log),
        (result(&execution), &driver.console)
    );
    driver.script =
        Script::new(draft(&RECORDED.replace("tools.g(a)", "tools.g(0)"), &NAMES)).unwrap();
    let RoundEnd::Finished(other) = driver.run(&[], true).end else {
        panic!("it did not finish")
    };
    assert_eq!(other.outcome, Outcome::Diverged);
}
