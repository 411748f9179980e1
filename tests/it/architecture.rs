//! Crates depend on each other in one direction, and documents name what there is. These tests read manifests, the
//! Dockerfile and documents.

use std::fs;
use std::path::Path;
use std::process::Command;

/// Returns the manifest of each workspace member, by its folder.
fn members() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let members = manifest.split_once("members = [").unwrap().1;
    let members = members.split_once(']').unwrap().0;
    let names = members.split(',').map(|name| name.trim().trim_matches('"'));
    names
        .filter(|name| !name.is_empty())
        .map(|name| {
            let manifest = fs::read_to_string(root.join(name).join("Cargo.toml")).unwrap();
            (name.to_owned(), manifest)
        })
        .collect()
}

/// Cargo enforces the direction between crates; this test enforces which dependencies are allowed at all.
#[test]
fn crates_depend_on_each_other_in_one_direction() {
    let allowed = |member: &str| -> &[&str] {
        match member {
            "crates/domain" | "crates/http-kit" => &[],
            "crates/sandbox-protocol" | "crates/store" => &["domain"],
            "crates/sandbox" | "crates/sandbox-client" => &["domain", "sandbox-protocol"],
            "crates/sandbox-attackers" => &["sandbox"],
            "ingress" => &["http-kit"],
            "." => &["domain", "http-kit", "sandbox-client", "store"],
            unknown => panic!("{unknown} is not in the list of allowed dependencies"),
        }
    };
    for (member, manifest) in members() {
        let (_, after) = manifest.split_once("\n[dependencies]\n").unwrap();
        let dependencies = after.split("\n[").next().unwrap();
        for line in dependencies.lines() {
            let name = line.split(['.', ' ']).next().unwrap();
            if let Some(name) = name.strip_prefix("sandpiper-") {
                assert!(
                    allowed(&member).contains(&name),
                    "{member} depends on {name}"
                );
            }
        }
    }
}

#[test]
fn unsafe_code_is_forbidden_outside_the_crates_of_the_sandbox() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (member, _) in members() {
        let forbids = |file: &str| {
            let text = fs::read_to_string(root.join(&member).join("src").join(file));
            text.is_ok_and(|text| text.contains("#![forbid(unsafe_code)]"))
        };
        if !member.contains("sandbox") {
            assert!(forbids("lib.rs"), "{member}/src/lib.rs");
            assert!(
                !root.join(&member).join("src/main.rs").exists() || forbids("main.rs"),
                "{member}/src/main.rs"
            );
        }
    }
    assert!(members().len() > 5);
}

#[test]
fn the_dockerfile_knows_every_member_of_the_workspace() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let dockerfile = fs::read_to_string(root.join("Dockerfile")).unwrap();
    for (member, _) in members() {
        if member != "." {
            let manifest = format!("COPY {member}/Cargo.toml ");
            assert!(dockerfile.contains(&manifest), "{manifest}");
            assert!(dockerfile.contains(&format!("COPY {member}/src {member}/src")));
        }
    }
}

#[test]
fn the_pinned_toolchain_is_that_of_the_images() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let toolchain = fs::read_to_string(root.join("rust-toolchain.toml")).unwrap();
    let (_, channel) = toolchain.split_once("channel = \"").unwrap();
    let channel = channel.split('"').next().unwrap();
    for file in ["Dockerfile", "cloudbuild.yaml"] {
        let text = fs::read_to_string(root.join(file)).unwrap();
        let image = format!("rust:{channel}-");
        assert!(text.contains(&image), "{file} does not name {image}");
    }
}

#[test]
fn the_reported_engine_is_the_one_that_is_built() {
    let lock = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.lock");
    let lock = fs::read_to_string(lock).unwrap();
    let (_, after) = lock
        .split_once("name = \"rquickjs\"\nversion = \"")
        .unwrap();
    let version = after.split('"').next().unwrap();
    assert!(sandpiper_domain::ENGINE.contains(&format!("rquickjs {version})")));
}

/// Returns the options in `help`, each as the start of its row in a document: flag, variable and, if there is one,
/// default.
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

#[test]
fn the_document_of_options_has_each_with_its_variable_and_default_and_no_other() {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/options.md");
    let document = fs::read_to_string(document).unwrap();
    let (_, section) = document.split_once("\n## `sandpiper serve`\n").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let help = Command::new(env!("CARGO_BIN_EXE_sandpiper"))
        .args(["serve", "--help"])
        .output()
        .unwrap();
    let rows = option_rows(&String::from_utf8(help.stdout).unwrap());
    assert!(rows.len() > 35, "only {} options were found", rows.len());
    for row in &rows {
        assert!(section.contains(&format!("\n{row}")), "{row}");
    }
    let documented = section.matches("\n| `--").count();
    assert_eq!(documented, rows.len(), "a row is of no option");
}
