//! Cloud Build, as far as `cloudbuild.yaml` needs it.

use crate::engine::{base_image, images, project};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

/// The results of a build.
pub(super) struct Built {
    /// `cloudrun.yaml`, filled in for jobs in memory.
    pub(super) filled_for_memory: Value,
    /// `cloudrun.yaml`, filled in for jobs in Cloud SQL.
    pub(super) filled_for_cloudsql: Value,
    /// The calls of gcloud.
    pub(super) gcloud: Vec<String>,
}

impl Built {
    /// Runs every step, once for all tests.
    pub(super) fn once() -> &'static Self {
        static BUILT: OnceLock<Built> = OnceLock::new();
        BUILT.get_or_init(|| {
            // The layers of these images are cached then.
            images();
            let registry = Registry::start();
            let memory = Build::new(&registry, "");
            memory.run(&["build", "test", "push", "render", "deploy"]);
            let cloudsql = Build::new(&registry, "project:region:instance");
            fs::copy(
                memory.workspace.join("service.digest"),
                cloudsql.workspace.join("service.digest"),
            )
            .unwrap();
            fs::copy(
                memory.workspace.join("ingress.digest"),
                cloudsql.workspace.join("ingress.digest"),
            )
            .unwrap();
            cloudsql.run(&["render"]);
            let called = fs::read_to_string(memory.workspace.join("gcloud.calls")).unwrap();
            Built {
                filled_for_memory: memory.filled(),
                filled_for_cloudsql: cloudsql.filled(),
                gcloud: called.lines().map(str::to_owned).collect(),
            }
        })
    }
}

struct Build {
    steps: Value,
    substitutions: BTreeMap<String, String>,
    workspace: PathBuf,
}

impl Build {
    fn new(registry: &Registry, cloudsql_instance: &str) -> Self {
        let file = fs::read_to_string(project().join("cloudbuild.yaml")).unwrap();
        let file: Value = serde_saphyr::from_str(&file).unwrap();
        let mut substitutions: BTreeMap<String, String> = file["substitutions"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned()))
            .collect();
        for (name, value) in [
            ("PROJECT_ID", "project".to_owned()),
            ("BUILD_ID", "build-1".to_owned()),
            ("COMMIT_SHA", "0123456789abcdef".to_owned()),
            (
                "_REPOSITORY",
                format!("127.0.0.1:{}/sandpiper", registry.port),
            ),
            ("_RUST_IMAGE", base_image("RUST_IMAGE")),
            ("_NODE_IMAGE", base_image("NODE_IMAGE")),
            ("_CLOUDSQL_INSTANCE", cloudsql_instance.to_owned()),
        ] {
            substitutions.insert(name.to_owned(), value);
        }
        let kind = if cloudsql_instance.is_empty() {
            "memory"
        } else {
            "cloudsql"
        };
        let workspace = project().join("target/deploy/cloudbuild").join(kind);
        let _ = fs::remove_dir_all(&workspace);
        fs::create_dir_all(workspace.join("bin")).unwrap();
        // A stand-in for gcloud, the one program that talks to Google.
        let gcloud = workspace.join("bin/gcloud");
        let calls = workspace.join("gcloud.calls");
        fs::write(
            &gcloud,
            format!("#!/bin/sh\necho \"$@\" >>{}\n", calls.display()),
        )
        .unwrap();
        fs::set_permissions(&gcloud, fs::Permissions::from_mode(0o755)).unwrap();
        Self {
            steps: file["steps"].clone(),
            substitutions,
            workspace,
        }
    }

    /// Expands a text as Cloud Build does: substitutions, which may contain others, and `$$`.
    fn substituted(&self, text: &str) -> String {
        let mut text = text.replace("$$", "\0");
        while let Some((before, rest)) = text.split_once("${") {
            let (name, after) = rest.split_once('}').unwrap();
            let value = &self.substitutions[name];
            text = format!("{before}{value}{after}");
        }
        text.replace('\0', "$")
            .replace("/workspace", self.workspace.to_str().unwrap())
    }

    fn run(&self, ids: &[&str]) {
        for id in ids {
            let mut steps = self.steps.as_array().unwrap().iter();
            let step = steps.find(|step| step["id"] == **id).unwrap();
            let arguments = step["args"].as_array().unwrap().iter();
            let arguments = arguments.map(|argument| self.substituted(argument.as_str().unwrap()));
            let path = std::env::var("PATH").unwrap();
            let path = format!("{}:{path}", self.workspace.join("bin").display());
            let mut command = Command::new(step["entrypoint"].as_str().unwrap());
            command
                .args(arguments)
                .current_dir(project())
                .env("PATH", path);
            for variable in step["env"].as_array().into_iter().flatten() {
                let variable = self.substituted(variable.as_str().unwrap());
                let (name, value) = variable.split_once('=').unwrap();
                command.env(name, value);
            }
            let output = command.output().unwrap();
            assert!(
                output.status.success(),
                "{id}: {}{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            );
        }
    }

    fn filled(&self) -> Value {
        let text = fs::read_to_string(self.workspace.join("cloudrun.filled.yaml")).unwrap();
        serde_saphyr::from_str(&text).unwrap()
    }
}

/// A registry of images on this machine.
struct Registry {
    child: Child,
    port: u16,
}

impl Registry {
    fn start() -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let folder = project().join("target/deploy/registry");
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        let config = folder.join("config.yml");
        fs::write(&config, configuration(&folder, port)).unwrap();
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("docker-registry: {error}"));
        Self { child, port }
    }
}

fn configuration(folder: &Path, port: u16) -> String {
    format!(
        "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: \"127.0.0.1:{port}\"}}\n",
        folder.display()
    )
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
