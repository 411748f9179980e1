//! Connections without a request, on both programs: each is closed within its bound, and connections with a request go
//! on.

use super::support::{Connection, Running, Scripted, WITHIN, free_port, ingress, service};
use std::io::Read as _;
use std::thread;
use std::time::{Duration, Instant};

const WHOLE: &str = "GET /api HTTP/1.1\r\nhost: localhost\r\n\r\n";
const HALF: &str = "GET /api HTTP/1.1\r\nhost: localhost\r\nx:";
/// The promise for the default `--header-timeout-ms` of 5 s; the tests use a shorter timeout.
const ENDED_WITHIN: Duration = Duration::from_secs(6);

/// Starts both programs with these options. Returns each with its name and the program behind it.
pub(crate) fn both(options: &[&str]) -> [(&'static str, Running, Option<Running>); 2] {
    let behind = service(&["--port", "0"]);
    let in_front = ingress(behind.port, options);
    let alone = service(&[&["--port", "0"], options].concat());
    [
        ("ingress", in_front, Some(behind)),
        ("service", alone, None),
    ]
}

/// Returns true if the other end closes within this time, whatever it sends before.
fn ends_within(connection: &Connection, within: Duration) -> bool {
    let start = Instant::now();
    let mut stream = connection.stream();
    let mut bytes = [0; 4096];
    while let Some(left) = within.checked_sub(start.elapsed()) {
        let _ = stream.set_read_timeout(Some(left.max(Duration::from_millis(1))));
        match stream.read(&mut bytes) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return false,
            Err(_) => return true,
        }
    }
    false
}

/// Returns ways to leave half of a later head on a connection: the bytes to write, and the number of responses to them.
fn halves() -> Vec<(&'static str, Vec<(String, usize)>)> {
    let run = "POST /api/execute HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 14\r\n";
    let body = r#"{"code":"1+2"}"#;
    let steps = |steps: &[(&str, usize)]| -> Vec<(String, usize)> {
        let steps = steps.iter();
        steps
            .map(|(bytes, count)| ((*bytes).to_owned(), *count))
            .collect()
    };
    vec![
        ("a segment of its own", steps(&[(WHOLE, 1), (HALF, 0)])),
        ("an empty line alone", steps(&[(WHOLE, 1), ("\r\n", 0)])),
        ("the same segment", steps(&[(&format!("{WHOLE}{HALF}"), 1)])),
        (
            "an empty line in the same segment",
            steps(&[(&format!("{WHOLE}\r\n"), 1)]),
        ),
        (
            "HTTP/1.0",
            steps(&[
                (
                    "GET /api HTTP/1.0\r\nhost: localhost\r\nconnection: keep-alive\r\n\r\n",
                    1,
                ),
                ("GET /api HTTP/1.0\r\nx:", 0),
            ]),
        ),
        (
            "after pipelined requests",
            steps(&[(&format!("{WHOLE}{WHOLE}{WHOLE}{HALF}"), 3)]),
        ),
        (
            "after 100-continue",
            steps(&[
                (&format!("{run}expect: 100-continue\r\n\r\n"), 1),
                (body, 1),
                (HALF, 0),
            ]),
        ),
        (
            "in the same segment as a body",
            steps(&[(&format!("{run}\r\n{body}G"), 1)]),
        ),
    ]
}

#[test]
fn half_a_head_is_cut_off_and_other_connections_go_on() {
    let most = halves().len() + 1;
    let options = [
        "--header-timeout-ms",
        "1000",
        "--http-workers",
        "1",
        "--connections-max",
        &most.to_string(),
    ];
    for (name, program, _behind) in both(&options) {
        let mut kept = program.connect();
        let mut ask_again = || {
            kept.request("GET", "/api/health/live", &[], "");
            assert_eq!(kept.answer().status, 200, "{name}");
        };
        ask_again();
        let mut slow = Vec::new();
        for (way, steps) in halves() {
            let mut connection = program.connect();
            for (bytes, responses) in steps {
                connection.write(&bytes).unwrap();
                for _ in 0..responses {
                    assert!(connection.answer().status < 300, "{name}: {way}");
                }
            }
            slow.push((way, connection));
        }
        let start = Instant::now();
        ask_again();
        // Single bytes at intervals do not extend the deadline.
        while start.elapsed() < Duration::from_millis(1500) {
            thread::sleep(Duration::from_millis(100));
            ask_again();
            for (_, connection) in &mut slow {
                let _ = connection.write("x");
            }
        }
        for (way, connection) in &slow {
            let left = ENDED_WITHIN.saturating_sub(start.elapsed());
            assert!(ends_within(connection, left), "{name}: {way}");
        }
        assert_eq!(program.get("/api/health/live").status, 200, "{name}");
        ask_again();
    }
}

#[test]
fn an_idle_connection_outlives_the_header_timeout() {
    let options = ["--header-timeout-ms", "1000", "--keep-alive-s", "4"];
    for (name, program, _behind) in both(&options) {
        let mut connection = program.connect();
        for pause in [2500, 1500, 0] {
            let body = r#"{"code":"1+2"}"#;
            let headers = ["content-type: application/json"];
            connection.request("POST", "/api/execute", &headers, body);
            assert_eq!(connection.answer().status, 200, "{name}");
            thread::sleep(Duration::from_millis(pause));
        }
        assert!(ends_within(&connection, WITHIN), "{name}");
    }
}

#[test]
fn half_a_head_is_cut_off_on_the_metrics_port() {
    let behind = service(&["--port", "0"]);
    let ports = [free_port(), free_port()];
    let [own, front] = ports.map(|port| port.to_string());
    let _alone = service(&["--port", "0", "--metrics-port", &own]);
    let _in_front = ingress(behind.port, &["--metrics-port", &front]);
    let connections = ports.map(|port| {
        let mut connection = Connection::to(port);
        connection.request("GET", "/metrics", &[], "");
        assert_eq!(connection.answer().status, 200);
        connection.write("GET /metrics HTTP/1.1\r\nx:").unwrap();
        connection
    });
    for connection in &connections {
        assert!(ends_within(connection, WITHIN));
    }
}

#[test]
fn an_unread_body_does_not_hold_a_connection() {
    for (name, program, _behind) in both(&[]) {
        for (method, target) in [
            ("POST", "/"),
            ("GET", "/"),
            ("POST", "/ingress/live"),
            ("GET", "/ingress/live"),
            ("GET", "/ingress/ready"),
            ("GET", "/api/health/live"),
            ("GET", "/api/jobs/1"),
            ("POST", "/api/health/live"),
            ("POST", "/nothing"),
            ("POST", "/api//x"),
        ] {
            let mut connection = program.connect();
            let head = format!("{method} {target} HTTP/1.1\r\nhost: localhost\r\n");
            connection
                .write(format!(
                    "{head}transfer-encoding: chunked\r\n\r\n1\r\na\r\n"
                ))
                .unwrap();
            let start = Instant::now();
            while connection.write("1\r\na\r\n").is_ok() {
                assert!(start.elapsed() < WITHIN, "{name}: {method} {target}");
                thread::sleep(Duration::from_millis(50));
            }
        }
    }
}

#[test]
fn one_address_cannot_take_every_connection_where_proxies_are_trusted() {
    let behind = Scripted::answering(super::support::OK);
    for (options, most) in [
        (&["--trusted-hops", "1"][..], 6),
        (&["--trusted-proxies", "127.0.0.0/8"], 6),
        (&["--trusted-hops", "1", "--connections-per-proxy", "2"], 2),
        // The trusted network does not contain this address, so the address counts as a client.
        (
            &[
                "--trusted-proxies",
                "10.0.0.0/8",
                "--connections-per-client",
                "3",
            ],
            3,
        ),
    ] {
        let ingress = ingress(
            behind.port,
            &[&["--connections-max", "8"], options].concat(),
        );
        let hold = || {
            let mut connection = ingress.connect();
            connection.request("GET", "/ingress/live", &[], "");
            let answer = connection.answer_within(WITHIN);
            answer.map(|_| connection)
        };
        let held: Vec<Option<Connection>> = (0..most).map(|_| hold()).collect();
        assert!(held.iter().all(Option::is_some), "{options:?}");
        assert!(hold().is_none(), "{options:?}");
        drop(held);
        super::support::eventually("a place comes free", || hold().is_some());
    }
}

#[test]
fn a_client_that_does_not_read_its_response_is_disconnected() {
    let options = [
        "--port",
        "0",
        "--write-timeout-ms",
        "500",
        "--http-workers",
        "1",
        "--connections-max",
        "1",
    ];
    let service = service(&options);
    let mut greedy = service.connect();
    // The client reads nothing, and the response exceeds the socket buffers.
    let large =
        r#"{"code":"'x'.repeat(7e6)","limits":{"outputBytes":8000000,"memoryBytes":100000000}}"#;
    let headers = ["content-type: application/json"];
    for _ in 0..2 {
        greedy.request("POST", "/api/execute", &headers, large);
    }
    // The program serves one connection at a time.
    assert_eq!(service.get("/api/health/live").status, 200);
    drop(greedy);
}
