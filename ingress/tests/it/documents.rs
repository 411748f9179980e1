//! The documents of the ingress, compared with the program.

use std::path::Path;
use std::process::Command;

#[test]
fn the_document_has_each_option_with_its_variable_and_default_and_no_other() {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/options.md");
    let document = std::fs::read_to_string(document).unwrap();
    let (_, section) = document
        .split_once("\n## `sandpiper-ingress serve`\n")
        .unwrap();
    let section = section.split("\n## ").next().unwrap();
    let help = Command::new(env!("CARGO_BIN_EXE_sandpiper-ingress"))
        .args(["serve", "--help"])
        .output()
        .unwrap();
    let rows = option_rows(&String::from_utf8(help.stdout).unwrap());
    assert!(rows.len() >= 40, "only {} options were found", rows.len());
    for row in &rows {
        assert!(section.contains(&format!("\n{row}")), "{row}");
    }
    let documented = section.matches("\n| `--").count();
    assert_eq!(documented, rows.len(), "a row is of no option");
}

/// Returns the beginning of the document's row for each option of `help`: flag, variable and, if there is one, default.
fn option_rows(help: &str) -> Vec<String> {
    let mut rows = Vec::new();
    let mut flag = "";
    for line in help.lines().map(str::trim) {
        if let Some(rest) = line.strip_prefix("--") {
            flag = rest.split([' ', '[']).next().unwrap();
        } else if let Some(variable) = line.strip_prefix("[env: ") {
            let variable = variable.split(['=', ']']).next().unwrap();
            rows.push(format!("| `--{flag}` | `{variable}` | "));
        } else if let Some(default) = line.strip_prefix("[default: ") {
            let row = rows.last_mut().unwrap();
            row.push_str(default.trim_end_matches(']'));
            row.push_str(" | ");
        }
    }
    rows
}
