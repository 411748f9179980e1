//! Copies a database of SQLite while a service uses the database.

use super::connect::OWNER_ONLY;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error("{path} cannot be made: {cause}")]
    Target { path: PathBuf, cause: io::Error },
    #[error("{path} cannot be copied: {cause}")]
    Source { path: PathBuf, cause: sqlx::Error },
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Copies the database in `source`, as it is at one moment, to the new file `target`. Writers are not interrupted.
pub fn back_up(source: &Path, target: &Path) -> Result<(), BackupError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    // The file is created first, readable by its owner only: the copy has scripts and results.
    let created = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(OWNER_ONLY)
        .open(target);
    created.map_err(|cause| BackupError::Target {
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
        // An incomplete copy would only make the next attempt fail.
        let _ = std::fs::remove_file(target);
        BackupError::Source {
            path: source.to_owned(),
            cause,
        }
    })
}
