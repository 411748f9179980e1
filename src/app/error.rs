//! The reasons why the service does not start, or stopped on its own.

use crate::config::{DataKeyError, KeyFileError, OptionConflict};
use crate::scripts::ScriptLibraryError;
use crate::telemetry::TelemetryError;
use sandpiper_http_kit::ListenError;
use sandpiper_http_kit::descriptors::TooFewDescriptors;
use sandpiper_sandbox_client::SandboxError;
use sandpiper_store::{OpenError, StoreError};
use std::io;

#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error(transparent)]
    OptionConflict(#[from] OptionConflict),
    #[error("{0}; `sandpiper doctor` tries every isolation layer and prints the state of each")]
    Isolation(#[from] SandboxError),
    #[error("--scripts-dir: {0}")]
    Scripts(#[from] ScriptLibraryError),
    #[error(transparent)]
    Descriptors(#[from] TooFewDescriptors),
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error("--metrics-port: {0}")]
    ListenForMetrics(ListenError),
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    /// An executor has no sandbox, although a sandbox could be started before.
    #[error("only {ready} of {total} executors came up; the log has the reason")]
    Executors { ready: usize, total: usize },
    #[error(transparent)]
    DataKeys(#[from] DataKeyError),
    #[error(transparent)]
    ReplayKeys(#[from] KeyFileError),
    /// The database of jobs cannot be opened.
    #[error("--store: {0}")]
    Store(#[from] OpenError),
    /// The database of jobs was opened and then failed.
    #[error("--store: {0}")]
    StoreLost(#[from] StoreError),
    #[error("no HTTP worker started; the log has the reason")]
    NoWorker,
    #[error(transparent)]
    Io(#[from] io::Error),
}
