//! `.ci/audit` and `.ci/pin-images`, with stand-ins for the programs that query public databases.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const CLEAN: &str = r#"{"metadata":{"vulnerabilities":{"total":0}}}"#;
const VULNERABLE: &str = r#"{"metadata":{"vulnerabilities":{"high":2,"total":2}}}"#;
/// Response of npm if the registry has no audit endpoint.
const NO_AUDIT: &str = r#"{"message":"405 Method Not Allowed","statusCode":405}"#;

/// Stand-in programs in a folder of the test's own, which precede all others in the path.
struct StandIns(PathBuf);

impl StandIns {
    fn new(name: &str) -> Self {
        let folder = format!("sandpiper-supply-chain-{name}-{}", std::process::id());
        let folder = std::env::temp_dir().join(folder);
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    fn program(&self, name: &str, body: &str) {
        let file = self.0.join(name);
        fs::write(&file, format!("#!/bin/sh\n{body}\n")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn run(&self, script: &str, arguments: &[&str]) -> (Output, String) {
        let path = std::env::var_os("PATH").unwrap();
        let mut folders = vec![self.0.clone()];
        folders.extend(std::env::split_paths(&path));
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(script);
        let output = Command::new(script)
            .args(arguments)
            .env("PATH", std::env::join_paths(folders).unwrap())
            .env("CARGO", "cargo")
            .output()
            .unwrap();
        let said = [output.stdout.clone(), output.stderr.clone()].concat();
        (output, String::from_utf8(said).unwrap())
    }

    /// Runs an audit in which cargo-deny's database is or is not fetched and npm prints `report`.
    fn audit(&self, fetched: bool, advisories: u8, report: &str) -> (Option<i32>, String) {
        let fetch = i32::from(!fetched);
        let body = format!(
            "case $* in *' fetch db') exit {fetch} ;; *advisories) exit {advisories} ;; esac"
        );
        self.program("cargo", &body);
        // npm exits with this status for findings as well as for failures.
        let status = i32::from(report != CLEAN);
        self.program("npm", &format!("echo '{report}'\nexit {status}"));
        let (output, said) = self.run(".ci/audit", &[]);
        (output.status.code(), said)
    }
}

impl Drop for StandIns {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn an_audit_tells_what_was_found_from_what_could_not_be_asked() {
    let stand_ins = StandIns::new("audit");
    let (status, said) = stand_ins.audit(true, 0, CLEAN);
    assert_eq!(status, Some(0), "{said}");
    assert!(said.contains("every database was asked"), "{said}");
    for (fetched, advisories, report, expected, marks) in [
        (false, 0, CLEAN, 3, &["NOT REACHED: RustSec"][..]),
        (true, 0, NO_AUDIT, 3, &["NOT REACHED: npm"]),
        (true, 0, "", 3, &["NOT REACHED: npm"]),
        (true, 1, CLEAN, 1, &["FOUND: crates: RustSec"]),
        (true, 0, VULNERABLE, 1, &["FOUND: page: npm"]),
        // Findings come first, and the failure is still reported.
        (
            false,
            0,
            VULNERABLE,
            1,
            &["FOUND: page: npm", "NOT REACHED: RustSec"],
        ),
    ] {
        let (status, said) = stand_ins.audit(fetched, advisories, report);
        assert_eq!(status, Some(expected), "{said}");
        for mark in marks {
            assert!(said.contains(mark), "{mark}: {said}");
        }
        assert!(!said.contains("every database was asked"), "{said}");
    }
}

#[test]
fn images_get_the_digests_that_their_registries_tell_and_others_keep_their_tags() {
    const FILES: [&str; 3] = ["Dockerfile", "docker-compose.scale.yml", "cloudbuild.yaml"];
    let stand_ins = StandIns::new("pin");
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    for file in FILES {
        fs::copy(project.join(file), stand_ins.0.join(file)).unwrap();
    }
    let digest = |digit: char| format!("sha256:{}", digit.to_string().repeat(64));
    // Docker's registry responds, Google's does not.
    let docker = |digest: &str| {
        format!(
            r#"case "$*" in
  *gcr.io*) exit 6 ;;
  *auth.example*) echo '{{"token": "t"}}' ;;
  */manifests/*) printf 'HTTP/2 200\r\nDocker-Content-Digest: {digest}\r\n' ;;
  *) printf 'HTTP/2 401\r\nwww-authenticate: Bearer realm="https://auth.example/token",service="r"\r\n' ;;
esac"#
        )
    };
    let text = || FILES.map(|file| fs::read_to_string(stand_ins.0.join(file)).unwrap());
    let folder = stand_ins.0.to_str().unwrap();
    // The second time each image has a digest already, and its tag names another image.
    for digest in [digest('a'), digest('b')] {
        stand_ins.program("curl", &docker(&digest));
        let (output, said) = stand_ins.run(".ci/pin-images", &[folder]);
        assert_eq!(output.status.code(), Some(3), "{said}");
        assert!(
            said.contains("gcr.io/cloud-builders/docker keeps its tag"),
            "{said}"
        );
        let [dockerfile, scale, build] = text();
        let pinned = |text: &str| text.matches(&format!("@{digest}")).count();
        assert_eq!((pinned(&dockerfile), pinned(&scale)), (2, 1), "{said}");
        // Two base images, and the image of a step.
        assert_eq!(pinned(&build), 3, "{build}");
        assert!(scale.contains(&format!("bookworm@{digest}}}\n")), "{scale}");
        assert!(build.contains("    name: gcr.io/cloud-builders/docker\n"));
    }
    // A registry's response that is no digest is written nowhere.
    let before = text();
    stand_ins.program("curl", &docker("latest"));
    let (output, said) = stand_ins.run(".ci/pin-images", &[folder]);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert_eq!(text(), before);
}
