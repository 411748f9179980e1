//! Failures of the sandbox itself. The script is not to blame for any of them.

use crate::program::ProgramError;
use sandpiper_sandbox_protocol::IsolationLevel;
use std::io;

/// The sandbox itself failed; the script is not to blame and may not have run at all.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The sandbox program cannot be used.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// The zygote could not be started.
    #[error("a zygote cannot be started: {0}")]
    Spawn(#[from] io::Error),
    /// The zygote said that a wall is missing.
    #[error("wall `{wall}` is missing: {reason}")]
    WallMissing {
        /// Its name.
        wall: String,
        /// What was tried.
        reason: String,
    },
    /// The zygote stands, but below the level that was asked for.
    #[error("isolation is {reached}, below the {wanted} asked for; missing: {missing}")]
    BelowMinimum {
        /// What stands.
        reached: IsolationLevel,
        /// What was asked for.
        wanted: IsolationLevel,
        /// The walls that are absent, and why.
        missing: String,
    },
    /// The zygote or its children did not do what they always do.
    #[error("the zygote failed: {0}")]
    Zygote(String),
}
