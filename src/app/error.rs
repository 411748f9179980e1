//! The reasons why the service does not start, or stopped on its own.

use crate::config::OptionConflict;
use crate::scripts::ScriptLibraryError;
use crate::telemetry::TelemetryError;
use sandpiper_http_kit::ListenError;
use sandpiper_http_kit::descriptors::TooFewDescriptors;
use sandpiper_sandbox_client::SandboxError;
use sandpiper_store::{OpenError, StoreError};
use std::io;

/// The reason why the service does not start, or stopped on its own.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Two options conflict.
    #[error(transparent)]
    OptionConflict(#[from] OptionConflict),
    /// An isolation layer is missing.
    #[error("{0}; `sandpiper doctor` tries every isolation layer and prints the state of each")]
    Isolation(#[from] SandboxError),
    /// The example scripts cannot be loaded.
    #[error("--scripts-dir: {0}")]
    Scripts(#[from] ScriptLibraryError),
    /// The limit of open files is too low.
    #[error(transparent)]
    Descriptors(#[from] TooFewDescriptors),
    /// The address cannot be bound.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The address of the metrics port cannot be bound.
    #[error("--metrics-port: {0}")]
    ListenForMetrics(ListenError),
    /// Spans cannot be exported.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    /// An executor has no sandbox, although a sandbox could be started before.
    #[error("only {ready} of {total} executors came up; the log has the reason")]
    Executors {
        /// Executors that are up.
        ready: usize,
        /// Executors that were to start.
        total: usize,
    },
    /// The database of jobs cannot be opened.
    #[error("--store: {0}")]
    Store(#[from] OpenError),
    /// The database of jobs was opened and then failed.
    #[error("--store: {0}")]
    StoreLost(#[from] StoreError),
    /// No HTTP worker thread started.
    #[error("no HTTP worker started; the log has the reason")]
    NoWorker,
    /// An error of the operating system.
    #[error(transparent)]
    Io(#[from] io::Error),
}
