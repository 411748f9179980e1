//! The sweep: jobs that River discarded or cancelled get their final state, expired records are deleted, and later their ids.

use super::counters::Counters;
use super::database::Database;
use super::deleted_bytes::DeletedBytes;
use super::logs::Logs;
use super::numbers::{as_millis, unix_millis};
use super::pool::{Pool, on_pool, on_transaction};
use super::quotas::Quotas;
use super::record::{execution_to_text, outcome_to_text};
use super::requests::{Requests, StoredJob};
use super::seal::Column;
use super::tool_jobs;
use super::usage::UsageTables;
use super::usage_fold;
use crate::StoreError;
use sandpiper_domain::{
    Execution, IdempotencyKey, JobId, JobState, Limits, Outcome, ScriptError, Timestamp,
};
use sqlx::AssertSqlSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

/// Rows of one statement: other writers wait no longer than one statement takes.
const BATCH: u32 = 500;
/// Most statements of one kind in one sweep.
const BATCHES_MAX: usize = 20;
/// Pages of SQLite are returned to the system once more are free than this number, and than one part in `FREE_SHARE` of
/// all. Fewer free pages are soon used again.
const FREE_PAGES_MIN: i64 = 2_000;
const FREE_SHARE: i64 = 4;
/// Pages that one sweep returns to the system: other writers wait no longer than that takes.
const RETURNED_AT_A_TIME: i64 = 5_000;
/// Time for which the id of an expired job is remembered, so that a query gets 410 and not 404.
const REMEMBERED: Duration = Duration::from_hours(24);
/// Each sweep also reads the jobs that ended this long before the previous sweep. Such a job may have become visible only
/// later: its transaction was slow, or the clock of its node is behind.
const OVERLAP: Duration = Duration::from_mins(10);

#[derive(Debug)]
pub(super) struct Sweeper {
    pub(super) database: Database,
    pub(super) requests: Requests,
    pub(super) quotas: Arc<Quotas>,
    pub(super) counters: Arc<Counters>,
    pub(super) usage: Arc<UsageTables>,
    pub(super) deleted_bytes: Arc<DeletedBytes>,
    pub(super) ttl: Duration,
    /// Limits that are reported for a job whose request cannot be read.
    pub(super) default_limits: Limits,
    /// Moment up to which all jobs that River ended have their final state, milliseconds since 1970.
    pub(super) settled_until: AtomicI64,
}

/// A job that River discarded or cancelled: id, River's id, River's state, and attempt.
type Ended = (String, i64, String, i64);

impl Sweeper {
    /// Sweeps in small batches, and returns how many records expired.
    pub(super) async fn sweep(&self, now: Timestamp) -> Result<usize, StoreError> {
        self.quotas.forget_clients();
        let now = unix_millis(now);
        self.settle_ended(now).await?;
        let expired = self
            .run_in_batches(
                &format!(
                    "UPDATE sandpiper_jobs SET state = 'expired', request = '', execution = NULL WHERE id IN \
                     (SELECT id FROM sandpiper_jobs WHERE expires_at <= $1 AND state <> 'expired' ORDER BY expires_at LIMIT {BATCH})"
                ),
                now,
            )
            .await?;
        if expired > 0 {
            self.deleted_bytes.note(now);
        }
        self.run_in_batches(
            &format!(
                "DELETE FROM sandpiper_jobs WHERE id IN \
                 (SELECT id FROM sandpiper_jobs WHERE expires_at <= $1 AND state = 'expired' ORDER BY expires_at LIMIT {BATCH})"
            ),
            now.saturating_sub(as_millis(REMEMBERED)),
        )
        .await?;
        self.run_in_batches(
            &format!(
                "DELETE FROM sandpiper_keys WHERE (client, idempotency_key) IN \
                 (SELECT client, idempotency_key FROM sandpiper_keys WHERE created_at <= $1 ORDER BY created_at LIMIT {BATCH})"
            ),
            now.saturating_sub(as_millis(IdempotencyKey::REMEMBERED)),
        )
        .await?;
        self.run_in_batches(
            &format!(
                "DELETE FROM sandpiper_logs WHERE (job_id, attempt, first_number) IN \
                 (SELECT job_id, attempt, first_number FROM sandpiper_logs WHERE created_at <= $1 \
                  ORDER BY created_at LIMIT {BATCH})"
            ),
            Logs::abandoned_until(now),
        )
        .await?;
        self.run_in_batches(
            &format!(
                "DELETE FROM sandpiper_usage WHERE (tenant, period, starts_at, api_key) IN \
                 (SELECT tenant, period, starts_at, api_key FROM sandpiper_usage WHERE starts_at <= $1 \
                  ORDER BY starts_at LIMIT {BATCH})"
            ),
            self.usage.kept_until(now),
        )
        .await?;
        self.run_in_batches(
            "DELETE FROM sandpiper_usage_flushes WHERE flushed_at <= $1",
            UsageTables::sequences_kept_until(now),
        )
        .await?;
        self.quotas.fold().await?;
        usage_fold::fold(&self.database).await?;
        usage_fold::purge_late(&self.database).await?;
        self.return_pages().await?;
        self.deleted_bytes.empty_log_if_due(now).await?;
        self.quotas.count_between_batches().await?;
        self.quotas.count_waiting_jobs().await?;
        Ok(expired)
    }

    /// Repeats `statement`, which changes up to [`BATCH`] rows that are not younger than `until`, until it finds fewer rows.
    /// Returns how many rows it changed.
    async fn run_in_batches(&self, statement: &str, until: i64) -> Result<usize, StoreError> {
        let mut all = 0;
        for _ in 0..BATCHES_MAX {
            let mut transaction = self.database.pool.begin().await?;
            // Large records have many pages, and so take longer than the timeout of other statements.
            let raise_timeout = self.database.pool.raise_timeout_for_sweep();
            let changed = on_transaction!(&mut transaction, connection => {
                sqlx::query(raise_timeout).execute(&mut **connection).await?;
                sqlx::query(AssertSqlSafe(statement.to_owned()))
                    .bind(until)
                    .execute(&mut **connection)
                    .await?
                    .rows_affected()
            });
            transaction.commit().await?;
            all += usize::try_from(changed).unwrap_or(usize::MAX);
            if changed < u64::from(BATCH) {
                break;
            }
        }
        Ok(all)
    }

    /// Returns free pages of a file of SQLite to the system, if there are many. SQLite itself only uses free pages again, and
    /// a file of an early version, without incremental vacuum, goes on to do so.
    async fn return_pages(&self) -> Result<(), StoreError> {
        let Pool::Sqlite(pool) = &self.database.pool else {
            return Ok(());
        };
        let (pages,): (i64,) = sqlx::query_as("PRAGMA page_count").fetch_one(pool).await?;
        let (free,): (i64,) = sqlx::query_as("PRAGMA freelist_count")
            .fetch_one(pool)
            .await?;
        if free > FREE_PAGES_MIN && free > pages / FREE_SHARE {
            let vacuum = format!("PRAGMA incremental_vacuum({RETURNED_AT_A_TIME})");
            sqlx::query(AssertSqlSafe(vacuum)).execute(pool).await?;
        }
        Ok(())
    }

    /// Settles jobs that River ended since the last sweep without our row: discarded, because their nodes died in each
    /// attempt, or cancelled by another River client.
    async fn settle_ended(&self, now: i64) -> Result<(), StoreError> {
        let since = self.settled_until.load(Ordering::Relaxed);
        let select = format!(
            "SELECT s.id, r.id, CAST(r.state AS TEXT), CAST(r.attempt AS BIGINT) \
             FROM river_job r JOIN sandpiper_jobs s ON s.river_id = r.id \
             WHERE r.state IN ('discarded', 'cancelled') AND r.finalized_at >= {} AND s.state = 'open' LIMIT {BATCH}",
            self.database.pool.moment("$1")
        );
        let ended: Vec<Ended> = on_pool!(&self.database.readers, pool => {
            sqlx::query_as(AssertSqlSafe(select)).bind(since).fetch_all(pool).await?
        });
        let are_all = u32::try_from(ended.len()).unwrap_or(u32::MAX) < BATCH;
        for job in ended {
            self.settle(job).await?;
        }
        // After a failure, or with jobs left, the next sweep starts from the same moment.
        if are_all {
            let until = now.saturating_sub(as_millis(OVERLAP));
            self.settled_until.store(until, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Settles one job that River ended, as cancelled or lost.
    async fn settle(&self, ended: Ended) -> Result<(), StoreError> {
        let (id, river_id, river_state, attempt) = ended;
        let Ok(id) = id.parse::<JobId>() else {
            return Ok(());
        };
        let (limits, reason) = match self.requests.read(id, river_id).await {
            Ok(StoredJob::Open(job)) => (
                job.limits,
                format!("the nodes that ran this job died, {attempt} times"),
            ),
            Ok(StoredJob::Final | StoredJob::IdTaken | StoredJob::Unknown) => return Ok(()),
            // A request that cannot be read has no known limits.
            Err(StoreError::Unreadable(cause)) => (self.default_limits, cause),
            Err(failure) => return Err(failure),
        };
        let now = Timestamp::now();
        let (state, execution) = if river_state == "cancelled" {
            (JobState::Cancelled, None)
        } else {
            tracing::warn!(
                job = %id, attempt, reason,
                "a job is lost: it is not run again, and its record says why"
            );
            Counters::increment(&self.counters.lost);
            let error = ScriptError::of_service("Lost", reason);
            let execution = Execution::never_ran(id, limits, Outcome::Crashed, error);
            (JobState::Lost, Some(execution))
        };
        let text = execution.as_ref().map(execution_to_text).transpose()?;
        let seal = &self.database.seal;
        let text = text.map(|text| seal.seal(Column::Execution, &id.to_string(), text));
        on_pool!(&self.database.pool, pool => {
            sqlx::query(
                "UPDATE sandpiper_jobs SET state = $2, outcome = $3, attempt = $4, finished_at = $5, expires_at = $6, \
                 execution = $7, request = CASE WHEN $7 IS NULL THEN '' ELSE request END WHERE id = $1 AND state = 'open'",
            )
            .bind(id.to_string())
            .bind(state.as_str())
            .bind(execution.as_ref().map(|execution| outcome_to_text(execution.outcome)))
            .bind(attempt)
            .bind(unix_millis(now))
            .bind(unix_millis(now.plus(self.ttl)))
            .bind(text)
            .execute(pool)
            .await?;
        });
        self.end_tools(&id.to_string(), state).await
    }

    /// Counts a job with tools as ended; any other job has no row.
    async fn end_tools(&self, id: &str, state: JobState) -> Result<(), StoreError> {
        let statements = if state == JobState::Cancelled {
            tool_jobs::CANCEL.as_slice()
        } else {
            tool_jobs::LOSE.as_slice()
        };
        for statement in statements {
            on_pool!(&self.database.pool, pool => {
                sqlx::query(*statement).bind(id).execute(pool).await?;
            });
        }
        Ok(())
    }
}
