//! Counters of executions with tools.

use super::problem::{Code, Problem};
use crate::replay::ReplayError;
use sandpiper_domain::tools::{Round, RoundEnd};
use sandpiper_http_kit::counters::Counter;
use sandpiper_http_kit::metrics::Families;
use std::fmt;

/// The reasons for which a `replay` is refused, as labels.
const REFUSALS: [&str; 3] = ["invalid", "expired", "mismatch"];

/// Counters of executions with tools. The outcomes of these executions are counted with all others.
#[derive(Debug, Default)]
pub struct ToolMeters {
    rounds: Counter,
    calls: Counter,
    /// Responses of executions that wait.
    pub(super) suspended: Counter,
    /// In the order of [`REFUSALS`].
    refusals: [Counter; REFUSALS.len()],
}

impl ToolMeters {
    pub(super) fn count_round(&self, round: &Round) {
        if !matches!(round.end, RoundEnd::ReplayFailed(_)) {
            self.rounds.count();
        }
        self.calls.add(round.calls.len() as u64);
    }

    /// Counts the refusal of a `replay`, and returns its problem.
    pub(super) fn refused(&self, error: ReplayError) -> Problem {
        let (refusal, code) = match &error {
            ReplayError::Sealed(_) | ReplayError::Unreadable => (0, Code::InvalidReplay),
            ReplayError::Expired { .. } => (1, Code::ReplayExpired),
            ReplayError::OtherTenant | ReplayError::OtherRequest { .. } => {
                (2, Code::ReplayMismatch)
            }
        };
        self.refusals[refusal].count();
        let field = match &error {
            ReplayError::OtherRequest { field } => *field,
            _ => "replay",
        };
        Problem::new(code, error.to_string()).with("field", field)
    }

    /// Writes the counters.
    pub(super) fn write(&self, family: &mut Families<'_, '_>) -> fmt::Result {
        for (name, help, count) in [
            (
                "sandpiper_tool_rounds",
                "Rounds of executions with tools: each is one job process",
                &self.rounds,
            ),
            (
                "sandpiper_tool_calls",
                "Calls of tools that scripts made",
                &self.calls,
            ),
            (
                "sandpiper_tool_suspensions",
                "Responses of executions that wait for answers or for a time",
                &self.suspended,
            ),
        ] {
            family.counter(name, help, count.get())?;
        }
        let refusals = self.refusals.iter().map(Counter::get);
        family.counters(
            "sandpiper_replay_refusals",
            "Requests whose `replay` was refused, by reason",
            "reason",
            REFUSALS.into_iter().zip(refusals),
        )
    }
}
