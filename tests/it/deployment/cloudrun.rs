//! `cloudrun.yaml`, for jobs in memory and for jobs in Cloud SQL.

use super::options::{self, Environment};
use super::{bytes, named, schema, text, yaml};
use sandpiper::config::{ServeOptions, StoreChoice};
use sandpiper_sandbox_client::IsolationLevel;
use serde_json::Value;

/// The template, filled in as cloudbuild.yaml does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Store {
    Memory,
    CloudSql,
}

const BOTH: [Store; 2] = [Store::Memory, Store::CloudSql];
const STORE_SECRET: &str =
    "postgres://sandpiper:secret@localhost/sandpiper?host=/cloudsql/project:region:instance";

fn filled(store: Store) -> Value {
    let (if_memory, if_cloudsql) = match store {
        Store::Memory => ("", "# "),
        Store::CloudSql => ("# ", ""),
    };
    let mut filled = text("cloudrun.yaml");
    for (name, value) in [
        ("SERVICE", "sandpiper"),
        (
            "SERVICE_ACCOUNT",
            "sandpiper@project.iam.gserviceaccount.com",
        ),
        ("SERVICE_IMAGE", "example.com/service@sha256:00"),
        ("INGRESS_IMAGE", "example.com/ingress@sha256:00"),
        ("KEYS_SECRET", "sandpiper-keys"),
        ("STORE_SECRET", "sandpiper-store"),
        ("CLOUDSQL_INSTANCE", "project:region:instance"),
        ("MAX_SCALE", "2"),
        ("MIN_SCALE", "0"),
        ("IF_MEMORY", if_memory),
        ("IF_CLOUDSQL", if_cloudsql),
    ] {
        filled = filled.replace(&format!("${{{name}}}"), value);
    }
    assert!(!filled.contains("${"), "{filled}");
    yaml(&filled)
}

fn spec(service: &Value) -> &Value {
    &service["spec"]["template"]["spec"]
}

fn annotations(service: &Value) -> &Value {
    &service["spec"]["template"]["metadata"]["annotations"]
}

fn environment(service: &Value, container: &str) -> Environment {
    let container = named(&spec(service)["containers"], container);
    let mut environment = options::of_container(container, STORE_SECRET);
    if container["name"] == "ingress" {
        // Cloud Run sets this one.
        environment.insert("PORT".to_owned(), "8080".to_owned());
    }
    environment
}

fn service_options(service: &Value) -> ServeOptions {
    options::of_service(&environment(service, "service"))
}

#[test]
fn it_is_a_service_as_cloud_run_describes_one() {
    let validator = schema::validator(&schema::description("run.v1"), "Service");
    for store in BOTH {
        schema::assert_valid(&validator, &filled(store));
    }
    let mut wrong = filled(Store::Memory);
    wrong["spec"]["template"]["spec"]["containers"][0]["port"] = 8080.into();
    assert!(!validator.is_valid(&wrong));
}

#[test]
fn every_annotation_is_one_that_cloud_run_takes_there() {
    let description = schema::description("run.v1");
    let taken = description["schemas"]["ObjectMeta"]["properties"]["annotations"]["description"]
        .as_str()
        .unwrap();
    for store in BOTH {
        let service = filled(store);
        for (place, annotations) in [
            ("Service", &service["metadata"]["annotations"]),
            ("Revision", annotations(&service)),
        ] {
            for name in annotations.as_object().unwrap().keys() {
                let (_, rest) = taken
                    .split_once(&format!("`{name}`: "))
                    .unwrap_or_else(|| panic!("{name} is not known"));
                let places = rest.split('.').next().unwrap();
                assert!(places.contains(place), "{name} belongs to {places}");
            }
        }
    }
}

#[test]
fn only_the_ingress_has_a_port_and_it_waits_for_the_service() {
    for store in BOTH {
        let service = filled(store);
        let containers = &spec(&service)["containers"];
        assert_eq!(
            named(containers, "ingress")["ports"][0]["containerPort"],
            8080
        );
        assert!(named(containers, "service").get("ports").is_none());
        let dependencies = annotations(&service)["run.googleapis.com/container-dependencies"]
            .as_str()
            .unwrap();
        let dependencies: Value = serde_json::from_str(dependencies).unwrap();
        assert_eq!(dependencies, serde_json::json!({"ingress": ["service"]}));
    }
}

#[test]
fn probes_ask_routes_that_exist_on_the_ports_that_are_listened_on_and_end_within_240_seconds() {
    let service = filled(Store::Memory);
    let port = service_options(&service).port;
    for (container, port, startup, liveness) in [
        ("ingress", 8080, "/ingress/ready", "/ingress/live"),
        ("service", port, "/api/health/ready", "/api/health/live"),
    ] {
        let container = named(&spec(&service)["containers"], container);
        for (probe, path) in [("startupProbe", startup), ("livenessProbe", liveness)] {
            let probe = &container[probe];
            assert_eq!(probe["httpGet"]["path"], path);
            assert_eq!(probe["httpGet"]["port"], port);
            let seconds = probe["periodSeconds"].as_u64().unwrap()
                * probe["failureThreshold"].as_u64().unwrap();
            assert!(seconds <= 240);
        }
    }
}

#[test]
fn one_instance_keeps_jobs_in_memory_and_several_only_in_cloud_sql() {
    let memory = filled(Store::Memory);
    assert_eq!(service_options(&memory).store, StoreChoice::Memory);
    assert_eq!(
        annotations(&memory)["autoscaling.knative.dev/maxScale"],
        "1"
    );

    let sql = filled(Store::CloudSql);
    let options = service_options(&sql);
    assert!(matches!(options.store, StoreChoice::Durable(_)));
    let most: u16 = annotations(&sql)["autoscaling.knative.dev/maxScale"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!(most > 1);
    // The smallest Cloud SQL machines accept 25 connections, of which three are reserved for the administrator. The
    // limit also holds while one revision replaces another.
    assert!(2 * most * options.store_connections <= 22);
    assert!(text("cloudbuild.yaml").contains("_MAX_SCALE: \"2\""));
    assert_eq!(
        annotations(&sql)["run.googleapis.com/cloudsql-instances"],
        "project:region:instance"
    );
    // Jobs run while no request is open.
    for service in [memory, sql] {
        assert_eq!(
            annotations(&service)["run.googleapis.com/cpu-throttling"],
            "false"
        );
    }
}

#[test]
fn an_instance_starts_with_landlock_or_not_at_all() {
    for store in BOTH {
        let service = filled(store);
        // The execution environment that supports it.
        let environment = &annotations(&service)["run.googleapis.com/execution-environment"];
        assert_eq!(environment, "gen2");
        let least = service_options(&service).isolation.min_isolation;
        assert_eq!(least, IsolationLevel::L3);
    }
}

#[test]
fn what_is_asked_of_an_instance_is_what_it_can_do() {
    for store in BOTH {
        let service = filled(store);
        let options = service_options(&service);
        assert!(options::image_starts(&environment(&service, "ingress")));
        let ingress = options::of_ingress(&environment(&service, "ingress"));
        let spec = spec(&service);

        let resources = &named(&spec["containers"], "service")["resources"]["limits"];
        assert_eq!(resources["cpu"], "1000m");
        options::assert_service_fits(&options, &resources["memory"], 1);

        let concurrency = spec["containerConcurrency"].as_u64().unwrap();
        assert!(concurrency <= u64::from(options.queue_interactive));
        assert!(concurrency <= u64::from(options.events_max));
        assert!(concurrency <= u64::from(options.connections_max));
        assert!(concurrency <= ingress.connections_max.get() as u64);

        let timeout = spec["timeoutSeconds"].as_u64().unwrap();
        assert!(timeout > options.events_s + ingress.silence_ms / 1000 - 1);
        assert!(timeout * 1000 > ingress.answer_timeout_ms);
        // Cloud Run kills the instance ten seconds after SIGTERM.
        assert!(options.drain_ms < 10_000 && ingress.drain_ms < 10_000);

        let folder = &named(&spec["volumes"], "sources")["emptyDir"];
        assert_eq!(folder["medium"], "Memory");
        assert!(ingress.sources.dir_bytes.as_u64() <= bytes(&folder["sizeLimit"]));
        options::assert_they_agree(
            &environment(&service, "service"),
            &environment(&service, "ingress"),
        );
        assert_eq!(ingress.trusted_hops, 1);
    }
}
