//! Counters and histograms. An update is a plain atomic addition: it costs nanoseconds and never waits. This module
//! imports no other module of the service.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the buckets of every histogram of times, microseconds: from the wait in an empty queue to the
/// longest time that a script may run by default.
const BOUNDS_MICROS: [u64; 17] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 5_000_000, 10_000_000, 30_000_000,
];

/// A count of events.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts one event.
    pub fn count(&self) {
        self.add(1);
    }

    /// Counts so many events.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// Returns the count.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A distribution of durations.
#[derive(Debug, Default)]
pub struct Histogram {
    /// One more than there are bounds: the last is for durations above all bounds.
    counts: [AtomicU64; BOUNDS_MICROS.len() + 1],
    sum_micros: AtomicU64,
}

impl Histogram {
    /// Counts one duration.
    pub fn observe(&self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_MICROS.partition_point(|bound| *bound < micros);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum_micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// Returns the distribution so far. A duration that is observed meanwhile may be in it in part.
    #[must_use]
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

/// The contents of a histogram.
#[derive(Debug, Clone, PartialEq)]
pub struct Distribution {
    /// The upper bound of each bucket in seconds, and the number of durations between it and the bound before.
    pub buckets: Vec<(f64, u64)>,
    /// The sum of all durations, seconds.
    pub sum: f64,
    /// The number of durations.
    pub count: u64,
}

/// Histograms and failures of a fixed list of operations.
#[derive(Debug)]
pub struct Operations {
    names: &'static [&'static str],
    times: Vec<Histogram>,
    failures: Vec<Counter>,
}

impl Operations {
    /// Creates meters for these operations.
    #[must_use]
    pub fn new(names: &'static [&'static str]) -> Self {
        Self {
            names,
            times: names.iter().map(|_| Histogram::default()).collect(),
            failures: names.iter().map(|_| Counter::default()).collect(),
        }
    }

    /// Counts one duration of the operation at `index`.
    pub fn took(&self, index: usize, duration: Duration) {
        if let Some(times) = self.times.get(index) {
            times.observe(duration);
        }
    }

    /// Counts one failure of the operation at `index`.
    pub fn failed(&self, index: usize) {
        if let Some(failures) = self.failures.get(index) {
            failures.count();
        }
    }

    /// Returns the name, the durations and the failures of each operation.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, &Histogram, u64)> {
        let times = self.names.iter().zip(&self.times);
        times
            .zip(&self.failures)
            .map(|((name, times), failures)| (*name, times, failures.get()))
    }
}

#[allow(clippy::cast_precision_loss)] // exact for 285 years
fn seconds(micros: u64) -> f64 {
    micros as f64 / 1_000_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_equal_to_a_bound_falls_into_its_bucket() {
        let histogram = Histogram::default();
        for micros in [0, 100, 101, 30_000_000, 30_000_001] {
            histogram.observe(Duration::from_micros(micros));
        }
        let distribution = histogram.distribution();
        assert_eq!(distribution.count, 5);
        assert_eq!(distribution.buckets[0], (0.0001, 2));
        assert_eq!(distribution.buckets[1], (0.00025, 1));
        assert_eq!(distribution.buckets[16], (30.0, 1));
        assert_eq!(distribution.buckets[17], (f64::INFINITY, 1));
        assert!(
            (distribution.sum - 60.000_202).abs() < 1e-9,
            "{}",
            distribution.sum
        );
    }
}
