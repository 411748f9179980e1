//! Failures of the sandbox itself. The script is not to blame for any of them.

use crate::program::ProgramError;
use sandpiper_sandbox_protocol::IsolationLevel;
use std::io;

/// The sandbox itself failed. The script is not to blame and may not have run at all.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The sandbox program cannot be used.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// The zygote could not be started.
    #[error("a zygote cannot be started: {0}")]
    Spawn(#[from] io::Error),
    /// The zygote reported that an isolation layer is missing.
    #[error("isolation layer `{layer}` is missing: {reason}")]
    LayerMissing {
        /// The name of the layer.
        layer: String,
        /// The error that the attempt met.
        reason: String,
    },
    /// The zygote is ready, but at a lower level than required.
    #[error("isolation level {reached} is below the required {wanted}; absent layers: {missing}")]
    BelowMinimum {
        /// The level that the zygote reached.
        reached: IsolationLevel,
        /// The level that the options require.
        wanted: IsolationLevel,
        /// The absent layers, with the reason for each.
        missing: String,
    },
    /// The zygote or one of its children misbehaved.
    #[error("the zygote failed: {0}")]
    Zygote(String),
}
