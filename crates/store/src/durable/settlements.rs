//! Final states of jobs: of attempts that end, and of jobs that are cancelled.

use super::args::TOOLS_QUEUE;
use super::change_queue::Finish;
use super::job_writer::JobWriter;
use super::notices;
use super::numbers::unix_millis;
use super::pool::{Transaction, on_transaction};
use super::record::{execution_to_text, outcome_to_text, owner_from_text};
use super::seal::Column;
use super::tool_jobs;
use super::usage::UsageDelta;
use crate::{Finished, StoreError};
use sandpiper_domain::{JobId, Owner, Timestamp};
use sqlx::{AssertSqlSafe, QueryBuilder};
use std::collections::HashMap;

/// Settles a job. A job without an execution never ran, so that its request is of no more use.
const SETTLE: &str = "UPDATE sandpiper_jobs SET state = $2, outcome = $3, attempt = $4, started_at = $5, \
    finished_at = $6, expires_at = $7, execution = $8, request = CASE WHEN $8 IS NULL THEN '' ELSE request END WHERE id = $1 AND state = 'open'";

/// An open job whose running attempt reports its end.
pub(super) struct OwnedAttempt {
    river_id: i64,
    attempt: u32,
    pub(super) owner: Owner,
}

impl OwnedAttempt {
    /// Returns whether this is the attempt with this number at this row of River.
    pub(super) fn is_of(&self, river_id: i64, attempt: u32) -> bool {
        self.river_id == river_id && self.attempt == attempt
    }
}

impl JobWriter {
    /// Records final states, each of them if the attempt that reports it still owns the job.
    pub(super) async fn settle(
        &self,
        transaction: &mut Transaction,
        finishes: &[Finish],
        usage: &mut UsageDelta,
    ) -> Result<Vec<Finished>, StoreError> {
        if finishes.is_empty() {
            return Ok(Vec::new());
        }
        let mut owned = self
            .lock_attempts(transaction, finishes.iter().map(|finish| finish.id))
            .await?;
        let mut finished = Vec::with_capacity(finishes.len());
        for finish in finishes {
            let owned = owned.remove(&finish.id.to_string());
            let Some(owned) = owned.filter(|owned| owned.is_of(finish.river_id, finish.attempt))
            else {
                finished.push(Finished::Stale);
                continue;
            };
            if let Some(tools) = &finish.tools {
                let last_round = finish.settlement.last_round.as_deref();
                self.end_tools(transaction, finish.id, tools, last_round)
                    .await?;
            }
            self.settle_one(transaction, finish).await?;
            usage.add_settlement(&owned.owner, &finish.settlement);
            finished.push(Finished::Recorded);
        }
        if self.nodes.has_others() {
            notices::notify(transaction, finishes.iter().map(|finish| &finish.id)).await?;
        }
        Ok(finished)
    }

    /// Returns the open jobs that run, of these ids. Their rows are locked until the transaction ends.
    pub(super) async fn lock_attempts(
        &self,
        transaction: &mut Transaction,
        ids: impl Iterator<Item = JobId>,
    ) -> Result<HashMap<String, OwnedAttempt>, StoreError> {
        type Row = (String, i64, i64, String, Option<String>);
        let for_update = self.database.pool.for_update();
        let rows: Vec<Row> = on_transaction!(transaction, connection => {
            let mut select = QueryBuilder::new(
                "SELECT s.id, s.river_id, CAST(r.attempt AS BIGINT), s.tenant, s.api_key \
                 FROM sandpiper_jobs s JOIN river_job r ON r.id = s.river_id \
                 WHERE s.state = 'open' AND r.state = 'running' AND s.id IN (",
            );
            let mut list = select.separated(", ");
            for id in ids {
                list.push_bind(id.to_string());
            }
            select.push(") ORDER BY s.id").push(for_update);
            select.build_query_as().fetch_all(&mut **connection).await?
        });
        let owned = rows
            .into_iter()
            .map(|(id, river_id, attempt, tenant, api_key)| {
                let attempt = u32::try_from(attempt).unwrap_or_default();
                let owner = owner_from_text(&tenant, api_key.as_deref());
                let owned = OwnedAttempt {
                    river_id,
                    attempt,
                    owner,
                };
                (id, owned)
            });
        Ok(owned.collect())
    }

    /// Records one final state in our row and in River's.
    pub(super) async fn settle_one(
        &self,
        transaction: &mut Transaction,
        finish: &Finish,
    ) -> Result<(), StoreError> {
        let now = Timestamp::now();
        let settlement = &finish.settlement;
        let execution = settlement.execution.as_deref();
        let id = finish.id.to_string();
        let text = execution.map(execution_to_text).transpose()?;
        let seal = &self.database.seal;
        let execution_text = text.map(|text| seal.seal(Column::Execution, &id, text));
        on_transaction!(transaction, connection => {
            sqlx::query(SETTLE)
                .bind(id)
                .bind(settlement.state.as_str())
                .bind(finish.outcome().map(outcome_to_text))
                .bind(i64::from(finish.attempts()))
                .bind(execution.map(|execution| unix_millis(execution.started_at)))
                .bind(unix_millis(now))
                .bind(unix_millis(now.plus(self.ttl)))
                .bind(execution_text)
                .execute(&mut **connection)
                .await?;
            self.river.jobs().complete(finish.river_id).tx(&mut *connection).await?;
        });
        Ok(())
    }

    /// Cancels a job that is queued, and tells the node that runs the job otherwise.
    pub(super) async fn cancel(&self, id: JobId) -> Result<(), StoreError> {
        let mut transaction = self.database.pool.begin().await?;
        self.cancel_in(&mut transaction, id).await?;
        transaction.commit().await?;
        self.waiters.wake(id);
        Ok(())
    }

    async fn cancel_in(&self, transaction: &mut Transaction, id: JobId) -> Result<(), StoreError> {
        let select = format!(
            "SELECT river_id FROM sandpiper_jobs WHERE id = $1 AND state = 'open'{}",
            self.database.pool.for_update()
        );
        let row = on_transaction!(&mut *transaction, connection => {
            let open: Option<(i64,)> = sqlx::query_as(AssertSqlSafe(select))
                .bind(id.to_string())
                .fetch_optional(&mut **connection)
                .await?;
            let Some((river_id,)) = open else {
                return Ok(());
            };
            self.river.jobs().cancel(river_id).tx(&mut *connection).await?
        });
        if row.state != riverqueue::JobState::Cancelled {
            return Ok(());
        }
        let now = Timestamp::now();
        on_transaction!(&mut *transaction, connection => {
            sqlx::query(
                "UPDATE sandpiper_jobs SET state = 'cancelled', request = '', attempt = $2, finished_at = $3, expires_at = $4 \
                 WHERE id = $1",
            )
            .bind(id.to_string())
            .bind(i64::from(row.attempt))
            .bind(unix_millis(now))
            .bind(unix_millis(now.plus(self.ttl)))
            .execute(&mut **connection)
            .await?;
            if row.queue == TOOLS_QUEUE {
                for statement in tool_jobs::CANCEL {
                    sqlx::query(statement).bind(id.to_string()).execute(&mut **connection).await?;
                }
            }
        });
        if self.nodes.has_others() {
            notices::notify(transaction, [&id]).await?;
        }
        Ok(())
    }
}
