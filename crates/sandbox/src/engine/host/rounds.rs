//! The host's part in rounds of scripts with tools: limits within the log and behind it, and the end of a round.

use super::{Host, as_u64};
use crate::engine::EngineJob;
use crate::engine::tools::Replay;
use sandpiper_domain::tools::ToolLimits;
use sandpiper_sandbox_protocol::{ReportedEnd, replay_memory_bytes};
use std::rc::Rc;
use std::time::{Duration, Instant};

impl Host {
    /// Starts a round of a script with tools. Within the log, time and memory are those of a replay.
    pub(super) fn start_round(&self, job: &EngineJob<'_>, now: Instant) {
        let Some(given) = &job.tools else { return };
        let log = &given.log;
        self.clock.start_at(log.start_ms());
        let own = Duration::from_micros(log.own_micros());
        self.own_time_left
            .set(job.limits.timeout().saturating_sub(own));
        let replay = Replay::new(given, now);
        if replay.is_behind_log() {
            self.deadline.set(now + self.own_time_left.get());
        } else {
            self.deadline.set(now + ToolLimits::replay_time(own));
            let more = usize::try_from(replay_memory_bytes(&job.limits)).unwrap_or(0);
            self.memory.set_limit(self.memory.limit() + more);
            self.memory_in_replay.set(more);
        }
        let _ = self.replay.set(Rc::new(replay));
    }

    /// Returns the progress along the log of a script with tools.
    pub(in crate::engine) fn replay(&self) -> Option<&Rc<Replay>> {
        self.replay.get()
    }

    /// Begins what is not in the log yet: from here on the exact limits apply.
    pub(in crate::engine) fn reach_end_of_log(&self) {
        let now = Instant::now();
        if let Some(replay) = self.replay.get() {
            replay.begin_behind_log(now);
        }
        self.deadline.set(now + self.own_time_left.get());
        let more = self.memory_in_replay.replace(0);
        self.memory
            .set_limit(self.memory.limit().saturating_sub(more));
        if let Some(output) = self.output.get() {
            output.replayed();
        }
    }

    /// Puts the deadline off by a time that the process has waited.
    pub(in crate::engine) fn put_off_deadline(&self, waited: Duration) {
        self.deadline.set(self.deadline.get() + waited);
    }

    /// Returns whether the client chose the seed, so that nothing random is a secret.
    pub(in crate::engine) fn is_seeded(&self) -> bool {
        match self.replay.get() {
            Some(replay) => replay.log().is_seeded(),
            None => self.clock.is_virtual(),
        }
    }

    /// Returns the script's clock, Unix milliseconds.
    pub(super) fn clock_of_round(&self, replay: &Replay) -> u64 {
        replay.unix_ms_at(self.clock.elapsed())
    }

    /// Ends the round of a script with tools that waits.
    pub(in crate::engine) fn suspend(&self, end: ReportedEnd) -> ! {
        let peak = as_u64(self.memory.peak());
        match (self.output.get(), self.replay.get()) {
            (Some(output), Some(replay)) => output.suspend(&replay.report(end, peak)),
            _ => unreachable!("an execution without tools suspended"),
        }
    }
}
