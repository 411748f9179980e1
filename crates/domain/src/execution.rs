//! One attempt at a job: its outcome, its log, its usage.

use super::json_text::given_json;
use super::{JobId, JsonText, Limit, Limits, LogEntry, LogSoFar, Timestamp};
use serde::{Deserialize, Serialize};
#[allow(unused_imports)] // in what utoipa derives
use std::collections::HashMap;
use utoipa::ToSchema;

/// The outcome of an execution. A script's failure is data, never an error of the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The script ran to its end and has a result.
    Succeeded,
    /// The script threw, was rejected, did not parse, or could never settle.
    Threw,
    /// The script did not end within `timeoutMs`.
    TimedOut,
    /// The script needed more than `memoryBytes`.
    MemoryExceeded,
    /// The script recursed deeper than its stack allows.
    StackExceeded,
    /// The result was longer than `outputBytes`, or the log many times as long.
    OutputExceeded,
    /// The execution was cancelled.
    Cancelled,
    /// The job process died, or broke the protocol.
    Crashed,
    /// The script did not do again what the log of its calls says that it did. Nothing was called.
    Diverged,
}

impl Outcome {
    pub const ALL: [Self; 9] = [
        Self::Succeeded,
        Self::Threw,
        Self::TimedOut,
        Self::MemoryExceeded,
        Self::StackExceeded,
        Self::OutputExceeded,
        Self::Cancelled,
        Self::Crashed,
        Self::Diverged,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Threw => "threw",
            Self::TimedOut => "timed_out",
            Self::MemoryExceeded => "memory_exceeded",
            Self::StackExceeded => "stack_exceeded",
            Self::OutputExceeded => "output_exceeded",
            Self::Cancelled => "cancelled",
            Self::Crashed => "crashed",
            Self::Diverged => "diverged",
        }
    }

    pub fn limit(self) -> Option<Limit> {
        match self {
            Self::TimedOut => Some(Limit::TimeoutMs),
            Self::MemoryExceeded => Some(Limit::MemoryBytes),
            Self::StackExceeded => Some(Limit::StackBytes),
            Self::OutputExceeded => Some(Limit::OutputBytes),
            Self::Succeeded | Self::Threw | Self::Cancelled | Self::Crashed | Self::Diverged => {
                None
            }
        }
    }
}

/// The exception of a script, in the form of the API.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScriptError {
    /// `TypeError`, …; `NonError` when something other than an Error was thrown.
    pub name: String,
    /// The message of the error.
    pub message: String,
    /// The call stack, without the service's own frames; empty if there is none.
    pub stack: String,
    /// `code`, `source`, `prelude`, the name of a module, or the example script's name.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(nullable = false)]
    pub file_name: Option<String>,
    /// Line of the user's text, from 1.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(nullable = false)]
    pub line_number: Option<u32>,
    /// Column of the user's text, from 1.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(nullable = false)]
    pub column_number: Option<u32>,
    /// The thrown value, when it was not an Error.
    #[serde(skip_serializing_if = "Option::is_none", default, with = "given_json")]
    #[schema(value_type = Option<serde_json::Value>)]
    pub value: Option<JsonText>,
    /// The error's `cause`, converted as a value.
    #[serde(skip_serializing_if = "Option::is_none", default, with = "given_json")]
    #[schema(value_type = Option<serde_json::Value>)]
    pub cause: Option<JsonText>,
    /// The error's own enumerable properties, converted as values, apart from those that have a field here.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(value_type = Option<HashMap<String, serde_json::Value>>, nullable = false)]
    pub properties: Option<JsonText>,
    /// The errors of an AggregateError, converted as values; of many, the first.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(value_type = Option<Vec<serde_json::Value>>, nullable = false)]
    pub errors: Option<JsonText>,
    /// A sentence that says what is probably wrong, and what to do.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(nullable = false)]
    pub hint: Option<String>,
}

impl ScriptError {
    /// Name of the error of an execution with tools that woke too often.
    pub const TOO_MANY_WAKES: &'static str = "WakeLimitError";
    /// Name of the error of an execution with tools that went on to call tools when it had no room for calls.
    pub const TOO_MANY_CALLS: &'static str = "CallLimitError";
    /// Name of the error of an execution with tools whose replays took too long.
    pub const REPLAYED_TOO_LONG: &'static str = "ReplayLimitError";
    /// Name of the error of an execution with tools that would wait too long.
    pub const WAITS_TOO_LONG: &'static str = "WaitLimitError";
    /// Name of the error of an execution that diverged from its log.
    pub const DIVERGED: &'static str = "DivergedError";

    /// Returns an error that the service itself reports, without a position in the source.
    pub fn of_service(name: &str, message: impl Into<String>) -> Self {
        Self {
            name: name.to_owned(),
            message: message.into(),
            stack: String::new(),
            file_name: None,
            line_number: None,
            column_number: None,
            value: None,
            cause: None,
            properties: None,
            errors: None,
            hint: None,
        }
    }

    /// Returns the error with a hint.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Returns the bytes on the heap. A script chooses each of these texts, so each of them counts.
    fn size_bytes(&self) -> usize {
        let json_bytes =
            |text: &Option<JsonText>| text.as_ref().map_or(0, |text| text.as_str().len());
        self.name.len()
            + self.message.len()
            + self.stack.len()
            + self.file_name.as_ref().map_or(0, String::len)
            + json_bytes(&self.value)
            + json_bytes(&self.cause)
            + json_bytes(&self.properties)
            + json_bytes(&self.errors)
            + self.hint.as_ref().map_or(0, String::len)
    }
}

/// The type of a result before it became JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ValueType {
    Undefined,
    Null,
    Boolean,
    Number,
    String,
    Bigint,
    Symbol,
    Function,
    Array,
    Object,
    Date,
    Map,
    Set,
    Error,
    Regexp,
    TypedArray,
    ArrayBuffer,
    Promise,
}

/// The resources that an execution used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// Time from when the job process had its job to its final message, milliseconds; by the executor's clock.
    #[serde(serialize_with = "millis_from_micros", rename = "wallMs")]
    #[schema(value_type = f64)]
    pub wall_micros: u64,
    /// Processor time of the job process, milliseconds; by the kernel.
    #[serde(serialize_with = "millis_from_micros", rename = "cpuMs")]
    #[schema(value_type = f64)]
    pub cpu_micros: u64,
    /// Peak size of the JavaScript heap; if the process was killed, its peak resident memory by the kernel.
    pub peak_memory_bytes: u64,
    /// Result and log together, bytes of JSON.
    pub output_bytes: u64,
}

#[allow(clippy::cast_precision_loss)]
fn millis_from_micros<S: serde::Serializer>(
    micros: &u64,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(*micros as f64 / 1000.0)
}

/// One attempt at a job, complete.
#[derive(Debug, Clone, PartialEq)]
pub struct Execution {
    pub id: JobId,
    /// The time at which the executor began to send the job to the job process.
    pub started_at: Timestamp,
    /// The time at which the final message arrived or the job process was killed.
    pub finished_at: Timestamp,
    pub outcome: Outcome,
    /// The value, if the script succeeded.
    pub result: Option<JsonText>,
    /// The type of the value before it became JSON.
    pub result_type: Option<ValueType>,
    /// The error, if the script did not succeed.
    pub error: Option<ScriptError>,
    /// A sentence about a script that succeeded and probably does not do what was meant.
    pub hint: Option<String>,
    /// Log entries, oldest first; of a long log, its head and its tail.
    pub log: Vec<LogEntry>,
    /// Log entries that did not fit into `outputBytes`: the middle of the log.
    pub log_dropped: u64,
    /// The number of entries in the log that precede the dropped ones.
    pub log_dropped_at: usize,
    pub usage: Usage,
    pub limits: Limits,
}

impl Execution {
    pub fn never_ran(id: JobId, limits: Limits, outcome: Outcome, error: ScriptError) -> Self {
        let now = Timestamp::now();
        Self {
            id,
            started_at: now,
            finished_at: now,
            outcome,
            result: None,
            result_type: None,
            error: Some(error),
            hint: None,
            log: Vec::new(),
            log_dropped: 0,
            log_dropped_at: 0,
            usage: Usage::default(),
            limits,
        }
    }

    /// Returns the limit that ended the execution. The name of the error tells the kinds of a time-out apart.
    pub fn limit_hit(&self) -> Option<Limit> {
        let name = self.error.as_ref().map(|error| error.name.as_str());
        match (self.outcome, name) {
            (Outcome::TimedOut, Some(ScriptError::TOO_MANY_WAKES)) => Some(Limit::Wakes),
            (Outcome::TimedOut, Some(ScriptError::TOO_MANY_CALLS)) => Some(Limit::CallsMax),
            (Outcome::TimedOut, Some(ScriptError::REPLAYED_TOO_LONG)) => Some(Limit::ReplayMs),
            (Outcome::TimedOut, Some(ScriptError::WAITS_TOO_LONG)) => Some(Limit::WaitTimeoutS),
            (outcome, _) => outcome.limit(),
        }
    }

    /// Returns the log from entry `number` on. Entries keep the numbers that they had while the execution ran. If the
    /// job process failed to send some, the numbers are approximate.
    pub fn log_since(&self, number: u64) -> LogSoFar {
        let dropped_at = u64::try_from(self.log_dropped_at).unwrap_or(u64::MAX);
        let numbered = (0..).zip(&self.log).map(|(count, entry)| {
            let its_number = if count < dropped_at {
                count
            } else {
                count + self.log_dropped
            };
            (its_number, entry)
        });
        let kept = u64::try_from(self.log.len()).unwrap_or(u64::MAX);
        LogSoFar {
            entries: numbered
                .filter(|(its_number, _)| *its_number >= number)
                .map(|(its_number, entry)| (its_number, entry.clone()))
                .collect(),
            next: kept + self.log_dropped,
        }
    }

    /// Bytes of memory this record holds, near enough for a bound.
    pub fn size_bytes(&self) -> usize {
        let log: usize = self
            .log
            .iter()
            .map(|entry| size_of::<LogEntry>() + entry.data.as_str().len())
            .sum();
        let result = self.result.as_ref().map_or(0, |text| text.as_str().len());
        let error = self.error.as_ref().map_or(0, ScriptError::size_bytes);
        let hint = self.hint.as_ref().map_or(0, String::len);
        size_of::<Self>() + log + result + error + hint
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LogKind, samples};

    #[test]
    fn an_outcome_has_one_name() {
        for outcome in Outcome::ALL {
            let name = serde_json::to_value(outcome).unwrap();
            assert_eq!(name, outcome.as_str());
        }
    }

    #[test]
    fn entries_of_a_log_keep_their_numbers_around_what_was_dropped() {
        let mut execution = samples::execution(JobId::generate(), Outcome::Succeeded);
        let entry = LogEntry {
            kind: LogKind::Log,
            timestamp: Timestamp::now(),
            depth: 0,
            data: JsonText::null(),
        };
        execution.log = vec![entry; 5];
        execution.log_dropped = 10;
        execution.log_dropped_at = 2;
        let since = |number| {
            let log = execution.log_since(number);
            assert_eq!(log.next, 15);
            let numbers: Vec<u64> = log.entries.iter().map(|(number, _)| *number).collect();
            numbers
        };
        assert_eq!(since(0), [0, 1, 12, 13, 14]);
        assert_eq!(since(5), [12, 13, 14]);
        assert_eq!(since(15), [0; 0]);
    }

    #[test]
    fn every_text_that_a_script_can_make_long_counts_as_bytes_of_its_record() {
        let long = "x".repeat(10_000);
        let json = || JsonText::parse(format!("\"{long}\"")).unwrap();
        let plain = samples::execution(JobId::generate(), Outcome::Threw);
        let grown_by = |change: &dyn Fn(&mut Execution, &mut ScriptError)| {
            let mut execution = plain.clone();
            let mut error = ScriptError::of_service("Test", "it never ran");
            change(&mut execution, &mut error);
            execution.error = Some(error);
            execution.size_bytes() - plain.size_bytes()
        };
        let grown = [
            grown_by(&|execution, _| execution.result = Some(json())),
            grown_by(&|execution, _| {
                execution.log.push(LogEntry {
                    kind: LogKind::Log,
                    timestamp: Timestamp::now(),
                    depth: 0,
                    data: json(),
                });
            }),
            grown_by(&|_, error| error.name.push_str(&long)),
            grown_by(&|_, error| error.message.push_str(&long)),
            grown_by(&|_, error| error.stack.push_str(&long)),
            grown_by(&|_, error| error.file_name = Some(long.clone())),
            grown_by(&|_, error| error.value = Some(json())),
            grown_by(&|_, error| error.cause = Some(json())),
            grown_by(&|_, error| error.properties = Some(json())),
            grown_by(&|_, error| error.errors = Some(json())),
            grown_by(&|_, error| error.hint = Some(long.clone())),
            grown_by(&|execution, _| execution.hint = Some(long.clone())),
        ];
        assert!(grown.iter().all(|bytes| *bytes >= 10_000), "{grown:?}");
    }
}
