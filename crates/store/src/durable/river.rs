//! River's client as this service configures it.

use super::args::{QUEUES, RunScript};
use super::claims::{POLL_EVERY, queue_config};
use super::options::DurableOptions;
use super::pool::Pool;
use super::work::RunWorker;
use riverqueue::{
    BoxError, Client, Hook, InsertContext, JobState, MaintenanceConfig, Retention, Workers, jiff,
};
use std::time::Duration;

/// Shortest time between two claims of a node, and between two notices of new jobs.
const CLAIM_EVERY: Duration = Duration::from_millis(2);
/// Time between two searches of the leader for jobs that are due for their next attempt.
const SCHEDULE_EVERY: Duration = Duration::from_secs(1);
/// Time between two attempts of a node to become the leader where there is none.
const ELECT_EVERY: Duration = Duration::from_secs(2);

/// Makes a job whose moment has passed available at once. River would leave it to its scheduler, which runs once a second.
#[derive(Debug)]
struct DueAtOnce;

impl Hook for DueAtOnce {
    async fn insert_begin(&self, insert: &mut InsertContext) -> Result<(), BoxError> {
        let is_due = |at| at <= jiff::Timestamp::now();
        if insert.state == JobState::Scheduled && insert.opts.scheduled_at.is_some_and(is_due) {
            insert.state = JobState::Available;
        }
        Ok(())
    }
}

pub(super) fn client(
    pool: &Pool,
    options: &DurableOptions,
    node: &str,
    worker: &RunWorker,
) -> Result<Client, riverqueue::Error> {
    let mut workers = Workers::new();
    workers.add::<RunScript, _>(worker.clone())?;
    let mut builder = match pool {
        Pool::Sqlite(pool) => Client::builder(pool.clone()),
        Pool::Postgres(pool) => Client::builder(pool.clone()),
    };
    for queue in QUEUES {
        builder = builder.queue(queue, queue_config(options.executors, POLL_EVERY));
    }
    let retention = Retention::DeleteAfter(options.ttl);
    builder
        .id(node)
        .workers(workers)
        .hook(DueAtOnce)
        .fetch_cooldown(CLAIM_EVERY)
        // A job has limits of its own, and the heartbeats of its node tell whether it still runs.
        .without_job_timeout()
        .maintenance(
            MaintenanceConfig::default()
                .with_scheduler_interval(SCHEDULE_EVERY)
                .with_elect_interval(ELECT_EVERY)
                .with_completed_job_retention(retention)
                .with_cancelled_job_retention(retention),
        )
        .build()
}
