//! The terms of a job: when it runs, its priority, and its idempotency key.

use super::tools::Unawaited;
use super::{RequestedLimits, Timestamp};
use std::time::Duration;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JobTerms {
    pub run_at: Option<Timestamp>,
    /// Jobs with a lower number run first.
    pub priority: Priority,
    /// The limits that the request names. A repeated request is recognised by them, whatever the defaults have become.
    pub requested_limits: RequestedLimits,
    /// The fate of calls that a script with tools does not await; `None` if the request does not say it.
    pub unawaited: Option<Unawaited>,
    pub key: Option<IdempotencyKey>,
    /// True if only a repetition of an earlier request may be accepted.
    pub replay_only: bool,
    /// True if the job's time limit is reserved in a budget of processor time until the job ends.
    pub reserves_cpu: bool,
}

impl JobTerms {
    /// Furthest that `runAt` may lie ahead.
    pub const AHEAD_MAX: Duration = Duration::from_hours(24 * 366);

    pub fn needs_database(&self) -> bool {
        self.run_at.is_some() || self.priority != Priority::default()
    }
}

/// A priority from 1 to 4; 1 runs first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Priority(u8);

impl Priority {
    /// The lowest priority.
    pub const LAST: u8 = 4;

    pub fn new(number: u8) -> Option<Self> {
        (1..=Self::LAST).contains(&number).then_some(Self(number))
    }

    pub fn get(self) -> u8 {
        self.0
    }
}

impl Default for Priority {
    fn default() -> Self {
        Self(2)
    }
}

/// A key by which a repeated request is recognised.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    pub const BYTES_MAX: usize = 255;
    pub const REMEMBERED: Duration = Duration::from_hours(24);

    /// Returns a key, if `text` is visible ASCII of a permitted length.
    pub fn new(text: &str) -> Option<Self> {
        let is_valid = (1..=Self::BYTES_MAX).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_graphic());
        is_valid.then(|| Self(text.to_owned()))
    }

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
