//! What jobs may take in the store, and how long it is waited for.

use super::values::{bytes, milliseconds};
use super::{GIB, MIB, Unfit};
use clap::Args;

/// What jobs may take in the store, and how long it is waited for.
#[derive(Debug, Clone, Args)]
pub struct StoreBoundOptions {
    /// Most bytes of jobs in a database: request, log and execution of each, until it expires; those of all nodes together
    #[arg(long, env = "SANDPIPER_DURABLE_BYTES", value_name = "BYTES", default_value = "10GiB", value_parser = bytes(MIB, 1024 * 1024 * GIB))]
    pub durable_bytes: u64,
    /// Most bytes of the jobs of one client: request, log and execution of each, until it expires; in a database, those of
    /// all nodes together
    #[arg(long, env = "SANDPIPER_CLIENT_BYTES", value_name = "BYTES", default_value = "1GiB", value_parser = bytes(MIB, 1024 * 1024 * GIB))]
    pub client_bytes: u64,
    /// Longest that anybody waits for the database, milliseconds
    #[arg(long, env = "SANDPIPER_STORE_TIMEOUT_MS", value_name = "MS", default_value_t = 4_000, value_parser = milliseconds(500, 60_000))]
    pub store_timeout_ms: u64,
}

impl StoreBoundOptions {
    /// Bounds below which the longest body would be refused for ever.
    pub(super) fn check(&self, body_bytes: u64) -> Result<(), Unfit> {
        for (option, bound) in [
            ("--durable-bytes", self.durable_bytes),
            ("--client-bytes", self.client_bytes),
        ] {
            if bound < body_bytes {
                return Err(Unfit {
                    first: option,
                    second: "--body-bytes",
                    reason: "one job must fit into it".to_owned(),
                });
            }
        }
        Ok(())
    }
}
