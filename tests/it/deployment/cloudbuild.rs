//! `cloudbuild.yaml`.

use super::{schema, text, yaml};
use serde_json::Value;
use std::collections::BTreeSet;

fn build() -> Value {
    yaml(&text("cloudbuild.yaml"))
}

/// Returns the names in `${…}`, without those of the shell (`$${…}`).
fn substitutions(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (position, _) in text.match_indices("${") {
        if position > 0 && text.as_bytes()[position - 1] == b'$' {
            continue;
        }
        let name = text[position + 2..].split('}').next().unwrap();
        found.insert(name.to_owned());
    }
    found
}

#[test]
fn it_is_a_build_as_cloud_build_describes_one() {
    let validator = schema::validator(&schema::description("cloudbuild.v1"), "Build");
    schema::assert_valid(&validator, &build());
    let mut wrong = build();
    wrong["steps"][0]["arg"] = "build".into();
    assert!(!validator.is_valid(&wrong));
}

#[test]
fn it_builds_tests_pushes_fills_the_template_and_replaces_the_service_once() {
    let build = build();
    let steps: Vec<&str> = build["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| step["id"].as_str().unwrap())
        .collect();
    assert_eq!(steps, ["build", "test", "push", "render", "deploy"]);
    let deploys = build["steps"].as_array().unwrap().iter();
    let deploys = deploys.filter(|step| step["entrypoint"] == "gcloud");
    assert_eq!(deploys.count(), 1);
}

#[test]
fn every_substitution_is_declared_and_used() {
    const OF_CLOUD_BUILD: [&str; 3] = ["PROJECT_ID", "BUILD_ID", "COMMIT_SHA"];
    let build = build();
    let declared: BTreeSet<String> = build["substitutions"]
        .as_object()
        .unwrap()
        .keys()
        .cloned()
        .collect();
    let mut used = substitutions(&text("cloudbuild.yaml"));
    for name in OF_CLOUD_BUILD {
        assert!(used.remove(name), "{name}");
    }
    assert_eq!(used, declared);
}

#[test]
fn every_name_in_the_template_is_filled_and_no_other() {
    let build = build();
    let script = build["steps"][3]["args"][1].as_str().unwrap();
    let (_, listed) = script.split_once("envsubst '").unwrap();
    let listed: BTreeSet<String> = listed
        .split('\'')
        .next()
        .unwrap()
        .split_whitespace()
        .map(|name| name.trim_start_matches('$').to_owned())
        .collect();
    assert_eq!(listed, substitutions(&text("cloudrun.yaml")));
}

#[test]
fn its_bases_are_those_of_the_dockerfile() {
    let build = build();
    let dockerfile = text("Dockerfile");
    for base in ["RUST_IMAGE", "NODE_IMAGE"] {
        let image = build["substitutions"][format!("_{base}")].as_str().unwrap();
        assert!(dockerfile.contains(&format!("ARG {base}={image}\n")));
        // A fixed version, not the latest one.
        assert!(image.matches('.').count() == 2, "{image}");
    }
}
