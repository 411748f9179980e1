//! Imports point in one direction. These tests read the `use` lines and manifests.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Each module of the service, and the modules that it may use.
const ARROWS: &[(&str, &[&str])] = &[
    ("meters", &[]),
    ("telemetry", &["meters"]),
    ("store", &["meters"]),
    ("actors", &["meters", "store", "telemetry"]),
    ("scripts", &[]),
    ("sources", &[]),
    (
        "http",
        &["actors", "meters", "scripts", "sources", "telemetry"],
    ),
    (
        "config",
        &[
            "actors",
            "http",
            "selftest",
            "sources",
            "store",
            "telemetry",
        ],
    ),
    ("selftest", &["http"]),
    ("commands", &["config", "http", "selftest", "store"]),
    (
        "app",
        &[
            "actors",
            "config",
            "http",
            "meters",
            "scripts",
            "store",
            "telemetry",
        ],
    ),
];

/// A crate, and the only modules that may use it.
const HOMES: &[(&str, &[&str])] = &[
    ("actix::", &["actors", "app"]),
    ("prometheus_client", &["http"]),
    ("strum", &["http"]),
    ("utoipa", &["http"]),
    ("dashmap", &["store", "http"]),
    ("riverqueue", &["store"]),
    ("sqlx", &["store"]),
    ("opentelemetry", &["telemetry"]),
    ("clap", &["config", "main"]),
];

fn sources() -> Vec<(String, PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut unread = vec![root.clone()];
    let mut found = Vec::new();
    while let Some(path) = unread.pop() {
        if path.is_dir() {
            unread.extend(
                fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let inside = path.strip_prefix(&root).unwrap();
            let part = inside.components().next().unwrap().as_os_str();
            let part = part.to_str().unwrap().trim_end_matches(".rs").to_owned();
            let text = fs::read_to_string(&path).unwrap();
            found.push((part, path, text));
        }
    }
    assert!(
        found.len() > 40,
        "only {} source files were found",
        found.len()
    );
    found
}

fn code_lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
}

#[test]
fn no_part_names_one_above_it() {
    for (part, path, text) in sources() {
        let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == part) else {
            assert!(
                matches!(part.as_str(), "main" | "lib"),
                "{part} has no place in the house"
            );
            continue;
        };
        for (other, _) in ARROWS.iter().filter(|(other, _)| *other != part) {
            let named = code_lines(&text).any(|line| line.contains(&format!("crate::{other}")));
            assert!(
                !named || allowed.contains(other),
                "{} names crate::{other}",
                path.display()
            );
        }
    }
}

#[test]
fn each_foreign_crate_has_one_home() {
    for (part, path, text) in sources() {
        for (foreign, homes) in HOMES {
            let named = code_lines(&text).any(|line| {
                line.trim_start().starts_with("use ") && line.contains(&format!("use {foreign}"))
            });
            assert!(
                !named || homes.contains(&part.as_str()),
                "{} uses {foreign}",
                path.display()
            );
        }
    }
}

#[test]
fn http_names_no_address_of_an_actor() {
    for (part, path, text) in sources() {
        let named = code_lines(&text).any(|line| line.contains("Addr<"));
        assert!(!named || part != "http", "{} names an Addr", path.display());
    }
}

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
            "crates/sandbox-protocol" => &["domain"],
            "crates/sandbox" | "crates/sandbox-client" => &["domain", "sandbox-protocol"],
            "crates/sandbox-attackers" => &["sandbox"],
            "ingress" => &["http-kit"],
            "." => &["domain", "http-kit", "sandbox-client"],
            unknown => panic!("{unknown} has no place in the house"),
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
