//! The metrics of the ingress, which the public port does not serve.

use super::support::{Running, eventually, free_port, ingress, service};

/// Starts an ingress. Returns it with its metrics port.
fn counting(api_port: u16, options: &[&str]) -> (Running, u16) {
    let port = free_port();
    let port_text = port.to_string();
    let options = [&["--metrics-port", port_text.as_str()], options].concat();
    (ingress(api_port, &options), port)
}

/// Returns the value of one time series.
fn metric(port: u16, series: &str) -> Option<f64> {
    let answer = super::support::get_from(port, "/metrics");
    assert_eq!(answer.status, 200);
    let text = answer.message.text();
    assert!(text.ends_with("# EOF\n"));
    let line = text.lines().find_map(|line| {
        let (name, value) = line.rsplit_once(' ')?;
        (name == format!("sandpiper_ingress_{series}")).then(|| value.to_owned())
    });
    line.map(|value| value.parse().unwrap())
}

#[test]
fn requests_are_counted_by_kind_and_status() {
    let service = service(&["--port", "0"]);
    let (ingress, port) = counting(service.port, &[]);
    ingress.execute("1");
    ingress.get("/api/health");
    ingress.get("/");
    ingress.get("/ingress/live");
    ingress.get("/api/../x");
    for (series, count) in [
        ("requests_total{kind=\"run\",status=\"200\"}", 1.0),
        ("requests_total{kind=\"read\",status=\"200\"}", 1.0),
        ("requests_total{kind=\"page\",status=\"200\"}", 1.0),
        ("requests_total{kind=\"health\",status=\"200\"}", 1.0),
        ("requests_total{kind=\"none\",status=\"400\"}", 1.0),
        ("request_duration_seconds_count{kind=\"run\"}", 1.0),
        ("upstream_duration_seconds_count", 2.0),
        ("upstream_up", 1.0),
        ("requests_in_flight", 0.0),
    ] {
        assert_eq!(metric(port, series), Some(count), "{series}");
    }
}

#[test]
fn a_rejected_request_is_counted_by_its_limit() {
    let service = service(&["--port", "0"]);
    let (ingress, port) = counting(service.port, &["--run-quota", "1/h:2"]);
    for _ in 0..3 {
        ingress.execute("1");
    }
    assert_eq!(metric(port, "refused_total{limit=\"client\"}"), Some(1.0));
    assert_eq!(metric(port, "refused_total{limit=\"total\"}"), Some(0.0));
    assert_eq!(metric(port, "clients"), Some(1.0));
    let (ingress, port) = counting(service.port, &["--total-quota", "1/h:2"]);
    for _ in 0..3 {
        ingress.execute("1");
    }
    assert_eq!(metric(port, "refused_total{limit=\"total\"}"), Some(1.0));
    assert_eq!(metric(port, "refused_total{limit=\"client\"}"), Some(0.0));
}

#[test]
fn an_unreachable_service_is_counted() {
    let (ingress, port) = counting(free_port(), &[]);
    assert_eq!(ingress.execute("1").status, 502);
    assert_eq!(metric(port, "upstream_up"), Some(0.0));
    assert_eq!(
        metric(port, "upstream_failures_total{reason=\"unreachable\"}"),
        Some(1.0)
    );
    let answered = "requests_total{kind=\"run\",status=\"502\"}";
    assert_eq!(metric(port, answered), Some(1.0));
}

#[test]
fn reloads_of_the_keys_file_are_counted_by_result() {
    let folder = std::env::temp_dir().join(format!("sandpiper-keys-{}", free_port()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("keys.json");
    std::fs::write(&file, r#"{"keys":[]}"#).unwrap();
    let (_ingress, port) = counting(free_port(), &["--keys-file", file.to_str().unwrap()]);
    assert_eq!(metric(port, "keys"), Some(0.0));
    std::fs::write(&file, "no keys at all").unwrap();
    eventually("the reload fails", || {
        metric(port, "keys_reloads_total{result=\"unfit\"}") == Some(1.0)
    });
    std::fs::write(&file, r#"{ "keys" : [] }"#).unwrap();
    eventually("the reload succeeds", || {
        metric(port, "keys_reloads_total{result=\"taken\"}") == Some(1.0)
    });
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn the_public_port_has_no_metrics() {
    let (ingress, _) = counting(free_port(), &[]);
    for path in ["/metrics", "/ingress/metrics"] {
        assert_eq!(ingress.get(path).status, 404, "{path}");
    }
}
