//! The nodes that use a database, and their heartbeats.
//!
//! A node sends a heartbeat every two seconds. A node without a heartbeat for six seconds is dead: other nodes run its jobs
//! with their next attempt, whatever the limits of the jobs. A node that was only taken for dead can no longer record the
//! results of those jobs.

use super::args::QUEUE_LIST;
use super::counters::Counters;
use super::database::Database;
use super::numbers::timestamp;
use super::pool::{Pool, on_pool};
use crate::{Node, Nodes, StoreError};
use parking_lot::Mutex;
use sqlx::AssertSqlSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tracing::{error, info};

pub(super) const HEARTBEAT_EVERY: Duration = Duration::from_secs(2);
/// Age of the last heartbeat of a dead node: three heartbeats.
const DEAD_AFTER_MS: i64 = 6_000;
const DEAD_AFTER: Duration = Duration::from_secs(6);
/// Age of the last heartbeat of a dead node whose row is deleted.
const FORGOTTEN_AFTER_MS: i64 = 3_600_000;
const RESCUED_AT_A_TIME: u32 = 1000;

#[derive(Debug)]
pub(super) struct NodeRegistry {
    database: Database,
    id: String,
    executors: usize,
    counters: Arc<Counters>,
    others: AtomicU64,
    heartbeats: Mutex<Heartbeats>,
}

#[derive(Debug, Clone, Copy)]
struct Heartbeats {
    /// The last one that the database has; the start before the first one.
    last: Instant,
    /// The start, or the first one after the last gap.
    steady_since: Instant,
}

impl Heartbeats {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            last: now,
            steady_since: now,
        }
    }

    /// Returns whether heartbeats are missing now.
    fn is_gap(&self) -> bool {
        self.last.elapsed() > 2 * HEARTBEAT_EVERY
    }

    /// Returns whether the other nodes have had the time to send theirs.
    fn may_rescue(&self) -> bool {
        !self.is_gap() && self.steady_since.elapsed() > DEAD_AFTER
    }
}

impl NodeRegistry {
    pub(super) fn new(
        database: Database,
        id: String,
        executors: usize,
        counters: Arc<Counters>,
    ) -> Self {
        Self {
            database,
            id,
            executors,
            counters,
            others: AtomicU64::new(0),
            heartbeats: Mutex::new(Heartbeats::new()),
        }
    }

    /// Returns whether other nodes were alive at the last heartbeat.
    pub(super) fn has_others(&self) -> bool {
        self.count_others() > 0
    }

    /// Returns the number of other nodes that were alive at the last heartbeat.
    pub(super) fn count_others(&self) -> u64 {
        self.others.load(Ordering::Relaxed)
    }

    /// Returns whether the other nodes must take this node for dead, because it could not write its heartbeats.
    pub(super) fn seems_dead(&self) -> bool {
        self.heartbeats.lock().last.elapsed() > DEAD_AFTER
    }

    /// Returns whether this node may take jobs from nodes that seem dead. After its start, after the database was away, or
    /// after this node stood still, the other nodes first get the time to send their heartbeats: the database may have been
    /// away from them too.
    pub(super) fn may_rescue(&self) -> bool {
        self.heartbeats.lock().may_rescue()
    }

    /// Sends heartbeats for ever.
    pub(super) async fn send_heartbeats(&self) {
        *self.heartbeats.lock() = Heartbeats::new();
        loop {
            match self.database.in_time(self.send_heartbeat()).await {
                Ok(()) => {
                    let mut heartbeats = self.heartbeats.lock();
                    if heartbeats.is_gap() {
                        heartbeats.steady_since = Instant::now();
                    }
                    heartbeats.last = Instant::now();
                }
                Err(cause) => {
                    Counters::increment(&self.counters.failures);
                    error!(
                        %cause,
                        "the heartbeat of this node cannot be written; it is tried again every two seconds; after six, \
                         other nodes run its jobs: check whether the database responds"
                    );
                }
            }
            tokio::time::sleep(HEARTBEAT_EVERY).await;
        }
    }

    async fn send_heartbeat(&self) -> Result<(), StoreError> {
        let now = self.database.pool.now();
        let upsert = format!(
            "INSERT INTO sandpiper_nodes (id, started_at, seen_at, executors) VALUES ($1, {now}, {now}, $2) \
             ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at"
        );
        let executors = i64::try_from(self.executors).unwrap_or(i64::MAX);
        on_pool!(&self.database.pool, pool => {
            sqlx::query(AssertSqlSafe(upsert))
                .bind(&self.id)
                .bind(executors)
                .execute(pool)
                .await?;
        });
        if self.database.is_shared() {
            let (others,): (i64,) = on_pool!(&self.database.pool, pool => {
                sqlx::query_as(AssertSqlSafe(format!(
                    "SELECT count(*) FROM sandpiper_nodes WHERE id <> $1 AND seen_at > {now} - $2"
                )))
                .bind(&self.id)
                .bind(DEAD_AFTER_MS)
                .fetch_one(pool)
                .await?
            });
            let others = u64::try_from(others).unwrap_or_default();
            self.others.store(others, Ordering::Relaxed);
        }
        Ok(())
    }

    pub(super) async fn list(&self) -> Result<Nodes, StoreError> {
        let now = self.database.pool.now();
        let select = format!(
            "SELECT id, started_at, seen_at, executors FROM sandpiper_nodes WHERE seen_at > {now} - $1 ORDER BY started_at"
        );
        // Ids sort by the time of their creation, so the first job that waits is the oldest.
        let oldest = format!(
            "SELECT {now} - (SELECT s.created_at FROM sandpiper_jobs s JOIN river_job r ON r.id = s.river_id \
             WHERE s.state = 'open' AND s.run_at IS NULL AND r.state = 'available' ORDER BY s.id LIMIT 1)"
        );
        let (rows, waited) = on_pool!(&self.database.readers, pool => {
            let rows: Vec<(String, i64, i64, i64)> = sqlx::query_as(AssertSqlSafe(select))
                .bind(DEAD_AFTER_MS)
                .fetch_all(pool)
                .await?;
            let (waited,): (Option<i64>,) = sqlx::query_as(AssertSqlSafe(oldest))
                .fetch_one(pool)
                .await?;
            (rows, waited)
        });
        let nodes = rows
            .into_iter()
            .map(|(id, started_at, seen_at, executors)| Node {
                id,
                started_at: timestamp(started_at),
                seen_at: timestamp(seen_at),
                executors: usize::try_from(executors).unwrap_or_default(),
            });
        Ok(Nodes {
            nodes: nodes.collect(),
            this: self.id.clone(),
            oldest_queued: waited
                .map(|millis| Duration::from_millis(u64::try_from(millis).unwrap_or_default())),
        })
    }

    pub(super) async fn leave(&self) -> Result<(), StoreError> {
        on_pool!(&self.database.pool, pool => {
            sqlx::query("DELETE FROM sandpiper_nodes WHERE id = $1")
                .bind(&self.id)
                .execute(pool)
                .await?;
        });
        Ok(())
    }

    /// Requeues the jobs of dead nodes, except those that were cancelled. Returns how many there were.
    pub(super) async fn rescue(&self) -> Result<u64, StoreError> {
        let Pool::Postgres(pool) = &self.database.pool else {
            return Ok(0);
        };
        let now = self.database.pool.now();
        let rescue = format!(
            "UPDATE river_job SET {}, \
                 errors = array_append(errors, jsonb_build_object('at', now(), 'attempt', attempt, \
                     'error', 'its node died', 'trace', '')) \
             WHERE id IN (SELECT id FROM river_job \
                 WHERE state = 'running' AND queue IN ({QUEUE_LIST}) \
                     AND attempted_at < clock_timestamp() - make_interval(secs => $1::bigint / 1000.0) \
                     AND NOT EXISTS (SELECT 1 FROM sandpiper_nodes n \
                         WHERE n.id = attempted_by[array_upper(attempted_by, 1)] AND n.seen_at > {now} - $1::bigint) \
                 LIMIT {RESCUED_AT_A_TIME} FOR UPDATE SKIP LOCKED)",
            self.database.pool.requeue_running()
        );
        let rescued = sqlx::query(AssertSqlSafe(rescue))
            .bind(DEAD_AFTER_MS)
            .execute(pool)
            .await?
            .rows_affected();
        // Another node becomes River's leader soon, and schedules the jobs that are due.
        let depose = format!(
            "DELETE FROM river_leader WHERE leader_id IN \
             (SELECT id FROM sandpiper_nodes WHERE seen_at <= {now} - $1)"
        );
        sqlx::query(AssertSqlSafe(depose))
            .bind(DEAD_AFTER_MS)
            .execute(pool)
            .await?;
        let forget = format!("DELETE FROM sandpiper_nodes WHERE seen_at < {now} - $1");
        sqlx::query(AssertSqlSafe(forget))
            .bind(FORGOTTEN_AFTER_MS)
            .execute(pool)
            .await?;
        Ok(rescued)
    }
}

/// Requeues all running jobs of a file of SQLite. This process has locked the file, so the process that ran them is dead.
pub(super) async fn requeue_all(pool: &Pool) -> Result<(), sqlx::Error> {
    let requeue = format!(
        "UPDATE river_job SET {} WHERE state = 'running' AND queue IN ({QUEUE_LIST})",
        pool.requeue_running()
    );
    let Pool::Sqlite(pool) = pool else {
        return Ok(());
    };
    let requeued = sqlx::query(AssertSqlSafe(requeue))
        .execute(pool)
        .await?
        .rows_affected();
    if requeued > 0 {
        info!(
            jobs = requeued,
            "an earlier process left these jobs unfinished; they are run again"
        );
    }
    sqlx::query("DELETE FROM river_leader")
        .execute(pool)
        .await?;
    sqlx::query("DELETE FROM sandpiper_nodes")
        .execute(pool)
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_rescues_no_job_before_the_others_could_send_their_heartbeats() {
        let ago = |time: Duration| Instant::now().checked_sub(time).unwrap();
        let mut heartbeats = Heartbeats::new();
        assert!(!heartbeats.may_rescue(), "it has just started");
        heartbeats.steady_since = ago(2 * DEAD_AFTER);
        assert!(heartbeats.may_rescue());
        heartbeats.last = ago(3 * HEARTBEAT_EVERY);
        assert!(!heartbeats.may_rescue(), "its own are missing");
    }
}
