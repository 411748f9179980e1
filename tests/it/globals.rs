//! The global object of a script: `input`, the client's globals, randomness and clocks, and nothing else.

use crate::support::{LATE_MS, Service};
use crate::table::{check, check_with};
use serde_json::{Value, json};
use std::collections::HashSet;

/// Every source of randomness and time that a script can read.
const CHANCE: &str = "[Math.random(), Math.random(), Date.now(), new Date().getTime(), Date(), performance.now(),
    performance.timeOrigin, new Date(), Array.from({length: 8}, () => Math.floor(Math.random() * 1e9))]";

#[test]
fn input_is_absent_unless_it_was_given_and_null_is_given() {
    check(
        "typeof input ==> \"undefined\" : string
        'input' in globalThis ==> false : boolean
        globalThis.input ?? 'default' ==> \"default\" : string
        var input = typeof input === 'undefined' ? 9 : input; input ==> 9 : number",
    );
    let service = Service::start();
    for (input, type_of) in [
        (json!(null), "object"),
        (json!(0), "number"),
        (json!(false), "boolean"),
        (json!(""), "string"),
        (json!([]), "object"),
    ] {
        let execution = service.execute(&json!({"code": "[typeof input, input]", "input": input}));
        assert_eq!(execution["result"], json!([type_of, input]));
    }
}

#[test]
fn input_is_the_scripts_own_variable() {
    check_with(
        &Service::start(),
        &json!({"input": {"a": 1}}),
        r#"input.a = 2; input ==> {"a":2} : object
        input = 7; input ==> 7 : number
        const input = 5; input ==> 5 : number
        let input = 5; input ==> 5 : number
        class input {} typeof input ==> "function" : string
        function input() {} typeof input ==> "function" : string
        var input = typeof input === 'undefined' ? 9 : input; input ==> {"a":1} : object
        delete globalThis.input; typeof input ==> "undefined" : string
        Object.getOwnPropertyDescriptor(globalThis, 'input').writable ==> true : boolean
        Object.getPrototypeOf(input) === Object.prototype ==> true : boolean
        await null; input.a ==> 1 : number"#,
    );
}

#[test]
fn each_of_globals_is_a_global() {
    let globals = json!({"a": 1, "$b_2": [{"c": null}], "_": "", "zero": 0});
    check_with(
        &Service::start(),
        &json!({ "globals": globals }),
        r#"[a, $b_2, _, zero] ==> [1,[{"c":null}],"",0] : array
        const a = 3; a ==> 3 : number
        var a = a + 1; a ==> 2 : number
        globalThis.zero ==> 0 : number
        typeof globals ==> "undefined" : string
        typeof input ==> "undefined" : string"#,
    );
}

#[test]
fn globals_may_replace_builtins_without_harm_to_the_result() {
    let service = Service::start();
    let builtins = [
        "Array",
        "Date",
        "Error",
        "JSON",
        "Map",
        "Math",
        "Object",
        "Promise",
        "Symbol",
        "TypeError",
        "console",
        "performance",
        "queueMicrotask",
        "setTimeout",
    ];
    let globals: Value = builtins
        .iter()
        .map(|name| ((*name).to_owned(), json!(1)))
        .collect();
    check_with(
        &service,
        &json!({ "globals": globals }),
        r#"[Array, Date, JSON, console, setTimeout] ==> [1,1,1,1,1] : array
        await 5 ==> 5 : number
        ({a: [1, /x/, 2n]}) ==> {"a":[1,"/x/","2"]} : object"#,
    );
    let execution = service.execute(&json!({"code": "null.x", "globals": globals, "seed": 1}));
    assert_eq!(execution["error"]["name"], "TypeError");
}

#[test]
fn a_seed_repeats_randomness_and_clocks() {
    let service = Service::start();
    let run = |seed: u64| service.execute(&json!({"code": CHANCE, "seed": seed}))["result"].clone();
    for seed in [0, 1, 42, u64::MAX] {
        let first = run(seed);
        for _ in 0..5 {
            assert_eq!(run(seed), first, "{seed}");
        }
        assert_ne!(run(seed ^ 0x55), first, "{seed}");
    }
}

#[test]
fn under_a_seed_time_stands_still_until_a_timer_fires() {
    check_with(
        &Service::start(),
        &json!({"seed": 1}),
        r##"
        new Date() ==> "2020-01-01T00:00:00.000Z" : date
        [Date.now(), performance.now(), performance.timeOrigin] ==> [1577836800000,0,1577836800000] : array
        Date() ==> "Wed Jan 01 2020 00:00:00 GMT+0000" : string
        const t = Date.now(); for (let i = 0; i < 1e6; i++); Date.now() - t ==> 0 : number
        await new Promise((done) => setTimeout(done, 86_400_000)); [new Date(), performance.now()] ==> ["2020-01-02T00:00:00.000Z",86400000] : array
        const o = []; setTimeout(() => o.push(performance.now()), 20); setTimeout(() => o.push(performance.now()), 10); o ==> [10,20] : array
        new Date(5) ==> "1970-01-01T00:00:00.005Z" : date
        new Date(2020, 6, 1, 12) ==> "2020-07-01T12:00:00.000Z" : date
        new Date(undefined) ==> "Invalid Date" : date
        new (class Mine extends Date { year() { return this.getFullYear() } })().year() ==> 2020 : number
        [new Date() instanceof Date, new Date().constructor === Date, Date.name, Date.length] ==> [true,true,"Date",7] : array
        Object.defineProperty(Array.prototype, '0', {set() {}}); new Date() ==> "2020-01-01T00:00:00.000Z" : date
        new Date(new Date()) ==> "2020-01-01T00:00:00.000Z" : date
        [Date.UTC(2020, 0), Date.parse('2020-01-01')] ==> [1577836800000,1577836800000] : array
        "##,
    );
}

#[test]
fn the_time_limit_is_real_time_even_under_a_seed() {
    let service = Service::start();
    let code = "setInterval(() => {}, 1000)";
    let request = json!({"code": code, "seed": 1, "limits": {"timeoutMs": 100}});
    let execution = service.execute(&request);
    assert_eq!(execution["outcome"], "timed_out");
    let wall_ms = execution["usage"]["wallMs"].as_f64().unwrap();
    assert!((100.0..100.0 + LATE_MS).contains(&wall_ms), "{wall_ms}");
}

#[test]
fn without_a_seed_no_two_executions_draw_the_same() {
    let service = Service::start();
    let code = "[Math.random(), Math.random(), Math.random()].join()";
    let drawn: HashSet<String> = (0..50).map(|_| service.result(code).to_string()).collect();
    assert_eq!(drawn.len(), 50);
}

#[test]
fn without_a_seed_clocks_are_real_and_start_with_the_execution() {
    let service = Service::start();
    let code =
        "[performance.now(), performance.timeOrigin + performance.now() - Date.now(), Date.now()]";
    let mut apart = f64::MAX;
    for _ in 0..6 {
        let clocks = service.result(code);
        let now = clocks[0].as_f64().unwrap();
        assert!(
            (0.0..1000.0).contains(&now),
            "the age of the process shows: {clocks}"
        );
        apart = apart.min(clocks[1].as_f64().unwrap().abs());
        let unix = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis();
        let off = unix.abs_diff(u128::from(clocks[2].as_u64().unwrap()));
        assert!(off < 5000, "{clocks} {unix}");
    }
    // A script may be delayed between two readings, but not each time.
    assert!(apart < 100.0, "the two clocks are {apart} ms apart");
}

#[test]
fn the_time_zone_is_utc_and_there_is_no_locale_of_the_host() {
    check(
        "new Date(0).getTimezoneOffset() ==> 0 : number
        new Date(2020, 6, 1).toISOString() ==> \"2020-07-01T00:00:00.000Z\" : string
        new Date(0).toString() ==> \"Thu Jan 01 1970 00:00:00 GMT+0000\" : string
        typeof Intl ==> \"undefined\" : string",
    );
}

#[test]
fn a_script_finds_only_the_language_and_the_documented_globals() {
    let service = Service::start();
    let enumerable = service.result("Object.keys(globalThis).sort().join(' ')");
    assert_eq!(
        enumerable,
        "atob btoa clearInterval clearTimeout onerror onrejectionhandled onunhandledrejection performance \
         queueMicrotask setInterval setTimeout"
    );
    let code = "Reflect.ownKeys(globalThis).map(String).sort().join(' ')";
    let all = "AbortController AbortSignal AggregateError Array ArrayBuffer AsyncDisposableStack Atomics BigInt \
        BigInt64Array BigUint64Array Blob Boolean ByteLengthQueuingStrategy CompressionStream \
        CountQueuingStrategy Crypto CryptoKey CustomEvent DOMException DataView Date DecompressionStream \
        DisposableStack Error ErrorEvent EvalError Event EventTarget File FinalizationRegistry Float16Array \
        Float32Array Float64Array FormData Function Headers Infinity Int16Array Int32Array Int8Array \
        InternalError Iterator JSON Map Math MessageChannel MessageEvent MessagePort NaN Navigator Number \
        Object Performance Promise PromiseRejectionEvent Proxy RangeError ReadableByteStreamController ReadableStream \
        ReadableStreamBYOBReader ReadableStreamBYOBRequest ReadableStreamDefaultController \
        ReadableStreamDefaultReader ReferenceError Reflect RegExp Request Response Set SharedArrayBuffer String \
        SubtleCrypto SuppressedError Symbol Symbol(Symbol.toStringTag) SyntaxError TextDecoder \
        TextDecoderStream TextEncoder TextEncoderStream TransformStream TransformStreamDefaultController \
        TypeError URIError URL URLPattern URLSearchParams Uint16Array Uint32Array Uint8Array Uint8ClampedArray WeakMap \
        WeakRef WeakSet WritableStream WritableStreamDefaultController WritableStreamDefaultWriter atob btoa \
        clearInterval clearTimeout console crypto decodeURI decodeURIComponent encodeURI encodeURIComponent \
        escape eval fetch globalThis isFinite isNaN navigator onerror onrejectionhandled onunhandledrejection parseFloat parseInt performance queueMicrotask \
        reportError self setInterval setTimeout structuredClone undefined unescape";
    assert_eq!(service.result(code), all);
}

#[test]
fn there_is_no_way_to_the_host() {
    let service = Service::start();
    for name in [
        "std",
        "os",
        "bjson",
        "print",
        "scriptArgs",
        "process",
        "require",
        "module",
        "exports",
        "XMLHttpRequest",
        "WebSocket",
        "Worker",
        "WebAssembly",
        "Deno",
        "Bun",
        "window",
        "global",
        "document",
        "gc",
        "load",
        "loadScript",
        "__filename",
    ] {
        assert_eq!(
            service.result(&format!("typeof {name}")),
            "undefined",
            "{name}"
        );
        assert_eq!(
            service.result(&format!("'{name}' in globalThis")),
            false,
            "{name}"
        );
    }
    for module in [
        "fs",
        "std",
        "os",
        "qjs:std",
        "node:fs",
        "code",
        "/etc/passwd",
        "file:///etc/passwd",
        "data:,1",
    ] {
        for code in [
            format!("await import('{module}')"),
            format!("import('{module}')"),
        ] {
            let execution = service.run(&code);
            assert_eq!(execution["outcome"], "threw", "{code}: {execution}");
            let error = &execution["error"];
            assert_eq!(error["name"], "TypeError", "{code}: {execution}");
            let message = error["message"].as_str().unwrap();
            let expected = format!("cannot find module \"{module}\", which code imports");
            assert!(message.starts_with(&expected), "{message}");
            assert!(message.contains("there are no modules"), "{message}");
        }
    }
    let shared = "Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)";
    assert_eq!(service.run(shared)["error"]["name"], "TypeError");
}

#[test]
fn nothing_is_left_of_an_earlier_execution() {
    let service = Service::start();
    let spoil = "globalThis.left = 1; var spoiled = 2; Object.prototype.extra = 3; Array.prototype.map = null;
        Math.random = () => 4; Date.now = () => 5; JSON.stringify = null; Symbol.for('x').description;
        Object.freeze(Object.prototype); console.group(); console.count('c'); console.time('t');
        delete globalThis.setTimeout; setInterval(() => {}, 1e6); Promise.resolve(1)";
    let look = "console.count('c'); console.timeEnd('t');
        [typeof left, typeof spoiled, {}.extra, typeof [].map, Math.random() === 4, Date.now() === 5,
        typeof JSON.stringify, Object.isFrozen(Object.prototype), typeof setTimeout]";
    let clean = json!([
        "undefined",
        "undefined",
        null,
        "function",
        false,
        false,
        "function",
        false,
        "function"
    ]);
    // More often than there are executors.
    for _ in 0..5 {
        assert_eq!(
            service.execute(&json!({"code": spoil, "seed": 1, "input": 9, "globals": {"g": 9}}))["result"],
            1
        );
        let execution = service.run(look);
        assert_eq!(execution["result"], clean);
        let log = &execution["log"];
        assert_eq!(
            [&log[0]["data"][0], &log[0]["depth"]],
            [&json!("c: 1"), &Value::Null]
        );
        assert_eq!(log[1]["data"][0], "Timer \"t\" does not exist");
        assert_eq!(
            service.result("typeof input + typeof g"),
            "undefinedundefined"
        );
    }
}

#[test]
fn the_example_scripts_read_their_input_and_globals() {
    let service = Service::start();
    for (request, result) in [
        (json!({"file": "pi.js"}), json!("3.14159265358979323846")),
        (json!({"file": "pi.js", "input": 3}), json!("3.141")),
        (
            json!({"file": "pi.js", "code": "var input = 1"}),
            json!("3.1"),
        ),
        (
            json!({"file": "pi.js", "code": "globalThis.input = 0"}),
            json!("3"),
        ),
        (
            json!({"file": "fibonacci.js", "globals": {"find": 7}}),
            json!(13),
        ),
        (
            json!({"file": "formula.js", "input": {"quantity": 1}}),
            json!({"net": 25, "tax": 4.75, "gross": 29.75}),
        ),
    ] {
        let execution = service.execute(&request);
        assert_eq!(execution["result"], result, "{request}: {execution}");
    }
}
