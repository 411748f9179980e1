//! The host's part in rounds of scripts with tools: limits within the log and behind it, and the end of a round.

use super::{Host, as_u64};
use crate::engine::tools::Replay;
use crate::engine::{Completion, EngineJob, Output};
use sandpiper_domain::LogKind;
use sandpiper_domain::tools::{ConsoleBytes, ToolLimits};
use sandpiper_sandbox_protocol::{ReportedEnd, replay_memory_bytes};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// The output of an execution with tools that the allocator ends: the report of its round precedes the final message.
struct LastOutput {
    output: Rc<dyn Output>,
    replay: Rc<Replay>,
}

impl Output for LastOutput {
    fn log(&self, kind: LogKind, depth: u32, timestamp_millis: u64, data: &str) {
        self.output.log(kind, depth, timestamp_millis, data);
    }

    fn log_dropped(&self) {
        self.output.log_dropped();
    }

    fn finish(&self, completion: &Completion) -> ! {
        let peak = completion.peak_memory_bytes;
        if let Some(report) = self.replay.last_report(peak) {
            self.output.round(&report);
        }
        self.output.finish(completion)
    }
}

impl Host {
    /// Makes the progress along the log of a script with tools. Returns the output for an end by the allocator.
    pub(super) fn prepare_round(
        &self,
        job: &EngineJob<'_>,
        now: Instant,
        output: &Rc<dyn Output>,
    ) -> Rc<dyn Output> {
        let output = Rc::clone(output);
        let Some(given) = &job.tools else {
            return output;
        };
        let replay = Rc::new(Replay::new(given, now));
        let _ = self.replay.set(Rc::clone(&replay));
        Rc::new(LastOutput { output, replay })
    }

    /// Starts a round of a script with tools. Within the log, time and memory are those of a replay.
    pub(super) fn start_round(&self, job: &EngineJob<'_>, now: Instant) {
        let (Some(given), Some(replay)) = (&job.tools, self.replay.get()) else {
            return;
        };
        self.console
            .set(Some((job.limits, ConsoleBytes::default())));
        let log = &given.log;
        self.clock.start_at(log.start_ms());
        let own = Duration::from_micros(log.own_micros());
        self.own_time_left
            .set(job.limits.timeout().saturating_sub(own));
        if replay.is_behind_log() {
            self.deadline.set(now + self.own_time_left.get());
        } else {
            self.deadline.set(now + ToolLimits::replay_time(own));
            let more = usize::try_from(replay_memory_bytes(&job.limits)).unwrap_or(0);
            self.memory.set_limit(self.memory.limit() + more);
            self.memory_in_replay.set(more);
        }
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
