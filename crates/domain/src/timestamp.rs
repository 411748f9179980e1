//! A point in time, in whole milliseconds of UTC, written as RFC 3339.

use serde::{Serialize, Serializer};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;

const RFC3339_MILLIS: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The last time that RFC 3339 can express: the end of the year 9999.
    pub const MAX: Self = Self(253_402_300_799_999);

    pub fn now() -> Self {
        let since_epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self::from_unix_millis(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
    }

    /// Returns the time at so many Unix milliseconds. A time beyond the year 9999 becomes [`Timestamp::MAX`].
    pub fn from_unix_millis(millis: u64) -> Self {
        Self(millis.min(Self::MAX.0))
    }

    pub fn as_unix_millis(self) -> u64 {
        self.0
    }

    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Self::from_unix_millis(self.0.saturating_add(millis))
    }

    /// Parses RFC 3339 with any offset. Digits finer than a millisecond are cut off, and a time before 1970 becomes
    /// 1970-01-01T00:00:00Z.
    pub fn from_rfc3339(text: &str) -> Option<Self> {
        let moment = OffsetDateTime::parse(text, &Rfc3339).ok()?;
        let millis = moment.unix_timestamp_nanos() / 1_000_000;
        Some(Self::from_unix_millis(u64::try_from(millis).unwrap_or(0)))
    }

    /// Returns the time as `2026-11-24T12:51:51.042Z`.
    pub fn to_rfc3339(self) -> String {
        let seconds = i64::try_from(self.0 / 1000).unwrap_or_default();
        let nanos = i64::try_from(self.0 % 1000).unwrap_or_default() * 1_000_000;
        OffsetDateTime::from_unix_timestamp(seconds)
            .map(|moment| moment + time::Duration::nanoseconds(nanos))
            .ok()
            .and_then(|moment| moment.format(RFC3339_MILLIS).ok())
            .unwrap_or_default()
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_rfc3339())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_is_written_as_rfc3339_with_milliseconds() {
        let moment = Timestamp::from_unix_millis(1_713_952_241_362);
        assert_eq!(moment.to_rfc3339(), "2024-04-24T09:50:41.362Z");
        assert_eq!(Timestamp::MAX.to_rfc3339(), "9999-12-31T23:59:59.999Z");
        assert_eq!(Timestamp::from_unix_millis(u64::MAX), Timestamp::MAX);
        for text in ["2024-04-24T09:50:41.362Z", "2024-04-24T11:50:41.3629+02:00"] {
            assert_eq!(Timestamp::from_rfc3339(text), Some(moment), "{text}");
        }
        for text in ["", "2024-04-24", "2024-04-24T09:50:41"] {
            assert_eq!(Timestamp::from_rfc3339(text), None, "{text}");
        }
        let long_ago = Timestamp::from_rfc3339("1522-04-09T05:04:29Z");
        assert_eq!(long_ago, Some(Timestamp::from_unix_millis(0)));
    }
}
