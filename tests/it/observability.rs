//! A real Prometheus scrapes the real service and the real ingress, and evaluates every expression of dashboard and
//! alerts. The documents describe every metric and every alert.

use crate::stores::{Folder, Store};
use crate::support::{Service, eventually, free_port};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const SOON: Duration = crate::support::SOON;
const DASHBOARD: &str = "deploy/grafana/sandpiper.json";
const ALERTS: &str = "deploy/prometheus/alerts.yml";
/// Expressions without data while a service has no failures.
const ONLY_IN_TROUBLE: &[&str] = &["SandpiperServerErrors"];

fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn text(path: &str) -> String {
    fs::read_to_string(project(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Returns a program of Prometheus, from `make tools-test` or from the path.
fn tool(name: &str) -> Command {
    let own = project("target/prometheus/usr/bin").join(name);
    let mut command = Command::new(if own.exists() { own } else { name.into() });
    command.stdin(Stdio::null());
    command
}

fn run(mut command: Command) {
    let shown = format!("{command:?}");
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{shown}: {error}; `make tools-test` installs it"));
    assert!(output.status.success(), "{shown}: {output:?}");
}

/// A process that is ended with its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An ingress in front of the service, with its port and its metrics port.
struct Ingress {
    _process: Running,
    port: u16,
    metrics_port: u16,
}

impl Ingress {
    fn before(service: &Service) -> Self {
        let (port, metrics_port) = (free_port(), free_port());
        let binary = Path::new(env!("CARGO_BIN_EXE_sandpiper")).with_file_name("sandpiper-ingress");
        assert!(
            binary.exists(),
            "build the ingress first: cargo build --workspace"
        );
        let process = Command::new(binary)
            .args(["serve", "--host", "127.0.0.1"])
            .args([
                "--port",
                &port.to_string(),
                "--api-port",
                &service.port.to_string(),
            ])
            .args(["--metrics-port", &metrics_port.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let ingress = Self {
            _process: Running(process),
            port,
            metrics_port,
        };
        eventually(SOON, "the ingress is up", || {
            ingress.get("/ingress/live").is_some()
        });
        ingress
    }

    fn get(&self, path: &str) -> Option<String> {
        fetch(&format!("http://127.0.0.1:{}{path}", self.port))
    }

    fn metrics(&self) -> String {
        fetch(&format!("http://127.0.0.1:{}/metrics", self.metrics_port)).unwrap()
    }
}

fn fetch(url: &str) -> Option<String> {
    let mut answer = ureq::get(url).call().ok()?;
    answer.body_mut().read_to_string().ok()
}

/// Does a little of everything that a healthy service does.
fn live(service: &Service, ingress: &Ingress) {
    service.run("1");
    service.run("throw 1");
    let id = service.submit(&json!({ "code": "2" }));
    service.finished(&id);
    service.get("/nothing");
    ingress.get("/api/health").unwrap();
    ingress.get("/").unwrap();
}

struct Prometheus {
    _process: Running,
    port: u16,
    _folder: Folder,
}

impl Prometheus {
    /// Scrapes the service and the ingress every second, with the alerts of the project.
    fn start(service: &Service, ingress: &Ingress) -> Self {
        let folder = Folder::new();
        let port = free_port();
        let config = json!({
            "global": { "scrape_interval": "1s", "evaluation_interval": "1s" },
            "rule_files": [project(ALERTS)],
            "scrape_configs": [
                { "job_name": "sandpiper",
                  "static_configs": [{ "targets": [format!("127.0.0.1:{}", service.port)] }] },
                { "job_name": "sandpiper-ingress",
                  "static_configs": [{ "targets": [format!("127.0.0.1:{}", ingress.metrics_port)] }] },
            ]
        });
        // JSON is YAML.
        fs::write(folder.path("prometheus.yml"), config.to_string()).unwrap();
        let process = tool("prometheus")
            .arg(format!("--config.file={}", folder.text("prometheus.yml")))
            .arg(format!("--storage.tsdb.path={}", folder.text("data")))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("prometheus: {error}; `make tools-test` installs it"));
        let prometheus = Self {
            _process: Running(process),
            port,
            _folder: folder,
        };
        let is_up = || fetch(&format!("http://127.0.0.1:{port}/-/ready")).is_some();
        eventually(SOON, "Prometheus is up", is_up);
        prometheus
    }

    fn ask(&self, path: &str) -> Value {
        let answer = fetch(&format!("http://127.0.0.1:{}{path}", self.port));
        serde_json::from_str(&answer.unwrap_or_else(|| panic!("{path} is refused"))).unwrap()
    }

    /// Returns the current value of an expression.
    fn query(&self, expression: &str) -> Vec<Value> {
        let mut encoded = String::new();
        for byte in expression.bytes() {
            encoded.push_str(&format!("%{byte:02X}"));
        }
        let answer = self.ask(&format!("/api/v1/query?query={encoded}"));
        assert_eq!(answer["status"], "success", "{expression}: {answer}");
        answer["data"]["result"].as_array().unwrap().clone()
    }
}

/// Returns every expression of the dashboard, with the variables that Grafana would insert.
fn dashboard_expressions() -> Vec<String> {
    fn gather(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    match value {
                        Value::String(text) if name == "expr" => found.push(text.clone()),
                        value => gather(value, found),
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| gather(item, found)),
            _ => {}
        }
    }
    let dashboard: Value = serde_json::from_str(&text(DASHBOARD)).unwrap();
    let mut found = Vec::new();
    gather(&dashboard["panels"], &mut found);
    assert!(found.len() > 50, "only {} expressions", found.len());
    let filled = found.iter().map(|expression| {
        let expression = expression.replace("$instance", ".*");
        expression.replace("$__rate_interval", "30s")
    });
    filled.collect()
}

fn alerts() -> Vec<Value> {
    let rules: Value = serde_saphyr::from_str(&text(ALERTS)).unwrap();
    let groups = rules["groups"].as_array().unwrap().iter();
    let alerts = groups.flat_map(|group| group["rules"].as_array().unwrap().clone());
    alerts.collect()
}

/// Returns the left side of an alert's comparison, for which there must be data.
fn watched(expression: &str) -> &str {
    let (watched, _) = expression.rsplit_once([' ']).unwrap();
    watched.trim_end_matches([' ', '=', '>'])
}

#[test]
fn prometheus_scrapes_both_and_every_expression_has_its_data() {
    let store = Store::sqlite();
    let service = store.serve(&[]);
    let ingress = Ingress::before(&service);
    let prometheus = Prometheus::start(&service, &ingress);
    let is_up = || prometheus.query("up == 1").len() == 2;
    eventually(SOON, "both are scraped", is_up);
    // Rates need two scrapes with a change between them.
    let mut missing = dashboard_expressions();
    let start = Instant::now();
    while !missing.is_empty() {
        live(&service, &ingress);
        missing.retain(|expression| prometheus.query(expression).is_empty());
        assert!(start.elapsed() < SOON, "no data for {missing:#?}");
    }
    for alert in alerts() {
        let (name, expression) = (&alert["alert"], alert["expr"].as_str().unwrap());
        prometheus.query(expression);
        let may_be_empty = ONLY_IN_TROUBLE.iter().any(|known| name == known);
        let result = prometheus.query(watched(expression));
        assert!(
            may_be_empty || !result.is_empty(),
            "no data for {name}: {expression}"
        );
    }
    let rules = prometheus.ask("/api/v1/rules");
    for group in rules["data"]["groups"].as_array().unwrap() {
        for rule in group["rules"].as_array().unwrap() {
            assert_ne!(rule["health"], "err", "{rule}");
            assert_ne!(rule["state"], "firing", "a healthy service: {rule}");
        }
    }
}

#[test]
fn every_alert_is_silent_before_its_time_and_fires_in_it() {
    let mut check = tool("promtool");
    check
        .args(["check", "config"])
        .arg(project("deploy/prometheus/prometheus.yml"));
    run(check);
    let mut test = tool("promtool");
    test.args(["test", "rules"])
        .arg(project("deploy/prometheus/alerts_test.yml"));
    run(test);
    let tests = text("deploy/prometheus/alerts_test.yml");
    for alert in alerts() {
        let name = alert["alert"].as_str().unwrap();
        assert!(
            tests.contains(&format!("alertname: {name}\n")),
            "{name} is not tried"
        );
    }
}

#[test]
fn every_alert_says_what_it_is_and_what_to_do_in_a_section_of_its_own() {
    let document = text("docs/metrics.md");
    for alert in alerts() {
        let name = alert["alert"].as_str().unwrap();
        for annotation in ["summary", "description"] {
            let said = alert["annotations"][annotation]
                .as_str()
                .unwrap_or_default();
            assert!(said.len() > 10, "{name} has no {annotation}");
        }
        let section = format!("docs/metrics.md#{}", name.to_lowercase());
        assert_eq!(alert["annotations"]["runbook"], section);
        assert!(document.contains(&format!("\n### {name}\n")), "{name}");
    }
}

/// Returns the names of the series in a page of metrics, without those of buckets.
fn served(page: &str) -> BTreeSet<String> {
    let types = page.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let names = types.map(|line| {
        let (name, kind) = line.split_once(' ').unwrap();
        match kind {
            "counter" => format!("{name}_total"),
            "info" => format!("{name}_info"),
            _ => name.to_owned(),
        }
    });
    names.collect()
}

#[test]
fn every_metric_that_is_served_stands_in_its_document_and_on_the_dashboard() {
    let store = Store::sqlite();
    let service = store.serve(&[]);
    let ingress = Ingress::before(&service);
    live(&service, &ingress);
    let page = service.get("/metrics").text;
    let mut names = served(&page);
    names.extend(served(&ingress.metrics()));
    assert!(names.len() > 50, "only {}", names.len());
    let document = text("docs/metrics.md");
    let (_, left_out) = document.split_once("\n## Not on the dashboard\n").unwrap();
    let dashboard = text(DASHBOARD);
    for name in &names {
        assert!(
            document.contains(&format!("| `{name}` | ")),
            "{name} is not in the document"
        );
        let is_shown = dashboard.contains(name.as_str());
        let is_left_out = left_out.contains(&format!("`{name}`"));
        assert!(
            is_shown != is_left_out,
            "{name}: shown {is_shown}, left out {is_left_out}"
        );
    }
    for line in document.lines() {
        let Some((name, _)) = line
            .strip_prefix("| `")
            .and_then(|row| row.split_once("` | "))
        else {
            continue;
        };
        let is_metric = name.starts_with("sandpiper_") || name.starts_with("process_");
        assert!(!is_metric || names.contains(name), "{name} is not served");
    }
}

#[test]
fn the_ingress_shows_its_metrics_on_no_other_port() {
    let service = Service::start();
    let ingress = Ingress::before(&service);
    assert!(ingress.get("/metrics").is_none());
    assert!(
        ingress
            .metrics()
            .contains("sandpiper_ingress_requests_total")
    );
}
