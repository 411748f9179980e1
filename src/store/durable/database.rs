//! The two databases behind one set of statements.
//!
//! Both take `$1`; where they differ in a word, the word is here. A statement is written once and run on whichever pool
//! there is by [`on_database!`].

use super::migrate::{migrate, migrate_postgres};
use super::options::{Address, DurableOptions};
use futures_util::future::join_all;
use riverqueue::migrate::SqliteMigrator;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPoolOptions};
use sqlx::sqlite::{
    SqliteAutoVacuum, SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{Connection as _, PgPool, SqlitePool};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr as _;
use std::time::Duration;

/// Where jobs are kept.
#[derive(Debug, Clone)]
pub(super) enum Database {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

impl Database {
    /// Milliseconds since 1970, by the clock of the database, which all nodes share.
    pub(super) fn now(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "CAST(unixepoch('subsec') * 1000 AS BIGINT)",
            Self::Postgres(_) => "CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)",
        }
    }

    /// One of River's moments as milliseconds since 1970.
    pub(super) fn millis(&self, moment: &str) -> String {
        match self {
            Self::Sqlite(_) => format!("CAST(unixepoch({moment}, 'subsec') * 1000 AS BIGINT)"),
            Self::Postgres(_) => format!("CAST(extract(epoch FROM {moment}) * 1000 AS BIGINT)"),
        }
    }

    /// Milliseconds since 1970 as one of River's moments.
    pub(super) fn moment(&self, millis: &str) -> String {
        match self {
            Self::Sqlite(_) => {
                format!("strftime('%Y-%m-%d %H:%M:%f', {millis} / 1000.0, 'unixepoch')")
            }
            Self::Postgres(_) => format!("to_timestamp({millis}::bigint / 1000.0)"),
        }
    }

    /// The last node that took a job of River's.
    pub(super) fn last_node(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "json_extract(attempted_by, '$[#-1]')",
            Self::Postgres(_) => "attempted_by[array_upper(attempted_by, 1)]",
        }
    }

    /// What becomes of a running job of River's whose attempt is over without an end: it is cancelled if it was to be, given
    /// up if that was its last attempt, or else waits for the next one. Assignments of an UPDATE.
    pub(super) fn taken_from_its_node(&self) -> String {
        let (is_cancelled, now, kind) = match self {
            Self::Sqlite(_) => (
                "json_extract(metadata, '$.cancel_attempted_at') IS NOT NULL",
                "CURRENT_TIMESTAMP",
                "",
            ),
            Self::Postgres(_) => (
                "metadata->>'cancel_attempted_at' IS NOT NULL",
                "now()",
                "::river_job_state",
            ),
        };
        format!(
            "state = (CASE WHEN {is_cancelled} THEN 'cancelled' \
                 WHEN attempt >= max_attempts THEN 'discarded' ELSE 'available' END){kind}, \
             finalized_at = CASE WHEN {is_cancelled} OR attempt >= max_attempts THEN {now} END"
        )
    }

    /// A statement that gives those after it, in the same transaction, the time that the sweep has.
    pub(super) fn with_the_time_of_a_sweep(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "SELECT 1",
            Self::Postgres(_) => "SELECT set_config('statement_timeout', '60s', true)",
        }
    }

    /// Keeps the rows of a SELECT from others until the transaction ends; a transaction of SQLite has the whole file.
    pub(super) fn for_update(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "",
            Self::Postgres(_) => " FOR UPDATE",
        }
    }
}

/// Runs `$body` with `$pool` bound to the pool of whichever database it is.
macro_rules! on_database {
    ($database:expr, $pool:ident => $body:expr) => {
        match $database {
            $crate::store::durable::database::Database::Sqlite($pool) => $body,
            $crate::store::durable::database::Database::Postgres($pool) => $body,
        }
    };
}
pub(super) use on_database;

/// Begins a transaction that may write on `$database`, runs `$body` with it bound to `$transaction`, and commits.
macro_rules! in_transaction {
    ($database:expr, $transaction:ident => $body:expr) => {
        match $database {
            $crate::store::durable::database::Database::Sqlite(pool) => {
                let mut $transaction = riverqueue::database::begin_sqlite_write(pool).await?;
                let made = $body;
                $transaction.commit().await?;
                made
            }
            $crate::store::durable::database::Database::Postgres(pool) => {
                let mut $transaction = riverqueue::database::begin_postgres(pool).await?;
                let made = $body;
                $transaction.commit().await?;
                made
            }
        }
    };
}
pub(super) use in_transaction;

/// Connections that only read a file of SQLite.
const READERS_MAX: u32 = 4;
/// Share of the connections to Postgres that is River's own, and the least and the most of it: one claims, one records,
/// one looks after the tables, which may take long.
const RIVERS_SHARE: u32 = 3;
const RIVERS_MIN: u32 = 2;
const RIVERS_MAX: u32 = 4;

/// The store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder of the file.
    #[error("{path} cannot be used: {cause}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        cause: std::io::Error,
    },
    /// Another process has it.
    #[error("{0} is in use by another process; a database of SQLite belongs to one service")]
    InUse(PathBuf),
    /// The address.
    #[error("the address of the database is not understood: {0}")]
    Address(sqlx::Error),
    /// It cannot be reached.
    #[error("the database cannot be reached: {0}")]
    Unreachable(#[from] sqlx::Error),
    /// It has not as many connections.
    #[error(
        "{opened} of {wanted} connections could be opened: {cause}; lower --store-connections, or have the database allow more"
    )]
    Connections {
        /// So many.
        opened: usize,
        /// Of so many.
        wanted: u32,
        /// Why not more.
        cause: String,
    },
    /// Its tables.
    #[error("the tables cannot be made or brought up to date: {0}")]
    Migration(String),
    /// It was written by a later version.
    #[error(
        "the tables are of version {found}, and this program knows up to {known}: start a newer one"
    )]
    Newer {
        /// What is there.
        found: i64,
        /// What is known.
        known: i64,
    },
    /// The queue.
    #[error("the queue cannot be set up: {0}")]
    Queue(#[from] riverqueue::Error),
    /// The threads.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// The mode of a file that is made.
const OWNER_ONLY: u32 = 0o600;

/// Held for as long as a file of SQLite is in use, so that whatever was running in it belongs to nobody.
#[derive(Debug)]
pub(super) struct FileLock(#[allow(dead_code)] File); // its life is what counts

/// A database that is ready.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) database: Database,
    /// The same, for what only reads.
    pub(super) readers: Database,
    /// The same, for River, which has deadlines of its own.
    pub(super) river: Database,
    /// Of a file.
    pub(super) lock: Option<FileLock>,
}

/// Opens the database, and makes its tables or brings them up to date.
pub(super) async fn open(options: &DurableOptions) -> Result<Opened, OpenError> {
    match &options.address {
        Address::Sqlite(path) => open_sqlite(path, options.timeout).await,
        Address::Postgres(url) => open_postgres(url, options.connections, options.timeout).await,
    }
}

/// Opens, and makes where it is missing, the file at `path`.
///
/// One connection writes: SQLite has one writer, and several would wait for each other by sleeping. Others read meanwhile.
async fn open_sqlite(path: &Path, timeout: Duration) -> Result<Opened, OpenError> {
    let unfit = |cause| OpenError::File {
        path: path.to_owned(),
        cause,
    };
    if let Some(folder) = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
    {
        fs::create_dir_all(folder).map_err(unfit)?;
    }
    let lock_path = path.with_added_extension("lock");
    let lock = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&lock_path)
        .map_err(unfit)?;
    lock.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => OpenError::InUse(path.to_owned()),
        TryLockError::Error(cause) => unfit(cause),
    })?;
    // Its rows are what people wrote and what came of it. The files beside it get the mode that it has.
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(OWNER_ONLY)
        .open(path)
        .map_err(unfit)?;
    let options = SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        // What was answered 202 survives a loss of power.
        .synchronous(SqliteSynchronous::Full)
        // Longest that a statement waits for a writer outside of this process.
        .busy_timeout(timeout);
    let pool = SqlitePoolOptions::new()
        .max_connections(1)
        .acquire_timeout(timeout)
        // When its disk is full SQLite rolls back by itself, and the library then believes for ever in a transaction that
        // is no more: such a connection is made anew.
        .before_acquire(|connection, _| Box::pin(async { Ok(!connection.is_in_transaction()) }))
        // Of a new file: pages that are free go back to the system (`sweep.rs`).
        .connect_with(options.clone().auto_vacuum(SqliteAutoVacuum::Incremental))
        .await?;
    SqliteMigrator::new(pool.clone())
        .migrate_up()
        .await
        .map_err(|error| OpenError::Migration(error.to_string()))?;
    let database = Database::Sqlite(pool);
    migrate(&database).await?;
    let readers = SqlitePoolOptions::new()
        .max_connections(READERS_MAX)
        .acquire_timeout(timeout)
        .connect_with(options.read_only(true))
        .await?;
    Ok(Opened {
        river: database.clone(),
        database,
        readers: Database::Sqlite(readers),
        lock: Some(FileLock(lock)),
    })
}

/// Connects to the database at `url`, and keeps so many connections: what it has not for this node is missed now, and
/// not under load.
async fn open_postgres(
    url: &str,
    connections: u32,
    timeout: Duration,
) -> Result<Opened, OpenError> {
    let options = PgConnectOptions::from_str(url)
        .map_err(OpenError::Address)?
        .application_name("sandpiper");
    // A pool would try again and again, and not say why in the end.
    PgConnection::connect_with(&options).await?.close().await?;
    let rivers = (connections / RIVERS_SHARE).clamp(RIVERS_MIN, RIVERS_MAX);
    let of = |count| {
        PgPoolOptions::new()
            .min_connections(count)
            .max_connections(count)
            .acquire_timeout(timeout)
    };
    let river = of(rivers).connect_lazy_with(options.clone());
    let ours = of(connections - rivers)
        .after_connect(move |connection, _| Box::pin(set_deadlines(connection, timeout)))
        .connect_lazy_with(options.clone());
    let wanted = (0..connections).map(|number| if number < rivers { &river } else { &ours });
    let all = join_all(wanted.map(|pool| pool.acquire())).await;
    if all.iter().any(Result::is_err) {
        let one_more = PgConnection::connect_with(&options).await;
        return Err(OpenError::Connections {
            opened: all.iter().filter(|one| one.is_ok()).count(),
            wanted: connections,
            cause: one_more
                .map_or_else(|cause| cause.to_string(), |_| "it took too long".to_owned()),
        });
    }
    drop(all);
    migrate_postgres(&river).await?;
    let database = Database::Postgres(ours);
    Ok(Opened {
        readers: database.clone(),
        database,
        river: Database::Postgres(river),
        lock: None,
    })
}

/// Has the database give up what nobody waits for any more.
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
