//! How many jobs each client has open, for its bound and for the order in which jobs are run.
//!
//! Counted by the database, at most once a second for a client; in between what this node accepts is added. So several
//! nodes may together pass a bound by what they accept in a second.

use super::changes::as_i64;
use super::database::on_database;
use super::{Shared, as_millis};
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
/// How long a client is remembered that submits nothing.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);
/// A client with so many jobs open stands where it comes; one with fewer stands further ahead.
const NO_CREDIT_AT: u64 = 1_000;
/// How far ahead the first job of a client stands: as if it had come so much earlier.
const CREDIT_MAX: Duration = Duration::from_hours(1);

#[derive(Debug, Clone, Copy)]
struct Open {
    jobs: u64,
    counted: Instant,
    /// Where its last job stands in line, milliseconds since 1970.
    last: i64,
}

/// A job that its client may have open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Turn {
    /// Where it stands in line, milliseconds since 1970; `None` where it comes.
    pub(super) since: Option<i64>,
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

    /// How many jobs the client has open as far as is known, however long ago it was counted.
    fn known(&self, client: &ClientKey) -> Option<u64> {
        self.0.get(client).map(|open| open.jobs)
    }

    fn counted(&self, client: &ClientKey, jobs: u64) {
        let counted = Instant::now();
        let mut open = self.0.entry(client.clone()).or_insert(Open {
            jobs,
            counted,
            last: 0,
        });
        open.jobs = jobs;
        open.counted = counted;
    }

    /// One more, made at this moment: where it stands in line. Never ahead of those before it.
    fn accepted(&self, client: &ClientKey, at: i64) -> Turn {
        let Some(mut open) = self.0.get_mut(client) else {
            return Turn { since: None };
        };
        let credit = credit(open.jobs);
        let since = at.saturating_sub(as_millis(credit));
        let since = if open.jobs == 0 {
            since
        } else {
            since.max(open.last)
        };
        open.jobs += 1;
        open.last = since;
        Turn {
            // The database's clock says when now is.
            since: (!credit.is_zero()).then_some(since),
        }
    }

    /// One of its jobs has ended here.
    pub(super) fn ended(&self, client: &ClientKey) {
        if let Some(mut open) = self.0.get_mut(client) {
            open.jobs = open.jobs.saturating_sub(1);
        }
    }

    /// Forgets what is believed no longer.
    pub(super) fn sweep(&self) {
        self.0
            .retain(|_, open| open.counted.elapsed() < FORGOTTEN_AFTER);
    }
}

/// How much earlier a job is taken to have come whose client has so many others open. So whoever has much waiting waits
/// behind those who have little.
fn credit(open: u64) -> Duration {
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
    /// Where each job stands in line; an error where its client has as many open as it may, those before it here included.
    pub(super) async fn turns(
        &self,
        jobs: impl Iterator<Item = &NewJob> + Clone,
    ) -> Result<Vec<Result<Turn, StoreError>>, StoreError> {
        let most = u64::try_from(self.options.client_jobs_max).unwrap_or(u64::MAX);
        let unknown: HashSet<&ClientKey> = jobs
            .clone()
            .map(|job| &job.client)
            .filter(|client| self.clients.open(client, most).is_none())
            .collect();
        if !unknown.is_empty() {
            self.count_open(&unknown, most.max(NO_CREDIT_AT)).await?;
        }
        let each = jobs.map(|job| match self.clients.known(&job.client) {
            Some(open) if open >= most => Err(StoreError::ClientFull {
                most: self.options.client_jobs_max,
            }),
            _ => {
                let at = as_i64(job.created_at.as_unix_millis());
                Ok(self.clients.accepted(&job.client, at))
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
    fn a_clients_jobs_keep_their_order_and_those_of_one_with_less_waiting_stand_ahead() {
        let clients = Clients::default();
        let [many, few] = ["many", "few"].map(ClientKey::new);
        clients.counted(&many, 0);
        clients.counted(&few, 0);
        let hour = as_millis(CREDIT_MAX);
        let since = |client: &ClientKey, at| clients.accepted(client, at).since.unwrap_or(at);
        let of_many: Vec<i64> = (0..2_000)
            .map(|number| since(&many, hour + number))
            .collect();
        assert!(of_many.is_sorted());
        assert_eq!(of_many[0], 0);
        assert_eq!(of_many[1_999], hour + 1_999);
        let later = hour + 10_000;
        assert!((of_many[0]..of_many[10]).contains(&since(&few, later)));
        // Those that have ended give no place ahead of those that have not.
        for _ in 0..1_500 {
            clients.ended(&many);
        }
        assert_eq!(since(&many, later), of_many[1_999]);
        for _ in 0..501 {
            clients.ended(&many);
        }
        assert_eq!(since(&many, later), later - hour);
    }

    #[test]
    fn the_more_a_client_has_open_the_later_its_next_job_comes() {
        assert_eq!(credit(0), CREDIT_MAX);
        assert!(credit(1) < credit(0));
        assert!(credit(999) > Duration::ZERO);
        assert_eq!(credit(1_000), Duration::ZERO);
        assert_eq!(credit(u64::MAX), Duration::ZERO);
    }
}
