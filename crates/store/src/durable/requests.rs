//! The requests of jobs that River hands to a node.

use super::args::RunScript;
use super::database::Database;
use super::numbers::unix_millis;
use super::options::DurableOptions;
use super::pool::{on_pool, on_transaction};
use super::record::{job_from_text, owner_from_text, request_to_text};
use super::seal::Column;
use super::usage::UsageDelta;
use crate::StoreError;
use riverqueue::Job as RiverJob;
use sandpiper_domain::{Ceiling, ClientKey, Job, JobId, Limits, Timestamp, UsageCounts};
use std::sync::Arc;

/// The client of jobs that other River clients insert.
const ADOPTED_CLIENT: &str = "river";

/// The row of a job that River hands out.
pub(super) enum StoredJob {
    Open(Arc<Job>),
    Final,
    IdTaken,
    /// There is no row: the job is new, or was swept.
    Unknown,
}

pub(super) enum NoRequest {
    /// The request breaks a rule, or cannot be read.
    Invalid(String),
    /// Another attempt, or another job with the same id, has inserted the row just now: the job is tried again.
    JustInserted,
    Store(StoreError),
}

impl From<StoreError> for NoRequest {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unreadable(cause) => Self::Invalid(cause),
            error => Self::Store(error),
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Requests {
    database: Database,
    default_limits: Limits,
    ceiling: Ceiling,
}

impl Requests {
    pub(super) fn new(database: Database, options: &DurableOptions) -> Self {
        Self {
            database,
            default_limits: options.defaults,
            ceiling: options.ceiling,
        }
    }

    /// Returns the job to run for a job that River hands out; `None` if nothing is left to run.
    pub(super) async fn claimed_job(
        &self,
        river_job: &RiverJob<RunScript>,
    ) -> Result<Option<Arc<Job>>, NoRequest> {
        // A job that another client inserted without an id got one when it was first claimed.
        let id = match river_job.args.id {
            Some(id) => id,
            None => self
                .id_of_river_job(river_job.id())
                .await?
                .unwrap_or_else(JobId::generate),
        };
        match self.read(id, river_job.id()).await? {
            StoredJob::Open(job) => Ok(Some(job)),
            StoredJob::Final => Ok(None),
            StoredJob::IdTaken => Err(NoRequest::Invalid(format!("`id` {id} is another job's"))),
            StoredJob::Unknown => {
                let client = ClientKey::new(ADOPTED_CLIENT);
                let (defaults, ceiling) = (&self.default_limits, &self.ceiling);
                let job = river_job.args.job(id, client, defaults, ceiling);
                let job = job.map_err(NoRequest::Invalid)?;
                if !self.adopt(river_job.id(), &job).await? {
                    return Err(NoRequest::JustInserted);
                }
                Ok(Some(Arc::new(job)))
            }
        }
    }

    /// Reads the row of a job by its id. River's id tells whether the row is that of the same job.
    pub(super) async fn read(&self, id: JobId, river_id: i64) -> Result<StoredJob, StoreError> {
        type Row = (String, Option<String>, String, String, String, i64);
        let row: Option<Row> = on_pool!(&self.database.readers, pool => {
            sqlx::query_as(
                "SELECT tenant, api_key, client, request, state, river_id FROM sandpiper_jobs WHERE id = $1",
            )
                .bind(id.to_string())
                .fetch_optional(pool)
                .await?
        });
        Ok(match row {
            None => StoredJob::Unknown,
            Some((.., stored_river_id)) if stored_river_id != river_id => StoredJob::IdTaken,
            Some((tenant, api_key, client, request, state, _)) if state == "open" => {
                let owner = owner_from_text(&tenant, api_key.as_deref());
                let seal = &self.database.seal;
                let request = seal.open(Column::Request, &id.to_string(), request)?;
                let job = job_from_text(id, owner, ClientKey::new(&client), &request)?;
                StoredJob::Open(Arc::new(job))
            }
            Some(_) => StoredJob::Final,
        })
    }

    /// Returns the id of a job that another River client inserted, once the job was adopted.
    async fn id_of_river_job(&self, river_id: i64) -> Result<Option<JobId>, StoreError> {
        let row: Option<(String,)> = on_pool!(&self.database.readers, pool => {
            sqlx::query_as("SELECT id FROM sandpiper_jobs WHERE river_id = $1")
                .bind(river_id)
                .fetch_optional(pool)
                .await?
        });
        Ok(row.and_then(|(id,)| id.parse().ok()))
    }

    /// Inserts the row of a job that another River client inserted, and counts the job as accepted. Returns false if there
    /// is a row already.
    async fn adopt(&self, river_id: i64, job: &Job) -> Result<bool, StoreError> {
        let (id, now) = (job.id.to_string(), Timestamp::now());
        let request = request_to_text(job)?;
        let request = self.database.seal.seal(Column::Request, &id, request);
        let mut transaction = self.database.pool.begin().await?;
        let inserted = on_transaction!(&mut transaction, connection => {
            sqlx::query(
                "INSERT INTO sandpiper_jobs (id, river_id, client, request, state, attempt, created_at) \
                 VALUES ($1, $2, $3, $4, 'open', 0, $5) ON CONFLICT DO NOTHING",
            )
            .bind(id)
            .bind(river_id)
            .bind(job.client.as_str())
            .bind(request)
            .bind(unix_millis(now))
            .execute(&mut **connection)
            .await?
            .rows_affected()
        });
        if inserted == 1 {
            let mut usage = UsageDelta::default();
            let counts = UsageCounts::of_accepted_job(&job.script);
            usage.add(&job.owner, now, &counts);
            usage.insert(&mut transaction).await?;
        }
        transaction.commit().await?;
        Ok(inserted == 1)
    }
}
