//! Logs of running jobs, for nodes that do not run them: brought in parts while the job runs, gone with its end.
//!
//! Only where there can be another node, and only of jobs that run for longer than it takes to bring one.

use super::changes::as_i64;
use super::database::{Database, on_database};
use super::record::{log_from_text, log_to_text};
use super::{Shared, as_millis};
use crate::store::StoreError;
use sandpiper_domain::{JobId, LogEntry, LogSoFar, Timestamp};
use std::time::Duration;

/// Between two parts of one log.
pub(super) const BRING_EVERY: Duration = Duration::from_millis(500);
/// Longer than any job may run: parts of this age were left by a node that died.
const LEFT_AFTER: Duration = Duration::from_hours(25);

/// The log of one running job, as far as it was brought.
#[derive(Debug)]
pub(super) struct Brought {
    id: JobId,
    attempt: u32,
    /// What comes next.
    next: u64,
    /// Most bytes that are kept, as of the log itself.
    bytes_max: usize,
    /// Number of the first entry of each part, and its bytes.
    parts: Vec<(u64, usize)>,
}

impl Brought {
    /// Nothing yet.
    pub(super) fn nothing_of(id: JobId, attempt: u32, bytes_max: u32) -> Self {
        Self {
            id,
            attempt,
            next: 0,
            bytes_max: usize::try_from(bytes_max).unwrap_or(usize::MAX),
            parts: Vec::new(),
        }
    }

    /// From where on it is to be brought.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Takes out of the middle what is too much: head and tail are what a log keeps.
    fn superfluous(&mut self) -> Vec<u64> {
        let mut all: usize = self.parts.iter().map(|(_, bytes)| bytes).sum();
        let mut head = 0;
        let in_head = self.parts.iter().take_while(|(_, bytes)| {
            head += bytes;
            head <= self.bytes_max / 2
        });
        let middle = in_head.count();
        let mut superfluous = Vec::new();
        while all > self.bytes_max && self.parts.len() > middle + 1 {
            let (first, bytes) = self.parts.remove(middle);
            all -= bytes;
            superfluous.push(first);
        }
        superfluous
    }
}

impl Shared {
    /// Whether there can be another node.
    pub(super) fn may_have_others(&self) -> bool {
        matches!(self.database, Database::Postgres(_))
    }

    /// Brings what was logged since.
    pub(super) async fn bring_log(
        &self,
        brought: &mut Brought,
        log: &LogSoFar,
    ) -> Result<(), StoreError> {
        let Some((first, _)) = log.entries.first() else {
            return Ok(());
        };
        let text = log_to_text(&log.entries)?;
        on_database!(&self.database, pool => {
            sqlx::query(
                "INSERT INTO sandpiper_logs (job_id, attempt, first_number, next_number, entries, created_at) \
                 VALUES ($1, $2, $3, $4, $5, $6)",
            )
            .bind(brought.id.to_string())
            .bind(i64::from(brought.attempt))
            .bind(as_i64(*first))
            .bind(as_i64(log.next))
            .bind(text)
            .bind(as_i64(Timestamp::now().as_unix_millis()))
            .execute(pool)
            .await?;
        });
        let bytes = log
            .entries
            .iter()
            .map(|(_, entry)| LogEntry::output_bytes(entry));
        brought.parts.push((*first, bytes.sum()));
        brought.next = log.next;
        for first in brought.superfluous() {
            on_database!(&self.database, pool => {
                sqlx::query("DELETE FROM sandpiper_logs WHERE job_id = $1 AND attempt = $2 AND first_number = $3")
                    .bind(brought.id.to_string())
                    .bind(i64::from(brought.attempt))
                    .bind(as_i64(first))
                    .execute(pool)
                    .await?;
            });
        }
        Ok(())
    }

    /// Takes away what was brought of a job that has ended: its record has all of it.
    pub(super) async fn forget_log(&self, brought: &Brought) {
        if brought.parts.is_empty() {
            return;
        }
        let forgotten = self.in_time(async {
            on_database!(&self.database, pool => {
                sqlx::query("DELETE FROM sandpiper_logs WHERE job_id = $1 AND attempt = $2")
                    .bind(brought.id.to_string())
                    .bind(i64::from(brought.attempt))
                    .execute(pool)
                    .await?;
            });
            Ok(())
        });
        if let Err(cause) = forgotten.await {
            tracing::warn!(job = %brought.id, %cause, "the parts of a log are swept away later");
        }
    }

    pub(super) async fn log_so_far(
        &self,
        id: JobId,
        attempt: u32,
    ) -> Result<Option<LogSoFar>, StoreError> {
        if !self.may_have_others() {
            return Ok(None);
        }
        let parts: Vec<(i64, String)> = on_database!(&self.readers, pool => {
            sqlx::query_as(
                "SELECT next_number, entries FROM sandpiper_logs WHERE job_id = $1 AND attempt = $2 ORDER BY first_number",
            )
            .bind(id.to_string())
            .bind(i64::from(attempt))
            .fetch_all(pool)
            .await?
        });
        let mut log = LogSoFar::default();
        for (next, entries) in parts {
            log.entries.extend(log_from_text(&entries)?);
            log.next = u64::try_from(next).unwrap_or_default();
        }
        Ok(Some(log))
    }

    /// Parts that dead nodes left.
    pub(super) fn sweep_logs_until(now: i64) -> i64 {
        now.saturating_sub(as_millis(LEFT_AFTER))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_grows_too_long_loses_parts_of_its_middle() {
        let mut brought = Brought::nothing_of(JobId::generate(), 1, 1000);
        let mut bring = |first, bytes| {
            brought.parts.push((first, bytes));
            brought.superfluous()
        };
        for first in 0..5 {
            assert_eq!(bring(first, 200), [0; 0]);
        }
        assert_eq!(bring(5, 200), [2]);
        assert_eq!(bring(6, 700), [3, 4, 5]);
        // The newest stays, whatever its length.
        assert_eq!(bring(7, 900), [6]);
    }
}
