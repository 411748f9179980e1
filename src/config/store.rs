//! The store of jobs and its bounds: sizes, and the time to wait for the database.

use super::values::bytes;
use super::{GIB, MIB, OptionConflict};
use clap::{Args, value_parser};
use sandpiper_store::{Address, DataKeys, DataKeysError};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
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

/// The keys that encrypt the contents of jobs in a database.
#[derive(Debug, Clone, Default, Args)]
pub struct DataKeyOptions {
    /// File of data keys, one a line as `sandpiper data-key` prints them: the first encrypts code, input, log, result and
    /// error of jobs in a database, and all of them decrypt [default: no encryption]
    #[arg(long, env = "SANDPIPER_DATA_KEYS_FILE", value_name = "FILE")]
    pub data_keys_file: Option<PathBuf>,
    /// The same keys as text, for an environment that holds secrets
    #[arg(
        long,
        env = "SANDPIPER_DATA_KEYS",
        value_name = "KEYS",
        hide_env_values = true,
        conflicts_with = "data_keys_file"
    )]
    pub data_keys: Option<String>,
}

/// The data keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataKeyError {
    #[error("--data-keys-file: {path}: {cause}")]
    Unreadable {
        path: PathBuf,
        cause: std::io::Error,
    },
    #[error("--data-keys-file: {path}: {cause}")]
    InvalidFile { path: PathBuf, cause: DataKeysError },
    #[error("--data-keys: {0}")]
    Invalid(#[from] DataKeysError),
}

impl DataKeyOptions {
    /// Reads the keys; `None` if none are configured.
    pub fn read(&self) -> Result<Option<Arc<DataKeys>>, DataKeyError> {
        let Some(path) = &self.data_keys_file else {
            let keys = self.data_keys.as_deref().map(str::parse).transpose()?;
            return Ok(keys.map(Arc::new));
        };
        let text = std::fs::read_to_string(path).map_err(|cause| DataKeyError::Unreadable {
            path: path.clone(),
            cause,
        })?;
        let keys = text.parse().map_err(|cause| DataKeyError::InvalidFile {
            path: path.clone(),
            cause,
        })?;
        Ok(Some(Arc::new(keys)))
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
    /// Maximum time to wait for the database, milliseconds
    #[arg(long, env = "SANDPIPER_STORE_TIMEOUT_MS", value_name = "MS", default_value_t = 4_000, value_parser = value_parser!(u64).range(500..=60_000))]
    pub store_timeout_ms: u64,
    /// Days for which usage is kept; older sums are deleted
    // Budgets of a month need the sums of that month.
    #[arg(long, env = "SANDPIPER_USAGE_DAYS", value_name = "DAYS", default_value_t = 400, value_parser = value_parser!(u32).range(62..=3_660))]
    pub usage_days: u32,
}

impl StoreBoundOptions {
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
