//! How long work waits and runs, and how long the oldest of each lane has waited. Written by the Executors on their own
//! threads, beside the Dispatcher's way.

use crate::meters::{Counter, Histogram};
use sandpiper_domain::{Execution, Lane};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// No job waits in the lane.
const NOBODY: u64 = u64::MAX;

/// One of something for each lane.
#[derive(Debug, Default)]
pub struct ByLane<T> {
    interactive: T,
    background: T,
}

impl<T> ByLane<T> {
    /// That of `lane`.
    #[must_use]
    pub fn of(&self, lane: Lane) -> &T {
        match lane {
            Lane::Interactive => &self.interactive,
            Lane::Background => &self.background,
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Meters {
    /// From the place in the queue to the executor.
    pub queue_wait: ByLane<Histogram>,
    /// Wall time of executions.
    pub run: Histogram,
    /// Processor time of executions, microseconds.
    pub cpu_micros: Counter,
    /// Zygotes started, also in place of those that had served their share.
    pub zygotes_started: Counter,
    /// Executions that were given to reserve executors.
    pub reserve_executions: Counter,
    /// Refusals of the queue: a lane was full, or an executor did not come free in time.
    pub queue_full: ByLane<Counter>,
    /// As above.
    pub queue_wait_exceeded: Counter,
    /// When the oldest that waits came, microseconds after `since`.
    oldest: ByLane<AtomicU64>,
    since: Instant,
}

impl Default for Meters {
    fn default() -> Self {
        let meters = Self {
            queue_wait: ByLane::default(),
            run: Histogram::default(),
            cpu_micros: Counter::default(),
            zygotes_started: Counter::default(),
            reserve_executions: Counter::default(),
            queue_full: ByLane::default(),
            queue_wait_exceeded: Counter::default(),
            oldest: ByLane::default(),
            since: Instant::now(),
        };
        for lane in Lane::ALL {
            meters.show_oldest(lane, None);
        }
        meters
    }
}

impl Meters {
    /// One more that has run.
    pub(super) fn ran(&self, execution: &Execution) {
        let usage = &execution.usage;
        self.run.observe(Duration::from_micros(usage.wall_micros));
        self.cpu_micros.add(usage.cpu_micros);
    }

    /// How long the job has waited that has waited longest.
    #[must_use]
    pub fn oldest_age(&self, lane: Lane) -> Duration {
        match self.oldest.of(lane).load(Ordering::Relaxed) {
            NOBODY => Duration::ZERO,
            micros => self
                .since
                .elapsed()
                .saturating_sub(Duration::from_micros(micros)),
        }
    }

    pub(super) fn show_oldest(&self, lane: Lane, came: Option<Instant>) {
        let micros = came.map_or(NOBODY, |came| {
            let after = came.saturating_duration_since(self.since);
            u64::try_from(after.as_micros()).unwrap_or(NOBODY)
        });
        self.oldest.of(lane).store(micros, Ordering::Relaxed);
    }
}
