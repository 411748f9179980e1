//! Failures of the sandbox itself. The script is not to blame for any of them.

use crate::program::ProgramError;
use sandpiper_sandbox_protocol::IsolationLevel;
use std::io;

/// The sandbox itself failed. The script is not to blame and may not have run at all.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    #[error(transparent)]
    Program(#[from] ProgramError),
    #[error("a zygote cannot be started: {0}")]
    Spawn(#[from] io::Error),
    #[error("isolation layer `{layer}` is missing: {reason}")]
    LayerMissing { layer: String, reason: String },
    #[error("isolation level {reached} is below the required {wanted}; absent layers: {missing}")]
    BelowMinimum {
        reached: IsolationLevel,
        wanted: IsolationLevel,
        /// The absent layers, with the reason for each.
        missing: String,
    },
    #[error("the zygote failed: {0}")]
    Zygote(String),
}
