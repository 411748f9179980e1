//! The periods of UTC in which usage is summed.

use crate::Timestamp;
use time::{Date, OffsetDateTime};

const HOUR_MILLIS: u64 = 3_600_000;
const DAY_MILLIS: u64 = 24 * HOUR_MILLIS;

/// A period of UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Period {
    Hour,
    Day,
    Month,
}

impl Period {
    /// Every period, shortest first.
    pub const ALL: [Self; 3] = [Self::Hour, Self::Day, Self::Month];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Month => "month",
        }
    }

    /// Returns the first moment of the period that contains `at`.
    #[must_use]
    pub fn start(self, at: Timestamp) -> Timestamp {
        let millis = at.as_unix_millis();
        match self {
            // Every day of UTC has as many milliseconds: its clock leaves leap seconds out.
            Self::Hour => Timestamp::from_unix_millis(millis - millis % HOUR_MILLIS),
            Self::Day => Timestamp::from_unix_millis(millis - millis % DAY_MILLIS),
            Self::Month => first_of_month(at, 0),
        }
    }

    /// Returns the first moment after the period that contains `at`.
    #[must_use]
    pub fn end(self, at: Timestamp) -> Timestamp {
        let start = self.start(at).as_unix_millis();
        match self {
            Self::Hour => Timestamp::from_unix_millis(start + HOUR_MILLIS),
            Self::Day => Timestamp::from_unix_millis(start + DAY_MILLIS),
            Self::Month => first_of_month(at, 1),
        }
    }
}

/// Returns the first moment of the month that is so many months after the month of `at`. Times end with the year 9999.
fn first_of_month(at: Timestamp, months_later: i32) -> Timestamp {
    let seconds = i64::try_from(at.as_unix_millis() / 1000).unwrap_or_default();
    let first = OffsetDateTime::from_unix_timestamp(seconds)
        .ok()
        .and_then(|moment| {
            let months = moment.year() * 12 + i32::from(u8::from(moment.month())) - 1;
            let months = months + months_later;
            let month = u8::try_from(months % 12 + 1).ok()?;
            Date::from_calendar_date(months / 12, month.try_into().ok()?, 1).ok()
        })
        .map(|date| date.midnight().assume_utc().unix_timestamp());
    let seconds = first.and_then(|seconds| u64::try_from(seconds).ok());
    seconds.map_or(Timestamp::MAX, |seconds| {
        Timestamp::from_unix_millis(seconds * 1000)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::from_rfc3339(text).unwrap()
    }

    #[test]
    fn a_period_begins_and_ends_where_its_calendar_says() {
        let rows = [
            (
                "2026-11-24T12:51:51.042Z",
                ["2026-11-24T12:00:00Z", "2026-11-24T13:00:00Z"],
                ["2026-11-24T00:00:00Z", "2026-11-25T00:00:00Z"],
                ["2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z"],
            ),
            (
                "2028-02-29T23:59:59.999Z",
                ["2028-02-29T23:00:00Z", "2028-03-01T00:00:00Z"],
                ["2028-02-29T00:00:00Z", "2028-03-01T00:00:00Z"],
                ["2028-02-01T00:00:00Z", "2028-03-01T00:00:00Z"],
            ),
            (
                "2026-12-31T23:00:00Z",
                ["2026-12-31T23:00:00Z", "2027-01-01T00:00:00Z"],
                ["2026-12-31T00:00:00Z", "2027-01-01T00:00:00Z"],
                ["2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z"],
            ),
            (
                "1970-01-01T00:00:00Z",
                ["1970-01-01T00:00:00Z", "1970-01-01T01:00:00Z"],
                ["1970-01-01T00:00:00Z", "1970-01-02T00:00:00Z"],
                ["1970-01-01T00:00:00Z", "1970-02-01T00:00:00Z"],
            ),
        ];
        for (moment, hour, day, month) in rows {
            let moment = at(moment);
            for (period, [start, end]) in Period::ALL.into_iter().zip([hour, day, month]) {
                assert_eq!(period.start(moment), at(start), "{period:?}");
                assert_eq!(period.end(moment), at(end), "{period:?}");
            }
        }
        assert_eq!(Period::Month.end(Timestamp::MAX), Timestamp::MAX);
    }

    proptest! {
        #[test]
        fn a_moment_lies_in_its_period_and_periods_touch(millis in 0..Timestamp::MAX.as_unix_millis()) {
            let moment = Timestamp::from_unix_millis(millis);
            for period in Period::ALL {
                let (start, end) = (period.start(moment), period.end(moment));
                prop_assert!(start <= moment && (moment < end || end == Timestamp::MAX));
                prop_assert_eq!(period.start(start), start);
                prop_assert_eq!(period.end(start), end);
                if end < Timestamp::MAX {
                    prop_assert_eq!(period.start(end), end);
                }
                let day = Period::Day.start(period.start(moment));
                prop_assert!(day == period.start(moment) || period == Period::Hour);
            }
        }
    }
}
