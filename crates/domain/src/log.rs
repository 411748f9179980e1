//! What a script logs: its entries, and the log of one that still runs.

use super::{JsonText, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Which console method wrote a log entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum LogKind {
    Log,
    Info,
    Warn,
    Error,
    Debug,
    Trace,
    Dir,
    Table,
    Assert,
    Count,
    Time,
    Group,
}

/// One line of a script's log.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct LogEntry {
    /// The console method.
    #[serde(rename = "type")]
    pub kind: LogKind,
    /// When it was written.
    #[schema(value_type = String, format = DateTime)]
    pub timestamp: Timestamp,
    /// How many `console.group` were open; left out when none was.
    #[serde(skip_serializing_if = "is_zero")]
    #[schema(default = 0)]
    pub depth: u32,
    /// The arguments, a JSON array.
    #[schema(value_type = Vec<serde_json::Value>)]
    pub data: JsonText,
}

impl LogEntry {
    /// What an entry costs of `outputBytes` beside its data: its kind, its time and its place in the answer.
    pub const OVERHEAD_BYTES: usize = 64;

    /// What this entry costs of `outputBytes`.
    #[must_use]
    pub fn output_bytes(&self) -> usize {
        Self::OVERHEAD_BYTES + self.data.as_str().len()
    }
}

fn is_zero(depth: &u32) -> bool {
    *depth == 0
}

/// What is known of the log of an execution that runs: its head and its tail. Entries are numbered from 0 as they come,
/// and a number never passes to another entry.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LogSoFar {
    /// What is kept, with its numbers.
    pub entries: Vec<(u64, LogEntry)>,
    /// The number of the entry that comes next.
    pub next: u64,
}

impl LogSoFar {
    /// Entries that were not kept, if this is all that was.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        let kept = u64::try_from(self.entries.len()).unwrap_or(u64::MAX);
        self.next.saturating_sub(kept)
    }
}
