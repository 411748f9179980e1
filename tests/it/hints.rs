//! Errors that teach: hints, names of what is no function, and places that the engine does not know.

use crate::support::Service;
use serde_json::{Value, json};

/// Returns the error of `code`, which must throw.
fn error_of(service: &Service, code: &str) -> Value {
    let execution = service.run(code);
    assert_eq!(execution["outcome"], "threw", "{code}: {execution}");
    execution["error"].clone()
}

fn hint_of(shown: &Value) -> &str {
    shown["hint"].as_str().unwrap_or_default()
}

#[test]
fn an_error_of_a_common_mistake_says_what_to_do() {
    let service = Service::start();
    for (code, says) in [
        ("```js\nconst x = 2;\nx * 21\n```", "Markdown fence"),
        ("Here it is:\n```\n1\n```", "Markdown fence"),
        (
            "interface Row { id: number }\nconst r: Row = { id: 1 };\nr.id",
            "\"language\": \"typescript\"",
        ),
        ("const add = (a: number, b: number) => a + b", "TypeScript"),
        ("const fs = require('fs')", "no `require`"),
        ("process.env.HOME", "`input`"),
        ("Buffer.from('a')", "`Buffer`"),
        ("window.x", "`globalThis`"),
        ("setImmediate(() => {})", "`setTimeout(f)`"),
        ("input.rows", "no `input`"),
        ("module.exports = 1", "CommonJS"),
        ("localStorage.x", "no page"),
        ("print('x')", "`console.log`"),
        ("_.map([])", "no libraries"),
        ("new WebAssembly.Module()", "WebAssembly"),
        ("const rows = [1].map((x) => await x)", "needs `async`"),
        ("await new Promise(() => {})", "nothing will settle"),
        ("new Promise(() => {})", "nothing will settle"),
    ] {
        let error = error_of(&service, code);
        assert!(hint_of(&error).contains(says), "{code}: {error}");
    }
}

#[test]
fn a_script_that_succeeds_without_doing_anything_has_a_hint() {
    let service = Service::start();
    for (code, says) in [
        ("async () => {\n  return 42;\n}", "`(…)()`"),
        ("function main() {}\nmain", "`main()`"),
        ("(function handler() {})", "`handler()`"),
        ("async function main() { return 1 }", "`await main()`"),
        ("const main = async () => 1;", "`await main()`"),
    ] {
        let execution = service.run(code);
        assert_eq!(execution["status"], "success", "{execution}");
        assert!(hint_of(&execution).contains(says), "{code}: {execution}");
    }
}

#[test]
fn where_nothing_is_probable_there_is_no_hint() {
    let service = Service::start();
    for code in [
        "1 + 2",
        "class A {} A",
        "function main() { return 1 }\nmain()",
        "const main = 5; undefined",
        "console.log('main')",
        "() => 1, 5",
    ] {
        let execution = service.run(code);
        assert_eq!(execution["status"], "success", "{execution}");
        assert_eq!(execution.get("hint"), None, "{code}: {execution}");
    }
    for code in [
        "unknown",
        "null.x",
        "throw new Error('m')",
        "let a = ;",
        "(async function* await() {})",
        "throw 'interface Row { id: number }'",
        "new Function('const x: number = 1')",
    ] {
        let error = error_of(&service, code);
        assert_eq!(error.get("hint"), None, "{code}: {error}");
    }
}

#[test]
fn a_limit_that_was_hit_comes_with_what_would_raise_it() {
    let service = Service::start();
    for (code, limits, says) in [
        (
            "for (;;) {}",
            json!({"timeoutMs": 50}),
            "`limits.timeoutMs`",
        ),
        (
            "Array.prototype.reverse.call({length: 2 ** 53 - 1})",
            json!({"timeoutMs": 50}),
            "`limits.timeoutMs`",
        ),
        (
            "const a = []; for (;;) a.push({})",
            json!({"memoryBytes": 2_000_000}),
            "`limits.memoryBytes`",
        ),
        (
            "'x'.repeat(1000)",
            json!({"outputBytes": 256}),
            "`limits.outputBytes`",
        ),
        ("(function f() { f() })()", json!({}), "A loop"),
    ] {
        let execution = service.execute(&json!({ "code": code, "limits": limits }));
        assert_eq!(execution["status"], "error", "{execution}");
        assert!(
            hint_of(&execution["error"]).contains(says),
            "{code}: {execution}"
        );
    }
}

#[test]
fn what_is_no_function_is_named_where_the_source_tells_it() {
    let service = Service::start();
    for (code, name) in [
        (
            "const order = { items: [] };\norder.items.sum()",
            "order.items.sum",
        ),
        ("const f = 5;\nf()", "f"),
        ("const a = [1];\na[0]()", "a[0]"),
        (
            "const users = [{n: 1}];\nusers.forEach(u => u.greet('x', u.n))",
            "u.greet",
        ),
        ("const o = {};\no.run(1, 'two', o)", "o.run"),
        ("const o = {};\nconsole.log(o.total())", "o.total"),
        ("const o = { f() { return {} } };\no.f().g()", "o.f().g"),
        (
            "class A { run() {\n this.missing() } }\nnew A().run()",
            "this.missing",
        ),
        ("const o = {};\no\n  .first()", "o .first"),
        ("const o = {}; await 1;\no.later()", "o.later"),
    ] {
        let error = error_of(&service, code);
        assert_eq!(
            error["message"],
            format!("{name} is not a function"),
            "{code}"
        );
        assert_eq!(error["name"], "TypeError", "{code}");
    }
    // Two calls share the position that the engine knows, so neither is named.
    let error = error_of(&service, "let f, g = (x) => x;\nf(g(1))");
    assert_eq!(error["message"], "not a function");
    // The script itself sees the engine's message.
    let seen = service.result("const o = {}; try { o.run() } catch (e) { e.message }");
    assert_eq!(seen, "not a function");
}

#[test]
fn a_line_is_right_where_the_engine_knows_none() {
    let service = Service::start();
    for (code, line) in [
        (
            "class Report {\n  title = 'x';\n  rows = this.config.rows;\n}\nnew Report();",
            3,
        ),
        (
            "class A {\n  run() {\n    const a = 1;\n    const b = 2;\n    return this.y.z;\n  }\n}\nnew A().run();",
            5,
        ),
        (
            "function f(order) {\n  const customer = order.customer;\n\n  const { name } = customer;\n  return name;\n}\nf({});",
            4,
        ),
        ("class A {\n  x = null.y;\n}\nnew A()", 2),
    ] {
        let error = error_of(&service, code);
        assert_eq!(error["lineNumber"], line, "{code}: {error}");
        assert_eq!(error["fileName"], "code", "{code}: {error}");
    }
}

#[test]
fn no_line_is_0() {
    let service = Service::start();
    for code in [
        "class A { a = this.b.c; d = this.b.c }\nnew A()",
        "class A { static a = null.b }",
        "class A { a = (() => { throw new Error('m') })() }\nnew A()",
        "class A { [null.x] = 1 }",
        "class B extends (class A { a = this.b.c; d = this.b.c }) {}\nnew B()",
    ] {
        let error = error_of(&service, code);
        assert_ne!(error["lineNumber"], 0, "{code}: {error}");
        assert!(
            !error["stack"].as_str().unwrap().contains(":0:"),
            "{code}: {error}"
        );
    }
}

#[test]
fn a_timeout_says_in_which_loop_the_script_stood() {
    let service = Service::start();
    for (code, line, says) in [
        (
            "console.log('a');\nlet n = 0;\nwhile (true) {\n  n += 1\n}",
            3,
            "in the loop of line 3",
        ),
        (
            "function spin() {\n  Math.max(1);\n  let n = 0;\n  for (;;) {}\n}\nspin()",
            4,
            "in the loop of line 4",
        ),
        (
            "let n = 0;\ndo {\n  n = Math.max(n, 1)\n} while (true)",
            2,
            "in the loop of line 2",
        ),
    ] {
        let limits = json!({"timeoutMs": 60});
        let request = json!({ "code": code, "limits": limits });
        let execution = service.execute_until_interrupted(&request);
        assert_eq!(execution["outcome"], "timed_out", "{execution}");
        let error = &execution["error"];
        assert!(
            error["message"].as_str().unwrap().contains(says),
            "{code}: {error}"
        );
        assert_eq!(error["lineNumber"], line, "{code}: {error}");
    }
}

#[test]
fn a_timeout_that_fits_two_loops_names_none() {
    let service = Service::start();
    let code = "for (let i = 0; i < 3; i++) {}\nwhile (true) {}";
    let request = json!({ "code": code, "limits": {"timeoutMs": 60} });
    let execution = service.execute_until_interrupted(&request);
    let message = execution["error"]["message"].as_str().unwrap();
    assert!(message.ends_with("in or after line 1"), "{execution}");
}
