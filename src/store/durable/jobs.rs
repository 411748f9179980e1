//! What is asked of jobs: one, many, until one has ended; and their end.

use super::changes::as_i64;
use super::database::{in_transaction, on_database};
use super::record::{
    Request, execution_from_text, execution_to_text, request_from_text, request_to_text,
};
use super::{Shared, WAIT_POLL, as_millis, notices};
use crate::domain::{
    Execution, IdempotencyKey, Job, JobId, JobState, Outcome, ScriptError, Timestamp,
};
use crate::store::{Found, JobPage, ListQuery, StoreError};
use sqlx::AssertSqlSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Rows that one statement of the sweep takes: whoever else writes waits no longer than that.
const SWEEP_BATCH: i64 = 500;
/// Such statements in one sweep.
const SWEEP_BATCHES: usize = 20;
/// How long an id is remembered after its record has gone, so that it gets 410 and not 404.
const REMEMBERED: Duration = Duration::from_hours(24);
/// How far back a sweep looks for what River has ended: far more than clocks of nodes differ and transactions take.
const ENDED_OF_LATE: Duration = Duration::from_mins(10);
/// Above every id.
const LAST_ID: &str = "~";

/// A job as a row: id, state, outcome, attempt, created, to run at, started, finished, expires, execution; River's state, attempt, and
/// the time of it.
type Row = (
    String,
    String,
    Option<String>,
    i64,
    i64,
    Option<i64>,
    Option<i64>,
    Option<i64>,
    Option<i64>,
    Option<String>,
    Option<String>,
    Option<i64>,
    Option<i64>,
);

/// What is known of a job that River hands out.
pub(super) enum Claimed {
    /// It is to be run: whose it is, and its request.
    Open(String, Request),
    /// It has its end.
    Settled,
    /// Its id is that of another job.
    Taken,
    /// It was never seen, or was swept away.
    Unknown,
}

impl Shared {
    /// The columns of a [`Row`]; lists have no use for executions.
    fn columns(&self, execution: &str) -> String {
        format!(
            "s.id, s.state, s.outcome, s.attempt, s.created_at, s.run_at, s.started_at, s.finished_at, s.expires_at, {execution}, \
             CAST(r.state AS TEXT), CAST(r.attempt AS BIGINT), {}",
            self.database.millis("r.attempted_at")
        )
    }

    pub(super) async fn find(&self, id: JobId) -> Result<Found, StoreError> {
        let select = format!(
            "SELECT {} FROM sandpiper_jobs s LEFT JOIN river_job r ON r.id = s.river_id WHERE s.id = $1",
            self.columns("s.execution")
        );
        let row: Option<Row> = on_database!(&self.readers, pool => {
            sqlx::query_as(AssertSqlSafe(select))
                .bind(id.to_string())
                .fetch_optional(pool)
                .await?
        });
        match row {
            None => Ok(Found::Unknown),
            Some(row) if row.1 == "expired" => Ok(Found::Expired),
            Some(row) => Ok(Found::Job(job(row)?)),
        }
    }

    /// What is to be run of the job that is this one of River's.
    pub(super) async fn claimed(&self, id: JobId, river_id: i64) -> Result<Claimed, StoreError> {
        let row: Option<(String, String, String, i64)> = on_database!(&self.readers, pool => {
            sqlx::query_as("SELECT client, request, state, river_id FROM sandpiper_jobs WHERE id = $1")
                .bind(id.to_string())
                .fetch_optional(pool)
                .await?
        });
        Ok(match row {
            None => Claimed::Unknown,
            Some((.., its_river_id)) if its_river_id != river_id => Claimed::Taken,
            Some((client, request, state, _)) if state == "open" => {
                Claimed::Open(client, request_from_text(&request)?)
            }
            Some(_) => Claimed::Settled,
        })
    }

    /// Whether an attempt is still the one that runs.
    pub(super) async fn is_running(&self, river_id: i64, attempt: u32) -> Result<bool, StoreError> {
        let (running,): (bool,) = on_database!(&self.database, pool => {
            sqlx::query_as(
                "SELECT EXISTS (SELECT 1 FROM river_job WHERE id = $1 AND state = 'running' AND attempt = $2)",
            )
            .bind(river_id)
            .bind(i64::from(attempt))
            .fetch_one(pool)
            .await?
        });
        Ok(running)
    }

    /// Whether River will do nothing more with one of its jobs.
    pub(super) async fn is_over(&self, river_id: i64) -> Result<bool, StoreError> {
        let (goes_on,): (bool,) = on_database!(&self.database, pool => {
            sqlx::query_as(
                "SELECT EXISTS (SELECT 1 FROM river_job WHERE id = $1 \
                 AND state NOT IN ('completed', 'cancelled', 'discarded'))",
            )
            .bind(river_id)
            .fetch_one(pool)
            .await?
        });
        Ok(!goes_on)
    }

    /// The id of a job that another client of River brought, once it was adopted.
    pub(super) async fn id_of_river(&self, river_id: i64) -> Result<Option<JobId>, StoreError> {
        let row: Option<(String,)> = on_database!(&self.readers, pool => {
            sqlx::query_as("SELECT id FROM sandpiper_jobs WHERE river_id = $1")
                .bind(river_id)
                .fetch_optional(pool)
                .await?
        });
        Ok(row.and_then(|(id,)| id.parse().ok()))
    }

    /// Gives a job that another client of River brought a row of its own; false where there is one.
    pub(super) async fn adopt(
        &self,
        id: JobId,
        river_id: i64,
        request: &Request,
    ) -> Result<bool, StoreError> {
        let request = request_to_text(request)?;
        let made = on_database!(&self.database, pool => {
            sqlx::query(
                "INSERT INTO sandpiper_jobs (id, river_id, client, request, state, attempt, created_at) \
                 VALUES ($1, $2, $3, $4, 'open', 0, $5) ON CONFLICT DO NOTHING",
            )
            .bind(id.to_string())
            .bind(river_id)
            .bind(super::work::ADOPTED_CLIENT)
            .bind(request)
            .bind(as_i64(Timestamp::now().as_unix_millis()))
            .execute(pool)
            .await?
            .rows_affected()
        });
        Ok(made == 1)
    }

    /// Woken by a finish on this node, and looking now and then for one on another.
    pub(super) async fn wait(&self, id: JobId, patience: Duration) -> Result<Found, StoreError> {
        let deadline = Instant::now() + patience;
        loop {
            let waiting = Arc::clone(
                &self
                    .waiting
                    .entry(id)
                    .or_insert_with(|| Arc::new(Notify::new())),
            );
            // Registered before the state is looked at, so a finish in between is not missed.
            let notified = waiting.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            let found = self.find(id).await;
            let is_open = matches!(&found, Ok(Found::Job(job)) if !job.state.is_final());
            if !is_open || Instant::now() >= deadline {
                // Two hold it when nobody else waits: the map, and this.
                self.waiting
                    .remove_if(&id, |_, waiting| Arc::strong_count(waiting) <= 2);
                return found;
            }
            let next_look = (Instant::now() + WAIT_POLL).min(deadline);
            let _ = tokio::time::timeout_at(next_look, notified).await;
        }
    }

    pub(super) async fn list(&self, query: &ListQuery) -> Result<JobPage, StoreError> {
        let columns = self.columns("NULL");
        let left = "sandpiper_jobs s LEFT JOIN river_job r ON r.id = s.river_id";
        let (tables, condition) = match query.state {
            None => (left, "s.state <> 'expired'".to_owned()),
            Some(JobState::Queued) => (
                left,
                "s.state = 'open' AND CAST(r.state AS TEXT) IN ('available', 'pending', 'retryable', 'scheduled')"
                    .to_owned(),
            ),
            // Few run while many may wait, so it is River's index of states that finds them.
            Some(JobState::Running) => (
                "river_job r JOIN sandpiper_jobs s ON s.river_id = r.id",
                "r.state = 'running' AND s.state = 'open'".to_owned(),
            ),
            Some(state) => (left, format!("s.state = '{}'", state.as_str())),
        };
        let select = format!(
            "SELECT {columns} FROM {tables} WHERE {condition} AND s.id < $1 ORDER BY s.id DESC LIMIT $2"
        );
        let before = query.before.map_or(LAST_ID.to_owned(), |id| id.to_string());
        let limit = i64::try_from(query.limit).unwrap_or(i64::MAX);
        let rows: Vec<Row> = on_database!(&self.readers, pool => {
            sqlx::query_as(AssertSqlSafe(select))
                .bind(before)
                // One more, by which it is known whether there is another page.
                .bind(limit.saturating_add(1))
                .fetch_all(pool)
                .await?
        });
        let mut jobs = rows.into_iter().map(job).collect::<Result<Vec<_>, _>>()?;
        let next = if jobs.len() > query.limit {
            jobs.truncate(query.limit);
            jobs.last().map(|job| job.id)
        } else {
            None
        };
        Ok(JobPage { jobs, next })
    }

    /// Cancels it where it waits, and tells the node that runs it.
    pub(super) async fn cancel(&self, id: JobId) -> Result<(), StoreError> {
        let select = format!(
            "SELECT river_id FROM sandpiper_jobs WHERE id = $1 AND state = 'open'{}",
            self.database.for_update()
        );
        in_transaction!(&self.database, transaction => {
            let open: Option<(i64,)> = sqlx::query_as(AssertSqlSafe(select))
                .bind(id.to_string())
                .fetch_optional(&mut *transaction)
                .await?;
            if let Some((river_id,)) = open {
                let row = self.client.jobs().cancel(river_id).tx(&mut transaction).await?;
                if row.state == riverqueue::JobState::Cancelled {
                    let now = Timestamp::now();
                    sqlx::query(
                        "UPDATE sandpiper_jobs SET state = 'cancelled', attempt = $2, finished_at = $3, expires_at = $4 \
                         WHERE id = $1",
                    )
                    .bind(id.to_string())
                    .bind(i64::from(row.attempt))
                    .bind(as_i64(now.as_unix_millis()))
                    .bind(as_i64(now.plus(self.options.ttl).as_unix_millis()))
                    .execute(&mut *transaction)
                    .await?;
                    if self.is_one_of_many.load(Ordering::Relaxed) {
                        sqlx::query(notices::TELL).bind(notices::names([&id])).execute(&mut *transaction).await?;
                    }
                }
            }
        });
        self.wake(id);
        Ok(())
    }

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
                let taken = on_database!(&self.database, pool => {
                    sqlx::query(AssertSqlSafe(statement)).bind(until).execute(pool).await?.rows_affected()
                });
                if counts {
                    expired += usize::try_from(taken).unwrap_or(usize::MAX);
                }
                if taken < u64::try_from(SWEEP_BATCH).unwrap_or(u64::MAX) {
                    break;
                }
            }
        }
        Ok(expired)
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
                     execution = $7 WHERE id = $1 AND state = 'open'",
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

    pub(super) async fn probe(&self) -> Result<(), StoreError> {
        on_database!(&self.readers, pool => {
            sqlx::query("SELECT 1").execute(pool).await?;
        });
        Ok(())
    }
}

pub(super) fn outcome_to_text(outcome: Outcome) -> String {
    serde_json::to_string(&outcome).unwrap_or_default()
}

fn job(row: Row) -> Result<Job, StoreError> {
    let (
        id,
        state,
        outcome,
        attempt,
        created,
        run_at,
        started,
        finished,
        expires,
        execution,
        river,
        tries,
        tried_at,
    ) = row;
    let unreadable = |what: &str| StoreError::Unreadable(format!("a stored {what} cannot be read"));
    let id: JobId = id.parse().map_err(|_| unreadable("id"))?;
    let moment =
        |millis: i64| Timestamp::from_unix_millis(u64::try_from(millis).unwrap_or_default());
    let execution = execution
        .map(|text| execution_from_text(id, &text).map(Arc::new))
        .transpose()?;
    let (state, attempt, started) = if state == "open" {
        // Until our row says more, River's does.
        let state = match river.as_deref() {
            Some("running") => JobState::Running,
            Some("cancelled") => JobState::Cancelled,
            Some("discarded" | "completed") => JobState::Lost,
            _ => JobState::Queued,
        };
        let started = tried_at.filter(|_| state == JobState::Running);
        (state, tries.unwrap_or(attempt), started)
    } else {
        (
            state.parse().map_err(|_| unreadable("state"))?,
            attempt,
            started,
        )
    };
    Ok(Job {
        id,
        state,
        created_at: moment(created),
        run_at: run_at.map(moment),
        started_at: started.map(moment),
        finished_at: finished.map(moment),
        expires_at: expires.map(moment),
        attempt: u32::try_from(attempt).unwrap_or_default(),
        outcome: outcome.and_then(|text| serde_json::from_str(&text).ok()),
        execution,
    })
}
