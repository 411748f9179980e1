//! Answers to calls of jobs with tools: taken in one transaction, which also makes a job that waits due.

use super::args::TOOLS_QUEUE;
use super::claims::Claims;
use super::database::Database;
use super::numbers::{as_i64, as_millis, unix_millis};
use super::pool::{Pool, Transaction, on_transaction};
use super::record::owner_from_text;
use super::seal::Column;
use super::tool_jobs::{as_u32, bytes_of, row_of, seal};
use crate::StoreError;
use crate::tools::{AnswerDigest, Answered, KnownCall, NewAnswer, check_answers};
use riverqueue::protocol::NOTIFICATION_TOPIC_INSERT;
use sandpiper_domain::{Access, JobId, JobState, Timestamp};
use sqlx::{AssertSqlSafe, QueryBuilder};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

/// Priority of a job that goes on.
pub(super) const RESUMED_PRIORITY: i16 = 1;
/// Head start of a job that goes on, longer than that of any new job (`clients.rs`).
const RESUMED_HEAD_START: Duration = Duration::from_hours(2);
/// Calls of one statement: a statement of SQLite takes 32,766 values.
const CALLS_AT_A_TIME: usize = 500;

#[derive(Debug, Clone)]
pub(super) struct Answers {
    pub(super) database: Database,
    pub(super) claims: Arc<Claims>,
}

/// A job with tools whose row is locked.
struct LockedJob {
    id: JobId,
    river_id: i64,
    arrivals: i64,
}

/// Returns the moment by which River orders a job that goes on now, milliseconds since 1970.
pub(super) fn resumed_position(now: Timestamp) -> i64 {
    unix_millis(now).saturating_sub(as_millis(RESUMED_HEAD_START))
}

impl Answers {
    pub(super) async fn answer(
        &self,
        id: JobId,
        access: &Access,
        answers: Vec<NewAnswer>,
        inbox_bytes_max: u64,
        now: Timestamp,
    ) -> Result<Answered, StoreError> {
        let mut transaction = self.database.pool.begin().await?;
        let job = match self.lock(&mut transaction, id, access).await? {
            Ok(job) => job,
            Err(answered) => return Ok(answered),
        };
        let calls = calls_of(&mut transaction, &job, &answers, now, &self.database).await?;
        let inbox_bytes = inbox_bytes(&mut transaction, id).await?;
        let new = match check_answers(&answers, &calls, inbox_bytes, inbox_bytes_max) {
            Ok(new) => new,
            Err(answered) => return Ok(answered),
        };
        if new.is_empty() {
            return Ok(Answered::Taken);
        }
        let new = new.iter().filter_map(|index| {
            let call = calls.get(*index)?.as_ref()?;
            Some((answers.get(*index)?, call.seq))
        });
        self.insert(&mut transaction, &job, new, now).await?;
        let is_due = self.make_due(&mut transaction, &job, now).await?;
        transaction.commit().await?;
        if is_due {
            self.claims.look_for_jobs(TOOLS_QUEUE);
        }
        Ok(Answered::Taken)
    }

    /// Locks the row of a job, or returns why it takes no answer.
    async fn lock(
        &self,
        transaction: &mut Transaction,
        id: JobId,
        access: &Access,
    ) -> Result<Result<LockedJob, Answered>, StoreError> {
        type Row = (String, Option<String>, String, i64);
        let for_update = self.database.pool.for_update();
        let select = format!(
            "SELECT tenant, api_key, state, river_id FROM sandpiper_jobs WHERE id = $1{for_update}"
        );
        let row: Option<Row> = on_transaction!(&mut *transaction, connection => {
            sqlx::query_as(AssertSqlSafe(select))
                .bind(id.to_string())
                .fetch_optional(&mut **connection)
                .await?
        });
        let Some((tenant, api_key, state, river_id)) = row else {
            return Ok(Err(Answered::Unknown));
        };
        if !access.includes(&owner_from_text(&tenant, api_key.as_deref())) {
            return Ok(Err(Answered::Unknown));
        }
        if state == "expired" {
            return Ok(Err(Answered::Expired));
        }
        // After the lock: a round that has committed meanwhile is seen.
        let tools: Option<(i64,)> = on_transaction!(transaction, connection => {
            sqlx::query_as("SELECT arrivals FROM sandpiper_tool_jobs WHERE job_id = $1")
                .bind(id.to_string())
                .fetch_optional(&mut **connection)
                .await?
        });
        let Some((arrivals,)) = tools else {
            return Ok(Err(Answered::NoTools));
        };
        if state == "open" {
            return Ok(Ok(LockedJob {
                id,
                river_id,
                arrivals,
            }));
        }
        let state: JobState = state
            .parse()
            .map_err(|_| StoreError::Unreadable("a stored state cannot be read".to_owned()))?;
        Ok(Err(Answered::Final(state)))
    }

    /// Puts answers into the inbox.
    async fn insert(
        &self,
        transaction: &mut Transaction,
        job: &LockedJob,
        answers: impl Iterator<Item = (&NewAnswer, u32)>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let (mut arrivals, mut bytes) = (job.arrivals, 0);
        let id = job.id.to_string();
        for (answer, seq) in answers {
            arrivals += 1;
            let row = row_of(job.id, i64::from(seq));
            let text = seal(&self.database.seal, Column::Answer, &row, &answer.answer)?;
            let digest = self.database.seal.stored_digest(&to_hex(&answer.digest));
            bytes += bytes_of(&text);
            on_transaction!(&mut *transaction, connection => {
                sqlx::query(
                    "UPDATE sandpiper_calls SET digest = $3, arrival = $4, arrived_at = $5, answer = $6, answer_bytes = $7 \
                     WHERE job_id = $1 AND seq = $2",
                )
                .bind(&id)
                .bind(i64::from(seq))
                .bind(digest)
                .bind(arrivals)
                .bind(unix_millis(now))
                .bind(text)
                .bind(as_i64(u64::try_from(answer.answer.len()).unwrap_or(u64::MAX)))
                .execute(&mut **connection)
                .await?;
            });
        }
        on_transaction!(transaction, connection => {
            sqlx::query("UPDATE sandpiper_tool_jobs SET arrivals = $2, bytes = bytes + $3 WHERE job_id = $1")
                .bind(id)
                .bind(arrivals)
                .bind(bytes)
                .execute(&mut **connection)
                .await?;
        });
        Ok(())
    }

    /// Makes a job due that waits, and tells the nodes when the transaction commits. A round that runs now sees the answer
    /// in its commit.
    async fn make_due(
        &self,
        transaction: &mut Transaction,
        job: &LockedJob,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let update = format!(
            "UPDATE river_job SET state = 'available', priority = {RESUMED_PRIORITY}, scheduled_at = {} \
             WHERE id = $1 AND state = 'scheduled'",
            self.database.pool.moment("$2")
        );
        let changed = on_transaction!(&mut *transaction, connection => {
            sqlx::query(AssertSqlSafe(update))
                .bind(job.river_id)
                .bind(resumed_position(now))
                .execute(&mut **connection)
                .await?
                .rows_affected()
        });
        if changed == 0 {
            return Ok(false);
        }
        if let (Transaction::Postgres(connection), Pool::Postgres(_)) =
            (transaction, &self.database.pool)
        {
            sqlx::query("SELECT pg_notify(concat(current_schema(), '.', $1::text), $2)")
                .bind(NOTIFICATION_TOPIC_INSERT)
                .bind(format!(r#"{{"queue":"{TOOLS_QUEUE}"}}"#))
                .execute(&mut **connection)
                .await?;
        }
        Ok(true)
    }
}

/// Returns the offered calls of these answers, in their order.
async fn calls_of(
    transaction: &mut Transaction,
    job: &LockedJob,
    answers: &[NewAnswer],
    now: Timestamp,
    database: &Database,
) -> Result<Vec<Option<KnownCall>>, StoreError> {
    type Row = (String, i64, Option<i64>, Option<String>);
    let mut found: HashMap<String, (i64, Option<i64>, Option<String>)> = HashMap::new();
    for chunk in answers.chunks(CALLS_AT_A_TIME) {
        let rows: Vec<Row> = on_transaction!(&mut *transaction, connection => {
            let mut select = QueryBuilder::new(
                "SELECT call_id, seq, answer_until, digest FROM sandpiper_calls WHERE job_id = ",
            );
            select.push_bind(job.id.to_string()).push(" AND call_id IN (");
            let mut ids = select.separated(", ");
            for answer in chunk {
                ids.push_bind(answer.call_id.as_str());
            }
            select.push(")");
            select.build_query_as().fetch_all(&mut **connection).await?
        });
        for (call_id, seq, answer_until, digest) in rows {
            found.insert(call_id, (seq, answer_until, digest));
        }
    }
    let known = answers.iter().map(|answer| {
        let (seq, answer_until, digest) = found.get(&answer.call_id)?;
        let is_same = |stored: &str| {
            let digest = to_hex(&answer.digest);
            database.seal.is_same_digest(stored, &digest)
        };
        Some(KnownCall {
            seq: as_u32(*seq),
            is_same: digest.as_deref().map(is_same),
            is_late: answer_until.is_some_and(|until| until <= unix_millis(now)),
        })
    });
    Ok(known.collect())
}

fn to_hex(digest: &AnswerDigest) -> String {
    let mut text = String::with_capacity(2 * digest.len());
    for byte in digest {
        // Writing to memory cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Returns the bytes of the answers in the inbox.
async fn inbox_bytes(transaction: &mut Transaction, id: JobId) -> Result<u64, StoreError> {
    let (bytes,): (i64,) = on_transaction!(transaction, connection => {
        sqlx::query_as(
            "SELECT CAST(coalesce(sum(answer_bytes), 0) AS BIGINT) FROM sandpiper_calls \
             WHERE job_id = $1 AND answer IS NOT NULL",
        )
        .bind(id.to_string())
        .fetch_one(&mut **connection)
        .await?
    });
    Ok(u64::try_from(bytes).unwrap_or_default())
}
