//! The keys that seal the state of executions which wait for their callers' answers.

use super::key_file::{self, KeyFileError};
use clap::{Args, value_parser};
use sandpiper_store::SealingKeys;
use std::path::PathBuf;
use std::time::Duration;

const FILE_OPTION: &str = "--replay-key-file";

/// The options of `replay`, the sealed state of an execution that waits for answers.
#[derive(Debug, Clone, Args)]
pub struct ReplayOptions {
    /// File of keys, one a line as `sandpiper data-key` prints them, that seal the `replay` of executions which wait for
    /// answers: the first seals, and all of them open [default: a key in the store]
    #[arg(long, env = "SANDPIPER_REPLAY_KEY_FILE", value_name = "FILE")]
    pub replay_key_file: Option<PathBuf>,
    /// Time for which a `replay` can be continued, seconds
    #[arg(long, env = "SANDPIPER_REPLAY_TTL_S", value_name = "S", default_value_t = 86_400, value_parser = value_parser!(u64).range(1..=2_592_000))]
    pub replay_ttl_s: u64,
}

impl ReplayOptions {
    /// Reads the keys; `None` if the store has the key.
    pub fn keys(&self) -> Result<Option<SealingKeys>, KeyFileError> {
        let path = self.replay_key_file.as_deref();
        path.map(|path| key_file::read(FILE_OPTION, path))
            .transpose()
    }

    #[must_use]
    pub fn ttl(&self) -> Duration {
        Duration::from_secs(self.replay_ttl_s)
    }
}
