//! Health and information endpoints, for people and for machines.

use crate::support::{LATE_MS, Service, eventually, signal};
use serde_json::json;
use std::net::TcpListener;
use std::time::Duration;

const SOON: Duration = crate::support::SOON;

#[test]
fn the_info_says_what_this_is_and_what_it_promises() {
    let service = Service::start_with(&["--timeout-ms", "1500", "--max-isolation", "L3"]);
    let info = service.get("/api").json();
    assert_eq!(info["status"], "UP");
    assert_eq!(info["name"], "sandpiper");
    assert_eq!(info["version"], env!("CARGO_PKG_VERSION"));
    assert!(
        info["engine"].as_str().unwrap().contains("quickjs"),
        "{info}"
    );
    assert!(
        ["L2", "L3"].contains(&info["isolation"].as_str().unwrap()),
        "{info}"
    );
    assert_eq!(info["executors"], 2);
    assert_eq!(info["store"]["name"], "memory");
    assert!(
        info["store"]["promise"]
            .as_str()
            .unwrap()
            .contains("memory")
    );
    assert_eq!(info["limits"]["defaults"]["timeoutMs"], 1500);
    assert_eq!(info["limits"]["ceilings"]["timeoutMs"], 30_000);
}

#[test]
fn every_isolation_layer_is_shown_with_its_status() {
    let service = Service::start();
    for path in ["/api", "/api/health/ready"] {
        let layers = service.get(path).json()["walls"]
            .as_array()
            .unwrap()
            .clone();
        assert!(layers.len() >= 5, "{layers:?}");
        for layer in layers {
            assert!(
                layer["wall"].is_string() && layer["detail"].is_string(),
                "{layer}"
            );
            // The service does not start without a required isolation layer.
            if layer["required"] == true {
                assert_eq!(layer["present"], true, "{layer}");
            }
        }
    }
}

#[test]
fn health_is_all_numbers_and_they_are_true() {
    let service = Service::start();
    let health = service.get("/api/health").json();
    let rss = health["memory"]["rss"].as_f64().unwrap();
    assert!((1.0..500.0).contains(&rss), "{health}");
    for field in ["peakRss", "heapTotal", "heapUsed", "external"] {
        assert!(
            health["memory"][field].as_f64().unwrap() > 0.0,
            "{field}: {health}"
        );
    }
    assert!(health["memory"]["peakRss"].as_f64().unwrap() >= rss);
    let uptime = health["uptime"].as_f64().unwrap();
    assert!((0.0..60.0).contains(&uptime), "{health}");
    assert!(
        service.get("/api/health").json()["uptime"]
            .as_f64()
            .unwrap()
            >= uptime
    );
    // At least the service and two zygotes.
    assert!(health["processes"].as_u64().unwrap() >= 3, "{health}");
}

#[test]
fn readiness_counts_what_runs_and_what_waits() {
    let service = Service::start();
    let ready = || service.get("/api/health/ready").json();
    let idle = ready();
    assert_eq!(idle["status"], "UP");
    assert_eq!(idle["reasons"], json!([]));
    assert_eq!(idle["executors"]["total"], 2);
    assert_eq!(idle["executors"]["ready"], 2);
    assert_eq!(idle["queue"], json!({ "interactive": 0, "background": 0 }));
    let endless = json!({ "code": "for (;;);", "limits": { "timeoutMs": 30_000 } });
    let ids: Vec<String> = (0..5).map(|_| service.submit(&endless)).collect();
    eventually(SOON, "two run and three wait", || {
        let now = ready();
        now["executors"]["busy"] == 2 && now["queue"]["background"] == 3
    });
    for id in ids.iter().rev() {
        assert_eq!(service.delete(&format!("/api/jobs/{id}")).status, 200);
    }
    eventually(SOON, "nothing runs and nothing waits", || {
        let now = ready();
        now["executors"]["busy"] == 0 && now["queue"]["background"] == 0
    });
}

#[test]
fn the_load_is_left_out_where_an_ingress_says_that_the_request_lacks_the_scope() {
    let service = Service::start_with(&["--client-header", "sandpiper-client"]);
    let numbers = ["executions", "executors", "queue", "reserveExecutors"];
    let resources = ["memory", "processes", "uptime"];
    for (scopes, is_shown) in [("", false), ("execute,jobs,read", false), ("admin", true)] {
        let headers = [("sandpiper-scopes", scopes)];
        let ready = service.get_with("/api/health/ready", &headers);
        assert_eq!(ready.status, 200);
        let health = service.get_with("/api/health", &headers).json();
        let ready = ready.json();
        assert_eq!(ready["status"], "UP");
        for (shown, fields) in [(&ready, &numbers[..]), (&health, &resources)] {
            for field in fields {
                assert_eq!(shown.get(field).is_some(), is_shown, "{scopes}: {shown}");
            }
        }
    }
}

#[test]
fn readiness_counts_what_only_a_kill_could_end() {
    let service = Service::start();
    let executions = || {
        let mut counts = service.get("/api/health/ready").json()["executions"].clone();
        let counts = counts.as_object_mut().unwrap();
        assert!(counts.remove("ended").unwrap().is_u64());
        assert!(counts.remove("meanWallMs").unwrap().is_number());
        json!(counts)
    };
    assert_eq!(executions(), json!({ "crashed": 0, "killed": 0 }));
    // The engine does not check its interrupt inside this built-in.
    let answer = service.execute(&json!({
        "code": "'a'.repeat(8e6).indexOf('a'.repeat(4e6) + 'b')",
        "limits": { "timeoutMs": 100, "memoryBytes": 256 << 20 }
    }));
    assert_eq!(answer["outcome"], "timed_out");
    eventually(SOON, "the kill is counted", || {
        executions() == json!({ "crashed": 0, "killed": 1 })
    });
}

#[test]
fn a_zygote_that_died_is_replaced_and_readiness_comes_back() {
    let service = Service::start();
    let zygotes = crate::support::children_of(service.pid());
    assert_eq!(zygotes.len(), 2);
    for zygote in &zygotes {
        signal(*zygote, libc::SIGKILL);
    }
    eventually(SOON, "both are replaced", || {
        let ready = service.get("/api/health/ready").json();
        ready["executors"]["zygotesReplaced"] == 2 && ready["executors"]["ready"] == 2
    });
    assert_eq!(service.get("/api/health/ready").json()["status"], "UP");
    assert_eq!(service.result("1 + 2"), 3);
}

#[test]
fn the_liveness_check_responds() {
    let service = Service::start();
    let live = service.get("/api/health/live");
    assert_eq!((live.status, live.json()), (200, json!({ "status": "UP" })));
}

#[test]
fn a_script_cannot_reach_what_the_service_itself_can() {
    let open = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = open.local_addr().unwrap().port();
    let service = Service::start_with(&["--netcheck-host", "127.0.0.1"]);
    let check = service.get(&format!("/api/netcheck?port={port}")).json();
    assert_eq!(check["status"], "restricted");
    assert_eq!(check["port"], port);
    assert_eq!(check["sandbox"]["status"], "restricted");
    assert!(!check["sandbox"]["detail"].as_str().unwrap().is_empty());
    assert_eq!(
        check["service"],
        json!({ "status": "allowed", "detail": "connected" })
    );
    // The only connection is the service's own: the job process did not connect.
    open.set_nonblocking(true).unwrap();
    assert!(open.accept().is_ok());
    assert!(open.accept().is_err());
    // The attempt is not counted as a crash.
    assert_eq!(service.result("1 + 2"), 3);
    let ready = service.get("/api/health/ready").json();
    assert_eq!(ready["executions"]["crashed"], 0);
    assert_eq!(ready["executors"]["zygotesReplaced"], 0);
    let crashed = service.metric(r#"executions_total{outcome="crashed"}"#);
    assert_eq!(crashed.unwrap_or_default(), 0.0);
}

#[test]
fn a_port_without_a_listener_is_distinguished() {
    let closed = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = closed.local_addr().unwrap().port();
    drop(closed);
    let service = Service::start_with(&["--netcheck-host", "127.0.0.1"]);
    let check = service.get(&format!("/api/netcheck?port={port}")).json();
    assert_eq!(check["sandbox"]["status"], "restricted");
    assert_eq!(check["service"]["status"], "restricted");
    assert_eq!(check["service"]["detail"], "connection refused");
}

#[test]
fn health_answers_while_sixteen_endless_loops_run_on_two_executors_and_each_ends_in_its_time() {
    let service = Service::start();
    let endless =
        json!({ "code": "console.log('begun'); for (;;);", "limits": { "timeoutMs": 1000 } });
    let ids: Vec<String> = (0..16).map(|_| service.submit(&endless)).collect();
    eventually(SOON, "both executors spin", || {
        service.get("/api/health/ready").json()["executors"]["busy"] == 2
    });
    // A hundred responses come before the loops have ended. If one of them had waited for an executor, the queue would
    // be empty.
    for _ in 0..100 {
        assert_eq!(service.get("/api/health").status, 200);
    }
    let ready = service.get("/api/health/ready").json();
    assert_ne!(ready["queue"]["background"], 0, "{ready}");
    for id in ids {
        let execution = service.finished(&id)["execution"].clone();
        assert_eq!(execution["outcome"], "timed_out", "{execution}");
        assert_eq!(execution["log"][0]["data"], json!(["begun"]));
        let wall_ms = execution["usage"]["wallMs"].as_f64().unwrap();
        assert!((1000.0..1000.0 + LATE_MS).contains(&wall_ms), "{execution}");
    }
}
