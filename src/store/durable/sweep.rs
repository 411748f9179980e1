//! What is taken away: jobs that River gave up become final, what has expired loses its record and later its id.

use super::changes::as_i64;
use super::claims::Claimed;
use super::database::{Database, in_transaction, on_database};
use super::record::{execution_to_text, outcome_to_text};
use super::{Shared, as_millis};
use crate::store::StoreError;
use sandpiper_domain::{
    Execution, IdempotencyKey, JobId, JobState, Outcome, ScriptError, Timestamp,
};
use sqlx::AssertSqlSafe;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Rows that one statement of the sweep takes: whoever else writes waits no longer than that.
const SWEEP_BATCH: i64 = 500;
/// Such statements in one sweep.
const SWEEP_BATCHES: usize = 20;
/// Pages of SQLite that may stay free, as a number and as a share of the file: what goes comes back soon.
const FREE_PAGES_MIN: i64 = 2_000;
const FREE_SHARE: i64 = 4;
/// Pages that one sweep gives back to the system: whoever else writes waits no longer than that.
const GIVEN_BACK_AT_A_TIME: i64 = 5_000;
/// How long an id is remembered after its record has gone, so that it gets 410 and not 404.
const REMEMBERED: Duration = Duration::from_hours(24);
/// How far back a sweep looks for what River has ended: far more than clocks of nodes differ and transactions take.
const ENDED_OF_LATE: Duration = Duration::from_mins(10);
impl Shared {
    /// In small batches: what River gave up becomes final, what has expired loses its record and later its id.
    pub(super) async fn sweep(&self, now: Timestamp) -> Result<usize, StoreError> {
        self.clients.sweep();
        self.settle_given_up(as_i64(now.as_unix_millis())).await?;
        let expire = format!(
            "UPDATE sandpiper_jobs SET state = 'expired', request = '', execution = NULL WHERE id IN \
             (SELECT id FROM sandpiper_jobs WHERE expires_at <= $1 AND state <> 'expired' ORDER BY expires_at LIMIT {SWEEP_BATCH})"
        );
        let forget = format!(
            "DELETE FROM sandpiper_jobs WHERE id IN \
             (SELECT id FROM sandpiper_jobs WHERE expires_at <= $1 AND state = 'expired' ORDER BY expires_at LIMIT {SWEEP_BATCH})"
        );
        let now = as_i64(now.as_unix_millis());
        let forgotten = now.saturating_sub(as_millis(REMEMBERED));
        let forget_keys = format!(
            "DELETE FROM sandpiper_keys WHERE (client, idempotency_key) IN \
             (SELECT client, idempotency_key FROM sandpiper_keys WHERE created_at <= $1 ORDER BY created_at LIMIT {SWEEP_BATCH})"
        );
        let forget_logs = format!(
            "DELETE FROM sandpiper_logs WHERE (job_id, attempt, first_number) IN \
             (SELECT job_id, attempt, first_number FROM sandpiper_logs WHERE created_at <= $1 \
              ORDER BY created_at LIMIT {SWEEP_BATCH})"
        );
        let keys_until = now.saturating_sub(as_millis(IdempotencyKey::REMEMBERED));
        let mut expired = 0;
        for (statement, until, counts) in [
            (expire, now, true),
            (forget, forgotten, false),
            (forget_keys, keys_until, false),
            (forget_logs, Self::sweep_logs_until(now), false),
        ] {
            for _ in 0..SWEEP_BATCHES {
                let statement = statement.clone();
                let taken = in_transaction!(&self.database, transaction => {
                    // Large records are many pages.
                    let longer = self.database.with_the_time_of_a_sweep();
                    sqlx::query(longer).execute(&mut *transaction).await?;
                    let taken = sqlx::query(AssertSqlSafe(statement)).bind(until).execute(&mut *transaction);
                    taken.await?.rows_affected()
                });
                if counts {
                    expired += usize::try_from(taken).unwrap_or(usize::MAX);
                }
                if taken < u64::try_from(SWEEP_BATCH).unwrap_or(u64::MAX) {
                    break;
                }
            }
        }
        self.fold_bytes().await?;
        self.give_pages_back().await?;
        self.count_total().await?;
        Ok(expired)
    }

    /// Gives free pages of a file back to the system, if they are many. SQLite itself only uses them again, and a file that
    /// was made before this was so goes on to do that.
    async fn give_pages_back(&self) -> Result<(), StoreError> {
        let Database::Sqlite(pool) = &self.database else {
            return Ok(());
        };
        let (pages,): (i64,) = sqlx::query_as("PRAGMA page_count").fetch_one(pool).await?;
        let (free,): (i64,) = sqlx::query_as("PRAGMA freelist_count")
            .fetch_one(pool)
            .await?;
        if free > FREE_PAGES_MIN && free > pages / FREE_SHARE {
            let give_back = format!("PRAGMA incremental_vacuum({GIVEN_BACK_AT_A_TIME})");
            sqlx::query(AssertSqlSafe(give_back)).execute(pool).await?;
        }
        Ok(())
    }

    /// Jobs that died with their node as often as they may, and those that were cancelled by other means than ours: of those
    /// that River has ended of late.
    async fn settle_given_up(&self, now: i64) -> Result<(), StoreError> {
        let since = self.settled_until.load(Ordering::Relaxed);
        let select = format!(
            "SELECT s.id, r.id, CAST(r.state AS TEXT), CAST(r.attempt AS BIGINT) \
             FROM river_job r JOIN sandpiper_jobs s ON s.river_id = r.id \
             WHERE r.state IN ('discarded', 'cancelled') AND r.finalized_at >= {} AND s.state = 'open' LIMIT {SWEEP_BATCH}",
            self.database.moment("$1")
        );
        let given_up: Vec<(String, i64, String, i64)> = on_database!(&self.readers, pool => {
            sqlx::query_as(AssertSqlSafe(select)).bind(since).fetch_all(pool).await?
        });
        let are_all = i64::try_from(given_up.len()).unwrap_or(i64::MAX) < SWEEP_BATCH;
        for (id, river_id, river_state, attempt) in given_up {
            let Ok(id) = id.parse::<JobId>() else {
                continue;
            };
            // Of what cannot be read nothing is known but that it was there.
            let (limits, reason) = match self.claimed(id, river_id).await {
                Ok(Claimed::Open(_, request)) => (
                    request.limits,
                    format!("the nodes that ran this job died, {attempt} times"),
                ),
                Ok(Claimed::Settled | Claimed::Taken | Claimed::Unknown) => continue,
                Err(StoreError::Unreadable(cause)) => (self.options.defaults, cause),
                Err(failure) => return Err(failure),
            };
            let now = Timestamp::now();
            let (state, execution) = if river_state == "cancelled" {
                (JobState::Cancelled, None)
            } else {
                tracing::warn!(job = %id, attempt, "a job is lost");
                self.counters.lost.fetch_add(1, Ordering::Relaxed);
                let error = ScriptError::of_service("Lost", reason);
                let execution = Execution::never_ran(id, limits, Outcome::Crashed, error);
                (JobState::Lost, Some(execution))
            };
            let text = execution.as_ref().map(execution_to_text).transpose()?;
            on_database!(&self.database, pool => {
                sqlx::query(
                    "UPDATE sandpiper_jobs SET state = $2, outcome = $3, attempt = $4, finished_at = $5, expires_at = $6, \
                     execution = $7, request = CASE WHEN $7 IS NULL THEN '' ELSE request END WHERE id = $1 AND state = 'open'",
                )
                .bind(id.to_string())
                .bind(state.as_str())
                .bind(execution.as_ref().map(|execution| outcome_to_text(execution.outcome)))
                .bind(attempt)
                .bind(as_i64(now.as_unix_millis()))
                .bind(as_i64(now.plus(self.options.ttl).as_unix_millis()))
                .bind(text)
                .execute(pool)
                .await?;
            });
        }
        // What is left, or failed, comes with the next sweep.
        if are_all {
            self.settled_until.store(
                now.saturating_sub(as_millis(ENDED_OF_LATE)),
                Ordering::Relaxed,
            );
        }
        Ok(())
    }
}
