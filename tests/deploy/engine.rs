//! The container engine, through its command line.

use crate::http::Client;
use serde_json::Value;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output};
use std::sync::OnceLock;

/// The names of the images in these tests.
pub(crate) const SERVICE: &str = "sandpiper-under-test";
pub(crate) const INGRESS: &str = "sandpiper-ingress-under-test";

/// The options with which every container of the images starts.
pub(crate) const WALLS: [&str; 5] = [
    "--read-only",
    "--cap-drop",
    "ALL",
    "--security-opt",
    "no-new-privileges",
];

pub(crate) fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Runs a command that must succeed, and returns its standard output.
pub(crate) fn docker(arguments: &[&str]) -> String {
    let output = Command::new("docker").args(arguments).output().unwrap();
    succeeded(&output, arguments)
}

fn succeeded(output: &Output, arguments: &[&str]) -> String {
    assert!(
        output.status.success(),
        "{arguments:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Inspects a container, an image or a network.
pub(crate) fn inspect(name: &str) -> Value {
    let all: Value = serde_json::from_str(&docker(&["inspect", name])).unwrap();
    all[0].clone()
}

/// Returns the log of a container.
pub(crate) fn logs(container: &str) -> String {
    let output = Command::new("docker")
        .args(["logs", container])
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&said).into_owned()
}

/// A container that is removed with the test.
pub(crate) struct Container(pub(crate) String);

impl Container {
    /// Runs `docker run --detach` with these arguments.
    pub(crate) fn run(arguments: &[&str]) -> Self {
        let mut all = vec!["run", "--detach"];
        all.extend(arguments);
        Self(docker(&all))
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", logs(&self.0));
        }
        let _ = Command::new("docker")
            .args(["rm", "--force", "--volumes", &self.0])
            .output();
    }
}

/// Returns the pid of a running container's first process, as this machine numbers it.
pub(crate) fn pid(container: &str) -> i32 {
    let pid = inspect(container)["State"]["Pid"].as_i64().unwrap();
    assert!(pid > 0, "{container} does not run");
    i32::try_from(pid).unwrap()
}

/// Kills the container as a fault would, so that the engine's restart policy applies.
pub(crate) fn kill_from_outside(container: &str) {
    let killed = nix::unistd::Pid::from_raw(pid(container));
    nix::sys::signal::kill(killed, nix::sys::signal::Signal::SIGKILL).unwrap();
}

/// Returns the compose command, which is a part of docker or a program of its own.
fn compose_command() -> Command {
    static IS_PART: OnceLock<bool> = OnceLock::new();
    let is_part = *IS_PART.get_or_init(|| {
        let asked = Command::new("docker").args(["compose", "version"]).output();
        asked.is_ok_and(|output| output.status.success())
    });
    let mut command = if is_part {
        let mut command = Command::new("docker");
        command.arg("compose");
        command
    } else {
        Command::new("docker-compose")
    };
    command
        .current_dir(project())
        .env("SANDPIPER_IMAGE", SERVICE)
        .env("SANDPIPER_INGRESS_IMAGE", INGRESS);
    command
}

/// Returns a base image, as tests/deploy/with-engine found or made it.
pub(crate) fn base_image(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: `make test-deploy`"))
}

/// Builds both images once, with the Dockerfile that everybody uses. Where that fails, the first test shows the output of
/// the build, and the others fail without another build.
pub(crate) fn images() {
    static BUILT: OnceLock<bool> = OnceLock::new();
    let built = *BUILT.get_or_init(|| {
        let mut command = compose_command();
        // tests/deploy/with-engine names the base images in the environment.
        command.args(["--file", "docker-compose.yml", "build"]);
        let output = command.output().unwrap();
        if !output.status.success() {
            eprintln!("{}", String::from_utf8_lossy(&output.stdout));
            eprintln!("{}", String::from_utf8_lossy(&output.stderr));
        }
        output.status.success()
    });
    assert!(
        built,
        "the images could not be built: the output of the build is above, at the first test that needed them"
    );
}

/// A deployment by compose, on a port of its own, removed with the test.
pub(crate) struct Project {
    name: String,
    files: Vec<&'static str>,
    environment: Vec<(&'static str, String)>,
    pub(crate) port: u16,
}

impl Project {
    /// Returns a deployment that is not started yet.
    pub(crate) fn new(files: &[&'static str], environment: &[(&'static str, String)]) -> Self {
        images();
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let mut environment = environment.to_vec();
        environment.push(("SANDPIPER_PUBLISH", format!("127.0.0.1:{port}")));
        Self {
            name: format!("sandpiper-{port}"),
            files: files.to_vec(),
            environment,
            port,
        }
    }

    pub(crate) fn client(&self) -> Client {
        Client::of_port(self.port)
    }

    /// Runs a compose command that must succeed.
    pub(crate) fn compose(&self, arguments: &[&str]) -> String {
        succeeded(&self.command(arguments).output().unwrap(), arguments)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = compose_command();
        command.args(["--project-name", &self.name]);
        for file in &self.files {
            command.args(["--file", file]);
        }
        command.args(arguments);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Starts the deployment with a command from a document, which runs until it is stopped. `docker compose` may be a
    /// program of its own here.
    pub(crate) fn run_as_written(&self, words: &str) -> Child {
        let words: Vec<&str> = words.split_whitespace().collect();
        assert_eq!(words[..2], ["docker", "compose"]);
        let mut command = compose_command();
        command.env("COMPOSE_PROJECT_NAME", &self.name);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.args(&words[2..]).spawn().unwrap()
    }

    /// Returns the containers of a service.
    pub(crate) fn containers(&self, service: &str) -> Vec<String> {
        let all = self.compose(&["ps", "--quiet", service]);
        all.lines().map(str::to_owned).collect()
    }

    pub(crate) fn container(&self, service: &str) -> String {
        let containers = self.containers(service);
        assert_eq!(containers.len(), 1, "{service}");
        containers[0].clone()
    }

    /// Returns the engine's name of a network.
    pub(crate) fn network(&self, name: &str) -> String {
        format!("{}_{name}", self.name)
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Ok(output) = self.command(&["logs", "--tail", "50"]).output()
        {
            eprintln!("{}", String::from_utf8_lossy(&output.stdout));
        }
        let down = ["down", "--volumes", "--remove-orphans", "--timeout", "1"];
        let _ = self.command(&down).output();
    }
}
