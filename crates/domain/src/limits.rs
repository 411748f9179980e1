//! The limits of an execution, and the most that a client may request.

use serde::{Deserialize, Serialize};
use std::time::Duration;
use utoipa::ToSchema;

/// The limits of one execution. Each value lies between its smallest sensible value and the operator's [`Ceiling`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    timeout_ms: u32,
    memory_bytes: u64,
    output_bytes: u32,
}

/// The most that a client may request, set by the operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Ceiling {
    /// Elapsed time of one execution, milliseconds.
    pub timeout_ms: u32,
    /// Memory of the JavaScript heap, bytes.
    pub memory_bytes: u64,
    /// Result and log together, bytes of JSON.
    pub output_bytes: u32,
}

/// A limit that ended an execution, by its name in the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum Limit {
    /// Elapsed time.
    TimeoutMs,
    /// Heap.
    MemoryBytes,
    /// Stack.
    StackBytes,
    /// Result and log.
    OutputBytes,
    /// Times at which timers of a script with tools came due.
    Wakes,
    /// Calls of tools.
    CallsMax,
    /// Time of all replays of a script with tools.
    ReplayMs,
    /// Time for which a script with tools may wait.
    WaitTimeoutS,
}

impl Limit {
    pub const ALL: [Self; 8] = [
        Self::TimeoutMs,
        Self::MemoryBytes,
        Self::StackBytes,
        Self::OutputBytes,
        Self::Wakes,
        Self::CallsMax,
        Self::ReplayMs,
        Self::WaitTimeoutS,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::TimeoutMs => "timeoutMs",
            Self::MemoryBytes => "memoryBytes",
            Self::StackBytes => "stackBytes",
            Self::OutputBytes => "outputBytes",
            Self::Wakes => "wakes",
            Self::CallsMax => "callsMax",
            Self::ReplayMs => "replayMs",
            Self::WaitTimeoutS => "waitTimeoutS",
        }
    }

    /// Returns a sentence about what a client can do when this limit has ended an execution.
    pub fn hint(self) -> &'static str {
        match self {
            Self::TimeoutMs => {
                "A request may ask for more time with `limits.timeoutMs`, up to the ceiling that `GET /api` shows"
            }
            Self::MemoryBytes => {
                "A request may ask for more memory with `limits.memoryBytes`, up to the ceiling that `GET /api` shows"
            }
            Self::StackBytes => {
                "The stack is the same for all scripts. A loop over a list of what is left to do needs no deep stack"
            }
            Self::OutputBytes => {
                "A request may ask for more output with `limits.outputBytes`, up to the ceiling that `GET /api` shows"
            }
            Self::Wakes => {
                "Longer delays of the timers, or one call that waits outside, need fewer wakes"
            }
            Self::CallsMax => {
                "A script that catches `too_many_calls` or `log_full` should call no further tool"
            }
            Self::ReplayMs => {
                "`replayMs` is ten times `timeoutMs`; a script that computes less between its calls repeats less"
            }
            Self::WaitTimeoutS => {
                "A request may ask for more time with `limits.waitTimeoutS`; a shorter delay of the timer needs less"
            }
        }
    }
}

/// Limits of one execution. A value above the maximum is rejected, not reduced.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RequestedLimits {
    /// Only with tools: argument of one call, bytes of JSON.
    pub argument_bytes: Option<u64>,
    /// Only with tools: maximum time that a call waits for its answer, milliseconds.
    pub call_timeout_ms: Option<u64>,
    /// Only with tools: maximum calls.
    pub calls_max: Option<u64>,
    /// Only with tools: maximum calls that wait for their answers at the same time; others wait in order.
    pub concurrent_calls_max: Option<u64>,
    /// Only with tools: all calls and answers together, bytes. At most 1 MiB of an execution that is no job.
    pub log_bytes: Option<u64>,
    /// JavaScript heap, bytes.
    pub memory_bytes: Option<u64>,
    /// Result and log together, bytes of JSON.
    pub output_bytes: Option<u64>,
    /// Only with tools: result of one call, bytes of JSON.
    pub result_bytes: Option<u64>,
    /// Maximum duration, milliseconds.
    pub timeout_ms: Option<u64>,
    /// Only with tools: maximum time that the execution waits, seconds.
    pub wait_timeout_s: Option<u64>,
}

impl RequestedLimits {
    /// Returns the first limit that only an execution with tools has; `None` if none is requested.
    pub fn first_of_tools(&self) -> Option<&'static str> {
        let limits = [
            ("argumentBytes", self.argument_bytes),
            ("callTimeoutMs", self.call_timeout_ms),
            ("callsMax", self.calls_max),
            ("concurrentCallsMax", self.concurrent_calls_max),
            ("logBytes", self.log_bytes),
            ("resultBytes", self.result_bytes),
            ("waitTimeoutS", self.wait_timeout_s),
        ];
        let requested = limits.into_iter().find(|(_, limit)| limit.is_some());
        requested.map(|(name, _)| name)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("limits.{field} is {requested}, above this service's ceiling of {ceiling}")]
pub struct AboveCeiling {
    pub field: &'static str,
    pub requested: u64,
    pub ceiling: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    #[error(transparent)]
    AboveCeiling(#[from] AboveCeiling),
    #[error("limits.{field} is {requested}; the smallest is {smallest}")]
    TooSmall {
        field: &'static str,
        requested: u64,
        smallest: u64,
    },
}

impl Limits {
    pub const SMALLEST_TIMEOUT_MS: u32 = 1;
    /// Smallest heap that may be requested, bytes. A new context takes about a quarter of it.
    pub const SMALLEST_MEMORY_BYTES: u64 = 1024 * 1024;
    pub const SMALLEST_OUTPUT_BYTES: u32 = 256;
    /// A script is stopped once its log exceeds `outputBytes` times this factor. A script that logs much loses the
    /// middle of its log and retains its result. One that logs without end must not keep its executor busy for its
    /// whole time.
    pub const LOG_FACTOR: u32 = 16;

    /// Stack of one execution, bytes; a client cannot choose it. It has room for some 6,500 plain calls; with one
    /// mebibyte, ordinary recursion ended at 1,600. It is far below the process's own stack, and below the 16 MiB
    /// beyond which the engine no longer checks.
    pub const STACK_BYTES: usize = 4 * 1024 * 1024;

    /// Returns the limits for a request: `defaults` for each missing limit. Fails if a limit is out of bounds.
    pub fn within(
        requested: &RequestedLimits,
        defaults: &Self,
        ceiling: &Ceiling,
    ) -> Result<Self, LimitError> {
        let timeout_ms = bounded(
            "timeoutMs",
            requested.timeout_ms,
            u64::from(defaults.timeout_ms),
            u64::from(Self::SMALLEST_TIMEOUT_MS),
            u64::from(ceiling.timeout_ms),
        )?;
        let memory_bytes = bounded(
            "memoryBytes",
            requested.memory_bytes,
            defaults.memory_bytes,
            Self::SMALLEST_MEMORY_BYTES,
            ceiling.memory_bytes,
        )?;
        let output_bytes = bounded(
            "outputBytes",
            requested.output_bytes,
            u64::from(defaults.output_bytes),
            u64::from(Self::SMALLEST_OUTPUT_BYTES),
            u64::from(ceiling.output_bytes),
        )?;
        Ok(Self {
            timeout_ms: u32::try_from(timeout_ms).unwrap_or(ceiling.timeout_ms),
            memory_bytes,
            output_bytes: u32::try_from(output_bytes).unwrap_or(ceiling.output_bytes),
        })
    }

    /// Returns the operator's defaults, which must obey the operator's ceiling.
    pub fn defaults(
        timeout_ms: u32,
        memory_bytes: u64,
        output_bytes: u32,
        ceiling: &Ceiling,
    ) -> Result<Self, LimitError> {
        let wanted = Self {
            timeout_ms,
            memory_bytes,
            output_bytes,
        };
        let asked = RequestedLimits {
            timeout_ms: Some(u64::from(timeout_ms)),
            memory_bytes: Some(memory_bytes),
            output_bytes: Some(u64::from(output_bytes)),
            ..RequestedLimits::default()
        };
        Self::within(&asked, &wanted, ceiling)
    }

    pub fn timeout_ms(&self) -> u32 {
        self.timeout_ms
    }

    pub fn timeout(&self) -> Duration {
        Duration::from_millis(u64::from(self.timeout_ms))
    }

    pub fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }

    /// Returns the size of result and log together, bytes of JSON.
    pub fn output_bytes(&self) -> u32 {
        self.output_bytes
    }

    /// Returns the most that a script may log, retained or not, bytes of JSON.
    pub fn log_bytes(&self) -> u64 {
        u64::from(self.output_bytes) * u64::from(Self::LOG_FACTOR)
    }
}

pub(super) fn bounded(
    field: &'static str,
    requested: Option<u64>,
    default: u64,
    smallest: u64,
    ceiling: u64,
) -> Result<u64, LimitError> {
    let Some(requested) = requested else {
        return Ok(default);
    };
    if requested < smallest {
        return Err(LimitError::TooSmall {
            field,
            requested,
            smallest,
        });
    }
    if requested > ceiling {
        return Err(AboveCeiling {
            field,
            requested,
            ceiling,
        }
        .into());
    }
    Ok(requested)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CEILING: Ceiling = Ceiling {
        timeout_ms: 30_000,
        memory_bytes: 256 << 20,
        output_bytes: 8 << 20,
    };

    fn within(requested: RequestedLimits) -> Result<Limits, LimitError> {
        let defaults = Limits::defaults(2_000, 32 << 20, 1 << 20, &CEILING).unwrap();
        Limits::within(&requested, &defaults, &CEILING)
    }

    #[test]
    fn what_a_client_leaves_out_takes_the_default() {
        let limits = within(RequestedLimits::default()).unwrap();
        assert_eq!(limits.timeout_ms(), 2_000);
        assert_eq!(limits.memory_bytes(), 32 << 20);
        assert_eq!(limits.output_bytes(), 1 << 20);
    }

    #[test]
    fn a_limit_above_the_ceiling_is_refused_and_named() {
        let refused = within(RequestedLimits {
            timeout_ms: Some(30_001),
            ..RequestedLimits::default()
        });
        let message = refused.unwrap_err().to_string();
        assert!(
            message.contains("timeoutMs") && message.contains("30000"),
            "{message}"
        );
    }

    #[test]
    fn a_limit_of_zero_is_refused_and_named() {
        let refused = within(RequestedLimits {
            memory_bytes: Some(0),
            ..RequestedLimits::default()
        });
        assert!(matches!(
            refused,
            Err(LimitError::TooSmall {
                field: "memoryBytes",
                ..
            })
        ));
    }
}
