//! A script's log: its entries, and the log of a running execution.

use super::{JsonText, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The console method that wrote a log entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
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

/// An entry of a script's log.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct LogEntry {
    /// The console method.
    #[serde(rename = "type")]
    pub kind: LogKind,
    /// The time of the call.
    #[schema(value_type = String, format = DateTime)]
    pub timestamp: Timestamp,
    /// Number of open `console.group`; left out if there is none.
    #[serde(skip_serializing_if = "is_zero")]
    #[schema(default = 0)]
    pub depth: u32,
    /// The arguments, a JSON array.
    #[schema(value_type = Vec<serde_json::Value>)]
    pub data: JsonText,
}

impl LogEntry {
    /// Cost of an entry, out of `outputBytes`, in addition to its data: its kind, its time and its place in the
    /// response.
    pub const OVERHEAD_BYTES: usize = 64;

    /// Returns the cost of this entry, out of `outputBytes`.
    pub fn output_bytes(&self) -> usize {
        Self::OVERHEAD_BYTES + self.data.as_str().len()
    }
}

fn is_zero(depth: &u32) -> bool {
    *depth == 0
}

/// The log of a running execution as far as it is known: its head and its tail. Entries are numbered from 0 as they
/// arrive, and a number always names the same entry.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LogSoFar {
    /// The retained entries, with their numbers.
    pub entries: Vec<(u64, LogEntry)>,
    /// The number of the next entry.
    pub next: u64,
}

impl LogSoFar {
    /// Returns the number of entries that were not retained, if this is the whole log.
    pub fn dropped(&self) -> u64 {
        let kept = u64::try_from(self.entries.len()).unwrap_or(u64::MAX);
        self.next.saturating_sub(kept)
    }
}
