//! Quotas: a rate and a burst.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

/// A rate and a burst. `20/s:40` allows twenty requests per second, and a burst of forty after a pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    rate: NonZeroU32,
    period: Period,
    burst: NonZeroU32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Period {
    Second,
    Minute,
    Hour,
}

impl Period {
    const ALL: [Self; 3] = [Self::Second, Self::Minute, Self::Hour];

    fn name(self) -> &'static str {
        match self {
            Self::Second => "s",
            Self::Minute => "m",
            Self::Hour => "h",
        }
    }

    fn length(self) -> Duration {
        match self {
            Self::Second => Duration::from_secs(1),
            Self::Minute => Duration::from_mins(1),
            Self::Hour => Duration::from_hours(1),
        }
    }
}

impl Quota {
    /// Maximum of a rate and of a burst.
    const MOST: u32 = 1_000_000;

    pub fn burst(&self) -> u32 {
        self.burst.get()
    }

    #[must_use]
    pub fn times(self, count: NonZeroU32) -> Self {
        Self {
            rate: self.rate.saturating_mul(count),
            burst: self.burst.saturating_mul(count),
            ..self
        }
    }

    /// Returns the time until one more request is allowed.
    pub fn interval(&self) -> Duration {
        // Governor accepts no zero interval.
        (self.period.length() / self.rate.get()).max(Duration::from_nanos(1))
    }

    /// Returns the time until an empty bucket is full.
    pub fn window(&self) -> Duration {
        self.interval() * self.burst.get()
    }

    pub(super) fn for_governor(self) -> governor::Quota {
        // `with_period` is `None` only for a zero interval.
        governor::Quota::with_period(self.interval())
            .unwrap_or_else(|| governor::Quota::per_second(self.rate))
            .allow_burst(self.burst)
    }
}

impl FromStr for Quota {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = || {
            let (rate, rest) = text.split_once('/')?;
            let (period, burst) = rest.split_once(':')?;
            let period = Period::ALL
                .into_iter()
                .find(|known| known.name() == period)?;
            let number = |text: &str| {
                text.parse()
                    .ok()
                    .filter(|number: &NonZeroU32| number.get() <= Self::MOST)
            };
            Some(Self {
                rate: number(rate)?,
                period,
                burst: number(burst)?,
            })
        };
        parse().ok_or_else(|| {
            format!(
                "give a rate and a burst, such as 20/s:40 or 600/m:100, each from 1 to {}",
                Self::MOST
            )
        })
    }
}

impl fmt::Display for Quota {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{}/{}:{}",
            self.rate,
            self.period.name(),
            self.burst
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_is_parsed_and_printed_the_same() {
        for text in ["20/s:40", "600/m:1", "1/h:1000000"] {
            assert_eq!(text.parse::<Quota>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "20",
            "20/s",
            "0/s:1",
            "1/s:0",
            "1/d:1",
            "1/s:-1",
            "1000001/s:1",
            "1/s:1 ",
        ] {
            assert!(text.parse::<Quota>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_window_is_the_time_until_an_empty_bucket_is_full() {
        let quota: Quota = "120/m:30".parse().unwrap();
        assert_eq!(quota.interval(), Duration::from_millis(500));
        assert_eq!(quota.window(), Duration::from_secs(15));
    }
}
