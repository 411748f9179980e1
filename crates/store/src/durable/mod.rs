//! Jobs in a database: SQLite on one machine, Postgres on many.
//!
//! The queue is River's (`riverqueue`): its tables, its claims, its order of retries. The table `sandpiper_jobs` beside it
//! has what clients see. Submitting writes both tables in one transaction, and so does finishing. While a job is open,
//! River's row says whether the job waits or runs.
//!
//! Every statement runs on threads of the store: an actor never waits for the database.
//!
//! Each part of the store has a file and fields of its own; `parts.rs` connects them, and [`DurableStore`] calls them.

mod admission;
mod answers;
mod args;
mod attempts;
mod backup;
mod change_queue;
mod claims;
mod clients;
mod connect;
mod counters;
mod database;
mod deadline;
mod deleted_bytes;
mod job_writer;
mod jobs;
mod keys;
mod logs;
mod migrate;
mod nodes;
mod notices;
mod numbers;
mod options;
mod owners;
mod parts;
mod pool;
mod prefetch;
mod quotas;
mod record;
mod recording;
mod requests;
mod reservations;
mod river;
mod seal;
mod secrets;
mod settlements;
mod stored;
mod suspensions;
mod sweep;
mod tool_jobs;
mod upkeep;
mod usage;
mod usage_columns;
mod usage_fold;
mod waiters;
mod waiting;
mod work;

pub use backup::{BackupError, back_up};
pub use connect::OpenError;
pub use options::{Address, DurableOptions};

use super::{
    Accepted, Answered, Found, FoundHead, JobPage, JobRunner, JobStore, ListQuery, NewAnswer,
    NewJob, Nodes, RecordedTotals, RecordedUsage, StoreCounts, StoreError, ToolProgress,
    TotalsQuery, UsageBatch, UsageQuery, UsageStore,
};
use async_trait::async_trait;
use owners::Owners;
use parking_lot::Mutex;
use parts::OpenStore;
use riverqueue::RunHandle;
use sandpiper_domain::{Access, ApiKeyId, JobId, LogSoFar, Tenant, Timestamp};
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use uuid::Uuid;

const THREADS: usize = 2;
/// Time limit of a sweep, which runs many statements.
const SWEEP_WITHIN: Duration = Duration::from_secs(60);
/// Time limit of a change of all jobs of a tenant. The next call goes on with what is left.
const OWNERS_WITHIN: Duration = Duration::from_secs(60);
/// Longest that the queue takes to requeue its jobs when the service stops.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub struct DurableStore {
    open: OpenStore,
    name: &'static str,
    promise: &'static str,
    river: Mutex<Option<RunHandle>>,
    upkeep: Mutex<Option<JoinHandle<()>>>,
    /// Taken out by `drop`, which stops it in the background: to wait for a runtime inside another one panics.
    runtime: Option<Runtime>,
}

impl DurableStore {
    /// Connects to the database, and creates or migrates its tables. Blocks.
    pub fn open(options: DurableOptions) -> Result<Self, OpenError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("store")
            .enable_all()
            .build()?;
        let node = format!("{}-{}", std::process::id(), Uuid::now_v7());
        let (name, promise) = match &options.address {
            Address::Sqlite(_) => (
                "sqlite",
                "an accepted job survives the end of this process and a loss of power",
            ),
            Address::Postgres(_) => (
                "postgres",
                "an accepted job survives the end of any node; any node runs it, and any node answers for it",
            ),
        };
        let open = runtime.block_on(OpenStore::open(&options, node))?;
        Ok(Self {
            open,
            name,
            promise,
            river: Mutex::new(None),
            upkeep: Mutex::new(None),
            runtime: Some(runtime),
        })
    }

    fn owners(&self) -> Owners {
        Owners {
            database: self.open.parts.database.clone(),
            deleted_bytes: Arc::clone(&self.open.parts.deleted_bytes),
        }
    }
}

#[async_trait]
impl JobStore for DurableStore {
    fn name(&self) -> &'static str {
        self.name
    }

    fn promise(&self) -> &'static str {
        self.promise
    }

    async fn submit(&self, job: NewJob) -> Result<Accepted, StoreError> {
        self.open.changes.submit(job).await
    }

    async fn get(&self, id: JobId, access: &Access) -> Result<Found, StoreError> {
        let (jobs, access) = (self.open.parts.jobs.clone(), access.clone());
        let found = async move { jobs.find(id, &access).await };
        self.open.parts.database.on_threads(found).await
    }

    async fn wait(
        &self,
        id: JobId,
        access: &Access,
        patience: Duration,
    ) -> Result<Found, StoreError> {
        let (jobs, access) = (self.open.parts.jobs.clone(), access.clone());
        let database = &self.open.parts.database;
        // A query that is late ends the wait, so the wait lasts for two more queries at most.
        let limit = patience.saturating_add(2 * database.timeout());
        let found = async move { jobs.wait(id, &access, patience).await };
        database.on_threads_within(limit, found).await
    }

    async fn log_so_far(&self, id: JobId, attempt: u32) -> Result<Option<LogSoFar>, StoreError> {
        let logs = self.open.parts.logs.clone();
        let log = async move { logs.read(id, attempt).await };
        self.open.parts.database.on_threads(log).await
    }

    async fn answer(
        &self,
        id: JobId,
        access: &Access,
        answers: Vec<NewAnswer>,
        inbox_bytes_max: u64,
        now: Timestamp,
    ) -> Result<Answered, StoreError> {
        let (inbox, access) = (self.open.parts.answers(), access.clone());
        let answered = async move {
            inbox
                .answer(id, &access, answers, inbox_bytes_max, now)
                .await
        };
        self.open.parts.database.on_threads(answered).await
    }

    async fn progress(&self, id: JobId) -> Result<Option<ToolProgress>, StoreError> {
        let database = self.open.parts.database.clone();
        let progress = async move {
            let stored = tool_jobs::read(&database, id).await?;
            Ok(stored.map(|stored| Arc::unwrap_or_clone(stored.progress)))
        };
        self.open.parts.database.on_threads(progress).await
    }

    async fn tool_head(&self, id: JobId, access: &Access) -> Result<FoundHead, StoreError> {
        let (database, access) = (self.open.parts.database.clone(), access.clone());
        let head = async move { tool_jobs::find_head(&database, id, &access).await };
        self.open.parts.database.on_threads(head).await
    }

    async fn list(&self, query: &ListQuery) -> Result<JobPage, StoreError> {
        let (jobs, query) = (self.open.parts.jobs.clone(), query.clone());
        let page = async move { jobs.list(&query).await };
        self.open.parts.database.on_threads(page).await
    }

    async fn sweep(&self, now: Timestamp) -> Result<usize, StoreError> {
        let sweeper = Arc::clone(&self.open.sweeper);
        let swept = async move { sweeper.sweep(now).await };
        let database = &self.open.parts.database;
        database.on_threads_within(SWEEP_WITHIN, swept).await
    }

    fn supports_terms(&self) -> bool {
        true
    }

    fn start_dispatch(&self, runner: Arc<dyn JobRunner>) -> Result<(), StoreError> {
        let _ = self.open.runner.executors.set(runner);
        let Some(runtime) = &self.runtime else {
            return Ok(());
        };
        let _entered = runtime.enter();
        *self.upkeep.lock() = Some(runtime.spawn(self.open.parts.upkeep().run()));
        *self.river.lock() = Some(self.open.parts.river.start()?);
        Ok(())
    }

    fn dispatch_more(&self) {
        self.open.parts.claims.claim_more();
    }

    async fn cancel(&self, id: JobId) -> Result<(), StoreError> {
        let writer = Arc::clone(&self.open.writer);
        let cancelled = async move { writer.cancel(id).await };
        self.open.parts.database.on_threads(cancelled).await
    }

    async fn assign(&self, key: ApiKeyId, from: &Tenant, to: &Tenant) -> Result<u64, StoreError> {
        let (owners, from, to) = (self.owners(), from.clone(), to.clone());
        let assigned = async move { owners.assign(key, &from, &to).await };
        let database = &self.open.parts.database;
        database.on_threads_within(OWNERS_WITHIN, assigned).await
    }

    async fn purge(&self, id: JobId) -> Result<(), StoreError> {
        let owners = self.owners();
        let purged = async move { owners.purge(id).await };
        self.open.parts.database.on_threads(purged).await
    }

    async fn purge_tenant(&self, tenant: &Tenant) -> Result<u64, StoreError> {
        let (owners, tenant) = (self.owners(), tenant.clone());
        let purged = async move { owners.purge_tenant(&tenant).await };
        let database = &self.open.parts.database;
        database.on_threads_within(OWNERS_WITHIN, purged).await
    }

    async fn set_purged(&self, tenant: &Tenant, is_purged: bool) -> Result<(), StoreError> {
        let (owners, tenant) = (self.owners(), tenant.clone());
        let set = async move { owners.set_purged(&tenant, is_purged).await };
        self.open.parts.database.on_threads(set).await
    }

    async fn knows_tenant(&self, tenant: &Tenant) -> Result<bool, StoreError> {
        let (owners, tenant) = (self.owners(), tenant.clone());
        let known = async move { owners.knows_tenant(&tenant).await };
        self.open.parts.database.on_threads(known).await
    }

    async fn purged_tenants(&self) -> Result<HashSet<Tenant>, StoreError> {
        let owners = self.owners();
        let purged = async move { owners.purged_tenants().await };
        self.open.parts.database.on_threads(purged).await
    }

    async fn secret(&self, name: &'static str, new: String) -> Result<String, StoreError> {
        let database = self.open.parts.database.clone();
        let secret = async move { secrets::get_or_add(&database, name, new).await };
        self.open.parts.database.on_threads(secret).await
    }

    async fn nodes(&self) -> Result<Option<Nodes>, StoreError> {
        let nodes = Arc::clone(&self.open.parts.nodes);
        let listed = async move { nodes.list().await.map(Some) };
        self.open.parts.database.on_threads(listed).await
    }

    fn counts(&self) -> StoreCounts {
        let (bytes, bytes_max) = self.open.parts.quotas.bytes();
        let waiting = self.open.parts.quotas.waiting_jobs();
        self.open.parts.counters.read(waiting, bytes, bytes_max)
    }

    fn stop_dispatch(&self) {
        self.open.runner.is_stopping.store(true, Ordering::SeqCst);
        if let Some(river) = &*self.river.lock() {
            river.stopper().stop();
        }
    }

    async fn close(&self) {
        self.stop_dispatch();
        let river = self.river.lock().take();
        let upkeep = self.upkeep.lock().take();
        let database = self.open.parts.database.clone();
        let (attempts, nodes) = (
            Arc::clone(&self.open.parts.attempts),
            Arc::clone(&self.open.parts.nodes),
        );
        let limit = CLOSE_WITHIN.saturating_add(2 * database.timeout());
        let closed = async move {
            if let Some(river) = river {
                stop(river).await;
            }
            if let Some(upkeep) = upkeep {
                upkeep.abort();
            }
            database
                .in_time(attempts.restore_slots(Duration::ZERO))
                .await?;
            database.in_time(nodes.leave()).await
        };
        let database = &self.open.parts.database;
        if let Err(cause) = database.on_threads_within(limit, closed).await {
            tracing::warn!(
                %cause,
                "the database cannot be told that this node stops; other nodes take the node for dead after six seconds"
            );
        }
    }

    async fn health(&self) -> Result<(), StoreError> {
        let (jobs, nodes) = (
            self.open.parts.jobs.clone(),
            Arc::clone(&self.open.parts.nodes),
        );
        let probed = async move {
            jobs.probe().await?;
            if nodes.seems_dead() {
                return Err(StoreError::Unavailable("it cannot be written".to_owned()));
            }
            Ok(())
        };
        self.open.parts.database.on_threads(probed).await
    }
}

#[async_trait]
impl UsageStore for DurableStore {
    async fn record_usage(&self, batch: Arc<UsageBatch>) -> Result<(), StoreError> {
        let usage = Arc::clone(&self.open.parts.usage);
        let recorded = async move { usage.record(&batch).await };
        self.open.parts.database.on_threads(recorded).await
    }

    async fn usage(&self, query: &UsageQuery) -> Result<RecordedUsage, StoreError> {
        let (usage, query) = (Arc::clone(&self.open.parts.usage), query.clone());
        let read = async move { usage.read(&query).await };
        self.open.parts.database.on_threads(read).await
    }

    async fn usage_totals(&self, query: &TotalsQuery) -> Result<RecordedTotals, StoreError> {
        let (usage, query) = (Arc::clone(&self.open.parts.usage), query.clone());
        let totals = async move { usage.totals(&query).await };
        self.open.parts.database.on_threads(totals).await
    }
}

/// Stops River's queue, which requeues the jobs that run.
async fn stop(mut river: RunHandle) {
    let stopped = tokio::time::timeout(CLOSE_WITHIN, river.stop_and_cancel()).await;
    if !matches!(stopped, Ok(Ok(()))) {
        tracing::error!(
            "the queue did not stop within five seconds; another node, or the next start of this one, runs its jobs again"
        );
    }
}

impl Drop for DurableStore {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
