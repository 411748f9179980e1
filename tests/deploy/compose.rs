//! One machine: `docker-compose.yml`.

use crate::engine::{
    self, Container, Project, SERVICE, WALLS, docker, inspect, kill_from_outside, logs,
};
use crate::http::{Client, eventually};
use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;
use serde_json::{Value, json};
use std::fs;
use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

const FILE: &str = "docker-compose.yml";
/// A script that takes this long.
const TENTH_OF_A_SECOND: &str = "const end = Date.now() + 100; while (Date.now() < end); 'done'";

fn started(environment: &[(&'static str, String)]) -> Project {
    let project = Project::new(&[FILE], environment);
    project.compose(&["up", "--detach", "--no-build"]);
    project.client().wait_for_an_answer(Duration::from_secs(5));
    project
}

#[test]
fn up_starts_both_in_order_isolated_and_serves_api_and_page() {
    let project = Project::new(&[FILE], &[]);
    let start = Instant::now();
    project.compose(&["up", "--detach", "--no-build"]);
    let client = project.client();
    client.wait_for_an_answer(Duration::from_secs(5));
    println!("from up to the first correct answer: {:?}", start.elapsed());

    let said = logs(&project.container("service"));
    assert!(said.contains("isolation=L3"), "{said}");
    assert_eq!(client.get("/api").json()["isolation"], "L3");
    let page = client.get("/");
    assert!(
        page.status == 200 && page.text.contains("/assets/"),
        "{}",
        page.text
    );
    assert_eq!(client.get("/metrics").status, 404);
    assert_eq!(client.get("/api/scripts/pi.js").status, 200);

    let mut idle = 0.0;
    for service in ["service", "ingress"] {
        let container = project.container(service);
        eventually(Duration::from_secs(15), "it is healthy", || {
            inspect(&container)["State"]["Health"]["Status"] == "healthy"
        });
        // Nothing was written outside the volumes.
        assert_eq!(docker(&["diff", &container]), "");
        idle += memory_used(&container);
    }
    println!("both take {:.1} MB when idle", idle / 1e6);
    assert!(idle < 60e6, "{idle}");
}

#[test]
fn the_commands_of_the_documents_start_the_deployment() {
    const COMMAND: &str = "docker compose up --build";
    let readme = fs::read_to_string(engine::project().join("README.md")).unwrap();
    assert!(readme.contains(&format!("`{COMMAND}`")), "{COMMAND}");
    let project = Project::new(&[FILE], &[]);
    let mut up = project.run_as_written(COMMAND);
    let client = project.client();
    client.wait_for_an_answer(Duration::from_secs(60));
    assert_eq!(client.result("1 + 2"), 3);
    // By default the port is published on this machine only.
    let file = fs::read_to_string(engine::project().join(FILE)).unwrap();
    assert!(file.contains("${SANDPIPER_PUBLISH:-127.0.0.1:8080}:8080"));
    let pid = Pid::from_raw(up.id().try_into().unwrap());
    signal::kill(pid, Signal::SIGINT).unwrap();
    up.wait().unwrap();
}

/// Parses a size as the container engine prints it, bytes.
fn memory_used(container: &str) -> f64 {
    let used = docker(&[
        "stats",
        "--no-stream",
        "--format",
        "{{.MemUsage}}",
        container,
    ]);
    let used = used.split(" / ").next().unwrap();
    let mebibytes = used.strip_suffix("MiB");
    let mebibytes = mebibytes.unwrap_or_else(|| panic!("{used} is not in MiB"));
    mebibytes.parse::<f64>().unwrap() * f64::from(1 << 20)
}

#[test]
fn a_flood_is_refused_with_429_and_others_are_not_touched() {
    let quota = ("SANDPIPER_INGRESS_RUN_QUOTA", "5/m:10".to_owned());
    let project = started(&[quota]);
    let client = project.client();
    let statuses: Vec<u16> = (0..20)
        .map(|_| client.post("/api/execute", &json!({"code": "1"})).status)
        .collect();
    assert!(statuses.contains(&429), "{statuses:?}");
    assert_eq!(client.get("/api").status, 200);
}

#[test]
fn neither_a_script_nor_the_service_reaches_the_network_and_a_service_outside_does() {
    // A listener at all addresses of this machine, which any container with a route outside can reach.
    let reachable = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = reachable.local_addr().unwrap().port();
    let project = Project::new(&[FILE], &[]);
    project.compose(&["up", "--detach", "--no-build"]);
    let gateway = |network: &str| {
        let network = inspect(&project.network(network));
        let address = &network["IPAM"]["Config"][0]["Gateway"];
        address.as_str().unwrap().to_owned()
    };
    let check = |client: &Client| client.get(&format!("/api/netcheck?port={port}")).json();

    // Outside the internal network the same image reaches the listener, so it is the network that blocks the service.
    let outside = gateway("outside");
    let netcheck_host = format!("SANDPIPER_NETCHECK_HOST={outside}");
    let network = project.network("outside");
    let mut arguments = WALLS.to_vec();
    arguments.extend(["--network", &network, "--env", "HOST=0.0.0.0"]);
    arguments.extend([
        "--env",
        "SANDPIPER_STORE=memory",
        "--env",
        &netcheck_host,
        SERVICE,
    ]);
    let elsewhere = Container::run(&arguments);
    let address =
        inspect(&elsewhere.0)["NetworkSettings"]["Networks"][&network]["IPAddress"].clone();
    let elsewhere = Client::of(&format!("http://{}:8081", address.as_str().unwrap()));
    elsewhere.wait_for_an_answer(Duration::from_secs(5));
    let found = check(&elsewhere);
    assert_eq!(found["service"]["status"], "allowed", "{found}");
    assert_eq!(found["sandbox"]["status"], "restricted", "{found}");

    for unreachable in [outside, gateway("inside")] {
        let host = ("SANDPIPER_NETCHECK_HOST", unreachable);
        let project = started(&[host]);
        let found = check(&project.client());
        assert_eq!(found["service"]["status"], "restricted", "{found}");
        assert_eq!(found["sandbox"]["status"], "restricted", "{found}");
    }
}

#[test]
fn scripts_that_mean_harm_end_as_they_must_through_the_published_port() {
    let quota = |name: &'static str| (name, "100000/s:100000".to_owned());
    let project = started(&[
        quota("SANDPIPER_INGRESS_RUN_QUOTA"),
        quota("SANDPIPER_INGRESS_TOTAL_QUOTA"),
    ]);
    let url = format!("http://127.0.0.1:{}", project.port);
    let mut arguments = vec!["run", "--rm", "--network", "host"];
    arguments.extend(WALLS);
    // The machine may be busy.
    arguments.extend([SERVICE, "selftest", "--url", &url, "--time-factor", "4"]);
    let report = docker(&arguments);
    println!("{report}");
    assert!(report.contains(" as expected, 0 not"), "{report}");
    assert_eq!(project.client().result("1 + 2"), 3);
    // The engine's own limits ended none of them.
    let service = inspect(&project.container("service"));
    assert_eq!(service["State"]["OOMKilled"], false);
    assert_eq!(service["RestartCount"], 0);
}

#[test]
fn scripts_that_take_all_the_memory_they_may_ask_for_leave_the_container_alone() {
    let project = started(&[]);
    let hog = json!({
        "code": "const kept = []; while (true) kept.push(new Uint8Array(1 << 20).fill(1));",
        "limits": {"memoryBytes": 256 << 20, "timeoutMs": 20_000},
    });
    let hogs: Vec<_> = (0..6)
        .map(|_| {
            let (client, hog) = (project.client(), hog.clone());
            thread::spawn(move || client.post("/api/execute", &hog).json())
        })
        .collect();
    for hog in hogs {
        let execution = hog.join().unwrap();
        assert_eq!(execution["outcome"], "memory_exceeded", "{execution}");
        assert_eq!(execution["limitHit"], "memoryBytes", "{execution}");
    }
    let service = inspect(&project.container("service"));
    assert_eq!(service["State"]["OOMKilled"], false);
    assert_eq!(service["RestartCount"], 0);
}

#[test]
fn accepted_jobs_survive_a_kill_of_the_service_and_of_the_ingress() {
    let project = started(&[]);
    let client = project.client();
    let jobs: Vec<String> = (0..60).map(|_| client.submit(TENTH_OF_A_SECOND)).collect();
    kill_from_outside(&project.container("service"));
    kill_from_outside(&project.container("ingress"));
    client.assert_all_finish(&jobs, Duration::from_secs(60));
    for service in ["service", "ingress"] {
        assert_eq!(inspect(&project.container(service))["RestartCount"], 1);
    }
}

#[test]
fn a_stop_takes_at_most_ten_seconds_and_the_next_service_runs_the_accepted_jobs() {
    let project = started(&[]);
    let client = project.client();
    let jobs: Vec<String> = (0..40).map(|_| client.submit(TENTH_OF_A_SECOND)).collect();
    let before = project.container("service");
    let start = Instant::now();
    project.compose(&["stop"]);
    let took = start.elapsed();
    println!("stopped in {took:?}");
    assert!(took < Duration::from_secs(10), "{took:?}");
    for container in [&before, &project.container("ingress")] {
        assert_eq!(inspect(container)["State"]["ExitCode"], 0);
    }
    // An upgrade: new containers, the same volume.
    project.compose(&["up", "--detach", "--no-build", "--force-recreate"]);
    client.wait_for_an_answer(Duration::from_secs(5));
    assert_ne!(project.container("service"), before);
    client.assert_all_finish(&jobs, Duration::from_secs(30));
}

#[test]
fn a_service_below_the_least_isolation_does_not_start_and_says_why() {
    engine::images();
    let mut arguments = WALLS.to_vec();
    arguments.extend([
        "--env",
        "SANDPIPER_STORE=memory",
        SERVICE,
        "serve",
        "--min-isolation",
        "L4",
    ]);
    let container = Container::run(&arguments);
    eventually(Duration::from_secs(10), "it has ended", || {
        inspect(&container.0)["State"]["Running"] == Value::Bool(false)
    });
    assert_eq!(inspect(&container.0)["State"]["ExitCode"], 2);
    let said = logs(&container.0);
    assert!(said.contains("L3") && said.contains("L4"), "{said}");
}
