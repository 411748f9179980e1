//! What the documents say of the ingress.

use std::path::Path;
use std::process::Command;

#[test]
fn every_option_stands_in_its_document_with_its_variable() {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/ingress.md");
    let document = std::fs::read_to_string(document).unwrap();
    let help = Command::new(env!("CARGO_BIN_EXE_sandpiper-ingress"))
        .args(["serve", "--help"])
        .output()
        .unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let mut rows = 0;
    let mut flag = None;
    for line in help.lines().map(str::trim) {
        if let Some(rest) = line.strip_prefix("--") {
            flag = rest.split([' ', '[']).next();
        }
        let Some(variable) = line.strip_prefix("[env: ") else {
            continue;
        };
        let variable = variable.split('=').next().unwrap();
        let row = format!("| `--{}` | `{variable}` | ", flag.unwrap());
        assert!(document.contains(&row), "{row}");
        rows += 1;
    }
    assert!(rows >= 40, "only {rows} options were found");
}
