//! Bounds of open jobs and stored bytes, for each client and for the store.
//!
//! A job takes bytes in the database, for its request, log and execution, until a sweep deletes them. Triggers of the
//! database keep the account (`migrations/4.*.sql`), so every change counts, whichever program makes it: this node, another
//! node, an earlier version, or a program of somebody else. On Postgres each statement inserts a row with its difference,
//! so that no statement waits for another; a sweep folds the rows of a client into one.
//!
//! Two bounds use the account. A submit is rejected if its job would exceed the bound of its client or of the store. And a
//! job that was accepted does not start while stored executions fill a bound: the job waits until enough of them
//! have expired. With several nodes the bounds can be exceeded, at most by the jobs
//! that the nodes accept within one second, and by the output of the jobs that other nodes run in that second.

use super::clients::{ClientUsage, Clients, NO_HEAD_START_AT, QueuePosition};
use super::database::Database;
use super::numbers::{as_i64, unix_millis};
use super::options::DurableOptions;
use super::pool::{Pool, on_pool};
use super::reservations::{Bound, Reservation, Reservations};
use super::stored::{StoredBytes, TotalBytes};
use crate::{StoreError, WaitingBounds};
use sandpiper_domain::{ClientKey, Timestamp};
use sqlx::{PgPool, QueryBuilder};
use std::collections::{HashMap, HashSet};
use std::sync::atomic::AtomicU64;
use std::time::Duration;

const FOLDED_AT_A_TIME: i64 = 500;
/// Key of an advisory lock that no other program takes: "sandbyte" in ASCII.
const FOLD_LOCK: i64 = 0x7361_6e64_6279_7465;
/// Time for which a job without room for its execution is postponed: a base, an addition for each open job of the
/// client, so that many jobs cost little, and a maximum.
const POSTPONED_FOR: Duration = Duration::from_secs(5);
const POSTPONED_FOR_EACH: Duration = Duration::from_millis(5);
const POSTPONED_FOR_MAX: Duration = Duration::from_secs(300);
/// Shortest time after which a rejected submit may be retried.
const RETRY_AFTER_MIN: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Quotas {
    pub(super) database: Database,
    pub(super) bounds: Bounds,
    pub(super) clients: Clients,
    pub(super) total: TotalBytes,
    /// Jobs of all clients that have suspended and have not ended, at the last count.
    pub(super) waiting_jobs: AtomicU64,
    reservations: Reservations,
}

#[derive(Debug)]
pub(super) struct Bounds {
    client_jobs: usize,
    client_bytes: u64,
    bytes: u64,
    ttl: Duration,
    pub(super) waiting: WaitingBounds,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate<'a> {
    pub(super) client: &'a ClientKey,
    pub(super) created_at: Timestamp,
    /// Bytes of the request as it is stored.
    pub(super) bytes: u64,
    pub(super) has_tools: bool,
}

/// The room for the output of one more execution.
#[derive(Debug)]
pub(super) enum Room<'a> {
    /// There is room, for as long as this is held.
    Reserved(Reservation<'a>),
    /// Running executions may fill the room; they may also need less than they have reserved.
    Soon,
    /// There is no room before stored records expire.
    Later,
}

impl Quotas {
    pub(super) fn new(database: Database, options: &DurableOptions) -> Self {
        Self {
            database,
            bounds: Bounds {
                client_jobs: options.client_jobs_max,
                client_bytes: options.client_bytes,
                bytes: options.bytes_max,
                ttl: options.ttl,
                waiting: options.waiting,
            },
            clients: Clients::default(),
            total: TotalBytes::default(),
            // Not counted yet: there may be some.
            waiting_jobs: AtomicU64::new(1),
            reservations: Reservations::default(),
        }
    }

    /// Returns the bytes that are stored, as last counted, and their bound.
    pub(super) fn bytes(&self) -> (u64, u64) {
        (self.total.stored().bytes, self.bounds.bytes)
    }

    /// Returns the queue position of each candidate, or the bound that it exceeds together with the candidates before it.
    pub(super) async fn add_jobs(
        &self,
        candidates: &[Candidate<'_>],
    ) -> Result<Vec<Result<QueuePosition, StoreError>>, StoreError> {
        let mut wanted: HashMap<&ClientKey, u64> = HashMap::new();
        let mut all_wanted = 0_u64;
        for candidate in candidates {
            let of_client = wanted.entry(candidate.client).or_default();
            *of_client = of_client.saturating_add(candidate.bytes);
            all_wanted = all_wanted.saturating_add(candidate.bytes);
        }
        let (jobs_max, bytes_max) = (self.client_jobs_max(), self.bounds.client_bytes);
        let uncounted: HashSet<&ClientKey> = wanted
            .into_iter()
            .filter(|(client, bytes)| {
                let would_reject = |usage: &ClientUsage| {
                    usage.open_jobs >= jobs_max
                        || usage.stored.bytes.saturating_add(*bytes) > bytes_max
                };
                !self.clients.is_counted(client, would_reject)
            })
            .map(|(client, _)| client)
            .collect();
        if !uncounted.is_empty() {
            self.count_clients(&uncounted).await?;
        }
        let bytes_max = self.bounds.bytes;
        let would_reject =
            |stored: &StoredBytes| stored.bytes.saturating_add(all_wanted) > bytes_max;
        // Only the writer calls this, before it adds a batch, so that no batch overlaps the count.
        if self.total.is_old(would_reject) {
            let (stored, next_expiry) = self.read_total().await?;
            self.total.set(stored, next_expiry);
        }
        Ok(candidates.iter().map(|one| self.add_job(*one)).collect())
    }

    fn add_job(&self, candidate: Candidate<'_>) -> Result<QueuePosition, StoreError> {
        let Candidate { client, bytes, .. } = candidate;
        if let Some(usage) = self.clients.usage(client) {
            if usage.open_jobs >= self.client_jobs_max() {
                return Err(StoreError::ClientFull {
                    most: self.bounds.client_jobs,
                });
            }
            if usage.stored.bytes.saturating_add(bytes) > self.bounds.client_bytes {
                return Err(StoreError::ClientBytesFull {
                    most: self.bounds.client_bytes,
                    retry_after: self.retry_after(),
                });
            }
        }
        if candidate.has_tools {
            self.check_waiting(client)?;
        }
        if self.total.stored().bytes.saturating_add(bytes) > self.bounds.bytes {
            return Err(StoreError::Full {
                retry_after: self.retry_after(),
            });
        }
        self.total.add_request(bytes);
        let created_at = unix_millis(candidate.created_at);
        Ok(self.clients.add_job(client, created_at, bytes))
    }

    pub(super) fn end_job(&self, client: &ClientKey, execution_bytes: u64) {
        self.clients.end_job(client, execution_bytes);
        self.total.add_execution(execution_bytes);
    }

    fn client_jobs_max(&self) -> u64 {
        u64::try_from(self.bounds.client_jobs).unwrap_or(u64::MAX)
    }

    /// Counts the open jobs, up to the highest number that matters, and the bytes of each client.
    async fn count_clients(&self, clients: &HashSet<&ClientKey>) -> Result<(), StoreError> {
        let waiting = self.count_waiting_of(clients).await?;
        let most_waiting = waiting.values().map(|waiting| waiting.jobs).max();
        let limit = self.client_jobs_max().max(NO_HEAD_START_AT);
        let limit = limit.saturating_add(most_waiting.unwrap_or_default());
        let counts: Vec<(String, i64, i64, i64)> = on_pool!(&self.database.readers, pool => {
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
        for (client, open_jobs, bytes, expiring) in counts {
            let open_jobs = u64::try_from(open_jobs).unwrap_or_default();
            let waiting = waiting.get(&client).copied().unwrap_or_default();
            let open_jobs = open_jobs.saturating_sub(waiting.jobs);
            let stored = StoredBytes::of_row(bytes, expiring);
            self.clients
                .set(&ClientKey::new(&client), open_jobs, waiting, stored);
        }
        Ok(())
    }

    pub(super) fn note_batch_change(&self) {
        self.total.note_batch_change();
    }

    /// Counts the bytes of all clients. While a batch of submits is being written the last count stays, as the
    /// writer counts for itself.
    pub(super) async fn count_between_batches(&self) -> Result<(), StoreError> {
        if let Some(mark) = self.total.mark() {
            let (stored, next_expiry) = self.read_total().await?;
            self.total.set_since(mark, stored, next_expiry);
        }
        Ok(())
    }

    async fn read_total(&self) -> Result<(StoredBytes, Option<i64>), StoreError> {
        let now = unix_millis(Timestamp::now());
        let (bytes, expiring, next_expiry): (i64, i64, Option<i64>) = on_pool!(&self.database.readers, pool => {
            sqlx::query_as(
                "SELECT CAST(coalesce(sum(bytes), 0) AS BIGINT), CAST(coalesce(sum(expiring), 0) AS BIGINT), \
                 (SELECT expires_at FROM sandpiper_jobs WHERE expires_at > $1 AND state <> 'expired' \
                  ORDER BY expires_at LIMIT 1) \
                 FROM sandpiper_bytes",
            )
            .bind(now)
            .fetch_one(pool)
            .await?
        });
        Ok((StoredBytes::of_row(bytes, expiring), next_expiry))
    }

    /// Returns the time to the expiry of the next record, which may make room.
    fn retry_after(&self) -> Duration {
        let now = unix_millis(Timestamp::now());
        let next = self.total.next_expiry();
        let left = next.map(|at| u64::try_from(at.saturating_sub(now)).unwrap_or_default());
        left.map_or(self.bounds.ttl, Duration::from_millis)
            .clamp(RETRY_AFTER_MIN, self.bounds.ttl.max(RETRY_AFTER_MIN))
    }

    /// Reserves room for the output of one more execution of this client, if stored executions leave room. Only bytes that
    /// expire count here: an operator who lowers a bound below what is queued stops no job for good.
    pub(super) async fn reserve(
        &self,
        client: &ClientKey,
        output_bytes: u32,
    ) -> Result<Room<'_>, StoreError> {
        let (client_max, all_max) = (self.bounds.client_bytes, self.bounds.bytes);
        if !self
            .clients
            .is_counted(client, |usage| usage.stored.expiring >= client_max)
        {
            self.count_clients(&HashSet::from([client])).await?;
        }
        if self.total.is_old(|stored| stored.expiring >= all_max) {
            self.count_between_batches().await?;
        }
        let usage = self.clients.usage(client);
        let of_client = Bound {
            stored: usage.map_or(0, |usage| usage.stored.expiring),
            bytes_max: client_max,
        };
        let of_all = Bound {
            stored: self.total.stored().expiring,
            bytes_max: all_max,
        };
        if of_client.stored >= client_max || of_all.stored >= all_max {
            return Ok(Room::Later);
        }
        let (reservation, before) = self.reservations.reserve(client, u64::from(output_bytes));
        Ok(if reservation.fits(before, of_client, of_all) {
            Room::Reserved(reservation)
        } else {
            Room::Soon
        })
    }

    pub(super) fn postponed_for(&self, client: &ClientKey) -> Duration {
        let open_jobs = self
            .clients
            .usage(client)
            .map_or(0, |usage| usage.open_jobs);
        let open_jobs = u32::try_from(open_jobs).unwrap_or(u32::MAX);
        POSTPONED_FOR
            .saturating_add(POSTPONED_FOR_EACH.saturating_mul(open_jobs))
            .min(POSTPONED_FOR_MAX)
    }

    pub(super) fn forget_clients(&self) {
        self.clients.sweep();
    }

    pub(super) async fn fold(&self) -> Result<(), StoreError> {
        match &self.database.pool {
            Pool::Sqlite(pool) => {
                sqlx::query("DELETE FROM sandpiper_bytes WHERE bytes = 0 AND expiring = 0")
                    .execute(pool)
                    .await?;
            }
            Pool::Postgres(pool) => fold_rows(pool).await?,
        }
        Ok(())
    }
}

/// Folds the rows of each client into one, and deletes rows that sum to nothing.
async fn fold_rows(pool: &PgPool) -> Result<(), sqlx::Error> {
    let mut transaction = riverqueue::database::begin_postgres(pool).await?;
    // Two folds at a time would wait for each other.
    let (is_alone,): (bool,) = sqlx::query_as("SELECT pg_try_advisory_xact_lock($1)")
        .bind(FOLD_LOCK)
        .fetch_one(&mut *transaction)
        .await?;
    if is_alone {
        sqlx::query(
            "WITH gone AS (DELETE FROM sandpiper_bytes WHERE client IN \
                (SELECT client FROM sandpiper_bytes GROUP BY client \
                 HAVING count(*) > 1 OR (sum(bytes) = 0 AND sum(expiring) = 0) LIMIT $1) \
                RETURNING client, bytes, expiring) \
             INSERT INTO sandpiper_bytes (client, bytes, expiring) \
             SELECT client, sum(bytes), sum(expiring) FROM gone GROUP BY client \
             HAVING sum(bytes) <> 0 OR sum(expiring) <> 0",
        )
        .bind(FOLDED_AT_A_TIME)
        .execute(&mut *transaction)
        .await?;
    }
    transaction.commit().await
}
