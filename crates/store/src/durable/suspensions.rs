//! Commits of rounds: a round that suspends, and the last round of a job with tools.
//!
//! A round that suspends ends River's row of its attempt and gets the job another one, in one transaction. So no attempt has
//! the number of an earlier one, and no late result of an attempt reaches a later round.

use super::answers::{RESUMED_PRIORITY, resumed_position};
use super::args::{RunScript, TOOLS_QUEUE};
use super::change_queue::{Finish, Suspend};
use super::job_writer::JobWriter;
use super::notices;
use super::numbers::{as_i64, unix_millis};
use super::pool::{Transaction, on_transaction};
use super::seal::Column;
use super::tool_jobs::{StoredProgress, bytes_of, row_of, seal};
use crate::{Committed, FinalRound, Settlement, StoreError};
use riverqueue::{InsertManyItem, InsertOpts, jiff};
use sandpiper_domain::{JobId, Timestamp};
use sqlx::{AssertSqlSafe, QueryBuilder};
use std::time::Duration;

/// Furthest that the moment of a job that waits may lie ahead.
const AHEAD_MAX: Duration = Duration::from_hours(24 * 366);
/// Calls of one statement: a statement of SQLite takes 32,766 values.
const CALLS_AT_A_TIME: usize = 500;

/// The additions of a round to the progress of its job.
#[derive(Clone, Copy)]
struct Commit<'a> {
    head: &'a [u8],
    part: Option<&'a [u8]>,
    taken: &'a [u32],
    timed_out: &'a [u32],
}

impl JobWriter {
    /// Commits rounds that suspended, each of them if the attempt that reports it still owns the job.
    pub(super) async fn suspend(
        &self,
        transaction: &mut Transaction,
        suspends: &[Suspend],
    ) -> Result<Vec<Committed>, StoreError> {
        if suspends.is_empty() {
            return Ok(Vec::new());
        }
        let ids = suspends.iter().map(|suspend| suspend.id);
        let mut owned = self.lock_attempts(transaction, ids).await?;
        let mut committed = Vec::with_capacity(suspends.len());
        for suspend in suspends {
            let owned = owned.remove(&suspend.id.to_string());
            let is_owned =
                owned.is_some_and(|owned| owned.is_of(suspend.river_id, suspend.attempt));
            committed.push(if is_owned {
                self.suspend_one(transaction, suspend).await?
            } else {
                Committed::Stale
            });
        }
        if self.nodes.has_others() {
            notices::notify(transaction, suspends.iter().map(|suspend| &suspend.id)).await?;
        }
        Ok(committed)
    }

    async fn suspend_one(
        &self,
        transaction: &mut Transaction,
        suspend: &Suspend,
    ) -> Result<Committed, StoreError> {
        let (id, round) = (suspend.id, &suspend.round);
        let commit = Commit {
            head: &round.head,
            part: round.part.as_deref(),
            taken: &round.taken,
            timed_out: &round.timed_out,
        };
        let arrivals = self
            .commit_round(transaction, id, &suspend.tools, commit)
            .await?;
        if self.is_cancelled(transaction, suspend.river_id).await? {
            return self.cancel_suspended(transaction, suspend).await;
        }
        self.offer(transaction, suspend).await?;
        let is_due = self.has_news(transaction, suspend, arrivals).await?;
        let river_id = self.replace_river_row(transaction, suspend, is_due).await?;
        let failed = suspend.tools.failed_attempts + suspend.attempt.saturating_sub(1);
        on_transaction!(transaction, connection => {
            sqlx::query(
                "UPDATE sandpiper_tool_jobs SET suspended = 1, needs_reader = $2, attempts = $3 WHERE job_id = $1",
            )
            .bind(id.to_string())
            .bind(i64::from(round.needs_reader))
            .bind(i64::from(failed))
            .execute(&mut **connection)
            .await?;
            sqlx::query("UPDATE sandpiper_jobs SET river_id = $2 WHERE id = $1")
                .bind(id.to_string())
                .bind(river_id)
                .execute(&mut **connection)
                .await?;
        });
        Ok(if is_due {
            Committed::Due
        } else {
            Committed::Waits
        })
    }

    /// Returns whether a client cancelled the job of a row of River.
    async fn is_cancelled(
        &self,
        transaction: &mut Transaction,
        river_id: i64,
    ) -> Result<bool, StoreError> {
        let is_cancelled = self.database.pool.is_cancelled();
        let select = format!("SELECT {is_cancelled} FROM river_job WHERE id = $1");
        let (is_cancelled,): (bool,) = on_transaction!(transaction, connection => {
            sqlx::query_as(AssertSqlSafe(select))
                .bind(river_id)
                .fetch_one(&mut **connection)
                .await?
        });
        Ok(is_cancelled)
    }

    /// Offers the calls of a round.
    async fn offer(
        &self,
        transaction: &mut Transaction,
        suspend: &Suspend,
    ) -> Result<(), StoreError> {
        let id = suspend.id.to_string();
        for chunk in suspend.round.offered.chunks(CALLS_AT_A_TIME) {
            on_transaction!(&mut *transaction, connection => {
                let mut insert = QueryBuilder::new(
                    "INSERT INTO sandpiper_calls (job_id, seq, call_id, answer_until) ",
                );
                insert.push_values(chunk, |mut row, call| {
                    row.push_bind(id.as_str())
                        .push_bind(i64::from(call.seq))
                        .push_bind(call.call_id.as_str())
                        .push_bind(call.answer_until.map(unix_millis));
                });
                insert.push(" ON CONFLICT DO NOTHING");
                insert.build().execute(&mut **connection).await?;
            });
        }
        Ok(())
    }

    /// Returns whether the inbox has an answer that the round did not know.
    async fn has_news(
        &self,
        transaction: &mut Transaction,
        suspend: &Suspend,
        arrivals: i64,
    ) -> Result<bool, StoreError> {
        let known = as_i64(suspend.tools.progress.arrivals);
        if arrivals == known {
            return Ok(false);
        }
        let (has_news,): (bool,) = on_transaction!(transaction, connection => {
            sqlx::query_as(
                "SELECT EXISTS (SELECT 1 FROM sandpiper_calls \
                 WHERE job_id = $1 AND answer IS NOT NULL AND arrival > $2)",
            )
            .bind(suspend.id.to_string())
            .bind(known)
            .fetch_one(&mut **connection)
            .await?
        });
        Ok(has_news)
    }

    /// Replaces River's row of the attempt by one for the next round, and returns its id.
    async fn replace_river_row(
        &self,
        transaction: &mut Transaction,
        suspend: &Suspend,
        is_due: bool,
    ) -> Result<i64, StoreError> {
        let now = Timestamp::now();
        let latest = now.plus(AHEAD_MAX);
        let at = if is_due {
            resumed_position(now)
        } else {
            unix_millis(suspend.round.resume_at.unwrap_or(latest).min(latest))
        };
        let attempts = i32::try_from(self.attempts_max).unwrap_or(i32::MAX);
        let options = InsertOpts::default()
            .with_queue(TOOLS_QUEUE)
            .with_max_attempts(attempts)
            .with_priority(RESUMED_PRIORITY);
        let options = match jiff::Timestamp::from_millisecond(at) {
            Ok(at) => options.with_scheduled_at(at),
            Err(_) => options,
        };
        let item = InsertManyItem::new(RunScript::by_id(suspend.id), options);
        on_transaction!(transaction, connection => {
            // River's own record of the attempt finds no row, and changes nothing.
            sqlx::query("DELETE FROM river_job WHERE id = $1")
                .bind(suspend.river_id)
                .execute(&mut **connection)
                .await?;
            let inserted = self.river.insert_many([item]).tx(&mut *connection).await?;
            let inserted = inserted.first().map(|inserted| inserted.id());
            inserted.ok_or_else(|| StoreError::Unavailable("the queue took no job".to_owned()))
        })
    }

    /// Gives a job its final state that was cancelled while its round ran.
    async fn cancel_suspended(
        &self,
        transaction: &mut Transaction,
        suspend: &Suspend,
    ) -> Result<Committed, StoreError> {
        let finish = Finish {
            id: suspend.id,
            river_id: suspend.river_id,
            attempt: suspend.attempt,
            tools: Some(suspend.tools.clone()),
            settlement: Settlement::CANCELLED,
        };
        self.mark_final(transaction, suspend.id).await?;
        self.settle_one(transaction, &finish).await?;
        Ok(Committed::Cancelled)
    }

    /// Commits the last round of a job with tools, if it ran, and counts the job as ended.
    pub(super) async fn end_tools(
        &self,
        transaction: &mut Transaction,
        id: JobId,
        tools: &StoredProgress,
        last_round: Option<&FinalRound>,
    ) -> Result<(), StoreError> {
        if let Some(round) = last_round {
            let commit = Commit {
                head: &round.head,
                part: round.part.as_deref(),
                taken: &round.taken,
                timed_out: &[],
            };
            self.commit_round(transaction, id, tools, commit).await?;
        }
        self.mark_final(transaction, id).await
    }

    async fn mark_final(&self, transaction: &mut Transaction, id: JobId) -> Result<(), StoreError> {
        on_transaction!(transaction, connection => {
            sqlx::query(
                "UPDATE sandpiper_tool_jobs SET suspended = 0, is_final = 1 WHERE job_id = $1",
            )
            .bind(id.to_string())
            .execute(&mut **connection)
            .await?;
        });
        Ok(())
    }

    /// Replaces the head, adds the part, and takes answers out of the inbox. Returns how many answers have arrived.
    async fn commit_round(
        &self,
        transaction: &mut Transaction,
        id: JobId,
        tools: &StoredProgress,
        commit: Commit<'_>,
    ) -> Result<i64, StoreError> {
        let (text_id, number) = (id.to_string(), i64::from(tools.progress.rounds));
        let head = seal(&self.database.seal, Column::Head, &text_id, commit.head)?;
        let part = match commit.part {
            Some(part) => {
                let row = row_of(id, number);
                Some(seal(&self.database.seal, Column::Part, &row, part)?)
            }
            None => None,
        };
        let freed = self.empty_inbox(transaction, id, commit).await?;
        let head_size = self.database.pool.size("head");
        let select =
            format!("SELECT {head_size}, arrivals FROM sandpiper_tool_jobs WHERE job_id = $1");
        on_transaction!(transaction, connection => {
            let (head_bytes, arrivals): (i64, i64) = sqlx::query_as(AssertSqlSafe(select))
                .bind(&text_id)
                .fetch_one(&mut **connection)
                .await?;
            let more = bytes_of(&head) - head_bytes + part.as_deref().map_or(0, bytes_of) - freed;
            sqlx::query(
                "UPDATE sandpiper_tool_jobs SET head = $2, rounds = $3, bytes = bytes + $4 WHERE job_id = $1",
            )
            .bind(&text_id)
            .bind(head)
            .bind(number + 1)
            .bind(more)
            .execute(&mut **connection)
            .await?;
            if let Some(part) = part {
                sqlx::query("INSERT INTO sandpiper_rounds (job_id, number, part) VALUES ($1, $2, $3)")
                    .bind(&text_id)
                    .bind(number)
                    .bind(part)
                    .execute(&mut **connection)
                    .await?;
            }
            Ok(arrivals)
        })
    }

    /// Takes the answers of calls that a round has taken or timed out out of the inbox, and returns their bytes.
    async fn empty_inbox(
        &self,
        transaction: &mut Transaction,
        id: JobId,
        commit: Commit<'_>,
    ) -> Result<i64, StoreError> {
        let size = self.database.pool.size("answer");
        let mut freed = 0;
        for (seqs, change) in [
            (commit.taken, "answer = NULL"),
            (commit.timed_out, "answer = NULL, answer_until = 0"),
        ] {
            for chunk in seqs.chunks(CALLS_AT_A_TIME) {
                on_transaction!(&mut *transaction, connection => {
                    let mut select = QueryBuilder::new(format!(
                        "SELECT CAST(coalesce(sum({size}), 0) AS BIGINT) FROM sandpiper_calls WHERE answer IS NOT NULL AND job_id = "
                    ));
                    push_calls(&mut select, id, chunk);
                    let (bytes,): (i64,) = select.build_query_as().fetch_one(&mut **connection).await?;
                    freed += bytes;
                    let mut update = QueryBuilder::new(format!("UPDATE sandpiper_calls SET {change} WHERE job_id = "));
                    push_calls(&mut update, id, chunk);
                    update.build().execute(&mut **connection).await?;
                });
            }
        }
        Ok(freed)
    }
}

/// Appends the id of a job, and the condition that `seq` is one of these.
fn push_calls<DB: sqlx::Database>(query: &mut QueryBuilder<DB>, id: JobId, seqs: &[u32])
where
    String: for<'q> sqlx::Encode<'q, DB> + sqlx::Type<DB>,
    i64: for<'q> sqlx::Encode<'q, DB> + sqlx::Type<DB>,
{
    query.push_bind(id.to_string()).push(" AND seq IN (");
    let mut list = query.separated(", ");
    for seq in seqs {
        list.push_bind(i64::from(*seq));
    }
    query.push(")");
}
