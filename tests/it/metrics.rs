//! `/metrics`: the figures that an operator watches.

use crate::stores::{Store, over_every_store};
use crate::support::{Service, eventually};
use serde_json::json;
use std::net::TcpListener;
use std::time::Duration;

over_every_store!(what_happens_is_counted, what_the_store_does_is_timed);

const SOON: Duration = crate::support::SOON;

impl Service {
    /// Returns the value of one series, by its name with its labels.
    pub(crate) fn metric(&self, series: &str) -> Option<f64> {
        let answer = self.get("/metrics");
        assert_eq!(answer.status, 200, "{}", answer.text);
        let line = answer.text.lines().find_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            (name == format!("sandpiper_{series}")).then(|| value.to_owned())
        });
        line.map(|value| value.parse().unwrap())
    }
}

fn what_happens_is_counted(store: &Store) {
    let service = store.serve(&["--executors", "2"]);
    assert_eq!(
        service.metric("executions_total{outcome=\"succeeded\"}"),
        Some(0.0)
    );
    service.result("1");
    service.run("throw 1");
    for _ in 0..3 {
        let id = service.submit(&json!({ "code": "2" }));
        service.finished(&id);
    }
    assert_eq!(
        service.metric("executions_total{outcome=\"succeeded\"}"),
        Some(4.0)
    );
    assert_eq!(
        service.metric("executions_total{outcome=\"threw\"}"),
        Some(1.0)
    );
    for (series, value) in [
        ("executors{state=\"all\"}", 2.0),
        ("queue_jobs{lane=\"background\"}", 0.0),
        ("jobs_lost_total", 0.0),
        ("jobs_rescued_total", 0.0),
        ("finishes_stale_total", 0.0),
        ("store_up", 1.0),
        ("nodes", 1.0),
        ("oldest_queued_age_seconds", 0.0),
    ] {
        assert_eq!(service.metric(series), Some(value), "{series}");
    }
}

fn what_the_store_does_is_timed(store: &Store) {
    let service = store.serve(&[]);
    let id = service.submit(&json!({ "code": "1" }));
    service.finished(&id);
    service.get(&format!("/api/jobs/{id}"));
    for operation in ["submit", "get"] {
        let series = format!("store_operation_seconds_count{{operation=\"{operation}\"}}");
        assert!(service.metric(&series) >= Some(1.0), "{series}");
        let series = format!("store_operation_failures_total{{operation=\"{operation}\"}}");
        assert_eq!(service.metric(&series), Some(0.0), "{series}");
    }
}

#[test]
fn waiting_and_running_are_timed_by_lane() {
    let service = Service::start();
    service.result("1");
    service.run("await new Promise(r => setTimeout(r, 1200))");
    let id = service.submit(&json!({ "code": "2" }));
    service.finished(&id);
    let of = |series: &str| service.metric(series).unwrap();
    assert_eq!(of("queue_wait_seconds_count{lane=\"interactive\"}"), 2.0);
    assert_eq!(of("queue_wait_seconds_count{lane=\"background\"}"), 1.0);
    assert_eq!(of("execution_run_seconds_count"), 3.0);
    assert_eq!(of("execution_run_seconds_bucket{le=\"0.5\"}"), 2.0);
    assert_eq!(of("execution_run_seconds_bucket{le=\"+Inf\"}"), 3.0);
    let sum = of("execution_run_seconds_sum");
    assert!((1.2..60.0).contains(&sum), "{sum}");
}

#[test]
fn limits_and_kills_are_counted_by_why() {
    let service = Service::start();
    let limits = json!({ "timeoutMs": 100 });
    service.execute(&json!({ "code": "for (;;);", "limits": limits }));
    service.run("const all = []; for (;;) all.push(new Array(1000).fill(1))");
    service.run("(function f() { f() })()");
    // The engine's own interrupt does not reach this script.
    service.execute(
        &json!({ "code": "'a'.repeat(8e6).indexOf('a'.repeat(4e6) + 'b')", "limits": limits }),
    );
    let of = |series: &str| service.metric(series).unwrap();
    let by_time = of("limits_hit_total{limit=\"timeoutMs\"}");
    let by_memory = of("limits_hit_total{limit=\"memoryBytes\"}");
    assert_eq!(by_time + by_memory, 3.0);
    assert!(by_time >= 1.0 && by_memory >= 1.0);
    assert_eq!(of("limits_hit_total{limit=\"stackBytes\"}"), 1.0);
    assert_eq!(of("kills_total{reason=\"crashed\"}"), 0.0);
    // The request is counted once the response is sent.
    eventually(SOON, "a kill is counted in both", || {
        of("kills_total{reason=\"deadline\"}") == of("executions_killed_total")
    });
}

#[test]
fn the_oldest_that_waits_is_shown_by_its_lane_and_forgotten_when_it_runs() {
    let service = Service::start_with(&["--executors", "1"]);
    let forever = json!({ "code": "for (;;);", "limits": { "timeoutMs": 30_000 } });
    let first = service.submit(&forever);
    let second = service.submit(&json!({ "code": "1" }));
    let age = || service.metric("queue_oldest_age_seconds{lane=\"background\"}");
    eventually(SOON, "a job has waited for a second", || age() > Some(1.0));
    assert_eq!(
        service.metric("queue_oldest_age_seconds{lane=\"interactive\"}"),
        Some(0.0)
    );
    service.delete(&format!("/api/jobs/{first}"));
    service.finished(&second);
    eventually(SOON, "the queue is empty", || age() == Some(0.0));
    assert_eq!(service.metric("executors{state=\"dead\"}"), Some(0.0));
}

#[test]
fn requests_are_counted_by_patterns_and_no_client_makes_a_series_of_its_own() {
    let service = Service::start();
    for number in 0..3 {
        service.get(&format!("/api/jobs/0000000{number}"));
        service.get(&format!("/a-clients-word/{number}"));
    }
    service.post_raw(
        "/api/execute",
        &[("content-type", "application/json")],
        b"{",
    );
    let of = |labels: &str| service.metric(&format!("http_requests_total{{{labels}}}"));
    let by_id = "route=\"/api/jobs/{id}\",method=\"GET\",status=\"404\"";
    assert_eq!(of(by_id), Some(3.0));
    assert_eq!(
        of("route=\"other\",method=\"GET\",status=\"404\""),
        Some(3.0)
    );
    let refused = "route=\"/api/execute\",method=\"POST\",status=\"400\"";
    assert_eq!(of(refused), Some(1.0));
    let timed = "http_request_duration_seconds_count{route=\"/api/execute\",method=\"POST\"}";
    assert_eq!(service.metric(timed), Some(1.0));
    let page = service.get("/metrics").text;
    assert!(!page.contains("a-clients-word") && !page.contains("00000001"));
    // This request itself.
    assert_eq!(service.metric("http_requests_in_flight"), Some(1.0));
}

#[test]
fn a_client_that_goes_away_is_counted() {
    let service = Service::start();
    let mut connection = std::net::TcpStream::connect(("127.0.0.1", service.port)).unwrap();
    let body = r#"{"code":"for (;;);"}"#;
    let head = format!(
        "POST /api/execute HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    std::io::Write::write_all(&mut connection, head.as_bytes()).unwrap();
    eventually(SOON, "it runs", || {
        service.metric("executors{state=\"busy\"}") == Some(1.0)
    });
    drop(connection);
    eventually(SOON, "it is counted", || {
        service.metric("http_requests_abandoned_total") == Some(1.0)
            && service.metric("kills_total{reason=\"cancelled\"}") == Some(1.0)
    });
}

#[test]
fn a_port_of_their_own_has_the_metrics_and_the_services_has_them_no_more() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port().to_string();
    drop(free);
    let service = Service::start_with(&["--metrics-port", &port]);
    let refused = service.get("/metrics");
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (404, "not_found")
    );
    let fetch = |path: &str| ureq::get(format!("http://127.0.0.1:{port}{path}")).call();
    let mut page = fetch("/metrics").unwrap();
    let page = page.body_mut().read_to_string().unwrap();
    assert!(page.contains("sandpiper_executions_total"));
    assert!(fetch("/api/health").is_err());
}

#[test]
fn a_port_that_is_taken_is_refused_by_the_options_name() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_sandpiper"))
        .args([
            "serve",
            "--port",
            "0",
            "--store",
            "memory",
            "--metrics-port",
            &port,
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("--metrics-port"), "{said}");
}

#[test]
fn the_process_says_what_it_takes() {
    let service = Service::start();
    let page = service.get("/metrics").text;
    let number = |name: &str| -> f64 {
        let line = page
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name}")).parse().unwrap()
    };
    assert!(number("process_resident_memory_bytes") > 1e6);
    assert!(number("process_cpu_seconds_total") > 0.0);
    assert!(number("process_open_fds") > 3.0);
    assert!(number("process_max_fds") > number("process_open_fds"));
    assert!(number("process_start_time_seconds") > 1.7e9);
    assert!(page.contains("sandpiper_build_info{version=\""));
}

#[test]
fn every_family_says_what_it_is_once() {
    let service = Service::start();
    let answer = service.get("/metrics");
    assert!(
        answer
            .header("content-type")
            .starts_with("application/openmetrics-text")
    );
    let names = |kind: &str| {
        let prefix = format!("# {kind} ");
        let lines = answer
            .text
            .lines()
            .filter_map(|line| line.strip_prefix(&prefix));
        lines
            .map(|line| line.split(' ').next().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let (helps, types) = (names("HELP"), names("TYPE"));
    assert_eq!(helps, types);
    assert!(helps.len() > 10);
    let is_ours = |name: &String| name.starts_with("sandpiper_");
    let is_everybodys = |name: &String| name.starts_with("process_");
    assert!(
        helps
            .iter()
            .all(|name| is_ours(name) || is_everybodys(name))
    );
    let mut once = helps.clone();
    once.sort();
    once.dedup();
    assert_eq!(once.len(), helps.len());
    assert!(answer.text.ends_with("# EOF\n"));
}
