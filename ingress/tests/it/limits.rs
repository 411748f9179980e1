//! Rate limits in real time, against the real binary. `src/limits/tests.rs` tests quotas with a fake clock.

use super::support::{OK, Running, Scripted, WITHIN, free_port, get_from, ingress};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

fn statuses(ingress: &Running, method: &str, target: &str, tries: usize) -> Vec<u16> {
    let mut connection = ingress.connect();
    let mut one = || {
        connection.request(
            method,
            target,
            &[],
            if method == "POST" { "{}" } else { "" },
        );
        connection.answer().status
    };
    (0..tries).map(|_| one()).collect()
}

#[test]
fn a_burst_is_served_and_further_requests_get_retry_after() {
    let service = Scripted::answering(OK);
    let ingress = ingress(service.port, &["--run-quota", "30/m:3"]);
    assert_eq!(
        statuses(&ingress, "POST", "/api/execute", 5),
        [200, 200, 200, 429, 429]
    );
    assert_eq!(service.requests(), 3);
    let answer = ingress.execute("1");
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (429, "rate_limited")
    );
    assert_eq!(answer.header("retry-after"), "2");
    assert_eq!(answer.header("ratelimit-policy"), "\"client-run\";q=3;w=6");
    assert_eq!(answer.header("ratelimit"), "\"client-run\";r=0;t=6");
    assert_eq!(answer.header("x-ratelimit-limit"), "3");
    assert_eq!(answer.header("x-ratelimit-remaining"), "0");
    assert!(
        answer.json()["detail"]
            .as_str()
            .unwrap()
            .contains("client-run")
    );
}

#[test]
fn polling_and_running_are_counted_apart() {
    let service = Scripted::answering(OK);
    let ingress = ingress(
        service.port,
        &["--run-quota", "1/h:1", "--read-quota", "1/h:2"],
    );
    assert_eq!(statuses(&ingress, "POST", "/api/jobs", 2), [200, 429]);
    assert_eq!(statuses(&ingress, "GET", "/api/netcheck?port=1", 1), [429]);
    assert_eq!(statuses(&ingress, "GET", "/api/jobs/1", 3), [200, 200, 429]);
    assert_eq!(statuses(&ingress, "GET", "/", 1), [429]);
    // Health checks take nothing from these quotas.
    assert_eq!(statuses(&ingress, "GET", "/ingress/live", 10), [200; 10]);
}

#[test]
fn all_clients_together_have_a_quota() {
    let service = Scripted::answering(OK);
    let ingress = ingress(
        service.port,
        &["--total-quota", "1/h:3", "--trusted-hops", "1"],
    );
    let status = |number: u32| {
        let header = format!("x-forwarded-for: 203.0.113.{number}");
        ingress.send("GET", "/api", &[&header], "")
    };
    for number in 0..3 {
        assert_eq!(status(number).status, 200);
    }
    let refused = status(4);
    assert_eq!(refused.status, 429);
    assert_eq!(refused.header("ratelimit-policy"), "\"total\";q=3;w=10800");
}

#[test]
fn over_a_second_a_client_gets_its_rate_and_no_more() {
    let service = Scripted::answering(OK);
    let ingress = ingress(service.port, &["--read-quota", "50/s:10"]);
    let mut connection = ingress.connect();
    let start = Instant::now();
    let mut passed = 0_u32;
    while start.elapsed() < Duration::from_millis(1500) {
        connection.request("GET", "/api", &[], "");
        passed += u32::from(connection.answer().status == 200);
    }
    let due = 10.0 + start.elapsed().as_secs_f64() * 50.0;
    // A slow machine may send too few requests, but never gets more than the rate.
    assert!(
        f64::from(passed) <= due + 1.0 && passed > 12,
        "{passed} passed, {due} were due"
    );
}

#[test]
fn a_client_has_a_maximum_of_open_requests_and_others_are_not_affected() {
    let (told, asked) = mpsc::channel();
    let service = Scripted::start(move |mut connection, _| {
        while let Ok(request) = connection.message() {
            if request.first_line.contains("/api/slow") {
                told.send(()).unwrap();
                connection.rest();
                return;
            }
            connection.write(OK).unwrap();
        }
    });
    let ingress = ingress(
        service.port,
        &["--requests-per-client", "2", "--trusted-hops", "1"],
    );
    let slow = || {
        let mut connection = ingress.connect();
        connection.request("GET", "/api/slow", &["x-forwarded-for: 203.0.113.1"], "");
        asked.recv_timeout(WITHIN).unwrap();
        connection
    };
    let ask =
        |client: &str| ingress.send("GET", "/api", &[&format!("x-forwarded-for: {client}")], "");
    let (first, second) = (slow(), slow());
    let refused = ask("203.0.113.1");
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (429, "rate_limited")
    );
    assert_eq!(refused.header("retry-after"), "1");
    assert!(
        refused.json()["detail"]
            .as_str()
            .unwrap()
            .contains("2 requests")
    );
    assert_eq!(ask("203.0.113.2").status, 200);
    drop(first);
    let start = Instant::now();
    while ask("203.0.113.1").status != 200 {
        assert!(start.elapsed() < WITHIN);
        thread::sleep(Duration::from_millis(5));
    }
    drop(second);
}

#[test]
fn a_network_of_many_clients_gets_as_much_as_a_few() {
    let service = Scripted::answering(OK);
    let metrics_port = free_port();
    let port = metrics_port.to_string();
    let ingress = ingress(
        service.port,
        &[
            "--trusted-hops",
            "1",
            "--read-quota",
            "1/h:2",
            "--network-clients",
            "3",
            "--metrics-port",
            &port,
        ],
    );
    let mut connection = ingress.connect();
    let mut status = |address: &str| {
        let header = format!("x-forwarded-for: {address}");
        connection.request("GET", "/api", &[&header], "");
        let answer = connection.answer();
        (answer.status, answer.header("ratelimit-policy").to_owned())
    };
    let statuses: Vec<u16> = (0..200)
        .map(|number| status(&format!("2001:db8:7:{number:x}::1")).0)
        .collect();
    assert_eq!(statuses, [vec![200; 6], vec![429; 194]].concat());
    assert!(
        status("2001:db8:7:ffff::1")
            .1
            .starts_with("\"network-read\"")
    );
    assert_eq!(status("2001:db8:8:1::1").0, 200);
    assert_eq!(status("203.0.113.7").0, 200);
    let metrics = get_from(metrics_port, "/metrics").message.text();
    assert!(
        metrics.contains(r#"refused_total{limit="network"} 195"#),
        "{metrics}"
    );
}

#[test]
fn a_network_has_as_many_requests_open_as_a_few_clients() {
    let (entered, seen) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let released = std::sync::Mutex::new(released);
    let service = Scripted::start(move |mut connection, _| {
        while connection.message().is_ok() {
            entered.send(()).unwrap();
            let _ = released.lock().unwrap().recv_timeout(WITHIN);
            if connection.write(OK).is_err() {
                return;
            }
        }
    });
    let options = [
        "--trusted-hops",
        "1",
        "--requests-per-client",
        "1",
        "--network-clients",
        "2",
    ];
    let ingress = ingress(service.port, &options);
    let begin = |address: &str| {
        let mut connection = ingress.connect();
        let header = format!("x-forwarded-for: {address}");
        connection.request("GET", "/api", &[&header], "");
        connection
    };
    let mut open: Vec<_> = (0..2)
        .map(|number| {
            let connection = begin(&format!("2001:db8:7:{number}::1"));
            seen.recv_timeout(WITHIN).unwrap();
            connection
        })
        .collect();
    let refused = begin("2001:db8:7:9::1").answer();
    assert_eq!(refused.code(), "rate_limited");
    assert!(refused.message.text().contains("/48"));
    let mut other = begin("2001:db8:8:9::1");
    seen.recv_timeout(WITHIN).unwrap();
    for _ in 0..3 {
        release.send(()).unwrap();
    }
    for connection in open.iter_mut().chain([&mut other]) {
        assert_eq!(connection.answer().status, 200);
    }
}

#[test]
fn readiness_queries_the_service_once_a_second_and_is_limited() {
    let service = Scripted::answering(OK);
    let metrics_port = free_port();
    let port = metrics_port.to_string();
    let ingress = ingress(
        service.port,
        &[
            "--health-quota",
            "1/h:300",
            "--read-quota",
            "1/h:1",
            "--metrics-port",
            &port,
        ],
    );
    let start = Instant::now();
    let all: Vec<u16> = thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| statuses(&ingress, "GET", "/ingress/ready", 100)))
            .collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect()
    });
    let seconds = usize::try_from(start.elapsed().as_secs()).unwrap();
    let count = |status: u16| all.iter().filter(|seen| **seen == status).count();
    assert_eq!((count(200), count(429)), (300, 100));
    assert!(
        service.requests() <= seconds + 1,
        "{} in {seconds} s",
        service.requests()
    );
    // Other clients and other requests have their own quotas.
    assert_eq!(statuses(&ingress, "GET", "/api", 2), [200, 429]);
    let metrics = get_from(metrics_port, "/metrics").message.text();
    for line in [
        r#"requests_total{kind="health",status="429"} 100"#,
        r#"refused_total{limit="health"} 100"#,
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
}
