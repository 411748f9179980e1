//! Parsers of option values, with the error texts for invalid ones.

use crate::keys::commands::Setting;
use crate::timestamp::Timestamp;
use bytesize::ByteSize;
use clap::builder::RangedU64ValueParser;
use hyper::http::uri::Authority;
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU32;
use std::time::Duration;

const DAY: Duration = Duration::from_hours(24);
/// Maximum time from now to the expiry of a key: a hundred years.
const EXPIRY_DAYS_MAX: u32 = 36_525;
/// Maximum time for which the old secret of a rotated key stays valid, days.
const OVERLAP_DAYS_MAX: u32 = 90;

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

/// Parses a time in the future: RFC 3339, or a duration from now.
pub(super) fn expiry(text: &str) -> Result<Timestamp, String> {
    let most = DAY * EXPIRY_DAYS_MAX;
    let expiry = match duration(text) {
        Some(duration) if duration > most => None,
        Some(duration) => Some(Timestamp::now().plus(duration)),
        None => text.parse().ok(),
    };
    let expiry = expiry.ok_or_else(|| {
        format!(
            "give a time such as 2027-01-31T00:00:00Z, or a duration from now such as 90d, 12h or 30m, up to {EXPIRY_DAYS_MAX}d"
        )
    })?;
    if expiry.has_passed() {
        return Err(format!(
            "{expiry} is in the past; give a later time, or a duration from now such as 90d"
        ));
    }
    Ok(expiry)
}

/// Parses the time for which two secrets of a key are valid.
pub(super) fn overlap(text: &str) -> Result<Duration, String> {
    let most = DAY * OVERLAP_DAYS_MAX;
    let overlap = duration(text).filter(|overlap| !overlap.is_zero() && *overlap <= most);
    overlap.ok_or_else(|| {
        format!("give a duration such as 30m, 1h or 7d, from 1s to {OVERLAP_DAYS_MAX}d")
    })
}

/// Parses `none`, or a value with another parser.
pub(super) fn or_none<T: 'static>(
    parse: impl Fn(&str) -> Result<T, String> + Clone + Send + Sync + 'static,
) -> impl Fn(&str) -> Result<Setting<T>, String> + Clone + Send + Sync + 'static {
    move |text| match text {
        "none" => Ok(Setting::Removed),
        text => parse(text)
            .map(Setting::To)
            .map_err(|error| format!("{error}; or none")),
    }
}

/// Parses a maximum of open requests.
pub(super) fn requests(text: &str) -> Result<u32, String> {
    let count = text.parse().ok().filter(|count| *count > 0);
    count.ok_or_else(|| format!("give 1 to {}", u32::MAX))
}

/// Parses `45s`, `30m`, `12h` or `90d`.
fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let unit = match unit {
        "s" => Duration::from_secs(1),
        "m" => Duration::from_mins(1),
        "h" => Duration::from_hours(1),
        "d" => DAY,
        _ => return None,
    };
    let is_digits = number.bytes().all(|byte| byte.is_ascii_digit());
    unit.checked_mul(number.parse().ok().filter(|_| is_digits)?)
}

/// Parses a text of the keys file that people read: one line of 1 to `most` characters.
pub(super) fn text_for_people(
    most: usize,
) -> impl Fn(&str) -> Result<String, String> + Clone + Send + Sync {
    move |text| {
        let is_right = (1..=most).contains(&text.chars().count());
        if is_right && !text.chars().any(char::is_control) {
            return Ok(text.to_owned());
        }
        Err(format!(
            "give 1 to {most} characters without control characters"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_a_number_with_a_unit() {
        for (text, seconds) in [
            ("45s", 45),
            ("30m", 1800),
            ("12h", 43_200),
            ("90d", 7_776_000),
        ] {
            assert_eq!(duration(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        for text in [
            "",
            "d",
            "90",
            "90w",
            "1.5h",
            "-1d",
            "+1d",
            "1é",
            "99999999999d",
        ] {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    #[test]
    fn an_expiry_is_in_the_future_and_bounded() {
        let in_an_hour = Timestamp::now().plus(Duration::from_hours(1));
        assert_eq!(expiry(&in_an_hour.to_string()), Ok(in_an_hour));
        let later = expiry("90d").unwrap();
        assert!(later > Timestamp::now().plus(DAY * 89));
        for (text, said) in [
            ("0s", "is in the past"),
            (
                "2020-01-01T00:00:00Z",
                "2020-01-01T00:00:00Z is in the past",
            ),
            ("36526d", "up to 36525d"),
            ("tomorrow", "2027-01-31T00:00:00Z"),
        ] {
            let error = expiry(text).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }

    #[test]
    fn an_overlap_has_bounds() {
        assert_eq!(overlap("1h"), Ok(Duration::from_hours(1)));
        for text in ["0s", "91d", "soon"] {
            assert!(
                overlap(text).unwrap_err().contains("from 1s to 90d"),
                "{text}"
            );
        }
    }
}
