//! Requests for paths, methods and queries that do not exist, and the form of every problem.

use crate::raw::{answer_on, bare, post};
use crate::support::{Service, assert_refused, assert_serves};
use serde_json::json;

#[test]
fn a_wrong_query_names_its_part() {
    let service = Service::start();
    for (path, field) in [
        ("/api/jobs?limit=0", "limit"),
        ("/api/jobs?limit=-1", "limit"),
        ("/api/jobs?limit=201", "limit"),
        ("/api/jobs?limit=many", "limit"),
        ("/api/jobs?limit=", "limit"),
        ("/api/jobs?state=done", "state"),
        ("/api/jobs?state=", "state"),
        ("/api/jobs?cursor=1", "cursor"),
        ("/api/jobs?page=2", "query"),
        ("/api/jobs?limit=1&limit=2", "query"),
        ("/api/netcheck?port=0", "port"),
        ("/api/netcheck?port=65536", "port"),
        ("/api/netcheck?port=-1", "port"),
        ("/api/netcheck?port=http", "port"),
        ("/api/netcheck?host=example.org", "port"),
    ] {
        let answer = service.get(path);
        assert_refused(&answer, 400, "invalid_field", path);
        assert_eq!(answer.json()["field"], field, "{path}");
    }
    for path in [
        "/api/execute?code=1",
        "/api/execute?file=a&file=b",
        "/api/jobs?wait=1",
    ] {
        let answer = service.post(path, &json!({ "code": "1" }));
        assert_refused(&answer, 400, "invalid_field", path);
    }
    assert_serves(&service);
}

#[test]
fn another_method_is_rejected_with_the_allowed_ones() {
    let service = Service::start();
    for (path, allowed) in [
        ("/api", "GET, HEAD"),
        ("/api/health", "GET, HEAD"),
        ("/api/health/live", "GET, HEAD"),
        ("/api/health/ready", "GET, HEAD"),
        ("/api/netcheck", "GET, HEAD"),
        ("/api/execute", "POST"),
        ("/api/jobs", "GET, HEAD, POST"),
        ("/api/jobs/1", "GET, HEAD, DELETE"),
        ("/api/scripts", "GET, HEAD"),
        ("/api/scripts/simple.js", "GET, HEAD"),
    ] {
        for method in [
            "GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW",
        ] {
            if allowed.split(", ").any(|one| one == method) {
                continue;
            }
            let answer = service.exchange(&bare(method, path)).unwrap();
            assert_refused(
                &answer,
                405,
                "method_not_allowed",
                &format!("{method} {path}"),
            );
            assert_eq!(answer.header("allow"), allowed);
        }
    }
    assert_serves(&service);
}

#[test]
fn a_path_that_is_no_text_is_not_found() {
    let service = Service::start();
    for path in ["/%ff", "/%", "/nothing%2fhere", "/apis/%61"] {
        let answer = service.exchange(&bare("GET", path)).unwrap();
        assert_eq!(answer.status, 404, "{path}: {}", answer.text);
        assert_eq!(answer.code(), "not_found", "{path}");
    }
    assert_serves(&service);
}

#[test]
fn a_path_with_more_than_one_reading_is_refused() {
    let service = Service::start();
    for path in [
        "/api/jobs/%ff",
        "/api/scripts/%ff",
        "/api/jobs/%",
        "/api/scripts/%zz",
        "/api/%65xecute",
        "/api/%2565xecute",
        "/%61pi/execute",
        "/API/execute",
        "//api/execute",
        "/api/execute/",
        "/api/execute;x",
        "/api/x/../execute",
        "/api/x%2f..%2fexecute",
    ] {
        let answer = service
            .exchange(&post(path, &[], br#"{"code":"1"}"#))
            .unwrap();
        assert_refused(&answer, 400, "invalid_path", path);
    }
    assert_serves(&service);
}

#[test]
fn the_body_of_a_refusal_is_a_whole_problem() {
    let service = Service::start();
    let answer = answer_on(service.send_raw(&post("/api/execute", &[], b"{}"))).unwrap();
    let problem = answer.json();
    assert_eq!(problem["type"], "urn:sandpiper:problem:missing_code");
    assert_eq!(problem["status"], 400);
    assert_eq!(problem["code"], "missing_code");
    assert!(problem["title"].is_string() && problem["detail"].is_string());
    assert!(!answer.header("x-request-id").is_empty());
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
    assert_eq!(answer.header("cache-control"), "no-store");
}

#[test]
fn where_there_is_get_there_is_head_without_a_body() {
    let service = Service::start();
    for path in ["/api", "/api/health", "/api/health/live", "/api/scripts"] {
        let head = service.exchange(&bare("HEAD", path)).unwrap();
        assert_eq!((head.status, head.text.as_str()), (200, ""), "{path}");
        assert_eq!(head.header("content-type"), "application/json", "{path}");
    }
    let head = service.exchange(&bare("HEAD", "/api/execute")).unwrap();
    assert_eq!(
        (head.status, head.header("allow"), head.text.as_str()),
        (405, "POST", "")
    );
}
