//! Tools, as a script sees them.

use crate::driver::{Driver, START_MS, draft, error, failure, limits, result, sandbox, value};
use sandpiper_domain::tools::{Arrived, CallResult, CallState, RoundEnd, ToolFailure};
use sandpiper_domain::{Outcome, Script, ScriptKind};

const NAMES: [&str; 5] = ["getOrder", "getOrders", "send", "crm.find", "crm.save"];

/// Returns the result of `code`, whose calls are answered at once with their argument.
fn echoed(code: &str) -> String {
    let mut sandbox = sandbox();
    let mut driver = Driver::new(&mut sandbox, code, &NAMES);
    let execution = driver.finish(|call| {
        let argument = call
            .argument
            .as_ref()
            .map_or("\"none\"", |text| text.as_str());
        (1, value(argument))
    });
    result(&execution).to_owned()
}

/// Returns name and message of the error of `code`, which makes no call.
fn thrown(code: &str) -> (String, String) {
    let mut sandbox = sandbox();
    let mut driver = Driver::new(&mut sandbox, code, &NAMES);
    let execution = driver.finish(|call| panic!("{call:?}"));
    assert_eq!(execution.outcome, Outcome::Threw);
    error(&execution)
}

#[test]
fn a_call_suspends_and_its_answer_goes_on() {
    let mut sandbox = sandbox();
    let code = "const o = await tools.getOrder({ id: 7 }); `${o.name}!`";
    let mut driver = Driver::new(&mut sandbox, code, &NAMES);
    let RoundEnd::Suspended(suspension) = driver.round(&[]) else {
        panic!("it did not suspend")
    };
    assert_eq!(suspension.resume_at_ms, None);
    let call = driver.log.call(0).unwrap().clone();
    assert_eq!((call.name.as_str(), call.at_ms), ("getOrder", START_MS));
    assert_eq!(call.argument.as_ref().unwrap().as_str(), r#"{"id":7}"#);
    assert_eq!(driver.log.state_of(&call, false), CallState::Waiting);
    driver.now_ms += 5_000;
    let answer = Arrived {
        seq: 0,
        arrived_ms: driver.now_ms,
        result: value(r#"{"name":"Ada"}"#),
    };
    let RoundEnd::Finished(execution) = driver.round(&[answer]) else {
        panic!("it did not finish")
    };
    assert_eq!(result(&execution), "\"Ada!\"");
    assert_eq!(driver.log.state_of(&call, true), CallState::Done);
}

#[test]
fn calls_in_every_kind_of_script() {
    for (kind, code) in [
        (ScriptKind::Script, "await tools.send(1)"),
        (ScriptKind::Script, "tools.send(1)"),
        (ScriptKind::Function, "return await tools.send(1)"),
        (ScriptKind::Module, "export default await tools.send(1)"),
        (ScriptKind::Module, "export default () => tools.send(1)"),
    ] {
        let mut sandbox = sandbox();
        let script = Script::new(sandpiper_domain::ScriptDraft {
            kind,
            ..draft(code, &NAMES)
        });
        let mut driver = Driver::of(&mut sandbox, script.unwrap());
        let execution = driver.finish(|_| (1, value("[2]")));
        assert_eq!(result(&execution), "[2]", "{code}");
    }
}

#[test]
fn all_calls_that_wait_are_offered_in_one_round() {
    let mut sandbox = sandbox();
    let code = "const all = await Promise.all([...Array(50).keys()].map((n) => tools.send(n))); all.length";
    let mut driver = Driver::new(&mut sandbox, code, &NAMES);
    assert!(matches!(driver.round(&[]), RoundEnd::Suspended(_)));
    assert_eq!(driver.log.calls().len(), 50);
    let answers: Vec<Arrived> = (0..50)
        .map(|seq| Arrived {
            seq,
            arrived_ms: START_MS + u64::from(50 - seq),
            result: value("0"),
        })
        .collect();
    driver.now_ms += 100;
    let RoundEnd::Finished(execution) = driver.round(&answers) else {
        panic!("it did not finish")
    };
    assert_eq!(result(&execution), "50");
    assert_eq!(driver.log.records().len(), 50);
}

#[test]
fn an_argument_is_json_at_the_moment_of_the_call() {
    for (argument, json) in [
        ("", "\"none\""),
        ("undefined", "\"none\""),
        ("null", "null"),
        ("-0", "0"),
        ("1e21", "1e21"),
        ("'\\ud800a'", "\"\u{fffd}a\""),
        ("[undefined, , 1]", "[null,null,1]"),
        ("{ a: undefined, b: 1, [Symbol()]: 2 }", "{\"b\":1}"),
        ("new Date(0)", "\"1970-01-01T00:00:00.000Z\""),
        ("{ toJSON(key) { return [key] } }", "[\"\"]"),
        ("{ a: { toJSON(key) { return key } } }", "{\"a\":\"a\"}"),
        (
            "[new Number(1), new String('s'), new Boolean(false)]",
            "[1,\"s\",false]",
        ),
        ("new Proxy([1], {})", "[1]"),
        (
            "{ '\\ud800': { toJSON(key) { return key === '\\ud800' } } }",
            "{\"\u{fffd}\":true}",
        ),
        (
            "[Object.assign(new Number(1), { valueOf: () => 7 }), Object.assign(new String('s'), { toString: () => 't' }), Object.assign(new Boolean(true), { valueOf: () => false })]",
            "[7,\"t\",true]",
        ),
        (
            "[JSON.rawJSON('12.50'), JSON.rawJSON('\"x\"'), JSON.rawJSON('null')]",
            "[12.5,\"x\",null]",
        ),
        (
            "(BigInt.prototype.toJSON = function (key) { return `${this}${key}${typeof this}` }, { a: 1n })",
            "{\"a\":\"1aobject\"}",
        ),
        (
            "Object.create({ inherited: 1 }, { own: { value: 2, enumerable: true } })",
            "{\"own\":2}",
        ),
    ] {
        assert_eq!(
            echoed(&format!("await tools.send({argument})")),
            json,
            "{argument}"
        );
    }
    assert_eq!(
        echoed("const o = { a: 1 }; const p = tools.send(o); o.a = 2; await p"),
        "{\"a\":1}"
    );
}

#[test]
fn an_argument_that_json_cannot_express_throws_with_its_path() {
    for (argument, said) in [
        ("NaN", "tools.send: argument is NaN"),
        ("{ a: [1, -Infinity] }", "argument.a[1] is infinite"),
        ("[JSON.rawJSON('1e999')]", "argument[0] is infinite"),
        ("{ a: 1n }", "argument.a is a BigInt"),
        ("[() => 1]", "argument[0] is a function"),
        ("{ s: Symbol('x') }", "argument.s is a symbol"),
        ("[Promise.resolve(1)]", "argument[0] is a promise"),
        ("{ b: new Uint8Array(2) }", "argument.b is bytes"),
        ("new ArrayBuffer(1)", "argument is bytes"),
        (
            "(() => { const o = { x: {} }; o.x.o = o; return o })()",
            "argument.x.o is an object that contains itself",
        ),
        (
            "(() => { let o = 1; for (let i = 0; i < 101; i++) o = [o]; return o })()",
            "nested too deeply",
        ),
        ("1, 2", "tools.send takes one argument"),
    ] {
        let (name, message) = thrown(&format!("await tools.send({argument})"));
        assert_eq!(name, "TypeError", "{argument}");
        assert!(message.contains(said), "{argument}: {message}");
    }
}

#[test]
fn unknown_names_throw_with_the_nearest_first() {
    let (name, message) = thrown("tools.getOrdr(1)");
    assert_eq!(name, "TypeError");
    assert!(
        message.starts_with(
            "there is no tools.getOrdr in this execution; there are getOrder, getOrders,"
        ),
        "{message}"
    );
    let (_, message) = thrown("tools.crm.fund({})");
    assert!(
        message.contains("there is no tools.crm.fund") && message.contains("there are crm.find,"),
        "{message}"
    );
    for name in ["constructor", "prototype", "__proto__", "toString"] {
        let (_, message) = thrown(&format!("tools.{name}"));
        assert!(message.contains(name), "{message}");
    }
}

#[test]
fn tools_is_a_frozen_object_of_its_names() {
    for (code, expected) in [
        (
            "Object.keys(tools)",
            r#"["getOrder","getOrders","send","crm"]"#,
        ),
        ("Object.keys(tools.crm)", r#"["find","save"]"#),
        (
            "['send' in tools, 'crm' in tools, 'other' in tools]",
            "[true,true,false]",
        ),
        (
            "[tools.then, tools.toJSON, tools[Symbol.iterator], tools.crm.then].map(String)",
            r#"["undefined","undefined","undefined","undefined"]"#,
        ),
        (
            "[Object.isFrozen(tools), Object.getPrototypeOf(tools), typeof tools.crm.find]",
            r#"[true,null,"function"]"#,
        ),
        ("tools.send.name + tools.send.length", "\"send1\""),
        (
            "(() => { 'use strict'; try { tools.x = 1 } catch (e) { return e.name } })()",
            "\"TypeError\"",
        ),
        ("await tools === tools", "true"),
        (
            "typeof WeakRef + typeof FinalizationRegistry",
            "\"functionfunction\"",
        ),
    ] {
        assert_eq!(echoed(code), expected, "{code}");
    }
}

#[test]
fn a_call_that_fails_rejects_with_a_tool_error_that_can_be_caught() {
    let mut sandbox = sandbox();
    let code = "const seen = [];
        for (const n of [1, 2]) try { await tools.send(n) } catch (e) {
          seen.push([e instanceof Error, e.name, e.message, e.code, e.retryable, String(e), e.stack.includes('code:2')]);
        }
        seen";
    let mut driver = Driver::new(&mut sandbox, code, &NAMES);
    let execution = driver.finish(|call| match call.seq {
        0 => (1, failure("no")),
        _ => {
            let failed = ToolFailure {
                message: "late".to_owned(),
                name: Some("TimeoutError".to_owned()),
                code: None,
                retryable: false,
            };
            (1, CallResult::Failed(failed))
        }
    });
    assert_eq!(
        result(&execution),
        r#"[[true,"ToolError","no","test",true,"ToolError: no",true],[true,"TimeoutError","late",null,false,"TimeoutError: late",true]]"#
    );
}

#[test]
fn a_failed_call_that_nothing_catches_ends_the_script_with_its_place() {
    let mut sandbox = sandbox();
    let mut driver = Driver::new(&mut sandbox, "\n  await tools.send(1)", &NAMES);
    let execution = driver.finish(|_| (1, failure("no")));
    assert_eq!(execution.outcome, Outcome::Threw);
    let error = execution.error.as_ref().unwrap();
    assert_eq!(
        (error.name.as_str(), error.line_number),
        ("ToolError", Some(2))
    );
    assert_eq!(
        error.properties.as_ref().unwrap().as_str(),
        r#"{"code":"test","retryable":true}"#
    );
}

#[test]
fn rejections_are_judged_once_at_the_end() {
    let mut sandbox = sandbox();
    // Handled one round after it was rejected.
    let code =
        "const p = Promise.reject(new Error('x')); await tools.send(1); await p.catch(() => 7)";
    let mut driver = Driver::new(&mut sandbox, code, &NAMES);
    assert_eq!(result(&driver.finish(|_| (1, value("1")))), "7");
    let code = "Promise.reject(new Error('lost')); await tools.send(1)";
    let mut driver = Driver::new(&mut sandbox, code, &NAMES);
    let execution = driver.finish(|_| (1, value("1")));
    assert_eq!(error(&execution), ("Error".to_owned(), "lost".to_owned()));
    // The bare promise of a call does not count.
    let code = "tools.getOrder(1); await tools.send(1); await tools.send(2)";
    let mut driver = Driver::new(&mut sandbox, code, &NAMES);
    let execution = driver.finish(|call| match call.name.as_str() {
        "getOrder" => (1, failure("nobody's")),
        _ => (5, value("1")),
    });
    assert_eq!(result(&execution), "1");
}

#[test]
fn a_bare_promise_that_was_rejected_is_named_in_the_round() {
    let mut sandbox = sandbox();
    let mut driver = Driver::new(
        &mut sandbox,
        "tools.getOrder(1); await tools.send(1)",
        &NAMES,
    );
    driver.round(&[]);
    driver.now_ms += 10;
    let answers = [(0, failure("nobody's")), (1, value("1"))].map(|(seq, result)| Arrived {
        seq,
        arrived_ms: START_MS + 1 + u64::from(seq),
        result,
    });
    let round = driver.run(&answers, false);
    assert_eq!(round.unobserved, [0]);
}

#[test]
fn time_moves_with_records_alone() {
    let mut sandbox = sandbox();
    let code = "const seen = [Date.now(), performance.now(), new Date().getTime()];
        for (let i = 0; i < 1e5; i++);
        seen.push(Date.now());
        await tools.send(1);
        seen.push(Date.now(), performance.now());
        const before = performance.now();
        await new Promise((done) => setTimeout(done, 3000));
        seen.push(performance.now() - before);
        seen";
    let mut driver = Driver::new(&mut sandbox, code, &NAMES);
    let execution = driver.finish(|_| (1_234, value("1")));
    let start = START_MS;
    let expected = format!("[{start},0,{start},{start},{},1234,3000]", start + 1_234);
    assert_eq!(result(&execution), expected);
}

#[test]
fn timers_fire_before_an_answer_that_comes_later() {
    let mut sandbox = sandbox();
    let code = "const order = [];
        setTimeout(() => order.push(['b', performance.now()]), 2000);
        setTimeout(() => order.push(['a', performance.now()]), 1000);
        setInterval(() => order.push(['i', performance.now()]), 700);
        await tools.send(1); order.push(['answer', performance.now()]); order";
    let mut driver = Driver::new(&mut sandbox, code, &NAMES);
    driver.round(&[]);
    driver.now_ms += 5_000;
    let answer = Arrived {
        seq: 0,
        arrived_ms: START_MS + 2_500,
        result: value("1"),
    };
    let RoundEnd::Finished(execution) = driver.round(&[answer]) else {
        panic!("it did not finish")
    };
    // The interval is overdue, and fires once for the record.
    assert_eq!(
        result(&execution),
        r#"[["i",700],["a",1000],["b",2000],["answer",2500]]"#
    );
}

#[test]
fn short_delays_are_waited_for_in_the_process() {
    let mut sandbox = sandbox();
    let code = "for (let i = 0; i < 5; i++) await new Promise((done) => setTimeout(done, 20)); performance.now()";
    let mut driver = Driver::new(&mut sandbox, code, &NAMES);
    driver.wait_ms = 1_000;
    let RoundEnd::Finished(execution) = driver.round(&[]) else {
        panic!("it suspended")
    };
    let took: u64 = result(&execution).parse().unwrap();
    assert!(took >= 100, "{took}");
    // On a busy machine one wake may be so late that two timers are due.
    assert!((1..=5).contains(&driver.log.wakes()));
}

#[test]
fn wakes_that_suspend_have_their_distance_and_timers_their_due_times() {
    let mut sandbox = sandbox();
    let code = "for (let i = 0; i < 3; i++) await new Promise((done) => setTimeout(done, 300)); performance.now()";
    let mut driver = Driver::new(&mut sandbox, code, &NAMES);
    let execution = driver.finish(|call| panic!("{call:?}"));
    // The wake at 300 is followed by one at 1300, when the timers of 600 and 900 are due.
    assert_eq!(result(&execution), "900");
    let at: Vec<u64> = driver
        .log
        .records()
        .iter()
        .map(|record| record.at_ms() - START_MS)
        .collect();
    assert_eq!(at, [300, 1_300]);
}

#[test]
fn the_turns_of_an_interval_are_merged_into_few_wakes() {
    let mut sandbox = sandbox();
    let code = "const said = []; await new Promise((done) => {
        const id = setInterval(() => {
          said.push(performance.now());
          if (said.length === 20) { clearInterval(id); done() }
        }, 300) }); said";
    let mut driver = Driver::new(&mut sandbox, code, &NAMES);
    let execution = driver.finish(|call| panic!("{call:?}"));
    let expected: Vec<u64> = (1..=20).map(|turn| turn * 300).collect();
    assert_eq!(
        result(&execution),
        serde_json::to_string(&expected).unwrap()
    );
    assert!(driver.rounds <= 8, "{}", driver.rounds);
    // An interval that is behind for longer than wakes are apart has one turn.
    let code = "let n = 0; setInterval(() => n++, 300); await tools.send(1); n";
    let mut driver = Driver::new(&mut sandbox, code, &NAMES);
    driver.round(&[]);
    driver.now_ms += 3_600_000;
    driver.round(&[]);
    let answer = Arrived {
        seq: 0,
        arrived_ms: driver.now_ms,
        result: value("1"),
    };
    let RoundEnd::Finished(execution) = driver.round(&[answer]) else {
        panic!("it did not finish")
    };
    assert_eq!(result(&execution), "1");
}

#[test]
fn the_log_is_bounded_in_all_rounds_together() {
    let mut sandbox = sandbox();
    let ceiling = sandpiper_domain::Ceiling {
        timeout_ms: 30_000,
        memory_bytes: 256 << 20,
        output_bytes: 8 << 20,
    };
    let limits = sandpiper_domain::Limits::defaults(20_000, 32 << 20, 4_000, &ceiling).unwrap();
    let code = |bytes: usize| {
        format!(
            "for (let i = 0; i < 40; i++) {{ console.log(i, 'x'.repeat(i * 7)); await tools.send(i) }}
            'r'.repeat({bytes})"
        )
    };
    let mut told = Vec::new();
    for at_once in [1, 7, 40] {
        let mut driver = Driver::new(&mut sandbox, &code(1_900), &NAMES);
        driver.limits = limits;
        driver.round(&[]);
        driver.now_ms += 1_000;
        // Answers that are at hand before the calls are made.
        let answers: Vec<Arrived> = (0..40)
            .map(|seq| Arrived {
                seq,
                arrived_ms: START_MS + 1 + u64::from(seq),
                result: value("1"),
            })
            .collect();
        let mut ended = None;
        for some in answers.chunks(at_once) {
            ended = Some(driver.round(some));
        }
        let Some(RoundEnd::Finished(execution)) = ended else {
            panic!("it did not finish")
        };
        assert_eq!(result(&execution).len(), 1_902);
        told.push(
            driver
                .console
                .iter()
                .map(|entry| entry.data.as_str().to_owned())
                .collect::<Vec<_>>(),
        );
    }
    assert!(!told[0].is_empty() && told[0].len() < 40, "{told:?}");
    assert!(told.iter().all(|one| *one == told[0]), "{told:?}");
    // The result has the room that the log leaves.
    let mut driver = Driver::new(&mut sandbox, &code(2_600), &NAMES);
    driver.limits = limits;
    let execution = driver.finish(|_| (1, value("1")));
    assert_eq!(execution.outcome, Outcome::OutputExceeded);
}

#[test]
fn the_console_is_told_once_and_counted() {
    let mut sandbox = sandbox();
    let code = "for (let i = 0; i < 3; i++) { console.log(i, Math.random()); await tools.send(i) } console.log('end')";
    let mut driver = Driver::new(&mut sandbox, code, &NAMES);
    driver.finish(|_| (10, value("1")));
    assert_eq!(driver.console.len(), 4);
    assert_eq!(driver.log.log_entries(), 4);
    let times: Vec<u64> = driver
        .console
        .iter()
        .map(|entry| entry.timestamp.as_unix_millis() - START_MS)
        .collect();
    assert_eq!(times, [0, 10, 20, 30]);
}

#[test]
fn randomness_is_the_logs_and_its_streams_are_apart() {
    let mut sandbox = sandbox();
    let mut results = Vec::new();
    for code in [
        "[Math.random(), Math.random(), crypto.randomUUID()]",
        "const u = crypto.randomUUID(); crypto.getRandomValues(new Uint8Array(99)); [Math.random(), Math.random(), u]",
    ] {
        let code = format!("await tools.send(1); {code}");
        let mut driver = Driver::new(&mut sandbox, &code, &NAMES);
        results.push(result(&driver.finish(|_| (1, value("1")))).to_owned());
    }
    assert_eq!(results[0], results[1]);
    let code = "await crypto.subtle.generateKey({ name: 'AES-GCM', length: 256 }, true, ['encrypt']).then(() => 'made', (e) => e.name)";
    let mut driver = Driver::new(&mut sandbox, code, &NAMES);
    assert_eq!(result(&driver.finish(|_| unreachable!())), "\"made\"");
    let mut driver = Driver::new(&mut sandbox, code, &NAMES);
    let fingerprint = driver.log.fingerprint().to_owned();
    driver.log = sandpiper_domain::tools::ReplayLog::begin_seeded(&fingerprint, START_MS, 5);
    assert_ne!(result(&driver.finish(|_| unreachable!())), "\"made\"");
}

#[test]
fn weak_references_hold_and_finalizers_never_run() {
    let code = "const seen = []; const f = new FinalizationRegistry((n) => seen.push(n));
        const refs = []; for (let i = 0; i < 2000; i++) { const o = { i }; o.o = o; f.register(o, i); refs.push(new WeakRef(o)) }
        for (let i = 0; i < 1e5; i++) ({ a: [] });
        await tools.send(1);
        [seen.length, refs.every((r) => r.deref()?.o), new WeakRef({}) instanceof WeakRef, refs[0].constructor === WeakRef]";
    assert_eq!(echoed(code), "[0,true,true,true]");
}

#[test]
fn a_result_has_proto_as_a_key_of_its_own() {
    let mut sandbox = sandbox();
    let code = "const o = await tools.send(1); [Object.keys(o), Object.getPrototypeOf(o) === Object.prototype]";
    let mut driver = Driver::new(&mut sandbox, code, &NAMES);
    let execution = driver.finish(|_| (1, value(r#"{"__proto__":{"a":1}}"#)));
    assert_eq!(result(&execution), r#"[["__proto__"],true]"#);
}

#[test]
fn calls_that_nobody_awaits_are_told_at_the_end_and_replay_to_the_same_end() {
    let mut sandbox = sandbox();
    let code = "console.log('once'); const r = await tools.getOrder(1); tools.send('a').then(() => console.log('never')); tools.send('b'); r + 1";
    let mut driver = Driver::new(&mut sandbox, code, &NAMES);
    driver.round(&[]);
    driver.now_ms += 10;
    let answer = Arrived {
        seq: 0,
        arrived_ms: driver.now_ms,
        result: value("1"),
    };
    let round = driver.run(&[answer], false);
    assert!(matches!(&round.end, RoundEnd::Finished(execution) if result(execution) == "2"));
    let unoffered: Vec<u32> = round.unoffered().map(|call| call.seq).collect();
    assert_eq!(unoffered, [1, 2]);
    driver.log.commit(&round);
    let call = driver.log.call(1).unwrap().clone();
    assert_eq!(driver.log.state_of(&call, true), CallState::NotSent);
    driver.log.offer(1, driver.tool_limits.concurrent_calls_max);
    assert_eq!(driver.log.state_of(&call, false), CallState::Waiting);
    driver.log.take_end_answers([Arrived {
        seq: 1,
        arrived_ms: driver.now_ms,
        result: value("null"),
    }]);
    assert_eq!(driver.log.state_of(&call, true), CallState::Done);
    let again = driver.run(&[], false);
    assert!(again.calls.is_empty() && again.records.is_empty());
    let RoundEnd::Finished(execution) = again.end else {
        panic!("it did not finish")
    };
    assert_eq!((result(&execution), execution.log.len()), ("2", 0));
}

#[test]
fn a_script_without_tools_in_its_log_has_its_limits() {
    let mut sandbox = sandbox();
    let mut driver = Driver::new(&mut sandbox, "while (true);", &NAMES);
    driver.limits = limits(100);
    let execution = driver.finish(|_| unreachable!());
    assert_eq!(execution.outcome, Outcome::TimedOut);
}
