//! Which submits are taken: those of clients that have no more jobs open, and no more bytes stored, than they may, and those
//! that came before.

use super::Shared;
use super::changes::{Reply, SELECT_KEY, StoredKey};
use super::clients::Turn;
use super::database::on_database;
use super::deadline::late;
use super::record::{Request, Unreadable, request_to_text};
use crate::store::fingerprint::Fingerprint;
use crate::store::{Accepted, Found, NewJob, StoreError};
use std::sync::atomic::Ordering;
use tokio::time::{Instant, timeout_at};

/// A job that wants to be taken, and its request as it is stored.
pub(super) struct Candidate {
    pub(super) job: NewJob,
    pub(super) request: String,
}

impl Candidate {
    fn new(job: NewJob) -> Result<Self, Unreadable> {
        let request = Request {
            script: (*job.script).clone(),
            limits: job.limits,
            trace: job.trace.clone(),
        };
        let request = request_to_text(&request)?;
        Ok(Self { job, request })
    }

    /// What it takes in the database before it has run.
    pub(super) fn bytes(&self) -> u64 {
        u64::try_from(self.request.len()).unwrap_or(u64::MAX)
    }
}

/// A job that its client may submit.
pub(super) struct Admission {
    pub(super) candidate: Candidate,
    pub(super) turn: Turn,
}

impl Shared {
    /// Refuses those of clients that have as many jobs open, or as many bytes stored, as they may; unless it is one that was
    /// accepted before.
    pub(super) async fn admit(
        &self,
        submits: Vec<(NewJob, Reply<Accepted>)>,
    ) -> (Vec<Admission>, Vec<Reply<Accepted>>) {
        let mut candidates = Vec::with_capacity(submits.len());
        let mut waiting = Vec::with_capacity(submits.len());
        for (job, reply) in submits {
            match Candidate::new(job) {
                Ok(candidate) => {
                    candidates.push(candidate);
                    waiting.push(reply);
                }
                Err(cause) => drop(reply.send(Err(cause.into()))),
            }
        }
        let deadline = Instant::now() + self.options.timeout;
        let turns = match self.in_time(self.turns(&candidates)).await {
            Ok(turns) => turns,
            Err(cause) => {
                for reply in waiting {
                    let _ = reply.send(Err(cause.again()));
                }
                return Default::default();
            }
        };
        let mut admitted = Vec::with_capacity(candidates.len());
        let mut replies = Vec::with_capacity(candidates.len());
        for ((candidate, reply), turn) in candidates.into_iter().zip(waiting).zip(turns) {
            match turn {
                Ok(turn) => {
                    admitted.push(Admission { candidate, turn });
                    replies.push(reply);
                }
                Err(refusal) => {
                    // All of them together wait no longer than one would.
                    let known = timeout_at(deadline, self.accepted_with_key(&candidate.job)).await;
                    let known = known.unwrap_or_else(|_| Some(Err(late())));
                    let _ = reply.send(known.unwrap_or_else(|| Err(self.counted(refusal))));
                }
            }
        }
        (admitted, replies)
    }

    /// Counts a refusal.
    fn counted(&self, refusal: StoreError) -> StoreError {
        let counter = match &refusal {
            StoreError::Full { .. } => &self.counters.full,
            StoreError::ClientFull { .. } => &self.counters.client_jobs_full,
            StoreError::ClientBytesFull { .. } => &self.counters.client_bytes_full,
            _ => return refusal,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        refusal
    }

    pub(super) async fn accepted_before(&self, id: &str) -> Result<Accepted, StoreError> {
        let id = id.parse().map_err(|_| StoreError::KeyExpired)?;
        match self.find(id).await? {
            Found::Job(job) => Ok(Accepted {
                job,
                is_replay: true,
            }),
            Found::Expired | Found::Unknown => Err(StoreError::KeyExpired),
        }
    }

    /// What became of the same request before, if it came with a key.
    async fn accepted_with_key(&self, job: &NewJob) -> Option<Result<Accepted, StoreError>> {
        let key = job.terms.key.as_ref()?;
        let known = async {
            let known: Option<StoredKey> = on_database!(&self.readers, pool => {
                sqlx::query_as(SELECT_KEY)
                    .bind(job.client.as_str())
                    .bind(key.as_str())
                    .fetch_optional(pool)
                    .await?
            });
            let Some((exact, meaning, id)) = known else {
                return Ok(None);
            };
            if !Fingerprint::of(job).is_stored_as(&exact, meaning.as_deref()) {
                return Err(StoreError::KeyReused);
            }
            self.accepted_before(&id).await.map(Some)
        };
        known.await.transpose()
    }
}
