//! What a client may say of its job beside what is to be run: when, how urgently, and which request it is.

use super::{RequestedLimits, Timestamp};
use std::time::Duration;

/// When a job is to run, how urgently, and by which key it is the same job.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JobTerms {
    /// Not before this moment.
    pub run_at: Option<Timestamp>,
    /// Before those of a higher number.
    pub priority: Priority,
    /// The limits that the request names, by which it is known again whatever the defaults are by then.
    pub requested_limits: RequestedLimits,
    /// Of the request.
    pub key: Option<IdempotencyKey>,
}

impl JobTerms {
    /// Furthest that `runAt` may lie ahead.
    pub const AHEAD_MAX: Duration = Duration::from_hours(24 * 366);

    /// Whether there is anything in it that only a database keeps.
    #[must_use]
    pub fn needs_database(&self) -> bool {
        self.run_at.is_some() || self.priority != Priority::default()
    }
}

/// 1 to 4, of which 1 is first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Priority(u8);

impl Priority {
    /// The last.
    pub const LAST: u8 = 4;

    /// One of 1 to 4.
    #[must_use]
    pub fn new(number: u8) -> Option<Self> {
        (1..=Self::LAST).contains(&number).then_some(Self(number))
    }

    /// Its number.
    #[must_use]
    pub fn get(self) -> u8 {
        self.0
    }
}

impl Default for Priority {
    fn default() -> Self {
        Self(2)
    }
}

/// By which a request that is sent again is known to be the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    /// Longest key, bytes.
    pub const BYTES_MAX: usize = 255;
    /// How long a key is remembered.
    pub const REMEMBERED: Duration = Duration::from_hours(24);

    /// A key of visible ASCII.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let is_fit = (1..=Self::BYTES_MAX).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_graphic());
        is_fit.then(|| Self(text.to_owned()))
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_priority_is_one_to_four_and_a_key_is_short_and_visible() {
        assert!(Priority::new(0).is_none() && Priority::new(5).is_none());
        assert_eq!(Priority::new(4).map(Priority::get), Some(4));
        assert!(IdempotencyKey::new(&"k".repeat(255)).is_some());
        for key in ["", "a b", "é", &"k".repeat(256)] {
            assert!(IdempotencyKey::new(key).is_none(), "{key}");
        }
    }
}
