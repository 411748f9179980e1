//! Calls of tools and their answers.

use super::ToolName;
use crate::JsonText;
use crate::json_text::given_json;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A call that a script made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Call {
    /// Number of the call in its execution, from 0, without gaps.
    pub seq: u32,
    pub name: ToolName,
    /// The argument as it is shown, stored and sent; absent if the script gave none, if it was refused as too large, and if
    /// the log had no room for it.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "given_json")]
    pub argument: Option<JsonText>,
    /// The script's clock at the call, Unix milliseconds.
    pub at_ms: u64,
    /// The reason for which the call is never offered. Its answer is the failure with this code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Refusal>,
}

impl Call {
    /// Cost of a call out of `logBytes`, in addition to its name and argument. Its answer's fixed cost is in it.
    pub const OVERHEAD_BYTES: usize = 256;

    /// Returns the cost of this call, out of `logBytes`.
    pub fn log_bytes(&self) -> usize {
        Self::cost(&self.name, self.argument.as_ref().map(JsonText::as_str))
    }

    /// Returns the cost of a call of `name` with `argument`, out of `logBytes`.
    pub fn cost(name: &ToolName, argument: Option<&str>) -> usize {
        Self::OVERHEAD_BYTES + name.as_str().len() + argument.map_or(0, str::len)
    }
}

/// A reason for which the engine itself answers a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// The argument does not fit the schema of the tool.
    InvalidArgument,
    TooManyCalls,
    ArgumentTooLarge,
    /// The log has no room for the call or its result.
    LogFull,
}

impl Refusal {
    /// Most calls of one execution that are refused for lack of room. The next one ends the execution: `timed_out`,
    /// `limitHit: "callsMax"`.
    pub const WITHOUT_ROOM_MAX: u32 = 1_000;
    /// Most cost of the failure, out of `logBytes`.
    pub const BYTES_MAX: usize = 128;

    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidArgument => "invalid_argument",
            Self::TooManyCalls => "too_many_calls",
            Self::ArgumentTooLarge => "argument_too_large",
            Self::LogFull => "log_full",
        }
    }

    /// Returns whether the execution has no room for further calls. Such a call is logged beyond `logBytes`.
    pub fn is_for_room(self) -> bool {
        matches!(self, Self::TooManyCalls | Self::LogFull)
    }

    /// Returns the failure that the script gets.
    pub fn failure(self) -> ToolFailure {
        let message = match self {
            Self::InvalidArgument => "the argument does not fit the schema of the tool",
            Self::TooManyCalls => "the execution has made as many calls as `callsMax` allows",
            Self::ArgumentTooLarge => "the argument is longer than `argumentBytes` allows",
            Self::LogFull => "the log of calls and answers has no room left (`logBytes`)",
        };
        ToolFailure {
            message: message.to_owned(),
            name: None,
            code: Some(self.as_str().to_owned()),
            retryable: false,
        }
    }
}

/// A call that failed: the properties of the `ToolError` that the script gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ToolFailure {
    /// The message of the error.
    pub message: String,
    /// The name of the error; `ToolError` if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub name: Option<String>,
    /// A stable code for programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub code: Option<String>,
    /// True if the same call may succeed later.
    #[serde(default)]
    pub retryable: bool,
}

impl ToolFailure {
    /// Name of the error where an answer gives none.
    pub const NAME: &'static str = "ToolError";
    /// Longest `message`, bytes.
    pub const MESSAGE_BYTES_MAX: usize = 16 * 1024;
    /// Longest `name` and longest `code`, bytes each.
    pub const WORD_BYTES_MAX: usize = 128;

    fn bytes(&self) -> usize {
        let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        self.message.len() + length(&self.name) + length(&self.code)
    }
}

/// The end of a call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallResult {
    /// The call's promise is fulfilled with this value.
    Value(JsonText),
    /// The call's promise is rejected with this error.
    Failed(ToolFailure),
}

impl CallResult {
    /// Returns the cost of this result, out of `logBytes`.
    pub fn log_bytes(&self) -> usize {
        match self {
            Self::Value(text) => text.as_str().len(),
            Self::Failed(failure) => failure.bytes(),
        }
    }
}

/// An answer that is at hand and in no record yet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Arrived {
    pub seq: u32,
    /// The time at which the service took the answer, Unix milliseconds.
    pub arrived_ms: u64,
    pub result: CallResult,
}

/// The state of a call, as a receipt shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CallState {
    /// Offered, and not answered yet.
    Waiting,
    /// A person must decide first.
    NeedsApproval,
    /// The service is calling.
    Sending,
    /// Answered with a value.
    Done,
    /// Answered with a failure, or refused.
    Failed,
    /// Offered, and nobody waits for its answer any more.
    Abandoned,
    /// Never offered.
    NotSent,
    /// Sent, and nobody knows with which effect.
    Unknown,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_costs_no_more_than_its_bound() {
        for refusal in [
            Refusal::InvalidArgument,
            Refusal::TooManyCalls,
            Refusal::ArgumentTooLarge,
            Refusal::LogFull,
        ] {
            let cost = CallResult::Failed(refusal.failure()).log_bytes();
            assert!(cost <= Refusal::BYTES_MAX, "{refusal:?} {cost}");
        }
    }
}
