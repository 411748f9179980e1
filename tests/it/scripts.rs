//! The example scripts: each returns what its first line says, and is listed by name.

use crate::support::Service;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

const OUTCOMES: [&str; 7] = [
    "succeeded",
    "threw",
    "timed_out",
    "memory_exceeded",
    "stack_exceeded",
    "output_exceeded",
    "crashed",
];

/// Returns name and text of every script in the folder.
fn scripts() -> BTreeMap<String, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("example-scripts");
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap());
    let scripts: BTreeMap<_, _> = files
        .map(|file| {
            let name = file.file_name().into_string().unwrap();
            (name, std::fs::read_to_string(file.path()).unwrap())
        })
        .collect();
    assert!(scripts.len() >= 10, "{scripts:?}");
    scripts
}

fn expectation(text: &str) -> &str {
    let first = text.lines().next().unwrap();
    first.strip_prefix("// expect: ").unwrap()
}

#[test]
fn every_example_script_does_what_its_first_line_says() {
    let service = Service::start();
    for (name, text) in scripts() {
        let expected = expectation(&text);
        // Duration is checked only where it is the expected result: other tests may keep the machine busy.
        let limits = match expected {
            "timed_out" => json!({}),
            _ => json!({ "timeoutMs": 30_000 }),
        };
        let execution = service.execute(&json!({ "file": name, "limits": limits }));
        if OUTCOMES.contains(&expected) {
            assert_eq!(execution["outcome"], expected, "{name}: {execution}");
        } else {
            let expected: Value = serde_json::from_str(expected).unwrap();
            assert_eq!(execution["outcome"], "succeeded", "{name}: {execution}");
            assert_eq!(execution["result"], expected, "{name}");
        }
    }
}

#[test]
fn the_list_has_every_script_with_its_expectation_and_what_it_shows() {
    let service = Service::start();
    let list = service.get("/api/scripts").json();
    let list = list["scripts"].as_array().unwrap();
    let scripts = scripts();
    assert_eq!(list.len(), scripts.len());
    for (shown, (name, text)) in list.iter().zip(&scripts) {
        assert_eq!(shown["name"], *name);
        assert_eq!(shown["expect"], expectation(text));
        assert_eq!(shown["bytes"], text.len());
        assert!(!shown["description"].as_str().unwrap().is_empty(), "{name}");
    }
}

#[test]
fn a_script_is_shown_as_the_text_it_is() {
    let service = Service::start();
    for (name, text) in scripts() {
        let answer = service.get(&format!("/api/scripts/{name}"));
        assert_eq!((answer.status, &answer.text), (200, &text));
        assert_eq!(
            answer.header("content-type"),
            "text/javascript; charset=utf-8"
        );
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
    }
}

#[test]
fn a_script_with_a_parameter_takes_it_from_input_or_from_code() {
    let service = Service::start();
    for request in [
        json!({ "file": "pi.js", "input": 5 }),
        json!({ "file": "pi.js", "code": "var input = 5;" }),
        json!({ "file": "pi.js", "globals": {}, "input": "5" }),
    ] {
        assert_eq!(service.execute(&request)["result"], "3.14159", "{request}");
    }
}
