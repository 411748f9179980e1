//! Request smuggling: a request that two parsers could read differently is rejected or forwarded as one request, never
//! as two.

use super::support::{Answer, Message, Running, Scripted, ingress};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A service that records each request.
struct Witness {
    ingress: Running,
    seen: Arc<Mutex<Vec<Message>>>,
    _service: Scripted,
}

fn witness() -> Witness {
    let seen: Arc<Mutex<Vec<Message>>> = Arc::default();
    let also = Arc::clone(&seen);
    let service = Scripted::answering_by(move |request| {
        also.lock().unwrap().push(request.clone());
        super::support::OK.to_owned()
    });
    Witness {
        ingress: ingress(service.port, &[]),
        seen,
        _service: service,
    }
}

impl Witness {
    /// Sends these bytes. Returns all statuses, and the requests that the service got.
    fn send(&self, bytes: &str) -> (Vec<u16>, Vec<Message>) {
        const NOTHING_MORE: Duration = Duration::from_millis(500);
        let mut connection = self.ingress.connect();
        connection.write(bytes).unwrap();
        let mut statuses = Vec::new();
        while let Some(answer) = connection.answer_within(NOTHING_MORE) {
            statuses.push(answer.status);
        }
        drop(connection);
        (statuses, std::mem::take(&mut *self.seen.lock().unwrap()))
    }

    /// Returns the only response to a request with `Connection: close`.
    fn ask(&self, bytes: &str) -> Answer {
        let mut connection = self.ingress.connect();
        connection.write(bytes).unwrap();
        connection.answer()
    }
}

/// The smuggled request, which would be served if the first request were read in the other way.
const SMUGGLED: &str = "GET /api/smuggled HTTP/1.1\r\nhost: localhost\r\n\r\n";

#[test]
fn a_body_of_two_framings_is_never_two_requests() {
    let witness = witness();
    let length = SMUGGLED.len();
    for headers in [
        format!("content-length: {length}\r\ntransfer-encoding: chunked"),
        format!("transfer-encoding: chunked\r\ncontent-length: {length}"),
        format!("content-length: {length}\r\ncontent-length: 0"),
        format!("content-length: 0\r\ncontent-length: {length}"),
        format!("content-length: {length}, {length}"),
        format!("content-length: +{length}"),
        "content-length: -1".to_owned(),
        "content-length: 0x10".to_owned(),
        format!("content-length: {length} 0"),
        "content-length: 18446744073709551616".to_owned(),
        "content-length:".to_owned(),
        "transfer-encoding: chunked, identity".to_owned(),
        "transfer-encoding: identity".to_owned(),
        "transfer-encoding: xchunked".to_owned(),
        "transfer-encoding: chunked\r\ntransfer-encoding: identity".to_owned(),
        "transfer-encoding: identity, chunked, chunked".to_owned(),
        "transfer-encoding:\x0bchunked".to_owned(),
        "transfer-encoding : chunked".to_owned(),
        " transfer-encoding: chunked".to_owned(),
        format!("content-length : {length}"),
        "x: y\r\n transfer-encoding: chunked".to_owned(),
        "x: y\r\n\ttransfer-encoding: chunked".to_owned(),
        "x:\n transfer-encoding: chunked".to_owned(),
    ] {
        let bytes = format!(
            "POST /api/first HTTP/1.1\r\nhost: localhost\r\ncontent-type: text/plain\r\n{headers}\r\n\r\n{SMUGGLED}"
        );
        let (statuses, seen) = witness.send(&bytes);
        assert!(seen.len() <= 1, "{headers}: {seen:?}");
        assert!(
            !seen
                .iter()
                .any(|request| request.first_line.contains("smuggled")),
            "{headers}: {seen:?}"
        );
        assert!(statuses.len() <= 1, "{headers}: {statuses:?}");
        assert!(
            statuses.iter().all(|status| *status < 500),
            "{headers}: {statuses:?}"
        );
    }
    assert_eq!(witness.ingress.get("/api").status, 200);
}

#[test]
fn malformed_chunks_are_rejected() {
    let witness = witness();
    for chunks in [
        "5\r\nhello\r\n",
        "5\r\nhellox0\r\n\r\n",
        "g\r\nhello\r\n0\r\n\r\n",
        "-1\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "ffffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        "\r\nhello\r\n0\r\n\r\n",
        "5 \rhello\r\n0\r\n\r\n",
    ] {
        let bytes = format!(
            "POST /api/first HTTP/1.1\r\nhost: localhost\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n{chunks}"
        );
        let (statuses, seen) = witness.send(&bytes);
        assert!(seen.is_empty(), "{chunks:?}: {seen:?}");
        assert!(
            statuses.iter().all(|status| (400..500).contains(status)),
            "{chunks:?}: {statuses:?}"
        );
    }
}

#[test]
fn two_requests_in_one_packet_are_two_requests_in_order() {
    let witness = witness();
    let bytes = format!(
        "POST /api/first HTTP/1.1\r\nhost: localhost\r\ncontent-type: text/plain\r\ncontent-length: 5\r\n\r\nhello{SMUGGLED}{SMUGGLED}"
    );
    let mut connection = witness.ingress.connect();
    connection.write(bytes).unwrap();
    for _ in 0..3 {
        assert_eq!(connection.answer().status, 200);
    }
    let seen = witness.seen.lock().unwrap();
    let lines: Vec<&str> = seen
        .iter()
        .map(|request| request.first_line.as_str())
        .collect();
    assert_eq!(
        lines,
        [
            "POST /api/first HTTP/1.1",
            "GET /api/smuggled HTTP/1.1",
            "GET /api/smuggled HTTP/1.1"
        ]
    );
    assert_eq!(seen[0].text(), "hello");
}

#[test]
fn bytes_that_are_not_http_are_rejected_or_closed() {
    let witness = witness();
    for bytes in [
        "\r\n\r\n\r\n",
        "GET\r\n\r\n",
        "GET /api\r\n\r\n",
        "GET  /api HTTP/1.1\r\nhost: localhost\r\n\r\n",
        "GET /api HTTP/9.9\r\nhost: localhost\r\n\r\n",
        "GET /api HTTP/1.1 x\r\nhost: localhost\r\n\r\n",
        "get /api http/1.1\r\n\r\n",
        "GET /api\0 HTTP/1.1\r\nhost: localhost\r\n\r\n",
        "GET /api x HTTP/1.1\r\nhost: localhost\r\n\r\n",
        "GET api HTTP/1.1\r\nhost: localhost\r\n\r\n",
        "GET /api HTTP/1.1\r\nhost: localhost\r\nbad header\r\n\r\n",
        "GET /api HTTP/1.1\r\nhost: localhost\r\n: empty\r\n\r\n",
        "GET /api HTTP/1.1\r\nhost: localhost\r\nx\0y: 1\r\n\r\n",
        "GET /api HTTP/1.1\r\nhost: localhost\r\nx: a\0b\r\n\r\n",
        "GET /api HTTP/1.1\r\nhost: localhost\r\nx: a\rb\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "\x16\x03\x01\x02\x00\x01\x00",
        "TRACE /api HTTP/1.1\r\nhost: localhost\r\n\r\n",
    ] {
        let (statuses, seen) = witness.send(bytes);
        assert!(seen.is_empty(), "{bytes:?}: {seen:?}");
        assert!(
            statuses.iter().all(|status| (400..506).contains(status)),
            "{bytes:?}: {statuses:?}"
        );
    }
    assert_eq!(witness.ingress.get("/api").status, 200);
}

#[test]
fn no_request_can_inject_a_response_header() {
    let witness = witness();
    for target in [
        "/api?x=%0d%0ax-evil:%201",
        "/x%0d%0ax-evil:%201",
        "/api/%0aX-Evil:1",
    ] {
        let answer = witness.ask(&format!(
            "GET {target} HTTP/1.1\r\nhost: localhost\r\nx-request-id: a%0d%0ax-evil: 1\r\n\r\n"
        ));
        assert!(!answer.message.has("x-evil"), "{target}: {answer:?}");
    }
}

#[test]
fn the_host_of_a_request_does_not_choose_the_upstream() {
    let witness = witness();
    for host in [
        "",
        "host: evil.example",
        "host: a\r\nhost: b",
        "host: 127.0.0.1:22",
        "host: x@y:z",
    ] {
        let line = if host.is_empty() {
            String::new()
        } else {
            format!("{host}\r\n")
        };
        let (statuses, seen) = witness.send(&format!("GET /api HTTP/1.1\r\n{line}\r\n"));
        assert!(
            statuses == [200] || (statuses.len() == 1 && matches!(statuses[0], 400 | 421)),
            "{host}: {statuses:?}"
        );
        assert!(
            seen.iter()
                .all(|request| request.header("host") == "localhost"),
            "{host}: {seen:?}"
        );
    }
}
