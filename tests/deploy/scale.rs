//! Several services on one Postgres: `docker-compose.scale.yml`.

use crate::engine::{Project, base_image, docker, kill_from_outside, logs};
use crate::http::eventually;
use crate::load::Load;
use std::thread;
use std::time::Duration;

const FILES: [&str; 2] = ["docker-compose.yml", "docker-compose.scale.yml"];

fn started(services: usize) -> Project {
    let quota = |name: &'static str| (name, "100000/s:100000".to_owned());
    let project = Project::new(
        &FILES,
        &[
            ("POSTGRES_PASSWORD", "of1Letters2And3Digits".to_owned()),
            ("POSTGRES_IMAGE", base_image("POSTGRES_IMAGE")),
            quota("SANDPIPER_INGRESS_RUN_QUOTA"),
            quota("SANDPIPER_INGRESS_READ_QUOTA"),
            quota("SANDPIPER_INGRESS_TOTAL_QUOTA"),
        ],
    );
    let scale = format!("service={services}");
    project.compose(&["up", "--detach", "--no-build", "--scale", &scale]);
    project.client().wait_for_an_answer(Duration::from_secs(10));
    project
}

/// Returns the number of executions that a service reports as ended.
fn executions(container: &str) -> u64 {
    let said = docker(&["exec", container, "/sandpiper", "health"]);
    let health: serde_json::Value = serde_json::from_str(&said).unwrap();
    health["executions"]["ended"].as_u64().unwrap()
}

#[test]
fn three_services_share_the_work_and_the_death_of_one_loses_no_job() {
    let project = started(3);
    let client = project.client();
    let services = project.containers("service");
    assert_eq!(services.len(), 3);
    for service in &services {
        assert!(logs(service).contains("isolation=L3"));
    }
    assert_eq!(
        client.get("/api/nodes").json()["nodes"]
            .as_array()
            .unwrap()
            .len(),
        3
    );

    let load = Load::start(&client, 12);
    thread::sleep(Duration::from_secs(3));
    kill_from_outside(&services[1]);
    thread::sleep(Duration::from_secs(3));
    for container in project.containers("postgres") {
        kill_from_outside(&container);
    }
    thread::sleep(Duration::from_secs(4));
    let seen = load.stop();
    println!("{:?}, {} unanswered", seen.statuses, seen.unanswered);
    seen.assert_honest();
    assert!(seen.accepted.len() > 100, "{}", seen.accepted.len());
    eventually(Duration::from_secs(30), "all are well again", || {
        client
            .try_get("/ingress/ready")
            .is_some_and(|answer| answer.status == 200)
    });
    client.assert_all_finish(&seen.accepted, Duration::from_secs(120));
    for service in [&services[0], &services[2]] {
        assert!(executions(service) > 20, "{service} had no share");
    }

    // One more service and one fewer, while clients send requests.
    project.compose(&["up", "--detach", "--no-build", "--scale", "service=4"]);
    project.compose(&["up", "--detach", "--no-build", "--scale", "service=2"]);
    assert_eq!(client.result("1 + 2"), 3);
    client.assert_all_finish(&seen.accepted[..20], Duration::from_secs(10));
}
