//! `console`: every method, the content of its entries, and its safety.

use crate::support::Service;
use serde_json::{Value, json};

/// Returns the log of `code`, which must succeed, as `[type, depth, data]`.
fn log_of(service: &Service, code: &str) -> Value {
    let execution = service.run(code);
    assert_eq!(execution["outcome"], "succeeded", "{code}: {execution}");
    entries(&execution)
}

fn entries(execution: &Value) -> Value {
    let log = execution["log"].as_array().unwrap();
    log.iter()
        .map(|entry| json!([entry["type"], entry["depth"], entry["data"]]))
        .collect()
}

/// Returns an entry outside of any group.
fn entry(kind: &str, data: Value) -> Value {
    json!([kind, null, data])
}

#[test]
fn every_method_writes_an_entry_of_its_own_type_with_its_arguments_as_data() {
    let service = Service::start();
    for method in ["log", "info", "warn", "error", "debug", "table"] {
        let log = log_of(
            &service,
            &format!("console.{method}(1, 'two', [3], {{four: 4}})"),
        );
        let data = json!([1, "two", [3], {"four": 4}]);
        assert_eq!(log, json!([entry(method, data)]));
        let log = log_of(&service, &format!("console.{method}()"));
        assert_eq!(log, json!([entry(method, json!([]))]));
    }
}

#[test]
fn arguments_have_the_form_that_results_have() {
    let service = Service::start();
    let code = "const cycle = {}; cycle.self = cycle;
        console.log(undefined, null, NaN, 10n, Symbol('s'), () => 1, new Date(0), /x/g, new Map([[1, 2]]),
            new Set([3]), new Uint8Array([4]), cycle, Promise.resolve(5), '\\ud800')";
    let data = json!([
        null, null, "NaN", "10", "Symbol(s)", "[Function (anonymous)]", "1970-01-01T00:00:00.000Z", "/x/g", [[1, 2]],
        [3], [4], {"self": "[Circular]"}, "[Promise]", "\u{fffd}"
    ]);
    assert_eq!(log_of(&service, code), json!([entry("log", data)]));
    let code = "console.log(new TypeError('logged, not thrown'))";
    let data = json!([{
        "name": "TypeError", "message": "logged, not thrown", "stack": "    at <eval> (code:1:17)"
    }]);
    assert_eq!(log_of(&service, code), json!([entry("log", data)]));
}

#[test]
fn dir_takes_its_first_argument_only() {
    let service = Service::start();
    let log = log_of(&service, "console.dir({a: 1}, {depth: 0}); console.dir()");
    assert_eq!(
        log,
        json!([entry("dir", json!([{"a": 1}])), entry("dir", json!([]))])
    );
}

#[test]
fn table_keeps_its_rows_and_columns_as_data() {
    let service = Service::start();
    let log = log_of(&service, "console.table([{a: 1}, {a: 2}], ['a'])");
    assert_eq!(
        log,
        json!([entry("table", json!([[{"a": 1}, {"a": 2}], ["a"]]))])
    );
}

#[test]
fn trace_ends_with_the_stack_of_its_caller() {
    let service = Service::start();
    let code = "function f() {\n  console.trace('here', 1)\n}\nf()";
    let stack = "    at f (code:2:11)\n    at <eval> (code:4:1)";
    assert_eq!(
        log_of(&service, code),
        json!([entry("trace", json!(["here", 1, stack]))])
    );
    let log = log_of(&service, "console.trace()");
    assert_eq!(
        log,
        json!([entry("trace", json!(["    at <eval> (code:1:8)"]))])
    );
}

#[test]
fn assert_speaks_only_when_its_condition_is_false() {
    let service = Service::start();
    let code = "console.assert(true, 'silent'); console.assert(1); console.assert({});
        console.assert(false); console.assert(0, 'bad', {a: 1}); console.assert(); console.assert('', undefined)";
    let failed = json!(["Assertion failed"]);
    assert_eq!(
        log_of(&service, code),
        json!([
            entry("assert", failed.clone()),
            entry("assert", json!(["bad", {"a": 1}])),
            entry("assert", failed),
            entry("assert", json!([null])),
        ])
    );
}

#[test]
fn counters_count_by_label() {
    let service = Service::start();
    let code = "console.count(); console.count(); console.count('x'); console.count(undefined);
        console.countReset(); console.count(); console.countReset('nope');
        console.count({toString() { return 'x' }}); console.count(null)";
    let texts = [
        "default: 1",
        "default: 2",
        "x: 1",
        "default: 3",
        "default: 1",
        "Count for \"nope\" does not exist",
        "x: 2",
        "null: 1",
    ];
    let expected: Value = texts
        .iter()
        .map(|text| {
            let kind = if text.starts_with("Count") {
                "warn"
            } else {
                "count"
            };
            entry(kind, json!([text]))
        })
        .collect();
    assert_eq!(log_of(&service, code), expected);
}

#[test]
fn stopwatches_tell_the_milliseconds_since_their_start() {
    let service = Service::start();
    let code = "console.time('t'); await new Promise((done) => setTimeout(done, 30));
        console.timeLog('t', {a: 1}, 2); console.timeEnd('t'); console.timeEnd('t');
        console.timeLog('never'); console.time(); console.time()";
    let log = log_of(&service, code);
    for index in [0, 1] {
        assert_eq!(log[index][0], "time");
        let text = log[index][2][0].as_str().unwrap();
        let millis = text
            .strip_prefix("t: ")
            .and_then(|text| text.strip_suffix(" ms"));
        let millis: f64 = millis.expect(text).parse().unwrap();
        assert!((29.0..2000.0).contains(&millis), "{text}");
    }
    assert_eq!(
        log[0][2].as_array().unwrap()[1..],
        [json!({"a": 1}), json!(2)]
    );
    assert_eq!(log[1][2].as_array().unwrap().len(), 1);
    let rest = &log.as_array().unwrap()[2..];
    let warnings = [
        "\"t\" does not exist",
        "\"never\" does not exist",
        "\"default\" already exists",
    ];
    assert_eq!(rest.len(), warnings.len());
    for (said, warning) in rest.iter().zip(warnings) {
        assert_eq!(*said, entry("warn", json!([format!("Timer {warning}")])));
    }
}

#[test]
fn a_stopwatch_under_a_seed_goes_by_the_virtual_clock() {
    let service = Service::start();
    let code =
        "console.time(); await new Promise((done) => setTimeout(done, 12345)); console.timeEnd()";
    let execution = service.execute(&json!({"code": code, "seed": 1}));
    assert_eq!(
        entries(&execution),
        json!([entry("time", json!(["default: 12345 ms"]))])
    );
}

#[test]
fn groups_give_the_entries_inside_them_a_depth() {
    let service = Service::start();
    let code = "console.group('g', 1); console.log('in'); console.groupCollapsed(); console.log('deeper');
        console.groupEnd(); console.warn('in again'); console.groupEnd(); console.groupEnd(); console.log('out')";
    assert_eq!(
        log_of(&service, code),
        json!([
            ["group", null, ["g", 1]],
            ["log", 1, ["in"]],
            ["group", 1, []],
            ["log", 2, ["deeper"]],
            ["warn", 1, ["in again"]],
            ["log", null, ["out"]],
        ])
    );
}

#[test]
fn logging_never_throws_because_of_what_it_logs() {
    let service = Service::start();
    for (argument, shown) in [
        ("{get a() { throw new Error('boom') }}", "[Thrown: boom]"),
        ("{a: 1, get b() { throw 5 }}", "[Thrown: 5]"),
        ("{get a() { throw null }}", "[Thrown: null]"),
        ("[[{get a() { throw 'deep' }}]]", "[Thrown: deep]"),
        ("{toJSON() { throw new TypeError('no') }}", "[Thrown: no]"),
        (
            "new Proxy({}, {ownKeys() { throw new Error('trap') }})",
            "[Thrown: trap]",
        ),
        (
            "{get a() { throw {get message() { throw 1 }} }}",
            "[Thrown: [Unreadable]]",
        ),
    ] {
        let execution = service.run(&format!("console.log({argument}, 'after'); 'went on'"));
        assert_eq!(execution["result"], "went on", "{argument}: {execution}");
        assert_eq!(
            entries(&execution),
            json!([entry("log", json!([shown, "after"]))]),
            "{argument}"
        );
    }
}

#[test]
fn a_label_that_is_no_text_throws_a_type_error() {
    let service = Service::start();
    for method in ["count", "countReset", "time", "timeLog", "timeEnd"] {
        let execution = service.run(&format!("console.{method}(Symbol('x'))"));
        assert_eq!(execution["outcome"], "threw", "{method}");
        assert_eq!(execution["error"]["name"], "TypeError", "{method}");
    }
}

#[test]
fn what_a_getter_logs_while_it_is_logged_comes_before_it() {
    let service = Service::start();
    let log = log_of(
        &service,
        "console.log({get a() { console.log('inner'); return 1 }})",
    );
    assert_eq!(
        log,
        json!([
            entry("log", json!(["inner"])),
            entry("log", json!([{"a": 1}]))
        ])
    );
}

#[test]
fn entries_come_in_their_order_with_the_time_of_each() {
    let service = Service::start();
    let code = "console.log(0); setTimeout(() => console.log(2), 40); console.log(1); Date.now()";
    let execution = service.run(code);
    assert_eq!(
        entries(&execution),
        json!([
            entry("log", json!([0])),
            entry("log", json!([1])),
            entry("log", json!([2]))
        ])
    );
    let times: Vec<&str> = (0..3)
        .map(|index| execution["log"][index]["timestamp"].as_str().unwrap())
        .collect();
    let millis: Vec<i64> = times.iter().map(|time| millis_of(&service, time)).collect();
    assert!(
        millis[0] <= millis[1] && millis[1] + 35 <= millis[2],
        "{times:?}"
    );
    let guest_now = execution["result"].as_i64().unwrap();
    assert!(
        (guest_now - millis[1]).abs() < 1000,
        "{times:?} {guest_now}"
    );
}

/// A timestamp as JavaScript itself parses it.
fn millis_of(service: &Service, timestamp: &str) -> i64 {
    assert!(timestamp.ends_with('Z'), "{timestamp}");
    let parsed = service.execute(&json!({"code": "Date.parse(input)", "input": timestamp}));
    parsed["result"].as_i64().expect(timestamp)
}

#[test]
fn the_timestamps_of_the_log_are_real_time_even_under_a_seed() {
    let service = Service::start();
    let code = "console.log(1); Date.now()";
    let seeded = service.execute(&json!({"code": code, "seed": 1}));
    assert_eq!(seeded["result"], 1_577_836_800_000_i64);
    let said_at = millis_of(&service, seeded["log"][0]["timestamp"].as_str().unwrap());
    let now = service.result("Date.now()").as_i64().unwrap();
    assert!((now - said_at).abs() < 60_000, "{said_at} {now}");
}

#[test]
fn the_log_of_a_script_that_fails_is_retained() {
    let service = Service::start();
    for (code, outcome) in [
        ("console.log('said'); throw 1", "threw"),
        (
            "console.log('said'); function f() { f() } f()",
            "stack_exceeded",
        ),
        (
            "console.log('said'); const a = []; for (;;) a.push(new Uint8Array(1e6))",
            "memory_exceeded",
        ),
        ("console.log('said'); 'x'.repeat(2e6)", "output_exceeded"),
    ] {
        let execution = service.run(code);
        assert_eq!(execution["outcome"], outcome, "{code}");
        assert_eq!(
            entries(&execution),
            json!([entry("log", json!(["said"]))]),
            "{code}"
        );
    }
}

#[test]
fn methods_work_without_their_object() {
    let service = Service::start();
    let log = log_of(
        &service,
        "const {log} = console; log('alone'); ['a'].forEach(log)",
    );
    let each = entry("log", json!(["a", 0, ["a"]]));
    assert_eq!(log, json!([entry("log", json!(["alone"])), each]));
}

#[test]
fn a_script_that_tampers_with_console_harms_only_itself() {
    let service = Service::start();
    let tamper = "console.log = () => { throw 1 }; console.info('still'); Object.freeze(console);
        globalThis.console = undefined; typeof console";
    let execution = service.run(tamper);
    assert_eq!(execution["result"], "undefined");
    assert_eq!(
        entries(&execution),
        json!([entry("info", json!(["still"]))])
    );
    // More executions than executors, so that the executor of the first one is among them.
    for _ in 0..6 {
        let log = log_of(&service, "console.log('fresh')");
        assert_eq!(log, json!([entry("log", json!(["fresh"]))]));
    }
}

#[test]
fn console_has_the_documented_methods_and_no_others() {
    let service = Service::start();
    let methods = service.result("Object.getOwnPropertyNames(console).sort().join(' ')");
    assert_eq!(
        methods,
        "assert clear count countReset debug dir dirxml error group groupCollapsed groupEnd info log table time timeEnd \
         timeLog trace warn"
    );
}
