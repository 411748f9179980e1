//! Writes submits, finishes and suspensions in batches: one transaction, and so one wait for the disk, for all changes that came while
//! the last batch was written.
//!
//! A change that comes alone is written at once. A batch that fails is written again change by change, so that no change
//! fails because of another. A cancellation is written by itself.

use super::admission::{AdmissionControl, Admitted};
use super::args::{QUEUES, RunScript, TOOLS_QUEUE, queue_of};
use super::change_queue::{Change, Finish, Reply, Suspend, repeated, reply_all};
use super::claims::Claims;
use super::database::Database;
use super::deadline::{late, within};
use super::keys::{Keys, Submitted};
use super::nodes::NodeRegistry;
use super::notices;
use super::numbers::{as_millis, unix_millis};
use super::pool::{Transaction, on_transaction};
use super::tool_jobs;
use super::usage::UsageDelta;
use super::waiters::Waiters;
use crate::{Accepted, Committed, Finished, NewJob, StoreError};
use riverqueue::{Client, InsertManyItem, InsertOpts, jiff};
use sqlx::QueryBuilder;
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

/// The results of a batch, in the order of its changes.
#[derive(Debug, Default)]
struct Written {
    accepted: Vec<Result<Accepted, StoreError>>,
    finished: Vec<Finished>,
    committed: Vec<Committed>,
}

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

/// Changes of one transaction.
#[derive(Debug, Clone, Copy, Default)]
struct Changes<'a> {
    submits: &'a [Admitted],
    finishes: &'a [Finish],
    suspends: &'a [Suspend],
}

/// Changes of one transaction, each with its caller.
struct Batch {
    submits: Vec<Admitted>,
    submit_replies: Vec<Reply<Accepted>>,
    finishes: Vec<Finish>,
    finish_replies: Vec<Reply<Finished>>,
    suspends: Vec<Suspend>,
    suspend_replies: Vec<Reply<Committed>>,
}

impl Batch {
    fn changes(&self) -> Changes<'_> {
        Changes {
            submits: &self.submits,
            finishes: &self.finishes,
            suspends: &self.suspends,
        }
    }

    fn len(&self) -> usize {
        self.submits.len() + self.finishes.len() + self.suspends.len()
    }
}

impl JobWriter {
    /// Writes changes as they come, until the other end of the queue is dropped.
    pub(super) async fn run(self: Arc<Self>, mut queue: mpsc::Receiver<Change>) {
        let mut changes = Vec::with_capacity(BATCH_MAX);
        while queue.recv_many(&mut changes, BATCH_MAX).await > 0 {
            let mut jobs = Vec::new();
            let mut finishes = Vec::new();
            let mut suspends = Vec::new();
            for change in changes.drain(..) {
                match change {
                    // A caller that has gone was told that its submit failed, and may have submitted the job again.
                    Change::Submit(_, reply) if reply.is_closed() => {}
                    Change::Submit(job, reply) => jobs.push((job, reply)),
                    Change::Finish(finish, reply) => finishes.push((finish, reply)),
                    Change::Suspend(suspend, reply) => suspends.push((suspend, reply)),
                }
            }
            let (finishes, finish_replies) = finishes.into_iter().unzip();
            let (suspends, suspend_replies) = suspends.into_iter().unzip();
            self.admission.quotas.note_batch_change();
            let (submits, submit_replies) = self.admission.admit(jobs).await;
            let batch = Batch {
                submits,
                submit_replies,
                finishes,
                finish_replies,
                suspends,
                suspend_replies,
            };
            self.write_batch(batch).await;
            self.admission.quotas.note_batch_change();
        }
    }

    /// Writes a batch in one transaction, or else each change in its own.
    async fn write_batch(&self, batch: Batch) {
        let began = Instant::now();
        match self.write(batch.changes()).await {
            Ok(written) => {
                reply_all(batch.submit_replies, written.accepted);
                reply_all(batch.finish_replies, written.finished.into_iter().map(Ok));
                reply_all(batch.suspend_replies, written.committed.into_iter().map(Ok));
            }
            // A database that does not respond does not respond to each change either.
            Err(failure) if batch.len() == 1 || began.elapsed() >= self.database.timeout() => {
                let failures = || Err(repeated(&failure));
                reply_all(batch.submit_replies, std::iter::repeat_with(failures));
                let failures = || Err(repeated(&failure));
                reply_all(batch.finish_replies, std::iter::repeat_with(failures));
                let failures = || Err(repeated(&failure));
                reply_all(batch.suspend_replies, std::iter::repeat_with(failures));
            }
            Err(_) => self.write_each(batch).await,
        }
    }

    /// Writes one change after the other, until the time of the batch is over.
    async fn write_each(&self, batch: Batch) {
        let deadline = Instant::now() + BATCH_TIMEOUTS * self.database.timeout();
        for (submit, reply) in batch.submits.into_iter().zip(batch.submit_replies) {
            let changes = Changes {
                submits: std::slice::from_ref(&submit),
                ..Changes::default()
            };
            let written = self.write_before(deadline, changes).await;
            let _ = reply.send(written.and_then(|mut written| written.accepted.remove(0)));
        }
        for (finish, reply) in batch.finishes.into_iter().zip(batch.finish_replies) {
            let changes = Changes {
                finishes: std::slice::from_ref(&finish),
                ..Changes::default()
            };
            let written = self.write_before(deadline, changes).await;
            let _ = reply.send(written.map(|mut written| written.finished.remove(0)));
        }
        for (suspend, reply) in batch.suspends.into_iter().zip(batch.suspend_replies) {
            let changes = Changes {
                suspends: std::slice::from_ref(&suspend),
                ..Changes::default()
            };
            let written = self.write_before(deadline, changes).await;
            let _ = reply.send(written.map(|mut written| written.committed.remove(0)));
        }
    }

    async fn write_before(
        &self,
        deadline: Instant,
        changes: Changes<'_>,
    ) -> Result<Written, StoreError> {
        if Instant::now() >= deadline {
            return Err(late());
        }
        self.write(changes).await
    }

    /// Writes changes in one transaction, within the time of a batch.
    async fn write(&self, changes: Changes<'_>) -> Result<Written, StoreError> {
        let limit = BATCH_TIMEOUTS * self.database.timeout();
        let written = within(limit, self.write_in_transaction(changes)).await?;
        for queue in QUEUES {
            let is_in_queue = |submit: &Admitted| queue_of(&submit.submit.new.job.script) == queue;
            if changes.submits.iter().any(is_in_queue) {
                self.claims.look_for_jobs(queue);
            }
        }
        if written.committed.contains(&Committed::Due) {
            self.claims.look_for_jobs(TOOLS_QUEUE);
        }
        let ended = changes.finishes.iter().map(|finish| finish.id);
        let suspended = changes.suspends.iter().map(|suspend| suspend.id);
        for id in ended.chain(suspended) {
            self.waiters.wake(id);
        }
        Ok(written)
    }

    async fn write_in_transaction(&self, changes: Changes<'_>) -> Result<Written, StoreError> {
        let mut transaction = self.database.pool.begin().await?;
        let mut usage = UsageDelta::default();
        let submitted = self
            .insert(&mut transaction, changes.submits, &mut usage)
            .await?;
        let finished = self
            .settle(&mut transaction, changes.finishes, &mut usage)
            .await?;
        let committed = self.suspend(&mut transaction, changes.suspends).await?;
        usage.insert(&mut transaction).await?;
        transaction.commit().await?;
        let mut accepted = Vec::with_capacity(changes.submits.len());
        for (admitted, submitted) in changes.submits.iter().zip(submitted) {
            accepted.push(match submitted {
                Submitted::New => Ok(Accepted {
                    job: admitted.submit.new.queued(),
                    is_replay: false,
                }),
                Submitted::Replay(id) => self.keys.replay(&id).await,
                Submitted::KeyReused => Err(StoreError::KeyReused),
            });
        }
        Ok(Written {
            accepted,
            finished,
            committed,
        })
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
        on_transaction!(&mut *transaction, connection => {
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
        for admitted in new {
            if let Some(head) = &admitted.submit.head {
                tool_jobs::insert(transaction, &admitted.submit.new, head).await?;
            }
        }
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
}
