//! The examples of the documents, sent to a service: the responses must be as documented.

use crate::stores::Folder;
use crate::support::{Answer, Service};
use serde_json::Value;
use std::fs;
use std::process::Command;

/// Fields whose values differ each time. They must exist and have the same type.
const OTHERWISE: [&str; 11] = [
    "timestamp",
    "executionTime",
    "id",
    "wallMs",
    "cpuMs",
    "peakMemoryBytes",
    "createdAt",
    "startedAt",
    "finishedAt",
    "expiresAt",
    "nextCursor",
];

/// A request of a document, and its documented response.
struct Example {
    request: String,
    headers: Vec<(String, String)>,
    body: String,
    status: u16,
    answer: Value,
}

fn examples(document: &str) -> Vec<Example> {
    let text = fs::read_to_string(document).unwrap();
    let blocks: Vec<&str> = text
        .split("```http\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap())
        .collect();
    let (pairs, rest) = blocks.as_chunks::<2>();
    assert!(rest.is_empty(), "{document}: a request without an answer");
    pairs
        .iter()
        .map(|[request, answer]| {
            let (head, body) = request.split_once("\n\n").unwrap_or((request, ""));
            let mut lines = head.lines();
            // A response without a body is documented by its status alone.
            let (status, answer) = answer.split_once("\n\n").unwrap_or((answer, "null"));
            Example {
                request: lines.next().unwrap().to_owned(),
                headers: lines
                    .map(|line| line.split_once(": ").unwrap())
                    .map(|(name, value)| (name.to_owned(), value.to_owned()))
                    .collect(),
                body: body.to_owned(),
                status: status.trim().parse().unwrap(),
                answer: serde_json::from_str(answer)
                    .unwrap_or_else(|error| panic!("{document}: {error}: {answer}")),
            }
        })
        .collect()
}

fn send(service: &Service, example: &Example, last: &Last) -> Answer {
    let (method, path) = example.request.split_once(' ').unwrap();
    let path = path.replace("{id}", &last.id);
    let body = example.body.replace("{replay}", &last.replay);
    let body = body.replace("{callId}", &last.call_id);
    let mut headers: Vec<(&str, &str)> = example
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    match method {
        "GET" => service.get_with(&path, &headers),
        "DELETE" => service.delete_with(&path, &headers),
        "POST" => {
            headers.push(("content-type", "application/json"));
            service.post_raw(&path, &headers, body.as_bytes())
        }
        other => panic!("{other}"),
    }
}

/// Values of earlier responses, for which later requests have placeholders.
#[derive(Default)]
struct Last {
    id: String,
    replay: String,
    call_id: String,
}

impl Last {
    fn note(&mut self, response: &Value) {
        for (value, found) in [
            (&mut self.id, &response["id"]),
            (&mut self.replay, &response["replay"]),
            (&mut self.call_id, &response["calls"][0]["callId"]),
        ] {
            if let Some(text) = found.as_str() {
                *value = text.to_owned();
            }
        }
    }
}

/// Checks that the documented fields exist. An example may omit fields, and a text of `…` stands for any value.
fn assert_is(expected: &Value, found: &Value, at: &str, whole: &str) {
    match (expected, found) {
        (Value::String(text), _) if text == "…" => {}
        (Value::Object(expected), Value::Object(found)) => {
            for (name, expected) in expected {
                let at = format!("{at}.{name}");
                let Some(found) = found.get(name) else {
                    panic!("{at} is missing: {whole}");
                };
                if !OTHERWISE.contains(&name.as_str()) {
                    assert_is(expected, found, &at, whole);
                } else if *expected != Value::String("…".to_owned()) {
                    let is_same_kind =
                        std::mem::discriminant(expected) == std::mem::discriminant(found);
                    assert!(is_same_kind, "{at} is {found}: {whole}");
                }
            }
        }
        (Value::Array(expected), Value::Array(found)) => {
            assert_eq!(expected.len(), found.len(), "{at}: {whole}");
            for (expected, found) in expected.iter().zip(found) {
                assert_is(expected, found, at, whole);
            }
        }
        _ => assert_eq!(expected, found, "{at}: {whole}"),
    }
}

fn hold(document: &str, least: usize) {
    let folder = Folder::new();
    let store = format!("sqlite:{}", folder.text("jobs.db"));
    let service = Service::start_with(&["--store", &store]);
    let examples = examples(document);
    assert!(examples.len() >= least, "{} in {document}", examples.len());
    let mut last = Last::default();
    for example in &examples {
        let answer = send(&service, example, &last);
        let whole = format!("{document}: {}: {}", example.request, answer.text);
        assert_eq!(answer.status, example.status, "{whole}");
        let found = match answer.text.as_str() {
            "" => Value::Null,
            _ => answer.json(),
        };
        assert_is(&example.answer, &found, "", &whole);
        last.note(&found);
    }
}

/// Returns each fenced block of `text`: its language and its content.
fn blocks(text: &str) -> Vec<(&str, &str)> {
    let fenced = text.split("\n```").skip(1).step_by(2);
    fenced
        .map(|block| block.split_once('\n').unwrap())
        .collect()
}

/// Returns the program that reads an example in this language.
fn interpreter(language: &str) -> Command {
    let (program, options): (_, &[&str]) = match language {
        "sh" => ("sh", &["-c"]),
        "python" => ("python3", &["-c"]),
        "javascript" => ("node", &["--input-type=module", "--eval"]),
        other => panic!("{other}"),
    };
    let mut command = Command::new(program);
    command.args(options);
    command
}

/// Each example is a block of code, and the next block is its output.
#[test]
fn the_examples_of_the_readme_are_true() {
    hold_programs("README.md", "Examples", &["sh", "python", "javascript"]);
}

#[test]
fn the_first_tool_of_the_documents_is_true() {
    hold_programs("docs/tools.md", "The first tool", &["sh", "javascript"]);
}

#[test]
fn the_program_that_answers_a_job_is_true() {
    hold_programs("docs/tools.md", "Jobs", &["javascript"]);
}

#[test]
fn the_examples_of_tools_are_true() {
    hold("docs/tools.md", 4);
}

/// Runs the programs in a section of a document, and compares what they print with the block below each.
fn hold_programs(document: &str, section: &str, languages: &[&str]) {
    let text = fs::read_to_string(document).unwrap();
    let (_, section) = text.split_once(&format!("\n## {section}\n")).unwrap();
    let mut blocks = blocks(section.split("\n## ").next().unwrap());
    blocks.retain(|(language, _)| *language != "http");
    let (pairs, rest) = blocks.as_chunks::<2>();
    assert!(rest.is_empty(), "an example without its output");
    let found: Vec<&str> = pairs.iter().map(|[(language, _), _]| *language).collect();
    assert_eq!(found, languages);
    let service = Service::start();
    for [(language, code), (kind, expected)] in pairs {
        let code = code.replace("http://localhost:8080", service.url());
        let output = interpreter(language).arg(&code).output().unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        let whole = format!("{language}: {printed}{errors}");
        if *kind == "json" {
            let found = serde_json::from_str(&printed).unwrap_or_else(|_| panic!("{whole}"));
            assert_is(&serde_json::from_str(expected).unwrap(), &found, "", &whole);
        } else {
            assert_eq!(printed.trim(), expected.trim(), "{whole}");
        }
    }
}

#[test]
fn the_examples_of_the_api_are_true() {
    hold("docs/api.md", 13);
}

/// Returns the first command of the README, and the response below it.
#[test]
fn the_quick_start_is_true() {
    let readme = fs::read_to_string("README.md").unwrap();
    let start = readme.split("In another terminal:").nth(1).unwrap();
    let block = |kind: &str| {
        let rest = start.split(&format!("```{kind}\n")).nth(1).unwrap();
        rest.split("```").next().unwrap().to_owned()
    };
    let service = Service::start();
    let command = block("sh").replace("http://localhost:8080", service.url());
    let output = interpreter("sh").arg(&command).output().unwrap();
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let expected: Value = serde_json::from_str(&block("json")).unwrap();
    assert_is(&expected, &found, "", &found.to_string());
    let names = |value: &Value| {
        value
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&expected), names(&found));
}
