//! Opening the database: connections, tables, and the lock of a file.

use super::database::Database;
use super::migrate::{migrate, migrate_postgres};
use super::options::{Address, DurableOptions};
use super::pool::Pool;
use super::seal::Seal;
use futures_util::future::join_all;
use riverqueue::migrate::SqliteMigrator;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPoolOptions};
use sqlx::sqlite::{
    SqliteAutoVacuum, SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{Connection as _, PgPool};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr as _;
use std::time::Duration;

/// Connections that only read a file of SQLite.
const READERS_MAX: u32 = 4;
/// Divisor of the connections to Postgres: one part in this many is River's own.
const RIVER_SHARE: u32 = 3;
/// Fewest and most connections of River: one claims, one records, and one maintains the tables, which may take long.
const RIVER_MIN: u32 = 2;
const RIVER_MAX: u32 = 4;
/// Mode of a new file: its rows are scripts and results of clients.
pub(super) const OWNER_ONLY: u32 = 0o600;

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("{path} cannot be used: {cause}")]
    File {
        path: PathBuf,
        cause: std::io::Error,
    },
    #[error("{0} is in use by another process; a database of SQLite belongs to one service")]
    InUse(PathBuf),
    #[error("the address of the database is not understood: {0}")]
    Address(sqlx::Error),
    #[error("the database cannot be reached: {0}")]
    Unreachable(#[from] sqlx::Error),
    #[error(
        "{opened} of {wanted} connections could be opened: {cause}; lower --store-connections, or have the database allow more"
    )]
    Connections {
        opened: usize,
        wanted: u32,
        cause: String,
    },
    #[error("the tables cannot be made or brought up to date: {0}")]
    Migration(String),
    #[error(
        "the tables are of version {found}, and this program knows up to {known}: start a newer one"
    )]
    Newer { found: i64, known: i64 },
    #[error(
        "rows are encrypted with the data key {0}, which is not among the given ones; give it too (--data-keys-file)"
    )]
    DataKeyMissing(String),
    #[error(
        "rows are encrypted with another data key than the given one of the id {0}; give the former one under this id"
    )]
    DataKeyWrong(String),
    #[error("the queue cannot be set up: {0}")]
    Queue(#[from] riverqueue::Error),
    /// The threads of the store cannot be started.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// A lock that is held for as long as a file of SQLite is in use. A process that has the lock knows that jobs which run
/// according to the file were left by a dead process.
#[derive(Debug)]
pub(super) struct FileLock(#[allow(dead_code)] File); // only its lifetime matters

#[derive(Debug)]
pub(super) struct Opened {
    pub(super) database: Database,
    /// Connections of River, which has deadlines of its own.
    pub(super) river: Pool,
    pub(super) lock: Option<FileLock>,
}

/// Opens the database, and creates or migrates its tables.
pub(super) async fn open(options: &DurableOptions) -> Result<Opened, OpenError> {
    let seal = Seal::new(options.data_keys.clone());
    match &options.address {
        Address::Sqlite(path) => open_sqlite(path, seal, options.timeout).await,
        Address::Postgres(url) => {
            open_postgres(url, options.connections, seal, options.timeout).await
        }
    }
}

/// Opens the file at `path`, and creates the file if it is missing.
///
/// One connection writes: SQLite has one writer, and several would wait for each other by sleeping. Other connections read
/// at the same time.
async fn open_sqlite(path: &Path, seal: Seal, timeout: Duration) -> Result<Opened, OpenError> {
    let lock = lock_file(path)?;
    let options = SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        // A job that was accepted with 202 survives a loss of power.
        .synchronous(SqliteSynchronous::Full)
        // Deleted rows leave no bytes in the file.
        .pragma("secure_delete", "ON")
        // Longest that a statement waits for a writer outside of this process.
        .busy_timeout(timeout);
    let writer = SqlitePoolOptions::new()
        .max_connections(1)
        .acquire_timeout(timeout)
        // When the disk is full, SQLite rolls back by itself, and sqlx then believes for ever that the transaction is open:
        // such a connection is replaced.
        .before_acquire(|connection, _| Box::pin(async { Ok(!connection.is_in_transaction()) }))
        // Takes effect in a new file: free pages can be returned to the system (`sweep.rs`).
        .connect_with(options.clone().auto_vacuum(SqliteAutoVacuum::Incremental))
        .await?;
    SqliteMigrator::new(writer.clone())
        .migrate_up()
        .await
        .map_err(|error| OpenError::Migration(error.to_string()))?;
    let writer = Pool::Sqlite(writer);
    migrate(&writer).await?;
    seal.check(&writer).await?;
    let readers = SqlitePoolOptions::new()
        .max_connections(READERS_MAX)
        .acquire_timeout(timeout)
        .connect_with(options.read_only(true))
        .await?;
    Ok(Opened {
        river: writer.clone(),
        database: Database::new(writer, Pool::Sqlite(readers), seal, timeout),
        lock: Some(lock),
    })
}

/// Creates the folder and the file at `path` where they are missing, and locks the file for this process.
fn lock_file(path: &Path) -> Result<FileLock, OpenError> {
    let unusable = |cause| OpenError::File {
        path: path.to_owned(),
        cause,
    };
    if let Some(folder) = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
    {
        fs::create_dir_all(folder).map_err(unusable)?;
    }
    let lock_path = path.with_added_extension("lock");
    let lock = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&lock_path)
        .map_err(unusable)?;
    lock.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => OpenError::InUse(path.to_owned()),
        TryLockError::Error(cause) => unusable(cause),
    })?;
    // SQLite gives the files beside the database the mode of the database.
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(OWNER_ONLY)
        .open(path)
        .map_err(unusable)?;
    Ok(FileLock(lock))
}

/// Opens `connections` connections to the database at `url`, and keeps all of them open: a database that allows fewer is
/// found out at the start, and not under load.
async fn open_postgres(
    url: &str,
    connections: u32,
    seal: Seal,
    timeout: Duration,
) -> Result<Opened, OpenError> {
    let options = PgConnectOptions::from_str(url)
        .map_err(OpenError::Address)?
        .application_name("sandpiper");
    // A pool would retry until its timeout, and then report only the timeout.
    PgConnection::connect_with(&options).await?.close().await?;
    let river_connections = (connections / RIVER_SHARE).clamp(RIVER_MIN, RIVER_MAX);
    let pool_of = |count| {
        PgPoolOptions::new()
            .min_connections(count)
            .max_connections(count)
            .acquire_timeout(timeout)
    };
    let river = pool_of(river_connections).connect_lazy_with(options.clone());
    let ours = pool_of(connections - river_connections)
        .after_connect(move |connection, _| Box::pin(set_deadlines(connection, timeout)))
        .connect_lazy_with(options.clone());
    let pools = (0..connections).map(|number| {
        if number < river_connections {
            &river
        } else {
            &ours
        }
    });
    open_all(pools, &options, connections).await?;
    migrate_postgres(&river).await?;
    let river = Pool::Postgres(river);
    // River's connections have no deadline: a look for rows of a former key may take long.
    seal.check(&river).await?;
    let ours = Pool::Postgres(ours);
    Ok(Opened {
        database: Database::new(ours.clone(), ours, seal, timeout),
        river,
        lock: None,
    })
}

/// Opens one connection for each entry of `pools`, all at the same time.
async fn open_all<'a>(
    pools: impl Iterator<Item = &'a PgPool>,
    options: &PgConnectOptions,
    wanted: u32,
) -> Result<(), OpenError> {
    let all = join_all(pools.map(|pool| pool.acquire())).await;
    if all.iter().all(Result::is_ok) {
        return Ok(());
    }
    let one_more = PgConnection::connect_with(options).await;
    Err(OpenError::Connections {
        opened: all.iter().filter(|one| one.is_ok()).count(),
        wanted,
        cause: one_more.map_or_else(|cause| cause.to_string(), |_| "it took too long".to_owned()),
    })
}

/// Sets deadlines in the database itself, so that it stops statements that no caller waits for.
async fn set_deadlines(
    connection: &mut PgConnection,
    timeout: Duration,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "SELECT set_config('statement_timeout', $1, false), set_config('lock_timeout', $1, false)",
    )
    .bind(format!("{}ms", timeout.as_millis()))
    .execute(connection)
    .await?;
    Ok(())
}
