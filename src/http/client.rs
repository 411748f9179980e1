//! The client key of a request, by which the queue is fair.

use super::Api;
use actix_web::HttpRequest;
use sandpiper_domain::ClientKey;
use std::net::IpAddr;

/// Maximum length of the client header's value, bytes. A longer value is ignored.
const CLIENT_BYTES_MAX: usize = 128;

/// Returns the key of the client: the value of the configured header, which a trusted proxy sets, or else the peer's
/// address.
pub(super) fn client_of(api: &Api, request: &HttpRequest) -> ClientKey {
    let header = api
        .bounds
        .client_header
        .as_ref()
        .and_then(|name| request.headers().get(name))
        .and_then(|value| value.to_str().ok())
        .filter(|text| !text.is_empty() && text.len() <= CLIENT_BYTES_MAX);
    match (header, request.peer_addr()) {
        (Some(text), _) => ClientKey::new(text),
        (None, Some(peer)) => ClientKey::new(&network_of(peer.ip())),
        (None, None) => ClientKey::new("unknown"),
    }
}

/// Returns an IPv4 address as it is, and the /64 of an IPv6 address, because one host may use all of its /64.
fn network_of(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_one_client_whichever_address_of_its_network_it_takes() {
        let network = |text: &str| network_of(text.parse().unwrap());
        assert_eq!(network("2001:db8:1:2::1"), network("2001:db8:1:2:ffff::9"));
        assert_ne!(network("2001:db8:1:2::1"), network("2001:db8:1:3::1"));
        assert_eq!(network("::ffff:10.0.0.1"), "10.0.0.1");
    }
}
