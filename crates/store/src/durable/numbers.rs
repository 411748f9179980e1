//! Conversions between Rust's numbers and times and the BIGINT columns of the database.

use sandpiper_domain::Timestamp;
use std::time::Duration;

/// Converts to a BIGINT; a larger number becomes the largest one.
pub(super) fn as_i64(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn as_millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

pub(super) fn unix_millis(at: Timestamp) -> i64 {
    as_i64(at.as_unix_millis())
}

pub(super) fn timestamp(unix_millis: i64) -> Timestamp {
    Timestamp::from_unix_millis(u64::try_from(unix_millis).unwrap_or_default())
}
