//! Errors of scripts in the API: name, message, stack, and the position in the user's text.

use crate::files::scripts_dir;
use crate::support::Service;
use serde_json::{Value, json};

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
fn an_error_has_name_message_stack_and_the_place_in_the_code() {
    let service = Service::start();
    let code = "function inner() {\n  throw new TypeError('why')\n}\nfunction outer() { inner() }\n  outer()";
    assert_eq!(
        error_of(&service, code),
        json!({
            "name": "TypeError",
            "message": "why",
            "stack": "    at inner (code:2:13)\n    at outer (code:4:20)\n    at <eval> (code:5:3)",
            "fileName": "code",
            "lineNumber": 2,
            "columnNumber": 13,
        })
    );
}

#[test]
fn every_error_knows_its_name_and_place() {
    let service = Service::start();
    for (code, name, line, column) in [
        ("x", "ReferenceError", 1, 1),
        ("\n  foo.bar()", "ReferenceError", 2, 3),
        ("null.foo", "TypeError", 1, 1),
        ("const o = {};\no.a.b", "TypeError", 2, 1),
        ("undefined()", "TypeError", 1, 1),
        ("const c = 1;\nc = 2", "TypeError", 2, 1),
        ("let t = later; let later = 1", "ReferenceError", 1, 9),
        ("new Array(-1)", "RangeError", 1, 5),
        ("1n + 1", "TypeError", 1, 5),
        ("decodeURIComponent('%')", "URIError", 1, 1),
        ("JSON.parse('{bad')", "SyntaxError", 1, 5),
        ("eval('1 +')", "SyntaxError", 1, 1),
        ("new RegExp('(')", "SyntaxError", 1, 5),
        ("atob('*')", "InvalidCharacterError", 1, 1),
        (
            "// a comment\n\n\tthrow new EvalError('m')",
            "EvalError",
            3,
            12,
        ),
        (
            "[1].map(function () {\n throw new Error('m') })",
            "Error",
            2,
            12,
        ),
        ("({toJSON() {\n throw new Error('m') }})", "Error", 2, 12),
        ("eval('throw new Error(1)')", "Error", 1, 1),
        ("new Function('throw new Error(1)')()", "Error", 1, 4),
        (
            "class A { #p; static t(o) { return o.#p } }\nA.t({})",
            "TypeError",
            1,
            36,
        ),
        ("'use strict'; undeclared = 1", "ReferenceError", 1, 15),
    ] {
        let error = error_of(&service, code);
        assert_eq!(error["name"], name, "{code}: {error}");
        assert_eq!(error["fileName"], "code", "{code}: {error}");
        let place = [&error["lineNumber"], &error["columnNumber"]];
        assert_eq!(place, [&json!(line), &json!(column)], "{code}: {error}");
        assert_ne!(error["message"], "", "{code}");
    }
}

#[test]
fn source_that_does_not_parse_is_a_syntax_error_with_its_place() {
    let service = Service::start();
    for (code, line, column) in [
        ("let a = 1;\nlet b = ;", 2, 9),
        ("\n\n   foo(", 3, 8),
        ("var 1a", 1, 5),
        ("'abc", 1, 1),
        ("{", 1, 2),
        ("}", 1, 1),
        ("const a;", 1, 8),
        ("let a; let a;", 1, 13),
        ("return 5", 1, 1),
        ("import x from 'y'", 1, 8),
        ("export default 1", 1, 1),
        ("await 1; return 5", 1, 10),
        ("'use strict'; with (a) {}", 1, 15),
    ] {
        let error = error_of(&service, code);
        assert_eq!(error["name"], "SyntaxError", "{code}: {error}");
        let place = [
            &error["fileName"],
            &error["lineNumber"],
            &error["columnNumber"],
        ];
        assert_eq!(
            place,
            [&json!("code"), &json!(line), &json!(column)],
            "{code}: {error}"
        );
        assert_eq!(
            error["stack"],
            format!("    at code:{line}:{column}"),
            "{code}"
        );
    }
}

#[test]
fn an_error_next_to_an_await_has_its_own_position() {
    let service = Service::start();
    for (code, place) in [
        ("const x = await 1;\nconst b = ;", json!([2, 11])),
        ("var await = 1;\nconst b = ;", json!([2, 11])),
        (
            "async function f() { await 1 }\nconst b = ;",
            json!([2, 11]),
        ),
        ("'await';\nconst b = ;", json!([2, 11])),
        ("await 1;\n/(/", json!([null, null])),
        ("var await;\n/(/", json!([null, null])),
        ("let a;\n(async function await() {})", json!([2, 17])),
    ] {
        let error = error_of(&service, code);
        assert_eq!(error["name"], "SyntaxError", "{code}");
        let shown = json!([error["lineNumber"], error["columnNumber"]]);
        assert_eq!(shown, place, "{code}: {error}");
    }
}

#[test]
fn nothing_of_code_that_does_not_parse_has_run() {
    let service = Service::start();
    for code in [
        "console.log('ran');\nlet b = ;",
        "console.log('ran'); await 1;\nlet b = ;",
        "console.log('ran');\n(async function await() {})",
        "console.log('ran');\n(async function* await() {})",
    ] {
        assert_eq!(service.run(code)["log"], json!([]), "{code}");
    }
}

#[test]
fn a_column_counts_utf_16_units_as_editors_do() {
    let service = Service::start();
    for (code, column) in [
        ("/* e */ throw new Error()", 19),
        ("/* é */ throw new Error()", 19),
        ("/* 😀 */ throw new Error()", 20),
        ("/* 😀 */ let b = ;", 18),
        ("'é';\n/* 😀😀 */ throw new Error()", 22),
    ] {
        let error = error_of(&service, code);
        assert_eq!(error["columnNumber"], column, "{code}");
        let stack = error["stack"].as_str().unwrap();
        assert!(stack.contains(&format!(":{column}")), "{code}: {stack}");
    }
}

#[test]
fn code_and_file_are_distinguished() {
    let folder = scripts_dir(
        "errors",
        &[
            (
                "throws.js",
                "// second line\n  throw new RangeError('in the file')",
            ),
            ("syntax.js", "const a = 1;\nconst b = ;"),
            ("calls.js", "fromCode()"),
        ],
    );
    let service = Service::start_with(&["--scripts-dir", &folder]);
    let from_code = "function fromCode() {\n throw new Error('in the code')\n}";
    for (code, file, place, stack) in [
        (
            "1",
            "throws.js",
            json!(["throws.js", 3, 13]),
            "    at <eval> (throws.js:3:13)",
        ),
        (
            "1",
            "syntax.js",
            json!(["syntax.js", 3, 11]),
            "    at syntax.js:3:11",
        ),
        (
            "const b = ;",
            "throws.js",
            json!(["code", 1, 11]),
            "    at code:1:11",
        ),
        (
            from_code,
            "calls.js",
            json!(["code", 2, 12]),
            "    at fromCode (code:2:12)\n    at <eval> (calls.js:2:1)",
        ),
    ] {
        let execution = service.execute(&json!({"code": code, "file": file}));
        let error = &execution["error"];
        assert_eq!(execution["outcome"], "threw");
        assert_eq!(
            json!([
                error["fileName"],
                error["lineNumber"],
                error["columnNumber"]
            ]),
            place
        );
        assert_eq!(error["stack"], stack);
    }
}

#[test]
fn a_place_is_only_ever_one_in_the_users_text() {
    let service = Service::start();
    for (stack, file_name) in [
        ("    at z (/etc/passwd:1:1)", Value::Null),
        ("    at z (other:1:1)", Value::Null),
        ("    at z (code:x:1)", Value::Null),
        ("    at z (code:99999999999:1)", Value::Null),
        ("not a stack", Value::Null),
        ("    at z (native)\n    at y (code:7:3)", json!("code")),
    ] {
        let code = format!(
            "const e = new Error('m'); e.stack = {}; throw e",
            json!(stack)
        );
        let error = error_of(&service, &code);
        assert_eq!(error["fileName"], file_name, "{stack}");
        assert_eq!(error["stack"], stack);
    }
}

#[test]
fn no_stack_shows_anything_of_the_host() {
    let service = Service::start();
    let print = "const seen = []; const look = (where) => { seen.push(where + ':' + new Error().stack); return 1 };";
    let look_everywhere = format!(
        "{print}
        Error.prepareStackTrace = (e, frames) => frames.map((f) => [f.getFileName(), String(f.getFunction())]).join();
        const again = () => {{ look('hook'); Error.prepareStackTrace = undefined; look('plain') }};
        new Date({{valueOf: again}}); console.time({{toString: again}}); console.log({{get a() {{ again() }}}});
        console.log({{toJSON: again}}); setTimeout(again, {{valueOf: again}}); queueMicrotask(again);
        await new Promise((done) => setTimeout(done, 5)); again(); console.trace();
        seen"
    );
    for request in [
        json!({"code": look_everywhere}),
        json!({"code": look_everywhere, "seed": 1}),
    ] {
        let execution = service.execute(&request);
        assert_eq!(execution["outcome"], "succeeded", "{execution}");
        assert!(
            execution["result"].as_array().unwrap().len() > 12,
            "{execution}"
        );
        let text = execution.to_string();
        for word in [
            "sandpiper",
            "prelude",
            ".rs",
            "rquickjs",
            "rust",
            "/src/",
            "Reflect",
            "uncurry",
        ] {
            assert!(!text.contains(word), "{word}: {text}");
        }
    }
}
