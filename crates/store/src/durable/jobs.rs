//! Queries of jobs: one, a page, and one that is waited for.

use super::database::Database;
use super::numbers::timestamp;
use super::pool::on_pool;
use super::record::{execution_from_text, owner_from_text};
use super::seal::{Column, Seal};
use super::tool_jobs::as_u32;
use super::waiters::Waiters;
use crate::{Found, JobPage, ListQuery, StoreError};
use sandpiper_domain::{Access, ApiKeyId, JobId, JobRecord, JobState};
use sqlx::AssertSqlSafe;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Time between two queries for a job that another node may have settled without a notice.
const WAIT_POLL: Duration = Duration::from_secs(1);
/// The tenant by the client, and no key. SQLite reads a row up to the last column that is asked for, and the columns of the
/// owner lie behind the execution.
const OWNER_IN_LIST: &str = "CASE WHEN substr(s.client, 1, 4) = 'key:' THEN s.client \
    WHEN substr(s.client, 1, 7) = 'tenant:' THEN substr(s.client, 8) ELSE 'default' END, NULL";
/// The rows of jobs with tools.
const TOOLS: &str = "LEFT JOIN sandpiper_tool_jobs t ON t.job_id = s.id";
/// In the place of River's state: a job between two rounds, and one that waits for answers of its reader.
const WAITING: &str = "waiting";
const WAITING_FOR_READER: &str = "waiting_for_reader";
/// A text above every id.
const LAST_ID: &str = "~";

#[derive(Debug, Clone)]
pub(super) struct Jobs {
    database: Database,
    waiters: Arc<Waiters>,
}

/// The columns of a job: id, tenant, `api_key`, state, outcome, attempt, `created_at`, `run_at`, `started_at`, `finished_at`, `expires_at` and
/// execution; then River's state, attempt and `attempted_at`, and the rounds of a job with tools. For a job between two rounds
/// River's state is [`WAITING`] or [`WAITING_FOR_READER`].
type Row = (
    String,
    String,
    Option<String>,
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
    Option<i64>,
);

impl Jobs {
    pub(super) fn new(database: Database, waiters: Arc<Waiters>) -> Self {
        Self { database, waiters }
    }

    /// Returns the columns of a [`Row`]; a list leaves executions and keys out.
    fn columns(&self, owner: &str, execution: &str) -> String {
        format!(
            "s.id, {owner}, s.state, s.outcome, s.attempt, s.created_at, s.run_at, s.started_at, s.finished_at, s.expires_at, {execution}, \
             CASE WHEN t.rounds > 0 AND r.state = 'scheduled' \
             THEN CASE WHEN t.needs_reader = 1 THEN '{WAITING_FOR_READER}' ELSE '{WAITING}' END ELSE CAST(r.state AS TEXT) END, \
             CAST(CASE WHEN t.rounds > 0 THEN t.attempts + CASE WHEN r.attempt > 1 THEN r.attempt ELSE 1 END \
             ELSE r.attempt END AS BIGINT), {}, t.rounds",
            self.database.pool.millis("r.attempted_at")
        )
    }

    pub(super) async fn find(&self, id: JobId, access: &Access) -> Result<Found, StoreError> {
        Ok(self.find_for_wait(id, access).await?.0)
    }

    /// Finds a job. The second value is true if the job waits for answers of its reader.
    async fn find_for_wait(&self, id: JobId, access: &Access) -> Result<(Found, bool), StoreError> {
        let select = format!(
            "SELECT {} FROM sandpiper_jobs s LEFT JOIN river_job r ON r.id = s.river_id {TOOLS} WHERE s.id = $1",
            self.columns("s.tenant, s.api_key", "s.execution")
        );
        let row: Option<Row> = on_pool!(&self.database.readers, pool => {
            sqlx::query_as(AssertSqlSafe(select))
                .bind(id.to_string())
                .fetch_optional(pool)
                .await?
        });
        let Some(row) = row else {
            return Ok((Found::Unknown, false));
        };
        let (_, tenant, api_key, state, .., river_state, _, _, _) = &row;
        let waits = river_state.as_deref() == Some(WAITING_FOR_READER);
        if !access.includes(&owner_from_text(tenant, api_key.as_deref())) {
            return Ok((Found::Unknown, false));
        }
        match state.as_str() {
            "expired" => Ok((Found::Expired, false)),
            _ => Ok((Found::Job(job(row, &self.database.seal)?), waits)),
        }
    }

    /// Finds a job once it has its final state or waits for its reader, or when `patience` is over. A finish on this node and a notice of another
    /// wake the caller at once; a finish on another node without a notice is found within [`WAIT_POLL`].
    pub(super) async fn wait(
        &self,
        id: JobId,
        access: &Access,
        patience: Duration,
    ) -> Result<Found, StoreError> {
        let deadline = Instant::now() + patience;
        loop {
            let waiter = self.waiters.register(id);
            // Registered before the query, so that no finish in between is missed.
            let notified = waiter.settled.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            let found = self.database.in_time(self.find_for_wait(id, access)).await;
            let (found, waits_for_reader) = found?;
            let goes_on = matches!(&found, Found::Job(job) if !job.state.is_final());
            if !goes_on || waits_for_reader || Instant::now() >= deadline {
                return Ok(found);
            }
            let next_query = (Instant::now() + WAIT_POLL).min(deadline);
            let _ = tokio::time::timeout_at(next_query, notified).await;
        }
    }

    pub(super) async fn list(&self, query: &ListQuery) -> Result<JobPage, StoreError> {
        let columns = self.columns(OWNER_IN_LIST, "NULL");
        let left = "sandpiper_jobs s LEFT JOIN river_job r ON r.id = s.river_id";
        let newest_first = "s.id";
        let (tables, condition, id) = match query.state {
            None => (left, "s.state <> 'expired'".to_owned(), newest_first),
            Some(JobState::Queued) => (
                left,
                "s.state = 'open' AND CAST(r.state AS TEXT) IN ('available', 'pending', 'retryable', 'scheduled') \
                 AND (r.state <> 'scheduled' OR t.rounds IS NULL OR t.rounds = 0)"
                    .to_owned(),
                newest_first,
            ),
            // The same for jobs that have suspended.
            Some(JobState::Waiting) => (
                "sandpiper_tool_jobs w CROSS JOIN sandpiper_jobs s CROSS JOIN river_job r",
                "w.suspended = 1 AND s.id = w.job_id AND s.state = 'open' AND r.id = s.river_id AND r.state = 'scheduled'"
                    .to_owned(),
                "w.job_id",
            ),
            // Few jobs run while many may wait: River's index of states finds the few. SQLite keeps the order of a cross
            // join.
            Some(JobState::Running) => (
                "river_job r CROSS JOIN sandpiper_jobs s",
                "r.state = 'running' AND s.river_id = r.id AND s.state = 'open'".to_owned(),
                newest_first,
            ),
            Some(state) => (
                left,
                format!("s.state = '{}'", state.as_str()),
                newest_first,
            ),
        };
        let row = if query.state == Some(JobState::Waiting) {
            "w"
        } else {
            "s"
        };
        let owned = match &query.access {
            Access::All => String::new(),
            Access::Tenant(_) => format!(" AND {row}.tenant = $3"),
            Access::Key(..) => format!(" AND {row}.tenant = $3 AND s.api_key = $4"),
        };
        let select = format!(
            "SELECT {columns} FROM {tables} {TOOLS} WHERE {condition}{owned} AND {id} < $1 ORDER BY {id} DESC LIMIT $2"
        );
        let tenant = query.access.tenant().map(|tenant| tenant.to_string());
        let key = query.access.key().map(|key: ApiKeyId| key.to_string());
        let before = query.before.map_or(LAST_ID.to_owned(), |id| id.to_string());
        let limit = i64::try_from(query.limit).unwrap_or(i64::MAX);
        let rows: Vec<Row> = on_pool!(&self.database.readers, pool => {
            let mut page = sqlx::query_as(AssertSqlSafe(select))
                .bind(before)
                // One row more tells whether there is another page.
                .bind(limit.saturating_add(1));
            for owner in [tenant, key].into_iter().flatten() {
                page = page.bind(owner);
            }
            page.fetch_all(pool).await?
        });
        let seal = &self.database.seal;
        let jobs = rows.into_iter().map(|row| job(row, seal));
        let mut jobs = jobs.collect::<Result<Vec<_>, _>>()?;
        let next = if jobs.len() > query.limit {
            jobs.truncate(query.limit);
            jobs.last().map(|job| job.id)
        } else {
            None
        };
        Ok(JobPage { jobs, next })
    }

    pub(super) async fn probe(&self) -> Result<(), StoreError> {
        on_pool!(&self.database.readers, pool => {
            sqlx::query("SELECT 1 FROM sandpiper_jobs LIMIT 1").execute(pool).await?;
        });
        Ok(())
    }
}

fn job(row: Row, seal: &Seal) -> Result<JobRecord, StoreError> {
    let (
        id,
        tenant,
        api_key,
        state,
        outcome,
        attempt,
        created_at,
        run_at,
        started_at,
        finished_at,
        expires_at,
        execution,
        river_state,
        river_attempt,
        attempted_at,
        rounds,
    ) = row;
    let unreadable = |what: &str| StoreError::Unreadable(format!("a stored {what} cannot be read"));
    let execution = execution
        .map(|text| seal.open(Column::Execution, &id, text))
        .transpose()?;
    let id: JobId = id.parse().map_err(|_| unreadable("id"))?;
    let execution = execution
        .map(|text| execution_from_text(id, &text).map(Arc::new))
        .transpose()?;
    let (state, attempt, started_at) = if state == "open" {
        let state = open_state(river_state.as_deref());
        let started_at = attempted_at.filter(|_| state == JobState::Running);
        (state, river_attempt.unwrap_or(attempt), started_at)
    } else {
        let state = state.parse().map_err(|_| unreadable("state"))?;
        (state, attempt, started_at)
    };
    Ok(JobRecord {
        id,
        owner: owner_from_text(&tenant, api_key.as_deref()),
        state,
        created_at: timestamp(created_at),
        run_at: run_at.map(timestamp),
        started_at: started_at.map(timestamp),
        finished_at: finished_at.map(timestamp),
        expires_at: expires_at.map(timestamp),
        attempt: u32::try_from(attempt).unwrap_or_default(),
        outcome: outcome.and_then(|text| serde_json::from_str(&text).ok()),
        execution,
        rounds: rounds.map(as_u32),
    })
}

/// Returns the state of a job whose row says only that the job is open: River's row says the rest.
fn open_state(river_state: Option<&str>) -> JobState {
    match river_state {
        // A job that River discarded is reported as lost once its row says why (`sweep.rs`).
        Some("running" | "discarded") => JobState::Running,
        Some(WAITING | WAITING_FOR_READER) => JobState::Waiting,
        Some("cancelled") => JobState::Cancelled,
        // River's row and ours are completed in one transaction, so another program has completed River's alone.
        Some("completed") => JobState::Lost,
        _ => JobState::Queued,
    }
}
