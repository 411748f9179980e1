//! The two containers of one Cloud Run instance.

use super::end_of;
use crate::engine::{Container, INGRESS, base_image, docker, logs, project};
use crate::http::{Client, eventually};
use serde_json::Value;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const SOCKETS: &str = "/cloudsql/project:region:instance";
const STORE: &str =
    "postgres://sandpiper:secret@localhost/sandpiper?host=/cloudsql/project:region:instance";

/// The layer between a container and the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Runtime {
    /// No layer, which is the closest that a container comes to Cloud Run's second-generation execution environment.
    Engine,
    /// gVisor, as in the first generation.
    GVisor,
}

/// The name of the runtime in tests/deploy/with-engine.
const GVISOR: &str = "gvisor";

impl Runtime {
    /// Returns the runtimes that are installed.
    pub(super) fn all() -> Vec<Self> {
        let known = docker(&["info", "--format", "{{json .Runtimes}}"]);
        if known.contains(&format!("\"{GVISOR}\"")) {
            return vec![Self::Engine, Self::GVisor];
        }
        println!("NOT TESTED under gVisor: the engine has no runtime of the name {GVISOR}");
        vec![Self::Engine]
    }
}

/// A volume in memory, removed with the test.
struct Volume(String);

impl Volume {
    fn new(mode: &str) -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("sandpiper-{}-{number}", std::process::id());
        let options = format!("o=mode={mode},uid=65532,gid=65532");
        let mut arguments = vec!["volume", "create", "--opt", "type=tmpfs"];
        arguments.extend(["--opt", "device=tmpfs", "--opt", &options, &name]);
        docker(&arguments);
        Self(name)
    }

    fn at(&self, target: &str) -> String {
        format!("type=volume,source={},target={target}", self.0)
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        let _ = std::process::Command::new("docker")
            .args(["volume", "rm", "--force", &self.0])
            .output();
    }
}

/// Cloud SQL as a container sees it: a folder with a socket.
pub(super) struct Postgres {
    _container: Container,
    sockets: Volume,
}

impl Postgres {
    pub(super) fn start() -> Self {
        let sockets = Volume::new("1777");
        let image = base_image("POSTGRES_IMAGE");
        let (mount, folder) = (
            sockets.at(SOCKETS),
            format!("unix_socket_directories={SOCKETS}"),
        );
        let container = Container::run(&[
            "--user",
            "postgres",
            "--mount",
            &mount,
            "--env",
            "POSTGRES_USER=sandpiper",
            "--env",
            "POSTGRES_PASSWORD=secret",
            "--env",
            "POSTGRES_DB=sandpiper",
            &image,
            "postgres",
            "-c",
            &folder,
        ]);
        eventually(
            Duration::from_secs(30),
            "Postgres takes connections",
            || logs(&container.0).contains("database system is ready to accept connections"),
        );
        Self {
            _container: container,
            sockets,
        }
    }
}

/// The secret with the API keys: a file that exists before the first instance starts, and that all instances share. A key
/// made for each instance would be a tenant of its own, which sees no job of the instances before it.
struct Secret {
    /// Where a container has the file, in the words of the engine.
    mount: String,
    /// An API key of the file.
    key: String,
}

impl Secret {
    fn once() -> &'static Self {
        static MADE: OnceLock<Secret> = OnceLock::new();
        MADE.get_or_init(|| {
            let folder = project().join("target/deploy/keys");
            let _ = fs::remove_dir_all(&folder);
            fs::create_dir_all(&folder).unwrap();
            fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
            let mount = format!("type=bind,source={},target=/keys", folder.display());
            let mut arguments = vec!["run", "--rm", "--mount", &mount, INGRESS, "key", "new"];
            arguments.extend(["--keys-file", "/keys/keys.json", "--name", "test"]);
            arguments.extend(["--run-quota", "100000/s:100000"]);
            arguments.extend(["--read-quota", "100000/s:100000"]);
            let key = docker(&arguments);
            Self {
                mount: format!("{mount},readonly"),
                key,
            }
        })
    }
}

pub(super) struct Pair {
    pub(super) ingress: Container,
    pub(super) service: Container,
    /// A client with an API key.
    pub(super) client: Client,
    pub(super) port: u16,
    pub(super) started_in: Duration,
    _sources: Volume,
}

impl Pair {
    /// Returns a value of the filled template.
    pub(super) fn start(filled: &Value, runtime: Runtime, postgres: Option<&Postgres>) -> Self {
        let spec = &filled["spec"]["template"]["spec"];
        let sources = Volume::new("0755");
        let secret = Secret::once();
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let published = format!("127.0.0.1:{port}:8080");

        let start = Instant::now();
        let mut of_service = arguments(container(spec, "service"), runtime);
        // Both containers share this container's network.
        of_service.extend(["--publish".to_owned(), published]);
        of_service.extend(["--mount".to_owned(), sources.at("/sources")]);
        if let Some(postgres) = postgres {
            of_service.extend(["--mount".to_owned(), postgres.sockets.at(SOCKETS)]);
        }
        let service = run(of_service, container(spec, "service"));
        // container-dependencies: the ingress starts when the service is ready.
        wait_until_healthy(&service, "/sandpiper");
        let mut of_ingress = arguments(container(spec, "ingress"), runtime);
        of_ingress.extend(["--network".to_owned(), format!("container:{}", service.0)]);
        of_ingress.extend(["--env".to_owned(), "PORT=8080".to_owned()]);
        of_ingress.extend(["--mount".to_owned(), sources.at("/sources")]);
        of_ingress.extend(["--mount".to_owned(), secret.mount.clone()]);
        let ingress = run(of_ingress, container(spec, "ingress"));
        let client = Client::of_port(port).with_key(&secret.key);
        client.wait_for_an_answer(Duration::from_secs(20));
        Self {
            ingress,
            service,
            client,
            port,
            started_in: start.elapsed(),
            _sources: sources,
        }
    }

    /// Sends SIGTERM to both at once.
    pub(super) fn signal(&self, signal: &str) {
        docker(&["kill", "--signal", signal, &self.ingress.0, &self.service.0]);
    }

    /// Stops both as Cloud Run stops an instance. Both must end by themselves, with exit status 0.
    pub(super) fn stop(&self, within: Duration) {
        let start = Instant::now();
        self.signal("TERM");
        for (name, container) in [("service", &self.service), ("ingress", &self.ingress)] {
            let (took, status) = end_of(container, start, within);
            println!("{name} ended after {took:?}");
            assert_eq!(status, 0, "{name}: {}", logs(&container.0));
        }
    }
}

fn container<'a>(spec: &'a Value, name: &str) -> &'a Value {
    let mut containers = spec["containers"].as_array().unwrap().iter();
    containers
        .find(|container| container["name"] == name)
        .unwrap()
}

fn arguments(container: &Value, runtime: Runtime) -> Vec<String> {
    let limits = &container["resources"]["limits"];
    let millis: f64 = limits["cpu"]
        .as_str()
        .unwrap()
        .trim_end_matches('m')
        .parse()
        .unwrap();
    let memory = limits["memory"].as_str().unwrap().replace("Mi", "m");
    let mut arguments = vec![
        "--cpus".to_owned(),
        format!("{}", millis / 1000.0),
        "--memory".to_owned(),
        memory.clone(),
        "--memory-swap".to_owned(),
        memory,
    ];
    if runtime == Runtime::GVisor {
        arguments.extend(["--runtime".to_owned(), GVISOR.to_owned()]);
    }
    for variable in container["env"].as_array().unwrap() {
        let name = variable["name"].as_str().unwrap();
        let value = match (name, runtime) {
            // The template demands this for the first generation.
            ("SANDPIPER_MIN_ISOLATION", Runtime::GVisor) => "L2",
            _ => variable["value"].as_str().unwrap_or(STORE),
        };
        arguments.extend(["--env".to_owned(), format!("{name}={value}")]);
    }
    arguments
}

fn run(mut arguments: Vec<String>, container: &Value) -> Container {
    arguments.push(container["image"].as_str().unwrap().to_owned());
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    Container::run(&arguments)
}

fn wait_until_healthy(container: &Container, program: &str) {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let asked = std::process::Command::new("docker")
            .args(["exec", &container.0, program, "health"])
            .output()
            .unwrap();
        if asked.status.success() {
            return;
        }
        assert!(Instant::now() < deadline, "{}", logs(&container.0));
        thread::sleep(Duration::from_millis(20));
    }
}
