//! Every kind of thrown value in the API: values that are no errors, names, causes, and errors that resist being read.

use crate::support::Service;
use serde_json::{Value, json};

/// Maximum bytes of a message, a stack, and the JSON of a value or cause.
const TEXT_BYTES_MAX: usize = 16 * 1024;
const CLIPPED: &str = "… [truncated]";

/// Returns the error of `code`, which must throw.
fn error_of(service: &Service, code: &str) -> Value {
    let execution = service.run(code);
    assert_eq!(execution["outcome"], "threw", "{code}: {execution}");
    assert_eq!(execution["status"], "error", "{code}");
    assert_eq!(execution["result"], Value::Null, "{code}");
    assert_eq!(execution["limitHit"], Value::Null, "{code}");
    execution["error"].clone()
}

#[test]
fn anything_can_be_thrown_and_the_api_shows_its_value() {
    let service = Service::start();
    for (thrown, message, value) in [
        ("0", "0", json!(0)),
        ("null", "null", json!(null)),
        ("undefined", "undefined", json!(null)),
        ("''", "", json!("")),
        ("false", "false", json!(false)),
        ("NaN", "NaN", json!("NaN")),
        ("5n", "5", json!("5")),
        ("'text'", "text", json!("text")),
        ("Symbol('s')", "Symbol(s)", json!("Symbol(s)")),
        (
            "() => 1",
            "[Function (anonymous)]",
            json!("[Function (anonymous)]"),
        ),
        ("{a: 1}", r#"{"a":1}"#, json!({"a": 1})),
        ("[1, 'two']", r#"[1,"two"]"#, json!([1, "two"])),
        (
            "new Date(0)",
            "1970-01-01T00:00:00.000Z",
            json!("1970-01-01T00:00:00.000Z"),
        ),
        ("Promise.resolve(1)", "[Promise]", json!("[Promise]")),
        (
            "{name: 'N', message: 'm'}",
            r#"{"name":"N","message":"m"}"#,
            json!({"name": "N", "message": "m"}),
        ),
    ] {
        let expected = json!({"name": "NonError", "message": message, "stack": "", "value": value});
        for code in [
            format!("throw {thrown}"),
            format!("Promise.reject({thrown})"),
        ] {
            let error = error_of(&service, &code);
            assert_eq!(error, expected, "{code}");
            assert!(error.as_object().unwrap().contains_key("value"), "{code}");
        }
    }
}

#[test]
fn an_error_of_ones_own_keeps_the_name_it_was_given() {
    let service = Service::start();
    for (class, name) in [
        ("class Mine extends Error {}", "Error"),
        ("class Mine extends RangeError {}", "RangeError"),
        (
            "class Mine extends Error { constructor(m) { super(m); this.name = 'Mine' } }",
            "Mine",
        ),
        ("class Mine extends Error { name = 'Field' }", "Field"),
        (
            "class Mine extends Error { get name() { return 'Getter' } }",
            "Getter",
        ),
        (
            "class Mine extends Error {} Mine.prototype.name = 'Proto'",
            "Proto",
        ),
    ] {
        let error = error_of(&service, &format!("{class}; throw new Mine('m')"));
        assert_eq!([&error["name"], &error["message"]], [name, "m"], "{class}");
        assert_eq!(error["fileName"], "code", "{class}");
    }
}

#[test]
fn an_error_without_the_class_keeps_name_message_and_properties() {
    let service = Service::start();
    for (code, name, message) in [
        (
            "function MyError(m) { this.message = m } MyError.prototype = Object.create(Error.prototype); throw new MyError('boo')",
            "Error",
            "boo",
        ),
        (
            "function MyError(m) { this.name = 'MyError'; this.message = m } MyError.prototype = new Error(); throw new MyError('boo')",
            "MyError",
            "boo",
        ),
        (
            "throw Object.create(RangeError.prototype)",
            "RangeError",
            "",
        ),
        ("throw Object.create(Error.prototype)", "Error", ""),
    ] {
        let error = error_of(&service, code);
        assert_eq!(
            [&error["name"], &error["message"]],
            [name, message],
            "{code}"
        );
        assert_eq!(error.get("value"), None, "{code}");
    }
    // Its prototype is behind a proxy, which could answer anything.
    let code = "throw Object.create(new Proxy(Error.prototype, {}))";
    assert_eq!(error_of(&service, code)["name"], "NonError");
}

#[test]
fn own_properties_of_an_error_are_shown_within_bounds() {
    let service = Service::start();
    for (fields, shown) in [
        (
            "{code: 'E', status: 502}",
            json!({"code": "E", "status": 502}),
        ),
        (
            "{a: {b: [1n, undefined]}}",
            json!({"a": {"b": ["1", null]}}),
        ),
        (
            "{name: 'N', message: 'm', cause: 1, errors: 2, lineNumber: 7, ok: 1}",
            json!({"ok": 1}),
        ),
        (
            "{get bad() { throw 1 }, good: 2}",
            json!({"bad": "[Unreadable]", "good": 2}),
        ),
        (
            "{long: 'x'.repeat(20_000), short: 1}",
            json!({"long": "[Too large]", "short": 1}),
        ),
        ("{[Symbol('s')]: 1, 'a b': 2}", json!({"a b": 2})),
    ] {
        let code = format!(
            "throw Object.defineProperties(new Error('m'), Object.getOwnPropertyDescriptors({fields}))"
        );
        let error = error_of(&service, &code);
        assert_eq!(error["properties"], shown, "{fields}");
    }
    let error = error_of(
        &service,
        "const e = new Error('m'); for (let i = 0; i < 5000; i++) e['p' + i] = i; throw e",
    );
    assert_eq!(error["properties"].as_object().unwrap().len(), 100);
    let error = error_of(
        &service,
        "const e = new Error('m'); for (let i = 0; i < 50; i++) e['p' + i] = 'x'.repeat(1000); throw e",
    );
    let shown = error["properties"].as_object().unwrap().len();
    assert!((10..17).contains(&shown), "{shown}");
    assert_eq!(
        error_of(&service, "throw new Error('m')").get("properties"),
        None
    );
}

#[test]
fn the_errors_of_an_aggregate_are_shown() {
    let service = Service::start();
    let code = "await Promise.any([Promise.reject(new TypeError('a')), Promise.reject('b')])";
    let error = error_of(&service, code);
    assert_eq!(error["name"], "AggregateError");
    let errors = &error["errors"];
    assert_eq!(
        [&errors[0]["name"], &errors[0]["message"], &errors[1]],
        ["TypeError", "a", "b"]
    );
    let code = "let e = new Error('deep'); for (let i = 0; i < 200; i++) e = new AggregateError([e]); throw e";
    assert!(error_of(&service, code).get("errors").is_some());
    let code = "throw new AggregateError(Array.from({length: 1000}, (_, i) => i))";
    assert_eq!(
        error_of(&service, code)["errors"].as_array().unwrap().len(),
        100
    );
    assert_eq!(
        error_of(&service, "throw new AggregateError([])").get("errors"),
        None
    );
}

#[test]
fn an_error_whose_texts_are_all_escapes_is_reported_whole() {
    let service = Service::start();
    let code = "const t = '\\x01'.repeat(1e5); const e = new Error(t); e.name = t; e.stack = t; e.p = t; throw e";
    let error = error_of(&service, code);
    for text in ["name", "message", "stack"] {
        assert!(
            error[text].as_str().unwrap().len() >= TEXT_BYTES_MAX,
            "{text}"
        );
    }
}

#[test]
fn a_cause_is_shown_as_a_value() {
    let service = Service::start();
    let inner = json!({"name": "TypeError", "message": "c", "stack": "    at <eval> (code:1:34)"});
    for (cause, shown) in [
        ("new TypeError('c')", inner),
        ("{a: [1]}", json!({"a": [1]})),
        ("null", json!(null)),
        ("0", json!(0)),
        ("'x'.repeat(20_000)", json!("[Too large]")),
        ("{get a() { throw 1 }}", json!("[Unreadable]")),
    ] {
        let error = error_of(
            &service,
            &format!("throw new Error('e', {{cause: {cause}}})"),
        );
        assert_eq!(error.get("cause"), Some(&shown), "{cause}");
    }
    for code in [
        "throw new Error('e')",
        "throw new Error('e', {cause: undefined})",
    ] {
        assert_eq!(error_of(&service, code).get("cause"), None, "{code}");
    }
}

#[test]
fn an_error_that_fights_being_read_is_shown_as_far_as_it_can_be() {
    let service = Service::start();
    let hostile = |what: &str| format!("const e = new Error('m'); {what}; throw e");
    for (what, name, message) in [
        (
            "Object.defineProperty(e, 'message', {get() { throw 1 }})",
            "Error",
            "",
        ),
        (
            "Object.defineProperty(e, 'name', {get() { throw 1 }})",
            "Error",
            "m",
        ),
        (
            "Object.defineProperty(e, 'stack', {get() { throw 1 }})",
            "Error",
            "m",
        ),
        (
            "Object.defineProperty(e, 'cause', {get() { throw 1 }})",
            "Error",
            "m",
        ),
        ("e.name = {}; e.message = null", "Error", ""),
        ("e.name = 5; e.message = Symbol('q')", "5", "Symbol(q)"),
        ("Object.setPrototypeOf(e, null)", "Error", "m"),
        ("e.stack = 7..toString()", "Error", "m"),
        (
            "Error.prepareStackTrace = () => { throw 1 }; e.message = new Error().stack",
            "Error",
            "",
        ),
    ] {
        let error = error_of(&service, &hostile(what));
        assert_eq!(
            [&error["name"], &error["message"]],
            [name, message],
            "{what}: {error}"
        );
    }
    for thrown in [
        "new Proxy({}, {get() { throw 1 }, ownKeys() { throw 2 }, getPrototypeOf() { throw 3 }})",
        "new Proxy(new Error('inside'), {get() { throw 1 }})",
        "{get a() { throw 1 }}",
        "{toJSON() { throw 1 }}",
    ] {
        let error = error_of(&service, &format!("throw {thrown}"));
        assert_eq!(
            [&error["name"], &error["message"]],
            ["NonError", "[Unreadable]"],
            "{thrown}"
        );
    }
}

#[test]
fn a_huge_error_is_clipped() {
    let service = Service::start();
    for code in [
        "throw new Error('é'.repeat(100_000))",
        "throw 'é'.repeat(100_000)",
    ] {
        let message = error_of(&service, code)["message"]
            .as_str()
            .unwrap()
            .to_owned();
        assert_eq!(message, "é".repeat(TEXT_BYTES_MAX / 2) + CLIPPED, "{code}");
    }
    let error = error_of(
        &service,
        "const e = new Error('m'); e.stack = 'x'.repeat(1e6); e.name = 'n'.repeat(1e6); throw e",
    );
    assert_eq!(error["stack"], "x".repeat(TEXT_BYTES_MAX) + CLIPPED);
    assert_eq!(error["name"], "n".repeat(TEXT_BYTES_MAX) + CLIPPED);
    let error = error_of(&service, "throw {a: 'x'.repeat(100_000)}");
    assert_eq!(
        [&error["message"], &error["value"]],
        ["[Too large]", "[Too large]"]
    );
}
