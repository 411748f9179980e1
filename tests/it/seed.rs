//! The system that this one replaces: its README's example, its routes, and its faults, each now impossible.

use crate::raw::bare;
use crate::support::{Answer, Service};
use serde_json::{Value, json};
use std::net::TcpListener;

/// Returns a form as a browser sends it.
fn multipart(service: &Service, parts: &[(&str, &str)]) -> Answer {
    let mut body = String::new();
    for (name, value) in parts {
        body.push_str(&format!(
            "--frontier\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"
        ));
    }
    body.push_str("--frontier--\r\n");
    service.post_raw(
        "/api/execute",
        &[("content-type", "multipart/form-data; boundary=frontier")],
        body.as_bytes(),
    )
}

fn is_timestamp(value: &Value) -> bool {
    let text = value.as_str().unwrap();
    text.len() == "2024-04-24T09:50:41.362Z".len() && text.ends_with('Z') && &text[10..11] == "T"
}

#[test]
fn the_example_of_its_readme_has_the_same_answer() {
    let service = Service::start();
    let answer = service.run(r#"console.log("Hello!"); 1 + 2"#);
    assert_eq!(answer["status"], "success");
    assert_eq!(answer["result"], 3);
    assert_eq!(answer["error"], false);
    assert!(answer["executionTime"].is_u64(), "{answer}");
    let log = answer["log"].as_array().unwrap();
    assert_eq!(log.len(), 1);
    assert_eq!(log[0]["type"], "log");
    assert_eq!(log[0]["data"], json!(["Hello!"]));
    assert!(is_timestamp(&log[0]["timestamp"]));
}

#[test]
fn info_health_and_network_check_have_their_old_fields() {
    let outside = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let service = Service::start_with(&["--netcheck-host", "127.0.0.1"]);

    let info = service.get("/api").json();
    assert_eq!(info["status"], "UP");
    assert!(info["version"].is_string());
    assert!(is_timestamp(&info["timestamp"]));

    let health = service.get("/api/health").json();
    assert_eq!(health["status"], "UP");
    assert!(is_timestamp(&health["timestamp"]));
    for field in ["rss", "heapTotal", "heapUsed", "external"] {
        assert!(health["memory"][field].is_f64(), "{field}: {health}");
    }
    assert_eq!(health["memory"]["units"], "MB");
    assert!(health["uptime"].as_f64().unwrap() > 0.0);
    assert!(health["processes"].as_u64().unwrap() > 1);

    let port = outside.local_addr().unwrap().port();
    let check = service.get(&format!("/api/netcheck?port={port}")).json();
    assert_eq!(check["status"], "restricted");
    assert_eq!(check["port"], port);
    assert!(check["message"].as_str().unwrap().contains("cannot"));
}

#[test]
fn code_and_file_come_by_json_by_form_and_by_query() {
    let service = Service::start();
    let by_json = service.execute(&json!({ "code": "var find = 10;", "file": "fibonacci.js" }));
    assert_eq!(by_json["result"], 55);

    let by_form = multipart(
        &service,
        &[("code", "var find = 10;"), ("file", "fibonacci.js")],
    );
    assert_eq!(
        (by_form.status, &by_form.json()["result"]),
        (200, &json!(55))
    );

    let by_query = service.post(
        "/api/execute?file=fibonacci.js",
        &json!({ "code": "var find = 10;" }),
    );
    assert_eq!(
        (by_query.status, &by_query.json()["result"]),
        (200, &json!(55))
    );

    let query_alone = service.post_raw("/api/execute?file=simple.js", &[], b"");
    assert_eq!(
        (query_alone.status, &query_alone.json()["result"]),
        (200, &json!(3))
    );
}

#[test]
fn a_form_may_leave_a_field_empty_and_may_carry_json() {
    let service = Service::start();
    let answer = multipart(
        &service,
        &[
            ("code", "input.n + rate"),
            ("file", ""),
            ("input", r#"{"n": 40}"#),
            ("globals", r#"{"rate": 2}"#),
            ("limits", r#"{"timeoutMs": 1234}"#),
        ],
    );
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.json()["result"], 42);
    assert_eq!(answer.json()["limits"]["timeoutMs"], 1234);
}

#[test]
fn neither_code_nor_file_is_a_400() {
    let service = Service::start();
    assert_eq!(service.post("/api/execute", &json!({})).status, 400);
    assert_eq!(multipart(&service, &[("code", "")]).status, 400);
}

#[test]
fn a_failure_of_the_script_is_a_200_with_its_error() {
    let service = Service::start();
    let answer = service.run("1;\nthrow new TypeError('no such thing');");
    assert_eq!(answer["status"], "error");
    assert_eq!(answer["result"], Value::Null);
    let error = &answer["error"];
    assert_eq!(error["name"], "TypeError");
    assert_eq!(error["message"], "no such thing");
    assert_eq!(error["lineNumber"], 2);
    assert_eq!(error["fileName"], "code");
    assert!(error["stack"].as_str().unwrap().contains("code"), "{error}");
}

#[test]
fn the_file_runs_after_the_code_so_that_code_can_set_its_parameter() {
    let service = Service::start();
    let answer = service.execute(&json!({ "code": "var input=5;", "file": "pi.js" }));
    assert_eq!(answer["result"], "3.14159");
}

#[test]
fn the_four_kinds_of_log_entries_carry_values() {
    let service = Service::start();
    let answer = service.run(
        "console.log('a', 1); console.info([true]); console.warn({ b: null }); console.error(2.5);",
    );
    let log: Vec<Value> = answer["log"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| json!([entry["type"], entry["data"]]))
        .collect();
    let expected = json!([
        ["log", ["a", 1]],
        ["info", [[true]]],
        ["warn", [{ "b": null }]],
        ["error", [2.5]]
    ]);
    assert_eq!(json!(log), expected);
}

#[test]
fn the_result_is_the_value_of_the_last_expression() {
    let service = Service::start();
    assert_eq!(
        service.result("var a = 20; if (a) { a * 2 } else { 0 }"),
        40
    );
}

#[test]
fn its_five_example_scripts_are_still_there() {
    let service = Service::start();
    for name in [
        "simple.js",
        "log.js",
        "pi.js",
        "fibonacci.js",
        "infinite.js",
    ] {
        assert_eq!(service.get(&format!("/api/scripts/{name}")).status, 200);
    }
}

#[test]
fn a_request_id_is_on_every_answer_the_clients_own_where_it_has_one() {
    let service = Service::start();
    for path in ["/api", "/api/nothing", "/api/jobs/unknown", "/api/execute"] {
        let named = service.get_with(path, &[("x-request-id", "client-7")]);
        assert_eq!(named.header("x-request-id"), "client-7", "{path}");
        let unnamed = service.get(path);
        assert!(unnamed.header("x-request-id").len() >= 32, "{path}");
    }
    let unfit = service.get_with("/api", &[("x-request-id", "has \"quotes\" and spaces")]);
    assert!(!unfit.header("x-request-id").contains('"'));
}

#[test]
fn fault_1_a_path_never_becomes_another_host() {
    let service = Service::start();
    for target in [
        "/api@127.0.0.1:1/x",
        "/api@localhost:22/",
        "/api%40host:1/x",
        "/api/../etc/passwd",
        "//host/api/x",
        "/api:80@host",
        "http://localhost:1/x",
    ] {
        let answer = service.exchange(&bare("GET", target)).unwrap();
        let code = answer.code();
        assert!(
            matches!(code.as_str(), "not_found" | "invalid_path"),
            "{target}: {code}"
        );
    }
    // A host in the request target is the host of the request.
    let named = service.exchange(&bare("GET", "http://host:1/api")).unwrap();
    assert_eq!(named.code(), "host_not_allowed");
}

#[test]
fn fault_2_logging_without_end_ends_the_execution_and_not_the_service() {
    let service = Service::start();
    let answer = service.run("const text = 'x'.repeat(1e6); while (true) console.log(text);");
    assert_eq!(answer["outcome"], "output_exceeded");
    assert_eq!(service.result("1 + 2"), 3);
}

#[test]
fn fault_3_a_file_is_a_name_and_an_unknown_one_is_said() {
    let service = Service::start();
    for file in ["../package.json", "../Cargo.toml", "missing.js"] {
        let answer = service.post("/api/execute", &json!({ "code": "x=", "file": file }));
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (404, "script_not_found")
        );
    }
}

#[test]
fn fault_4_falsy_values_thrown_primitives_bigints_and_promises_are_what_they_are() {
    let service = Service::start();
    let request = |code: &str| service.run(code);
    for (code, result) in [
        ("0", json!(0)),
        ("false", json!(false)),
        ("''", json!("")),
        (
            "123456789012345678901234567890n",
            json!("123456789012345678901234567890"),
        ),
        ("Promise.resolve(7)", json!(7)),
    ] {
        let answer = request(code);
        assert_eq!(answer["status"], "success", "{code}: {answer}");
        assert_eq!(answer["result"], result, "{code}");
        assert_eq!(answer["error"], false, "{code}");
    }
    for code in [
        "throw 0",
        "throw ''",
        "throw false",
        "throw undefined",
        "throw null",
    ] {
        let answer = request(code);
        assert_eq!(answer["status"], "error", "{code}: {answer}");
        assert!(answer["error"].is_object(), "{code}: {answer}");
    }
}

#[test]
fn fault_5_time_in_the_queue_does_not_count_and_a_timeout_keeps_the_log() {
    let service = Service::start_with(&["--executors", "1"]);
    let part_of_its_time = json!({
        "code": "const end = Date.now() + 1000; while (Date.now() < end); 'done'",
        "limits": { "timeoutMs": 2500 }
    });
    std::thread::scope(|scope| {
        let three_in_a_row: Vec<_> = (0..3)
            .map(|_| scope.spawn(|| service.execute(&part_of_its_time)))
            .collect();
        for answer in three_in_a_row {
            assert_eq!(answer.join().unwrap()["result"], "done");
        }
    });
    let endless = service.execute(&json!({
        "code": "console.log('kept'); for (;;);",
        "limits": { "timeoutMs": 100 }
    }));
    assert_eq!(endless["outcome"], "timed_out");
    assert_eq!(endless["log"][0]["data"], json!(["kept"]));
}

#[test]
fn fault_6_an_unknown_path_is_a_404_and_not_a_500() {
    let service = Service::start();
    for path in [
        "/",
        "/api/nothing",
        "/api/execute/x",
        "/favicon.ico",
        "/api/jobs/a/b",
    ] {
        let answer = service.get(path);
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (404, "not_found"),
            "{path}"
        );
    }
}

#[test]
fn fault_7_query_strings_are_read() {
    let service = Service::start_with(&["--netcheck-host", "127.0.0.1"]);
    assert_eq!(service.get("/api/netcheck?port=1").json()["port"], 1);
    assert_eq!(service.get("/api/jobs?limit=1").status, 200);
    assert_eq!(service.get("/api/jobs?limit=0").status, 400);
}
