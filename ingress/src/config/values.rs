//! How the text of an option becomes its value, and what is said when it does not.

use actix_web::http::uri::Authority;
use bytesize::ByteSize;
use clap::builder::RangedU64ValueParser;
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU32;

pub(super) fn range(least: u64, most: u64) -> RangedU64ValueParser<u64> {
    RangedU64ValueParser::new().range(least..=most)
}

pub(super) const KIB: u64 = bytesize::KIB;
pub(super) const MIB: u64 = bytesize::MIB;
pub(super) const GIB: u64 = bytesize::GIB;

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

/// A /48 has 65,536 clients.
pub(super) fn network_clients(text: &str) -> Result<NonZeroU32, String> {
    const MOST: u32 = 1 << 16;
    let count: Option<NonZeroU32> = text.parse().ok();
    count
        .filter(|count| count.get() <= MOST)
        .ok_or_else(|| format!("give 1 to {MOST}"))
}

/// More than a few proxies in a row is a mistake.
pub(super) fn hops(text: &str) -> Result<usize, String> {
    const MOST: usize = 10;
    let hops = text.parse().ok().filter(|hops| *hops <= MOST);
    hops.ok_or_else(|| format!("give 0 to {MOST}"))
}

/// An IP address, or `localhost`.
pub(super) fn address(text: &str) -> Result<IpAddr, String> {
    if text == "localhost" {
        return Ok(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    text.parse()
        .map_err(|_| "give an IP address, as 127.0.0.1, 0.0.0.0 or ::".to_owned())
}

/// A scheme and a host, and nothing else: browsers compare the text.
pub(super) fn origin(text: &str) -> Result<String, String> {
    let is_origin = ["https://", "http://"].iter().any(|scheme| {
        text.strip_prefix(scheme)
            .is_some_and(|host| host.parse::<Authority>().is_ok() && !host.contains('@'))
    });
    if is_origin {
        return Ok(text.to_owned());
    }
    Err("give an origin, as https://example.org or http://localhost:3000".to_owned())
}
