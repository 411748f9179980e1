//! How many jobs a node takes ahead. Short ones are taken many at a time, because a claim takes longer than they do; long
//! ones as they can be run, because another node may have an executor for them.

use std::sync::Mutex;
use std::time::Duration;

use super::lock;

/// Jobs are at hand for so long a time of work.
const AT_HAND_FOR: Duration = Duration::from_millis(100);
/// How much the last execution weighs in the running mean.
const WEIGHT: f64 = 0.1;

#[derive(Debug)]
pub(super) struct Pace {
    per_executor_max: usize,
    mean: Mutex<Duration>,
}

impl Pace {
    /// Nothing is known yet: no more are taken than can be run.
    pub(super) fn new(per_executor_max: usize) -> Self {
        Self {
            per_executor_max,
            mean: Mutex::new(AT_HAND_FOR),
        }
    }

    /// How many to take for each executor.
    pub(super) fn per_executor(&self) -> usize {
        let mean = lock(&self.mean).as_secs_f64().max(1e-6);
        // Between 1 and 100,000.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let at_hand = (AT_HAND_FOR.as_secs_f64() / mean) as usize;
        at_hand.clamp(1, self.per_executor_max)
    }

    /// One ran for so long.
    pub(super) fn ran(&self, wall: Duration) {
        let mut mean = lock(&self.mean);
        // One long one does not make all of them long.
        *mean = mean.mul_f64(1.0 - WEIGHT) + wall.min(AT_HAND_FOR * 2).mul_f64(WEIGHT);
    }

    /// One waited in vain for an executor.
    pub(super) fn waited_in_vain(&self) {
        *lock(&self.mean) = AT_HAND_FOR;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_jobs_are_taken_many_at_a_time_and_long_ones_as_they_can_be_run() {
        let pace = Pace::new(16);
        assert_eq!(pace.per_executor(), 1);
        for _ in 0..100 {
            pace.ran(Duration::from_millis(1));
        }
        assert_eq!(pace.per_executor(), 16);
        for _ in 0..100 {
            pace.ran(Duration::from_millis(40));
        }
        assert_eq!(pace.per_executor(), 2);
        for _ in 0..10 {
            pace.ran(Duration::from_secs(30));
        }
        assert_eq!(pace.per_executor(), 1);
        for _ in 0..100 {
            pace.ran(Duration::ZERO);
        }
        assert_eq!(pace.per_executor(), 16);
        pace.waited_in_vain();
        assert_eq!(pace.per_executor(), 1);
    }
}
