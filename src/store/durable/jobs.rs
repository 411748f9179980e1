//! What is asked of jobs: one, many, until one has ended; and that one be stopped.

use super::changes::as_i64;
use super::database::{in_transaction, on_database};
use super::record::execution_from_text;
use super::{Shared, WAIT_POLL, notices};
use crate::store::{Found, JobPage, ListQuery, StoreError};
use dashmap::DashMap;
use sandpiper_domain::{Job, JobId, JobState, Timestamp};
use sqlx::AssertSqlSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

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

/// Somebody who waits for a job, for as long as they do.
struct Waiting<'a> {
    all: &'a DashMap<JobId, Arc<Notify>>,
    id: JobId,
    settled: Arc<Notify>,
}

impl<'a> Waiting<'a> {
    fn for_job(all: &'a DashMap<JobId, Arc<Notify>>, id: JobId) -> Self {
        let settled = Arc::clone(&all.entry(id).or_default());
        Self { all, id, settled }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        // Two hold it when nobody else waits: the map, and this.
        self.all
            .remove_if(&self.id, |_, settled| Arc::strong_count(settled) <= 2);
    }
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

    /// Woken by a finish on this node, and looking now and then for one on another.
    pub(super) async fn wait(&self, id: JobId, patience: Duration) -> Result<Found, StoreError> {
        let deadline = Instant::now() + patience;
        loop {
            let waiting = Waiting::for_job(&self.waiting, id);
            // Registered before the state is looked at, so a finish in between is not missed.
            let notified = waiting.settled.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            let found = self.in_time(self.find(id)).await;
            let is_open = matches!(&found, Ok(Found::Job(job)) if !job.state.is_final());
            if !is_open || Instant::now() >= deadline {
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
                        "UPDATE sandpiper_jobs SET state = 'cancelled', request = '', attempt = $2, finished_at = $3, expires_at = $4 \
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

    /// Whether jobs can be read, and whether this node could write of late that it lives.
    pub(super) async fn probe(&self) -> Result<(), StoreError> {
        on_database!(&self.readers, pool => {
            sqlx::query("SELECT 1 FROM sandpiper_jobs LIMIT 1").execute(pool).await?;
        });
        if self.seems_dead() {
            return Err(StoreError::Unavailable("it cannot be written".to_owned()));
        }
        Ok(())
    }
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
            // What River has given up is not told as lost before it is written down why (`sweep.rs`).
            Some("running" | "discarded") => JobState::Running,
            Some("cancelled") => JobState::Cancelled,
            Some("completed") => JobState::Lost,
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
