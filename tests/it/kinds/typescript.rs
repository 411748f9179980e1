//! TypeScript: its types are erased in place, in every kind of script and in modules.

use super::place;
use crate::support::Service;
use serde_json::{Value, json};

fn typescript(service: &Service, code: &str) -> Value {
    service.execute(&json!({ "code": code, "language": "typescript" }))
}

#[test]
fn typescript_runs_in_every_kind_and_in_every_text_of_a_request() {
    let service = Service::start();
    let util = "export type Id = number;\nexport const twice = (id: Id): Id => id * 2";
    for (kind, code) in [
        (
            "script",
            "const x: number = input as number; (await import('./util.ts')).twice(x) + base!",
        ),
        (
            "function",
            "const { twice } = await import('./util.ts'); return twice(input as number) + base!",
        ),
        (
            "module",
            "import { twice, type Id } from './util.ts'; export default (x: Id): Id => twice(x) + base!",
        ),
    ] {
        let execution = service.execute(&json!({
            "code": code,
            "kind": kind,
            "language": "typescript",
            "modules": { "./util.ts": util },
            "prelude": "var base: number | undefined = 2",
            "input": 20,
        }));
        assert_eq!(execution["result"], 42, "{kind}: {execution}");
    }
    // A case of the field.
    let row = "interface Row { id: number }\nconst r: Row = { id: 1 };\nr.id";
    assert_eq!(typescript(&service, row)["result"], 1);
}

#[test]
fn the_ending_of_a_modules_name_is_its_language_and_other_names_have_that_of_the_request() {
    let service = Service::start();
    let (types, comparison) = (
        "export default 1 as number",
        "let a = 1, b = 2; export default a < b > (0)",
    );
    for (language, name, text, result) in [
        ("javascript", "./a.ts", types, json!(1)),
        ("javascript", "./a.mts", types, json!(1)),
        ("javascript", "lib/a.ts", types, json!(1)),
        ("javascript", "./a.js", types, json!("SyntaxError")),
        ("javascript", "a", types, json!("SyntaxError")),
        ("typescript", "a", types, json!(1)),
        ("typescript", "./a.tsx", types, json!(1)),
        ("typescript", "./a.mjs", types, json!("SyntaxError")),
        // In JavaScript two comparisons, in TypeScript a call with a type.
        ("typescript", "./a.js", comparison, json!(true)),
        ("typescript", "./a.ts", comparison, json!("TypeError")),
    ] {
        let execution = service.execute(&json!({
            "code": "(await import(input).catch((e) => ({ default: e.name }))).default",
            "language": language,
            "modules": { name: text },
            "input": name,
        }));
        assert_eq!(
            execution["result"], result,
            "{language} {name}: {execution}"
        );
    }
    // An example script is JavaScript by its ending.
    let example = json!({ "file": "simple.js", "language": "typescript" });
    assert_eq!(service.execute(&example)["result"], 3);
}

#[test]
fn lines_and_columns_of_errors_are_those_of_the_text_that_was_sent() {
    let service = Service::start();
    let types = "interface Größe {\n  ü: string;\n}\ntype T =\n  | 'é'\n  | '𝒳';\n";
    for (kind, before) in [
        ("script", ""),
        ("function", "return "),
        ("module", "export default "),
    ] {
        let code = format!("{types}const s: T = 'é' as T; {before}(boom as any).x");
        let execution =
            service.execute(&json!({ "code": code, "kind": kind, "language": "typescript" }));
        let line = code.lines().last().unwrap();
        let column = line[..line.find("boom").unwrap()].encode_utf16().count() as u64;
        let (file, line, found) = place(&execution);
        assert_eq!((file, line), ("code", 7), "{execution}");
        // The engine gives the bracket or what it contains.
        assert!(
            (column..=column + 1).contains(&found),
            "{column}: {execution}"
        );
    }
    let stack = "function f<T>(x: T): T {\n  throw new Error('x' as string)\n}\n\nclass A<T> { private f(): void { f<T>(1 as any) } g() { this.f() } }\nnew A<number>().g()";
    let execution = typescript(&service, stack);
    let shown = execution["error"]["stack"].as_str().unwrap();
    for frame in ["f (code:2:", "f (code:5:38)", "g (code:5:", "code:6:"] {
        assert!(shown.contains(frame), "{frame}: {shown}");
    }
    let of_module = service.execute(&json!({
        "code": "import './lib/a.ts'",
        "kind": "module",
        "modules": { "./lib/a.ts": "declare const a: {\n  b: string\n};\nlet c: Map<string, number>; boom()" },
    }));
    assert_eq!(place(&of_module), ("./lib/a.ts", 4, 29), "{of_module}");
}

#[test]
fn what_cannot_be_erased_is_a_syntax_error_with_its_name_and_place() {
    let service = Service::start();
    for (code, names, line, column) in [
        ("1;\n  enum Colour { Red }", "`enum`", 2, 3),
        ("const enum Colour { Red }", "`const enum`", 1, 1),
        (
            "'é𝒳'; namespace N { export const a = 1 }",
            "`namespace`",
            1,
            8,
        ),
        (
            "class A {\n  constructor(private a: string) {}\n}",
            "parameter property",
            2,
            15,
        ),
        ("@sealed\nclass A {}", "decorator", 1, 1),
        ("import fs = require('fs')", "`import … =`", 1, 1),
        ("const x = <number>y", "`<T>x`", 1, 11),
        ("class A { accessor a = 1 }", "`accessor`", 1, 11),
    ] {
        let execution = typescript(&service, code);
        let error = &execution["error"];
        assert_eq!(execution["outcome"], "threw", "{execution}");
        assert_eq!(error["name"], "SyntaxError", "{execution}");
        assert!(
            error["message"].as_str().unwrap().contains(names),
            "{execution}"
        );
        assert_eq!(place(&execution), ("code", line, column), "{execution}");
        assert_eq!(
            error["stack"],
            format!("    at code:{line}:{column}"),
            "{execution}"
        );
        assert!(
            error["hint"].is_null() || code.starts_with("import"),
            "{execution}"
        );
    }
    for (fields, file) in [
        (
            json!({ "code": "1", "prelude": "1;\nenum A {}" }),
            "prelude",
        ),
        (
            json!({ "code": "import './a.ts'", "kind": "module", "modules": { "./a.ts": "1;\nenum A {}" } }),
            "./a.ts",
        ),
        (
            json!({ "code": "await import('./a.ts')", "modules": { "./a.ts": "1;\nenum A {}" } }),
            "./a.ts",
        ),
    ] {
        let mut request = fields;
        request["language"] = json!("typescript");
        let execution = service.execute(&request);
        assert_eq!(place(&execution), (file, 2, 1), "{execution}");
        assert_eq!(execution["error"]["name"], "SyntaxError", "{execution}");
    }
}

#[test]
fn a_syntax_error_of_typescript_has_a_message_and_a_place() {
    let service = Service::start();
    for (kind, code, line, column) in [
        ("script", "const x: number = ;", 1, 19),
        ("function", "const é: string = 1;\nreturn (x", 2, 10),
        ("module", "export default {\n  a: 1 as,\n}", 2, 10),
        ("script", "let x: Array<string = 1", 1, 21),
        // The engine's own.
        ("script", "let x: number = 1;\nlet x: number = 2", 2, 15),
    ] {
        let execution =
            service.execute(&json!({ "code": code, "kind": kind, "language": "typescript" }));
        let error = &execution["error"];
        assert_eq!(error["name"], "SyntaxError", "{execution}");
        assert!(
            !error["message"].as_str().unwrap().is_empty(),
            "{execution}"
        );
        assert_eq!(place(&execution), ("code", line, column), "{execution}");
    }
    for (kind, code, hint) in [
        (
            "script",
            "const x: number = 1; return x",
            "\"kind\": \"function\"",
        ),
        (
            "script",
            "export const x: number = 1",
            "\"kind\": \"module\"",
        ),
        ("script", "```ts\nconst x: number = 1\n```", "Markdown"),
    ] {
        let execution =
            service.execute(&json!({ "code": code, "kind": kind, "language": "typescript" }));
        let found = execution["error"]["hint"].as_str().unwrap_or_default();
        assert!(found.contains(hint), "{code}: {execution}");
    }
    // The file's own name decides, so the hint is another.
    let named = service.execute(&json!({
        "code": "import './a.js'",
        "kind": "module",
        "language": "typescript",
        "modules": { "./a.js": "const x: number = 1" },
    }));
    let hint = named["error"]["hint"].as_str().unwrap_or_default();
    assert!(hint.contains("`.ts`"), "{named}");
}

#[test]
fn the_engine_reads_no_types_at_run_time() {
    let service = Service::start();
    for code in ["eval('1 as number')", "new Function('a: number', '')"] {
        assert_eq!(typescript(&service, code)["error"]["name"], "SyntaxError");
    }
    let text = typescript(
        &service,
        "(function f(x: number) { return x as any }).toString()",
    );
    assert_eq!(text["result"], "function f(x        ) { return x        }");
}

#[test]
fn typescript_that_is_nested_too_deeply_is_a_syntax_error_and_harms_nothing() {
    const DEPTH: usize = 100_000;
    let service = Service::start();
    for (before, open, close) in [
        ("", "(", ")"),
        ("", "[", "]"),
        ("", "!", ""),
        ("", "a=>", ""),
        ("", "x?y:", ""),
        ("", "if(1)", ""),
        ("", "typeof ", ""),
        ("", "`${", "}`"),
        ("", "()=>{", "}"),
        ("1 as ", "A<", ">"),
        ("type T = ", "(", ")"),
        ("type T = ", "A extends B ? C : ", ""),
    ] {
        // As many as fit into a request.
        let depth = DEPTH.min(1_000_000 / (open.len() + close.len()));
        let code = format!("{before}{}1{}", open.repeat(depth), close.repeat(depth));
        for kind in ["script", "module"] {
            let execution = service.execute(&json!({
                "code": code,
                "kind": kind,
                "language": "typescript",
                "limits": { "timeoutMs": 30_000 },
            }));
            let error = &execution["error"];
            assert_eq!(execution["outcome"], "threw", "{open}: {execution}");
            assert_eq!(error["name"], "SyntaxError", "{open}: {execution}");
            assert_eq!(error["fileName"], "code", "{open}: {execution}");
            let has_brackets = open.contains(['(', '[', '{']) && open != "if(1)";
            assert_eq!(
                error["columnNumber"].is_u64(),
                has_brackets,
                "{open}: {execution}"
            );
            assert!(
                error["message"]
                    .as_str()
                    .unwrap()
                    .contains("nested too deeply"),
                "{open}: {execution}"
            );
        }
        assert_eq!(service.result("1 + 2"), 3);
    }
    let in_module = service.execute(&json!({
        "code": "await import('./a.ts')",
        "modules": { "./a.ts": format!("f(1);\n {}", "(".repeat(DEPTH)) },
        "limits": { "timeoutMs": 30_000 },
    }));
    let deepest = ("./a.ts", 2, 1 + DEPTH as u64);
    assert_eq!(place(&in_module), deepest, "{in_module}");
    let javascript = service.execute(&json!({ "code": format!("1;\n{}", "[".repeat(DEPTH)) }));
    assert_eq!(javascript["outcome"], "stack_exceeded", "{javascript}");
    assert_eq!(place(&javascript), ("code", 2, DEPTH as u64));
}

#[test]
fn a_type_that_is_imported_or_exported_as_a_value_has_a_hint() {
    let service = Service::start();
    let modules = json!({ "./a.ts": "export interface A {}\nexport const b = 1" });
    for (code, word) in [
        ("import { A, b } from './a.ts'", "import type"),
        ("export { A } from './a.ts'", "import type"),
        ("type A = number; export { A }", "export type"),
    ] {
        let request =
            json!({ "code": code, "kind": "module", "language": "typescript", "modules": modules });
        let execution = service.execute(&request);
        let error = &execution["error"];
        assert_eq!(error["name"], "SyntaxError", "{execution}");
        assert!(error["lineNumber"].is_u64(), "{execution}");
        let hint = error["hint"].as_str().unwrap_or_default();
        assert!(hint.contains(word), "{code}: {execution}");
    }
    let missing = json!({ "code": "import { c } from './a.ts'", "kind": "module", "language": "typescript", "modules": modules });
    let execution = service.execute(&missing);
    assert_eq!(execution["error"]["hint"], json!(null), "{execution}");
}

#[test]
fn long_chains_are_no_nesting() {
    let service = Service::start();
    for (start, link, count, result) in [
        ("0", "+1", 300_000, json!(300_000)),
        ("1 as number", "&&1", 100_000, json!(1)),
        (
            "const a: any = {}; a.a = a; typeof a",
            ".a",
            100_000,
            json!("object"),
        ),
        (
            "const a: any = {}; a.a = a; typeof a",
            "!.a",
            50_000,
            json!("object"),
        ),
        ("type T = A", " | A", 100_000, Value::Null),
        ("1", " as A", 50_000, json!(1)),
    ] {
        let code = format!("{start}{}", link.repeat(count));
        let execution = service.execute(&json!({
            "code": code,
            "language": "typescript",
            "limits": { "timeoutMs": 30_000, "memoryBytes": 256 << 20 },
        }));
        assert_eq!(
            execution["outcome"], "succeeded",
            "{link}: {}",
            execution["error"]
        );
        assert_eq!(execution["result"], result, "{link}");
    }
}

#[test]
fn the_memory_of_the_parser_counts_and_its_end_is_that_of_the_script() {
    let service = Service::start();
    let long = "const f = (x: number): number => x + 1;\n"
        .repeat(20_000)
        .replace("const f", "var f");
    let of = |memory_bytes: u64| {
        service.execute(&json!({
            "code": long,
            "language": "typescript",
            "limits": { "timeoutMs": 30_000, "memoryBytes": memory_bytes },
        }))
    };
    let refused = of(4 << 20);
    assert_eq!(
        refused["outcome"], "memory_exceeded",
        "{}",
        refused["error"]
    );
    let enough = of(256 << 20);
    assert_eq!(enough["outcome"], "succeeded", "{}", enough["error"]);
    assert_eq!(service.result("1 + 2"), 3);
}

#[test]
fn a_seed_holds_and_a_script_of_types_alone_has_no_value() {
    let service = Service::start();
    let code = "const of = (n: number): number => Math.random() * n; [of(1), Date.now() as number]";
    let request = json!({ "code": code, "language": "typescript", "seed": 7 });
    assert_eq!(
        service.execute(&request)["result"],
        service.execute(&request)["result"]
    );
    let plain = json!({ "code": "[Math.random(), Date.now()]", "seed": 7 });
    assert_eq!(
        service.execute(&request)["result"],
        service.execute(&plain)["result"]
    );
    let types = typescript(&service, "type A = 1; interface B {}");
    assert_eq!(types["resultType"], "undefined", "{types}");
    assert_eq!(typescript(&service, "5; type A = 1")["result"], 5);
}
