//! Promises, timers and top-level await: waiting, order, and the end of a script.

use crate::files::scripts_dir;
use crate::support::Service;
use crate::table::{check, check_with};
use serde_json::{Value, json};

/// Long before the time limit of 30 seconds.
const AT_ONCE_MS: f64 = crate::support::LATE_MS;

/// Returns the error of `code`, which must throw.
fn error_of(service: &Service, code: &str) -> Value {
    let execution = service.run(code);
    assert_eq!(execution["outcome"], "threw", "{code}: {execution}");
    execution["error"].clone()
}

fn said(execution: &Value) -> Value {
    let log = execution["log"].as_array().unwrap();
    log.iter().map(|entry| entry["data"][0].clone()).collect()
}

#[test]
fn top_level_await_waits_and_the_value_is_that_of_the_last_expression() {
    check(
        r##"
        await 1 ==> 1 : number
        const v = await Promise.resolve(4); v * 2 ==> 8 : number
        await new Promise((done) => setTimeout(done, 10, 'late')) ==> "late" : string
        await Promise.all([1, Promise.resolve(2)]) ==> [1,2] : array
        await {then(resolve) { resolve(9) }} ==> 9 : number
        await 1; if (true) { 5 } else { 6 } ==> 5 : number
        await 1; async () => 1 ==> "[Function (anonymous)]" : function
        await 1; Promise.resolve(6) ==> 6 : number
        await 1; undefined ==> null : undefined
        let sum = 0; for (const n of [1, 2]) sum += await n; sum ==> 3 : number
        class A { static x = 1 } await A.x + 1 ==> 2 : number
        async function f() { return await 5 } f() ==> 5 : number
        async function f() { return await 5 } f(); 'not waited for' ==> "not waited for" : string
        "##,
    );
}

#[test]
fn await_stays_an_ordinary_name_where_it_is_used_as_one() {
    check(
        r##"
        var await = 5; await + 1 ==> 6 : number
        function await() { return 3 } await() ==> 3 : number
        function* await() { yield 4 } [...await()] ==> [4] : array
        function f() { async function await() {} return await.name } f() ==> "await" : string
        await 1; (function await() { return 5 })() ==> 5 : number
        await 1; 'async function await' // (async function await() {}) ==> "async function await" : string
        'await' ==> "await" : string
        1 // await nothing ==> 1 : number
        let await_ = 1; await_ ==> 1 : number
        ({await: 2}).await ==> 2 : number
        "##,
    );
}

#[test]
fn a_promise_as_the_value_is_awaited() {
    check(
        r##"
        Promise.resolve(5) ==> 5 : number
        Promise.resolve(Promise.resolve(7)) ==> 7 : number
        Promise.resolve(undefined) ==> null : undefined
        Promise.resolve(1).then((x) => x + 1).then((x) => [x]) ==> [2] : array
        new Promise((resolve) => setTimeout(() => resolve('late'), 20)) ==> "late" : string
        Promise.reject(1).catch((x) => x + 1).finally(() => 9) ==> 2 : number
        new (class Mine extends Promise {})((resolve) => resolve(3)) ==> 3 : number
        (async () => ({then(resolve) { resolve(8) }}))() ==> 8 : number
        Promise.race([new Promise(() => {}), Promise.resolve(1)]) ==> 1 : number
        "##,
    );
}

#[test]
fn a_thenable_that_is_no_promise_is_a_value_like_any_other() {
    check("({then(resolve) { resolve(9) }}) ==> {\"then\":\"[Function: then]\"} : object");
}

#[test]
fn generators_and_asynchronous_generators_run_to_their_end() {
    check(
        r##"
        async function* g() { yield 1; yield 2 } const o = []; for await (const x of g()) o.push(x); o ==> [1,2] : array
        const o = []; for await (const x of [Promise.resolve(1), 2]) o.push(x); o ==> [1,2] : array
        async function* g() { try { yield 1 } finally { await 0; console.log('closed') } } for await (const x of g()) break; 3 ==> 3 : number
        Array.fromAsync((async function* () { yield 4 })()) ==> [4] : array
        "##,
    );
    let error = error_of(
        &Service::start(),
        "async function* g() { yield 1;\n throw new Error('gen') }\nfor await (const x of g());",
    );
    assert_eq!(
        [&error["message"], &error["lineNumber"]],
        [&json!("gen"), &json!(2)]
    );
}

#[test]
fn microtasks_come_before_timers_and_timers_by_their_time_then_by_their_turn() {
    check(
        r##"
        const o = []; setTimeout(() => o.push('t10'), 10); setTimeout(() => o.push('t0'), 0); setTimeout(() => o.push('t0b')); Promise.resolve().then(() => o.push('p')); queueMicrotask(() => o.push('q')); o.push('sync'); o ==> ["sync","p","q","t0","t0b","t10"] : array
        const o = []; setTimeout(() => { o.push(1); setTimeout(() => { o.push(3); queueMicrotask(() => o.push('m')); setTimeout(() => o.push(4)) }) }); setTimeout(() => o.push(2)); o ==> [1,2,3,"m",4] : array
        const o = []; setTimeout(() => { o.push(1); Promise.resolve().then(() => o.push('m')) }); setTimeout(() => o.push(2)); o ==> [1,"m",2] : array
        const o = []; for (const delay of [-5, NaN, '0', undefined, null, 0.9]) setTimeout(() => o.push(String(delay)), delay); o ==> ["-5","NaN","0","undefined","null","0.9"] : array
        "##,
    );
}

#[test]
fn timers_take_arguments_and_can_be_cleared() {
    check(
        r##"
        new Promise((done) => setTimeout((...a) => done(a), 1, 'x', 2)) ==> ["x",2] : array
        typeof setTimeout(() => {}) ==> "number" : string
        const o = []; const t = setTimeout(() => o.push('no')); clearTimeout(t); o ==> [] : array
        const o = []; const t = setTimeout(() => o.push('no')); clearInterval(t); o ==> [] : array
        clearTimeout(99); clearTimeout(); clearInterval('x'); clearTimeout(null); clearTimeout(-1) ==> null : undefined
        const o = []; const t = setInterval((x) => { if (o.push(x) === 3) clearInterval(t) }, 1, 'x'); o ==> ["x","x","x"] : array
        const o = []; const t = setInterval(() => { clearInterval(t); o.push('once') }, 1); o ==> ["once"] : array
        const o = []; const a = setTimeout(() => { o.push('a'); clearTimeout(b) }); const b = setTimeout(() => o.push('b')); o ==> ["a"] : array
        let n = 0; const t = setInterval(() => n++, 1); new Promise((done) => setTimeout(() => { clearInterval(t); done(n > 3) }, 50)) ==> true : boolean
        "##,
    );
}

#[test]
fn a_callback_that_is_no_function_is_rejected_by_name() {
    let service = Service::start();
    for taker in ["setTimeout", "setInterval", "queueMicrotask"] {
        for argument in ["", "'code'", "5", "{}"] {
            let error = error_of(&service, &format!("{taker}({argument})"));
            assert_eq!(error["name"], "TypeError");
            assert_eq!(error["message"], format!("{taker} needs a function"));
        }
    }
}

#[test]
fn a_script_without_await_goes_on_until_its_last_timer() {
    let service = Service::start();
    let execution = service.run("setTimeout(() => console.log('then'), 20); 'value'");
    assert_eq!(execution["result"], "value");
    assert_eq!(said(&execution), json!(["then"]));
}

#[test]
fn a_script_that_awaited_or_gave_a_promise_is_over_when_that_settles() {
    let service = Service::start();
    for code in [
        "await 1; setTimeout(() => console.log('never'), 1); 'value'",
        "setTimeout(() => console.log('never'), 60_000); Promise.resolve('value')",
        "setInterval(() => console.log('never'), 60_000); await 'value'",
    ] {
        let execution = service.run(code);
        assert_eq!(execution["result"], "value", "{code}");
        assert_eq!(said(&execution), json!([]), "{code}");
    }
}

#[test]
fn a_promise_that_can_never_settle_is_an_error_at_once() {
    let service = Service::start();
    for code in [
        "new Promise(() => {})",
        "await new Promise(() => {})",
        "await 1; new Promise(() => {})",
        "await Promise.all([new Promise(() => {})])",
        "setTimeout(() => {}, 5); await new Promise(() => {})",
        "(async () => { await {then() {}} })()",
        "for await (const x of {[Symbol.asyncIterator]: () => ({next: () => new Promise(() => {})})});",
    ] {
        let limits = json!({"timeoutMs": 30_000});
        let execution = service.execute(&json!({"code": code, "limits": limits}));
        assert_eq!(execution["outcome"], "threw", "{code}");
        assert_eq!(execution["error"]["name"], "UnsettledPromise", "{code}");
        assert!(
            execution["error"]["message"]
                .as_str()
                .unwrap()
                .contains("can never settle")
        );
        assert!(
            execution["usage"]["wallMs"].as_f64().unwrap() < AT_ONCE_MS,
            "{code}"
        );
    }
}

#[test]
fn an_unhandled_rejection_fails_the_script() {
    let service = Service::start();
    for (code, message) in [
        ("Promise.reject(new Error('why')); 5", "why"),
        ("await Promise.reject(new Error('why'))", "why"),
        (
            "new Promise((_, reject) => reject(new Error('why')))",
            "why",
        ),
        ("new Promise(() => { throw new Error('why') }); 5", "why"),
        ("(async () => { throw new Error('why') })(); 5", "why"),
        (
            "Promise.resolve().then(() => { throw new Error('why') }); 5",
            "why",
        ),
        (
            "Promise.reject(new Error('why')).finally(() => {}); 5",
            "why",
        ),
        (
            "setTimeout(() => Promise.reject(new Error('why'))); 5",
            "why",
        ),
        ("setTimeout(() => { throw new Error('why') }); 5", "why"),
        ("setInterval(() => { throw new Error('why') }, 1); 5", "why"),
        ("queueMicrotask(() => { throw new Error('why') }); 5", "why"),
        (
            "Promise.reject(new Error('why')); Promise.reject(new Error('second'))",
            "why",
        ),
        (
            "Promise.any([Promise.reject(1)]).catch((e) => { throw new Error(e.errors.join()) })",
            "1",
        ),
    ] {
        assert_eq!(error_of(&service, code)["message"], message, "{code}");
    }
}

#[test]
fn a_rejection_counts_as_handled_until_the_microtasks_are_done() {
    check(
        r##"
        const p = Promise.reject(1); p.catch(() => {}); 5 ==> 5 : number
        const p = Promise.reject(1); queueMicrotask(() => p.catch(() => {})); 5 ==> 5 : number
        const p = Promise.reject(1); Promise.resolve().then(() => 0).then(() => p.catch(() => {})); 5 ==> 5 : number
        try { await Promise.reject(1) } catch (e) { e + 1 } ==> 2 : number
        Promise.allSettled([Promise.reject(1)]) ==> [{"status":"rejected","reason":1}] : array
        "##,
    );
    let late =
        "const p = Promise.reject(new Error('late')); setTimeout(() => p.catch(() => {}), 5); 5";
    assert_eq!(error_of(&Service::start(), late)["message"], "late");
}

#[test]
fn errors_after_an_await_know_their_line() {
    let service = Service::start();
    for (code, place) in [
        ("await null;\n\n  null.x", [3, 3]),
        (
            "(async () => {\n  await null;\n  throw new Error()\n})()",
            [3, 13],
        ),
        (
            "async function a() { await null; b() }\nfunction b() { throw new Error() }\nawait a()",
            [2, 26],
        ),
        (
            "Promise.resolve(1)\n  .then((x) => { throw new RangeError() })",
            [2, 28],
        ),
        ("setTimeout(\n  () => { throw new Error() })", [2, 21]),
        ("queueMicrotask(\n  () => { throw new Error() })", [2, 21]),
        ("const x = await 1;\nconst b = ;", [2, 11]),
    ] {
        let error = error_of(&service, code);
        assert_eq!(
            [&error["lineNumber"], &error["columnNumber"]],
            [&place[0], &place[1]],
            "{code}"
        );
        assert_eq!(error["fileName"], "code", "{code}");
    }
}

#[test]
fn a_timer_beyond_the_time_limit_ends_in_a_timeout_that_says_so() {
    let service = Service::start();
    for (code, waiting) in [
        (
            "console.log('kept'); setTimeout(() => {}, 60_000)",
            "1 timer",
        ),
        (
            "console.log('kept'); await new Promise((done) => setTimeout(done, 60_000))",
            "1 timer",
        ),
        (
            "console.log('kept'); setTimeout(() => {}, 1e9); setInterval(() => {}, 1e9)",
            "2 timers",
        ),
    ] {
        let request = json!({"code": code, "limits": {"timeoutMs": 100}});
        let execution = service.execute_until_interrupted(&request);
        assert_eq!(execution["outcome"], "timed_out", "{code}");
        let message = format!("stopped at its limit of 100 ms; it was still waiting for {waiting}");
        assert_eq!(execution["error"]["message"], message);
        assert_eq!(said(&execution), json!(["kept"]));
        assert!(
            execution["usage"]["wallMs"].as_f64().unwrap() >= 100.0,
            "{execution}"
        );
        // The script slept.
        assert!(
            execution["usage"]["cpuMs"].as_f64().unwrap() < 80.0,
            "{execution}"
        );
    }
}

#[test]
fn a_file_runs_when_the_code_before_it_has_waited() {
    let folder = scripts_dir(
        "asynchronous",
        &[
            ("plus.js", "shared + 1"),
            ("plus-await.js", "await null; shared + 1"),
            ("order.js", "order.push('file'), order"),
        ],
    );
    let service = Service::start_with(&["--scripts-dir", &folder]);
    for file in ["plus.js", "plus-await.js"] {
        check_with(
            &service,
            &json!({ "file": file }),
            "const shared = 41 ==> 42 : number
            const shared = await 41 ==> 42 : number
            let shared = await new Promise((done) => setTimeout(done, 5, 41)) ==> 42 : number
            class shared { static valueOf() { return 41 } } ==> 42 : number
            var shared = 41; new Promise(() => {}) ==> 42 : number",
        );
    }
    check_with(
        &service,
        &json!({ "file": "order.js" }),
        r#"const order = []; Promise.resolve().then(() => order.push('microtask')) ==> ["microtask","file"] : array
        const order = []; setTimeout(() => order.push('timer')) ==> ["file","timer"] : array
        const order = []; await new Promise((done) => setTimeout(() => done(order.push('awaited')))) ==> ["awaited","file"] : array"#,
    );
    let rejected = service.execute(&json!({"code": "Promise.reject(7)", "file": "order.js"}));
    assert_eq!(rejected["error"]["value"], 7);
}
