//! Logs of running jobs, for nodes that do not run them: uploaded in parts while the job runs, deleted at its end.
//!
//! A log is uploaded only where there can be another node, and only while a job runs for longer than [`UPLOAD_EVERY`].

use super::database::Database;
use super::numbers::{as_i64, as_millis, unix_millis};
use super::pool::on_pool;
use super::record::{log_from_text, log_to_text};
use super::seal::Column;
use crate::StoreError;
use sandpiper_domain::{JobId, LogEntry, LogSoFar, Timestamp};
use std::time::Duration;

/// Time between two parts of one log.
pub(super) const UPLOAD_EVERY: Duration = Duration::from_millis(500);
/// Age of parts that a dead node left: longer than any job may run.
const ABANDONED_AFTER: Duration = Duration::from_hours(25);

#[derive(Debug, Clone)]
pub(super) struct Logs {
    database: Database,
}

#[derive(Debug)]
pub(super) struct LogUploader<'a> {
    database: &'a Database,
    id: JobId,
    attempt: u32,
    parts: Parts,
    /// Number of the first entry that is not uploaded.
    next: u64,
    /// True while the last upload has failed: the database may have its part all the same.
    is_uncertain: bool,
}

#[derive(Debug)]
struct Parts {
    /// Most bytes of all parts, the bound of the log itself.
    bytes_max: usize,
    /// Number of the first entry of each part, and the bytes of the part.
    stored: Vec<(u64, usize)>,
}

impl Parts {
    fn new(bytes_max: u32) -> Self {
        Self {
            bytes_max: usize::try_from(bytes_max).unwrap_or(usize::MAX),
            stored: Vec::new(),
        }
    }

    /// Removes parts from the middle until the others are within the bound, and returns the first numbers of the removed
    /// ones. A log keeps its head and its tail.
    fn truncate(&mut self) -> Vec<u64> {
        let mut all: usize = self.stored.iter().map(|(_, bytes)| bytes).sum();
        let mut head = 0;
        let in_head = self.stored.iter().take_while(|(_, bytes)| {
            head += bytes;
            head <= self.bytes_max / 2
        });
        let middle = in_head.count();
        let mut removed = Vec::new();
        while all > self.bytes_max && self.stored.len() > middle + 1 {
            let (first, bytes) = self.stored.remove(middle);
            all -= bytes;
            removed.push(first);
        }
        removed
    }
}

impl Logs {
    pub(super) fn new(database: Database) -> Self {
        Self { database }
    }

    /// Returns whether logs are uploaded at all: only a database that other nodes can use has readers.
    pub(super) fn are_uploaded(&self) -> bool {
        self.database.is_shared()
    }

    pub(super) fn uploader(&self, id: JobId, attempt: u32, bytes_max: u32) -> LogUploader<'_> {
        LogUploader {
            database: &self.database,
            id,
            attempt,
            parts: Parts::new(bytes_max),
            next: 0,
            is_uncertain: false,
        }
    }

    /// Reads what another node has uploaded of the log of one attempt; `None` where logs are not uploaded.
    pub(super) async fn read(
        &self,
        id: JobId,
        attempt: u32,
    ) -> Result<Option<LogSoFar>, StoreError> {
        if !self.are_uploaded() {
            return Ok(None);
        }
        let parts: Vec<(i64, i64, String)> = on_pool!(&self.database.readers, pool => {
            sqlx::query_as(
                "SELECT first_number, next_number, entries FROM sandpiper_logs WHERE job_id = $1 AND attempt = $2 ORDER BY first_number",
            )
            .bind(id.to_string())
            .bind(i64::from(attempt))
            .fetch_all(pool)
            .await?
        });
        let mut log = LogSoFar::default();
        for (first, next, entries) in parts {
            let row = row_of(id, attempt, first);
            let entries = self.database.seal.open(Column::Log, &row, entries)?;
            log.entries.extend(log_from_text(&entries)?);
            log.next = u64::try_from(next).unwrap_or_default();
        }
        Ok(Some(log))
    }

    /// Returns the moment before which a part was left by a dead node; milliseconds since 1970.
    pub(super) fn abandoned_until(now: i64) -> i64 {
        now.saturating_sub(as_millis(ABANDONED_AFTER))
    }
}

/// Returns the primary key of a part, as text.
fn row_of(id: JobId, attempt: u32, first: i64) -> String {
    format!("{id}/{attempt}/{first}")
}

impl LogUploader<'_> {
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Uploads `log`, the entries from [`Self::next`] on, within the timeout.
    pub(super) async fn upload(&mut self, log: &LogSoFar) -> Result<(), StoreError> {
        let database = self.database;
        let was_uncertain = std::mem::replace(&mut self.is_uncertain, true);
        database
            .in_time(self.upload_part(log, was_uncertain))
            .await?;
        self.is_uncertain = false;
        Ok(())
    }

    async fn upload_part(&mut self, log: &LogSoFar, was_uncertain: bool) -> Result<(), StoreError> {
        let Some((first, _)) = log.entries.first() else {
            return Ok(());
        };
        if was_uncertain {
            on_pool!(&self.database.pool, pool => {
                sqlx::query("DELETE FROM sandpiper_logs WHERE job_id = $1 AND attempt = $2 AND first_number >= $3")
                    .bind(self.id.to_string())
                    .bind(i64::from(self.attempt))
                    .bind(as_i64(self.next))
                    .execute(pool)
                    .await?;
            });
        }
        let row = row_of(self.id, self.attempt, as_i64(*first));
        let text = log_to_text(&log.entries)?;
        let text = self.database.seal.seal(Column::Log, &row, text);
        on_pool!(&self.database.pool, pool => {
            sqlx::query(
                "INSERT INTO sandpiper_logs (job_id, attempt, first_number, next_number, entries, created_at) \
                 VALUES ($1, $2, $3, $4, $5, $6)",
            )
            .bind(self.id.to_string())
            .bind(i64::from(self.attempt))
            .bind(as_i64(*first))
            .bind(as_i64(log.next))
            .bind(text)
            .bind(unix_millis(Timestamp::now()))
            .execute(pool)
            .await?;
        });
        let entries = log.entries.iter();
        let bytes = entries.map(|(_, entry)| LogEntry::output_bytes(entry));
        self.parts.stored.push((*first, bytes.sum()));
        self.next = log.next;
        for first in self.parts.truncate() {
            on_pool!(&self.database.pool, pool => {
                sqlx::query("DELETE FROM sandpiper_logs WHERE job_id = $1 AND attempt = $2 AND first_number = $3")
                    .bind(self.id.to_string())
                    .bind(i64::from(self.attempt))
                    .bind(as_i64(first))
                    .execute(pool)
                    .await?;
            });
        }
        Ok(())
    }

    /// Deletes the parts of a job that has ended: its record has the whole log.
    pub(super) async fn delete(&self) {
        if self.parts.stored.is_empty() && !self.is_uncertain {
            return;
        }
        let deleted = self.database.in_time(async {
            on_pool!(&self.database.pool, pool => {
                sqlx::query("DELETE FROM sandpiper_logs WHERE job_id = $1 AND attempt = $2")
                    .bind(self.id.to_string())
                    .bind(i64::from(self.attempt))
                    .execute(pool)
                    .await?;
            });
            Ok(())
        });
        if let Err(cause) = deleted.await {
            tracing::warn!(
                job = %self.id, %cause,
                "the uploaded log of a job that has ended cannot be deleted; a sweep deletes it after 25 hours"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_grows_too_long_loses_parts_of_its_middle() {
        let mut parts = Parts::new(1000);
        let mut add = |first, bytes| {
            parts.stored.push((first, bytes));
            parts.truncate()
        };
        for first in 0..5 {
            assert_eq!(add(first, 200), [0; 0]);
        }
        assert_eq!(add(5, 200), [2]);
        assert_eq!(add(6, 700), [3, 4, 5]);
        // The newest part stays, whatever its length.
        assert_eq!(add(7, 900), [6]);
    }
}
