//! How many jobs each client has open, for its bound and for the order in which jobs are run.
//!
//! Counted by the database, at most once a second for a client; in between what this node accepts is added. So several
//! nodes may together pass a bound by what they accept in a second.

use super::Shared;
use super::changes::as_i64;
use super::database::on_database;
use crate::domain::ClientKey;
use crate::store::{NewJob, StoreError};
use dashmap::DashMap;
use riverqueue::{BoxError, Hook, InsertContext, JobState, jiff};
use sqlx::QueryBuilder;
use std::collections::HashSet;
use std::time::{Duration, Instant};

/// How long a count is believed.
const COUNTED_FOR: Duration = Duration::from_secs(1);
/// How long it is believed when it would refuse: jobs may have ended since.
const REFUSED_FOR: Duration = Duration::from_millis(100);
/// A client with so many jobs open stands where it comes; one with fewer stands further ahead.
const NO_CREDIT_AT: u64 = 1_000;
/// How far ahead the first job of a client stands: as if it had come so much earlier.
const CREDIT_MAX: Duration = Duration::from_hours(1);

#[derive(Debug, Clone, Copy)]
struct Open {
    jobs: u64,
    counted: Instant,
}

#[derive(Debug, Default)]
pub(super) struct Clients(DashMap<ClientKey, Open>);

impl Clients {
    /// How many jobs the client has open, if that is known well enough.
    fn open(&self, client: &ClientKey, most: u64) -> Option<u64> {
        let open = *self.0.get(client)?;
        let believed_for = if open.jobs >= most {
            REFUSED_FOR
        } else {
            COUNTED_FOR
        };
        (open.counted.elapsed() < believed_for).then_some(open.jobs)
    }

    fn counted(&self, client: &ClientKey, jobs: u64) {
        let open = Open {
            jobs,
            counted: Instant::now(),
        };
        self.0.insert(client.clone(), open);
    }

    /// One more.
    pub(super) fn accepted(&self, client: &ClientKey) {
        if let Some(mut open) = self.0.get_mut(client) {
            open.jobs += 1;
        }
    }

    /// Forgets what is believed no longer.
    pub(super) fn sweep(&self) {
        self.0
            .retain(|_, open| open.counted.elapsed() < COUNTED_FOR);
    }
}

/// How much earlier a job is taken to have come whose client has so many others open. So whoever has much waiting waits
/// behind those who have little.
pub(super) fn credit(open: u64) -> Duration {
    let left = NO_CREDIT_AT.saturating_sub(open);
    CREDIT_MAX.mul_f64(left as f64 / NO_CREDIT_AT as f64)
}

/// Jobs whose moment has passed can be taken at once. River would leave them to its scheduler, which looks once a second.
#[derive(Debug)]
pub(super) struct DueAtOnce;

impl Hook for DueAtOnce {
    async fn insert_begin(&self, insert: &mut InsertContext) -> Result<(), BoxError> {
        let is_due = |at| at <= jiff::Timestamp::now();
        if insert.state == JobState::Scheduled && insert.opts.scheduled_at.is_some_and(is_due) {
            insert.state = JobState::Available;
        }
        Ok(())
    }
}

impl Shared {
    /// How many others the client of each job has open, those before it here included; an error where that is as many as
    /// it may.
    pub(super) async fn open_before_each(
        &self,
        jobs: impl Iterator<Item = &NewJob> + Clone,
    ) -> Result<Vec<Result<u64, StoreError>>, StoreError> {
        let most = u64::try_from(self.options.client_jobs_max).unwrap_or(u64::MAX);
        let unknown: HashSet<&ClientKey> = jobs
            .clone()
            .map(|job| &job.client)
            .filter(|client| self.clients.open(client, most).is_none())
            .collect();
        if !unknown.is_empty() {
            self.count_open(&unknown, most.max(NO_CREDIT_AT)).await?;
        }
        let each = jobs.map(|job| match self.clients.open(&job.client, most) {
            Some(open) if open >= most => Err(StoreError::ClientFull {
                most: self.options.client_jobs_max,
            }),
            open => {
                self.clients.accepted(&job.client);
                Ok(open.unwrap_or_default())
            }
        });
        Ok(each.collect())
    }

    /// Counts no further than `limit`.
    async fn count_open(
        &self,
        clients: &HashSet<&ClientKey>,
        limit: u64,
    ) -> Result<(), StoreError> {
        let counts: Vec<(String, i64)> = on_database!(&self.readers, pool => {
            let mut select = QueryBuilder::new(
                "SELECT c.column1, (SELECT count(*) FROM (SELECT 1 FROM sandpiper_jobs \
                 WHERE client = c.column1 AND state = 'open' LIMIT ",
            );
            select.push_bind(as_i64(limit)).push(") o) FROM (");
            select.push_values(clients, |mut row, client| {
                row.push_bind(client.as_str());
            });
            select.push(") c").build_query_as().fetch_all(pool).await?
        });
        for (client, jobs) in counts {
            let jobs = u64::try_from(jobs).unwrap_or_default();
            self.clients.counted(&ClientKey::new(&client), jobs);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_more_a_client_has_open_the_later_its_next_job_comes() {
        assert_eq!(credit(0), CREDIT_MAX);
        assert!(credit(1) < credit(0));
        assert!(credit(999) > Duration::ZERO);
        assert_eq!(credit(1_000), Duration::ZERO);
        assert_eq!(credit(u64::MAX), Duration::ZERO);
    }
}
