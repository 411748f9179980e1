//! The limits of an execution with tools, beside [`Limits`](crate::Limits).

use crate::limits::bounded;
use crate::{LimitError, Limits, RequestedLimits};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The limits of one execution with tools. The service checks a request's values against the operator's ceilings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ToolLimits {
    /// Most calls. A later one fails with `too_many_calls`.
    pub calls_max: u32,
    /// Most calls that are open at a time. Others are offered in their order once earlier ones are answered.
    pub concurrent_calls_max: u32,
    /// Longest argument, bytes of JSON. A call with a longer one fails with `argument_too_large`.
    pub argument_bytes: u32,
    /// Longest result, bytes of JSON. A call with a longer one fails with `result_too_large`.
    pub result_bytes: u32,
    /// Calls and answers of the log together, bytes. Beyond it a call fails with `log_full`.
    pub log_bytes: u32,
    /// Most wakes. The next one ends the execution: `timed_out`, `limitHit: "wakes"`.
    pub wakes: u32,
    /// Time that a call may take, from the commit that offered it, milliseconds. Then the service answers `timeout`.
    pub call_timeout_ms: u32,
    /// Longest suspension, seconds.
    pub wait_timeout_s: u32,
    /// Time of all replays, milliseconds, counted apart from `timeoutMs`. The service ends a job beyond it.
    pub replay_ms: u32,
}

impl ToolLimits {
    pub const CALLS_MAX_CEILING: u32 = 1_000;
    pub const CONCURRENT_CALLS_MAX_CEILING: u32 = Self::CALLS_MAX_CEILING;
    /// Smallest bound of arguments, results and the log that may be requested, bytes.
    pub const BYTES_SMALLEST: u32 = 256;
    pub const ARGUMENT_BYTES_CEILING: u32 = 1 << 20;
    pub const RESULT_BYTES_CEILING: u32 = 1 << 20;
    /// Bytes of the log of an execute, whose log travels with each request.
    pub const LOG_BYTES_OF_EXECUTE: u32 = 1 << 20;
    /// Bytes of the log of a job, whose log lies in the store.
    pub const LOG_BYTES_OF_JOB: u32 = 8 << 20;
    pub const WAKES_CEILING: u32 = 2_000;
    /// Thirty days.
    pub const WAIT_TIMEOUT_S_CEILING: u32 = 30 * 24 * 3600;
    /// Thirty days.
    pub const CALL_TIMEOUT_MS_CEILING: u32 = Self::WAIT_TIMEOUT_S_CEILING * 1_000;
    /// `replayMs` as a multiple of `timeoutMs`, where a request does not say it.
    pub const REPLAY_FACTOR: u32 = 10;
    /// A timer that is due within this time is waited for in the job process. A later one suspends the execution.
    pub const WAIT_IN_PROCESS_MS: u64 = 250;
    /// Most time that one round waits in its job process, milliseconds.
    pub const WAITS_IN_PROCESS_MS: u64 = 1_000;
    /// Least time between two wakes that suspend, milliseconds.
    pub const WAKE_SPACING_MS: u64 = 1_000;
    /// Least time between two wakes that suspend, as a part of the time since the start: one in so many.
    pub const WAKE_SPACING_PART: u64 = 100;
    /// Most turns of one interval in one wake. An interval that is further behind has one turn.
    pub const MERGED_TURNS_MAX: u32 = 100;
    /// Time of a replay, as a multiple of the script's own time that the log has recorded.
    pub const REPLAY_LENIENCY: u32 = 3;
    /// Time of a replay in addition, milliseconds. A busy machine may stop a process for seconds, and a job whose replays
    /// fail is lost; `replayMs` bounds the replays of an execution together.
    pub const REPLAY_LENIENCY_MS: u64 = 2_000;

    /// Returns the least time between two wakes that suspend, so long after the start of the script.
    pub fn wake_spacing_ms(since_start_ms: u64) -> u64 {
        Self::WAKE_SPACING_MS.max(since_start_ms / Self::WAKE_SPACING_PART)
    }

    /// Returns the time that the replay of a log may take in which the script used `own` time.
    pub fn replay_time(own: Duration) -> Duration {
        let more = Duration::from_millis(Self::REPLAY_LENIENCY_MS);
        own.saturating_mul(Self::REPLAY_LENIENCY)
            .saturating_add(more)
    }
}

impl ToolLimits {
    /// Returns the limits of an execution of `POST /api/execute` whose request names none.
    pub fn default_of_execute(limits: &Limits, wait_max_s: u32) -> Self {
        Self {
            call_timeout_ms: wait_max_s.saturating_mul(1_000),
            wait_timeout_s: wait_max_s,
            replay_ms: limits.timeout_ms().saturating_mul(Self::REPLAY_FACTOR),
            ..Self::default()
        }
    }

    /// Returns the limits of an execution of `POST /api/execute`, whose suspensions last at most `wait_max_s`. Fails if a
    /// limit is out of bounds. A call without a limit of its own may wait as long as the execution.
    pub fn of_execute(
        requested: &RequestedLimits,
        limits: &Limits,
        wait_max_s: u32,
    ) -> Result<Self, LimitError> {
        let default = Self::default_of_execute(limits, wait_max_s);
        default.with(requested, wait_max_s)
    }

    /// Returns the limits of a job. Fails if a limit is out of bounds. A call without a limit of its own may wait as long as
    /// the job.
    pub fn of_job(requested: &RequestedLimits, limits: &Limits) -> Result<Self, LimitError> {
        let default = Self {
            log_bytes: Self::LOG_BYTES_OF_JOB,
            replay_ms: limits.timeout_ms().saturating_mul(Self::REPLAY_FACTOR),
            ..Self::default()
        };
        default.with(requested, Self::WAIT_TIMEOUT_S_CEILING)
    }

    /// Returns these defaults with the limits that a request names. The default of `logBytes` is its ceiling.
    fn with(self, requested: &RequestedLimits, wait_max_s: u32) -> Result<Self, LimitError> {
        let within = |field, requested, default: u32, smallest: u32, ceiling: u32| {
            let limit = bounded(
                field,
                requested,
                default.into(),
                smallest.into(),
                ceiling.into(),
            )?;
            Ok::<_, LimitError>(u32::try_from(limit).unwrap_or(ceiling))
        };
        let of_bytes = |field, requested, default, ceiling| {
            within(field, requested, default, Self::BYTES_SMALLEST, ceiling)
        };
        let wait_timeout_s = within(
            "waitTimeoutS",
            requested.wait_timeout_s,
            self.wait_timeout_s,
            1,
            wait_max_s,
        )?;
        let wait_ms = wait_timeout_s.saturating_mul(1_000);
        Ok(Self {
            calls_max: within(
                "callsMax",
                requested.calls_max,
                self.calls_max,
                0,
                Self::CALLS_MAX_CEILING,
            )?,
            concurrent_calls_max: within(
                "concurrentCallsMax",
                requested.concurrent_calls_max,
                self.concurrent_calls_max,
                1,
                Self::CONCURRENT_CALLS_MAX_CEILING,
            )?,
            argument_bytes: of_bytes(
                "argumentBytes",
                requested.argument_bytes,
                self.argument_bytes,
                Self::ARGUMENT_BYTES_CEILING,
            )?,
            result_bytes: of_bytes(
                "resultBytes",
                requested.result_bytes,
                self.result_bytes,
                Self::RESULT_BYTES_CEILING,
            )?,
            log_bytes: of_bytes(
                "logBytes",
                requested.log_bytes,
                self.log_bytes,
                self.log_bytes,
            )?,
            call_timeout_ms: within(
                "callTimeoutMs",
                requested.call_timeout_ms,
                wait_ms,
                1,
                Self::CALL_TIMEOUT_MS_CEILING,
            )?,
            wait_timeout_s,
            ..self
        })
    }
}

impl Default for ToolLimits {
    fn default() -> Self {
        Self {
            calls_max: 256,
            concurrent_calls_max: 256,
            argument_bytes: 256 << 10,
            result_bytes: 256 << 10,
            log_bytes: Self::LOG_BYTES_OF_EXECUTE,
            wakes: Self::WAKES_CEILING,
            call_timeout_ms: 60_000,
            wait_timeout_s: 24 * 3600,
            replay_ms: 20_000,
        }
    }
}
