//! Requests that are invalid before their fields are read: as HTTP, in size, or in speed.

use crate::raw::{answer_on, post};
use crate::support::{Service, assert_refused, assert_serves};
use serde_json::json;
use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::time::{Duration, Instant};

const JSON: [(&str, &str); 1] = [("content-type", "application/json")];
const PATHS: [&str; 2] = ["/api/execute", "/api/jobs"];
const MIB: usize = 1 << 20;

/// Returns a request's head and as much of its body as is given.
fn request(head: &[&str], body: &[u8]) -> Vec<u8> {
    let head = head.join("\r\n");
    [head.as_bytes(), b"\r\n\r\n", body].concat()
}

/// Returns a body of `length` bytes: a script with a long comment.
fn body_of(length: usize) -> Vec<u8> {
    let around = r#"{"code":"1","input":""}"#.len();
    format!(
        r#"{{"code":"1","input":"{}"}}"#,
        "x".repeat(length - around)
    )
    .into_bytes()
}

#[test]
fn a_body_may_have_its_bound_and_no_byte_more() {
    let service = Service::start();
    let at_the_bound = service.post_raw(PATHS[0], &JSON, &body_of(2 * MIB));
    assert_eq!(at_the_bound.status, 200, "{}", at_the_bound.text);
    for path in PATHS {
        let answer = service
            .exchange(&post(path, &[], &body_of(2 * MIB + 1)))
            .unwrap();
        assert_refused(&answer, 413, "body_too_large", path);
        assert_eq!(answer.json()["bound"], 2 * MIB);
    }
    assert_serves(&service);
}

#[test]
fn a_body_that_is_announced_too_large_is_refused_before_it_comes() {
    let service = Service::start();
    for length in ["2097153", "1000000000000", "18446744073709551615"] {
        let length = format!("content-length: {length}");
        let head = [
            "POST /api/execute HTTP/1.1",
            "host: localhost",
            "content-type: application/json",
            "connection: close",
            &length,
        ];
        let answer = service.exchange(&request(&head, b"")).unwrap();
        assert_refused(&answer, 413, "body_too_large", &length);
    }
    assert_serves(&service);
}

#[test]
fn a_body_of_chunks_is_counted_as_it_comes() {
    let service = Service::start_with(&["--body-bytes", "64KiB"]);
    let head = [
        "POST /api/execute HTTP/1.1",
        "host: localhost",
        "content-type: application/json",
        "connection: close",
        "transfer-encoding: chunked",
    ];
    let chunked = |body: &[u8]| {
        let mut chunks = Vec::new();
        for part in body.chunks(1000) {
            chunks.extend(format!("{:x}\r\n", part.len()).into_bytes());
            chunks.extend(part);
            chunks.extend(b"\r\n");
        }
        chunks.extend(b"0\r\n\r\n");
        service.exchange(&request(&head, &chunks)).unwrap()
    };
    assert_eq!(chunked(&body_of(65_536)).json()["result"], 1);
    assert_refused(
        &chunked(&body_of(65_537)),
        413,
        "body_too_large",
        "one more",
    );
    assert_refused(&chunked(&body_of(MIB)), 413, "body_too_large", "many more");
    assert_serves(&service);
}

#[test]
fn a_client_that_expects_100_continue_gets_it() {
    let service = Service::start();
    let body = br#"{"code":"1+2"}"#;
    let length = format!("content-length: {}", body.len());
    let head = [
        "POST /api/execute HTTP/1.1",
        "host: localhost",
        "content-type: application/json",
        "connection: close",
        "expect: 100-continue",
        &length,
    ];
    let mut stream = service.send_raw(&request(&head, b""));
    let mut head = [0; 25];
    std::io::Read::read_exact(&mut stream, &mut head).unwrap();
    assert_eq!(&head, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(body).unwrap();
    assert_eq!(answer_on(stream).unwrap().json()["result"], 3);
}

#[test]
fn code_may_have_its_bound_and_no_byte_more() {
    let service = Service::start();
    let code = |length: usize| json!({ "code": format!("/*{}*/1", "x".repeat(length - 5)) });
    assert_eq!(service.execute(&code(MIB))["result"], 1);
    for path in PATHS {
        let answer = service.post(path, &code(MIB + 1));
        assert_refused(&answer, 413, "code_too_large", path);
        assert_eq!(answer.json()["bound"], MIB);
    }
    assert_serves(&service);
}

#[test]
fn a_body_of_another_type_or_coding_is_refused() {
    let service = Service::start();
    let code = br#"{"code":"1"}"#;
    for headers in [
        [("content-type", "text/plain")],
        [("content-type", "application/x-www-form-urlencoded")],
        [("content-type", "application/jsonp")],
        [("content-type", "text/json")],
        [("content-type", "multipart/form-data")],
        [("content-type", "")],
        [("content-encoding", "gzip")],
        [("content-encoding", "br")],
        [("content-encoding", "gzip, identity")],
        [("accept", "application/json")],
    ] {
        for path in PATHS {
            let answer = service.post_raw(path, &headers, code);
            assert_refused(&answer, 415, "unsupported_media_type", headers[0].1);
        }
    }
    for headers in [
        [
            ("content-type", "Application/JSON;charset=UTF-8"),
            ("accept", "*/*"),
        ],
        [
            ("content-type", "application/json"),
            ("content-encoding", "identity"),
        ],
    ] {
        assert_eq!(service.post_raw(PATHS[0], &headers, code).status, 200);
    }
}

#[test]
fn a_form_that_is_none_is_an_invalid_body() {
    let service = Service::start();
    let part = |disposition: &str, value: &[u8]| {
        [
            b"--b\r\nContent-Disposition: ",
            disposition.as_bytes(),
            b"\r\n\r\n",
            value,
            b"\r\n--b--\r\n",
        ]
        .concat()
    };
    for (body, code) in [
        (b"".to_vec(), "invalid_body"),
        (b"no form at all".to_vec(), "invalid_body"),
        (b"--b\r\n".to_vec(), "invalid_body"),
        (
            b"--b\r\nContent-Disposition: form-data; name=\"code\"\r\n\r\n1".to_vec(),
            "invalid_body",
        ),
        (part("form-data", b"1"), "invalid_body"),
        (part("form-data; name=\"code\"", b"\xff"), "invalid_field"),
        (part("form-data; name=\"cod\"", b"1"), "unknown_field"),
        (part("form-data; name=\"input\"", b"{"), "invalid_field"),
        (
            part("form-data; name=\"limits\"", b"timeoutMs=5"),
            "invalid_field",
        ),
    ] {
        let form = [("content-type", "multipart/form-data; boundary=b")];
        let answer = service.post_raw(PATHS[0], &form, &body);
        assert_refused(&answer, 400, code, &String::from_utf8_lossy(&body));
    }
    assert_serves(&service);
}

#[test]
fn a_body_that_comes_too_slowly_is_rejected() {
    let service = Service::start_with(&["--body-timeout-ms", "200"]);
    let head = [
        "POST /api/execute HTTP/1.1",
        "host: localhost",
        "content-type: application/json",
        "connection: close",
        "content-length: 100",
    ];
    for body in [b"".as_slice(), b"{\"code\":"] {
        let start = Instant::now();
        let answer = service.exchange(&request(&head, body)).unwrap();
        assert_refused(&answer, 408, "body_timeout", "slow");
        assert!(start.elapsed() < Duration::from_secs(10));
    }
    assert_serves(&service);
}

#[test]
fn a_body_that_nobody_waits_for_does_not_keep_its_connection() {
    let service = Service::start_with(&["--body-bytes", "1KiB", "--body-timeout-ms", "300"]);
    for (path, first, status) in [
        ("/nothing", "1\r\na\r\n".to_owned(), 404),
        ("/api/execute", "1\r\n{\r\n".to_owned(), 408),
        (
            "/api/jobs",
            format!("1000\r\n{}\r\n", "a".repeat(4096)),
            413,
        ),
    ] {
        let head = [
            &format!("POST {path} HTTP/1.1"),
            "host: localhost",
            "content-type: application/json",
            "transfer-encoding: chunked",
        ];
        let mut stream = service.send_raw(&request(&head, first.as_bytes()));
        let start = Instant::now();
        let mut reader = stream.try_clone().unwrap();
        // The connection gets single bytes for as long as it accepts them.
        while stream.write_all(b"1\r\na\r\n").is_ok() {
            assert!(start.elapsed() < Duration::from_secs(10), "{path}");
            std::thread::sleep(Duration::from_millis(50));
        }
        let mut answer = Vec::new();
        let _ = reader.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer);
        let begins = format!("HTTP/1.1 {status}");
        assert!(
            answer.is_empty() || answer.starts_with(&begins),
            "{path}: {answer}"
        );
    }
    // A body that was read to its declared end keeps the connection open, whatever the response.
    let whole = "POST /api/execute HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 1\r\n\r\na";
    let last = "GET /nothing HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    let stream = service.send_raw(format!("{whole}{whole}{last}").as_bytes());
    let answers = answer_on(stream).unwrap();
    assert_eq!(
        answers.text.matches("HTTP/1.1 40").count(),
        2,
        "{}",
        answers.text
    );
    assert_serves(&service);
}

#[test]
fn a_head_that_comes_too_slowly_is_rejected() {
    let service = Service::start_with(&["--header-timeout-ms", "1000"]);
    let heads = [
        "",
        "POST /api/exec",
        "POST /api/execute HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n",
    ];
    let start = Instant::now();
    for stream in heads.map(|head| service.send_raw(head.as_bytes())) {
        // The connection ends, with or without a response.
        if let Some(answer) = answer_on(stream) {
            assert_eq!(answer.status, 408);
        }
    }
    assert!(start.elapsed() < Duration::from_secs(10));
    // A connection without a byte has begun no head.
    assert_eq!(service.metric("http_heads_late_total"), Some(2.0));
    let whole = b"GET /api/health/live HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let mut stream = service.send_raw(whole);
    let mut answer = Vec::new();
    while !answer.ends_with(b"}") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        answer.extend(byte);
    }
    stream.write_all(b"GET /api").unwrap();
    assert_eq!(answer_on(stream).unwrap().status, 408);
    assert_eq!(service.metric("http_heads_late_total"), Some(3.0));
}

#[test]
fn a_client_that_closes_its_side_is_not_waited_for() {
    let service = Service::start_with(&["--executors", "1"]);
    let whole = post(
        "/api/execute",
        &[],
        br#"{"code":"for(;;);","limits":{"timeoutMs":30000}}"#,
    );
    for cut in [0, 10, 60, whole.len() - 1, whole.len()] {
        let stream = service.send_raw(&whole[..cut]);
        stream.shutdown(Shutdown::Write).unwrap();
        let start = Instant::now();
        if let Some(answer) = answer_on(stream) {
            assert!(
                (400..500).contains(&answer.status),
                "{cut}: {}",
                answer.status
            );
        }
        assert!(start.elapsed() < Duration::from_secs(10), "cut at {cut}");
    }
    // If the last script had run to its end, this would take 30 s.
    let start = Instant::now();
    assert_serves(&service);
    assert!(start.elapsed() < Duration::from_secs(10));
}

#[test]
fn bytes_that_are_no_http_are_refused_or_closed_and_never_a_500() {
    let service = Service::start();
    let long_header = format!("GET /api HTTP/1.1\r\nhost: {}\r\n\r\n", "h".repeat(300_000));
    let long_target = format!(
        "GET /{} HTTP/1.1\r\nhost: localhost\r\n\r\n",
        "a".repeat(300_000)
    );
    let many_headers = format!("GET /api HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(5_000));
    let garbage: Vec<u8> = (0..=255_u8).cycle().take(5_000).collect();
    let rows: [&[u8]; 17] = [
        b"\r\n\r\n\r\n\r\nno\r\n\r\n",
        b"hello\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /api\r\n\r\n",
        b"GET /api HTTP/9.9\r\n\r\n",
        b"G\x00T /api HTTP/1.1\r\nhost: localhost\r\n\r\n",
        b"GET /a\x00pi HTTP/1.1\r\nhost: localhost\r\n\r\n",
        b"GET /api HTTP/1.1\r\nho st: test\r\n\r\n",
        b"GET /api HTTP/1.1\r\nhost: te\x00st\r\n\r\n",
        b"POST /api/execute HTTP/1.1\r\nhost: localhost\r\ncontent-length: -1\r\n\r\n",
        b"POST /api/execute HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1, 2\r\n\r\n",
        b"POST /api/execute HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03tls hello\r\n\r\n",
        long_header.as_bytes(),
        long_target.as_bytes(),
        many_headers.as_bytes(),
        &garbage,
    ];
    for bytes in rows {
        let what = String::from_utf8_lossy(&bytes[..bytes.len().min(80)]);
        if let Some(answer) = service.exchange(bytes) {
            assert!(
                (400..500).contains(&answer.status),
                "{what:?}: {}",
                answer.status
            );
        }
    }
    assert_serves(&service);
}

#[test]
fn a_body_whose_chunks_are_broken_is_an_invalid_body() {
    let service = Service::start();
    let head = [
        "POST /api/execute HTTP/1.1",
        "host: localhost",
        "content-type: application/json",
        "connection: close",
        "transfer-encoding: chunked",
    ];
    for chunks in [
        b"zz\r\n{}\r\n0\r\n\r\n".as_slice(),
        b"fffffffffffffffff\r\n",
        b"2\r\n{}{}{}\r\n0\r\n\r\n",
    ] {
        let what = String::from_utf8_lossy(chunks);
        if let Some(answer) = service.exchange(&request(&head, chunks)) {
            assert!(
                (400..500).contains(&answer.status),
                "{what}: {}",
                answer.status
            );
        }
    }
    assert_serves(&service);
}

#[test]
fn an_unread_body_is_not_parsed_as_the_next_request() {
    let service = Service::start();
    let inner = "GET /api/health/live HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    let length = format!("content-length: {}", inner.len());
    for (line, header, status) in [
        ("POST /api/nothing HTTP/1.1", "accept: */*", 404),
        ("POST /api/health HTTP/1.1", "accept: */*", 405),
        (
            "POST /api/execute HTTP/1.1",
            "content-type: text/plain",
            415,
        ),
        ("DELETE /api/jobs/1 HTTP/1.1", "accept: */*", 404),
    ] {
        // The connection stays open: the bytes after the head are still a body.
        let mut bytes = request(
            &[line, "host: localhost", header, &length],
            inner.as_bytes(),
        );
        bytes.extend(b"GET /last HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        let answers = service.exchange(&bytes).unwrap();
        assert_eq!(answers.status, status, "{line}");
        let rest = &answers.text;
        assert!(!rest.contains("HTTP/1.1 200"), "{line}: {rest}");
        assert_eq!(rest.matches("HTTP/1.1 404").count(), 1, "{line}: {rest}");
    }
    assert_serves(&service);
}

#[test]
fn a_body_with_two_lengths_is_refused() {
    let service = Service::start();
    for second in ["transfer-encoding: chunked", "content-length: 5"] {
        let head = [
            "POST /api/execute HTTP/1.1",
            "host: localhost",
            "content-type: application/json",
            "content-length: 14",
            second,
        ];
        let answer = service
            .exchange(&request(&head, br#"{"code":"1+2"}"#))
            .unwrap();
        assert_eq!(answer.status, 400, "{second}");
    }
    assert_serves(&service);
}
