//! The kinds of scripts, their modules and their prelude, over every way in which a script can be given.

mod failures;
mod fuzz;
mod typescript;
mod ways;

use crate::support::Service;
use crate::table;
use serde_json::{Value, json};

/// Runs a module with these modules beside it.
fn run_module(service: &Service, code: &str, modules: &Value) -> Value {
    service.execute(&json!({ "code": code, "kind": "module", "modules": modules }))
}

/// Returns file name, line and column of the error.
fn place(execution: &Value) -> (&str, u64, u64) {
    let error = &execution["error"];
    (
        error["fileName"].as_str().unwrap_or_default(),
        error["lineNumber"].as_u64().unwrap_or_default(),
        error["columnNumber"].as_u64().unwrap_or_default(),
    )
}

#[test]
fn the_result_of_a_function_is_what_it_returns() {
    let request = json!({ "kind": "function", "input": { "a": 6 }, "globals": { "b": 7 } });
    table::check_with(
        &Service::start(),
        &request,
        "
        return input.a * b ==> 42 : number
        ==> null : undefined
        1 + 2 ==> null : undefined
        return ==> null : undefined
        const x = await Promise.resolve(5); return x ==> 5 : number
        return Promise.resolve('p') ==> \"p\" : string
        return { then(resolve) { resolve(6) } } ==> 6 : number
        if (input.a) return 'early'; return 'late' ==> \"early\" : string
        'use strict'; return this === undefined ==> true : boolean
        return this === globalThis ==> true : boolean
        var input = 1; return input ==> 1 : number
        let b = 2; return b ==> 2 : number
        function f() { return f.name } return f() ==> \"f\" : string
        return typeof arguments ==> \"object\" : string
        await 1; setTimeout(() => console.log('dropped'), 1); return 2 ==> 2 : number
        return 5 // a comment at the end ==> 5 : number
        return (await import('./none.js').catch((error) => error.name)) ==> \"TypeError\" : string
        ",
    );
}

#[test]
fn the_result_of_a_module_is_its_default_export() {
    let request = json!({
        "kind": "module",
        "input": { "a": 6 },
        "globals": { "b": 7 },
        "modules": { "./u.js": "export const one = 1; export default [one]; export { one as 'a b' }" },
    });
    table::check_with(
        &Service::start(),
        &request,
        "
        export default input.a * b ==> 42 : number
        export default (given) => given === input && given.a ==> 6 : number
        export default async ({ a }) => { await null; return a + 1 } ==> 7 : number
        export default function () { return Promise.resolve('p') } ==> \"p\" : string
        export default () => ({ then(resolve) { resolve(6) } }) ==> 6 : number
        export default Promise.resolve(8) ==> 8 : number
        const late = await new Promise((done) => setTimeout(done, 1, 'late')); export default late ==> \"late\" : string
        export const x = 1 ==> null : undefined
        1 + 2 ==> null : undefined
        export default { x: 1 } ==> {\"x\":1} : object
        export { one as default } from './u.js' ==> 1 : number
        export { default } from './u.js' ==> [1] : array
        import u, { one } from './u.js'; export default [...u, one] ==> [1,1] : array
        import * as u from './u.js'; export default Object.keys(u) ==> [\"a b\",\"default\",\"one\"] : array
        import * as u from './u.js'; export default u ==> {\"a b\":1,\"default\":[1],\"one\":1} : object
        export default (await import('./u.js')).one ==> 1 : number
        export default import.meta.url ==> \"code\" : string
        export default this ==> null : undefined
        export default () => { setTimeout(() => console.log('dropped'), 1); return 2 } ==> 2 : number
        ",
    );
}

#[test]
fn a_module_with_a_plain_value_ends_when_no_work_is_left() {
    let service = Service::start();
    let code = "setTimeout(() => console.log('late'), 1); export default 1";
    let execution = run_module(&service, code, &json!({}));
    assert_eq!(execution["result"], 1);
    assert_eq!(execution["log"][0]["data"], json!(["late"]));
    let waited = run_module(&service, &format!("await null; {code}"), &json!({}));
    assert_eq!(waited["log"], json!([]));
}

#[test]
fn modules_import_each_other_by_names_that_are_resolved_as_urls_are() {
    let service = Service::start();
    let modules = json!({
        "./lib/a.js": "import { b } from '../b.js'; import { c } from './c.js'; export const a = ['a', b, c]",
        "./b.js": "export const b = 'b'",
        "./lib/c.js": "export const c = import.meta.url",
        "pkg": "export { default } from 'pkg/main.js'",
        "pkg/main.js": "export { x as default } from './x.js'",
        "pkg/x.js": "export const x = import.meta.url",
    });
    let code = "import { a } from './lib/a.js'; import x from 'pkg'; import './lib/../b.js'; export default [a, x]";
    let execution = run_module(&service, code, &modules);
    assert_eq!(
        execution["result"],
        json!([["a", "b", "./lib/c.js"], "pkg/x.js"]),
        "{execution}"
    );
    for kind in ["script", "function"] {
        let code = "const m = await import('./lib/a.js'); VALUE m.a[2]";
        let code = code.replace("VALUE", if kind == "function" { "return" } else { "" });
        let request = json!({ "code": code, "kind": kind, "modules": modules });
        assert_eq!(service.execute(&request)["result"], "./lib/c.js", "{kind}");
    }
}

#[test]
fn a_module_runs_once_and_circles_that_do_not_read_too_early_work() {
    let service = Service::start();
    let modules = json!({
        "./a.js": "import { b } from './b.js'; console.log('a'); export const a = () => 'a' + b()",
        "./b.js": "import { a } from './a.js'; console.log('b'); export const b = () => 'b'; export const both = () => a()",
    });
    let code = "import { both } from './b.js'; import './a.js'; await import('./a.js'); export default both()";
    let execution = run_module(&service, code, &modules);
    assert_eq!(execution["result"], "ab");
    let log: Vec<&Value> = execution["log"].as_array().unwrap().iter().collect();
    assert_eq!(log.len(), 2, "{execution}");
    assert_eq!(log[0]["data"], json!(["a"]));
}

#[test]
fn a_chain_of_as_many_modules_as_there_may_be_is_imported() {
    let service = Service::start();
    let modules: serde_json::Map<String, Value> = (0..256)
        .map(|number| {
            let text = match number {
                255 => "export const depth = 1".to_owned(),
                _ => format!(
                    "import {{ depth as d }} from './m{}.js'; export const depth = d + 1",
                    number + 1
                ),
            };
            (format!("./m{number}.js"), Value::from(text))
        })
        .collect();
    let code = "import { depth } from './m0.js'; export default depth";
    let execution = run_module(&service, code, &modules.clone().into());
    assert_eq!(execution["result"], 256, "{execution}");
    let dynamic = json!({ "code": "(await import('./m0.js')).depth", "modules": modules });
    assert_eq!(service.execute(&dynamic)["result"], 256);
}

#[test]
fn the_prelude_runs_first_and_shifts_no_line() {
    let service = Service::start();
    let prelude = "var twice = (number) => number * 2;\nconst base = 20;";
    for (kind, code) in [
        ("script", "twice(base + 1)"),
        ("function", "return twice(base + 1)"),
        ("module", "export default twice(base + 1)"),
    ] {
        let request = json!({ "code": code, "kind": kind, "prelude": prelude });
        assert_eq!(service.execute(&request)["result"], 42, "{kind}");
        let thrown = json!({ "code": "\n null.x", "kind": kind, "prelude": prelude });
        let thrown = service.execute(&thrown);
        assert_eq!(place(&thrown), ("code", 2, 2), "{kind}: {thrown}");
        let broken = json!({ "code": code, "kind": kind, "prelude": "1;\n null.x" });
        let broken = service.execute(&broken);
        assert_eq!(place(&broken), ("prelude", 2, 2), "{kind}: {broken}");
    }
    let awaiting = json!({
        "code": "export default base",
        "kind": "module",
        "prelude": "var base = await new Promise((done) => setTimeout(done, 1, 5))",
    });
    assert_eq!(service.execute(&awaiting)["result"], 5);
    let importing = json!({
        "code": "export default base",
        "kind": "module",
        "prelude": "globalThis.base = (await import('./a.js')).a",
        "modules": { "./a.js": "export const a = 6" },
    });
    assert_eq!(service.execute(&importing)["result"], 6);
}

#[test]
fn nothing_given_is_a_script_and_a_seed_holds_in_every_kind() {
    let service = Service::start();
    for request in [
        json!({ "code": "1 + 2" }),
        json!({ "code": "1 + 2", "kind": "script", "language": "javascript", "modules": {} }),
        json!({ "code": "1 + 2", "kind": null, "language": null, "modules": null, "prelude": null }),
    ] {
        assert_eq!(service.execute(&request)["result"], 3, "{request}");
    }
    let code = "return [Math.random(), Date.now()]";
    let of_function = json!({ "code": code, "kind": "function", "seed": 7 });
    let module = "export default [Math.random(), Date.now()]";
    let of_module = json!({ "code": module, "kind": "module", "seed": 7 });
    let of_script = json!({ "code": "[Math.random(), Date.now()]", "seed": 7 });
    let expected = service.execute(&of_script)["result"].clone();
    assert_eq!(service.execute(&of_function)["result"], expected);
    assert_eq!(service.execute(&of_module)["result"], expected);
}
