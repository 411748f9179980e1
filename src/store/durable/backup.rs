//! A copy of a database of SQLite, taken while a service uses it.

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

const OWNER_ONLY: u32 = 0o600;

/// Why there is no copy.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// Where it should be.
    #[error("{path} cannot be made: {cause}")]
    Target {
        /// Which.
        path: PathBuf,
        /// Why not.
        cause: io::Error,
    },
    /// What should be copied.
    #[error("{path} cannot be copied: {cause}")]
    Source {
        /// Which.
        path: PathBuf,
        /// Why not.
        cause: sqlx::Error,
    },
    /// The operating system.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Copies the database in `source` as it is at one moment to `target`, a new file. Whoever writes meanwhile goes on.
pub fn back_up(source: &Path, target: &Path) -> Result<(), BackupError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    // Its own file is there first, for its owner alone: it holds scripts and results.
    let made = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(OWNER_ONLY)
        .open(target);
    made.map_err(|cause| BackupError::Target {
        path: target.to_owned(),
        cause,
    })?;
    let copied = runtime.block_on(async {
        let options = SqliteConnectOptions::new().filename(source);
        let mut connection = options.connect().await?;
        sqlx::query("VACUUM INTO ?")
            .bind(target.to_string_lossy())
            .execute(&mut connection)
            .await?;
        connection.close().await
    });
    copied.map_err(|cause| {
        // What is half done would only be in the way of another try.
        let _ = std::fs::remove_file(target);
        BackupError::Source {
            path: source.to_owned(),
            cause,
        }
    })
}
