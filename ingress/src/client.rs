//! The client of a request: the peer, or the address that a trusted proxy reports.
//!
//! A client can write anything into `X-Forwarded-For`, so only the entries that trusted proxies appended count. Other
//! modules know a client as a [`Client`], never as an address.

use actix_web::http::header::{HeaderMap, HeaderName};
use ipnet::IpNet;
use std::fmt;
use std::net::IpAddr;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// A client for rate limits: an IPv4 address, or an IPv6 /64 network, from which one host can choose any address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Client(u64);

/// Marks an IPv4 address. No assigned IPv6 network has this value in its upper 64 bits.
const IPV4: u64 = 1 << 32;

impl Client {
    pub(crate) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self(IPV4 | u64::from(v4.to_bits())),
            IpAddr::V6(v6) => {
                let [a, b, c, d, ..] = v6.segments().map(u64::from);
                Self(a << 48 | b << 32 | c << 16 | d)
            }
        }
    }
}

/// The /48 network of an IPv6 address, with 65,536 clients. Providers commonly assign a /48 to one customer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Network(u64);

impl Client {
    /// Returns the network of this client; `None` for an IPv4 address.
    pub(crate) fn network(self) -> Option<Network> {
        let is_v4 = self.0 >> 32 == IPV4 >> 32;
        (!is_v4).then_some(Network(self.0 >> 16))
    }
}

impl fmt::Display for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = |shift: u32| self.0 >> shift & 0xffff;
        if self.0 >> 32 == 1 {
            let [a, b, c, d] = [24, 16, 8, 0].map(|shift: u32| self.0 >> shift & 0xff);
            return write!(formatter, "{a}.{b}.{c}.{d}");
        }
        write!(
            formatter,
            "{:x}:{:x}:{:x}:{:x}::/64",
            part(48),
            part(32),
            part(16),
            part(0)
        )
    }
}

/// The part of `X-Forwarded-For` that is trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// No entry: the peer is the client.
    Nothing,
    /// As many entries, from the end, as there are proxies in front. Each proxy appends the address of its peer.
    Hops(usize),
    /// The entries that proxies at these addresses appended.
    Networks(Vec<IpNet>),
}

impl Trust {
    /// Returns the address of the client behind `peer`.
    ///
    /// The walk ends at the last known address if a trusted proxy appended no entry, or an entry that is not an
    /// address. Several clients may then share one limit, which is safer than trusting an arbitrary entry.
    pub fn client_address(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut known = peer;
        let mut hops_left = match self {
            Self::Nothing => return peer,
            Self::Hops(hops) => *hops,
            Self::Networks(_) => usize::MAX,
        };
        let mut forwarded = forwarded_from_the_end(headers);
        while hops_left > 0 && self.trusts(known) {
            let Some(address) = forwarded.next().and_then(parse_address) else {
                break;
            };
            known = address;
            hops_left -= 1;
        }
        known
    }

    /// Returns true if the entry that a peer at this address appended is trusted.
    pub fn trusts(&self, address: IpAddr) -> bool {
        match self {
            Self::Nothing => false,
            Self::Hops(_) => true,
            Self::Networks(networks) => {
                let address = address.to_canonical();
                networks.iter().any(|network| network.contains(&address))
            }
        }
    }
}

/// Returns the entries of `X-Forwarded-For`, last first. Several header lines form one list.
fn forwarded_from_the_end(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lines: Vec<&str> = headers
        .get_all(FORWARDED_FOR)
        // A line that is not text counts as an unreadable address.
        .map(|line| line.to_str().unwrap_or_default())
        .collect();
    lines.into_iter().rev().flat_map(|line| line.rsplit(','))
}

/// Parses `203.0.113.7`, `203.0.113.7:5000`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:5000`.
fn parse_address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    if let Some(rest) = text.strip_prefix('[') {
        return rest.split_once(']')?.0.parse().ok();
    }
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    text.split_once(':')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::http::header::HeaderValue;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn client_of(trust: &Trust, peer: &str, lines: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(FORWARDED_FOR, HeaderValue::from_str(line).unwrap());
        }
        trust.client_address(address(peer), &headers).to_string()
    }

    #[test]
    fn a_host_is_one_client_at_every_address_of_its_network() {
        let client = |text: &str| Client::of(address(text));
        assert_eq!(client("2001:db8:1:2::1"), client("2001:db8:1:2:ffff::9"));
        assert_ne!(client("2001:db8:1:2::1"), client("2001:db8:1:3::1"));
        assert_eq!(client("::ffff:10.0.0.1"), client("10.0.0.1"));
        assert_ne!(client("0.0.0.1"), client("::1"));
        assert_eq!(client("203.0.113.7").to_string(), "203.0.113.7");
        assert_eq!(client("2001:db8:1:2::1").to_string(), "2001:db8:1:2::/64");
        assert_eq!(client("255.255.255.255").to_string(), "255.255.255.255");
    }

    #[test]
    fn a_network_is_a_48_and_an_ipv4_address_has_none() {
        let network = |text: &str| Client::of(address(text)).network();
        assert_eq!(network("2001:db8:1:2::1"), network("2001:db8:1:ffff::9"));
        assert_ne!(network("2001:db8:1:2::1"), network("2001:db8:2:2::1"));
        assert!(network("2001:db8:1:2::1").is_some() && network("::1").is_some());
        assert_eq!(network("203.0.113.7"), None);
        assert_eq!(network("::ffff:203.0.113.7"), None);
    }

    #[test]
    fn without_trust_forwarded_addresses_are_ignored() {
        assert_eq!(
            client_of(&Trust::Nothing, "192.0.2.1", &["203.0.113.7"]),
            "192.0.2.1"
        );
    }

    #[test]
    fn only_the_entries_of_trusted_hops_count() {
        let one = Trust::Hops(1);
        assert_eq!(
            client_of(&one, "192.0.2.1", &["6.6.6.6, 203.0.113.7"]),
            "203.0.113.7"
        );
        assert_eq!(
            client_of(&one, "192.0.2.1", &["6.6.6.6", "203.0.113.7"]),
            "203.0.113.7"
        );
        assert_eq!(client_of(&one, "192.0.2.1", &[]), "192.0.2.1");
        let two = Trust::Hops(2);
        assert_eq!(
            client_of(&two, "192.0.2.1", &["6.6.6.6, 203.0.113.7, 10.0.0.1"]),
            "203.0.113.7"
        );
        // One entry is missing: the request bypassed one proxy.
        assert_eq!(
            client_of(&two, "192.0.2.1", &["203.0.113.7"]),
            "203.0.113.7"
        );
    }

    #[test]
    fn trusted_networks_are_walked_until_the_first_other_address() {
        let trust = Trust::Networks(vec![
            "10.0.0.0/8".parse().unwrap(),
            "2001:db8::/32".parse().unwrap(),
        ]);
        let line = &["6.6.6.6, 203.0.113.7, 10.1.1.1, 2001:db8::5"];
        assert_eq!(client_of(&trust, "10.0.0.1", line), "203.0.113.7");
        assert_eq!(client_of(&trust, "::ffff:10.0.0.1", line), "203.0.113.7");
        assert_eq!(client_of(&trust, "198.51.100.9", line), "198.51.100.9");
        assert_eq!(
            client_of(&trust, "10.0.0.1", &["10.0.0.2, 10.0.0.3"]),
            "10.0.0.2"
        );
    }

    #[test]
    fn an_entry_that_is_not_an_address_ends_the_walk() {
        let trust = Trust::Hops(3);
        assert_eq!(
            client_of(&trust, "192.0.2.1", &["203.0.113.7, unknown, 10.0.0.1"]),
            "10.0.0.1"
        );
        assert_eq!(client_of(&trust, "192.0.2.1", &[","]), "192.0.2.1");
    }

    #[test]
    fn addresses_are_parsed_with_and_without_ports() {
        for (text, known) in [
            ("203.0.113.7:5000", "203.0.113.7"),
            ("[2001:db8::1]:443", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("2001:db8::1", "2001:db8::1"),
            (" 203.0.113.7 ", "203.0.113.7"),
        ] {
            assert_eq!(parse_address(text), Some(address(known)), "{text}");
        }
        for text in ["", "unknown", "[", "[::1", "1.2.3", "a:1", "_hidden"] {
            assert_eq!(parse_address(text), None, "{text}");
        }
    }
}
