//! Parsers of option values, with the error texts for invalid ones.

use bytesize::ByteSize;
use clap::builder::RangedU64ValueParser;
use hyper::http::uri::Authority;
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU32;

pub(super) fn range(least: u64, most: u64) -> RangedU64ValueParser<u64> {
    RangedU64ValueParser::new().range(least..=most)
}

/// Parses `8192`, `8KiB` or `2MiB`.
pub(super) fn bytes(
    least: u64,
    most: u64,
) -> impl Fn(&str) -> Result<ByteSize, String> + Clone + Send + Sync {
    move |text| {
        let bytes: Option<ByteSize> = text.parse().ok();
        bytes
            .filter(|bytes| (least..=most).contains(&bytes.as_u64()))
            .ok_or_else(|| {
                format!("give {least} to {most} bytes, as a number or with KiB, MiB or GiB")
            })
    }
}

/// Parses a number of clients, up to the 65,536 clients of a /48 network.
pub(super) fn network_clients(text: &str) -> Result<NonZeroU32, String> {
    const MOST: u32 = 1 << 16;
    let count: Option<NonZeroU32> = text.parse().ok();
    count
        .filter(|count| count.get() <= MOST)
        .ok_or_else(|| format!("give 1 to {MOST}"))
}

/// Parses a number of proxies. More than ten in a row is a mistake.
pub(super) fn hops(text: &str) -> Result<usize, String> {
    const MOST: usize = 10;
    let hops = text.parse().ok().filter(|hops| *hops <= MOST);
    hops.ok_or_else(|| format!("give 0 to {MOST}"))
}

/// Parses an IP address, or `localhost`.
pub(super) fn address(text: &str) -> Result<IpAddr, String> {
    if text == "localhost" {
        return Ok(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    text.parse()
        .map_err(|_| "give an IP address, such as 127.0.0.1, 0.0.0.0 or ::".to_owned())
}

/// Parses a scheme and an authority, without a path: browsers compare origins as text.
pub(super) fn origin(text: &str) -> Result<String, String> {
    let is_origin = ["https://", "http://"].iter().any(|scheme| {
        text.strip_prefix(scheme)
            .is_some_and(|host| host.parse::<Authority>().is_ok() && !host.contains('@'))
    });
    if is_origin {
        return Ok(text.to_owned());
    }
    Err("give an origin, such as https://example.org or http://localhost:3000".to_owned())
}
