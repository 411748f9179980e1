//! The clock that a script sees: the real one, or a virtual one that advances only when a timer fires or a record of a log
//! says so.
//!
//! In scope: the current time for `performance`, for `Date` under a seed and for the timers. Out of scope: the
//! deadline, which is always real time (`host`). Called by `host`, `timers` and `globals`.

use std::cell::Cell;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The start of the virtual clock: 2020-01-01T00:00:00.000Z, milliseconds since 1970.
pub(super) const SEEDED_EPOCH_MILLIS: u64 = 1_577_836_800_000;

/// The time since the start of the execution, as the script sees it.
#[derive(Debug)]
pub(super) struct Clock {
    started: Cell<Instant>,
    started_unix_millis: Cell<f64>,
    /// Under a seed and with tools: the time to which the clock was advanced.
    virtual_elapsed: Cell<Option<Duration>>,
}

impl Clock {
    pub(super) fn new() -> Self {
        Self {
            started: Cell::new(Instant::now()),
            started_unix_millis: Cell::new(0.0),
            virtual_elapsed: Cell::new(None),
        }
    }

    /// Starts the clock for one execution. `stands_still` is set under a seed.
    pub(super) fn start(&self, started: Instant, stands_still: bool) {
        self.started.set(started);
        self.virtual_elapsed
            .set(stands_still.then_some(Duration::ZERO));
        self.started_unix_millis.set(if stands_still {
            whole_millis_as_float(SEEDED_EPOCH_MILLIS)
        } else {
            unix_now().as_secs_f64() * 1000.0
        });
    }

    /// Starts the clock of a script with tools, which stands still until it is advanced.
    pub(super) fn start_at(&self, unix_millis: u64) {
        self.virtual_elapsed.set(Some(Duration::ZERO));
        self.started_unix_millis
            .set(whole_millis_as_float(unix_millis));
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.virtual_elapsed
            .get()
            .unwrap_or_else(|| self.started.get().elapsed())
    }

    pub(super) fn is_virtual(&self) -> bool {
        self.virtual_elapsed.get().is_some()
    }

    /// Advances a virtual clock to `elapsed`. A real clock is unaffected.
    pub(super) fn advance_to(&self, elapsed: Duration) {
        if let Some(before) = self.virtual_elapsed.get() {
            self.virtual_elapsed.set(Some(before.max(elapsed)));
        }
    }

    /// Returns `performance.timeOrigin`: the start, milliseconds since 1970.
    pub(super) fn origin_unix_millis(&self) -> f64 {
        self.started_unix_millis.get()
    }

    /// Returns `Date.now()` of a virtual clock, whole milliseconds since 1970.
    pub(super) fn virtual_unix_millis(&self) -> f64 {
        (self.origin_unix_millis() + self.elapsed().as_secs_f64() * 1000.0).floor()
    }
}

pub(super) fn real_unix_millis() -> u64 {
    u64::try_from(unix_now().as_millis()).unwrap_or(u64::MAX)
}

fn unix_now() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

#[allow(clippy::cast_precision_loss)] // milliseconds since 1970 stay below 2^53 for 285,000 years
fn whole_millis_as_float(millis: u64) -> f64 {
    millis as f64
}
