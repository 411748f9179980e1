//! Requests that a page of another origin can make a browser send.

use crate::raw::bare;
use crate::support::{Answer, Service, assert_refused, assert_serves, free_port};

const JSON: &[u8] = br#"{"code":"1+2"}"#;

/// Returns a POST of JSON with these lines in its head.
fn post(service: &Service, path: &str, lines: &[&str]) -> Answer {
    let length = format!("content-length: {}", JSON.len());
    let first = format!("POST {path} HTTP/1.1");
    let head = [&[first.as_str(), "connection: close", &length], lines].concat();
    let bytes = [head.join("\r\n").as_bytes(), b"\r\n\r\n", JSON].concat();
    service.exchange(&bytes).unwrap()
}

fn executed(service: &Service) -> f64 {
    let metrics = service.get("/metrics").text;
    let counts = metrics
        .lines()
        .filter(|line| line.starts_with("sandpiper_executions_total"));
    counts
        .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
        .sum()
}

#[test]
fn a_body_without_a_content_type_runs_nothing() {
    let service = Service::start();
    let before = executed(&service);
    for path in ["/api/execute", "/api/jobs", "/api/execute?file=simple.js"] {
        let answer = post(&service, path, &["host: localhost"]);
        assert_refused(&answer, 415, "unsupported_media_type", path);
        assert!(answer.text.contains("`Content-Type`"), "{}", answer.text);
        let chunked = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n\
             e\r\n{{\"code\":\"1+2\"}}\r\n0\r\n\r\n"
        );
        let answer = service.exchange(chunked.as_bytes()).unwrap();
        assert_refused(&answer, 415, "unsupported_media_type", path);
    }
    assert!(executed(&service) <= before);
    // An example script needs no body, and so no media type.
    assert_eq!(
        service
            .post_raw("/api/execute?file=simple.js", &[], b"")
            .status,
        200
    );
}

#[test]
fn a_request_of_another_origin_changes_nothing() {
    let service = Service::start();
    let port = service.port;
    let host = format!("host: 127.0.0.1:{port}");
    let json = "content-type: application/json";
    let form = "content-type: multipart/form-data; boundary=x";
    let (other_port, other_name) = (
        format!("origin: http://127.0.0.1:{}", port ^ 1),
        format!("origin: http://localhost:{port}"),
    );
    for foreign in [
        "origin: http://evil.test",
        "origin: null",
        "origin:",
        other_port.as_str(),
        other_name.as_str(),
        "sec-fetch-site: cross-site",
        "sec-fetch-site: same-site",
    ] {
        for path in ["/api/execute", "/api/jobs"] {
            for content_type in [json, form] {
                let answer = post(&service, path, &[&host, content_type, foreign]);
                assert_refused(&answer, 403, "cross_origin", foreign);
                assert_eq!(answer.header("cross-origin-resource-policy"), "same-origin");
            }
        }
        for (method, path) in [
            ("DELETE", "/api/jobs/1"),
            ("GET", "/api/netcheck"),
            ("HEAD", "/api/netcheck"),
            ("PUT", "/api/x"),
        ] {
            let bytes = format!(
                "{method} {path} HTTP/1.1\r\n{host}\r\nconnection: close\r\n{foreign}\r\n\r\n"
            );
            let answer = service.exchange(bytes.as_bytes()).unwrap();
            assert_eq!(answer.status, 403, "{method} {path} {foreign}");
        }
        let read = format!(
            "GET /api/scripts HTTP/1.1\r\n{host}\r\nconnection: close\r\n{foreign}\r\n\r\n"
        );
        assert_eq!(
            service.exchange(read.as_bytes()).unwrap().status,
            200,
            "{foreign}"
        );
    }
    let own = format!("origin: http://127.0.0.1:{port}");
    let behind_tls = format!("origin: https://127.0.0.1:{port}");
    for lines in [
        vec![host.as_str(), json],
        vec![&host, json, &own],
        vec![&host, json, &own, "sec-fetch-site: same-origin"],
        vec![&host, json, &behind_tls],
        vec![&host, json, "sec-fetch-site: none"],
    ] {
        assert_eq!(
            post(&service, "/api/execute", &lines).status,
            200,
            "{lines:?}"
        );
    }
    let refused = "http_requests_total{route=\"other\",method=\"POST\",status=\"403\"}";
    assert!(service.metric(refused).unwrap() > 1.0);
}

#[test]
fn a_host_that_is_a_name_is_refused_unless_it_is_listed() {
    let service = Service::start();
    let get = |target: &str, host: &str| {
        let bytes = format!("GET {target} HTTP/1.1\r\n{host}connection: close\r\n\r\n");
        service.exchange(bytes.as_bytes()).unwrap()
    };
    for host in [
        "localhost",
        "LOCALHOST:1",
        "127.0.0.1:8081",
        "10.0.0.7",
        "[::1]:8081",
    ] {
        assert_eq!(
            get("/api/jobs", &format!("host: {host}\r\n")).status,
            200,
            "{host}"
        );
    }
    for host in [
        "evil.test",
        "evil.test:8081",
        "localhost.evil.test",
        "x.localhost",
        "2130706433",
        "",
    ] {
        for target in ["/api/jobs", "/api/health/live", "/metrics", "/nothing"] {
            let answer = get(target, &format!("host: {host}\r\n"));
            assert_refused(&answer, 421, "host_not_allowed", host);
            assert!(answer.text.contains("--allowed-hosts"), "{}", answer.text);
        }
    }
    assert_eq!(
        get("http://evil.test/api/jobs", "host: localhost\r\n").status,
        421
    );
    assert_eq!(
        get("http://localhost/api/jobs", "host: localhost\r\n").status,
        200
    );
    let nameless = service.exchange(b"GET /api/jobs HTTP/1.0\r\n\r\n").unwrap();
    assert_refused(&nameless, 421, "host_not_allowed", "no host");
    let refused = "http_requests_total{route=\"other\",method=\"GET\",status=\"421\"}";
    assert!(service.metric(refused).unwrap() > 1.0);
    assert_serves(&service);

    let named = Service::start_with(&["--allowed-hosts", "service,sandpiper.example.org"]);
    let status = |host: &str| {
        let bytes = format!("GET /api HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        named.exchange(bytes.as_bytes()).unwrap().status
    };
    assert_eq!(
        (status("service:8081"), status("Sandpiper.example.org")),
        (200, 200)
    );
    assert_eq!((status("services"), status("example.org")), (421, 421));
    let any = Service::start_with(&["--allowed-hosts", "*"]);
    assert_eq!(
        any.exchange(b"GET /api HTTP/1.0\r\n\r\n").unwrap().status,
        200
    );
}

#[test]
fn a_refused_request_with_a_body_ends_in_order() {
    let service = Service::start();
    // The body is not parsed as another request.
    let inner = String::from_utf8(bare("GET", "/api")).unwrap();
    let bytes = format!(
        "POST /api/execute HTTP/1.1\r\nhost: evil.test\r\ncontent-length: {}\r\n\r\n{inner}",
        inner.len()
    );
    let last = String::from_utf8(bare("GET", "/api/health/live")).unwrap();
    let answer = service
        .exchange(format!("{bytes}{last}").as_bytes())
        .unwrap();
    assert_eq!(answer.status, 421);
    assert!(!answer.text.contains("\"isolation"), "{}", answer.text);
}

#[test]
fn the_port_of_metrics_holds_to_the_same_hosts() {
    let port = free_port().to_string();
    let service = Service::start_with(&["--metrics-port", &port, "--allowed-hosts", "sandpiper"]);
    let status = |host: &str| {
        let asked = ureq::get(format!("http://127.0.0.1:{port}/metrics"))
            .header("host", host)
            .config()
            .http_status_as_error(false)
            .build();
        asked.call().unwrap().status().as_u16()
    };
    assert_eq!((status("127.0.0.1"), status("sandpiper:9091")), (200, 200));
    assert_eq!(status("evil.test"), 421);
    assert_serves(&service);
}
