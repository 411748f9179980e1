//! The contents of the images.

use crate::engine::{Container, INGRESS, SERVICE, docker, images, inspect};
use std::process::{Command, Stdio};

const BYTES_MAX: u64 = 40_000_000;

#[test]
fn an_image_is_small_runs_as_nobody_and_says_how_to_ask_for_its_health() {
    images();
    for (image, program) in [(SERVICE, "/sandpiper"), (INGRESS, "/sandpiper-ingress")] {
        let image = inspect(image);
        let bytes = image["Size"].as_u64().unwrap();
        println!("{program}: {:.1} MB", bytes as f64 / 1e6);
        assert!(bytes < BYTES_MAX, "{program} takes {bytes} bytes");
        let config = &image["Config"];
        assert_eq!(config["User"], "65532:65532");
        assert_eq!(config["Entrypoint"], serde_json::json!([program]));
        let health = serde_json::json!(["CMD", program, "health"]);
        assert_eq!(config["Healthcheck"]["Test"], health);
        let labels = &config["Labels"];
        assert_eq!(labels["org.opencontainers.image.licenses"], "Apache-2.0");
        assert_eq!(
            labels["org.opencontainers.image.version"],
            env!("CARGO_PKG_VERSION")
        );
    }
}

#[test]
fn an_image_holds_its_program_what_it_reads_and_nothing_else() {
    images();
    for (image, expected) in [
        (
            SERVICE,
            &["data", "sandpiper", "sandpiper-sandbox", "sources"][..],
        ),
        (
            INGRESS,
            &["keys", "page", "sandpiper-ingress", "sources", "uses"][..],
        ),
    ] {
        let container = Container(docker(&["create", image]));
        let mut export = Command::new("docker")
            .args(["export", &container.0])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let listed = Command::new("tar")
            .args(["--list", "--verbose", "--numeric-owner"])
            .stdin(export.stdout.take().unwrap())
            .output()
            .unwrap();
        assert!(export.wait().unwrap().success() && listed.status.success());
        let listed = String::from_utf8(listed.stdout).unwrap();
        let mut found = Vec::new();
        for line in listed.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            let (rights, owner, path) = (words[0], words[1], words[5]);
            let top = path.split('/').next().unwrap();
            // Files that the container engine itself puts into every container.
            if ["dev", "etc", "proc", "sys", ".dockerenv"].contains(&top) {
                continue;
            }
            let is_written_to = matches!(path, "data/" | "sources/" | "uses/");
            let expected_owner = if is_written_to { "65532/65532" } else { "0/0" };
            assert_eq!(owner, expected_owner, "{line}");
            assert!(!rights.contains('s') && &rights[8..9] != "w", "{line}");
            found.push(top.to_owned());
        }
        found.sort();
        found.dedup();
        assert_eq!(found, expected);
    }
}
