//! The stored progress of jobs with tools: one row for each such job, one for each committed round that left a part, and one
//! for each call that was offered.
//!
//! All of them are deleted with the record of the job, by triggers (`migrations/9.*.sql`). The row of a job also has the
//! bytes of all of them, which triggers add to the account of the client.

use super::database::Database;
use super::pool::{Transaction, on_pool, on_transaction};
use super::record::owner_from_text;
use super::seal::{Column, Seal};
use crate::tools::{FoundHead, InboxAnswer, ToolProgress};
use crate::{NewJob, StoreError};
use sandpiper_domain::{Access, JobId};
use std::sync::Arc;

/// A row of [`SELECT_PROGRESS`]: its kind, three numbers, and a text.
type ProgressRow = (i32, i64, i64, i64, String);

/// Reads the row of a job (rounds, arrivals, attempts, head), its parts (number), and its inbox (arrival, seq, moment), as they
/// are at one moment.
const SELECT_PROGRESS: &str = "SELECT 0, rounds, arrivals, attempts, head FROM sandpiper_tool_jobs WHERE job_id = $1 \
    UNION ALL SELECT 1, number, CAST(0 AS BIGINT), CAST(0 AS BIGINT), part FROM sandpiper_rounds WHERE job_id = $1 \
    UNION ALL SELECT 2, arrival, seq, arrived_at, answer FROM sandpiper_calls WHERE job_id = $1 AND answer IS NOT NULL \
    ORDER BY 1, 2";

const INSERT: &str = "INSERT INTO sandpiper_tool_jobs \
    (job_id, tenant, client, rounds, attempts, arrivals, suspended, needs_reader, is_final, bytes, head) \
    VALUES ($1, $2, $3, 0, 0, 0, 0, 0, 0, $4, $5)";

/// Statements for a job that was cancelled while it waited: it has run, and its attempts are those of its rounds.
pub(super) const CANCEL: [&str; 2] = [
    "UPDATE sandpiper_jobs SET outcome = '\"cancelled\"', attempt = \
     (SELECT t.attempts + CASE WHEN sandpiper_jobs.attempt > 1 THEN sandpiper_jobs.attempt ELSE 1 END \
      FROM sandpiper_tool_jobs t WHERE t.job_id = $1) \
     WHERE id = $1 AND EXISTS (SELECT 1 FROM sandpiper_tool_jobs t WHERE t.job_id = $1 AND t.rounds > 0)",
    "UPDATE sandpiper_tool_jobs SET suspended = 0, is_final = 1 WHERE job_id = $1",
];

/// Statements for a job that is lost.
pub(super) const LOSE: [&str; 1] =
    ["UPDATE sandpiper_tool_jobs SET suspended = 0, is_final = 1 WHERE job_id = $1"];

/// The progress of a job, and how many attempts failed before its last committed round.
#[derive(Debug)]
pub(super) struct StoredProgress {
    pub(super) progress: Arc<ToolProgress>,
    /// The number of attempts that failed in all rounds that were committed.
    pub(super) failed_attempts: u32,
}

impl StoredProgress {
    /// Returns whether a round was committed.
    pub(super) fn has_suspended(&self) -> bool {
        self.progress.rounds > 0
    }
}

/// Reads the progress of a job; `None` if it has no tools, or if its record is deleted.
pub(super) async fn read(
    database: &Database,
    id: JobId,
) -> Result<Option<StoredProgress>, StoreError> {
    let rows: Vec<ProgressRow> = on_pool!(&database.readers, pool => {
        sqlx::query_as(SELECT_PROGRESS).bind(id.to_string()).fetch_all(pool).await?
    });
    let mut rows = rows.into_iter();
    // The row of the job comes first.
    let Some((0, rounds, arrivals, failed_attempts, head)) = rows.next() else {
        return Ok(None);
    };
    let mut progress = ToolProgress {
        head: open(&database.seal, Column::Head, &id.to_string(), head)?,
        rounds: as_u32(rounds),
        arrivals: u64::try_from(arrivals).unwrap_or_default(),
        ..ToolProgress::default()
    };
    for (kind, number, seq, arrived_at, text) in rows {
        if kind == 1 {
            let row = row_of(id, number);
            let part = open(&database.seal, Column::Part, &row, text)?;
            progress.parts.push(part);
        } else {
            let row = row_of(id, seq);
            progress.inbox.push(InboxAnswer {
                seq: as_u32(seq),
                arrived_ms: u64::try_from(arrived_at).unwrap_or_default(),
                answer: open(&database.seal, Column::Answer, &row, text)?,
            });
        }
    }
    Ok(Some(StoredProgress {
        progress: Arc::new(progress),
        failed_attempts: as_u32(failed_attempts),
    }))
}

/// Finds the head of a job.
pub(super) async fn find_head(
    database: &Database,
    id: JobId,
    access: &Access,
) -> Result<FoundHead, StoreError> {
    type Row = (String, Option<String>, String, Option<String>);
    let row: Option<Row> = on_pool!(&database.readers, pool => {
        sqlx::query_as(
            "SELECT s.tenant, s.api_key, s.state, t.head FROM sandpiper_jobs s \
             LEFT JOIN sandpiper_tool_jobs t ON t.job_id = s.id WHERE s.id = $1",
        )
        .bind(id.to_string())
        .fetch_optional(pool)
        .await?
    });
    Ok(match row {
        Some((tenant, api_key, ..))
            if !access.includes(&owner_from_text(&tenant, api_key.as_deref())) =>
        {
            FoundHead::Unknown
        }
        Some((.., state, _)) if state == "expired" => FoundHead::Expired,
        Some((.., Some(head))) => {
            let head = open(&database.seal, Column::Head, &id.to_string(), head)?;
            FoundHead::Head(head)
        }
        Some(_) => FoundHead::NoTools,
        None => FoundHead::Unknown,
    })
}

/// Inserts the row of a new job, whose head is sealed already.
pub(super) async fn insert(
    transaction: &mut Transaction,
    new: &NewJob,
    head: &str,
) -> Result<(), sqlx::Error> {
    on_transaction!(transaction, connection => {
        sqlx::query(INSERT)
            .bind(new.job.id.to_string())
            .bind(new.job.owner.tenant.as_str())
            .bind(new.job.client.as_str())
            .bind(bytes_of(head))
            .bind(head)
            .execute(&mut **connection)
            .await?;
    });
    Ok(())
}

/// Seals a JSON text of the service.
pub(super) fn seal(
    seal: &Seal,
    column: Column,
    row: &str,
    json: &[u8],
) -> Result<String, StoreError> {
    let text = std::str::from_utf8(json);
    let text = text.map_err(|_| StoreError::Unreadable("a text is not UTF-8".to_owned()))?;
    Ok(seal.seal(column, row, text.to_owned()))
}

fn open(seal: &Seal, column: Column, row: &str, text: String) -> Result<Vec<u8>, StoreError> {
    Ok(seal.open(column, row, text)?.into_bytes())
}

/// Returns the primary key of a part or a call, as text.
pub(super) fn row_of(id: JobId, number: i64) -> String {
    format!("{id}/{number}")
}

/// Returns the bytes of a stored text.
pub(super) fn bytes_of(text: &str) -> i64 {
    i64::try_from(text.len()).unwrap_or(i64::MAX)
}

pub(super) fn as_u32(number: i64) -> u32 {
    u32::try_from(number).unwrap_or_default()
}
