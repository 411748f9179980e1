//! Who is asking: the peer, or whoever a trusted proxy in front says it is.
//!
//! `X-Forwarded-For` is the client's own to write; only what a trusted proxy has added at its end counts. Everything else
//! here knows a client as a [`Client`], never as an address.

use actix_web::http::header::{HeaderMap, HeaderName};
use ipnet::IpNet;
use std::fmt;
use std::net::IpAddr;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// A client as limits know it: an IPv4 address, or the /64 of an IPv6 address, all of which one host can choose from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Client(u64);

/// Above every IPv4 address, in a block of IPv6 that nobody is given.
const IPV4: u64 = 1 << 32;

impl Client {
    /// The client at this address.
    #[must_use]
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

/// The /48 of an IPv6 address: what one customer of a provider is commonly given, with 65,536 clients in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Network(u64);

impl Client {
    /// The network of this client; `None` for an IPv4 address, of which there are few.
    #[must_use]
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

/// Which part of `X-Forwarded-For` is believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// None of it: the peer is the client.
    Nobody,
    /// So many proxies stand in front, each of which adds the address of whoever it was asked by.
    Hops(usize),
    /// Proxies at these addresses do so.
    Networks(Vec<IpNet>),
}

impl Trust {
    /// The address of the client that is behind `peer`.
    ///
    /// Where a trusted proxy says nothing, or what it says is no address, the last address that is known stands: it is
    /// better to limit too many together than to believe anybody.
    #[must_use]
    pub fn client_address(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut known = peer;
        let mut hops_left = match self {
            Self::Nobody => return peer,
            Self::Hops(hops) => *hops,
            Self::Networks(_) => usize::MAX,
        };
        let mut forwarded = forwarded_from_the_end(headers);
        while hops_left > 0 && self.believes(known) {
            let Some(address) = forwarded.next().and_then(parse_address) else {
                break;
            };
            known = address;
            hops_left -= 1;
        }
        known
    }

    /// Returns true if what a peer at this address forwards is believed.
    #[must_use]
    pub fn believes(&self, address: IpAddr) -> bool {
        match self {
            Self::Nobody => false,
            Self::Hops(_) => true,
            Self::Networks(networks) => {
                let address = address.to_canonical();
                networks.iter().any(|network| network.contains(&address))
            }
        }
    }
}

/// The addresses of `X-Forwarded-For`, the last first: however many lines of the header there are, they are one list.
fn forwarded_from_the_end(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lines: Vec<&str> = headers
        .get_all(FORWARDED_FOR)
        // A line that is no text is an address that cannot be read.
        .map(|line| line.to_str().unwrap_or_default())
        .collect();
    lines.into_iter().rev().flat_map(|line| line.rsplit(','))
}

/// `203.0.113.7`, `203.0.113.7:5000`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:5000`.
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
    fn a_host_is_one_client_whichever_address_of_its_network_it_takes() {
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
    fn without_trust_what_is_forwarded_is_not_believed() {
        assert_eq!(
            client_of(&Trust::Nobody, "192.0.2.1", &["203.0.113.7"]),
            "192.0.2.1"
        );
    }

    #[test]
    fn a_trusted_hop_is_believed_in_what_it_added_and_no_further() {
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
        // Fewer than there should be: whoever asked came past one of them.
        assert_eq!(
            client_of(&two, "192.0.2.1", &["203.0.113.7"]),
            "203.0.113.7"
        );
    }

    #[test]
    fn trusted_networks_are_walked_until_the_first_stranger() {
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
    fn what_is_no_address_ends_the_walk() {
        let trust = Trust::Hops(3);
        assert_eq!(
            client_of(&trust, "192.0.2.1", &["203.0.113.7, unknown, 10.0.0.1"]),
            "10.0.0.1"
        );
        assert_eq!(client_of(&trust, "192.0.2.1", &[","]), "192.0.2.1");
    }

    #[test]
    fn addresses_come_with_and_without_ports() {
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
