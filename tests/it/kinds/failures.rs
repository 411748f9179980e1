//! Places and hints of errors, and requests that are refused.

use super::{place, run_module};
use crate::support::{Service, assert_refused};
use serde_json::{Value, json};

fn run(service: &Service, kind: &str, code: &str) -> Value {
    service.execute(&json!({ "code": code, "kind": kind }))
}

#[test]
fn lines_and_columns_are_true_in_a_function() {
    let service = Service::start();
    for (code, line, column) in [
        ("null.x", 1, 1),
        // The engine gives the start of a function for what stands before its first call or statement with a position.
        ("return null.x", 1, 1),
        ("return none()", 1, 8),
        ("const é = '日本'; null.x", 1, 17),
        ("\n\n  null.x", 3, 3),
        ("await 1;\n return [1].map(() => none())", 2, 23),
        ("const a;", 1, 8),
        ("let a;\nlet b = ;", 2, 9),
        ("return super.x", 1, 13),
        ("import x from 'y'", 1, 8),
    ] {
        let execution = run(&service, "function", code);
        assert_eq!(execution["outcome"], "threw", "{code}: {execution}");
        assert_eq!(
            place(&execution),
            ("code", line, column),
            "{code}: {execution}"
        );
    }
    // What a script itself reads of its stack is true too.
    let own = "try {\n  null.x } catch (error) { return error.stack }";
    let stack = run(&service, "function", own)["result"].clone();
    assert!(stack.as_str().unwrap().contains("(code:2:3)"), "{stack}");
}

#[test]
fn a_text_that_leaves_its_function_does_not_run() {
    let service = Service::start();
    for code in [
        "} evil: {",
        "}); (async function () {",
        "}, async function () {",
        "}, x, async function () {",
        "}[0] = async function () {",
        "}, async n() {",
        "} : async function () {",
        "}}); ({ async m() {",
        "}",
        "{",
        "`",
        "/*",
    ] {
        let code = format!("console.log('in'); {code} console.log('out')");
        let execution = run(&service, "function", &code);
        assert_eq!(
            execution["error"]["name"], "SyntaxError",
            "{code}: {execution}"
        );
        assert_eq!(execution["log"], json!([]), "{code}");
        let (file, line, _) = place(&execution);
        assert_eq!((file, line), ("code", 1), "{code}: {execution}");
    }
}

#[test]
fn an_import_of_what_is_not_there_says_what_there_is_and_where_it_was() {
    let service = Service::start();
    let modules = json!({ "./a.js": "export const a = 1;\nimport './lib/b.js'", "./lib/b.js": "\n\nimport x from './none.js'" });
    let rows = [
        (
            "import { a } from './a.js'",
            "./lib/b.js",
            3,
            15,
            "./none.js",
        ),
        ("\n  import y from 'lodash'", "code", 2, 17, "lodash"),
        ("await import('lodash')", "code", 1, 14, "lodash"),
        ("export default () => import('./a')", "code", 1, 29, "./a"),
    ];
    for (code, file, line, column, missing) in rows {
        let execution = run_module(&service, code, &modules);
        let error = &execution["error"];
        assert_eq!(error["name"], "TypeError", "{code}: {execution}");
        assert_eq!(
            place(&execution),
            (file, line, column),
            "{code}: {execution}"
        );
        let message = error["message"].as_str().unwrap();
        let expected = format!("cannot find module \"{missing}\"");
        assert!(message.starts_with(&expected), "{message}");
        assert!(message.contains("\"./a.js\", \"./lib/b.js\""), "{message}");
    }
    let many: serde_json::Map<String, Value> = (0..256)
        .map(|n| (format!("./m{n}.js"), json!("")))
        .collect();
    let execution = run_module(&service, "import './none.js'", &Value::from(many));
    let message = execution["error"]["message"].as_str().unwrap();
    assert!(message.ends_with("and 246 more"), "{message}");
}

#[test]
fn an_import_of_a_name_that_is_not_exported_has_its_place() {
    let service = Service::start();
    let modules = json!({ "./a.js": "export const a = 1", "./b.js": "export { c } from './a.js'", "./loop.js": "export * from './loop.js'" });
    for (code, file, line, column) in [
        ("import { a, b } from './a.js'", "code", 1, 13),
        ("import {\n  a,\n  b,\n} from './a.js'", "code", 3, 3),
        ("import a from './a.js'", "code", 1, 1),
        ("import './b.js'", "./b.js", 1, 10),
        ("import { x } from './loop.js'", "code", 1, 10),
    ] {
        let execution = run_module(&service, code, &modules);
        assert_eq!(
            execution["error"]["name"], "SyntaxError",
            "{code}: {execution}"
        );
        assert_eq!(
            place(&execution),
            (file, line, column),
            "{code}: {execution}"
        );
    }
}

#[test]
fn errors_of_modules_name_the_module_and_its_own_lines() {
    let service = Service::start();
    for (module, line, column, name) in [
        ("\nlet 1a", 2, 5, "SyntaxError"),
        ("\n  null.x", 2, 3, "TypeError"),
        ("await 1;\n  null.x", 2, 3, "TypeError"),
        ("é = 1", 1, 1, "ReferenceError"),
        (
            "import { b } from './circle.js'; export const c = b",
            1,
            51,
            "ReferenceError",
        ),
        ("export default 1;\nexport default 2", 2, 17, "SyntaxError"),
        ("return 1", 1, 1, "SyntaxError"),
    ] {
        let modules = json!({
            "./m.js": module,
            "./circle.js": "import { c } from './m.js'; export const b = c",
        });
        let import = if module.contains("circle") {
            "./circle.js"
        } else {
            "./m.js"
        };
        for code in [
            format!("import '{import}'"),
            format!("await import('{import}')"),
        ] {
            let execution = run_module(&service, &code, &modules);
            assert_eq!(execution["error"]["name"], name, "{module}: {execution}");
            assert_eq!(place(&execution).0, "./m.js", "{module}: {execution}");
            assert_eq!(
                place(&execution),
                ("./m.js", line, column),
                "{module}: {execution}"
            );
        }
    }
}

#[test]
fn a_module_that_waits_for_nothing_fails_at_once_and_the_one_possible_place_is_named() {
    let service = Service::start();
    let sleep = "await new Promise((done) => setTimeout(done, 1));";
    for (kind, code, module, expected) in [
        (
            "module",
            "import './a.js'",
            "\n  await new Promise(() => {})",
            ("./a.js", 2, 9),
        ),
        (
            "module",
            "import './a.js'",
            "await import('./a.js')",
            ("./a.js", 1, 1),
        ),
        (
            "module",
            "await new Promise((done) => {}); export default 1",
            "",
            ("code", 1, 7),
        ),
        (
            "module",
            &format!("{sleep}\nexport default new Promise(() => {{}})"),
            "",
            ("code", 2, 16),
        ),
        (
            "function",
            &format!("{sleep}{sleep}\nawait new Promise(() => {{}})"),
            "",
            ("code", 2, 7),
        ),
        (
            "script",
            "let go;\nconst gone = new Promise((done) => { go = done });\nawait gone",
            "",
            ("code", 2, 14),
        ),
        (
            "script",
            "await (await import('./a.js')).gone",
            "const later = () => {}; export const gone = new Promise((done) => { later(() => done()) })",
            ("./a.js", 1, 45),
        ),
        // Two places are possible.
        (
            "script",
            &format!("{sleep} let go; await new Promise((done) => {{ go = done }})"),
            "",
            ("", 0, 0),
        ),
    ] {
        let request = json!({ "kind": kind, "code": code, "modules": { "./a.js": module } });
        let execution = service.execute(&request);
        assert_eq!(
            execution["error"]["name"], "UnsettledPromise",
            "{execution}"
        );
        assert_eq!(place(&execution), expected, "{code}: {execution}");
    }
}

#[test]
fn an_export_of_what_is_not_there_has_its_place() {
    let service = Service::start();
    let modules = json!({ "./a.js": "export const x = 1;\nexport { x as y, z }", "./b.js": "const z = 1; export { z }" });
    let execution = run_module(&service, "import './b.js'; import './a.js'", &modules);
    assert_eq!(place(&execution), ("./a.js", 2, 18), "{execution}");
    let own = run_module(&service, "\nexport { x as default }", &json!({}));
    assert_eq!(place(&own), ("code", 2, 10), "{own}");
}

#[test]
fn a_default_export_that_is_a_class_has_a_hint() {
    let service = Service::start();
    for (code, has_hint) in [
        ("export default class A {}", true),
        (
            "class A { constructor() { this.x = 1 } } export { A as default }",
            true,
        ),
        ("class A {} export default () => A()", false),
    ] {
        let execution = run_module(&service, code, &json!({}));
        let error = &execution["error"];
        assert_eq!(error["name"], "TypeError", "{execution}");
        assert_eq!(error["hint"].is_string(), has_hint, "{code}: {execution}");
    }
}

#[test]
fn limits_hold_in_every_kind() {
    let service = Service::start();
    for (kind, code, outcome) in [
        ("function", "for (;;);", "timed_out"),
        ("module", "\nfor (;;);", "timed_out"),
        ("module", "export default () => { for (;;); }", "timed_out"),
        (
            "module",
            "function f() { return 1 + f() } f()",
            "stack_exceeded",
        ),
        (
            "function",
            "const a = []; for (;;) a.push([a])",
            "memory_exceeded",
        ),
        (
            "module",
            "const a = []; for (;;) a.push([a])",
            "memory_exceeded",
        ),
        ("function", "return 'x'.repeat(2e6)", "output_exceeded"),
    ] {
        let request = json!({ "code": code, "kind": kind, "limits": { "timeoutMs": 200 } });
        let request = match outcome {
            "timed_out" => request,
            _ => json!({ "code": code, "kind": kind }),
        };
        let execution = service.execute_until_interrupted(&request);
        assert_eq!(execution["outcome"], outcome, "{kind} {code}: {execution}");
        if outcome == "timed_out" {
            assert_eq!(place(&execution).0, "code", "{kind} {code}: {execution}");
        }
    }
}

#[test]
fn a_syntax_error_of_the_wrong_kind_has_a_hint() {
    let service = Service::start();
    for (kind, code, hint) in [
        ("script", "return 5", "\"kind\": \"function\""),
        ("script", "if (1) { return 5 }", "\"kind\": \"function\""),
        ("script", "await 1; return 5", "\"kind\": \"function\""),
        ("script", "import x from 'y'", "\"kind\": \"module\""),
        ("script", "import 'y'", "\"kind\": \"module\""),
        (
            "script",
            "1;\nimport * as x from 'y'",
            "\"kind\": \"module\"",
        ),
        ("script", "export default 1", "\"kind\": \"module\""),
        ("script", "import.meta.url", "\"kind\": \"module\""),
        ("function", "import { x } from 'y'", "\"kind\": \"module\""),
        ("function", "export const x = 1", "\"kind\": \"module\""),
        ("module", "return 5", "export default"),
        ("script", "const x: number = 1", "TypeScript"),
        ("script", "interface User { name: string }", "TypeScript"),
        ("module", "export type Id = string", "TypeScript"),
        ("function", "const y = (a: string) => a", "TypeScript"),
        ("script", "```js\n1 + 2\n```", "Markdown"),
        ("module", "```\nexport default 1\n```", "Markdown"),
    ] {
        let execution = run(&service, kind, code);
        let found = execution["error"]["hint"].as_str().unwrap_or_default();
        assert!(found.contains(hint), "{kind} {code}: {execution}");
    }
    for (kind, code) in [
        ("script", "let a = ;"),
        ("script", "eval('return 5')"),
        (
            "script",
            "throw new SyntaxError('return not in a function')",
        ),
        ("script", "null.x"),
        ("function", "return ;;; let let"),
        ("module", "export default ;"),
    ] {
        let execution = run(&service, kind, code);
        assert!(execution["error"].is_object(), "{kind} {code}: {execution}");
        assert_eq!(
            execution["error"]["hint"],
            Value::Null,
            "{kind} {code}: {execution}"
        );
    }
}

#[test]
fn modules_beyond_the_rules_are_refused_by_name() {
    let service = Service::start();
    let many: serde_json::Map<String, Value> =
        (0..1000).map(|n| (format!("m{n}"), json!(""))).collect();
    let half = " ".repeat(600_000);
    for (request, status, code, part) in [
        (
            json!({ "code": "1", "modules": many }),
            400,
            "invalid_field",
            "1000",
        ),
        (
            json!({ "code": "1", "modules": [] }),
            400,
            "invalid_field",
            "object",
        ),
        (
            json!({ "code": "1", "modules": { "a": 1 } }),
            400,
            "invalid_field",
            "\"a\"",
        ),
        (
            json!({ "code": "1", "modules": { "../a.js": "" } }),
            400,
            "invalid_field",
            "./a.js",
        ),
        (
            json!({ "code": "1", "modules": { "code": "" } }),
            400,
            "invalid_field",
            "code",
        ),
        (json!({ "prelude": "1" }), 400, "missing_code", "code"),
        (
            json!({ "code": half, "modules": { "a": half } }),
            413,
            "code_too_large",
            "1200000",
        ),
        (
            json!({ "code": half, "prelude": half }),
            413,
            "code_too_large",
            "1200000",
        ),
        (
            json!({ "file": "simple.js", "kind": "module" }),
            422,
            "unsupported",
            "`file`",
        ),
        (
            json!({ "code": "1", "file": "simple.js", "kind": "function" }),
            422,
            "unsupported",
            "`file`",
        ),
        (
            json!({ "code": "1", "kind": "worker" }),
            400,
            "invalid_field",
            "\"module\"",
        ),
    ] {
        for path in ["/api/execute", "/api/jobs"] {
            let answer = service.post(path, &request);
            assert_refused(&answer, status, code, part);
            let detail = answer.json()["detail"].as_str().unwrap().to_owned();
            assert!(detail.contains(part), "{detail}");
        }
    }
    let twice = br#"{"code": "1", "modules": {"./a.js": "1", "./a.js": "2"}}"#;
    let json = [("content-type", "application/json")];
    let answer = service.post_raw("/api/execute", &json, twice);
    assert_refused(&answer, 400, "invalid_field", "two of one name");
    assert_eq!(answer.json()["field"], "modules../a.js");
}
