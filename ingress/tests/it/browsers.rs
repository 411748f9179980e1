//! Requests that a page of another origin makes a browser send to the ingress.

use super::support::{
    Answer, Folder, OK, Running, Scripted, free_port, get_from, ingress, service,
};
use std::path::Path;
use std::process::Command;

/// Returns a request with these header lines.
fn ask(ingress: &Running, first: &str, lines: &[&str], body: &str) -> Answer {
    let mut connection = ingress.connect();
    let mut head = format!("{first} HTTP/1.1\r\n");
    for line in lines {
        head.push_str(line);
        head.push_str("\r\n");
    }
    if !body.is_empty() {
        head.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    connection.write(format!("{head}\r\n{body}")).unwrap();
    let method = first.split(' ').next().unwrap();
    connection.answer_to(method)
}

const JSON: &str = "content-type: application/json";
const BODY: &str = r#"{"code":"1+2"}"#;

fn key(folder: &Folder) -> String {
    let made = Command::new(env!("CARGO_BIN_EXE_sandpiper-ingress"))
        .args([
            "key",
            "new",
            "--name",
            "test",
            "--keys-file",
            &folder.text_of("keys.json"),
        ])
        .output()
        .unwrap();
    String::from_utf8(made.stdout).unwrap().trim().to_owned()
}

#[test]
fn a_body_without_a_content_type_is_rejected() {
    let service = Scripted::answering(OK);
    let ingress = ingress(service.port, &[]);
    for path in ["/api/execute", "/api/jobs", "/api/whatever-comes"] {
        let answer = ask(
            &ingress,
            &format!("POST {path}"),
            &["host: localhost"],
            BODY,
        );
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (415, "unsupported_media_type")
        );
        assert!(answer.message.text().contains("`Content-Type`"));
    }
    assert_eq!(service.requests(), 0);
    assert_eq!(
        ask(
            &ingress,
            "POST /api/execute?file=pi.js",
            &["host: localhost"],
            ""
        )
        .status,
        200
    );
}

#[test]
fn a_request_of_another_origin_is_rejected() {
    let service = Scripted::answering(OK);
    let folder = Folder::new();
    let key = format!("x-api-key: {}", key(&folder));
    let open = ingress(service.port, &["--cors-origins", "https://app.example.org"]);
    let keyed = ingress(service.port, &["--keys-file", &folder.text_of("keys.json")]);
    for ingress in [&open, &keyed] {
        let host = format!("host: 127.0.0.1:{}", ingress.port);
        let other_port = format!("origin: http://127.0.0.1:{}", ingress.port ^ 1);
        for foreign in [
            "origin: http://evil.test",
            "origin: null",
            "origin: http://app.example.org",
            other_port.as_str(),
            "sec-fetch-site: cross-site",
            "sec-fetch-site: same-site",
        ] {
            for first in [
                "POST /api/execute",
                "POST /api/jobs",
                "DELETE /api/jobs/1",
                "GET /api/netcheck",
                "PUT /api/x",
            ] {
                let body = if first.starts_with("POST") { BODY } else { "" };
                let answer = ask(ingress, first, &[&host, JSON, &key, foreign], body);
                assert_eq!(
                    (answer.status, answer.code().as_str()),
                    (403, "cross_origin"),
                    "{first} {foreign}"
                );
            }
        }
        assert_eq!(service.requests(), 0);
        let own = format!("origin: https://127.0.0.1:{}", ingress.port);
        let answer = ask(
            ingress,
            "POST /api/execute",
            &[&host, JSON, &key, &own],
            BODY,
        );
        assert_eq!(answer.status, 200);
        let passed = service.request();
        for name in ["origin", "sec-fetch-site"] {
            assert!(!passed.has(name), "{name}");
        }
    }
    let listed = "origin: https://app.example.org";
    let lines = [
        "host: localhost",
        JSON,
        listed,
        "sec-fetch-site: cross-site",
    ];
    let answer = ask(&open, "POST /api/execute", &lines, BODY);
    assert_eq!(
        answer.header("access-control-allow-origin"),
        "https://app.example.org"
    );
}

#[test]
fn the_host_that_a_trusted_proxy_forwards_counts_as_the_own_host() {
    let service = Scripted::answering(OK);
    let lines = [
        "host: 127.0.0.1:8080",
        "x-forwarded-host: sandpiper.example.org",
        "origin: https://sandpiper.example.org",
        "sec-fetch-site: same-origin",
        JSON,
    ];
    let status = |options: &[&str]| {
        let ingress = ingress(service.port, options);
        ask(&ingress, "POST /api/execute", &lines, BODY).status
    };
    assert_eq!(status(&[]), 403);
    assert_eq!(status(&["--trusted-hops", "1"]), 421);
    let named = [
        "--allowed-hosts",
        "sandpiper.example.org",
        "--trusted-hops",
        "1",
    ];
    assert_eq!(status(&named), 200);
}

#[test]
fn a_host_name_is_rejected_where_no_key_is_needed() {
    let service = Scripted::answering(OK);
    let metrics_port = free_port();
    let ingress_with = |options: &[&str]| ingress(service.port, options);
    let port = metrics_port.to_string();
    let open = ingress_with(&["--allowed-hosts", "sandpiper", "--metrics-port", &port]);
    let status = |ingress: &Running, target: &str, host: &str| {
        ask(
            ingress,
            &format!("GET {target}"),
            &[&format!("host: {host}")],
            "",
        )
        .status
    };
    for host in [
        "localhost",
        "127.0.0.1:1",
        "[::1]",
        "sandpiper:8080",
        "10.0.0.1",
    ] {
        assert_eq!(status(&open, "/api/jobs", host), 200, "{host}");
    }
    for host in [
        "evil.test",
        "sandpiper.evil.test",
        "x.localhost",
        "2130706433",
        "",
    ] {
        for target in [
            "/api/jobs",
            "/",
            "/ingress/live",
            "/ingress/ready",
            "http://localhost/api",
        ] {
            assert_eq!(status(&open, target, host), 421, "{host} {target}");
        }
    }
    assert_eq!(status(&open, "http://evil.test/api", "localhost"), 421);
    let refused = ask(&open, "GET /api/jobs", &["host: evil.test"], "");
    assert_eq!(refused.code(), "host_not_allowed");
    assert!(refused.message.text().contains("--allowed-hosts"));
    let mut nameless = open.connect();
    nameless.write("GET /api/jobs HTTP/1.0\r\n\r\n").unwrap();
    assert_eq!(nameless.answer().code(), "host_not_allowed");
    let metrics = get_from(metrics_port, "/metrics").message.text();
    assert!(
        metrics.contains(r#"requests_total{kind="read",status="421"}"#),
        "{metrics}"
    );
    let folder = Folder::new();
    key(&folder);
    let keyed = ingress_with(&["--keys-file", &folder.text_of("keys.json")]);
    assert_eq!(status(&keyed, "/api", "sandpiper.example.org"), 200);
}

/// Returns the first column of the table of docs/api.md below this line.
fn documented(heading: &str) -> Vec<String> {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/api.md");
    let document = std::fs::read_to_string(document).unwrap();
    let (_, table) = document.split_once(heading).unwrap();
    let rows = table
        .lines()
        .skip(1)
        .take_while(|line| line.starts_with('|'));
    let cells = rows.filter_map(|row| row.split('|').nth(1));
    let names = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2));
    let names: Vec<String> = names.map(str::to_ascii_lowercase).collect();
    assert!(names.len() >= 8, "{names:?}");
    names
}

#[test]
fn a_listed_page_may_send_and_read_every_documented_header() {
    let service = Scripted::answering(OK);
    let ingress = ingress(
        service.port,
        &["--cors-origins", "https://a.example,https://b.example"],
    );
    let origin = "origin: https://b.example";
    for name in documented("| request | |\n") {
        let asked = format!("access-control-request-headers: {name}");
        for method in ["GET", "POST", "DELETE"] {
            let wanted = format!("access-control-request-method: {method}");
            let answer = ask(
                &ingress,
                "OPTIONS /api/jobs",
                &["host: localhost", origin, &wanted, &asked],
                "",
            );
            assert_eq!(answer.status, 204, "{name}: {answer:?}");
            assert_eq!(
                answer.header("access-control-allow-origin"),
                "https://b.example"
            );
            assert!(
                answer
                    .header("access-control-allow-headers")
                    .split(", ")
                    .any(|allowed| allowed == name)
            );
            assert!(
                answer
                    .header("access-control-allow-methods")
                    .contains(method)
            );
        }
    }
    let answer = ask(&ingress, "GET /api", &["host: localhost", origin], "");
    assert_eq!(answer.header("cross-origin-resource-policy"), "same-origin");
    assert_eq!(answer.header("vary"), "Origin");
    let exposed: Vec<&str> = answer
        .header("access-control-expose-headers")
        .split(", ")
        .collect();
    for name in documented("| response | |\n") {
        assert!(exposed.contains(&name.as_str()), "{name}: {exposed:?}");
    }
    assert_eq!(service.requests(), 1);
}

#[test]
fn a_rejected_preflight_is_a_problem_that_is_counted_and_limited() {
    let service = Scripted::answering(OK);
    let metrics_port = free_port();
    let port = metrics_port.to_string();
    let options = [
        "--metrics-port",
        &port,
        "--cors-origins",
        "https://a.example",
        "--read-quota",
        "1/h:20",
    ];
    let ingress = ingress(service.port, &options);
    let asked = |origin: &str, more: &[&str]| {
        let origin = format!("origin: {origin}");
        let lines = [&["host: localhost", origin.as_str()], more].concat();
        ask(&ingress, "OPTIONS /api/execute", &lines, "")
    };
    let post = "access-control-request-method: POST";
    for (origin, more) in [
        ("https://evil.test", vec![post]),
        ("null", vec![post]),
        (
            "https://a.example",
            vec!["access-control-request-method: PUT"],
        ),
        (
            "https://a.example",
            vec![
                post,
                "access-control-request-headers: content-type, x-other",
            ],
        ),
    ] {
        let answer = asked(origin, &more);
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (403, "cross_origin"),
            "{origin}"
        );
        assert!(answer.message.has("x-request-id"));
        assert_eq!(
            answer.message.has("access-control-allow-origin"),
            origin == "https://a.example"
        );
    }
    let statuses: Vec<u16> = (0..20)
        .map(|_| asked("https://a.example", &[post]).status)
        .collect();
    assert_eq!(statuses, [vec![204; 16], vec![429; 4]].concat());
    assert_eq!(service.requests(), 0);
    let metrics = get_from(metrics_port, "/metrics").message.text();
    for line in [
        r#"requests_total{kind="preflight",status="204"} 16"#,
        r#"requests_total{kind="preflight",status="403"} 4"#,
        r#"requests_total{kind="preflight",status="429"} 4"#,
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
}

#[test]
fn a_page_of_the_ingress_runs_code_in_the_real_service() {
    let service = service(&["--port", "0"]);
    let ingress = ingress(service.port, &["--api-host", "localhost"]);
    let host = format!("host: localhost:{}", ingress.port);
    let own = format!("origin: http://localhost:{}", ingress.port);
    let lines = [
        host.as_str(),
        JSON,
        &own,
        "sec-fetch-site: same-origin",
        "sec-fetch-mode: cors",
    ];
    let answer = ask(&ingress, "POST /api/execute", &lines, BODY);
    assert_eq!(
        (answer.status, answer.json()["result"].as_i64()),
        (200, Some(3))
    );
    assert_eq!(ingress.get("/ingress/ready").status, 200);
}
