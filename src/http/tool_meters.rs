//! Counters of executions with tools, and those of their requests.

use super::problem::{Code, Problem};
use crate::actors::ToolCounters;
use crate::replay::ReplayError;
use sandpiper_http_kit::counters::Counter;
use sandpiper_http_kit::metrics::Families;
use std::fmt;

/// The reasons for which a `replay` is refused, as labels.
const REFUSALS: [&str; 3] = ["invalid", "expired", "mismatch"];

/// Counters of requests that continue executions with tools.
#[derive(Debug, Default)]
pub struct ToolMeters {
    /// In the order of [`REFUSALS`].
    refusals: [Counter; REFUSALS.len()],
}

impl ToolMeters {
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
    pub(super) fn write(
        &self,
        counters: &ToolCounters,
        family: &mut Families<'_, '_>,
    ) -> fmt::Result {
        for (name, help, count) in [
            (
                "sandpiper_tool_rounds",
                "Rounds of executions with tools: each is one job process",
                &counters.rounds,
            ),
            (
                "sandpiper_tool_calls",
                "Calls of tools that scripts made",
                &counters.calls,
            ),
            (
                "sandpiper_tool_suspensions",
                "Times at which executions with tools began to wait for answers or for a time",
                &counters.suspensions,
            ),
            (
                "sandpiper_tool_failed_replays",
                "Rounds that the service failed to run along their own log; each is tried again",
                &counters.failed_replays,
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
