//! Counters and histograms: atomic additions, which never wait.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the buckets of every histogram, microseconds: from the wait in an empty queue to the default maximum
/// time of a script.
const BOUNDS_MICROS: [u64; 17] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 5_000_000, 10_000_000, 30_000_000,
];

#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub(crate) const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    pub fn count(&self) {
        self.add(1);
    }

    pub fn add(&self, events: u64) {
        self.0.fetch_add(events, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Debug, Default)]
pub struct Histogram {
    /// One count for each bound, and one for durations above all bounds.
    counts: [AtomicU64; BOUNDS_MICROS.len() + 1],
    sum_micros: AtomicU64,
}

impl Histogram {
    pub fn observe(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_MICROS.partition_point(|bound| *bound < micros);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum_micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// Returns the current distribution. A concurrent observation may be included in part.
    pub fn distribution(&self) -> Distribution {
        let bounds = BOUNDS_MICROS.into_iter().map(seconds);
        let counts = self.counts.iter();
        let buckets: Vec<(f64, u64)> = bounds
            .chain([f64::INFINITY])
            .zip(counts.map(|count| count.load(Ordering::Relaxed)))
            .collect();
        Distribution {
            count: buckets.iter().map(|(_, count)| count).sum(),
            sum: seconds(self.sum_micros.load(Ordering::Relaxed)),
            buckets,
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Distribution {
    /// For each bucket its upper bound in seconds, and the number of durations above the previous bound.
    pub buckets: Vec<(f64, u64)>,
    /// The sum of all durations, seconds.
    pub sum: f64,
    pub count: u64,
}

impl Distribution {
    /// Merges the buckets below `lowest` seconds into the first bucket that is left.
    #[must_use]
    pub fn with_lowest_bound(mut self, lowest: f64) -> Self {
        let below = self.buckets.partition_point(|(bound, _)| *bound < lowest);
        let merged: u64 = self.buckets.drain(..below).map(|(_, count)| count).sum();
        if let Some((_, count)) = self.buckets.first_mut() {
            *count += merged;
        }
        self
    }
}

#[allow(clippy::cast_precision_loss)] // exact for 285 years
fn seconds(micros: u64) -> f64 {
    micros as f64 / 1_000_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn distribution() -> Distribution {
        let histogram = Histogram::default();
        for micros in [0, 100, 101, 30_000_000, 30_000_001] {
            histogram.observe(Duration::from_micros(micros));
        }
        histogram.distribution()
    }

    #[test]
    fn a_duration_equal_to_a_bound_is_in_the_bucket_of_the_bound() {
        let seen = distribution();
        assert_eq!(seen.count, 5);
        assert_eq!(seen.buckets[0], (0.0001, 2));
        assert_eq!(seen.buckets[1], (0.00025, 1));
        assert_eq!(seen.buckets[16], (30.0, 1));
        assert_eq!(seen.buckets[17], (f64::INFINITY, 1));
        assert!((seen.sum - 60.000_202).abs() < 1e-9, "{}", seen.sum);
    }

    #[test]
    fn merged_buckets_lose_no_duration() {
        let merged = distribution().with_lowest_bound(0.000_25);
        assert_eq!(merged.buckets.len(), 17);
        assert_eq!(merged.buckets[0], (0.00025, 3));
        assert_eq!(merged.buckets[1], (0.0005, 0));
        assert_eq!(merged.count, 5);
    }
}
