//! The two databases behind one set of statements.
//!
//! SQLite and Postgres both take `$1`. Where their SQL differs in a word, the word is here. A statement is written once,
//! and [`on_pool!`] or [`on_transaction!`] runs it on the database that the store has.

use sqlx::{PgPool, Postgres, Sqlite, SqlitePool};

#[derive(Debug, Clone)]
pub(super) enum Pool {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

impl Pool {
    /// Begins a transaction that may write. Dropping the transaction before its commit rolls it back.
    pub(super) async fn begin(&self) -> Result<Transaction, sqlx::Error> {
        Ok(match self {
            Self::Sqlite(pool) => {
                Transaction::Sqlite(riverqueue::database::begin_sqlite_write(pool).await?)
            }
            Self::Postgres(pool) => {
                Transaction::Postgres(riverqueue::database::begin_postgres(pool).await?)
            }
        })
    }

    /// Returns an expression for the database's clock, which all nodes share, in milliseconds since 1970.
    pub(super) fn now(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "CAST(unixepoch('subsec') * 1000 AS BIGINT)",
            Self::Postgres(_) => "CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)",
        }
    }

    /// Returns an expression for a time column of River in milliseconds since 1970.
    pub(super) fn millis(&self, column: &str) -> String {
        match self {
            Self::Sqlite(_) => format!("CAST(unixepoch({column}, 'subsec') * 1000 AS BIGINT)"),
            Self::Postgres(_) => format!("CAST(extract(epoch FROM {column}) * 1000 AS BIGINT)"),
        }
    }

    /// Returns an expression for milliseconds since 1970 as River's time columns hold them.
    pub(super) fn moment(&self, millis: &str) -> String {
        match self {
            Self::Sqlite(_) => {
                format!("strftime('%Y-%m-%d %H:%M:%f', {millis} / 1000.0, 'unixepoch')")
            }
            Self::Postgres(_) => format!("to_timestamp({millis}::bigint / 1000.0)"),
        }
    }

    /// Returns an expression for the bytes of a text.
    pub(super) fn size(&self, column: &str) -> String {
        match self {
            Self::Sqlite(_) => format!("length(CAST({column} AS BLOB))"),
            Self::Postgres(_) => format!("CAST(octet_length({column}) AS BIGINT)"),
        }
    }

    /// Returns an expression for whether a client cancelled a running job of River.
    pub(super) fn is_cancelled(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "json_extract(metadata, '$.cancel_attempted_at') IS NOT NULL",
            Self::Postgres(_) => "metadata->>'cancel_attempted_at' IS NOT NULL",
        }
    }

    /// Returns an expression for the node that claimed a job of River's last.
    pub(super) fn last_node(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "json_extract(attempted_by, '$[#-1]')",
            Self::Postgres(_) => "attempted_by[array_upper(attempted_by, 1)]",
        }
    }

    /// Returns the assignments of an UPDATE that takes running jobs of River from their node. A job becomes cancelled if a
    /// client cancelled it, discarded if this was its last attempt, and otherwise available for the next attempt.
    pub(super) fn requeue_running(&self) -> String {
        let is_cancelled = self.is_cancelled();
        let (now, kind) = match self {
            Self::Sqlite(_) => ("CURRENT_TIMESTAMP", ""),
            Self::Postgres(_) => ("now()", "::river_job_state"),
        };
        format!(
            "state = (CASE WHEN {is_cancelled} THEN 'cancelled' \
                 WHEN attempt >= max_attempts THEN 'discarded' ELSE 'available' END){kind}, \
             finalized_at = CASE WHEN {is_cancelled} OR attempt >= max_attempts THEN {now} END"
        )
    }

    /// Returns a statement that raises the timeout of the statements after it, in the same transaction, to that of a sweep.
    pub(super) fn raise_timeout_for_sweep(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "SELECT 1",
            Self::Postgres(_) => "SELECT set_config('statement_timeout', '60s', true)",
        }
    }

    /// Returns the end of a SELECT that locks its rows until the transaction ends. A transaction of SQLite locks the whole
    /// file anyway.
    pub(super) fn for_update(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "",
            Self::Postgres(_) => " FOR UPDATE",
        }
    }
}

#[derive(Debug)]
pub(super) enum Transaction {
    Sqlite(sqlx::Transaction<'static, Sqlite>),
    Postgres(sqlx::Transaction<'static, Postgres>),
}

impl Transaction {
    pub(super) async fn commit(self) -> Result<(), sqlx::Error> {
        match self {
            Self::Sqlite(transaction) => transaction.commit().await,
            Self::Postgres(transaction) => transaction.commit().await,
        }
    }
}

/// Evaluates `$body` with `$inner` bound to the sqlx pool of either database.
macro_rules! on_pool {
    ($pool:expr, $inner:ident => $body:expr) => {
        match $pool {
            $crate::durable::pool::Pool::Sqlite($inner) => $body,
            $crate::durable::pool::Pool::Postgres($inner) => $body,
        }
    };
}
pub(super) use on_pool;

/// Evaluates `$body` with `$inner` bound to the sqlx transaction of either database.
macro_rules! on_transaction {
    ($transaction:expr, $inner:ident => $body:expr) => {
        match $transaction {
            $crate::durable::pool::Transaction::Sqlite($inner) => $body,
            $crate::durable::pool::Transaction::Postgres($inner) => $body,
        }
    };
}
pub(super) use on_transaction;
