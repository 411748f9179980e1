//! The reverse proxy: which parts of requests and responses are forwarded.

use super::support::{Connection, OK, Scripted, WITHIN, eventually, free_port, ingress};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

#[test]
fn path_and_query_are_forwarded_byte_for_byte() {
    let service = Scripted::answering(OK);
    let ingress = ingress(service.port, &[]);
    for target in [
        "/api",
        "/api?",
        "/api/execute?file=a.js&file=b",
        "/api/jobs/%E2%9C%93?x=%2F%2e%00&&=",
        "/api/scripts/caf%c3%a9%20+x,y=1,2:3@!$'()*~",
        "/api/jobs?cursor=http://evil.example/..//",
        "/api?%zz%;x\\y",
    ] {
        let answer = ingress.get(target);
        assert_eq!(answer.status, 200, "{target}: {answer:?}");
        assert_eq!(
            service.request().first_line,
            format!("GET {target} HTTP/1.1")
        );
    }
}

#[test]
fn no_request_target_reaches_another_host() {
    let service = Scripted::answering(OK);
    let elsewhere = Scripted::answering(OK);
    let ingress = ingress(service.port, &[]);
    let other = format!("127.0.0.1:{}", elsewhere.port);
    let answer = ingress.get(&format!("http://{other}/api/jobs?x"));
    assert_eq!(answer.status, 200);
    let request = service.request();
    assert_eq!(request.first_line, "GET /api/jobs?x HTTP/1.1");
    // The service always accepts this host name.
    assert_eq!(request.header("host"), "localhost");
    for target in [
        format!("//{other}/api"),
        format!("/{other}/api"),
        format!("http://{other}/metrics"),
        format!("/\\{other}/api"),
    ] {
        assert_eq!(ingress.get(&target).status, 404, "{target}");
    }
    let answer = ingress.send(
        "GET",
        "/api/x",
        &[&format!("x-forwarded-host: {other}")],
        "",
    );
    assert_eq!(answer.status, 200);
    // `CONNECT` requests a tunnel.
    let mut connection = ingress.connect();
    connection
        .write(format!("CONNECT {other} HTTP/1.1\r\nhost: {other}\r\n\r\n"))
        .unwrap();
    assert_eq!(connection.answer().status, 405);
    assert_eq!((elsewhere.connections(), service.requests()), (0, 1));
}

#[test]
fn only_the_api_is_reachable_through_the_ingress() {
    let service = Scripted::answering(OK);
    let ingress = ingress(service.port, &[]);
    for target in [
        "/metrics",
        "/",
        "/apis",
        "/apis/%61pi",
        "//x/api",
        "/debug",
        "*",
    ] {
        let answer = ingress.get(target);
        assert!(
            matches!(answer.status, 200 | 404) && answer.message.text() != "ok",
            "{target}: {answer:?}"
        );
    }
    for target in [
        "/api/../metrics",
        "/api/%2e%2e/metrics",
        "/api/..%2fmetrics",
        "/api/.%2E\\metrics",
        "/api/./x",
        "/%61pi",
        "/API/x",
        "//api/x",
        "/api/a%2fb",
        "/api/%zz%",
    ] {
        let answer = ingress.get(target);
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (400, "invalid_path"),
            "{target}"
        );
    }
    assert_eq!(service.requests(), 0);
}

#[test]
fn request_headers_are_forwarded_except_those_of_the_connection() {
    let service = Scripted::answering(OK);
    let ingress = ingress(service.port, &[]);
    let headers = [
        "prefer: wait=5",
        "idempotency-key: \"abc\"",
        "if-none-match: \"tag\"",
        "last-event-id: 7",
        "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "accept-encoding: br",
        "accept: text/event-stream",
        "x-twice: 1",
        "x-twice: 2",
        "connection: keep-alive, X-Mine",
        "x-mine: 1",
        "keep-alive: timeout=5",
        "proxy-authorization: Basic eDp5",
        "proxy-connection: keep-alive",
        "te: trailers",
        "upgrade: websocket",
        "forwarded: for=6.6.6.6",
        "x-forwarded-for: 6.6.6.6",
        "x-forwarded-proto: https",
        "x-real-ip: 6.6.6.6",
        "origin: http://localhost",
        "sec-fetch-site: same-origin",
        "sec-fetch-mode: cors",
        "access-control-request-headers: x-mine",
        "sandpiper-client: root",
        "sandpiper-source: 00",
        "Sandpiper-Anything: 1",
    ];
    assert_eq!(ingress.send("GET", "/api/jobs", &headers, "").status, 200);
    let request = service.request();
    for (name, value) in [
        ("prefer", "wait=5"),
        ("idempotency-key", "\"abc\""),
        ("if-none-match", "\"tag\""),
        ("last-event-id", "7"),
        (
            "traceparent",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ),
        ("accept-encoding", "br"),
        ("accept", "text/event-stream"),
        ("x-forwarded-for", "127.0.0.1"),
        ("sandpiper-client", "127.0.0.1"),
    ] {
        assert_eq!(request.header(name), value, "{name}");
    }
    let twice = request.headers.iter().filter(|(name, _)| name == "x-twice");
    assert_eq!(
        twice.map(|(_, value)| value.as_str()).collect::<Vec<_>>(),
        ["1", "2"]
    );
    for name in [
        "x-mine",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "upgrade",
        "forwarded",
        "x-forwarded-proto",
        "x-real-ip",
        "sandpiper-source",
        "sandpiper-anything",
        "user-agent",
        "content-length",
        "transfer-encoding",
    ] {
        assert!(!request.has(name), "{name}: {request:?}");
    }
}

#[test]
fn response_headers_are_forwarded_except_those_of_the_connection() {
    let service = Scripted::answering(
        "HTTP/1.1 202 Accepted\r\ncontent-length: 2\r\nlocation: /api/jobs/7\r\netag: \"t\"\r\npreference-applied: wait=1\r\n\
         retry-after: 3\r\ncontent-encoding: br\r\nx-twice: 1\r\nx-twice: 2\r\nkeep-alive: timeout=9\r\nproxy-authenticate: x\r\n\
         connection: x-mine\r\nx-mine: 1\r\ncontent-security-policy: default-src 'self'\r\n\r\nok",
    );
    let ingress = ingress(service.port, &[]);
    let answer = ingress.get("/api/jobs");
    assert_eq!((answer.status, answer.message.text().as_str()), (202, "ok"));
    for (name, value) in [
        ("location", "/api/jobs/7"),
        ("etag", "\"t\""),
        ("preference-applied", "wait=1"),
        ("retry-after", "3"),
        ("content-encoding", "br"),
        ("content-security-policy", "default-src 'self'"),
        ("x-content-type-options", "nosniff"),
    ] {
        assert_eq!(answer.header(name), value, "{name}");
    }
    let twice = answer
        .message
        .headers
        .iter()
        .filter(|(name, _)| name == "x-twice");
    assert_eq!(twice.count(), 2);
    for name in ["keep-alive", "proxy-authenticate", "x-mine"] {
        assert!(!answer.message.has(name), "{name}: {answer:?}");
    }
}

#[test]
fn a_request_has_one_id_from_client_to_service() {
    let service = Scripted::answering(OK);
    let ingress = ingress(service.port, &[]);
    let answer = ingress.send("GET", "/api", &["x-request-id: of-the-client/1"], "");
    assert_eq!(answer.header("x-request-id"), "of-the-client/1");
    assert_eq!(service.request().header("x-request-id"), "of-the-client/1");
    for unfit in [
        "x-request-id: a b",
        "x-request-id: <script>",
        "x-request-id:",
    ] {
        let answer = ingress.send("GET", "/api", &[unfit], "");
        let id = answer.header("x-request-id").to_owned();
        assert_eq!(id.len(), 36, "{unfit}: {id}");
        assert_eq!(service.request().header("x-request-id"), id);
    }
    assert_eq!(ingress.get("/nothing").header("x-request-id").len(), 36);
}

#[test]
fn every_method_is_forwarded_and_head_has_no_body() {
    let service = Scripted::answering_by(|request| {
        if request.first_line.starts_with("HEAD") {
            "HTTP/1.1 200 OK\r\ncontent-length: 1234\r\n\r\n".to_owned()
        } else {
            OK.to_owned()
        }
    });
    let ingress = ingress(service.port, &[]);
    for method in [
        "GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND",
    ] {
        assert_eq!(
            ingress.send(method, "/api/x", &[], "").status,
            200,
            "{method}"
        );
        assert_eq!(
            service.request().first_line,
            format!("{method} /api/x HTTP/1.1")
        );
    }
    let mut connection = ingress.connect();
    for _ in 0..2 {
        connection.request("HEAD", "/api/x", &[], "");
        let answer = connection.answer_to("HEAD");
        assert_eq!(
            (answer.status, answer.header("content-length")),
            (200, "1234")
        );
    }
    connection.request("GET", "/api/x", &[], "");
    assert_eq!(connection.answer().message.text(), "ok");
}

#[test]
fn responses_without_a_body_are_forwarded_without_one() {
    let service = Scripted::answering_by(|request| {
        let status = request.header("x-status");
        format!("HTTP/1.1 {status} X\r\netag: \"t\"\r\n\r\n")
    });
    let ingress = ingress(service.port, &[]);
    let mut connection = ingress.connect();
    for status in ["204", "304"] {
        connection.request("GET", "/api/x", &[&format!("x-status: {status}")], "");
        let answer = connection.answer();
        assert_eq!(answer.status.to_string(), status);
        assert!(!answer.message.has("transfer-encoding"), "{answer:?}");
        assert_eq!(answer.header("etag"), "\"t\"");
    }
}

#[test]
fn bodies_are_forwarded_whole_with_every_framing() {
    let service = Scripted::answering_by(|request| {
        let length = request.body.len();
        format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{}",
            request.text()
        )
    });
    let ingress = ingress(service.port, &[]);
    for length in [1, 1000, 70_000, 2 << 20] {
        let body = "x".repeat(length);
        let answer = ingress.send("POST", "/api/x", &[], &body);
        assert_eq!(answer.message.body.len(), length);
        assert_eq!(
            service.request().header("content-length"),
            length.to_string()
        );
    }
    let mut connection = ingress.connect();
    connection
        .write("POST /api/x HTTP/1.1\r\nhost: localhost\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n3;ext=1\r\ncde\r\n0\r\n\r\n")
        .unwrap();
    assert_eq!(connection.answer().message.text(), "abcde");
    assert!(!service.request().has("content-length"));
}

#[test]
fn a_client_that_waits_for_100_continue_gets_it() {
    let (told, bodies) = mpsc::channel();
    // The service asks for the body.
    let service = Scripted::start(move |mut connection, _| {
        let head = connection.head().unwrap();
        assert_eq!(head.header("expect"), "100-continue");
        connection.write("HTTP/1.1 100 Continue\r\n\r\n").unwrap();
        told.send(connection.exactly(2).unwrap()).unwrap();
        connection.write(OK).unwrap();
    });
    let ingress = ingress(service.port, &[]);
    let mut connection = ingress.connect();
    connection
        .write(
            "POST /api/x HTTP/1.1\r\nhost: localhost\r\ncontent-type: text/plain\r\ncontent-length: 2\r\nexpect: 100-continue\r\n\r\n",
        )
        .unwrap();
    assert_eq!(
        connection.head().unwrap().first_line,
        "HTTP/1.1 100 Continue"
    );
    connection.write("hi").unwrap();
    assert_eq!(connection.answer().status, 200);
    assert_eq!(bodies.recv().unwrap(), b"hi");
}

#[test]
fn a_response_is_forwarded_as_it_arrives() {
    let (next, go) = mpsc::channel::<()>();
    let go = std::sync::Mutex::new(go);
    let service = Scripted::start(move |mut connection, _| {
        connection.head().unwrap();
        connection
            .write("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
            .unwrap();
        for event in 0..3 {
            connection
                .write(format!("9\r\ndata: {event}\n\n\r\n"))
                .unwrap();
            // The next part is sent once the client has this one.
            go.lock().unwrap().recv_timeout(WITHIN).unwrap();
        }
        connection.write("0\r\n\r\n").unwrap();
        connection.rest();
    });
    let ingress = ingress(service.port, &[]);
    let mut connection = ingress.connect();
    connection.request("GET", "/api/jobs/1/events", &[], "");
    let head = connection.head().unwrap();
    assert_eq!(head.header("content-type"), "text/event-stream");
    for event in 0..3 {
        assert_eq!(
            connection.chunk().unwrap(),
            format!("data: {event}\n\n").into_bytes()
        );
        next.send(()).unwrap();
    }
    assert!(connection.chunk().unwrap().is_empty());
}

#[test]
fn a_body_is_forwarded_as_it_arrives_and_not_before_it_begins() {
    const HALF: usize = 16 << 10;
    let (told, first) = mpsc::channel();
    let service = Scripted::start(move |mut connection, _| {
        let head = connection.head().unwrap();
        assert_eq!(head.header("content-length"), (2 * HALF).to_string());
        told.send(connection.exactly(HALF).unwrap()).unwrap();
        told.send(connection.exactly(HALF).unwrap()).unwrap();
        connection.write(OK).unwrap();
        connection.rest();
    });
    let ingress = ingress(service.port, &[]);
    let mut connection = ingress.connect();
    connection
        .write(format!(
            "POST /api/x HTTP/1.1\r\nhost: localhost\r\ncontent-type: text/plain\r\ncontent-length: {}\r\n\r\n",
            2 * HALF
        ))
        .unwrap();
    // A client that sends no body uses no connection to the service.
    thread::sleep(Duration::from_millis(50));
    assert_eq!(service.connections(), 0);
    for byte in ["h", "r"] {
        connection.write(byte.repeat(HALF)).unwrap();
        assert_eq!(
            first.recv_timeout(WITHIN).unwrap(),
            byte.repeat(HALF).into_bytes()
        );
    }
    assert_eq!(connection.answer().status, 200);
}

#[test]
fn a_client_that_disconnects_ends_the_request_to_the_service() {
    for is_answering in [false, true] {
        let (told, gone) = mpsc::channel();
        let service = Scripted::start(move |mut connection, _| {
            connection.head().unwrap();
            if is_answering {
                connection
                    .write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n")
                    .unwrap();
            }
            told.send("asked").unwrap();
            connection.rest();
            told.send("gone").unwrap();
        });
        let ingress = ingress(service.port, &[]);
        let mut connection = ingress.connect();
        connection.request("GET", "/api/x", &[], "");
        assert_eq!(gone.recv_timeout(WITHIN), Ok("asked"));
        if is_answering {
            connection.head().unwrap();
            connection.chunk().unwrap();
        }
        drop(connection);
        assert_eq!(
            gone.recv_timeout(WITHIN),
            Ok("gone"),
            "answering: {is_answering}"
        );
    }
}

#[test]
fn connections_to_the_service_are_reused() {
    let service = Scripted::answering(OK);
    let ingress = ingress(service.port, &["--http-workers", "1"]);
    for _ in 0..20 {
        assert_eq!(ingress.get("/api").status, 200);
    }
    assert_eq!(service.connections(), 1);
}

#[test]
fn redirects_are_forwarded_and_not_followed() {
    let service = Scripted::answering(
        "HTTP/1.1 302 Found\r\nlocation: http://evil.example/\r\ncontent-length: 0\r\n\r\n",
    );
    let ingress = ingress(service.port, &[]);
    let answer = ingress.get("/api");
    assert_eq!(
        (answer.status, answer.header("location")),
        (302, "http://evil.example/")
    );
    assert_eq!(service.requests(), 1);
}

#[test]
fn without_the_service_the_response_is_502_and_never_200() {
    let ingress = ingress(free_port(), &[]);
    for (method, body) in [("GET", ""), ("POST", "{}")] {
        let answer = ingress.send(method, "/api/execute", &[], body);
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (502, "service_unreachable")
        );
        assert_eq!(answer.header("retry-after"), "1");
        assert!(
            answer.json()["detail"]
                .as_str()
                .unwrap()
                .contains("nothing was asked of it")
        );
    }
}

#[test]
fn a_service_that_does_not_respond_is_a_504_in_time() {
    let service = Scripted::start(|mut connection, _| {
        connection.rest();
    });
    let ingress = ingress(service.port, &["--answer-timeout-ms", "300"]);
    let start = Instant::now();
    let answer = ingress.send("POST", "/api/execute", &[], "{}");
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (504, "service_timeout")
    );
    assert!(
        (300..60_000).contains(&start.elapsed().as_millis()),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn a_service_that_disconnects_is_a_502_and_no_code_runs_twice() {
    for answer in [
        "",
        "HTTP/1.1 2",
        "nonsense\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n",
    ] {
        let service = Scripted::start(move |mut connection, _| {
            connection.message().unwrap();
            connection.write(answer).unwrap();
        });
        let ingress = ingress(service.port, &[]);
        let told = ingress.send("POST", "/api/execute", &[], "{}");
        assert_eq!(
            (told.status, told.code().as_str()),
            (502, "service_unreachable"),
            "{answer}"
        );
        assert!(
            told.json()["detail"]
                .as_str()
                .unwrap()
                .contains("may have happened")
        );
        assert_eq!(service.connections(), 1, "{answer}");
    }
}

#[test]
fn half_a_response_never_looks_whole() {
    for (head, body) in [
        ("content-length: 10", "12345"),
        ("transfer-encoding: chunked", "5\r\n12345\r\n"),
        ("transfer-encoding: chunked", "a\r\n12345"),
    ] {
        let service = Scripted::start(move |mut connection, _| {
            connection.head().unwrap();
            connection
                .write(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{body}"))
                .unwrap();
        });
        let ingress = ingress(service.port, &[]);
        let mut connection = ingress.connect();
        connection.request("GET", "/api/x", &[], "");
        let message = connection.message();
        assert!(message.is_err(), "{head} {body}: {message:?}");
    }
}

#[test]
fn a_response_that_pauses_too_long_is_aborted() {
    let service = Scripted::start(|mut connection, _| {
        connection.head().unwrap();
        connection
            .write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
            .unwrap();
        for _ in 0..4 {
            thread::sleep(Duration::from_secs(1));
            connection.write("1\r\nx\r\n").unwrap();
        }
        connection.rest();
    });
    let ingress = ingress(service.port, &["--silence-ms", "3000"]);
    let mut connection = ingress.connect();
    connection.request("GET", "/api/x", &[], "");
    connection.head().unwrap();
    // Short pauses are allowed, however many there are.
    for _ in 0..4 {
        assert_eq!(connection.chunk().unwrap(), b"x");
    }
    // The default is 60 seconds.
    assert!(connection.closes_within(Duration::from_secs(30)));
}

/// Starts a service that responds once on each connection and closes it at the next request: each connection goes
/// stale.
fn stale() -> Scripted {
    Scripted::start(|mut connection: Connection, number| {
        connection.message().unwrap();
        connection.write(OK).unwrap();
        if number == 0 {
            let _ = connection.message();
            return;
        }
        while connection.message().is_ok() {
            connection.write(OK).unwrap();
        }
    })
}

#[test]
fn a_read_is_retried_once_on_a_stale_connection() {
    let service = stale();
    let ingress = ingress(service.port, &["--http-workers", "1"]);
    assert_eq!(ingress.get("/api").status, 200);
    assert_eq!(ingress.get("/api").status, 200);
    assert_eq!(service.connections(), 2);
}

#[test]
fn a_request_that_runs_code_is_not_retried() {
    let service = stale();
    let ingress = ingress(service.port, &["--http-workers", "1"]);
    assert_eq!(ingress.get("/api").status, 200);
    let answer = ingress.send("POST", "/api/execute", &[], "{}");
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (502, "service_unreachable")
    );
    assert_eq!(service.connections(), 1);
    eventually("the next is answered", || {
        ingress.execute("1").status == 200
    });
}
