//! The limits of executions with tools.

use crate::driver::{Driver, START_MS, error, limits, result, sandbox, value};
use sandpiper_domain::tools::{Arrived, CallState, Refusal, RoundEnd, ToolLimits};
use sandpiper_domain::{Limit, Outcome};

const NAMES: [&str; 1] = ["f"];
const CATCHES: &str = "const call = (v) => tools.f(v).then((r) => 'ok', (e) => e.code);";

#[test]
fn calls_beyond_the_most_fail_and_are_in_the_log() {
    let mut sandbox = sandbox();
    let code = format!(
        "{CATCHES} const all = []; for (let i = 0; i < 5; i++) all.push(await call(i)); all"
    );
    let mut driver = Driver::new(&mut sandbox, &code, &NAMES);
    driver.tool_limits.calls_max = 3;
    let execution = driver.finish(|_| (1, value("1")));
    assert_eq!(
        result(&execution),
        r#"["ok","ok","ok","too_many_calls","too_many_calls"]"#
    );
    let refused: Vec<_> = driver.log.calls().iter().map(|call| call.refused).collect();
    assert_eq!(refused[3..], [Some(Refusal::TooManyCalls); 2]);
    assert!(driver.log.answer(4).is_some());
}

#[test]
fn an_argument_that_is_too_long_fails_and_is_not_shown() {
    let mut sandbox = sandbox();
    let code = format!(
        "{CATCHES} [await call('x'.repeat(98)), await call('x'.repeat(99)), await call(1)]"
    );
    let mut driver = Driver::new(&mut sandbox, &code, &NAMES);
    driver.tool_limits.argument_bytes = 100;
    let execution = driver.finish(|_| (1, value("1")));
    assert_eq!(result(&execution), r#"["ok","argument_too_large","ok"]"#);
    assert!(driver.log.call(1).unwrap().argument.is_none());
}

#[test]
fn a_log_without_room_fails_calls_and_answers() {
    let mut sandbox = sandbox();
    let code = format!(
        "{CATCHES} [await call(1), await call(2), await call('x'.repeat(3000)), await call(3)]"
    );
    let mut driver = Driver::new(&mut sandbox, &code, &NAMES);
    driver.tool_limits.log_bytes = 3_300;
    let long = format!("\"{}\"", "r".repeat(1_000));
    let execution = driver.finish(|call| match call.seq {
        1 => (1, value(&format!("\"{}\"", "r".repeat(2_000)))),
        _ => (1, value(&long)),
    });
    assert_eq!(result(&execution), r#"["ok","log_full","log_full","ok"]"#);
    // Each has its number, one answer, and a place in the receipt.
    let refused: Vec<_> = driver.log.calls().iter().map(|call| call.refused).collect();
    assert_eq!(refused, [None, None, Some(Refusal::LogFull), None]);
    assert!(driver.log.call(2).unwrap().argument.is_none());
    assert_eq!(driver.log.answers().count(), 4);
}

#[test]
fn a_script_that_goes_on_to_call_without_room_ends() {
    let mut sandbox = sandbox();
    for code in [
        "for (;;) await tools.f(1).catch(() => 0)",
        "for (;;) tools.f('x'.repeat(100)).catch(() => 0)",
    ] {
        for (calls_max, log_bytes) in [(3, 1 << 20), (1_000, 3_000)] {
            let mut driver = Driver::new(&mut sandbox, code, &NAMES);
            driver.tool_limits.calls_max = calls_max;
            driver.tool_limits.log_bytes = log_bytes;
            let execution = driver.finish(|_| (1, value("1")));
            assert_eq!(execution.outcome, Outcome::TimedOut, "{execution:?}");
            assert_eq!(execution.limit_hit(), Some(Limit::CallsMax));
            let calls = driver.log.calls();
            let refused = calls.iter().filter(|call| call.refused.is_some()).count();
            assert_eq!(refused, 1_000, "{}", calls.len());
        }
    }
}

#[test]
fn a_round_that_a_limit_ends_tells_what_it_did() {
    let mut sandbox = sandbox();
    for (end, outcome) in [
        (
            "const all = []; for (;;) all.push(new Array(1000).fill(all.length))",
            Outcome::MemoryExceeded,
        ),
        ("new Uint8Array(1e9)", Outcome::MemoryExceeded),
        (
            "const deep = () => 1 + deep(); deep()",
            Outcome::StackExceeded,
        ),
        ("for (;;);", Outcome::TimedOut),
    ] {
        let code = format!("const got = await tools.f(1); tools.f(2); console.log(got); {end}");
        let mut driver = Driver::new(&mut sandbox, &code, &NAMES);
        driver.limits = limits(1_000);
        driver.round(&[]);
        driver.now_ms += 10;
        let answer = Arrived {
            seq: 0,
            arrived_ms: START_MS + 5,
            result: value("7"),
        };
        let round = driver.run(&[answer], false);
        let RoundEnd::Finished(execution) = &round.end else {
            panic!("{round:?}")
        };
        assert_eq!(execution.outcome, outcome, "{execution:?}");
        assert_eq!(execution.log.len(), 1, "{end}");
        assert_eq!((round.calls.len(), round.records.len()), (1, 1), "{end}");
        driver.log.commit(&round);
        let states: Vec<_> = (driver.log.calls().iter())
            .map(|call| driver.log.state_of(call, true))
            .collect();
        assert_eq!(states, [CallState::Done, CallState::NotSent], "{end}");
    }
}

#[test]
fn a_script_that_wakes_too_often_ends_by_that_limit() {
    let mut sandbox = sandbox();
    let code = "setInterval(() => {}, 1000); await new Promise(() => {})";
    let mut driver = Driver::new(&mut sandbox, code, &NAMES);
    driver.tool_limits.wakes = 10;
    let execution = driver.finish(|_| unreachable!());
    assert_eq!(execution.outcome, Outcome::TimedOut);
    assert_eq!(execution.limit_hit(), Some(Limit::Wakes));
    assert_eq!(driver.log.wakes(), 10);
}

#[test]
fn own_time_is_summed_over_rounds_and_waiting_is_not_counted() {
    let mut sandbox = sandbox();
    let code = "const spin = (ms) => tools.f('spin').then(() => { let n = 0; for (let i = 0; i < ms * 4e4; i++) n += i; return n });
        for (let i = 0; i < 100; i++) await spin(20);";
    let mut driver = Driver::new(&mut sandbox, code, &NAMES);
    driver.limits = limits(600);
    let execution = driver.finish(|_| (100_000, value("1")));
    assert_eq!(execution.outcome, Outcome::TimedOut, "{execution:?}");
    assert!(driver.rounds > 2, "{}", driver.rounds);
}

#[test]
fn a_replay_that_fails_is_the_services_failure() {
    let mut sandbox = sandbox();
    let code = |turns: u64| format!("let n = 0; while (n < {turns}) n++; await tools.f(1)");
    let mut driver = Driver::new(&mut sandbox, &code(1_000_000), &NAMES);
    let million_micros = driver.run(&[], false).usage.own_micros.max(1);
    let micros = 2 * 1_000 * ToolLimits::REPLAY_LENIENCY_MS;
    let turns = micros * 1_000_000 / million_micros;
    let mut driver = Driver::new(&mut sandbox, &code(turns), &NAMES);
    driver.limits = limits(30_000);
    // The log says that the script took no time: it was made by a much faster machine.
    let mut round = driver.run(&[], false);
    assert!(matches!(round.end, RoundEnd::Suspended(_)), "{round:?}");
    round.usage.own_micros = 1;
    driver.log.commit(&round);
    let answer = Arrived {
        seq: 0,
        arrived_ms: START_MS,
        result: value("1"),
    };
    let round = driver.run(&[answer], false);
    assert!(matches!(round.end, RoundEnd::ReplayFailed(_)), "{round:?}");
    let before = driver.log.clone();
    driver.log.commit(&round);
    assert_eq!(driver.log, before);
}

#[test]
fn refused_memory_cannot_be_caught() {
    let mut sandbox = sandbox();
    let code = "try { new Uint8Array(1e9) } catch (e) { await tools.f(1) } 1";
    let mut driver = Driver::new(&mut sandbox, code, &NAMES);
    let execution = driver.finish(|_| unreachable!());
    assert_eq!(execution.outcome, Outcome::MemoryExceeded);
    assert_eq!(error(&execution).0, "MemoryLimitError");
}

#[test]
fn an_overflow_of_the_stack_cannot_be_caught() {
    let mut sandbox = sandbox();
    for code in [
        "const deep = () => 1 + deep(); try { deep() } catch (e) { await tools.f(1) } 1",
        "const deep = (...all) => deep(...all); try { deep() } catch (e) {} 1",
        "const deep = () => [1].map(deep); try { deep() } finally { await tools.f(1) }",
        "class A { get x() { return this.x } } try { new A().x } catch {} 1",
        "let o = []; for (let i = 0; i < 1e5; i++) o = [o]; try { JSON.stringify(o) } catch {} 1",
        "const deep = (...all) => bound(); const bound = deep.bind(null, ...Array(20_000).fill(1)); try { bound() } catch {} 1",
        "const deep = (...all) => bound(); const bound = deep.bind(null, ...Array(60_000).fill(1)); try { bound() } catch {} 1",
        "const names = Array.from({ length: 30_000 }, (_, n) => 'a' + n).join(); const deep = new Function(`${names}`, 'return arguments.callee() + a0'); try { deep() } catch {} 1",
    ] {
        let mut driver = Driver::new(&mut sandbox, code, &NAMES);
        let execution = driver.finish(|_| unreachable!());
        assert_eq!(execution.outcome, Outcome::StackExceeded, "{code}");
        assert_eq!(execution.limit_hit(), Some(Limit::StackBytes));
    }
    // As deep as a script without tools may go.
    let code = "const deep = (n) => n === 0 ? 0 : 1 + deep(n - 1); deep(5000)";
    let mut driver = Driver::new(&mut sandbox, code, &NAMES);
    assert_eq!(result(&driver.finish(|_| unreachable!())), "5000");
}
