//! Counters and histograms. An update is a plain atomic addition: it costs nanoseconds and never waits. This module
//! imports no other module of the service.

pub use sandpiper_http_kit::counters::{Counter, Distribution, Histogram};

use std::time::Duration;

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
