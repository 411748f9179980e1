//! Which nodes live, and what becomes of the jobs of those that do not.
//!
//! A node says every two seconds that it lives. One that has not for six is dead: what it ran is taken up by another, with
//! its next attempt, whatever the job's own limit. A node that only seemed dead can record nothing of it any more.

use super::database::{Database, on_database};
use super::deadline::within;
use super::{Shared, lock};
use crate::store::{Node, Nodes, StoreError};
use sandpiper_domain::Timestamp;
use sqlx::{AssertSqlSafe, QueryBuilder};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tracing::{error, info, warn};

const BEAT_EVERY: Duration = Duration::from_secs(2);
/// Three beats.
const DEAD_AFTER_MS: i64 = 6_000;
/// As long.
const HOLD_OFF: Duration = Duration::from_secs(6);
/// Longest that looking after jobs takes, which asks several questions.
const LOOKED_AFTER_WITHIN: Duration = Duration::from_secs(30);
/// Far longer than a job that was taken needs to come.
const NEVER_CAME_AFTER_MS: i64 = 15_000;
/// Longer than River takes to write down that a job was given back.
const GIVEN_BACK_WITHIN: Duration = Duration::from_millis(500);
/// Jobs of one such statement.
const RESTORED_AT_A_TIME: usize = 500;
/// Longer than it takes when the database is slow.
const WRITTEN_DOWN_WITHIN: Duration = Duration::from_secs(10);
/// How long a dead node is remembered.
const FORGOTTEN_AFTER_MS: i64 = 3_600_000;

/// Says that this node lives, and looks for those that do not; the one does not wait for the other.
pub(super) async fn beat(shared: Arc<Shared>) {
    // When it said so last, and since when it has without a gap.
    let said = Mutex::new((Instant::now(), None));
    let lives = async {
        loop {
            match shared.in_time(shared.say_that_it_lives()).await {
                Ok(()) => {
                    *lock(&shared.lived_at) = Instant::now();
                    let mut said = lock(&said);
                    if is_gap(said.0) {
                        said.1 = Some(Instant::now());
                    }
                    said.0 = Instant::now();
                }
                Err(cause) => {
                    shared.counters.failures.fetch_add(1, Ordering::Relaxed);
                    error!(%cause, "this node cannot say that it lives; it tries again");
                }
            }
            tokio::time::sleep(BEAT_EVERY).await;
        }
    };
    let looks = async {
        loop {
            // After the database was away, or this node stood still, the others first have their time to say that they live.
            let (last, since) = *lock(&said);
            let may_rescue = !is_gap(last) && since.is_none_or(|since| since.elapsed() > HOLD_OFF);
            shared.keep_pace();
            let looked_after = shared.look_after_jobs(may_rescue);
            if let Err(cause) = within(LOOKED_AFTER_WITHIN, looked_after).await {
                shared.counters.failures.fetch_add(1, Ordering::Relaxed);
                error!(%cause, "jobs cannot be looked after; it is tried again");
            }
            tokio::time::sleep(BEAT_EVERY).await;
        }
    };
    tokio::join!(lives, looks);
}

/// Whether this node has not said for too long that it lives.
fn is_gap(last: Instant) -> bool {
    last.elapsed() > 2 * BEAT_EVERY
}

/// A job that was given back unrun.
#[derive(Debug)]
pub(super) struct OutOfTurn {
    pub(super) river_id: i64,
    /// Since when it stands in line, milliseconds since 1970.
    pub(super) since: i64,
    pub(super) given_back: Instant,
}

impl Shared {
    async fn look_after_jobs(&self, may_rescue: bool) -> Result<(), StoreError> {
        let rescued = if may_rescue { self.rescue().await? } else { 0 };
        if rescued > 0 {
            self.counters.rescued.fetch_add(rescued, Ordering::Relaxed);
            warn!(jobs = rescued, "jobs of a dead node were taken from it");
        }
        let unknown = self.give_back_unknown().await?;
        if unknown > 0 {
            self.counters
                .given_back
                .fetch_add(unknown, Ordering::Relaxed);
            warn!(
                jobs = unknown,
                "jobs that this node was given and never got were given back"
            );
        }
        self.restore_turns(GIVEN_BACK_WITHIN).await
    }

    /// Whether the others must take this node for dead, because it could not write that it lives.
    pub(super) fn seems_dead(&self) -> bool {
        lock(&self.lived_at).elapsed() > HOLD_OFF
    }

    async fn say_that_it_lives(&self) -> Result<(), StoreError> {
        let now = self.database.now();
        let beat = format!(
            "INSERT INTO sandpiper_nodes (id, started_at, seen_at, executors) VALUES ($1, {now}, {now}, $2) \
             ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at"
        );
        let executors = i64::try_from(self.options.executors).unwrap_or(i64::MAX);
        on_database!(&self.database, pool => {
            sqlx::query(AssertSqlSafe(beat))
                .bind(&self.node)
                .bind(executors)
                .execute(pool)
                .await?;
        });
        if self.may_have_others() {
            let others: (bool,) = on_database!(&self.database, pool => {
                sqlx::query_as(AssertSqlSafe(format!(
                    "SELECT EXISTS (SELECT 1 FROM sandpiper_nodes WHERE id <> $1 AND seen_at > {now} - $2)"
                )))
                .bind(&self.node)
                .bind(DEAD_AFTER_MS)
                .fetch_one(pool)
                .await?
            });
            self.is_one_of_many.store(others.0, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Who lives, and how long the oldest job has waited.
    pub(super) async fn nodes(&self) -> Result<Nodes, StoreError> {
        let now = self.database.now();
        let select = format!(
            "SELECT id, started_at, seen_at, executors FROM sandpiper_nodes WHERE seen_at > {now} - $1 ORDER BY started_at"
        );
        // Ids sort by the time they were made, so the first one that waits is the oldest.
        let oldest = format!(
            "SELECT {now} - (SELECT s.created_at FROM sandpiper_jobs s JOIN river_job r ON r.id = s.river_id \
             WHERE s.state = 'open' AND s.run_at IS NULL AND r.state = 'available' ORDER BY s.id LIMIT 1)"
        );
        let (rows, waited) = on_database!(&self.readers, pool => {
            let rows: Vec<(String, i64, i64, i64)> = sqlx::query_as(AssertSqlSafe(select))
                .bind(DEAD_AFTER_MS)
                .fetch_all(pool)
                .await?;
            let (waited,): (Option<i64>,) = sqlx::query_as(AssertSqlSafe(oldest))
                .fetch_one(pool)
                .await?;
            (rows, waited)
        });
        let moment =
            |millis: i64| Timestamp::from_unix_millis(u64::try_from(millis).unwrap_or_default());
        let nodes = rows.into_iter().map(|(id, started, seen, executors)| Node {
            id,
            started_at: moment(started),
            seen_at: moment(seen),
            executors: usize::try_from(executors).unwrap_or_default(),
        });
        Ok(Nodes {
            nodes: nodes.collect(),
            this: self.node.clone(),
            oldest_queued: waited
                .map(|millis| Duration::from_millis(u64::try_from(millis).unwrap_or_default())),
        })
    }

    /// Says that this node ends.
    pub(super) async fn leave(&self) -> Result<(), StoreError> {
        on_database!(&self.database, pool => {
            sqlx::query("DELETE FROM sandpiper_nodes WHERE id = $1")
                .bind(&self.node)
                .execute(pool)
                .await?;
        });
        Ok(())
    }

    /// Gives back what this node took by the database's word, and never got: the answer was lost with its connection. None of
    /// it ran, so it uses up no attempt.
    async fn give_back_unknown(&self) -> Result<u64, StoreError> {
        self.working
            .retain(|_, done| done.is_none_or(|done| done.elapsed() < WRITTEN_DOWN_WITHIN));
        let (now, last_node) = (self.database.now(), self.database.last_node());
        let attempted_at = self.database.millis("attempted_at");
        let taken = format!(
            "SELECT id, CAST(attempt AS BIGINT) FROM river_job WHERE state = 'running' AND queue = $1 AND {last_node} = $2 \
             AND {attempted_at} < {now} - $3"
        );
        let give_back = format!(
            "UPDATE river_job SET {}, attempt = attempt - 1 \
             WHERE id = $1 AND state = 'running' AND attempt = $4 AND {last_node} = $2 AND {attempted_at} < {now} - $3",
            self.database.taken_from_its_node()
        );
        let mut given_back = 0;
        on_database!(&self.database, pool => {
            let taken: Vec<(i64, i64)> = sqlx::query_as(AssertSqlSafe(taken))
                .bind(super::work::QUEUE)
                .bind(&self.node)
                .bind(NEVER_CAME_AFTER_MS)
                .fetch_all(pool)
                .await?;
            for (id, attempt) in taken {
                let its_attempt = u32::try_from(attempt).unwrap_or_default();
                if self.working.contains_key(&(id, its_attempt)) {
                    continue;
                }
                given_back += sqlx::query(AssertSqlSafe(give_back.clone()))
                    .bind(id)
                    .bind(&self.node)
                    .bind(NEVER_CAME_AFTER_MS)
                    .bind(attempt)
                    .execute(pool)
                    .await?
                    .rows_affected();
            }
        });
        Ok(given_back)
    }

    /// Puts those that were given back unrun, so long ago, where they stood: River takes them for new.
    pub(super) async fn restore_turns(&self, ago: Duration) -> Result<(), StoreError> {
        let given_back: Vec<OutOfTurn> = lock(&self.out_of_turn)
            .extract_if(.., |one| one.given_back.elapsed() >= ago)
            .collect();
        for some in given_back.chunks(RESTORED_AT_A_TIME) {
            if let Err(cause) = self.restore(some).await {
                // With the next beat.
                lock(&self.out_of_turn).extend(given_back);
                return Err(cause);
            }
        }
        Ok(())
    }

    async fn restore(&self, given_back: &[OutOfTurn]) -> Result<(), StoreError> {
        let moment = self.database.moment("v.column2");
        on_database!(&self.database, pool => {
            let mut restore = QueryBuilder::new(format!(
                "UPDATE river_job SET scheduled_at = {moment} FROM ("
            ));
            restore.push_values(given_back, |mut row, one| {
                row.push_bind(one.river_id).push_bind(one.since);
            });
            restore.push(format!(
                ") v WHERE river_job.id = v.column1 AND state = 'available' AND scheduled_at > {moment}"
            ));
            restore.build().execute(pool).await?;
        });
        Ok(())
    }

    /// Gives what dead nodes ran to the others, except what was to be cancelled; tells how many jobs that were.
    async fn rescue(&self) -> Result<u64, StoreError> {
        let Database::Postgres(pool) = &self.database else {
            return Ok(0);
        };
        let now = self.database.now();
        let rescue = format!(
            "UPDATE river_job SET {}, \
                 errors = array_append(errors, jsonb_build_object('at', now(), 'attempt', attempt, \
                     'error', 'its node died', 'trace', '')) \
             WHERE id IN (SELECT id FROM river_job \
                 WHERE state = 'running' AND queue = $1 \
                     AND attempted_at < clock_timestamp() - make_interval(secs => $2::bigint / 1000.0) \
                     AND NOT EXISTS (SELECT 1 FROM sandpiper_nodes n \
                         WHERE n.id = attempted_by[array_upper(attempted_by, 1)] AND n.seen_at > {now} - $2::bigint) \
                 LIMIT 1000 FOR UPDATE SKIP LOCKED)",
            self.database.taken_from_its_node()
        );
        let rescued = sqlx::query(AssertSqlSafe(rescue))
            .bind(super::work::QUEUE)
            .bind(DEAD_AFTER_MS)
            .execute(pool)
            .await?
            .rows_affected();
        // What its leader did for all (jobs whose time has come) another is to do soon.
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

/// Whatever runs in a file that nobody else has open ran in a process that is dead.
pub(super) async fn give_back_all(database: &Database) -> Result<(), sqlx::Error> {
    let Database::Sqlite(pool) = database else {
        return Ok(());
    };
    let give_back = format!(
        "UPDATE river_job SET {} WHERE state = 'running' AND queue = $1",
        database.taken_from_its_node()
    );
    let given_back = sqlx::query(AssertSqlSafe(give_back))
        .bind(super::work::QUEUE)
        .execute(pool)
        .await?
        .rows_affected();
    if given_back > 0 {
        info!(
            jobs = given_back,
            "jobs that an earlier process left unfinished are run again"
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
