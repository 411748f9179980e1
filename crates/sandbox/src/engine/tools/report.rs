//! The report of a round: what it adds to the log.

use super::replay::Replay;
use sandpiper_domain::tools::Call;
use sandpiper_sandbox_protocol::{ReportedEnd, RoundReport};
use std::time::Duration;

impl Replay {
    /// Returns what this round adds to the log, for an execution that is ended from inside an allocation. Returns `None`
    /// if the allocation was one of this module's own, or if there is no memory for a report.
    pub(crate) fn last_report(&self, peak_memory_bytes: u64) -> Option<RoundReport> {
        let state = self.state.try_borrow().ok()?;
        self.unobserved.try_borrow().ok()?;
        let calls = state.new_calls.iter().map(Call::log_bytes).sum::<usize>();
        let records = state.new_records.len() * Call::OVERHEAD_BYTES;
        // The copy of the calls, the text of the report, and room for both to grow.
        let bytes = (calls + records).saturating_mul(4);
        Vec::<u8>::new().try_reserve_exact(bytes).ok()?;
        drop(state);
        Some(self.report(ReportedEnd::Ends, peak_memory_bytes))
    }

    /// Returns what this round adds to the log.
    pub(crate) fn report(&self, end: ReportedEnd, peak_memory_bytes: u64) -> RoundReport {
        let state = self.state.borrow();
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let (own, replay) = match state.behind_since {
            Some(since) => (since.elapsed(), since - self.begun),
            None => (Duration::ZERO, self.begun.elapsed()),
        };
        RoundReport {
            calls: state.new_calls.clone(),
            records: state.new_records.clone(),
            unobserved: self.unobserved.borrow().clone(),
            // Entries of the log are told by earlier rounds, even if this one has ended before it logged them again.
            log_entries: if self.given.strict {
                state.log_entries
            } else {
                state.log_entries.max(self.log().log_entries())
            },
            log_digest: state.digest.value(),
            own_micros: micros(own.saturating_sub(self.waited.get())),
            replay_micros: micros(replay),
            waited_micros: micros(self.waited.get()),
            peak_memory_bytes,
            end,
        }
    }
}
