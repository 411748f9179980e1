//! The client's address behind proxies.

use super::support::{OK, Scripted, ingress};

#[test]
fn without_trusted_proxies_x_forwarded_for_is_ignored() {
    let service = Scripted::answering(OK);
    let ingress = ingress(service.port, &["--read-quota", "1/h:3"]);
    for number in 0..3 {
        let header = format!("x-forwarded-for: 10.0.0.{number}");
        assert_eq!(ingress.send("GET", "/api", &[&header], "").status, 200);
        assert_eq!(service.request().header("x-forwarded-for"), "127.0.0.1");
    }
    assert_eq!(
        ingress
            .send("GET", "/api", &["x-forwarded-for: 10.0.0.9"], "")
            .status,
        429
    );
}

#[test]
fn behind_a_trusted_hop_each_client_has_its_own_quota_and_name() {
    let service = Scripted::answering(OK);
    let ingress = ingress(
        service.port,
        &["--trusted-hops", "1", "--read-quota", "1/h:1"],
    );
    let status = |list: &str| {
        let header = format!("x-forwarded-for: {list}");
        ingress.send("GET", "/api", &[&header], "").status
    };
    assert_eq!(status("6.6.6.6, 203.0.113.7"), 200);
    let request = service.request();
    assert_eq!(request.header("x-forwarded-for"), "203.0.113.7");
    assert_eq!(request.header("sandpiper-client"), "203.0.113.7");
    // Entries that the client wrote itself do not change its identity.
    assert_eq!(status("7.7.7.7, 203.0.113.7"), 429);
    assert_eq!(status("203.0.113.8"), 200);
    assert_eq!(status("2001:db8:1:2::1"), 200);
    assert_eq!(status("2001:db8:1:2:3::1"), 429);
    assert_eq!(status("2001:db8:1:3::1"), 200);
}

#[test]
fn proxies_are_trusted_by_their_networks() {
    let service = Scripted::answering(OK);
    let client_behind = |networks: &str| {
        let ingress = ingress(service.port, &["--trusted-proxies", networks]);
        let header = "x-forwarded-for: 198.51.100.1, 203.0.113.7, 10.1.2.3";
        assert_eq!(ingress.send("GET", "/api", &[header], "").status, 200);
        service.request().header("x-forwarded-for").to_owned()
    };
    assert_eq!(client_behind("127.0.0.0/8,10.0.0.0/8"), "203.0.113.7");
    assert_eq!(client_behind("127.0.0.0/8"), "10.1.2.3");
    assert_eq!(client_behind("192.0.2.0/24"), "127.0.0.1");
}
