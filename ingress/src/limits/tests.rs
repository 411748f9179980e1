//! Quotas under a clock that only moves when it is told to.

use super::*;
use crate::asker::Asker;
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

/// How many of `tries` requests are let through.
fn let_through(limits: &Limits<FakeRelativeClock>, asker: Client, class: Class, tries: u32) -> u32 {
    let passed = (0..tries).filter(|_| limits.check_client(asker, class).is_ok());
    u32::try_from(passed.count()).unwrap()
}

#[test]
fn a_client_gets_its_burst_and_then_its_rate() {
    let clock = FakeRelativeClock::default();
    let limits = limits(&clock, 100);
    assert_eq!(let_through(&limits, client(1), Class::Run, 20), 5);
    for _ in 0..10 {
        clock.advance(Duration::from_millis(100));
        assert_eq!(let_through(&limits, client(1), Class::Run, 20), 1);
    }
    clock.advance(Duration::from_secs(60));
    assert_eq!(let_through(&limits, client(1), Class::Run, 20), 5);
}

#[test]
fn who_is_refused_is_told_when_to_come_back_and_is_let_through_then() {
    let clock = FakeRelativeClock::default();
    let limits = limits(&clock, 100);
    assert_eq!(let_through(&limits, client(1), Class::Run, 5), 5);
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
    assert_eq!(let_through(&limits, client(1), Class::Run, 20), 5);
    assert_eq!(let_through(&limits, client(1), Class::Read, 20), 20);
    assert_eq!(let_through(&limits, client(2), Class::Run, 20), 5);
}

#[test]
fn what_a_client_is_refused_takes_nothing_from_the_total() {
    let clock = FakeRelativeClock::default();
    let limits = limits(&clock, 100);
    assert_eq!(let_through(&limits, client(1), Class::Run, 10_000), 5);
    for number in 2..21 {
        assert_eq!(let_through(&limits, client(number), Class::Run, 5), 5);
    }
    let refused = limits.check_client(client(99), Class::Run).unwrap_err();
    assert_eq!(refused.standing.policy(), "total");
}

#[test]
fn a_key_has_its_own_quota_whoever_brings_it() {
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
fn the_table_of_clients_has_a_bound_and_forgets_no_one_to_make_room() {
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
    // A thousand have states of their own; the other 99,000 share those of the crowd.
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
fn an_answer_says_how_its_asker_stands() {
    let clock = FakeRelativeClock::default();
    let limits = limits(&clock, 100);
    let said = |standing: Standing| {
        let mut headers = HeaderMap::new();
        standing.write(&mut headers);
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
    let_through(&limits, client(1), Class::Run, 4);
    let refused = limits.check_client(client(1), Class::Run).unwrap_err();
    assert_eq!(said(refused.standing)[1], r#""client-run";r=0;t=1"#);
}

#[test]
fn open_requests_are_counted_until_they_end() {
    let in_flight = InFlight::new(4);
    let enter = |number| in_flight.enter(Asker::Client(client(number)), 2);
    let first = enter(1).unwrap();
    let second = enter(1).unwrap();
    assert_eq!(enter(1).unwrap_err(), Crowded::Asker);
    let other = enter(2).unwrap();
    drop(first);
    let third = enter(1).unwrap();
    drop((second, third, other));
    assert_eq!(in_flight.entries(), 0);
}

/// A client of a /48, by its number.
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
    assert_eq!(refused.unwrap_err().standing.policy(), "network-run");
    // Other networks, other classes and IPv4 have their own.
    let elsewhere = Client::of("2001:db8:8:1::1".parse().unwrap());
    assert_eq!(let_through(&limits, elsewhere, Class::Run, 20), 5);
    assert_eq!(let_through(&limits, client(1), Class::Run, 20), 5);
    assert!(limits.check_client(neighbour(1), Class::Read).is_ok());
    clock.advance(Duration::from_millis(25));
    assert!(limits.check_client(neighbour(2_000), Class::Run).is_ok());
}

#[test]
fn a_network_has_as_much_open_as_a_few_clients() {
    let in_flight = InFlight::new(4);
    let enter = |number| in_flight.enter(Asker::Client(neighbour(number)), 2);
    let open: Vec<_> = (0..100).filter_map(|number| enter(number).ok()).collect();
    assert_eq!(open.len(), 8);
    assert_eq!(enter(200).unwrap_err(), Crowded::Network);
    assert!(in_flight.enter(Asker::Client(client(1)), 2).is_ok());
    drop(open);
    assert!(enter(200).is_ok());
    assert_eq!(in_flight.entries(), 0);
}

#[test]
fn questions_for_health_have_a_quota_that_nothing_else_uses_up() {
    let clock = FakeRelativeClock::default();
    let limits = limits(&clock, 100);
    let_through(&limits, client(1), Class::Run, 1_000);
    let_through(&limits, client(1), Class::Read, 1_000);
    let passed = (0..100).filter(|_| limits.check_health(client(1)).is_ok());
    assert_eq!(passed.count(), 10);
}
