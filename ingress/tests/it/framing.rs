//! The end of a request, on both programs: a request whose end is in doubt is the last of its connection.

use super::connections::both;
use super::support::{Connection, Folder, Running, WITHIN, ingress, service};
use std::process::Command;
use std::time::Instant;

const CODE: &str = r#"{"code":"1+2"}"#;

/// The head of a request that runs code, without the final empty line.
fn run(headers: &str) -> String {
    format!(
        "POST /api/execute HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n{headers}"
    )
}

fn statuses(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    let lines = text.lines().filter(|line| line.starts_with("HTTP/1."));
    lines.map(|line| line[9..12].to_owned()).collect()
}

#[test]
fn no_request_is_served_after_a_chunked_body() {
    for (name, program, _behind) in both(&[]) {
        let hidden = run(&format!(
            "x-request-id: smuggled\r\ncontent-length: {}\r\n\r\n{CODE}",
            CODE.len()
        ));
        let second = format!(
            "POST /api/nothing HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n{hidden}",
            hidden.len()
        );
        for end in ["0\r\n\n", "0\r\n\r\n", "0\r\nx: y\r\n\r\n", "0;x\r\n\n"] {
            let first = run(&format!(
                "transfer-encoding: chunked\r\n\r\ne\r\n{CODE}\r\n{end}"
            ));
            for is_one_segment in [true, false] {
                let mut connection = program.connect();
                if is_one_segment {
                    connection.write(format!("{first}{second}")).unwrap();
                } else {
                    connection.write(&first).unwrap();
                    let _ = connection.write(&second);
                }
                let received = connection.rest();
                assert!(
                    statuses(&received).len() <= 1,
                    "{name}: {end:?}: {}",
                    String::from_utf8_lossy(&received)
                );
                assert!(!String::from_utf8_lossy(&received).contains("smuggled"));
            }
        }
        assert_eq!(program.execute("1+2").json()["result"], 3);
    }
}

#[test]
fn a_chunked_body_gets_its_response_and_the_connection_closes() {
    for (name, program, _behind) in both(&[]) {
        // More requests than the ingress has idle connections to the service.
        for _ in 0..20 {
            let mut connection = program.connect();
            let chunks = format!("4\r\n{}\r\na\r\n{}\r\n0\r\n\r\n", &CODE[..4], &CODE[4..]);
            connection
                .write(run(&format!("transfer-encoding: chunked\r\n\r\n{chunks}")))
                .unwrap();
            let answer = connection.answer();
            assert_eq!(answer.json()["result"], 3, "{name}");
            assert_eq!(answer.header("connection"), "close", "{name}");
            assert!(connection.closes_within(WITHIN), "{name}");
            assert_eq!(program.execute("1+2").json()["result"], 3, "{name}");
        }
    }
}

#[test]
fn an_upgrade_is_ignored() {
    for (name, program, _behind) in both(&[]) {
        let length = CODE.len();
        for headers in [
            // The first request of the HTTP client of the JDK.
            format!(
                "connection: Upgrade, HTTP2-Settings\r\ncontent-length: {length}\r\n\
                 http2-settings: AAEAAEAAAAIAAAAAAAMAAAAAAAQBAAAAAAUAAEAAAAYABgAA\r\nupgrade: h2c"
            ),
            format!("connection: upgrade\r\nupgrade: websocket\r\ncontent-length: {length}"),
            format!("upgrade: WebSocket\r\ncontent-length: {length}"),
            format!(
                "connection: keep-alive, Upgrade\r\nupgrade: h2c, websocket\r\ncontent-length: {length}"
            ),
        ] {
            let start = Instant::now();
            let mut connection = program.connect();
            connection
                .write(run(&format!("{headers}\r\n\r\n{CODE}")))
                .unwrap();
            let answer = connection.answer();
            // A body that the parser waits for would end after ten seconds, with another status.
            assert_eq!(answer.json()["result"], 3, "{name}: {headers}");
            assert!(
                !answer.header("connection").contains("pgrade"),
                "{name}: {headers}"
            );
            assert!(!answer.message.has("upgrade"), "{name}: {headers}");
            assert!(start.elapsed() < WITHIN, "{name}: {headers}");
        }
        let mut connection = program.connect();
        connection
            .write(
                "GET /api HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
            )
            .unwrap();
        assert_eq!(connection.answer().status, 200, "{name}");
    }
}

#[test]
fn no_request_is_served_after_an_upgrade() {
    for (name, program, _behind) in both(&[]) {
        for upgrade in ["websocket", "h2c"] {
            let mut connection = program.connect();
            connection
                .write(format!(
                    "GET /api HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: {upgrade}\r\n\r\n\
                     GET /api/health HTTP/1.1\r\nhost: localhost\r\n\r\n"
                ))
                .unwrap();
            assert_eq!(statuses(&connection.rest()), ["200"], "{name}: {upgrade}");
        }
    }
}

/// Returns the first status line for a head whose client waits for `100 Continue`.
fn first_status(connection: &mut Connection, headers: &[&str]) -> u16 {
    let headers: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
    connection
        .write(format!(
            "POST /api/execute HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\n{headers}\r\n"
        ))
        .unwrap();
    connection.answer().status
}

#[test]
fn a_client_that_waits_gets_100_continue_or_a_rejection_by_its_head() {
    const JSON: &str = "content-type: application/json";
    for (name, program, _behind) in both(&[]) {
        for (headers, status) in [
            (["content-type: text/plain", "content-length: 14"], 415),
            (
                ["content-type: text/plain", "transfer-encoding: chunked"],
                415,
            ),
            ([JSON, "content-length: 99999999"], 413),
            ([JSON, "content-length: 14\r\ncontent-encoding: br"], 415),
        ] {
            let mut connection = program.connect();
            assert_eq!(
                first_status(&mut connection, &headers),
                status,
                "{name}: {headers:?}"
            );
            assert!(connection.closes_within(WITHIN), "{name}: {headers:?}");
        }
        for (framing, body) in [
            ("content-length: 14", CODE.to_owned()),
            (
                "transfer-encoding: chunked",
                format!("e\r\n{CODE}\r\n0\r\n\r\n"),
            ),
        ] {
            let mut connection = program.connect();
            assert_eq!(
                first_status(&mut connection, &[JSON, framing]),
                100,
                "{name}: {framing}"
            );
            connection.write(body).unwrap();
            assert_eq!(connection.answer().json()["result"], 3, "{name}: {framing}");
        }
        // A client that does not wait gets no `100 Continue`.
        let mut connection = program.connect();
        let head = run("expect: 100-continue\r\ncontent-length: 14\r\n\r\n");
        connection.write(format!("{head}{CODE}")).unwrap();
        let first = connection.answer();
        let last = if first.status == 100 {
            connection.answer()
        } else {
            first
        };
        assert_eq!(last.json()["result"], 3, "{name}");
    }
}

#[test]
fn the_ingress_rejects_by_the_head_before_100_continue() {
    let behind = service(&["--port", "0"]);
    let folder = Folder::new();
    let file = folder.text_of("keys.json");
    let made = Command::new(env!("CARGO_BIN_EXE_sandpiper-ingress"))
        .args([
            "key",
            "new",
            "--name",
            "reader",
            "--scopes",
            "read",
            "--keys-file",
        ])
        .arg(&file)
        .output()
        .unwrap();
    let key = String::from_utf8(made.stdout).unwrap();
    let key = format!("x-api-key: {}", key.trim());
    let keyed = ingress(behind.port, &["--keys-file", file.as_str()]);
    let slow = ingress(behind.port, &["--run-quota", "1/h:1"]);
    assert_eq!(slow.execute("1").status, 200);
    let first = |program: &Running, header: &str| {
        let headers = [
            header,
            "content-type: application/json",
            "content-length: 14",
        ];
        first_status(&mut program.connect(), &headers)
    };
    assert_eq!(first(&keyed, "accept: */*"), 401);
    assert_eq!(first(&keyed, &key), 403);
    assert_eq!(first(&slow, "accept: */*"), 429);
}

#[test]
fn chunks_that_are_mostly_framing_are_rejected() {
    // No other bound ends such a body.
    let options = ["--body-timeout-ms", "600000"];
    for (name, program, _behind) in both(&options) {
        for (begin, more) in [
            ("1;", "x".repeat(1 << 16)),
            ("1\r\n{\r\n0\r\n", "trailer: xxxxxxxx\r\n".repeat(1 << 12)),
        ] {
            let mut connection = program.connect();
            let head = run(&format!("transfer-encoding: chunked\r\n\r\n{begin}"));
            connection.write(head).unwrap();
            let start = Instant::now();
            while connection.write(&more).is_ok() {
                assert!(start.elapsed() < WITHIN, "{name}: {begin:?}");
            }
        }
        // Small chunks alone are allowed.
        let mut connection = program.connect();
        let chunks: String = CODE.chars().map(|c| format!("1\r\n{c}\r\n")).collect();
        let head = run("transfer-encoding: chunked\r\n\r\n");
        connection
            .write(format!("{head}{chunks}0\r\n\r\n"))
            .unwrap();
        assert_eq!(connection.answer().json()["result"], 3, "{name}");
    }
}

#[test]
fn a_body_that_is_broken_in_the_write_of_its_head_gets_its_response() {
    for (name, program, _behind) in both(&[]) {
        let first = &CODE[..4];
        for chunks in [
            "x\r\n".to_owned(),
            format!("4\r\n{first}\r\nx\r\n"),
            format!("4\r\n{first}x"),
            format!("e\r\n{CODE}\r\n-1\r\n"),
            format!("1\r\n{{\r\n4\r\n{first}\r\nx\r\n{}", "y".repeat(1 << 14)),
        ] {
            let mut connection = program.connect();
            let head = run("transfer-encoding: chunked\r\n\r\n");
            connection.write(format!("{head}{chunks}")).unwrap();
            let answer = connection.answer();
            assert_eq!(answer.status, 400, "{name}: {chunks:?}");
            assert_eq!(answer.code(), "invalid_body", "{name}: {chunks:?}");
            assert_eq!(answer.header("connection"), "close", "{name}: {chunks:?}");
            connection.rest();
        }
        assert_eq!(program.execute("1+2").json()["result"], 3, "{name}");
    }
}
