//! Parses option values, and words the error of a value that does not parse.

use super::{GIB, KIB, MIB};
use crate::selftest;
use actix_web::http::Uri;
use actix_web::http::header::{self, HeaderName};
use sandpiper_domain::{Language, ScriptKind};
use std::net::{IpAddr, Ipv4Addr};

/// Parses an IP address or `localhost`.
pub(super) fn address(text: &str) -> Result<IpAddr, String> {
    if text == "localhost" {
        return Ok(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    text.parse()
        .map_err(|_| "give an IP address, such as 127.0.0.1, 0.0.0.0 or ::".to_owned())
}

/// Parses the name of the request header that identifies the client. Headers with a meaning in HTTP are rejected.
pub(super) fn client_header(text: &str) -> Result<HeaderName, String> {
    const OF_HTTP: [HeaderName; 9] = [
        header::CONNECTION,
        header::CONTENT_LENGTH,
        header::CONTENT_TYPE,
        header::EXPECT,
        header::HOST,
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
    ];
    text.parse()
        .ok()
        .filter(|name| !OF_HTTP.contains(name))
        .ok_or_else(|| {
            "give the name of a header that is free, such as sandpiper-client".to_owned()
        })
}

/// Parses a number from 0 to 1.
pub(super) fn ratio(text: &str) -> Result<f64, String> {
    let ratio = text.parse().ok();
    ratio
        .filter(|ratio| (0.0..=1.0).contains(ratio))
        .ok_or_else(|| "give a share from 0 to 1, such as 0.1".to_owned())
}

/// Parses an HTTP URL with a host.
pub(super) fn endpoint(text: &str) -> Result<String, String> {
    let url = text.parse::<Uri>().ok();
    let is_http = |url: &Uri| matches!(url.scheme_str(), Some("http" | "https"));
    url.filter(|url| is_http(url) && url.host().is_some_and(|host| !host.is_empty()))
        .map(|_| text.to_owned())
        .ok_or_else(|| "give a URL, such as http://127.0.0.1:4318".to_owned())
}

/// Parses a kind of script.
pub(super) fn kind(text: &str) -> Result<ScriptKind, String> {
    let kinds = ScriptKind::ALL;
    let kind = kinds.into_iter().find(|kind| kind.as_str() == text);
    kind.ok_or_else(|| "give script, function or module".to_owned())
}

/// Parses a language of scripts.
pub(super) fn language(text: &str) -> Result<Language, String> {
    let languages = Language::ALL;
    let language = languages
        .into_iter()
        .find(|language| language.as_str() == text);
    language.ok_or_else(|| "give javascript or typescript".to_owned())
}

/// Parses a 64-bit integer, signed or unsigned, as requests do.
pub(super) fn seed(text: &str) -> Result<u64, String> {
    let signed = || text.parse().map(i64::cast_unsigned);
    text.parse()
        .or_else(|_| signed())
        .map_err(|_| "give a whole number of 64 bits".to_owned())
}

/// Parses the name of a class of selftest scripts.
pub(super) fn class(name: &str) -> Result<String, String> {
    let known: Vec<&str> = selftest::classes().collect();
    if known.contains(&name) {
        return Ok(name.to_owned());
    }
    Err(format!("give one of {}", known.join(", ")))
}

/// Returns a parser of sizes such as `33554432`, `32MiB`, `64KiB` or `1GiB`.
pub(super) fn bytes(
    least: u64,
    most: u64,
) -> impl Fn(&str) -> Result<u64, String> + Clone + Send + Sync {
    move |text| {
        let (digits, unit) = [("KiB", KIB), ("MiB", MIB), ("GiB", GIB)]
            .into_iter()
            .find_map(|(suffix, unit)| text.strip_suffix(suffix).map(|digits| (digits, unit)))
            .unwrap_or((text, 1));
        digits
            .trim_end()
            .parse::<u64>()
            .ok()
            .and_then(|count| count.checked_mul(unit))
            .filter(|bytes| (least..=most).contains(bytes))
            .ok_or_else(|| {
                format!("give {least} to {most} bytes, as a number or with KiB, MiB or GiB")
            })
    }
}
