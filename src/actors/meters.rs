//! Times of waiting and running, and the age of the oldest waiting job of each lane. The Executors write times and
//! zygotes on their own threads; the Dispatcher writes the rest.

use sandpiper_domain::tools::{Round, RoundEnd};
use sandpiper_domain::{Lane, Usage};
use sandpiper_http_kit::counters::{Counter, Histogram};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// No job waits in the lane.
const NONE: u64 = u64::MAX;

#[derive(Debug, Default)]
pub struct ByLane<T> {
    pub(super) interactive: T,
    pub(super) background: T,
}

impl<T> ByLane<T> {
    #[must_use]
    pub fn of(&self, lane: Lane) -> &T {
        match lane {
            Lane::Interactive => &self.interactive,
            Lane::Background => &self.background,
        }
    }

    pub(super) fn of_mut(&mut self, lane: Lane) -> &mut T {
        match lane {
            Lane::Interactive => &mut self.interactive,
            Lane::Background => &mut self.background,
        }
    }
}

/// Counters of executions with tools, of jobs and of `POST /api/execute`. Their outcomes are counted with all others.
#[derive(Debug, Default)]
pub struct ToolCounters {
    pub rounds: Counter,
    pub calls: Counter,
    /// Executions that began to wait, each time that they did.
    pub suspensions: Counter,
    /// Rounds whose replay the service failed.
    pub failed_replays: Counter,
}

impl ToolCounters {
    pub(super) fn count_round(&self, round: &Round) {
        match round.end {
            RoundEnd::ReplayFailed(_) => self.failed_replays.count(),
            RoundEnd::Finished(_) | RoundEnd::Suspended(_) => self.rounds.count(),
        }
        self.calls.add(round.calls.len() as u64);
    }
}

#[derive(Debug)]
pub struct Meters {
    /// Time in the queue, until an executor begins.
    pub queue_wait: ByLane<Histogram>,
    /// Elapsed time of executions.
    pub run: Histogram,
    /// Processor time of executions, microseconds.
    pub cpu_micros: Counter,
    /// Zygotes started, replacements of worn-out zygotes included.
    pub zygotes_started: Counter,
    pub reserve_executions: Counter,
    /// Work refused because its lane was full.
    pub queue_full: ByLane<Counter>,
    /// Work refused because no executor came free in time.
    pub queue_wait_exceeded: Counter,
    /// Arrival of the oldest waiting job, microseconds after `since`.
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
            meters.record_oldest(lane, None);
        }
        meters
    }
}

impl Meters {
    pub(super) fn ran(&self, usage: &Usage) {
        self.run.observe(Duration::from_micros(usage.wall_micros));
        self.cpu_micros.add(usage.cpu_micros);
    }

    /// Returns the age of the job that has waited longest.
    #[must_use]
    pub fn oldest_age(&self, lane: Lane) -> Duration {
        match self.oldest.of(lane).load(Ordering::Relaxed) {
            NONE => Duration::ZERO,
            micros => self
                .since
                .elapsed()
                .saturating_sub(Duration::from_micros(micros)),
        }
    }

    pub(super) fn record_oldest(&self, lane: Lane, arrived: Option<Instant>) {
        let micros = arrived.map_or(NONE, |arrived| {
            let after = arrived.saturating_duration_since(self.since);
            u64::try_from(after.as_micros()).unwrap_or(NONE)
        });
        self.oldest.of(lane).store(micros, Ordering::Relaxed);
    }
}
