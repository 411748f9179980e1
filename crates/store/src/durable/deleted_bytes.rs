//! Deleted contents in the files of SQLite. The database itself has zeros in their place (`connect.rs`). The write-ahead
//! log has pages as they were before, until it is emptied.

use super::database::Database;
use super::pool::Pool;
use crate::StoreError;
use std::sync::atomic::{AtomicI64, Ordering};

/// Time from an expiry until the log is emptied, milliseconds. Emptying it each time would cost busy services too much.
const EMPTIED_AFTER_MS: i64 = 60_000;
/// The log has no deleted contents.
const NONE: i64 = 0;
/// Divisor of the time of a statement: the deletion itself has a part of it too.
const PART: u32 = 2;

#[derive(Debug)]
pub(super) struct DeletedBytes {
    database: Database,
    /// The moment of the first deletion since the log was last emptied, or of the last try to empty it, milliseconds since
    /// 1970, or [`NONE`].
    since: AtomicI64,
    /// The moment of the last deletion.
    last: AtomicI64,
}

impl DeletedBytes {
    /// An earlier process may have left deleted contents in the log.
    pub(super) fn new(database: Database, now: i64) -> Self {
        Self {
            database,
            since: AtomicI64::new(now),
            last: AtomicI64::new(NONE),
        }
    }

    /// Notes that contents were deleted.
    pub(super) fn note(&self, now: i64) {
        self.last.fetch_max(now, Ordering::Relaxed);
        let _ = (self.since).compare_exchange(NONE, now, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Empties the log if contents were deleted a minute ago or earlier.
    pub(super) async fn empty_log_if_due(&self, now: i64) -> Result<(), StoreError> {
        let since = self.since.load(Ordering::Relaxed);
        if since != NONE && now >= since.saturating_add(EMPTIED_AFTER_MS) {
            self.empty_log(now).await?;
        }
        Ok(())
    }

    /// Empties the log. If another process reads the database all the time, that is tried again in a minute.
    pub(super) async fn empty_log(&self, now: i64) -> Result<(), StoreError> {
        let Pool::Sqlite(pool) = &self.database.pool else {
            return Ok(());
        };
        self.since.store(now, Ordering::Relaxed);
        // The first column is true if a reader is in the way.
        let emptied = sqlx::query_as::<_, (bool, i64, i64)>("PRAGMA wal_checkpoint(TRUNCATE)");
        let emptied = emptied.fetch_one(pool);
        match tokio::time::timeout(self.database.timeout() / PART, emptied).await {
            Ok(Err(cause)) => return Err(cause.into()),
            Ok(Ok((false, ..))) => {
                if self.last.load(Ordering::Relaxed) < now {
                    self.since.store(NONE, Ordering::Relaxed);
                }
            }
            Ok(Ok((true, ..))) | Err(_) => tracing::warn!(
                "another process reads the database, so that deleted contents stay in its write-ahead log; emptying the log \
                 is tried again in a minute"
            ),
        }
        Ok(())
    }
}
