//! `POST /api/execute`: run a script and respond once it has ended.

use crate::raw::answer_on;
use crate::support::{Service, eventually, looping_process};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const SOON: Duration = crate::support::SOON;

#[test]
fn the_answer_begins_with_the_five_fields_of_the_seed_system_in_their_order() {
    let service = Service::start();
    let answer = service.post("/api/execute", &json!({ "code": "console.log(1); 3" }));
    let start =
        r#"{"status":"success","result":3,"error":false,"log":[{"type":"log","timestamp":""#;
    assert!(answer.text.starts_with(start), "{}", answer.text);
    assert!(
        answer.text.contains(r#","data":[1]}],"executionTime":"#),
        "{}",
        answer.text
    );
    assert_eq!(answer.header("content-type"), "application/json");
}

#[test]
fn the_answer_has_these_fields_and_no_others() {
    let service = Service::start();
    let answer = service.run("console.log(1); ({ a: 1 })");
    let names: Vec<&String> = answer.as_object().unwrap().keys().collect();
    let mut expected = [
        "status",
        "result",
        "error",
        "log",
        "executionTime",
        "id",
        "outcome",
        "resultType",
        "usage",
        "limits",
        "logDropped",
    ];
    expected.sort_unstable();
    assert_eq!(names, expected);
    assert_eq!(answer["outcome"], "succeeded");
    assert_eq!(answer["resultType"], "object");
    assert_eq!(answer["logDropped"], 0);
    for field in ["wallMs", "cpuMs", "peakMemoryBytes", "outputBytes"] {
        assert!(
            answer["usage"][field].as_f64().unwrap() > 0.0,
            "{field}: {answer}"
        );
    }
}

#[test]
fn the_result_stays_readable_at_its_location() {
    let service = Service::start();
    let answer = service.post(
        "/api/execute",
        &json!({ "code": "console.log('a'); [1, 2]" }),
    );
    let execution = answer.json();
    let location = answer.header("location");
    assert_eq!(
        location,
        format!("/api/jobs/{}", execution["id"].as_str().unwrap())
    );

    let job = service.get(location);
    assert_eq!(job.status, 200);
    let job = job.json();
    assert_eq!(job["id"], execution["id"]);
    assert_eq!(job["state"], "finished");
    assert_eq!(job["attempt"], 1);
    assert!(job["expiresAt"].as_str() > job["finishedAt"].as_str());
    assert_eq!(job["execution"], execution);
}

#[test]
fn a_result_that_had_to_make_room_is_not_found_any_more() {
    let service = Service::start_with(&["--recent-max", "1"]);
    let first = service.run("1");
    let second = service.run("2");
    let look = |execution: &Value| {
        service.get(&format!("/api/jobs/{}", execution["id"].as_str().unwrap()))
    };
    assert_eq!(look(&second).status, 200);
    assert_eq!(look(&first).code(), "job_not_found");
}

#[test]
fn the_file_sees_the_codes_globals_and_errors_tell_them_apart() {
    let service = Service::start();
    let answer = service.execute(&json!({ "code": "var find = 7;", "file": "fibonacci.js" }));
    assert_eq!(answer["result"], 13);
    let in_code = service.execute(&json!({ "code": "\n\nnope()", "file": "simple.js" }));
    assert_eq!(in_code["error"]["fileName"], "code");
    assert_eq!(in_code["error"]["lineNumber"], 3);
    let in_file = service.execute(&json!({ "file": "error.js" }));
    assert_eq!(in_file["error"]["fileName"], "error.js");
}

#[test]
fn the_file_may_be_named_in_the_query_but_not_two_of_them() {
    let service = Service::start();
    let answer = service.post("/api/execute?file=simple.js", &json!({}));
    assert_eq!(answer.json()["result"], 3);
    let same = service.post(
        "/api/execute?file=simple.js",
        &json!({ "file": "simple.js" }),
    );
    assert_eq!(same.status, 200);
    let other = service.post("/api/execute?file=simple.js", &json!({ "file": "log.js" }));
    assert_eq!(
        (other.status, other.code().as_str()),
        (400, "invalid_field")
    );
}

#[test]
fn other_languages_are_rejected_with_those_that_there_are() {
    let service = Service::start();
    for path in ["/api/execute", "/api/jobs"] {
        let answer = service.post(path, &json!({ "code": "1", "language": "python" }));
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (400, "invalid_field")
        );
        assert_eq!(answer.json()["field"], "language");
        assert!(answer.text.contains("typescript"), "{}", answer.text);
    }
    let defaults = json!({ "code": "1", "language": "javascript", "kind": "script" });
    assert_eq!(service.execute(&defaults)["result"], 1);
}

#[test]
fn the_limits_that_held_are_in_the_answer() {
    let service = Service::start_with(&["--timeout-ms", "1500", "--memory-bytes", "16MiB"]);
    let silent = service.execute(&json!({ "code": "1" }))["limits"].clone();
    assert_eq!(
        silent,
        json!({ "timeoutMs": 1500, "memoryBytes": 16 << 20, "stackBytes": 4 << 20, "outputBytes": 1 << 20 })
    );
    let asked = json!({ "timeoutMs": 700, "memoryBytes": 8 << 20, "outputBytes": 4096 });
    let answer = service.execute(&json!({ "code": "1", "limits": asked }));
    for field in ["timeoutMs", "memoryBytes", "outputBytes"] {
        assert_eq!(answer["limits"][field], asked[field]);
    }
    let at_the_ceiling =
        json!({ "timeoutMs": 30_000, "memoryBytes": 256 << 20, "outputBytes": 8 << 20 });
    let answer = service.execute(&json!({ "code": "1", "limits": at_the_ceiling }));
    assert_eq!(answer["outcome"], "succeeded");
}

#[test]
fn the_limit_that_was_hit_is_named_and_none_when_none_was() {
    let service = Service::start();
    for (code, limits, hit) in [
        ("for (;;);", json!({ "timeoutMs": 50 }), json!("timeoutMs")),
        (
            "const a = []; for (;;) a.push(new Array(1000).fill(a.length))",
            json!({ "memoryBytes": 4 << 20 }),
            json!("memoryBytes"),
        ),
        (
            "(function f() { f() + 1 })()",
            json!({}),
            json!("stackBytes"),
        ),
        (
            "'x'.repeat(1000)",
            json!({ "outputBytes": 256 }),
            json!("outputBytes"),
        ),
        ("1", json!({}), Value::Null),
        ("throw 1", json!({}), Value::Null),
    ] {
        let answer = service.execute(&json!({ "code": code, "limits": limits }));
        assert_eq!(answer["limitHit"], hit, "{code}: {answer}");
    }
}

#[test]
fn a_client_that_hangs_up_frees_its_executor() {
    let service = Service::start_with(&["--executors", "1"]);
    let endless = json!({ "code": "for (;;);", "limits": { "timeoutMs": 30_000 } });
    let connection = service.begin_execute(&endless);
    eventually(SOON, "the loop runs", || service.executors_busy() == 1);
    let process = looping_process(&service);
    drop(connection);
    let start = Instant::now();
    assert_eq!(service.result("1 + 2"), 3);
    // The loop has 30 seconds.
    assert!(
        start.elapsed() < Duration::from_secs(20),
        "{:?}",
        start.elapsed()
    );
    eventually(SOON, "its process is gone", || {
        !service.descendants().contains(&process)
    });
}

#[test]
fn a_client_that_hangs_up_while_it_waits_leaves_the_queue() {
    let service = Service::start_with(&["--executors", "1"]);
    let endless = json!({ "code": "for (;;);", "limits": { "timeoutMs": 30_000 } });
    let queued = || service.get("/api/health/ready").json()["queue"]["interactive"].clone();
    let running = service.begin_execute(&endless);
    eventually(SOON, "the loop runs", || service.executors_busy() == 1);
    let waiting = service.begin_execute(&endless);
    eventually(SOON, "the other waits", || queued() == 1);
    drop(waiting);
    eventually(SOON, "the other has left", || queued() == 0);
    assert_eq!(service.executors_busy(), 1);
    drop(running);
    assert_eq!(service.result("1 + 2"), 3);
}

#[test]
fn one_connection_carries_many_executions() {
    let service = Service::start();
    let request = r#"{"code":"1+2"}"#;
    let once = |connection: &str| {
        format!(
            "POST /api/execute HTTP/1.1\r\nhost: localhost\r\nconnection: {connection}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{request}",
            request.len()
        )
    };
    // Pipelined: all requests are written before the first response.
    let all = [once("keep-alive"), once("keep-alive"), once("close")].concat();
    let answers = answer_on(service.send_raw(all.as_bytes())).unwrap();
    assert_eq!(
        answers.text.matches(r#""result":3"#).count(),
        3,
        "{}",
        answers.text
    );
}

#[test]
fn a_result_is_let_go_when_its_time_is_over() {
    let service = Service::start_with(&["--result-ttl-s", "1"]);
    let path = format!("/api/jobs/{}", service.run("1")["id"].as_str().unwrap());
    eventually(SOON, "the result is gone", || {
        service.get(&path).status == 404
    });
    assert_eq!(service.get(&path).code(), "job_not_found");
}
