//! What is counted while work is done: plain atomic additions, so that counting costs nanoseconds and never waits. Read
//! when somebody asks. Knows nobody.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the buckets of every histogram of times, microseconds: from what a queue that is empty takes to the
/// longest that a script may run by default.
const BOUNDS_MICROS: [u64; 17] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 5_000_000, 10_000_000, 30_000_000,
];

/// Something that happens.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Once more.
    pub fn count(&self) {
        self.add(1);
    }

    /// So many more.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// How often.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How long something takes.
#[derive(Debug, Default)]
pub struct Histogram {
    /// One more than there are bounds: what is longer than all of them.
    counts: [AtomicU64; BOUNDS_MICROS.len() + 1],
    sum_micros: AtomicU64,
}

impl Histogram {
    /// It took so long.
    pub fn observe(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_MICROS.partition_point(|bound| *bound < micros);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum_micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// As it stands. What is observed meanwhile may be in it in part.
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

/// What a histogram has seen.
#[derive(Debug, Clone, PartialEq)]
pub struct Distribution {
    /// Each bucket's upper bound in seconds, and how many fell between it and the one before.
    pub buckets: Vec<(f64, u64)>,
    /// All together, seconds.
    pub sum: f64,
    /// How many.
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
    /// Nothing has happened yet.
    #[must_use]
    pub fn new(names: &'static [&'static str]) -> Self {
        Self {
            names,
            times: names.iter().map(|_| Histogram::default()).collect(),
            failures: names.iter().map(|_| Counter::default()).collect(),
        }
    }

    /// The operation of this place in the list took so long.
    pub fn took(&self, place: usize, took: Duration) {
        if let Some(times) = self.times.get(place) {
            times.observe(took);
        }
    }

    /// The operation of this place in the list failed.
    pub fn failed(&self, place: usize) {
        if let Some(failures) = self.failures.get(place) {
            failures.count();
        }
    }

    /// Each operation with its times and failures.
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
    fn what_is_as_long_as_a_bound_is_below_it() {
        let histogram = Histogram::default();
        for micros in [0, 100, 101, 30_000_000, 30_000_001] {
            histogram.observe(Duration::from_micros(micros));
        }
        let seen = histogram.distribution();
        assert_eq!(seen.count, 5);
        assert_eq!(seen.buckets[0], (0.0001, 2));
        assert_eq!(seen.buckets[1], (0.00025, 1));
        assert_eq!(seen.buckets[16], (30.0, 1));
        assert_eq!(seen.buckets[17], (f64::INFINITY, 1));
        assert!((seen.sum - 60.000_202).abs() < 1e-9, "{}", seen.sum);
    }
}
