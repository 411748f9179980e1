//! How many jobs each client has open and how many bytes it has stored, for its bounds and for the order in which jobs are
//! run.
//!
//! Counted by the database, at most once a second for a client; in between what this node accepts is added. So several
//! nodes may together pass a bound by what they accept in a second.

use super::admission::Candidate;
use super::bytes::Stored;
use super::changes::as_i64;
use super::database::on_database;
use super::{Shared, as_millis};
use crate::store::StoreError;
use dashmap::DashMap;
use riverqueue::{BoxError, Hook, InsertContext, JobState, jiff};
use sandpiper_domain::ClientKey;
use sqlx::QueryBuilder;
use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

/// How long a count is believed.
pub(super) const COUNTED_FOR: Duration = Duration::from_secs(1);
/// How long it is believed when it would refuse: jobs may have ended since.
pub(super) const REFUSED_FOR: Duration = Duration::from_millis(100);
/// How long a client is remembered that submits nothing.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);
/// A client with so many jobs open stands where it comes; one with fewer stands further ahead.
const NO_CREDIT_AT: u64 = 1_000;
/// How far ahead the first job of a client stands: as if it had come so much earlier.
const CREDIT_MAX: Duration = Duration::from_hours(1);

/// What a client has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Open {
    pub(super) jobs: u64,
    pub(super) stored: Stored,
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
    /// Whether what the client has was counted a moment ago; what `would_refuse` is believed for less long.
    pub(super) fn is_counted(
        &self,
        client: &ClientKey,
        would_refuse: impl Fn(&Open) -> bool,
    ) -> bool {
        self.0.get(client).is_some_and(|open| {
            let believed_for = if would_refuse(&open) {
                REFUSED_FOR
            } else {
                COUNTED_FOR
            };
            open.counted.elapsed() < believed_for
        })
    }

    /// What the client has as far as is known, however long ago it was counted.
    pub(super) fn known(&self, client: &ClientKey) -> Option<Open> {
        self.0.get(client).map(|open| *open)
    }

    fn counted(&self, client: &ClientKey, jobs: u64, stored: Stored) {
        let counted = Instant::now();
        let mut open = self.0.entry(client.clone()).or_insert(Open {
            jobs,
            stored,
            counted,
            last: 0,
        });
        open.jobs = jobs;
        open.stored = stored;
        open.counted = counted;
    }

    /// One more, made at this moment: where it stands in line. Never ahead of those before it.
    fn accepted(&self, client: &ClientKey, at: i64, bytes: u64) -> Turn {
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
        open.stored.accepted(bytes);
        open.last = since;
        Turn {
            // The database's clock says when now is.
            since: (!credit.is_zero()).then_some(since),
        }
    }

    /// One of its jobs has ended here, with an execution of so many bytes.
    pub(super) fn ended(&self, client: &ClientKey, bytes: u64) {
        if let Some(mut open) = self.0.get_mut(client) {
            open.jobs = open.jobs.saturating_sub(1);
            open.stored.ended(bytes);
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
    /// Where each job stands in line; an error where its client has as much as it may, or the store, those before it here
    /// included.
    pub(super) async fn turns(
        &self,
        candidates: &[Candidate],
    ) -> Result<Vec<Result<Turn, StoreError>>, StoreError> {
        let mut wanted: HashMap<&ClientKey, u64> = HashMap::new();
        let mut all_wanted = 0_u64;
        for candidate in candidates {
            let of_client = wanted.entry(&candidate.job.client).or_default();
            *of_client = of_client.saturating_add(candidate.bytes());
            all_wanted = all_wanted.saturating_add(candidate.bytes());
        }
        let (most, most_bytes) = (self.client_jobs_max(), self.options.client_bytes);
        let unknown: HashSet<&ClientKey> = wanted
            .into_iter()
            .filter(|(client, bytes)| {
                let would_refuse = |open: &Open| {
                    open.jobs >= most || open.stored.bytes.saturating_add(*bytes) > most_bytes
                };
                !self.clients.is_counted(client, would_refuse)
            })
            .map(|(client, _)| client)
            .collect();
        if !unknown.is_empty() {
            self.count_open(&unknown).await?;
        }
        let bytes_max = self.options.bytes_max;
        self.refresh_total(|stored| stored.bytes.saturating_add(all_wanted) > bytes_max)
            .await?;
        Ok(candidates.iter().map(|one| self.turn(one)).collect())
    }

    fn turn(&self, candidate: &Candidate) -> Result<Turn, StoreError> {
        let (client, bytes) = (&candidate.job.client, candidate.bytes());
        if let Some(open) = self.clients.known(client) {
            if open.jobs >= self.client_jobs_max() {
                return Err(StoreError::ClientFull {
                    most: self.options.client_jobs_max,
                });
            }
            if open.stored.bytes.saturating_add(bytes) > self.options.client_bytes {
                return Err(StoreError::ClientBytesFull {
                    most: self.options.client_bytes,
                    retry_after: self.room_after(),
                });
            }
        }
        if self.total.stored().bytes.saturating_add(bytes) > self.options.bytes_max {
            return Err(StoreError::Full {
                retry_after: self.room_after(),
            });
        }
        self.total.accepted(bytes);
        let at = as_i64(candidate.job.created_at.as_unix_millis());
        Ok(self.clients.accepted(client, at, bytes))
    }

    fn client_jobs_max(&self) -> u64 {
        u64::try_from(self.options.client_jobs_max).unwrap_or(u64::MAX)
    }

    /// Counts jobs no further than is of use.
    pub(super) async fn count_open(&self, clients: &HashSet<&ClientKey>) -> Result<(), StoreError> {
        let limit = self.client_jobs_max().max(NO_CREDIT_AT);
        let counts: Vec<(String, i64, i64, i64)> = on_database!(&self.readers, pool => {
            let mut select = QueryBuilder::new(
                "SELECT c.column1, (SELECT count(*) FROM (SELECT 1 FROM sandpiper_jobs \
                 WHERE client = c.column1 AND state = 'open' LIMIT ",
            );
            select.push_bind(as_i64(limit)).push(
                ") o), \
                 (SELECT CAST(coalesce(sum(bytes), 0) AS BIGINT) FROM sandpiper_bytes b WHERE b.client = c.column1), \
                 (SELECT CAST(coalesce(sum(expiring), 0) AS BIGINT) FROM sandpiper_bytes b WHERE b.client = c.column1) \
                 FROM (",
            );
            select.push_values(clients, |mut row, client| {
                row.push_bind(client.as_str());
            });
            select.push(") c").build_query_as().fetch_all(pool).await?
        });
        for (client, jobs, bytes, expiring) in counts {
            let jobs = u64::try_from(jobs).unwrap_or_default();
            let stored = Stored::of_row(bytes, expiring);
            self.clients.counted(&ClientKey::new(&client), jobs, stored);
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
        clients.counted(&many, 0, Stored::default());
        clients.counted(&few, 0, Stored::default());
        let hour = as_millis(CREDIT_MAX);
        let since = |client: &ClientKey, at| clients.accepted(client, at, 1).since.unwrap_or(at);
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
            clients.ended(&many, 1);
        }
        assert_eq!(since(&many, later), of_many[1_999]);
        for _ in 0..501 {
            clients.ended(&many, 1);
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
