//! Submits and finishes, made in batches: one transaction, and so one wait for the disk, for all that came meanwhile.
//!
//! A change that comes alone is made at once. A batch that fails is made again one by one, so that nobody fails for another.

use super::admission::{Admission, Candidate};
use super::args::RunScript;
use super::database::in_transaction;
use super::deadline::{late, within};
use super::record::execution_to_text;
use super::work::QUEUE;
use super::{Owner, Shared, notices};
use crate::store::fingerprint::Fingerprint;
use crate::store::{Accepted, Finished, NewJob, Settlement, StoreError};
use riverqueue::{InsertManyItem, InsertOpts, jiff};
use sandpiper_domain::{JobId, Timestamp};
use sqlx::QueryBuilder;
use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};

/// Most changes of one transaction.
const BATCH_MAX: usize = 128;
const _: () = assert!(BATCH_MAX <= notices::NAMES_MAX);
/// Changes that may wait; whoever brings more waits.
const WAITING_MAX: usize = 4096;
/// A batch may take so many times as long as one change, because it is many of them. Whoever brought one is told in time.
const BATCH_TIMES: u32 = 4;

pub(super) type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

/// A change of a job.
#[derive(Debug)]
pub(super) enum Change {
    Submit(NewJob, Reply<Accepted>),
    Finish(Finish, Reply<Finished>),
}

/// A final state.
#[derive(Debug, Clone)]
pub(super) struct Finish {
    pub(super) id: JobId,
    pub(super) attempt: u32,
    pub(super) settlement: Settlement,
}

/// The way to the writer.
#[derive(Debug)]
pub(super) struct Changes {
    writer: mpsc::Sender<Change>,
    /// Longest that a change may take.
    timeout: Duration,
}

impl Changes {
    pub(super) fn new(timeout: Duration) -> (Self, mpsc::Receiver<Change>) {
        let (writer, receiver) = mpsc::channel(WAITING_MAX);
        (Self { writer, timeout }, receiver)
    }

    pub(super) async fn make<T>(
        &self,
        change: impl FnOnce(Reply<T>) -> Change,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let made = async {
            self.writer.send(change(reply)).await.ok();
            let closed = |_| Err(StoreError::Unavailable("it has been closed".to_owned()));
            answer.await.unwrap_or_else(closed)
        };
        within(self.timeout, made).await
    }
}

/// Makes changes as they come, until nobody can bring any more.
pub(super) async fn write(owner: Owner, mut waiting: mpsc::Receiver<Change>) {
    let mut batch = Vec::with_capacity(BATCH_MAX);
    while waiting.recv_many(&mut batch, BATCH_MAX).await > 0 {
        let Some(shared) = owner.upgrade() else {
            return;
        };
        // Whoever has gone away was told that it failed, and may have asked again.
        batch.retain(|change| match change {
            Change::Submit(_, reply) => !reply.is_closed(),
            Change::Finish(..) => true,
        });
        let mut submits = Vec::new();
        let mut finishes = Vec::new();
        for change in batch.drain(..) {
            match change {
                Change::Submit(job, reply) => submits.push((job, reply)),
                Change::Finish(finish, reply) => finishes.push((finish, reply)),
            }
        }
        let (ends, end_replies): (Vec<_>, Vec<_>) = finishes.into_iter().unzip();
        let (jobs, replies) = shared.admit(submits).await;
        shared.write_batch(jobs, replies, ends, end_replies).await;
    }
}

fn answer<T>(replies: Vec<Reply<T>>, made: impl IntoIterator<Item = Result<T, StoreError>>) {
    for (reply, made) in replies.into_iter().zip(made) {
        // Whoever asked may be gone.
        let _ = reply.send(made);
    }
}

impl StoreError {
    /// The same, for another who waits.
    pub(super) fn again(&self) -> Self {
        Self::Unavailable(self.to_string())
    }
}

const INSERT: &str = "INSERT INTO sandpiper_jobs \
    (id, river_id, client, request, state, attempt, created_at, run_at) ";

const INSERT_KEY: &str = "INSERT INTO sandpiper_keys (client, idempotency_key, fingerprint, meaning, job_id, created_at) \
    VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (client, idempotency_key) DO NOTHING";

pub(super) const SELECT_KEY: &str = "SELECT fingerprint, meaning, job_id FROM sandpiper_keys WHERE client = $1 AND idempotency_key = $2";

/// A row of [`SELECT_KEY`]. Earlier versions store no meaning, and compare the first.
pub(super) type StoredKey = (String, Option<String>, String);

/// What became of each of a batch.
type Made = (Vec<Result<Accepted, StoreError>>, Vec<Finished>);

/// What becomes of a submit.
enum Admitted {
    New,
    /// It is this job, by its key.
    Before(String),
    KeyReused,
}

/// What never ran needs its request no more.
const SETTLE: &str = "UPDATE sandpiper_jobs SET state = $2, outcome = $3, attempt = $4, started_at = $5, \
    finished_at = $6, expires_at = $7, execution = $8, request = CASE WHEN $8 IS NULL THEN '' ELSE request END WHERE id = $1 AND state = 'open'";

impl Shared {
    /// Makes all of them in one transaction, or else each in its own.
    async fn write_batch(
        &self,
        jobs: Vec<Admission>,
        replies: Vec<Reply<Accepted>>,
        ends: Vec<Finish>,
        end_replies: Vec<Reply<Finished>>,
    ) {
        let began = Instant::now();
        match self.make(&jobs, &ends).await {
            Ok((accepted, finished)) => {
                if !replies.is_empty() {
                    self.look_for_jobs();
                }
                answer(replies, accepted);
                answer(end_replies, finished.into_iter().map(Ok));
                ends.iter().for_each(|end| self.wake(end.id));
            }
            // A database that does not answer does not answer each of them either.
            Err(failure)
                if jobs.len() + ends.len() == 1 || began.elapsed() >= self.options.timeout =>
            {
                answer(replies, std::iter::repeat_with(|| Err(failure.again())));
                answer(end_replies, std::iter::repeat_with(|| Err(failure.again())));
            }
            Err(_) => self.write_each(jobs, replies, ends, end_replies).await,
        }
    }

    /// Makes one after the other, until one of them takes too long.
    async fn write_each(
        &self,
        jobs: Vec<Admission>,
        replies: Vec<Reply<Accepted>>,
        ends: Vec<Finish>,
        end_replies: Vec<Reply<Finished>>,
    ) {
        let deadline = Instant::now() + BATCH_TIMES * self.options.timeout;
        for (job, reply) in jobs.into_iter().zip(replies) {
            if Instant::now() >= deadline {
                let _ = reply.send(Err(late()));
                continue;
            }
            let made = self.make(std::slice::from_ref(&job), &[]).await;
            let _ = reply.send(made.and_then(|(mut accepted, _)| accepted.remove(0)));
        }
        for (end, reply) in ends.into_iter().zip(end_replies) {
            if Instant::now() >= deadline {
                let _ = reply.send(Err(late()));
                continue;
            }
            let end = [end];
            let made = self.make(&[], &end).await;
            if made.is_ok() {
                self.wake(end[0].id);
            }
            let _ = reply.send(made.map(|(_, mut finished)| finished.remove(0)));
        }
    }

    async fn make(&self, admissions: &[Admission], ends: &[Finish]) -> Result<Made, StoreError> {
        within(
            BATCH_TIMES * self.options.timeout,
            self.make_in_transaction(admissions, ends),
        )
        .await
    }

    /// In one transaction.
    async fn make_in_transaction(
        &self,
        admissions: &[Admission],
        ends: &[Finish],
    ) -> Result<Made, StoreError> {
        let jobs = || admissions.iter().map(|admission| &admission.candidate.job);
        let (admitted, finished) = in_transaction!(&self.database, transaction => {
            let mut admitted = Vec::with_capacity(admissions.len());
            for job in jobs() {
                let Some(key) = &job.terms.key else {
                    admitted.push(Admitted::New);
                    continue;
                };
                let fingerprint = Fingerprint::of(job);
                let is_new = sqlx::query(INSERT_KEY)
                    .bind(job.client.as_str())
                    .bind(key.as_str())
                    .bind(fingerprint.exact())
                    .bind(fingerprint.meaning())
                    .bind(job.id.to_string())
                    .bind(as_i64(job.created_at.as_unix_millis()))
                    .execute(&mut *transaction)
                    .await?
                    .rows_affected() == 1;
                if is_new {
                    admitted.push(Admitted::New);
                    continue;
                }
                let (exact, meaning, id): StoredKey = sqlx::query_as(SELECT_KEY)
                    .bind(job.client.as_str())
                    .bind(key.as_str())
                    .fetch_one(&mut *transaction)
                    .await?;
                admitted.push(if fingerprint.is_stored_as(&exact, meaning.as_deref()) {
                    Admitted::Before(id)
                } else {
                    Admitted::KeyReused
                });
            }
            let new = || {
                let all = admissions.iter().zip(&admitted);
                all.filter(|(_, admitted)| matches!(admitted, Admitted::New))
                    .map(|(new, _)| new)
            };
            if new().next().is_some() {
                let items = new().map(|admission| self.item(admission));
                let inserted = self.client.insert_many(items).tx(&mut transaction).await?;
                let mut insert = QueryBuilder::new(INSERT);
                insert.push_values(new().zip(&inserted), |mut row, (admission, inserted)| {
                    let Candidate { job, request } = &admission.candidate;
                    row.push_bind(job.id.to_string())
                        .push_bind(inserted.id())
                        .push_bind(job.client.as_str())
                        .push_bind(request.as_str())
                        .push("'open'")
                        .push("0")
                        .push_bind(as_i64(job.created_at.as_unix_millis()))
                        .push_bind(job.terms.run_at.map(|at| as_i64(at.as_unix_millis())));
                });
                insert.build().execute(&mut *transaction).await?;
            }
            // What is still its attempt's, by River's word; kept from others until the end.
            let mut held = HashMap::with_capacity(ends.len());
            if !ends.is_empty() {
                let mut fence = QueryBuilder::new(
                    "SELECT s.id, s.river_id, CAST(r.attempt AS BIGINT) \
                     FROM sandpiper_jobs s JOIN river_job r ON r.id = s.river_id \
                     WHERE s.state = 'open' AND r.state = 'running' AND s.id IN (",
                );
                let mut ids = fence.separated(", ");
                for end in ends {
                    ids.push_bind(end.id.to_string());
                }
                fence.push(") ORDER BY s.id").push(self.database.for_update());
                let rows: Vec<(String, i64, i64)> =
                    fence.build_query_as().fetch_all(&mut *transaction).await?;
                for (id, river_id, attempt) in rows {
                    let attempt = u32::try_from(attempt).unwrap_or_default();
                    held.insert((id, attempt), river_id);
                }
            }
            let mut finished = Vec::with_capacity(ends.len());
            for end in ends {
                let Some(river_id) = held.remove(&(end.id.to_string(), end.attempt))
                else {
                    finished.push(Finished::Stale);
                    continue;
                };
                let now = Timestamp::now();
                let execution = end.settlement.execution.as_deref();
                // Without an execution nothing of this attempt has run.
                let attempt = end.attempt - u32::from(execution.is_none());
                sqlx::query(SETTLE)
                    .bind(end.id.to_string())
                    .bind(end.settlement.state.as_str())
                    .bind(end.settlement.outcome().map(super::record::outcome_to_text))
                    .bind(i64::from(attempt))
                    .bind(execution.map(|execution| as_i64(execution.started_at.as_unix_millis())))
                    .bind(as_i64(now.as_unix_millis()))
                    .bind(as_i64(now.plus(self.options.ttl).as_unix_millis()))
                    .bind(execution.map(execution_to_text).transpose()?)
                    .execute(&mut *transaction)
                    .await?;
                self.client.jobs().complete(river_id).tx(&mut transaction).await?;
                finished.push(Finished::Recorded);
            }
            if !ends.is_empty() && self.is_one_of_many.load(Ordering::Relaxed) {
                let names = notices::names(ends.iter().map(|end| &end.id));
                sqlx::query(notices::TELL).bind(names).execute(&mut *transaction).await?;
            }
            (admitted, finished)
        });
        let mut accepted = Vec::with_capacity(admissions.len());
        for (job, admitted) in jobs().zip(admitted) {
            accepted.push(match admitted {
                Admitted::New => Ok(Accepted {
                    job: job.queued(),
                    is_replay: false,
                }),
                Admitted::Before(id) => self.accepted_before(&id).await,
                Admitted::KeyReused => Err(StoreError::KeyReused),
            });
        }
        Ok((accepted, finished))
    }

    fn item(&self, admission: &Admission) -> InsertManyItem<RunScript> {
        let Admission { candidate, turn } = admission;
        let job = &candidate.job;
        let attempts = i32::try_from(self.options.attempts_max).unwrap_or(i32::MAX);
        let options = InsertOpts::default()
            .with_queue(QUEUE)
            .with_max_attempts(attempts)
            .with_priority(i16::from(job.terms.priority.get()));
        let at = job.terms.run_at.map(|at| as_i64(at.as_unix_millis()));
        let at = at.or(turn.since);
        let options = match at.and_then(|at| jiff::Timestamp::from_millisecond(at).ok()) {
            Some(at) => options.with_scheduled_at(at),
            None => options,
        };
        InsertManyItem::new(RunScript::by_id(job.id), options)
    }

    /// Wakes whoever waits here for a job that has ended.
    pub(super) fn wake(&self, id: JobId) {
        if let Some((_, waiting)) = self.waiting.remove(&id) {
            waiting.notify_waiters();
        }
    }

    pub(super) async fn finish(
        &self,
        id: JobId,
        attempt: u32,
        settlement: Settlement,
    ) -> Result<Finished, StoreError> {
        let finish = Finish {
            id,
            attempt,
            settlement,
        };
        self.changes
            .make(|reply| Change::Finish(finish, reply))
            .await
    }
}

pub(super) fn as_i64(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
