//! Bounds on sizes and times, also against hostile clients.

use super::support::{OK, Scripted, WITHIN, ingress};
use std::thread;
use std::time::{Duration, Instant};

#[test]
fn a_url_or_head_that_is_too_long_is_rejected_with_its_bound() {
    let service = Scripted::answering(OK);
    let ingress = ingress(
        service.port,
        &["--url-bytes", "100", "--header-bytes", "1000"],
    );
    let target = |length: usize| format!("/api?{}", "x".repeat(length - 5));
    assert_eq!(ingress.get(&target(100)).status, 200);
    let answer = ingress.get(&target(101));
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (414, "url_too_long")
    );
    assert!(
        answer.json()["detail"]
            .as_str()
            .unwrap()
            .contains("the bound of 100")
    );
    let one = format!("x-long: {}", "x".repeat(900));
    assert_eq!(ingress.send("GET", "/api", &[&one], "").status, 200);
    let answer = ingress.send("GET", "/api", &[&one, &one], "");
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (431, "head_too_large")
    );
    assert_eq!(service.requests(), 2);
}

/// Returns the resident memory of a process, bytes.
fn resident(pid: i32) -> usize {
    let pages = std::fs::read_to_string(format!("/proc/{pid}/statm")).unwrap();
    pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[test]
fn a_head_without_end_is_cut_off_and_takes_no_memory() {
    let service = Scripted::answering(OK);
    let ingress = ingress(service.port, &[]);
    assert_eq!(ingress.get("/api").status, 200);
    let before = resident(ingress.pid());
    for begin in [
        "GET /api?",
        "GET /api HTTP/1.1\r\nx-long: ",
        "GET /api HTTP/1.1\r\nx: 1\r\n",
    ] {
        let mut connection = ingress.connect();
        connection.stream().set_write_timeout(Some(WITHIN)).unwrap();
        let more = if begin.ends_with('\n') {
            "x: 1\r\n".repeat(10_000)
        } else {
            "x".repeat(60_000)
        };
        let start = Instant::now();
        let _ = connection.write(begin);
        // The ingress reads and drops further bytes for a moment, so that the client can read its response.
        while connection.write(&more).is_ok() {
            assert!(start.elapsed() < WITHIN, "{begin}: it may go on and on");
        }
        let said = String::from_utf8_lossy(&connection.rest()).into_owned();
        assert!(
            said.is_empty() || said.starts_with("HTTP/1.1 4"),
            "{begin}: {said}"
        );
    }
    let grown = resident(ingress.pid()).saturating_sub(before);
    assert!(grown < 8 << 20, "{grown} bytes more are held");
    assert_eq!(service.connections(), 1);
}

#[test]
fn a_body_that_is_too_long_never_reaches_the_service() {
    let service = Scripted::answering(OK);
    let ingress = ingress(service.port, &["--body-bytes", "1024"]);
    assert_eq!(
        ingress
            .send("POST", "/api/x", &[], &"x".repeat(1024))
            .status,
        200
    );
    service.request();
    let answer = ingress.send("POST", "/api/x", &[], &"x".repeat(1025));
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (413, "body_too_large")
    );
    // The declared length is enough for a rejection.
    let mut connection = ingress.connect();
    connection
        .write("POST /api/x HTTP/1.1\r\nhost: localhost\r\ncontent-type: text/plain\r\ncontent-length: 99999999999\r\n\r\n")
        .unwrap();
    assert_eq!(connection.answer().status, 413);
    assert_eq!(service.requests(), 0);
    // The length of a chunked body is not known beforehand.
    let mut connection = ingress.connect();
    connection
        .write("POST /api/x HTTP/1.1\r\nhost: localhost\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n")
        .unwrap();
    for _ in 0..20 {
        let _ = connection.write(format!("64\r\n{}\r\n", "x".repeat(100)));
    }
    let answer = connection.answer();
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (413, "body_too_large")
    );
    assert_eq!(service.requests(), 0);
}

/// Sends single bytes at intervals until the other end closes, for at most ten seconds. Returns the time until then.
fn drip(connection: &mut super::support::Connection, byte: &str) -> Duration {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(10) {
        if connection.write(byte).is_err() {
            break;
        }
        if connection.closes_within(Duration::from_millis(20)) {
            break;
        }
    }
    start.elapsed()
}

#[test]
fn a_slow_head_is_cut_off() {
    let service = Scripted::answering(OK);
    let ingress = ingress(service.port, &["--header-timeout-ms", "500"]);
    for begin in [
        "",
        "GET /api HTTP/1.1\r\n",
        "GET /api HTTP/1.1\r\nhost: localhost\r\nx-drip: ",
    ] {
        let mut connection = ingress.connect();
        connection.write(begin).unwrap();
        let took = drip(&mut connection, "a");
        assert!(took < Duration::from_secs(4), "{begin}: {took:?}");
    }
    let start = Instant::now();
    ingress.connect().rest();
    assert!(
        start.elapsed() < Duration::from_secs(4),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(ingress.get("/api").status, 200);
}

#[test]
fn a_slow_body_is_cut_off() {
    let service = Scripted::answering(OK);
    let ingress = ingress(service.port, &["--body-timeout-ms", "500"]);
    for (framing, begin, byte) in [
        ("content-length: 1000", "", "a"),
        ("content-length: 1000", "x", "a"),
        ("transfer-encoding: chunked", "", "1\r\na\r\n"),
    ] {
        let mut connection = ingress.connect();
        connection
            .write(format!(
                "POST /api/x HTTP/1.1\r\nhost: localhost\r\ncontent-type: text/plain\r\n{framing}\r\n\r\n{begin}"
            ))
            .unwrap();
        let start = Instant::now();
        let mut writer = super::support::Connection::of(connection.stream().try_clone().unwrap());
        let dripping = thread::spawn(move || {
            while writer.write(byte).is_ok() {
                thread::sleep(Duration::from_millis(20));
            }
        });
        let answer = connection.answer();
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (408, "body_timeout"),
            "{framing}"
        );
        assert!(
            start.elapsed() < Duration::from_secs(9),
            "{framing}: {:?}",
            start.elapsed()
        );
        drop(connection);
        dripping.join().unwrap();
    }
    assert_eq!(service.requests(), 0);
}

#[test]
fn a_body_that_ends_early_is_not_forwarded_as_a_request() {
    let service = Scripted::answering(OK);
    let ingress = ingress(service.port, &[]);
    for begin in [
        "content-length: 10\r\n\r\n12345",
        "transfer-encoding: chunked\r\n\r\n5\r\n123",
    ] {
        let mut connection = ingress.connect();
        connection
            .write(format!(
                "POST /api/x HTTP/1.1\r\nhost: localhost\r\ncontent-type: text/plain\r\n{begin}"
            ))
            .unwrap();
        thread::sleep(Duration::from_millis(50));
        connection
            .stream()
            .shutdown(std::net::Shutdown::Both)
            .unwrap();
    }
    thread::sleep(Duration::from_millis(100));
    assert_eq!(service.requests(), 0);
    assert_eq!(ingress.get("/api").status, 200);
}

#[test]
fn an_idle_connection_is_closed() {
    let service = Scripted::answering(OK);
    let ingress = ingress(service.port, &["--keep-alive-s", "1"]);
    let mut connection = ingress.connect();
    connection.request("GET", "/api", &[], "");
    assert_eq!(connection.answer().status, 200);
    // The default is 75 seconds.
    assert!(connection.closes_within(WITHIN));
}

#[test]
fn a_client_that_does_not_read_its_response_is_disconnected_and_frees_the_service() {
    let (told, gone) = std::sync::mpsc::channel();
    let service = Scripted::start(move |mut connection, _| {
        connection.head().unwrap();
        let _ = connection.write("HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n");
        let piece = vec![b'x'; 1 << 20];
        let mut sent = 0;
        while sent < 100 && connection.write(&piece).is_ok() {
            sent += 1;
        }
        told.send(sent).unwrap();
    });
    let ingress = ingress(service.port, &["--write-timeout-ms", "500"]);
    let mut connection = ingress.connect();
    connection.request("GET", "/api/x", &[], "");
    let start = Instant::now();
    // The client reads nothing.
    let sent = gone.recv_timeout(WITHIN).unwrap();
    assert!(sent < 100, "{sent} MiB were taken");
    assert!(
        start.elapsed() < Duration::from_secs(25),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn one_address_has_a_maximum_of_connections_and_the_first_of_them_go_on() {
    let service = Scripted::answering(OK);
    let ingress = ingress(service.port, &["--connections-per-client", "5"]);
    let mut open: Vec<_> = (0..5).map(|_| ingress.connect()).collect();
    for connection in &mut open {
        connection.request("GET", "/api", &[], "");
        assert_eq!(connection.answer().status, 200);
    }
    for _ in 0..5 {
        assert!(ingress.connect().closes_within(WITHIN));
    }
    for connection in &mut open {
        connection.request("GET", "/api", &[], "");
        assert_eq!(connection.answer().status, 200);
    }
    drop(open);
    super::support::eventually("there is room again", || {
        let mut connection = ingress.connect();
        let asked = connection.write("GET /api HTTP/1.1\r\nhost: localhost\r\n\r\n");
        asked.is_ok() && connection.message().is_ok()
    });
}

#[test]
fn one_address_does_not_take_all_connections_if_there_are_few() {
    let service = Scripted::answering(OK);
    let ingress = ingress(service.port, &["--connections-max", "64"]);
    let mut open: Vec<_> = (0..48).map(|_| ingress.connect()).collect();
    for connection in &mut open {
        connection.request("GET", "/api", &[], "");
        assert_eq!(connection.answer().status, 200);
    }
    for _ in 0..5 {
        assert!(ingress.connect().closes_within(WITHIN));
    }
}

#[test]
fn slow_clients_do_not_hold_up_the_others() {
    let service = Scripted::answering(OK);
    let ingress = ingress(service.port, &["--header-timeout-ms", "100000"]);
    let mut slow: Vec<_> = (0..200).map(|_| ingress.connect()).collect();
    for connection in &mut slow {
        connection.write("GET /api HTTP/1.1\r\nx: ").unwrap();
    }
    let start = Instant::now();
    for _ in 0..20 {
        assert_eq!(ingress.get("/api").status, 200);
    }
    // No slow client was disconnected.
    assert!(start.elapsed() < WITHIN, "{:?}", start.elapsed());
}
