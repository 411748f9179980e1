//! Writes submits and finishes in batches: one transaction, and so one wait for the disk, for all changes that came while
//! the last batch was written.
//!
//! A change that comes alone is written at once. A batch that fails is written again change by change, so that no change
//! fails because of another. A cancellation is written by itself.

use super::admission::{AdmissionControl, Admitted};
use super::args::{QUEUES, RunScript, queue_of};
use super::change_queue::{Change, Finish, Reply, repeated, reply_all};
use super::claims::Claims;
use super::database::Database;
use super::deadline::{late, within};
use super::keys::{Keys, Submitted};
use super::nodes::NodeRegistry;
use super::notices;
use super::numbers::{as_millis, unix_millis};
use super::pool::{Transaction, on_transaction};
use super::record::{execution_to_text, outcome_to_text, owner_from_text};
use super::seal::Column;
use super::usage::UsageDelta;
use super::waiters::Waiters;
use crate::{Accepted, Finished, NewJob, StoreError};
use riverqueue::{Client, InsertManyItem, InsertOpts, jiff};
use sandpiper_domain::{JobId, Owner, Timestamp};
use sqlx::{AssertSqlSafe, QueryBuilder};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Most changes of one transaction.
const BATCH_MAX: usize = 128;
const _: () = assert!(BATCH_MAX <= notices::IDS_MAX);
/// Longest that a batch takes, as a multiple of the timeout of one change. The callers are answered within that timeout.
const BATCH_TIMEOUTS: u32 = 4;

const INSERT: &str = "INSERT INTO sandpiper_jobs \
    (id, river_id, tenant, api_key, client, request, state, attempt, created_at, run_at, reserved_ms) ";

/// Settles a job. A job without an execution never ran, so that its request is of no more use.
const SETTLE: &str = "UPDATE sandpiper_jobs SET state = $2, outcome = $3, attempt = $4, started_at = $5, \
    finished_at = $6, expires_at = $7, execution = $8, request = CASE WHEN $8 IS NULL THEN '' ELSE request END WHERE id = $1 AND state = 'open'";

/// The results of a batch, in the order of its submits and finishes.
type Written = (Vec<Result<Accepted, StoreError>>, Vec<Finished>);

#[derive(Debug)]
pub(super) struct JobWriter {
    pub(super) database: Database,
    pub(super) river: Client,
    pub(super) admission: AdmissionControl,
    pub(super) keys: Keys,
    pub(super) waiters: Arc<Waiters>,
    pub(super) nodes: Arc<NodeRegistry>,
    pub(super) claims: Arc<Claims>,
    pub(super) ttl: Duration,
    pub(super) attempts_max: u32,
}

/// Changes of one transaction, each with its caller.
struct Batch {
    submits: Vec<Admitted>,
    submit_replies: Vec<Reply<Accepted>>,
    finishes: Vec<Finish>,
    finish_replies: Vec<Reply<Finished>>,
}

/// An open job whose running attempt reports its final state.
struct OwnedAttempt {
    river_id: i64,
    owner: Owner,
}

impl JobWriter {
    /// Writes changes as they come, until the other end of the queue is dropped.
    pub(super) async fn run(self: Arc<Self>, mut queue: mpsc::Receiver<Change>) {
        let mut changes = Vec::with_capacity(BATCH_MAX);
        while queue.recv_many(&mut changes, BATCH_MAX).await > 0 {
            let mut jobs = Vec::new();
            let mut finishes = Vec::new();
            for change in changes.drain(..) {
                match change {
                    // A caller that has gone was told that its submit failed, and may have submitted the job again.
                    Change::Submit(_, reply) if reply.is_closed() => {}
                    Change::Submit(job, reply) => jobs.push((job, reply)),
                    Change::Finish(finish, reply) => finishes.push((finish, reply)),
                }
            }
            let (finishes, finish_replies) = finishes.into_iter().unzip();
            self.admission.quotas.note_batch_change();
            let (submits, submit_replies) = self.admission.admit(jobs).await;
            let batch = Batch {
                submits,
                submit_replies,
                finishes,
                finish_replies,
            };
            self.write_batch(batch).await;
            self.admission.quotas.note_batch_change();
        }
    }

    /// Writes a batch in one transaction, or else each change in its own.
    async fn write_batch(&self, batch: Batch) {
        let began = Instant::now();
        match self.write(&batch.submits, &batch.finishes).await {
            Ok((accepted, finished)) => {
                reply_all(batch.submit_replies, accepted);
                reply_all(batch.finish_replies, finished.into_iter().map(Ok));
                for finish in &batch.finishes {
                    self.waiters.wake(finish.id);
                }
            }
            // A database that does not respond does not respond to each change either.
            Err(failure)
                if batch.submits.len() + batch.finishes.len() == 1
                    || began.elapsed() >= self.database.timeout() =>
            {
                let failures = || Err(repeated(&failure));
                reply_all(batch.submit_replies, std::iter::repeat_with(failures));
                let failures = || Err(repeated(&failure));
                reply_all(batch.finish_replies, std::iter::repeat_with(failures));
            }
            Err(_) => self.write_each(batch).await,
        }
    }

    /// Writes one change after the other, until the time of the batch is over.
    async fn write_each(&self, batch: Batch) {
        let deadline = Instant::now() + BATCH_TIMEOUTS * self.database.timeout();
        for (submit, reply) in batch.submits.into_iter().zip(batch.submit_replies) {
            if Instant::now() >= deadline {
                let _ = reply.send(Err(late()));
                continue;
            }
            let written = self.write(std::slice::from_ref(&submit), &[]).await;
            let _ = reply.send(written.and_then(|(mut accepted, _)| accepted.remove(0)));
        }
        for (finish, reply) in batch.finishes.into_iter().zip(batch.finish_replies) {
            if Instant::now() >= deadline {
                let _ = reply.send(Err(late()));
                continue;
            }
            let written = self.write(&[], std::slice::from_ref(&finish)).await;
            if written.is_ok() {
                self.waiters.wake(finish.id);
            }
            let _ = reply.send(written.map(|(_, mut finished)| finished.remove(0)));
        }
    }

    /// Writes changes in one transaction, within the time of a batch.
    async fn write(
        &self,
        submits: &[Admitted],
        finishes: &[Finish],
    ) -> Result<Written, StoreError> {
        let limit = BATCH_TIMEOUTS * self.database.timeout();
        let written = within(limit, self.write_in_transaction(submits, finishes)).await?;
        for queue in QUEUES {
            let is_in_queue = |submit: &Admitted| queue_of(&submit.submit.new.job.script) == queue;
            if submits.iter().any(is_in_queue) {
                self.claims.look_for_jobs(queue);
            }
        }
        Ok(written)
    }

    async fn write_in_transaction(
        &self,
        submits: &[Admitted],
        finishes: &[Finish],
    ) -> Result<Written, StoreError> {
        let mut transaction = self.database.pool.begin().await?;
        let mut usage = UsageDelta::default();
        let submitted = self.insert(&mut transaction, submits, &mut usage).await?;
        let finished = self.settle(&mut transaction, finishes, &mut usage).await?;
        usage.insert(&mut transaction).await?;
        transaction.commit().await?;
        let mut accepted = Vec::with_capacity(submits.len());
        for (admitted, submitted) in submits.iter().zip(submitted) {
            accepted.push(match submitted {
                Submitted::New => Ok(Accepted {
                    job: admitted.submit.new.queued(),
                    is_replay: false,
                }),
                Submitted::Replay(id) => self.keys.replay(&id).await,
                Submitted::KeyReused => Err(StoreError::KeyReused),
            });
        }
        Ok((accepted, finished))
    }

    async fn insert(
        &self,
        transaction: &mut Transaction,
        submits: &[Admitted],
        usage: &mut UsageDelta,
    ) -> Result<Vec<Submitted>, StoreError> {
        let mut submitted = Vec::with_capacity(submits.len());
        let mut new = Vec::with_capacity(submits.len());
        for admitted in submits {
            let result = self.keys.insert(transaction, &admitted.submit.new).await?;
            if matches!(result, Submitted::New) {
                usage.add_accepted(&admitted.submit.new);
                new.push(admitted);
            }
            submitted.push(result);
        }
        if !new.is_empty() {
            self.insert_new(transaction, &new).await?;
        }
        Ok(submitted)
    }

    /// Inserts new jobs into River's table and into ours.
    async fn insert_new(
        &self,
        transaction: &mut Transaction,
        new: &[&Admitted],
    ) -> Result<(), StoreError> {
        let items = new.iter().map(|admitted| self.river_job(admitted));
        on_transaction!(transaction, connection => {
            let inserted = self.river.insert_many(items).tx(&mut *connection).await?;
            let mut insert = QueryBuilder::new(INSERT);
            insert.push_values(new.iter().zip(&inserted), |mut row, (admitted, inserted)| {
                let new = &admitted.submit.new;
                row.push_bind(new.job.id.to_string())
                    .push_bind(inserted.id())
                    .push_bind(new.job.owner.tenant.as_str())
                    .push_bind(new.job.owner.key.map(|key| key.to_string()))
                    .push_bind(new.job.client.as_str())
                    .push_bind(admitted.submit.request.as_str())
                    .push("'open'")
                    .push("0")
                    .push_bind(unix_millis(new.created_at))
                    .push_bind(new.terms.run_at.map(unix_millis))
                    .push_bind(new.reserved().map(as_millis));
            });
            insert.build().execute(&mut **connection).await?;
        });
        Ok(())
    }

    fn river_job(&self, admitted: &Admitted) -> InsertManyItem<RunScript> {
        let new: &NewJob = &admitted.submit.new;
        let attempts = i32::try_from(self.attempts_max).unwrap_or(i32::MAX);
        let options = InsertOpts::default()
            .with_queue(queue_of(&new.job.script))
            .with_max_attempts(attempts)
            .with_priority(i16::from(new.terms.priority.get()));
        let run_at = new.terms.run_at.map(unix_millis);
        let at = run_at.or(admitted.position.scheduled_at);
        let options = match at.and_then(|at| jiff::Timestamp::from_millisecond(at).ok()) {
            Some(at) => options.with_scheduled_at(at),
            None => options,
        };
        InsertManyItem::new(RunScript::by_id(new.job.id), options)
    }

    /// Records final states, each of them if the attempt that reports it still owns the job.
    async fn settle(
        &self,
        transaction: &mut Transaction,
        finishes: &[Finish],
        usage: &mut UsageDelta,
    ) -> Result<Vec<Finished>, StoreError> {
        if finishes.is_empty() {
            return Ok(Vec::new());
        }
        let mut owned = self.lock_attempts(transaction, finishes).await?;
        let mut finished = Vec::with_capacity(finishes.len());
        for finish in finishes {
            let key = (finish.id.to_string(), finish.attempt);
            let Some(OwnedAttempt { river_id, owner }) = owned.remove(&key) else {
                finished.push(Finished::Stale);
                continue;
            };
            self.settle_one(transaction, finish, river_id).await?;
            usage.add_settlement(&owner, &finish.settlement);
            finished.push(Finished::Recorded);
        }
        if self.nodes.has_others() {
            notices::notify(transaction, finishes.iter().map(|finish| &finish.id)).await?;
        }
        Ok(finished)
    }

    /// Returns the open jobs by id and running attempt. Their rows are locked until the transaction ends.
    async fn lock_attempts(
        &self,
        transaction: &mut Transaction,
        finishes: &[Finish],
    ) -> Result<HashMap<(String, u32), OwnedAttempt>, StoreError> {
        type Row = (String, i64, i64, String, Option<String>);
        let for_update = self.database.pool.for_update();
        let rows: Vec<Row> = on_transaction!(transaction, connection => {
            let mut select = QueryBuilder::new(
                "SELECT s.id, s.river_id, CAST(r.attempt AS BIGINT), s.tenant, s.api_key \
                 FROM sandpiper_jobs s JOIN river_job r ON r.id = s.river_id \
                 WHERE s.state = 'open' AND r.state = 'running' AND s.id IN (",
            );
            let mut ids = select.separated(", ");
            for finish in finishes {
                ids.push_bind(finish.id.to_string());
            }
            select.push(") ORDER BY s.id").push(for_update);
            select.build_query_as().fetch_all(&mut **connection).await?
        });
        let by_attempt = rows
            .into_iter()
            .map(|(id, river_id, attempt, tenant, api_key)| {
                let attempt = u32::try_from(attempt).unwrap_or_default();
                let owner = owner_from_text(&tenant, api_key.as_deref());
                ((id, attempt), OwnedAttempt { river_id, owner })
            });
        Ok(by_attempt.collect())
    }

    /// Records one final state in our row and in River's.
    async fn settle_one(
        &self,
        transaction: &mut Transaction,
        finish: &Finish,
        river_id: i64,
    ) -> Result<(), StoreError> {
        let now = Timestamp::now();
        let settlement = &finish.settlement;
        let execution = settlement.execution.as_deref();
        // An attempt without an execution ran nothing, and does not count.
        let attempt = finish.attempt - u32::from(execution.is_none());
        let id = finish.id.to_string();
        let text = execution.map(execution_to_text).transpose()?;
        let seal = &self.database.seal;
        let execution_text = text.map(|text| seal.seal(Column::Execution, &id, text));
        on_transaction!(transaction, connection => {
            sqlx::query(SETTLE)
                .bind(id)
                .bind(settlement.state.as_str())
                .bind(settlement.outcome().map(outcome_to_text))
                .bind(i64::from(attempt))
                .bind(execution.map(|execution| unix_millis(execution.started_at)))
                .bind(unix_millis(now))
                .bind(unix_millis(now.plus(self.ttl)))
                .bind(execution_text)
                .execute(&mut **connection)
                .await?;
            self.river.jobs().complete(river_id).tx(&mut *connection).await?;
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
        });
        if self.nodes.has_others() {
            notices::notify(transaction, [&id]).await?;
        }
        Ok(())
    }
}
