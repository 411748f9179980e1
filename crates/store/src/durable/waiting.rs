//! Bounds of jobs with tools that wait, for each client. A job counts from its first suspension until its final state, and is
//! none of the open jobs of its client for that time.

use super::clients::Waiting;
use super::pool::on_pool;
use super::quotas::Quotas;
use crate::{StoreError, WaitingBounds};
use sandpiper_domain::ClientKey;
use sqlx::QueryBuilder;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;

impl Quotas {
    /// Checks whether the jobs of a client that wait leave room for one more.
    pub(super) fn check_waiting(&self, client: &ClientKey) -> Result<(), StoreError> {
        let waiting = self.clients.usage(client).map(|usage| usage.waiting);
        let waiting = waiting.unwrap_or_default();
        let WaitingBounds {
            jobs_max,
            bytes_max,
        } = self.bounds.waiting;
        if waiting.jobs >= u64::try_from(jobs_max).unwrap_or(u64::MAX) {
            return Err(StoreError::WaitingFull { most: jobs_max });
        }
        if waiting.bytes >= bytes_max {
            return Err(StoreError::WaitingBytesFull { most: bytes_max });
        }
        Ok(())
    }

    /// Returns how many jobs have suspended and have not ended, as last counted.
    pub(super) fn waiting_jobs(&self) -> u64 {
        self.waiting_jobs.load(Ordering::Relaxed)
    }

    /// Notes that a job of this node has suspended for the first time: it is no longer one of the open jobs of its client.
    pub(super) fn note_first_suspension(&self, client: &ClientKey) {
        self.waiting_jobs.fetch_add(1, Ordering::Relaxed);
        self.clients.end_job(client, 0);
    }

    /// Counts the jobs that have suspended and have not ended.
    pub(super) async fn count_waiting_jobs(&self) -> Result<(), StoreError> {
        let (count,): (i64,) = on_pool!(&self.database.readers, pool => {
            sqlx::query_as("SELECT count(*) FROM sandpiper_tool_jobs WHERE suspended = 1")
                .fetch_one(pool)
                .await?
        });
        let count = u64::try_from(count).unwrap_or_default();
        self.waiting_jobs.store(count, Ordering::Relaxed);
        Ok(())
    }

    /// Counts the jobs of these clients that have suspended and have not ended. Where no job of the store waits, no query is
    /// made.
    pub(super) async fn count_waiting_of(
        &self,
        clients: &HashSet<&ClientKey>,
    ) -> Result<HashMap<String, Waiting>, StoreError> {
        if self.waiting_jobs() == 0 {
            return Ok(HashMap::new());
        }
        let counts: Vec<(String, i64, i64)> = on_pool!(&self.database.readers, pool => {
            let mut select = QueryBuilder::new(
                "SELECT client, count(*), CAST(sum(bytes) AS BIGINT) FROM sandpiper_tool_jobs \
                 WHERE suspended = 1 AND client IN (",
            );
            let mut list = select.separated(", ");
            for client in clients {
                list.push_bind(client.as_str());
            }
            select.push(") GROUP BY client").build_query_as().fetch_all(pool).await?
        });
        let counts = counts.into_iter().map(|(client, jobs, bytes)| {
            let waiting = Waiting {
                jobs: u64::try_from(jobs).unwrap_or_default(),
                bytes: u64::try_from(bytes).unwrap_or_default(),
            };
            (client, waiting)
        });
        Ok(counts.collect())
    }

    pub(super) fn end_waiting_job(&self, client: &ClientKey, execution_bytes: u64) {
        self.clients.end_waiting_job(client, execution_bytes);
        self.total.add_execution(execution_bytes);
    }
}
