//! Every way in which a script can be given: requests, forms, jobs, the command line.

use crate::stores::{Folder, Store, over_every_store};
use crate::support::{Answer, Service};
use serde_json::{Value, json};
use std::process::{Command, Output};

over_every_store!(
    a_job_has_the_kinds_modules_and_prelude_of_an_execution,
    a_job_of_another_kind_is_listed_cancelled_and_repeated_as_any_other,
);

fn a_job_has_the_kinds_modules_and_prelude_of_an_execution(store: &Store) {
    let service = store.serve(&[]);
    for (request, result) in [
        (json!({ "code": "return 1", "kind": "function" }), json!(1)),
        (
            json!({
                "code": "import { a } from './a.js'; export default (input) => [a, b, input]",
                "kind": "module",
                "modules": { "./a.js": "export const a = 'a'" },
                "prelude": "var b = 'b'",
                "input": "c",
            }),
            json!(["a", "b", "c"]),
        ),
        (
            json!({ "code": "(await import('./a.js')).a", "modules": { "./a.js": "export const a = 2" } }),
            json!(2),
        ),
        (
            json!({ "code": "const a: number = 4; a as any", "language": "typescript" }),
            json!(4),
        ),
        (
            json!({
                "code": "import { a } from './a.ts'; export default (x: number) => a + x",
                "kind": "module",
                "language": "typescript",
                "modules": { "./a.ts": "export const a: number = 4" },
                "input": 1,
            }),
            json!(5),
        ),
        (json!({ "code": "1 + 2" }), json!(3)),
    ] {
        let id = service.submit(&request);
        let job = service.finished(&id);
        assert_eq!(job["execution"]["result"], result, "{request}: {job}");
    }
    let thrown = service.submit(&json!({
        "code": "import './a.js'",
        "kind": "module",
        "modules": { "./a.js": "return 1" },
    }));
    let error = service.finished(&thrown)["execution"]["error"].clone();
    assert_eq!(error["fileName"], "./a.js", "{error}");
    assert!(error["hint"].is_string(), "{error}");
}

fn a_job_of_another_kind_is_listed_cancelled_and_repeated_as_any_other(store: &Store) {
    let service = store.serve(&[]);
    let endless =
        json!({ "code": "for (;;);", "kind": "module", "limits": { "timeoutMs": 30_000 } });
    let id = service.submit(&endless);
    assert_eq!(
        service.get("/api/jobs").json()["jobs"][0]["id"],
        id.as_str()
    );
    assert_eq!(service.delete(&format!("/api/jobs/{id}")).status, 200);
    assert_eq!(service.finished(&id)["state"], "cancelled");
    let key = [("idempotency-key", "k")];
    let function = json!({ "code": "return 1", "kind": "function" });
    let first = service.post_with("/api/jobs", &key, &function);
    let again = service.post_with("/api/jobs", &key, &function);
    assert_eq!(again.json()["id"], first.json()["id"]);
    let other = json!({ "code": "return 1", "kind": "module" });
    assert_eq!(service.post_with("/api/jobs", &key, &other).status, 422);
}

/// Sends a form. A part is its name, its file name or nothing, and its text.
fn form(service: &Service, parts: &[(&str, &str, &str)]) -> Answer {
    let mut body = String::new();
    for (name, file_name, text) in parts {
        let file = match *file_name {
            "" => String::new(),
            file_name => format!("; filename=\"{file_name}\"\r\nContent-Type: text/javascript"),
        };
        body.push_str(&format!(
            "--x\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n{text}\r\n"
        ));
    }
    body.push_str("--x--\r\n");
    let headers = [("content-type", "multipart/form-data; boundary=x")];
    service.post_raw("/api/execute", &headers, body.as_bytes())
}

#[test]
fn a_form_has_modules_as_files_or_as_json() {
    let service = Service::start();
    let code =
        "import { a } from './a.js'; import { b } from './lib/b.js'; export default [a, b, c]";
    let files = [
        ("kind", "", "module"),
        ("code", "main.mjs", code),
        ("modules", "a.js", "export const a = 'a'"),
        ("modules", "./lib/b.js", "export const b = 'b'"),
        ("prelude", "", "var c = 'c'"),
    ];
    assert_eq!(
        form(&service, &files).json()["result"],
        json!(["a", "b", "c"])
    );
    let both = [
        ("kind", "", "module"),
        ("code", "", code),
        ("modules", "", r#"{"./lib/b.js": "export const b = 1"}"#),
        ("modules", "a.js", "export const a = 2"),
        ("prelude", "prelude.js", "var c = 3"),
    ];
    assert_eq!(form(&service, &both).json()["result"], json!([2, 1, 3]));
    let typescript = [
        ("kind", "", "module"),
        ("language", "", "typescript"),
        (
            "code",
            "main.mts",
            "import { a } from './a.ts'; export default a as number",
        ),
        ("modules", "a.ts", "export const a: number = 7"),
    ];
    assert_eq!(form(&service, &typescript).json()["result"], 7);
    let empty = [
        ("code", "", "1 + 2"),
        ("language", "", ""),
        ("kind", "", ""),
        ("modules", "", ""),
        ("prelude", "", ""),
    ];
    assert_eq!(form(&service, &empty).json()["result"], 3);
    let twice = [
        ("code", "", "1"),
        ("modules", "a.js", "1"),
        ("modules", "./a.js", "1"),
    ];
    let refused = form(&service, &twice);
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (400, "invalid_field")
    );
    assert_eq!(refused.json()["field"], "modules../a.js");
}

fn sandpiper(folder: &Folder, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sandpiper"))
        .args(["run", "--min-isolation", "L2"])
        .args(arguments)
        .current_dir(folder.path(""))
        .output()
        .unwrap()
}

fn execution(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

#[test]
fn run_takes_the_kind_from_an_option_or_from_the_ending_of_the_file() {
    let folder = Folder::new();
    for (name, text) in [
        (
            "main.mjs",
            "import { twice } from './util.js';\nimport x from 'x';\nexport default (input) => twice(input) + x + base",
        ),
        ("util.js", "export const twice = (number) => number * 2"),
        ("x.js", "export default 1"),
        ("bindings.js", "var base = 100"),
        ("body.js", "return input"),
        ("broken.mjs", "\nimport { none } from './util.js'"),
    ] {
        std::fs::write(folder.path(name), text).unwrap();
    }
    let arguments = [
        "main.mjs",
        "--module",
        "util.js",
        "--module",
        "x=x.js",
        "--prelude",
        "bindings.js",
        "--input",
        "20",
    ];
    assert_eq!(execution(&sandpiper(&folder, &arguments))["result"], 141);
    let body = sandpiper(&folder, &["body.js", "--kind", "function", "--input", "7"]);
    assert_eq!(execution(&body)["result"], 7);
    let as_script = execution(&sandpiper(&folder, &["main.mjs", "--kind", "script"]));
    assert_eq!(as_script["error"]["name"], "SyntaxError");
    assert!(as_script["error"]["hint"].is_string(), "{as_script}");
    let broken = execution(&sandpiper(&folder, &["broken.mjs", "--module", "util.js"]));
    assert_eq!(super::place(&broken), ("broken.mjs", 2, 10), "{broken}");

    for (arguments, part) in [
        (["body.js", "--kind", "worker"], "--kind"),
        (["body.js", "--module", "none.js"], "none.js"),
        (["body.js", "--module", "../a=x.js"], "./a"),
        (["body.js", "--prelude", "none.js"], "none.js"),
    ] {
        let refused = sandpiper(&folder, &arguments);
        assert_eq!(refused.status.code(), Some(2), "{refused:?}");
        let said = String::from_utf8(refused.stderr).unwrap();
        assert!(said.contains(part), "{said}");
    }
}

#[test]
fn run_takes_the_language_from_the_ending_of_the_file_or_from_an_option() {
    let folder = Folder::new();
    for (name, text) in [
        ("main.ts", "const x: number = (input as number) * 2; x"),
        (
            "main.mts",
            "import { twice } from './util.ts';\nexport default (x: number): number => twice(x) + base",
        ),
        (
            "util.ts",
            "export const twice = (x: number): number => x * 2",
        ),
        ("bindings.ts", "var base: number = 100"),
        ("body", "return (input as number) + 1"),
        ("broken.ts", "\nenum A { B }"),
        ("types.js", "const x: number = 1"),
    ] {
        std::fs::write(folder.path(name), text).unwrap();
    }
    for (arguments, result) in [
        (&["main.ts", "--input", "4"] as &[&str], 8),
        (
            &[
                "main.mts",
                "--module",
                "util.ts",
                "--prelude",
                "bindings.ts",
                "--language",
                "typescript",
                "--input",
                "20",
            ],
            140,
        ),
        (
            &[
                "body",
                "--language",
                "typescript",
                "--kind",
                "function",
                "--input",
                "6",
            ],
            7,
        ),
    ] {
        let output = sandpiper(&folder, arguments);
        assert_eq!(execution(&output)["result"], result, "{output:?}");
    }
    let broken = execution(&sandpiper(&folder, &["broken.ts"]));
    assert_eq!(super::place(&broken), ("broken.ts", 2, 1), "{broken}");
    let named = execution(&sandpiper(&folder, &["types.js"]));
    let hint = named["error"]["hint"].as_str().unwrap_or_default();
    assert!(hint.contains("`.ts`"), "{named}");
    let refused = sandpiper(&folder, &["main.ts", "--language", "cobol"]);
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
}
