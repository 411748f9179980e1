//! Cloud Run: runs `cloudbuild.yaml` step by step with a registry of the test's own, then starts the resulting
//! `cloudrun.yaml` as Cloud Run would: two containers, one network, one processor, SIGTERM to both at once.

mod build;
mod pair;

use crate::engine::{Container, WALLS, inspect, logs};
use crate::http::{Client, eventually};
use crate::load::Load;
use build::Built;
use pair::{Pair, Postgres, Runtime};
use serde_json::json;
use std::thread;
use std::time::{Duration, Instant};

/// Cloud Run kills the instance after this time.
const STOP_WITHIN: Duration = Duration::from_secs(10);

#[test]
fn a_build_ends_in_one_replacement_of_the_service_with_images_by_digest() {
    let built = Built::once();
    let filled = &built.filled_for_memory;
    for container in filled["spec"]["template"]["spec"]["containers"]
        .as_array()
        .unwrap()
    {
        let image = container["image"].as_str().unwrap();
        assert!(image.contains("@sha256:"), "{image}");
    }
    let file = "cloudrun.filled.yaml";
    let called = &built.gcloud;
    assert_eq!(called.len(), 1, "{called:?}");
    assert!(called[0].starts_with("run services replace ") && called[0].contains(file));
    assert!(called[0].contains("--region=europe-west1 --project=project"));
}

#[test]
fn both_containers_start_within_a_second_and_a_key_is_needed() {
    let pair = Pair::start(&Built::once().filled_for_memory, Runtime::Engine, None);
    println!(
        "both containers, to the first correct answer: {:?}",
        pair.started_in
    );
    assert!(pair.started_in < Duration::from_secs(3));
    let anybody = Client::of_port(pair.port);
    let refused = anybody.post("/api/execute", &json!({"code": "1"}));
    assert_eq!(refused.status, 401, "{}", refused.text);
    let about = pair.client.get("/api").json();
    assert_eq!(about["isolation"], "L3");
    assert_eq!(about["store"]["name"], "memory");
    for container in [&pair.service, &pair.ingress] {
        let said = logs(&container.0);
        // The fields that the platform's log expects.
        assert!(said.lines().all(|line| line.starts_with('{')), "{said}");
    }
}

#[test]
fn a_pair_that_stops_under_load_responds_correctly_and_ends_in_time() {
    for runtime in Runtime::all() {
        let pair = Pair::start(&Built::once().filled_for_memory, runtime, None);
        let load = Load::start(&pair.client, 16);
        load.wait_for_more_than(20);
        pair.stop(STOP_WITHIN);
        let seen = load.stop();
        println!(
            "{runtime:?}: {:?}, {} unanswered",
            seen.statuses, seen.unanswered
        );
        seen.assert_honest();
        assert!(seen.statuses[&200] > 20);
    }
}

#[test]
fn jobs_in_cloud_sql_survive_the_end_of_their_instance() {
    let filled = &Built::once().filled_for_cloudsql;
    for runtime in Runtime::all() {
        let postgres = Postgres::start();
        let first = Pair::start(filled, runtime, Some(&postgres));
        assert_eq!(first.client.get("/api").json()["store"]["name"], "postgres");
        let load = Load::start(&first.client, 16);
        load.wait_for_more_than(20);
        first.stop(STOP_WITHIN);
        let stopped = load.stop();
        stopped.assert_honest();

        let second = Pair::start(filled, runtime, Some(&postgres));
        let load = Load::start(&second.client, 16);
        load.wait_for_more_than(20);
        second.signal("KILL");
        let killed = load.stop();
        killed.assert_honest();
        drop(second);

        let third = Pair::start(filled, runtime, Some(&postgres));
        for (end, seen) in [("stopped", stopped), ("killed", killed)] {
            println!(
                "{runtime:?}, {end}: {:?}, {} unanswered",
                seen.statuses, seen.unanswered
            );
            assert!(seen.accepted.len() > 20);
            third
                .client
                .assert_all_finish(&seen.accepted, Duration::from_secs(90));
        }
    }
}

#[test]
fn the_service_alone_starts_in_a_tenth_of_a_second() {
    crate::engine::images();
    let mut took: Vec<Duration> = (0..5)
        .map(|_| {
            let mut arguments = WALLS.to_vec();
            arguments.extend(["--network", "none", "--env", "SANDPIPER_STORE=memory"]);
            arguments.push(crate::engine::SERVICE);
            let container = Container::run(&arguments);
            eventually(Duration::from_secs(10), "it listens", || {
                logs(&container.0).contains("listening on")
            });
            let said = logs(&container.0);
            let (_, after) = said.split_once("startup_ms=").unwrap();
            let milliseconds = after.split_whitespace().next().unwrap().parse().unwrap();
            Duration::from_millis(milliseconds)
        })
        .collect();
    took.sort();
    println!("from its first line of code until it listens, in a container: {took:?}");
    // This is no measurement, because the machine is unknown. It shows only that nothing waits for seconds.
    assert!(took[2] < Duration::from_secs(1));
}

/// Returns the time until a running container has ended by itself, and its exit status.
fn end_of(container: &Container, since: Instant, within: Duration) -> (Duration, i64) {
    loop {
        let state = inspect(&container.0)["State"].clone();
        if state["Running"] == false {
            return (since.elapsed(), state["ExitCode"].as_i64().unwrap());
        }
        assert!(since.elapsed() < within, "it runs on after {within:?}");
        thread::sleep(Duration::from_millis(20));
    }
}
