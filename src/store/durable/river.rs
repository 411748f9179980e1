//! River's client as it is used here: its clocks, and how many jobs it takes for this node.

use super::database::Database;
use super::{DurableOptions, Shared, clients, lock, work};
use riverqueue::{Client, MaintenanceConfig, QueueConfig, Retention, Workers};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Least time between two claims of a node, and between two notices that there is something to claim.
const CLAIM_EVERY: Duration = Duration::from_millis(2);
/// Between two looks for jobs of which no notice came.
const POLL_EVERY: Duration = Duration::from_millis(500);
/// Between two looks of the leader for jobs whose time to be tried again has come.
const SCHEDULE_EVERY: Duration = Duration::from_secs(1);
/// Between two tries of a node to become the leader where there is none.
const ELECT_EVERY: Duration = Duration::from_secs(2);
/// How long a node takes jobs for its reserve executors after it was asked to.
const TAKES_MORE_FOR: Duration = Duration::from_secs(1);

fn queue_config(jobs_max: usize, poll_every: Duration) -> QueueConfig {
    QueueConfig::new(jobs_max).with_fetch_poll_interval(poll_every)
}

impl Shared {
    /// Has this node look for jobs now. In SQLite notices lie in a table that is read every tenth of a second, which is a
    /// long wait for a job that came to an idle node; but a producer that is configured anew looks at once.
    pub(super) fn look_for_jobs(&self) {
        if matches!(self.database, Database::Sqlite(_)) {
            self.configure(self.pace.per_executor());
        }
    }

    /// Has this node take as many jobs ahead as is right now.
    pub(super) fn keep_pace(&self) {
        let per_executor = self.pace.per_executor();
        let took_more = {
            let mut until = lock(&self.takes_more_until);
            until.take_if(|until| *until <= Instant::now()).is_some()
        };
        if took_more || self.per_executor.load(Ordering::Relaxed) != per_executor {
            self.configure(per_executor);
        }
    }

    /// Has this node look for jobs now, also for its reserve executors.
    pub(super) fn take_more(&self) {
        *lock(&self.takes_more_until) = Some(Instant::now() + TAKES_MORE_FOR);
        self.configure(self.pace.per_executor());
    }

    pub(super) fn configure(&self, per_executor: usize) {
        self.per_executor.store(per_executor, Ordering::Relaxed);
        // It has to be another configuration.
        let odd = self.looks.fetch_add(1, Ordering::Relaxed) % 2;
        let poll_every = POLL_EVERY + Duration::from_millis(odd);
        let left_to_others = self.left_to_others.load(Ordering::Relaxed);
        let more = match *lock(&self.takes_more_until) {
            Some(until) if Instant::now() < until => self.options.reserve_executors,
            _ => 0,
        };
        let jobs_max = self.options.executors * per_executor + left_to_others + more;
        let config = queue_config(jobs_max, poll_every);
        if let Err(cause) = self.client.local_queues().update(work::QUEUE, config) {
            tracing::warn!(%cause, "jobs are looked for later");
        }
    }
}

pub(super) fn client(
    database: &Database,
    options: &DurableOptions,
    node: &str,
    worker: &work::RunWorker,
) -> Result<Client, riverqueue::Error> {
    let mut workers = Workers::new();
    workers.add::<super::args::RunScript, _>(worker.clone())?;
    let builder = match database {
        Database::Sqlite(pool) => Client::builder(pool.clone()),
        Database::Postgres(pool) => Client::builder(pool.clone()),
    };
    let kept = Retention::DeleteAfter(options.ttl);
    builder
        .id(node)
        .workers(workers)
        .hook(clients::DueAtOnce)
        .queue(work::QUEUE, queue_config(options.executors, POLL_EVERY))
        .fetch_cooldown(CLAIM_EVERY)
        // A job has limits of its own, and its node says that it lives.
        .without_job_timeout()
        .maintenance(
            MaintenanceConfig::default()
                .with_scheduler_interval(SCHEDULE_EVERY)
                .with_elect_interval(ELECT_EVERY)
                .with_completed_job_retention(kept)
                .with_cancelled_job_retention(kept),
        )
        .build()
}
