//! The deployment files are valid by the public schemas, and their numbers agree with the code and with one another.
//! `make test-deploy` starts them.

mod cloudbuild;
mod cloudrun;
mod compose;
mod kubernetes;
mod options;
mod schema;
mod systemd;

use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn text(path: &str) -> String {
    fs::read_to_string(project(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// Returns the element with this name in a list of named things.
fn named<'a>(list: &'a Value, name: &str) -> &'a Value {
    let mut items = list.as_array().unwrap().iter();
    let found = items.find(|item| item["name"] == name);
    found.unwrap_or_else(|| panic!("nothing is named {name} in {list}"))
}

/// Parses `256Mi`, `1g` and the like, bytes.
fn bytes(quantity: &Value) -> u64 {
    let text = quantity.as_str().unwrap();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "Mi" | "m" => 1 << 20,
        "Gi" | "g" => 1 << 30,
        other => panic!("{other} is no unit of memory"),
    };
    digits.parse::<u64>().unwrap() * unit
}
