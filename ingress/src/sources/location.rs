//! The location of a script, and the allow-list of locations (`--source-allow`).

use super::unambiguous_path::is_unambiguous_path;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use url::{Host, Url};

/// Maximum length of a location, bytes.
const LOCATION_BYTES_MAX: usize = 2048;

/// The location of a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Location {
    /// `https://host/path`
    Https(Url),
    /// `s3://bucket/key` or `gs://bucket/key`
    Object {
        store: Store,
        bucket: String,
        key: object_store::path::Path,
    },
}

/// The provider of a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Store {
    S3,
    Gcs,
}

impl Store {
    fn scheme(self) -> &'static str {
        match self {
            Self::S3 => "s3",
            Self::Gcs => "gs",
        }
    }
}

/// A text is not a valid location.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum LocationError {
    #[error("it is longer than {LOCATION_BYTES_MAX} bytes")]
    TooLong,
    #[error("give `https://host/path`, `s3://bucket/key` or `gs://bucket/key`")]
    Scheme,
    #[error("it is no URL: {0}")]
    Url(#[from] url::ParseError),
    #[error("a name and a password may not stand in it")]
    Credentials,
    #[error("a bucket's name is 3 to 222 of `a-z`, `0-9`, `.`, `-` and `_`")]
    Bucket,
    #[error("the object's key is missing, or has an empty, `.` or `..` part")]
    Key,
}

impl FromStr for Location {
    type Err = LocationError;

    fn from_str(text: &str) -> Result<Self, LocationError> {
        if text.len() > LOCATION_BYTES_MAX {
            return Err(LocationError::TooLong);
        }
        for store in [Store::S3, Store::Gcs] {
            if let Some(rest) = text
                .strip_prefix(store.scheme())
                .and_then(|rest| rest.strip_prefix("://"))
            {
                return Self::object(store, rest);
            }
        }
        let url = Url::parse(text).map_err(|error| match error {
            url::ParseError::RelativeUrlWithoutBase => LocationError::Scheme,
            other => other.into(),
        })?;
        Self::https(url)
    }
}

impl Location {
    /// Parses the target of a redirect, which may be relative to `from`.
    pub(super) fn redirected(from: &Url, to: &str) -> Result<Self, LocationError> {
        if to.len() > LOCATION_BYTES_MAX {
            return Err(LocationError::TooLong);
        }
        Self::https(from.join(to)?)
    }

    fn https(mut url: Url) -> Result<Self, LocationError> {
        if url.scheme() != "https" || !url.has_host() {
            return Err(LocationError::Scheme);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(LocationError::Credentials);
        }
        url.set_fragment(None);
        Ok(Self::Https(url))
    }

    fn object(store: Store, rest: &str) -> Result<Self, LocationError> {
        let (bucket, key) = rest.split_once('/').ok_or(LocationError::Key)?;
        if !is_bucket(bucket) {
            return Err(LocationError::Bucket);
        }
        let is_whole = !key.is_empty() && !key.starts_with('/') && !key.ends_with('/');
        let key = object_store::path::Path::parse(key).ok();
        Ok(Self::Object {
            store,
            bucket: bucket.to_owned(),
            key: key.filter(|_| is_whole).ok_or(LocationError::Key)?,
        })
    }
}

impl fmt::Display for Location {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Https(url) => url.fmt(formatter),
            Self::Object { store, bucket, key } => {
                write!(formatter, "{}://{bucket}/{key}", store.scheme())
            }
        }
    }
}

/// Returns the host of a URL if the host is an IP address.
pub(super) fn literal_address(url: &Url) -> Option<IpAddr> {
    match url.host()? {
        Host::Domain(_) => None,
        Host::Ipv4(v4) => Some(v4.into()),
        Host::Ipv6(v6) => Some(v6.into()),
    }
}

fn is_bucket(text: &str) -> bool {
    (3..=222).contains(&text.len())
        && text
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_'))
        && text.starts_with(|first: char| first.is_ascii_alphanumeric())
}

/// An entry of the allow-list: a host or a bucket, with a path prefix: `https://example.org/scripts/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowed {
    origin: Origin,
    /// Begins and ends with `/`.
    prefix: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Origin {
    Host { host: String, port: u16 },
    Bucket { store: Store, bucket: String },
}

impl Allowed {
    pub(super) fn covers(&self, location: &Location) -> bool {
        match (&self.origin, location) {
            (Origin::Host { host, port }, Location::Https(url)) => {
                url.host_str() == Some(host)
                    && url.port_or_known_default() == Some(*port)
                    && url.path().starts_with(&self.prefix)
                    // A whole host has no path outside the prefix.
                    && (self.prefix == "/" || is_unambiguous_path(url.path()))
            }
            (
                Origin::Bucket { store, bucket },
                Location::Object {
                    store: other,
                    bucket: its,
                    key,
                },
            ) => store == other && bucket == its && format!("/{key}").starts_with(&self.prefix),
            _ => false,
        }
    }

    /// Returns the bucket, if the entry is one of this provider.
    pub(super) fn bucket_of(&self, requested: Store) -> Option<&str> {
        match &self.origin {
            Origin::Bucket { store, bucket } if *store == requested => Some(bucket),
            _ => None,
        }
    }
}

impl FromStr for Allowed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let why =
            |reason: &str| format!("{reason}; as https://example.org/scripts/ or s3://bucket");
        // Parses the location of an imaginary script `x` directly below the prefix.
        let below = format!("{}/x", text.trim_end_matches('/'));
        let location: Location = below
            .parse()
            .map_err(|error: LocationError| why(&error.to_string()))?;
        let (origin, path) = match &location {
            Location::Https(url) => {
                if url.query().is_some() {
                    return Err(why("a query cannot be allowed"));
                }
                if !is_unambiguous_path(url.path()) {
                    return Err(why(
                        "servers may read its path in several ways: write it without escapes of plain characters, `;` and empty parts",
                    ));
                }
                let origin = Origin::Host {
                    host: url.host_str().unwrap_or_default().to_owned(),
                    port: url.port_or_known_default().unwrap_or_default(),
                };
                (origin, url.path().to_owned())
            }
            Location::Object { store, bucket, key } => {
                let origin = Origin::Bucket {
                    store: *store,
                    bucket: bucket.clone(),
                };
                (origin, format!("/{key}"))
            }
        };
        Ok(Self {
            origin,
            prefix: path.trim_end_matches('x').to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covers(allowed: &str, location: &str) -> bool {
        let allowed: Allowed = allowed.parse().unwrap();
        allowed.covers(&location.parse().unwrap())
    }

    #[test]
    fn a_location_is_a_url_or_an_object_and_prints_itself() {
        for text in [
            "https://example.org/a/b.js",
            "https://example.org:8443/a?b=c",
            "s3://bucket-1/a/b.js",
            "gs://bucket_1/a b",
        ] {
            assert_eq!(text.parse::<Location>().unwrap().to_string(), text);
        }
        let with_fragment = "https://example.org/a#b".parse::<Location>().unwrap();
        assert_eq!(with_fragment.to_string(), "https://example.org/a");
    }

    #[test]
    fn an_invalid_location_is_rejected_with_a_reason() {
        for (text, why) in [
            ("http://example.org/a", LocationError::Scheme),
            ("file:///etc/passwd", LocationError::Scheme),
            ("a.js", LocationError::Scheme),
            ("data:text/javascript,1", LocationError::Scheme),
            ("https://a:b@example.org/a", LocationError::Credentials),
            ("https://a@example.org/a", LocationError::Credentials),
            ("s3://bucket", LocationError::Key),
            ("s3://bucket/", LocationError::Key),
            ("s3://bucket//a", LocationError::Key),
            ("s3://bucket/a/../b", LocationError::Key),
            ("s3://bucket@host/a", LocationError::Bucket),
            ("s3://../a", LocationError::Bucket),
            ("gs://Bucket/a", LocationError::Bucket),
        ] {
            assert_eq!(text.parse::<Location>(), Err(why), "{text}");
        }
        assert!("https://".parse::<Location>().is_err());
        let long = format!("https://example.org/{}", "a".repeat(3000));
        assert_eq!(long.parse::<Location>(), Err(LocationError::TooLong));
    }

    #[test]
    fn a_host_is_the_whole_host_and_a_prefix_ends_at_a_slash() {
        assert!(covers("https://example.org", "https://example.org/a"));
        assert!(covers("https://example.org", "https://EXAMPLE.org:443/a"));
        assert!(covers("https://example.org/s", "https://example.org/s/a"));
        assert!(covers("https://example.org", "https://example.org/a%2Fb"));
        assert!("https://example.org/a%2fb/".parse::<Allowed>().is_err());
        for other in [
            "https://example.org.evil.example/a",
            "https://evil.example/https://example.org/a",
            "https://a.example.org/a",
            "https://example.org:8443/a",
            "s3://example.org/a",
        ] {
            assert!(!covers("https://example.org", other), "{other}");
        }
        for other in [
            "https://example.org/st/a",
            "https://example.org/",
            "https://example.org/s",
            "https://example.org/s/../a",
            "https://example.org/s/%2e%2e/a",
            "https://example.org/s/..\\a",
            "https://example.org/s/..%2fa",
            "https://example.org/s/..;/a",
            "https://example.org/s/..%5ca",
            "https://example.org/s/%252e%252e/a",
            "https://example.org/s//a",
        ] {
            assert!(!covers("https://example.org/s", other), "{other}");
        }
    }

    #[test]
    fn a_bucket_is_of_one_store() {
        assert!(covers("s3://bucket", "s3://bucket/a"));
        assert!(covers("s3://bucket/a/", "s3://bucket/a/b"));
        assert!(!covers("s3://bucket/a", "s3://bucket/ab"));
        assert!(!covers("s3://bucket", "gs://bucket/a"));
        assert!(!covers("s3://bucket", "s3://bucket2/a"));
    }

    #[test]
    fn a_redirect_may_be_relative_but_stays_https() {
        let from = Url::parse("https://example.org/a/b").unwrap();
        let to = |text| Location::redirected(&from, text).map(|to| to.to_string());
        assert_eq!(to("c").unwrap(), "https://example.org/a/c");
        assert_eq!(to("//other/c").unwrap(), "https://other/c");
        assert_eq!(to("http://example.org/c"), Err(LocationError::Scheme));
        assert_eq!(to("file:///etc/passwd"), Err(LocationError::Scheme));
    }

    #[test]
    fn an_address_is_recognized_in_every_notation() {
        let literal = |text| literal_address(&Url::parse(text).unwrap());
        let loopback = Some("127.0.0.1".parse().unwrap());
        for text in [
            "https://127.0.0.1/",
            "https://2130706433/",
            "https://0x7f.1/",
            "https://0177.0.0.1/",
            "https://127.1/",
        ] {
            assert_eq!(literal(text), loopback, "{text}");
        }
        assert_eq!(literal("https://[::1]/"), Some("::1".parse().unwrap()));
        assert_eq!(literal("https://example.org/"), None);
    }
}
