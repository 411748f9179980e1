//! What the ingress counts, and that the public does not see it.

use super::support::{Running, eventually, free_port, ingress, service};

/// An ingress, and the port of its metrics.
fn counting(api_port: u16, options: &[&str]) -> (Running, u16) {
    let port = free_port();
    let port_text = port.to_string();
    let options = [&["--metrics-port", port_text.as_str()], options].concat();
    (ingress(api_port, &options), port)
}

/// The value of one series.
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
fn requests_are_counted_by_what_they_are_for_and_how_they_ended() {
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
fn a_request_too_many_is_counted_by_the_limit_that_said_so() {
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
fn a_service_that_is_away_is_seen() {
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
fn a_file_of_keys_is_counted_when_it_is_taken_and_when_it_is_unfit() {
    let folder = std::env::temp_dir().join(format!("sandpiper-keys-{}", free_port()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("keys.json");
    std::fs::write(&file, r#"{"keys":[]}"#).unwrap();
    let (_ingress, port) = counting(free_port(), &["--keys-file", file.to_str().unwrap()]);
    assert_eq!(metric(port, "keys"), Some(0.0));
    std::fs::write(&file, "no keys at all").unwrap();
    eventually("it is unfit", || {
        metric(port, "keys_reloads_total{result=\"unfit\"}") == Some(1.0)
    });
    std::fs::write(&file, r#"{ "keys" : [] }"#).unwrap();
    eventually("it is taken", || {
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
