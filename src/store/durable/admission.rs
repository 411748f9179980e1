//! Which submits are taken: those of clients that have no more jobs open than they may, and those that came before.

use super::Shared;
use super::changes::{Reply, SELECT_KEY, StoredKey};
use super::clients::Turn;
use super::database::on_database;
use crate::store::fingerprint::Fingerprint;
use crate::store::{Accepted, Found, NewJob, StoreError};

/// A job that its client may submit.
pub(super) struct Admission {
    pub(super) job: NewJob,
    pub(super) turn: Turn,
}

impl Shared {
    /// Refuses those of clients that have as many jobs open as they may; unless it is one that was accepted before.
    pub(super) async fn admit(
        &self,
        submits: Vec<(NewJob, Reply<Accepted>)>,
    ) -> (Vec<Admission>, Vec<Reply<Accepted>>) {
        let turns = match self.turns(submits.iter().map(|(job, _)| job)).await {
            Ok(turns) => turns,
            Err(cause) => {
                for (_, reply) in submits {
                    let _ = reply.send(Err(cause.again()));
                }
                return Default::default();
            }
        };
        let mut admitted = Vec::with_capacity(submits.len());
        let mut replies = Vec::with_capacity(submits.len());
        for ((job, reply), turn) in submits.into_iter().zip(turns) {
            match turn {
                Ok(turn) => {
                    admitted.push(Admission { job, turn });
                    replies.push(reply);
                }
                Err(refusal) => {
                    let known = self.accepted_with_key(&job).await;
                    let _ = reply.send(known.unwrap_or(Err(refusal)));
                }
            }
        }
        (admitted, replies)
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
