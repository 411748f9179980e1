//! The attempts that this node has, and jobs that it requeued.

use super::args::{QUEUE_LIST, RunScript};
use super::counters::Counters;
use super::database::Database;
use super::pool::on_pool;
use crate::StoreError;
use dashmap::DashMap;
use parking_lot::Mutex;
use riverqueue::Job;
use sqlx::{AssertSqlSafe, QueryBuilder};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Age of a claim whose job never arrived: far longer than the way from the database takes.
const NEVER_ARRIVED_AFTER_MS: i64 = 15_000;
/// Time for which an ended attempt is remembered, until River has recorded its end: longer than a slow database takes.
const RECORDED_WITHIN: Duration = Duration::from_secs(10);
const RESTORED_AT_A_TIME: usize = 500;

/// River's id of a job, and the number of the attempt.
type AttemptId = (i64, u32);

#[derive(Debug)]
pub(super) struct Attempts {
    database: Database,
    node: String,
    counters: Arc<Counters>,
    /// `None` while the attempt runs; then the moment of its end, because River may record the end later.
    running: DashMap<AttemptId, Option<Instant>>,
    reserved_slots: Mutex<Vec<ReservedSlot>>,
}

/// The place in the queue of a job that was requeued before it ran. River orders a requeued job as a new one, until the slot
/// is restored.
#[derive(Debug)]
struct ReservedSlot {
    river_id: i64,
    /// The place, milliseconds since 1970.
    scheduled_at: i64,
    requeued_at: Instant,
}

/// An attempt that this node has, until River has recorded its result.
pub(super) struct RunningAttempt<'a> {
    attempts: &'a Attempts,
    id: AttemptId,
    /// True once River's row has the result. Otherwise River records the result after this is dropped.
    pub(super) is_recorded: bool,
}

impl Attempts {
    pub(super) fn new(database: Database, node: String, counters: Arc<Counters>) -> Self {
        Self {
            database,
            node,
            counters,
            running: DashMap::new(),
            reserved_slots: Mutex::default(),
        }
    }

    pub(super) fn begin(&self, river_id: i64, attempt: u32) -> RunningAttempt<'_> {
        self.running.insert((river_id, attempt), None);
        RunningAttempt {
            attempts: self,
            id: (river_id, attempt),
            is_recorded: false,
        }
    }

    pub(super) fn reserve_slot(&self, job: &Job<RunScript>) {
        Counters::increment(&self.counters.requeued);
        self.reserved_slots.lock().push(ReservedSlot {
            river_id: job.id(),
            scheduled_at: job.row.scheduled_at.as_millisecond(),
            requeued_at: Instant::now(),
        });
    }

    pub(super) async fn owns_job(&self, river_id: i64, attempt: u32) -> Result<bool, StoreError> {
        let (owns,): (bool,) = on_pool!(&self.database.pool, pool => {
            sqlx::query_as(
                "SELECT EXISTS (SELECT 1 FROM river_job WHERE id = $1 AND state = 'running' AND attempt = $2)",
            )
            .bind(river_id)
            .bind(i64::from(attempt))
            .fetch_one(pool)
            .await?
        });
        Ok(owns)
    }

    /// Returns whether a job of River has a final state, or is gone.
    pub(super) async fn is_final(&self, river_id: i64) -> Result<bool, StoreError> {
        let (is_open,): (bool,) = on_pool!(&self.database.pool, pool => {
            sqlx::query_as(
                "SELECT EXISTS (SELECT 1 FROM river_job WHERE id = $1 \
                 AND state NOT IN ('completed', 'cancelled', 'discarded'))",
            )
            .bind(river_id)
            .fetch_one(pool)
            .await?
        });
        Ok(!is_open)
    }

    /// Requeues jobs that this node has claimed according to the database, and that never arrived: the response was lost
    /// with its connection. No such job ran, so the claim does not count as an attempt. Returns how many there were.
    pub(super) async fn requeue_unarrived(&self) -> Result<u64, StoreError> {
        self.running
            .retain(|_, ended| ended.is_none_or(|ended| ended.elapsed() < RECORDED_WITHIN));
        let pool = &self.database.pool;
        let (now, last_node) = (pool.now(), pool.last_node());
        let attempted_at = pool.millis("attempted_at");
        let select = format!(
            "SELECT id, CAST(attempt AS BIGINT) FROM river_job WHERE state = 'running' AND queue IN ({QUEUE_LIST}) AND {last_node} = $1 \
             AND {attempted_at} < {now} - $2"
        );
        let requeue = format!(
            "UPDATE river_job SET {}, attempt = attempt - 1 \
             WHERE id = $1 AND state = 'running' AND attempt = $4 AND {last_node} = $2 AND {attempted_at} < {now} - $3",
            pool.requeue_running()
        );
        let mut requeued = 0;
        on_pool!(pool, pool => {
            let claimed: Vec<(i64, i64)> = sqlx::query_as(AssertSqlSafe(select))
                .bind(&self.node)
                .bind(NEVER_ARRIVED_AFTER_MS)
                .fetch_all(pool)
                .await?;
            for (id, attempt) in claimed {
                let arrived = u32::try_from(attempt).unwrap_or_default();
                if self.running.contains_key(&(id, arrived)) {
                    continue;
                }
                requeued += sqlx::query(AssertSqlSafe(requeue.clone()))
                    .bind(id)
                    .bind(&self.node)
                    .bind(NEVER_ARRIVED_AFTER_MS)
                    .bind(attempt)
                    .execute(pool)
                    .await?
                    .rows_affected();
            }
        });
        Ok(requeued)
    }

    /// Restores the slots of jobs that were requeued at least `age` ago.
    pub(super) async fn restore_slots(&self, age: Duration) -> Result<(), StoreError> {
        let slots: Vec<ReservedSlot> = self
            .reserved_slots
            .lock()
            .extract_if(.., |slot| slot.requeued_at.elapsed() >= age)
            .collect();
        for chunk in slots.chunks(RESTORED_AT_A_TIME) {
            if let Err(cause) = self.restore(chunk).await {
                // The next call tries all of them again.
                self.reserved_slots.lock().extend(slots);
                return Err(cause);
            }
        }
        Ok(())
    }

    async fn restore(&self, slots: &[ReservedSlot]) -> Result<(), StoreError> {
        let moment = self.database.pool.moment("v.column2");
        on_pool!(&self.database.pool, pool => {
            let mut update = QueryBuilder::new(format!(
                "UPDATE river_job SET scheduled_at = {moment} FROM ("
            ));
            update.push_values(slots, |mut row, slot| {
                row.push_bind(slot.river_id).push_bind(slot.scheduled_at);
            });
            update.push(format!(
                ") v WHERE river_job.id = v.column1 AND state = 'available' AND scheduled_at > {moment}"
            ));
            update.build().execute(pool).await?;
        });
        Ok(())
    }
}

impl Drop for RunningAttempt<'_> {
    fn drop(&mut self) {
        let running = &self.attempts.running;
        if self.is_recorded {
            running.remove(&self.id);
        } else {
            running.insert(self.id, Some(Instant::now()));
        }
    }
}
