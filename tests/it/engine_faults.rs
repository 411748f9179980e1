//! Faults of QuickJS that only a change of its C code can fix. docs/engine.md describes each, with a text for the
//! authors.
//!
//! Each test expects today's wrong result. A test that fails here means that the bundled QuickJS is fixed. Then remove
//! the test and the section in docs/engine.md, and add the script with its right result to
//! `src/selftest/corpus/engine.table`.

use crate::support::Service;
use serde_json::json;

#[test]
fn an_async_generator_entered_again_rejects_with_a_value_of_the_engines_own() {
    const RIGHT: &str = r#"["string", true]"#;
    let code = "let generator, entered = false, reason = 'nothing yet';
        async function* counting() { try { yield 'a'; yield 'b'; await 0 } finally { yield 'c' } }
        Object.defineProperty(Object.prototype, 'then', {configurable: true, get() {
            if (!generator || entered) return;
            entered = true;
            generator.throw('thrown').then(() => { reason = 'fulfilled' }, (e) => { reason = [typeof e, e === e] });
        }});
        generator = counting();
        try { await generator.next() } catch {}
        try { await generator.next() } catch {}
        delete Object.prototype.then;
        reason";
    let service = Service::start();
    let seen = service.result(code);
    assert_eq!(
        seen,
        json!(["unknown", false]),
        "QuickJS answers otherwise than it did; {RIGHT} is right. See the head of this file for what to do"
    );
    // The fault is contained: the value can be returned and logged, and is null then.
    let shown = service.run(&code.replace("[typeof e, e === e]", "[e]; console.log(e)"));
    assert_eq!(shown["outcome"], "succeeded", "{shown}");
    assert_eq!(shown["result"], json!([null]), "{shown}");
    assert_eq!(shown["log"][0]["data"], json!([null]), "{shown}");
    assert_eq!(service.result("1 + 2"), 3);
}

/// A script, and what it returns today, and what it should return.
const FAULTS: [(&str, &str, &str); 12] = [
    ("({ ...'ab', z: 1 })", r#"{"z":1}"#, r#"{"0":"a","1":"b","z":1}"#),
    (
        "[String(2 ** -44), String(2 ** 89), String(2 ** -24)]",
        r#"["5.6843418860808015e-14","6.1897001964269014e+26","5.9604644775390625e-8"]"#,
        r#"["5.684341886080802e-14","6.189700196426902e+26","5.960464477539063e-8"]"#,
    ),
    (
        "['a-b', 'a/b', 'a::b', 'a\\\\-b'].map((text) => { try { return new RegExp(text, 'v').flags } catch { return 0 } })",
        "[0,0,0,0]",
        r#"["v","v","v",0]"#,
    ),
    (
        "let closed = 0;
        const pages = { [Symbol.asyncIterator]: () => ({ next: () => Promise.reject(new Error('page 2')), return() { closed++; return {}; } }) };
        try { for await (const p of pages) p; } catch (e) { }
        closed",
        "1",
        "0",
    ),
    ("{ function f() { return 1; } function f() { return 2; } }\nf()", "1", "2"),
    (
        "const target = { get total() { return 42; } };
        const p = new Proxy(target, { getOwnPropertyDescriptor: Reflect.getOwnPropertyDescriptor });
        typeof Object.getOwnPropertyDescriptor(p, 'total').get",
        r#""undefined""#,
        r#""function""#,
    ),
    (
        "const log = []; const key = { toString() { log.push('key'); return 'k'; } };
        ({})[key] = (log.push('value'), 1);
        log",
        r#"["key","value"]"#,
        r#"["value","key"]"#,
    ),
    (
        "[[1, 2, 3].sort(() => 1), [1, 2, 3].sort(() => -1), [3, 1, 2].sort((a, b) => a > b)]",
        "[[3,2,1],[1,2,3],[1,2,3]]",
        "[[1,2,3],[3,2,1],[3,1,2]]",
    ),
    ("await 0; typeof (async function await() {})", r#""function""#, "a SyntaxError"),
    (
        "class Report {\n  rows = this.config.rows;\n}\ntry { new Report() } catch (e) { e.stack.includes('code:0:1') }",
        "true",
        "false",
    ),
    (
        "const text = '({a:'.repeat(2e4) + '1' + '})'.repeat(2e4);
        const at = (depth) => (depth ? at(depth - 1) : eval(text));
        const names = new Set();
        for (let depth = 0; depth < 32; depth++) try { at(depth) } catch (e) { names.add(e.name) }
        [...names].sort()",
        r#"["RangeError","SyntaxError"]"#,
        r#"["RangeError"]"#,
    ),
    (
        "Object.prototype.then = (resolve) => resolve('other'); await 1; 5",
        r#""other""#,
        "5",
    ),
];

#[test]
fn a_specifier_ends_at_a_nul() {
    let service = Service::start();
    let request = json!({ "code": "(await import('./a.js\\0b')).default", "modules": { "./a.js": "export default 1" } });
    let execution = service.execute(&request);
    assert_eq!(
        execution["result"], 1,
        "a TypeError is right. See the head of this file for what to do: {execution}"
    );
}

#[test]
fn a_fault_that_docs_engine_lists_is_still_there() {
    let service = Service::start();
    for (code, today, right) in FAULTS {
        let execution = service.run(code);
        let today: serde_json::Value = serde_json::from_str(today).unwrap();
        assert_eq!(
            execution["result"], today,
            "{code}: QuickJS answers otherwise than it did; {right} is right. See the head of this file for what to do"
        );
    }
}

#[test]
fn an_import_through_a_module_that_waited_for_another_never_settles() {
    let service = Service::start();
    let run = |waits: &str| {
        service.execute(&json!({
            "code": "const a = await import('./a.js'); const b = await import('./b.js'); a.twice + b.twice",
            "modules": {
                "./config.js": "export const size = await 5",
                "./common.js": format!("import {{ size }} from './config.js'; {waits} export const twice = 2 * size"),
                "./a.js": "export { twice } from './common.js'",
                "./b.js": "export { twice } from './common.js'",
            },
        }))
    };
    let execution = run("");
    assert_eq!(
        execution["error"]["name"], "UnsettledPromise",
        "QuickJS answers otherwise than it did; 20 is right. See the head of this file for what to do: {execution}"
    );
    // What docs/engine.md advises.
    assert_eq!(run("await null;")["result"], 20);
}

#[test]
fn a_module_exports_no_variable_of_using() {
    let service = Service::start();
    let code = "using file = { [Symbol.dispose]() {} }; export { file }; export default 1";
    let execution = service.execute(&json!({ "code": code, "kind": "module" }));
    assert_eq!(
        execution["error"]["name"], "SyntaxError",
        "QuickJS answers otherwise than it did; 1 is right. See the head of this file for what to do: {execution}"
    );
}
