//! The origin of a browser's request: the defence against cross-site request forgery (CSRF).
//!
//! Browsers send the page's origin in `Origin` and its relation to the host in `Sec-Fetch-Site`. No page can change
//! these headers. Other clients send neither, and are not checked.

use crate::authority::Authority;
use crate::hosts::{forwarded, sanitized};
use actix_web::http::Uri;
use actix_web::http::header::{HOST, HeaderMap, HeaderName, ORIGIN};

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CrossOrigin {
    #[error("the origin `{0}` is neither that of this address nor listed")]
    Origin(String),
    #[error("`Sec-Fetch-Site` says that another site sends the request")]
    FetchSite,
}

/// Rejects a request that a page of another origin makes a browser send.
///
/// The own origins are those of the target's authority, of `Host`, and of `X-Forwarded-Host` if the peer is a trusted
/// proxy. Host and port are compared. The scheme counts only by its default port, because the browser's scheme is
/// unknown behind a proxy that terminates TLS. An own origin is rejected if `Sec-Fetch-Site` contradicts it.
///
/// # Errors
///
/// The origin is `null`, unreadable, repeated, or neither own nor in `listed`; or there is no origin, and
/// `Sec-Fetch-Site` is neither `same-origin` nor `none`.
pub fn check(
    target: &Uri,
    headers: &HeaderMap,
    is_proxy_trusted: bool,
    listed: &[String],
) -> Result<(), CrossOrigin> {
    let is_own_site = headers.get_all(FETCH_SITE).all(|site| {
        let site = site.as_bytes();
        site.eq_ignore_ascii_case(b"same-origin") || site.eq_ignore_ascii_case(b"none")
    });
    let mut origins = headers.get_all(ORIGIN);
    let Some(origin) = origins.next() else {
        return is_own_site.then_some(()).ok_or(CrossOrigin::FetchSite);
    };
    let origin = origin.to_str().unwrap_or("?");
    let is_single = origins.next().is_none();
    let is_own = || is_own_site && is_own_origin(origin, target, headers, is_proxy_trusted);
    if is_single && (is_listed(origin, listed) || is_own()) {
        return Ok(());
    }
    Err(CrossOrigin::Origin(sanitized(origin)))
}

pub fn is_listed(origin: &str, listed: &[String]) -> bool {
    listed
        .iter()
        .any(|allowed| allowed.eq_ignore_ascii_case(origin))
}

fn is_own_origin(origin: &str, target: &Uri, headers: &HeaderMap, is_proxy_trusted: bool) -> bool {
    let Some(origin) = Origin::parse(origin) else {
        return false;
    };
    let named = match target.authority() {
        Some(authority) => Some(authority.as_str()),
        None => headers.get(HOST).and_then(|host| host.to_str().ok()),
    };
    named.is_some_and(|host| origin.is_of(host))
        || (is_proxy_trusted && forwarded(headers).any(|host| origin.is_of(host)))
}

/// An origin with the scheme `http` or `https`.
struct Origin<'a> {
    authority: Authority<'a>,
    default_port: u16,
}

impl<'a> Origin<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let (scheme, authority) = text.split_once("://")?;
        let default_port = match scheme {
            _ if scheme.eq_ignore_ascii_case("http") => 80,
            _ if scheme.eq_ignore_ascii_case("https") => 443,
            _ => return None,
        };
        Some(Self {
            authority: Authority::parse(authority)?,
            default_port,
        })
    }

    fn is_of(&self, host: &str) -> bool {
        let Some(own) = Authority::parse(host) else {
            return false;
        };
        let port = |authority: &Authority<'_>| authority.port.unwrap_or(self.default_port);
        self.authority.is_same_host(&own) && port(&self.authority) == port(&own)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::http::header::HeaderValue;

    fn checked(lines: &[(&'static str, &str)], trusted: bool) -> Result<(), CrossOrigin> {
        let lines = lines.iter().map(|(name, value)| {
            let name = HeaderName::from_static(name);
            (name, HeaderValue::from_str(value).unwrap())
        });
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(name, value);
        }
        let listed = ["https://app.example.org".to_owned()];
        check(&"/api/execute".parse().unwrap(), &headers, trusted, &listed)
    }

    fn from(host: &str, origin: &str) -> bool {
        checked(&[("host", host), ("origin", origin)], false).is_ok()
    }

    #[test]
    fn an_own_page_is_allowed_behind_any_tls_proxy() {
        for (host, origin) in [
            ("localhost:8080", "http://localhost:8080"),
            ("127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("[::1]:8080", "http://[::1]:8080"),
            ("a.example", "https://a.example"),
            ("a.example", "http://a.example"),
            ("A.example:443", "https://a.example"),
            ("a.example:8443", "https://a.example:8443"),
        ] {
            assert!(from(host, origin), "{host} {origin}");
        }
    }

    #[test]
    fn every_other_page_is_rejected() {
        for (host, origin) in [
            ("localhost:8080", "http://localhost:8081"),
            ("localhost:8080", "http://localhost"),
            ("localhost:8080", "http://127.0.0.1:8080"),
            ("localhost:8080", "null"),
            ("localhost:8080", ""),
            ("localhost:8080", "localhost:8080"),
            ("localhost:8080", "file://localhost:8080"),
            ("localhost:8080", "chrome-extension://localhost:8080"),
            ("localhost:8080", "http://localhost:8080/"),
            ("localhost:8080", "http://x@localhost:8080"),
            ("localhost:8080", "http://localhost:8080 http://evil.test"),
            ("a.example", "https://a.example:8443"),
            ("a.example:8443", "https://a.example"),
            ("a.example:80", "https://a.example"),
            ("a.example", "https://b.a.example"),
            ("a.example", "https://example"),
        ] {
            assert!(!from(host, origin), "{host} {origin}");
        }
        let twice = [
            ("host", "a.example"),
            ("origin", "https://a.example"),
            ("origin", "https://a.example"),
        ];
        assert!(checked(&twice, false).is_err());
        assert!(checked(&[("origin", "http://a.example")], false).is_err());
    }

    #[test]
    fn listed_origins_are_allowed() {
        assert!(from("localhost:8080", "https://app.example.org"));
        assert!(!from("localhost:8080", "https://app.example.org:8443"));
        assert!(!from("localhost:8080", "http://app.example.org"));
    }

    #[test]
    fn without_an_origin_sec_fetch_site_counts() {
        let site = |site: &str| checked(&[("host", "a"), ("sec-fetch-site", site)], false).is_ok();
        assert!(checked(&[("host", "a")], false).is_ok());
        assert!(site("same-origin") && site("none"));
        for foreign in ["cross-site", "same-site", "Cross-Site", "anything", ""] {
            assert!(!site(foreign), "{foreign}");
        }
    }

    #[test]
    fn an_own_origin_that_sec_fetch_site_contradicts_is_rejected() {
        let lines = [
            ("host", "a.example"),
            ("origin", "http://a.example"),
            ("sec-fetch-site", "cross-site"),
        ];
        assert!(checked(&lines, false).is_err());
    }

    #[test]
    fn only_a_trusted_proxy_may_forward_the_host() {
        let lines = [
            ("host", "127.0.0.1:8080"),
            ("x-forwarded-host", "a.example"),
            ("origin", "https://a.example"),
        ];
        assert!(checked(&lines, true).is_ok());
        assert!(checked(&lines, false).is_err());
    }
}
