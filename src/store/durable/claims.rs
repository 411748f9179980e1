//! What the database says of a job that River hands out.

use super::Shared;
use super::changes::as_i64;
use super::database::on_database;
use super::record::{Request, request_from_text, request_to_text};
use crate::store::StoreError;
use sandpiper_domain::{JobId, Timestamp};

/// Whose the jobs are that other clients of River enqueue.
pub(super) const ADOPTED_CLIENT: &str = "river";

/// What is known of a job that River hands out.
pub(super) enum Claimed {
    /// It is to be run: whose it is, and its request.
    Open(String, Request),
    /// It has its end.
    Settled,
    /// Its id is that of another job.
    Taken,
    /// It was never seen, or was swept away.
    Unknown,
}

impl Shared {
    /// What is to be run of the job that is this one of River's.
    pub(super) async fn claimed(&self, id: JobId, river_id: i64) -> Result<Claimed, StoreError> {
        let row: Option<(String, String, String, i64)> = on_database!(&self.readers, pool => {
            sqlx::query_as("SELECT client, request, state, river_id FROM sandpiper_jobs WHERE id = $1")
                .bind(id.to_string())
                .fetch_optional(pool)
                .await?
        });
        Ok(match row {
            None => Claimed::Unknown,
            Some((.., its_river_id)) if its_river_id != river_id => Claimed::Taken,
            Some((client, request, state, _)) if state == "open" => {
                Claimed::Open(client, request_from_text(&request)?)
            }
            Some(_) => Claimed::Settled,
        })
    }

    /// Whether an attempt is still the one that runs.
    pub(super) async fn is_running(&self, river_id: i64, attempt: u32) -> Result<bool, StoreError> {
        let (running,): (bool,) = on_database!(&self.database, pool => {
            sqlx::query_as(
                "SELECT EXISTS (SELECT 1 FROM river_job WHERE id = $1 AND state = 'running' AND attempt = $2)",
            )
            .bind(river_id)
            .bind(i64::from(attempt))
            .fetch_one(pool)
            .await?
        });
        Ok(running)
    }

    /// Whether River will do nothing more with one of its jobs.
    pub(super) async fn is_over(&self, river_id: i64) -> Result<bool, StoreError> {
        let (goes_on,): (bool,) = on_database!(&self.database, pool => {
            sqlx::query_as(
                "SELECT EXISTS (SELECT 1 FROM river_job WHERE id = $1 \
                 AND state NOT IN ('completed', 'cancelled', 'discarded'))",
            )
            .bind(river_id)
            .fetch_one(pool)
            .await?
        });
        Ok(!goes_on)
    }

    /// The id of a job that another client of River brought, once it was adopted.
    pub(super) async fn id_of_river(&self, river_id: i64) -> Result<Option<JobId>, StoreError> {
        let row: Option<(String,)> = on_database!(&self.readers, pool => {
            sqlx::query_as("SELECT id FROM sandpiper_jobs WHERE river_id = $1")
                .bind(river_id)
                .fetch_optional(pool)
                .await?
        });
        Ok(row.and_then(|(id,)| id.parse().ok()))
    }

    /// Gives a job that another client of River brought a row of its own; false where there is one.
    pub(super) async fn adopt(
        &self,
        id: JobId,
        river_id: i64,
        request: &Request,
    ) -> Result<bool, StoreError> {
        let request = request_to_text(request)?;
        let made = on_database!(&self.database, pool => {
            sqlx::query(
                "INSERT INTO sandpiper_jobs (id, river_id, client, request, state, attempt, created_at) \
                 VALUES ($1, $2, $3, $4, 'open', 0, $5) ON CONFLICT DO NOTHING",
            )
            .bind(id.to_string())
            .bind(river_id)
            .bind(ADOPTED_CLIENT)
            .bind(request)
            .bind(as_i64(Timestamp::now().as_unix_millis()))
            .execute(pool)
            .await?
            .rows_affected()
        });
        Ok(made == 1)
    }
}
