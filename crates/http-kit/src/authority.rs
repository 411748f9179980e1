//! The authority of a request: `host`, `host:port`, `[v6]`, `[v6]:port`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Authority<'a> {
    /// The name or the address as written; an IPv6 address without its brackets.
    pub host: &'a str,
    /// The address, if the host is one.
    pub address: Option<IpAddr>,
    pub port: Option<u16>,
}

impl<'a> Authority<'a> {
    /// Parses the value of a `Host` header. Returns `None` for user information, zones, spaces and any other text.
    pub fn parse(text: &'a str) -> Option<Self> {
        if let Some(rest) = text.strip_prefix('[') {
            let (host, rest) = rest.split_once(']')?;
            let port = match rest {
                "" => None,
                _ => parse_port(rest.strip_prefix(':')?)?,
            };
            let address: Ipv6Addr = host.parse().ok()?;
            return Some(Self {
                host,
                address: Some(address.into()),
                port,
            });
        }
        let (host, port) = match text.split_once(':') {
            None => (text, None),
            Some((host, port)) => (host, parse_port(port)?),
        };
        let is_name = !host.is_empty() && host.bytes().all(is_name_byte);
        is_name.then(|| Self {
            host,
            address: host.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
            port,
        })
    }

    /// Returns true if both name the same host. Names are compared without case and without a final dot.
    pub fn is_same_host(&self, other: &Self) -> bool {
        match (self.address, other.address) {
            (Some(one), Some(another)) => one == another,
            (None, None) => {
                without_final_dot(self.host).eq_ignore_ascii_case(without_final_dot(other.host))
            }
            _ => false,
        }
    }
}

pub(crate) fn without_final_dot(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

pub(crate) fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_')
}

/// Parses the text after the colon. An empty text is valid and means no port.
fn parse_port(text: &str) -> Option<Option<u16>> {
    if text.is_empty() {
        return Some(None);
    }
    let is_digits = text.bytes().all(|byte| byte.is_ascii_digit());
    is_digits.then(|| text.parse().ok()).flatten().map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports_are_parsed_and_other_text_is_rejected() {
        let read = |text: &'static str| {
            Authority::parse(text).map(|found| (found.host, found.address.is_some(), found.port))
        };
        assert_eq!(read("localhost"), Some(("localhost", false, None)));
        assert_eq!(
            read("a_b.example:80"),
            Some(("a_b.example", false, Some(80)))
        );
        assert_eq!(
            read("127.0.0.1:8080"),
            Some(("127.0.0.1", true, Some(8080)))
        );
        assert_eq!(read("[::1]"), Some(("::1", true, None)));
        assert_eq!(read("[::1]:1"), Some(("::1", true, Some(1))));
        assert_eq!(read("host:"), Some(("host", false, None)));
        for text in [
            "",
            ":80",
            "a b",
            "a@b",
            "a:b",
            "a:-1",
            "a:+1",
            "a:65536",
            "a:1:2",
            "::1",
            "[::1",
            "[::1]x",
            "[x]",
            "[127.0.0.1]",
            "[fe80::1%eth0]",
            "a/b",
            "a,b",
            "ä",
            "a\\b",
            "%6cocalhost",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn a_number_that_is_not_a_dotted_address_is_a_name() {
        for text in ["2130706433", "0x7f.1", "127.1", "0177.0.0.1"] {
            assert_eq!(Authority::parse(text).unwrap().address, None, "{text}");
        }
    }

    #[test]
    fn hosts_are_compared_without_case() {
        let same = |one: &str, another: &str| {
            Authority::parse(one)
                .unwrap()
                .is_same_host(&Authority::parse(another).unwrap())
        };
        assert!(same("Example.org", "example.ORG.:80"));
        assert!(same("[::1]", "[0:0::1]"));
        assert!(!same("example.org", "example.com"));
        assert!(!same("127.0.0.1", "127.0.0.2"));
    }
}
