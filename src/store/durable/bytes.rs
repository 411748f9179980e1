//! How many bytes jobs take in the database: request, log and execution of each, until the sweep takes them away.
//!
//! Triggers of the database keep the account (`migrations/4.*.sql`), so every change counts, whoever makes it: this node,
//! another one, one of an earlier version, a program of somebody else. On Postgres each statement adds a row with what it
//! changed, for which no other statement waits; a sweep makes one row of those of a client.
//!
//! Two bounds stand on it. A job is refused that would pass the bound of its client, or of the store. And a job that was
//! accepted does not begin while executions that are stored fill a bound: it waits until some of them expire, which they
//! always do. Beyond the bounds lies what several nodes accept within a second, and what other nodes run in it.

use super::changes::as_i64;
use super::clients::{COUNTED_FOR, REFUSED_FOR};
use super::database::{Database, in_transaction, on_database};
use super::{Shared, lock};
use crate::store::StoreError;
use dashmap::DashMap;
use sandpiper_domain::{ClientKey, Timestamp};
use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Clients of whose rows one statement makes one.
const FOLDED_AT_A_TIME: i64 = 500;
/// A number that nobody else locks: "sandbyte" in ASCII.
const FOLD_LOCK: i64 = 0x7361_6e64_6279_7465;
/// When a job for whose execution there is no room is looked at again; for each job that its client has open a moment more,
/// so that looking at many costs little.
const NO_ROOM_FOR: Duration = Duration::from_secs(5);
const NO_ROOM_FOR_EACH: Duration = Duration::from_millis(5);
const NO_ROOM_FOR_MAX: Duration = Duration::from_secs(300);
/// Shortest time after which it is worth trying again.
const RETRY_AFTER_MIN: Duration = Duration::from_secs(1);

/// Bytes of jobs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Stored {
    /// All of them.
    pub(super) bytes: u64,
    /// Those of jobs that have their final state, which expire.
    pub(super) expiring: u64,
}

impl Stored {
    pub(super) fn of_row(bytes: i64, expiring: i64) -> Self {
        Self {
            bytes: u64::try_from(bytes).unwrap_or_default(),
            expiring: u64::try_from(expiring).unwrap_or_default(),
        }
    }

    pub(super) fn accepted(&mut self, request_bytes: u64) {
        self.bytes = self.bytes.saturating_add(request_bytes);
    }

    pub(super) fn ended(&mut self, execution_bytes: u64) {
        self.bytes = self.bytes.saturating_add(execution_bytes);
        self.expiring = self.expiring.saturating_add(execution_bytes);
    }
}

/// What all clients together have stored, as it was counted last.
#[derive(Debug, Default)]
pub(super) struct Total(Mutex<Counted>);

#[derive(Debug, Clone, Copy, Default)]
struct Counted {
    stored: Stored,
    /// When the next record expires, milliseconds since 1970.
    next_expiry: Option<i64>,
    at: Option<Instant>,
}

impl Total {
    pub(super) fn stored(&self) -> Stored {
        lock(&self.0).stored
    }

    pub(super) fn accepted(&self, request_bytes: u64) {
        lock(&self.0).stored.accepted(request_bytes);
    }

    pub(super) fn ended(&self, execution_bytes: u64) {
        lock(&self.0).stored.ended(execution_bytes);
    }

    /// Whether the count is too old to be believed; one that would refuse is believed for less long, because records may
    /// have gone since.
    fn is_old(&self, would_refuse: impl Fn(&Stored) -> bool) -> bool {
        let counted = *lock(&self.0);
        let believed_for = if would_refuse(&counted.stored) {
            REFUSED_FOR
        } else {
            COUNTED_FOR
        };
        counted.at.is_none_or(|at| at.elapsed() >= believed_for)
    }

    fn next_expiry(&self) -> Option<i64> {
        lock(&self.0).next_expiry
    }
}

/// Whether there is room for what one more execution brings back.
#[derive(Debug)]
pub(super) enum Room<'a> {
    /// There is, for as long as this is kept.
    Reserved(Reservation<'a>),
    /// What runs may bring back all that there is room for; it may also bring back less.
    Soon,
    /// Not before some of what is stored expires.
    Later,
}

/// Room that is kept for what runs on this node.
#[derive(Debug, Default)]
pub(super) struct Reservations {
    clients: DashMap<ClientKey, u64>,
    all: AtomicU64,
}

/// What was reserved already.
#[derive(Debug, Clone, Copy)]
struct Others {
    of_client: Reserved,
    of_all: Reserved,
}

#[derive(Debug, Clone, Copy)]
struct Reserved(u64);

impl Reserved {
    /// The first one always fits where anything is left, or one that may bring back more than the bound would never run.
    fn fits(self, stored: u64, bytes: u64, bound: u64) -> bool {
        self.0 == 0 || stored.saturating_add(self.0).saturating_add(bytes) <= bound
    }
}

/// Given back when it is dropped.
#[derive(Debug)]
pub(super) struct Reservation<'a> {
    all: &'a Reservations,
    client: ClientKey,
    bytes: u64,
}

impl Reservations {
    fn reserve(&self, client: &ClientKey, bytes: u64) -> (Reservation<'_>, Others) {
        let of_client = {
            let mut reserved = self.clients.entry(client.clone()).or_default();
            let before = *reserved;
            *reserved += bytes;
            Reserved(before)
        };
        let of_all = Reserved(self.all.fetch_add(bytes, Ordering::Relaxed));
        let reservation = Reservation {
            all: self,
            client: client.clone(),
            bytes,
        };
        (reservation, Others { of_client, of_all })
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        self.all.all.fetch_sub(self.bytes, Ordering::Relaxed);
        if let Some(mut reserved) = self.all.clients.get_mut(&self.client) {
            *reserved -= self.bytes;
        }
        self.all
            .clients
            .remove_if(&self.client, |_, reserved| *reserved == 0);
    }
}

impl Shared {
    /// Counts what is stored, unless that was done a moment ago.
    pub(super) async fn refresh_total(
        &self,
        would_refuse: impl Fn(&Stored) -> bool,
    ) -> Result<(), StoreError> {
        if self.total.is_old(would_refuse) {
            self.count_total().await?;
        }
        Ok(())
    }

    pub(super) async fn count_total(&self) -> Result<(), StoreError> {
        let now = as_i64(Timestamp::now().as_unix_millis());
        let (bytes, expiring, next_expiry): (i64, i64, Option<i64>) = on_database!(&self.readers, pool => {
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
        *lock(&self.total.0) = Counted {
            stored: Stored::of_row(bytes, expiring),
            next_expiry,
            at: Some(Instant::now()),
        };
        Ok(())
    }

    /// When the next record expires, which is when there may be room.
    pub(super) fn room_after(&self) -> Duration {
        let now = as_i64(Timestamp::now().as_unix_millis());
        let next = self.total.next_expiry();
        let left = next.map(|at| u64::try_from(at.saturating_sub(now)).unwrap_or_default());
        left.map_or(self.options.ttl, Duration::from_millis)
            .clamp(RETRY_AFTER_MIN, self.options.ttl.max(RETRY_AFTER_MIN))
    }

    /// Reserves what one more execution of this client may bring back, if those that are stored leave room for it. An operator
    /// who lowers a bound below what waits stops nothing for good: only what expires is counted here.
    pub(super) async fn room_for(
        &self,
        client: &ClientKey,
        output_bytes: u32,
    ) -> Result<Room<'_>, StoreError> {
        let (of_client, of_all) = (self.options.client_bytes, self.options.bytes_max);
        if !self
            .clients
            .is_counted(client, |open| open.stored.expiring >= of_client)
        {
            self.count_open(&HashSet::from([client])).await?;
        }
        self.refresh_total(|stored| stored.expiring >= of_all)
            .await?;
        let stored = self.clients.known(client).map(|open| open.stored);
        let by_client = stored.unwrap_or_default().expiring;
        let by_all = self.total.stored().expiring;
        if by_client >= of_client || by_all >= of_all {
            return Ok(Room::Later);
        }
        let (reservation, others) = self.reservations.reserve(client, u64::from(output_bytes));
        Ok(
            if others
                .of_client
                .fits(by_client, reservation.bytes, of_client)
                && others.of_all.fits(by_all, reservation.bytes, of_all)
            {
                Room::Reserved(reservation)
            } else {
                Room::Soon
            },
        )
    }

    /// How long a job waits for whose execution there is no room, before it is looked at again.
    pub(super) fn no_room_for(&self, client: &ClientKey) -> Duration {
        let open = self.clients.known(client).map_or(0, |open| open.jobs);
        let open = u32::try_from(open).unwrap_or(u32::MAX);
        NO_ROOM_FOR
            .saturating_add(NO_ROOM_FOR_EACH.saturating_mul(open))
            .min(NO_ROOM_FOR_MAX)
    }

    /// Makes one row of the account of those of each client, and none of what comes to nothing.
    pub(super) async fn fold_bytes(&self) -> Result<(), StoreError> {
        match &self.database {
            Database::Sqlite(pool) => {
                sqlx::query("DELETE FROM sandpiper_bytes WHERE bytes = 0 AND expiring = 0")
                    .execute(pool)
                    .await?;
            }
            Database::Postgres(_) => in_transaction!(&self.database, transaction => {
                // Two that fold at a time would wait for each other.
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
            }),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_believed_for_a_second_and_for_less_where_it_would_refuse() {
        let total = Total::default();
        assert!(total.is_old(|_| false), "nothing was counted yet");
        let counted_ago = |ago: Duration| {
            let at = Instant::now().checked_sub(ago);
            lock(&total.0).at = at;
        };
        counted_ago(REFUSED_FOR * 2);
        assert!(!total.is_old(|_| false));
        assert!(total.is_old(|_| true));
        counted_ago(COUNTED_FOR);
        assert!(total.is_old(|_| false));
    }

    #[test]
    fn room_is_reserved_for_the_first_and_for_as_many_more_as_fit() {
        let reservations = Reservations::default();
        let client = ClientKey::new("a");
        let (first, others) = reservations.reserve(&client, 100);
        assert!(others.of_client.fits(9, 100, 10), "the first always fits");
        let (second, others) = reservations.reserve(&client, 100);
        assert!(others.of_client.fits(50, 100, 250));
        assert!(!others.of_client.fits(51, 100, 250));
        let (of_another, others) = reservations.reserve(&ClientKey::new("b"), 1);
        assert!(others.of_client.fits(0, 1, 1));
        assert!(!others.of_all.fits(0, 1, 200));
        drop((first, second, of_another));
        assert_eq!(reservations.all.load(Ordering::Relaxed), 0);
        assert!(reservations.clients.is_empty());
    }

    #[test]
    fn what_is_accepted_and_what_ends_here_counts_before_the_next_count() {
        let total = Total::default();
        total.accepted(10);
        total.ended(7);
        let stored = Stored {
            bytes: 17,
            expiring: 7,
        };
        assert_eq!(total.stored(), stored);
        // What the account says wrongly is never less than nothing.
        assert_eq!(Stored::of_row(-1, -1), Stored::default());
    }
}
