//! The hosts that a program serves while it requires no key: the defence against DNS rebinding.
//!
//! A page can make its own name resolve to any address, and then has the same origin as the server at that address. Its
//! requests still carry the page's name in `Host`. IP addresses cannot be rebound, so they are always allowed, and so
//! is `localhost`, which no public name server resolves. `*.localhost` is allowed only if it is listed: some resolvers
//! ask the network for it.

use crate::authority::{Authority, is_name_byte, without_final_dot};
use actix_web::http::Uri;
use actix_web::http::header::{HOST, HeaderMap, HeaderName};
use std::str::FromStr;

const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
/// Maximum length of client text in an error message, characters.
const SANITIZED_MAX: usize = 100;

/// One entry of `--allowed-hosts`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AllowedHost {
    /// `*`: every host, and requests without a host.
    Any,
    /// A name, in lower case and without a port.
    Name(String),
}

impl FromStr for AllowedHost {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let name = without_final_dot(text);
        if name.is_empty() || !name.bytes().all(is_name_byte) {
            return Err(
                "give a host name without a port, as sandpiper.example.org, or * for every host",
            );
        }
        Ok(Self::Name(name.to_ascii_lowercase()))
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllowedHosts(Vec<AllowedHost>);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{request}; `localhost`, an IP address and the names in --allowed-hosts are answered here")]
pub struct HostNotAllowed {
    request: String,
}

impl AllowedHosts {
    /// Allows these hosts in addition to `localhost` and IP addresses.
    pub fn new(entries: Vec<AllowedHost>) -> Self {
        Self(entries)
    }

    /// Checks every host that a request names: the authority of its target, `Host`, and `X-Forwarded-Host` where the
    /// peer is a trusted proxy. All of them must be allowed, since a client may rely on any of them.
    ///
    /// # Errors
    ///
    /// The first host that is not allowed. A request without a host is rejected too.
    pub fn check(
        &self,
        target: &Uri,
        headers: &HeaderMap,
        is_proxy_trusted: bool,
    ) -> Result<(), HostNotAllowed> {
        if self.0.contains(&AllowedHost::Any) {
            return Ok(());
        }
        let mut is_named = false;
        let mut check = |named: &str| {
            is_named = true;
            if self.allows(named) {
                return Ok(());
            }
            let request = format!("the request is for the host `{}`", sanitized(named));
            Err(HostNotAllowed { request })
        };
        if let Some(authority) = target.authority() {
            check(authority.as_str())?;
        }
        for host in headers.get_all(HOST) {
            check(host.to_str().unwrap_or("?"))?;
        }
        if is_proxy_trusted {
            for host in forwarded(headers) {
                check(host)?;
            }
        }
        if is_named {
            return Ok(());
        }
        let request = "the request names no host in `Host`".to_owned();
        Err(HostNotAllowed { request })
    }

    fn allows(&self, named: &str) -> bool {
        let Some(authority) = Authority::parse(named) else {
            return false;
        };
        if authority.address.is_some() {
            return true;
        }
        let name = without_final_dot(authority.host);
        name.eq_ignore_ascii_case("localhost")
            || self.0.iter().any(|entry| match entry {
                AllowedHost::Any => true,
                AllowedHost::Name(allowed) => name.eq_ignore_ascii_case(allowed),
            })
    }
}

/// Returns the entries of all `X-Forwarded-Host` headers. A header that is not text counts as an invalid name.
pub(crate) fn forwarded(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers
        .get_all(FORWARDED_HOST)
        .flat_map(|line| line.to_str().unwrap_or("?").split(','))
        .map(str::trim)
}

/// Returns client text with control characters and backquotes replaced, shortened for an error message.
pub(crate) fn sanitized(text: &str) -> String {
    let printable = |character: char| match character {
        '`' | '\u{fffd}' => '?',
        _ if character.is_control() => '?',
        _ => character,
    };
    text.chars().take(SANITIZED_MAX).map(printable).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::http::header::HeaderValue;

    fn hosts(entries: &[&str]) -> AllowedHosts {
        AllowedHosts::new(entries.iter().map(|entry| entry.parse().unwrap()).collect())
    }

    fn check(allowed: &AllowedHosts, target: &str, host: Option<&str>) -> bool {
        let mut headers = HeaderMap::new();
        if let Some(host) = host {
            headers.insert(HOST, HeaderValue::from_str(host).unwrap());
        }
        allowed
            .check(&target.parse().unwrap(), &headers, false)
            .is_ok()
    }

    #[test]
    fn localhost_and_addresses_are_allowed_and_names_are_not() {
        let none = hosts(&[]);
        for host in [
            "localhost",
            "LOCALHOST:8080",
            "localhost.",
            "127.0.0.1:1",
            "10.1.2.3",
            "[::1]:8080",
            "[fd00::1]",
        ] {
            assert!(check(&none, "/api", Some(host)), "{host}");
        }
        for host in [
            "evil.test",
            "evil.test:8080",
            "a.localhost",
            "localhost.evil.test",
            "127.0.0.1.evil.test",
            "127.0.0.1@evil.test",
            "evil.test@127.0.0.1",
            "localhost, evil.test",
            "2130706433",
            "0x7f000001",
            "",
            ":80",
            "localhost:x",
            "[::1].evil.test",
        ] {
            assert!(!check(&none, "/api", Some(host)), "{host}");
        }
        assert!(!check(&none, "/api", None));
    }

    #[test]
    fn listed_names_are_allowed_and_their_neighbours_are_not() {
        let listed = hosts(&["Service", "sandpiper.example.org"]);
        assert!(check(&listed, "/api", Some("service:8081")));
        assert!(check(&listed, "/api", Some("SANDPIPER.example.org.")));
        assert!(!check(&listed, "/api", Some("x.sandpiper.example.org")));
        assert!(!check(&listed, "/api", Some("example.org")));
        let any = hosts(&["*"]);
        assert!(check(&any, "/api", Some("evil.test")));
        assert!(check(&any, "/api", None));
    }

    #[test]
    fn the_authority_of_a_target_counts_and_so_does_host_beside_it() {
        let none = hosts(&[]);
        assert!(check(&none, "http://localhost/api", Some("localhost")));
        assert!(!check(&none, "http://evil.test/api", Some("localhost")));
        assert!(!check(&none, "http://localhost/api", Some("evil.test")));
        assert!(check(&none, "http://localhost/api", None));
    }

    #[test]
    fn the_host_that_a_trusted_proxy_forwards_counts() {
        let none = hosts(&[]);
        let target = "/api".parse().unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_static("127.0.0.1:8080"));
        headers.insert(
            FORWARDED_HOST,
            HeaderValue::from_static("localhost, evil.test"),
        );
        assert!(none.check(&target, &headers, false).is_ok());
        assert!(none.check(&target, &headers, true).is_err());
    }

    #[test]
    fn the_error_names_the_option_and_the_host() {
        let none = hosts(&[]);
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_static("evil.test"));
        let target = "/api".parse().unwrap();
        let said = none
            .check(&target, &headers, false)
            .unwrap_err()
            .to_string();
        assert!(
            said.contains("--allowed-hosts") && said.contains("`evil.test`"),
            "{said}"
        );
    }

    #[test]
    fn a_name_with_one_character_more_is_another_name() {
        let none = hosts(&[]);
        let name = "localhost";
        for place in 0..=name.len() {
            for byte in 0x20..0x7f_u8 {
                let more = char::from(byte);
                let host = format!("{}{more}{}", &name[..place], &name[place..]);
                let is_same = place == name.len() && matches!(more, '.' | ':');
                assert_eq!(none.allows(&host), is_same, "{host}");
            }
        }
        // A letter turns an address into a name.
        let address = "127.0.0.1";
        for place in 0..=address.len() {
            for letter in "aAxX-_".chars() {
                let host = format!("{}{letter}{}", &address[..place], &address[place..]);
                assert!(!none.allows(&host), "{host}");
            }
        }
    }

    #[test]
    fn an_invalid_name_is_no_entry() {
        for text in ["", ".", "a:80", "http://a", "a b", "*.a", "a/b"] {
            assert!(text.parse::<AllowedHost>().is_err(), "{text}");
        }
    }
}
