//! Quotas under a fake clock.

use super::*;
use actix_web::http::header::HeaderMap;
use governor::clock::FakeRelativeClock;
use std::net::{IpAddr, Ipv4Addr};

fn quota(text: &str) -> Quota {
    text.parse().unwrap()
}

fn client(number: u32) -> Client {
    Client::of(IpAddr::V4(Ipv4Addr::from_bits(number)))
}

fn bounds(clients_max: usize) -> ClientBounds {
    ClientBounds {
        clients_max,
        network_clients: NonZeroU32::new(4).unwrap(),
    }
}

fn limits(clock: &FakeRelativeClock, clients_max: usize) -> Limits<FakeRelativeClock> {
    let client = Quotas {
        run: quota("10/s:5"),
        read: quota("100/s:50"),
    };
    Limits::new(
        quota("1000/s:100"),
        client,
        quota("20/s:10"),
        &bounds(clients_max),
        clock,
    )
}

/// Returns how many of `tries` requests are allowed.
fn count_allowed(
    limits: &Limits<FakeRelativeClock>,
    principal: Client,
    class: Class,
    tries: u32,
) -> u32 {
    let passed = (0..tries).filter(|_| limits.check_client(principal, class).is_ok());
    u32::try_from(passed.count()).unwrap()
}

#[test]
fn a_client_gets_its_burst_and_then_its_rate() {
    let clock = FakeRelativeClock::default();
    let limits = limits(&clock, 100);
    assert_eq!(count_allowed(&limits, client(1), Class::Run, 20), 5);
    for _ in 0..10 {
        clock.advance(Duration::from_millis(100));
        assert_eq!(count_allowed(&limits, client(1), Class::Run, 20), 1);
    }
    clock.advance(Duration::from_secs(60));
    assert_eq!(count_allowed(&limits, client(1), Class::Run, 20), 5);
}

#[test]
fn a_rejected_request_is_told_when_to_retry_and_is_allowed_then() {
    let clock = FakeRelativeClock::default();
    let limits = limits(&clock, 100);
    assert_eq!(count_allowed(&limits, client(1), Class::Run, 5), 5);
    clock.advance(Duration::from_millis(30));
    let refused = limits.check_client(client(1), Class::Run).unwrap_err();
    assert_eq!(refused.retry_after, Duration::from_millis(70));
    clock.advance(refused.retry_after);
    limits.check_client(client(1), Class::Run).unwrap();
}

#[test]
fn running_and_reading_and_each_client_have_their_own_quotas() {
    let clock = FakeRelativeClock::default();
    let limits = limits(&clock, 100);
    assert_eq!(count_allowed(&limits, client(1), Class::Run, 20), 5);
    assert_eq!(count_allowed(&limits, client(1), Class::Read, 20), 20);
    assert_eq!(count_allowed(&limits, client(2), Class::Run, 20), 5);
}

#[test]
fn a_rejected_request_takes_nothing_from_the_total() {
    let clock = FakeRelativeClock::default();
    let limits = limits(&clock, 100);
    assert_eq!(count_allowed(&limits, client(1), Class::Run, 10_000), 5);
    for number in 2..21 {
        assert_eq!(count_allowed(&limits, client(number), Class::Run, 5), 5);
    }
    let refused = limits.check_client(client(99), Class::Run).unwrap_err();
    assert_eq!(refused.rate_limit.policy(), "total");
}

#[test]
fn a_key_has_its_own_quota_from_any_address() {
    let clock = FakeRelativeClock::default();
    let limits = limits(&clock, 100);
    let quotas = Quotas {
        run: quota("1/s:3"),
        read: quota("1/s:1"),
    };
    let key = KeyBuckets::new(quotas, &clock);
    let passed = (0..9).filter(|_| limits.check_key(&key, Class::Run).is_ok());
    assert_eq!(passed.count(), 3);
    assert!(limits.check_key(&key, Class::Read).is_ok());
    assert!(limits.check_key(&key, Class::Read).is_err());
}

#[test]
fn the_table_of_clients_is_bounded_and_evicts_no_active_client() {
    let clock = FakeRelativeClock::default();
    let limits = Limits::new(
        quota("1000000/s:1000000"),
        Quotas {
            run: quota("1/h:1"),
            read: quota("1/h:1"),
        },
        quota("1/s:1"),
        &bounds(1000),
        &clock,
    );
    let passed =
        (0..100_000).filter(|number| limits.check_client(client(*number), Class::Run).is_ok());
    // A thousand clients have a state of their own; the other 99,000 share the overflow states.
    assert_eq!(passed.count(), 1000 + 1024);
    assert_eq!(limits.clients(), 1000);
    assert_eq!(
        (0..1000)
            .filter(|number| limits.check_client(client(*number), Class::Run).is_ok())
            .count(),
        0
    );
    limits.sweep();
    assert_eq!(limits.clients(), 1000);
    clock.advance(Duration::from_hours(2));
    limits.sweep();
    assert_eq!(limits.clients(), 0);
    assert!(limits.check_client(client(7), Class::Run).is_ok());
}

#[test]
fn a_response_reports_the_rate_limit_status() {
    let clock = FakeRelativeClock::default();
    let limits = limits(&clock, 100);
    let said = |rate_limit: RateLimitStatus| {
        let mut headers = HeaderMap::new();
        rate_limit.write(&mut headers);
        let text = |name: &str| headers.get(name).unwrap().to_str().unwrap().to_owned();
        [
            text("ratelimit-policy"),
            text("ratelimit"),
            text("x-ratelimit-limit"),
            text("x-ratelimit-remaining"),
            text("x-ratelimit-reset"),
        ]
    };
    let first = said(limits.check_client(client(1), Class::Run).unwrap());
    assert_eq!(
        first,
        [
            r#""client-run";q=5;w=1"#,
            r#""client-run";r=4;t=1"#,
            "5",
            "4",
            "1"
        ]
    );
    count_allowed(&limits, client(1), Class::Run, 4);
    let refused = limits.check_client(client(1), Class::Run).unwrap_err();
    assert_eq!(said(refused.rate_limit)[1], r#""client-run";r=0;t=1"#);
}

/// Returns a client of one /48 network, by number.
fn neighbour(number: u16) -> Client {
    let address = format!("2001:db8:7:{number:x}::1");
    Client::of(address.parse().unwrap())
}

#[test]
fn a_network_of_many_clients_gets_as_much_as_a_few() {
    let clock = FakeRelativeClock::default();
    let limits = limits(&clock, 10_000);
    let passed = (0..1_000)
        .filter(|number| limits.check_client(neighbour(*number), Class::Run).is_ok())
        .count();
    assert_eq!(passed, 4 * 5);
    let refused = limits.check_client(neighbour(1_000), Class::Run);
    assert_eq!(refused.unwrap_err().rate_limit.policy(), "network-run");
    // Other networks, other classes and IPv4 have their own.
    let elsewhere = Client::of("2001:db8:8:1::1".parse().unwrap());
    assert_eq!(count_allowed(&limits, elsewhere, Class::Run, 20), 5);
    assert_eq!(count_allowed(&limits, client(1), Class::Run, 20), 5);
    assert!(limits.check_client(neighbour(1), Class::Read).is_ok());
    clock.advance(Duration::from_millis(25));
    assert!(limits.check_client(neighbour(2_000), Class::Run).is_ok());
}

#[test]
fn health_checks_have_a_quota_that_no_other_request_uses_up() {
    let clock = FakeRelativeClock::default();
    let limits = limits(&clock, 100);
    count_allowed(&limits, client(1), Class::Run, 1_000);
    count_allowed(&limits, client(1), Class::Read, 1_000);
    let passed = (0..100).filter(|_| limits.check_health(client(1)).is_ok());
    assert_eq!(passed.count(), 10);
}
