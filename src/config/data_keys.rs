//! The keys that encrypt the contents of jobs in a database.

use super::key_file::{self, KeyFileError};
use clap::Args;
use sandpiper_store::{DataKeys, DataKeysError};
use std::path::PathBuf;
use std::sync::Arc;

const FILE_OPTION: &str = "--data-keys-file";
/// The options of data keys.
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
    #[error(transparent)]
    File(#[from] KeyFileError),
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
        let keys = key_file::read(FILE_OPTION, path)?;
        Ok(Some(Arc::new(keys)))
    }
}
