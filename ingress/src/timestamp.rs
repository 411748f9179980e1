//! Points in time of UTC, written as RFC 3339: whole seconds for the keys file, milliseconds for the audit log.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use tokio::time::sleep;

const RFC3339_MILLIS: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

/// Returns the time as `2026-11-24T12:51:51.042Z`.
pub(crate) fn with_millis(moment: SystemTime) -> String {
    OffsetDateTime::from(moment)
        .format(RFC3339_MILLIS)
        .unwrap_or_default()
}

/// Seconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The last second that RFC 3339 can express: the end of the year 9999.
    const MAX: Self = Self(253_402_300_799);

    pub fn now() -> Self {
        Self::from_unix_seconds(since_1970().as_secs())
    }

    /// Returns the time at so many Unix seconds. A time beyond the year 9999 becomes the end of that year.
    pub(crate) fn from_unix_seconds(seconds: u64) -> Self {
        Self(seconds.min(Self::MAX.0))
    }

    pub(crate) fn as_unix_seconds(self) -> u64 {
        self.0
    }

    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self::from_unix_seconds(self.0.saturating_add(duration.as_secs()))
    }

    /// Returns true from this second on.
    pub fn has_passed(self) -> bool {
        self.remaining().is_zero()
    }

    /// Completes at this time, also if the clock of the machine is set meanwhile.
    pub(crate) async fn passed(self) {
        /// Maximum time until a clock that was set is noticed.
        const CLOCK_READ_EVERY: Duration = Duration::from_secs(30);
        loop {
            match self.remaining() {
                Duration::ZERO => return,
                remaining => sleep(remaining.min(CLOCK_READ_EVERY)).await,
            }
        }
    }

    fn remaining(self) -> Duration {
        Duration::from_secs(self.0).saturating_sub(since_1970())
    }
}

fn since_1970() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

/// Writes the time as `2026-11-24T12:51:51Z`.
impl fmt::Display for Timestamp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = i64::try_from(self.0).map_err(|_| fmt::Error)?;
        let moment = OffsetDateTime::from_unix_timestamp(seconds).map_err(|_| fmt::Error)?;
        let text = moment.format(&Rfc3339).map_err(|_| fmt::Error)?;
        formatter.pad(&text)
    }
}

impl FromStr for Timestamp {
    type Err = &'static str;

    /// Parses RFC 3339 with any offset. Parts of a second are cut off.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRONG: &str =
            "give a time from 1970 on in the form of RFC 3339, such as 2027-01-31T00:00:00Z";
        let moment = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| WRONG)?;
        let seconds = u64::try_from(moment.unix_timestamp()).map_err(|_| WRONG)?;
        Ok(Self::from_unix_seconds(seconds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_is_parsed_with_any_offset_and_printed_in_utc() {
        let moment = Timestamp(1_713_952_241);
        assert_eq!(moment.to_string(), "2024-04-24T09:50:41Z");
        for text in [
            "2024-04-24T09:50:41Z",
            "2024-04-24T09:50:41.999Z",
            "2024-04-24T11:50:41+02:00",
        ] {
            assert_eq!(text.parse(), Ok(moment), "{text}");
        }
        for text in [
            "",
            "2024-04-24",
            "2024-04-24T09:50:41",
            "1969-12-31T23:59:59Z",
        ] {
            assert!(text.parse::<Timestamp>().is_err(), "{text}");
        }
        let last = "9999-12-31T23:59:59Z";
        assert_eq!(last.parse(), Ok(Timestamp::MAX));
        assert_eq!(
            Timestamp::MAX.plus(Duration::from_hours(1)).to_string(),
            last
        );
    }

    #[test]
    fn milliseconds_have_three_digits() {
        let moment = UNIX_EPOCH + Duration::from_millis(1_713_952_241_042);
        assert_eq!(with_millis(moment), "2024-04-24T09:50:41.042Z");
    }

    #[test]
    fn a_time_has_passed_from_its_second_on() {
        assert!(Timestamp::now().has_passed());
        assert!(!Timestamp::now().plus(Duration::from_mins(1)).has_passed());
    }
}
