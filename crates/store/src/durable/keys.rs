//! Idempotency keys: a repeated submit gets the job of the first one.

use super::database::Database;
use super::jobs::Jobs;
use super::numbers::unix_millis;
use super::pool::{Transaction, on_pool, on_transaction};
use crate::fingerprint::Fingerprint;
use crate::{Accepted, Found, NewJob, StoreError};
use sandpiper_domain::Access;

const INSERT_KEY: &str = "INSERT INTO sandpiper_keys (client, idempotency_key, fingerprint, meaning, job_id, created_at) \
    VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (client, idempotency_key) DO NOTHING";

const SELECT_KEY: &str = "SELECT fingerprint, meaning, job_id FROM sandpiper_keys WHERE client = $1 AND idempotency_key = $2";

/// A row of [`SELECT_KEY`]. Earlier versions store no meaning, and compare the fingerprint.
type StoredKey = (String, Option<String>, String);

#[derive(Debug, Clone)]
pub(super) struct Keys {
    database: Database,
    jobs: Jobs,
}

/// The result of a submit, as far as its key decides it.
pub(super) enum Submitted {
    New,
    /// The job with this id was accepted for the same request.
    Replay(String),
    KeyReused,
}

impl Keys {
    pub(super) fn new(database: Database, jobs: Jobs) -> Self {
        Self { database, jobs }
    }

    /// Inserts the key of `new`, or compares the request with the one that has the key.
    pub(super) async fn insert(
        &self,
        transaction: &mut Transaction,
        new: &NewJob,
    ) -> Result<Submitted, sqlx::Error> {
        let Some(key) = &new.terms.key else {
            return Ok(Submitted::New);
        };
        let fingerprint = Fingerprint::of(new);
        let seal = &self.database.seal;
        let (exact, meaning) = seal.stored_digests(&fingerprint);
        let inserted = on_transaction!(transaction, connection => {
            sqlx::query(INSERT_KEY)
                .bind(new.job.client.as_str())
                .bind(key.as_str())
                .bind(exact)
                .bind(meaning)
                .bind(new.job.id.to_string())
                .bind(unix_millis(new.created_at))
                .execute(&mut **connection)
                .await?
                .rows_affected()
        });
        if inserted == 1 {
            return Ok(Submitted::New);
        }
        let (exact, meaning, id): StoredKey = on_transaction!(transaction, connection => {
            sqlx::query_as(SELECT_KEY)
                .bind(new.job.client.as_str())
                .bind(key.as_str())
                .fetch_one(&mut **connection)
                .await?
        });
        Ok(if seal.is_same(&fingerprint, &exact, meaning.as_deref()) {
            Submitted::Replay(id)
        } else {
            Submitted::KeyReused
        })
    }

    pub(super) async fn replay(&self, id: &str) -> Result<Accepted, StoreError> {
        let id = id.parse().map_err(|_| StoreError::KeyExpired)?;
        match self.jobs.find(id, &Access::All).await? {
            Found::Job(job) => Ok(Accepted {
                job,
                is_replay: true,
            }),
            Found::Expired | Found::Unknown => Err(StoreError::KeyExpired),
        }
    }

    /// Returns the result of the first submit with the key of `new`; `None` if there was none, or `new` has no key.
    pub(super) async fn find(&self, new: &NewJob) -> Option<Result<Accepted, StoreError>> {
        let key = new.terms.key.as_ref()?;
        let found = async {
            let row: Option<StoredKey> = on_pool!(&self.database.readers, pool => {
                sqlx::query_as(SELECT_KEY)
                    .bind(new.job.client.as_str())
                    .bind(key.as_str())
                    .fetch_optional(pool)
                    .await?
            });
            let Some((exact, meaning, id)) = row else {
                return Ok(None);
            };
            let seal = &self.database.seal;
            if !seal.is_same(&Fingerprint::of(new), &exact, meaning.as_deref()) {
                return Err(StoreError::KeyReused);
            }
            self.replay(&id).await.map(Some)
        };
        found.await.transpose()
    }
}
