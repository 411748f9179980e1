//! The contract of every store ([`contract`]), and the bounds of the stores in memory.

mod contract;
mod in_process;
mod memory;
mod recent;
mod usage;

use super::{
    Finished, Found, JobRecords, JobStore, MemoryStore, MemoryStoreBounds, NewJob, QueuePlace,
    Settlement, StoreError, WaitingBounds,
};
use sandpiper_domain::{Access, JobId, JobRecord, JobState, JobTerms, Outcome, Timestamp, samples};
use std::sync::Arc;
use std::time::Duration;

/// Far more than any test takes; a wait that long is a failure.
const PATIENCE: Duration = Duration::from_secs(20);
const TTL: Duration = Duration::from_secs(60);
const ROOMY: MemoryStoreBounds = MemoryStoreBounds {
    jobs_max: 10_000,
    bytes_max: 64 << 20,
    ttl: TTL,
    client_jobs_max: 1_000_000,
    client_bytes: 64 << 20,
    usage_kept: Duration::from_hours(24 * 400),
    waiting: WaitingBounds::DEFAULT,
};

/// Makes an empty store of each kind, with room for the tests of the contract and a [`TTL`] of a minute.
fn every_store() -> Vec<Arc<dyn JobRecords>> {
    vec![Arc::new(MemoryStore::new(ROOMY))]
}

/// Tests `promise` with every kind of store.
async fn over_every_store<Held>(promise: impl Fn(Arc<dyn JobRecords>) -> Held)
where
    Held: Future<Output = ()>,
{
    for store in every_store() {
        let name = store.name();
        tokio::time::timeout(PATIENCE, promise(store))
            .await
            .unwrap_or_else(|_| panic!("{name}: the promise was not kept in time"));
    }
}

fn new_job(client: &str, code_bytes: usize) -> NewJob {
    NewJob {
        job: Arc::new(samples::job(client, code_bytes)),
        created_at: Timestamp::now(),
        terms: JobTerms::default(),
        queue_place: QueuePlace::default(),
        tool_head: None,
    }
}

async fn submit(store: &dyn JobStore) -> JobId {
    store.submit(new_job("test", 1)).await.unwrap().job.id
}

async fn submit_and_start(store: &dyn JobRecords) -> JobId {
    let id = submit(store).await;
    store.start(id, 1).await.unwrap();
    id
}

fn finished(id: JobId) -> Settlement {
    Settlement {
        state: JobState::Finished,
        execution: Some(Arc::new(samples::success(id, 2))),
        last_round: None,
    }
}

fn cancelled() -> Settlement {
    Settlement {
        state: JobState::Cancelled,
        execution: None,
        last_round: None,
    }
}

fn lost(id: JobId) -> Settlement {
    Settlement {
        state: JobState::Lost,
        execution: Some(Arc::new(samples::execution(id, Outcome::Crashed))),
        last_round: None,
    }
}

async fn get(store: &dyn JobStore, id: JobId) -> JobRecord {
    job(store.get(id, &Access::All).await.unwrap())
}

fn job(found: Found) -> JobRecord {
    match found {
        Found::Job(job) => job,
        other => panic!("no job but {other:?}"),
    }
}

/// Returns a moment at which all jobs that are final now have expired.
fn when_all_is_expired() -> Timestamp {
    Timestamp::now().plus(TTL * 2)
}
