//! The limits of an execution: the defaults, and the maximum that a client may request.

use super::values::bytes;
use super::{GIB, MIB, OptionConflict};
use clap::{Args, value_parser};
use sandpiper_domain::{Ceiling, LimitError, Limits};

/// The limits of an execution whose request names none.
#[derive(Debug, Clone, Args)]
pub struct LimitOptions {
    /// Maximum duration of one execution, milliseconds
    #[arg(long, env = "SANDPIPER_TIMEOUT_MS", value_name = "MS", default_value_t = 2_000, value_parser = value_parser!(u32).range(1..=MAX_TIMEOUT_MS))]
    pub timeout_ms: u32,
    /// Maximum JavaScript heap of one execution, bytes
    #[arg(long, env = "SANDPIPER_MEMORY_BYTES", value_name = "BYTES", default_value = "32MiB", value_parser = bytes(MIB, 4 * GIB))]
    pub memory_bytes: u64,
    /// Maximum size of result and log of one execution together, bytes of JSON
    #[arg(long, env = "SANDPIPER_OUTPUT_BYTES", value_name = "BYTES", default_value = "1MiB", value_parser = bytes(256, 64 * MIB))]
    pub output_bytes: u64,
}

/// The maximum that a client may request.
#[derive(Debug, Clone, Args)]
pub struct CeilingOptions {
    /// Maximum that a client may request as `timeoutMs`
    #[arg(long, env = "SANDPIPER_TIMEOUT_MS_CEILING", value_name = "MS", default_value_t = 30_000, value_parser = value_parser!(u32).range(1..=MAX_TIMEOUT_MS))]
    pub timeout_ms_ceiling: u32,
    /// Maximum that a client may request as `memoryBytes`
    #[arg(long, env = "SANDPIPER_MEMORY_BYTES_CEILING", value_name = "BYTES", default_value = "256MiB", value_parser = bytes(MIB, 4 * GIB))]
    pub memory_bytes_ceiling: u64,
    /// Maximum that a client may request as `outputBytes`
    #[arg(long, env = "SANDPIPER_OUTPUT_BYTES_CEILING", value_name = "BYTES", default_value = "8MiB", value_parser = bytes(256, 64 * MIB))]
    pub output_bytes_ceiling: u64,
}

/// A day: no client waits longer for a response.
const MAX_TIMEOUT_MS: i64 = 24 * 60 * 60 * 1000;

impl CeilingOptions {
    #[must_use]
    pub fn ceiling(&self) -> Ceiling {
        Ceiling {
            timeout_ms: self.timeout_ms_ceiling,
            memory_bytes: self.memory_bytes_ceiling,
            output_bytes: as_output(self.output_bytes_ceiling),
        }
    }
}

impl LimitOptions {
    /// Returns the limits of a request that names none. Fails if a default is above `ceiling` or too small.
    pub fn defaults(&self, ceiling: &Ceiling) -> Result<Limits, OptionConflict> {
        let output_bytes = as_output(self.output_bytes);
        Limits::defaults(self.timeout_ms, self.memory_bytes, output_bytes, ceiling).map_err(
            |error| {
                let field = match &error {
                    LimitError::AboveCeiling(above) => above.field,
                    LimitError::TooSmall { field, .. } => *field,
                };
                let (first, second) = match field {
                    "timeoutMs" => ("--timeout-ms", "--timeout-ms-ceiling"),
                    "memoryBytes" => ("--memory-bytes", "--memory-bytes-ceiling"),
                    _ => ("--output-bytes", "--output-bytes-ceiling"),
                };
                let reason = "the default must not be above the ceiling".to_owned();
                OptionConflict {
                    first,
                    second,
                    reason,
                }
            },
        )
    }

    /// Returns the limits without a separate ceiling: the person who sets them is the operator.
    pub fn own(&self) -> Result<Limits, OptionConflict> {
        self.defaults(&Ceiling {
            timeout_ms: self.timeout_ms,
            memory_bytes: self.memory_bytes,
            output_bytes: as_output(self.output_bytes),
        })
    }
}

fn as_output(bytes: u64) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}
