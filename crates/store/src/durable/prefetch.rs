//! The prefetch controller: how many jobs a node claims for each executor.
//!
//! Short jobs are claimed many at a time, because a claim takes longer than they do. Long jobs are claimed one for each
//! executor, because another node may have an executor that is idle.

use parking_lot::Mutex;
use std::time::Duration;

/// Time of work that is prefetched for an executor.
const PREFETCHED_WORK: Duration = Duration::from_millis(100);
/// Weight of the last execution in the running mean.
const WEIGHT: f64 = 0.1;

/// Derives the number of claims from the running mean of execution times.
#[derive(Debug)]
pub(super) struct PrefetchController {
    per_executor_max: usize,
    mean: Mutex<Duration>,
}

impl PrefetchController {
    /// Makes a controller that starts with one job for each executor.
    pub(super) fn new(per_executor_max: usize) -> Self {
        Self {
            per_executor_max,
            mean: Mutex::new(PREFETCHED_WORK),
        }
    }

    pub(super) fn per_executor(&self) -> usize {
        let mean = self.mean.lock().as_secs_f64().max(1e-6);
        // Between 1 and 100,000.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let prefetched = (PREFETCHED_WORK.as_secs_f64() / mean) as usize;
        prefetched.clamp(1, self.per_executor_max)
    }

    pub(super) fn record(&self, duration: Duration) {
        let mut mean = self.mean.lock();
        // The cap keeps one long execution from making all of them seem long.
        let capped = duration.min(PREFETCHED_WORK * 2);
        *mean = mean.mul_f64(1.0 - WEIGHT) + capped.mul_f64(WEIGHT);
    }

    /// Records that a claimed job found no free executor: claims go back to one for each executor.
    pub(super) fn record_no_executor(&self) {
        *self.mean.lock() = PREFETCHED_WORK;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_jobs_are_claimed_many_at_a_time_and_long_ones_one_for_each_executor() {
        let controller = PrefetchController::new(16);
        assert_eq!(controller.per_executor(), 1);
        for _ in 0..100 {
            controller.record(Duration::from_millis(1));
        }
        assert_eq!(controller.per_executor(), 16);
        for _ in 0..100 {
            controller.record(Duration::from_millis(40));
        }
        assert_eq!(controller.per_executor(), 2);
        for _ in 0..10 {
            controller.record(Duration::from_secs(30));
        }
        assert_eq!(controller.per_executor(), 1);
        for _ in 0..100 {
            controller.record(Duration::ZERO);
        }
        assert_eq!(controller.per_executor(), 16);
        controller.record_no_executor();
        assert_eq!(controller.per_executor(), 1);
    }
}
