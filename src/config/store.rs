//! The store of jobs and its bounds: sizes, and the time to wait for the database.

use super::values::bytes;
use super::{GIB, MIB, OptionConflict};
use clap::{Args, value_parser};
use sandpiper_store::{Address, WaitingBounds};
use std::str::FromStr;
use std::time::Duration;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreChoice {
    /// Memory of this process; jobs are lost when the process ends.
    Memory,
    Durable(Address),
}

impl FromStr for StoreChoice {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "memory" {
            return Ok(Self::Memory);
        }
        if let Some(path) = text.strip_prefix("sqlite:").filter(|path| !path.is_empty()) {
            return Ok(Self::Durable(Address::Sqlite(path.into())));
        }
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            return Ok(Self::Durable(Address::Postgres(text.to_owned())));
        }
        Err("give sqlite:PATH, postgres://USER@HOST/DATABASE, or memory")
    }
}

/// The bounds of the store.
#[derive(Debug, Clone, Args)]
pub struct StoreBoundOptions {
    /// Maximum size of jobs in a database, on all nodes together, bytes: request, log and execution of each, until the
    /// job expires
    #[arg(long, env = "SANDPIPER_DURABLE_BYTES", value_name = "BYTES", default_value = "10GiB", value_parser = bytes(MIB, 1024 * 1024 * GIB))]
    pub durable_bytes: u64,
    /// Maximum size of the jobs of one client, bytes: request, log and execution of each, until the job expires; in a
    /// database, on all nodes together
    #[arg(long, env = "SANDPIPER_CLIENT_BYTES", value_name = "BYTES", default_value = "1GiB", value_parser = bytes(MIB, 1024 * 1024 * GIB))]
    pub client_bytes: u64,
    /// Maximum number of one client's jobs that wait for answers to calls of their tools; beyond it a new job with tools is
    /// rejected, and jobs that wait go on
    #[arg(long, env = "SANDPIPER_CLIENT_WAITING_MAX", value_name = "COUNT", default_value_t = 10_000, value_parser = value_parser!(u32).range(1..=10_000_000))]
    pub client_waiting_max: u32,
    /// Maximum size of what these jobs have stored, bytes
    #[arg(long, env = "SANDPIPER_CLIENT_WAITING_BYTES", value_name = "BYTES", default_value = "256MiB", value_parser = bytes(MIB, 1024 * 1024 * GIB))]
    pub client_waiting_bytes: u64,
    /// Maximum time to wait for the database, milliseconds
    #[arg(long, env = "SANDPIPER_STORE_TIMEOUT_MS", value_name = "MS", default_value_t = 4_000, value_parser = value_parser!(u64).range(500..=60_000))]
    pub store_timeout_ms: u64,
    /// Days for which usage is kept; older sums are deleted
    // Budgets of a month need the sums of that month.
    #[arg(long, env = "SANDPIPER_USAGE_DAYS", value_name = "DAYS", default_value_t = 400, value_parser = value_parser!(u32).range(62..=3_660))]
    pub usage_days: u32,
}

impl StoreBoundOptions {
    /// Returns the bounds of one client's jobs that wait for answers.
    pub(super) fn waiting(&self) -> WaitingBounds {
        WaitingBounds {
            jobs_max: usize::try_from(self.client_waiting_max).unwrap_or(usize::MAX),
            bytes_max: self.client_waiting_bytes,
        }
    }

    /// Returns the time for which usage is kept.
    pub(super) fn usage_kept(&self) -> Duration {
        Duration::from_hours(24 * u64::from(self.usage_days))
    }

    /// Checks that each bound is at least the longest body. A smaller bound would reject such a body forever.
    pub(super) fn check(&self, body_bytes: u64) -> Result<(), OptionConflict> {
        for (option, bound) in [
            ("--durable-bytes", self.durable_bytes),
            ("--client-bytes", self.client_bytes),
        ] {
            if bound < body_bytes {
                return Err(OptionConflict {
                    first: option,
                    second: "--body-bytes",
                    reason: "one job must fit into the bound".to_owned(),
                });
            }
        }
        Ok(())
    }
}
