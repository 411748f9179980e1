//! Jobs in a database: SQLite on one machine, Postgres on many.
//!
//! The queue is River's (`riverqueue`): its tables, its claims, its order of retries. Beside it `sandpiper_jobs` has what a
//! client is told. Both are written in one transaction, so that a job is in both or in neither, and has its final state in
//! both or in neither. While a job is open, River's row says whether it waits or runs.
//!
//! Everything that touches the database runs on threads of its own here: an actor never waits for it.

mod admission;
mod args;
mod backup;
mod changes;
mod claims;
mod clients;
mod counters;
mod database;
mod jobs;
mod logs;
mod nodes;
mod notices;
mod pace;
mod record;
mod river;
mod sweep;
mod work;

pub use backup::{BackupError, back_up};
pub use database::OpenError;

use super::{
    Accepted, Finished, Found, JobPage, JobRunner, JobStore, ListQuery, NewJob, Nodes, Settlement,
    StoreCounts, StoreError,
};
use crate::domain::{Ceiling, JobId, Limits, LogSoFar, Timestamp};
use async_trait::async_trait;
use changes::{Change, Changes};
use clients::Clients;
use counters::Counters;
use dashmap::DashMap;
use database::{Database, FileLock};
use nodes::OutOfTurn;
use pace::Pace;
use riverqueue::{Client, RunHandle};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::sync::Notify;
use uuid::Uuid;

/// Threads that speak to the database.
const THREADS: usize = 2;
/// Between two looks at a job that another node may have settled without being heard.
const WAIT_POLL: Duration = Duration::from_secs(1);
/// Longest that giving back takes when the service stops.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);

/// Which database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// The file of a database of SQLite.
    Sqlite(PathBuf),
    /// `postgres://…`
    Postgres(String),
}

/// How a durable store is to be.
#[derive(Debug, Clone)]
pub struct DurableOptions {
    /// Where.
    pub address: Address,
    /// What a job gets that asks for nothing.
    pub defaults: Limits,
    /// The most that it may ask for.
    pub ceiling: Ceiling,
    /// From a job's final state to its end.
    pub ttl: Duration,
    /// Tries of a job that the service failed to run.
    pub attempts_max: u32,
    /// Executions that this node runs at a time.
    pub executors: usize,
    /// Executions that it may run beyond those, on reserve executors.
    pub reserve_executors: usize,
    /// Connections to Postgres.
    pub connections: u32,
    /// Most jobs that it takes for each of them: one runs, and the rest are at hand.
    pub claims_per_executor: usize,
    /// Most jobs of one client that are queued or running.
    pub client_jobs_max: usize,
}

/// See the module.
#[derive(Debug)]
pub struct DurableStore {
    shared: Arc<Shared>,
    name: &'static str,
    promise: &'static str,
    run: Mutex<Option<RunHandle>>,
    beat: Mutex<Option<tokio::task::JoinHandle<()>>>,
    /// Taken out when this is dropped: a runtime must not be waited for by a task of another.
    runtime: Option<Runtime>,
    _lock: Option<FileLock>,
}

/// What the workers have too.
#[derive(Debug)]
struct Shared {
    database: Database,
    /// The same, for what only reads.
    readers: Database,
    client: Client,
    changes: Changes,
    clients: Clients,
    pace: Pace,
    node: String,
    options: DurableOptions,
    /// Who is to be woken when a job of this node has its final state.
    waiting: DashMap<JobId, Arc<Notify>>,
    runner: OnceLock<Arc<dyn JobRunner>>,
    /// River's ids of the jobs that this node has, with the attempt; since when it is done with one of which River may not
    /// know yet.
    working: DashMap<(i64, u32), Option<Instant>>,
    /// Jobs that were given back unrun, and since when they stand in line.
    out_of_turn: Mutex<Vec<OutOfTurn>>,
    /// All that River had ended by then has its end here too; milliseconds since 1970.
    settled_until: AtomicI64,
    counters: Counters,
    /// There are other nodes.
    is_one_of_many: AtomicBool,
    stopping: AtomicBool,
    looks: AtomicU64,
    /// Jobs that it takes now for each executor.
    per_executor: AtomicUsize,
    /// Until then it takes jobs for reserve executors too.
    takes_more_until: Mutex<Option<Instant>>,
    /// Workers that wait until others are done with a job that was taken from them.
    left_to_others: AtomicUsize,
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        Self::Unavailable(error.to_string())
    }
}

impl From<riverqueue::Error> for StoreError {
    fn from(error: riverqueue::Error) -> Self {
        Self::Unavailable(error.to_string())
    }
}

impl From<record::Unreadable> for StoreError {
    fn from(error: record::Unreadable) -> Self {
        Self::Unreadable(error.to_string())
    }
}

impl DurableStore {
    /// Connects, and makes the tables or brings them up to date. Blocks.
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
        let (shared, lock) = runtime.block_on(connect(options, node))?;
        Ok(Self {
            shared,
            name,
            promise,
            run: Mutex::new(None),
            beat: Mutex::new(None),
            runtime: Some(runtime),
            _lock: lock,
        })
    }

    /// Runs on the store's own threads.
    async fn on_threads<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        let stopped = || StoreError::Unavailable("it has been closed".to_owned());
        let runtime = self.runtime.as_ref().ok_or_else(stopped)?;
        runtime.spawn(work).await.unwrap_or_else(|_| Err(stopped()))
    }
}

async fn connect(
    options: DurableOptions,
    node: String,
) -> Result<(Arc<Shared>, Option<FileLock>), OpenError> {
    let (database, readers, lock) = match &options.address {
        Address::Sqlite(path) => {
            let (database, readers, lock) = database::open_sqlite(path).await?;
            (database, readers, Some(lock))
        }
        Address::Postgres(url) => {
            let database = database::open_postgres(url, options.connections).await?;
            (database.clone(), database, None)
        }
    };
    if lock.is_some() {
        nodes::give_back_all(&database).await?;
    }
    // The workers know the store, which knows its client, which knows the workers.
    let worker = work::RunWorker::default();
    let client = river::client(&database, &options, &node, &worker)?;
    let (changes, queue) = Changes::new();
    let pace = Pace::new(options.claims_per_executor);
    let shared = Arc::new(Shared {
        database,
        readers,
        client,
        changes,
        clients: Clients::default(),
        pace,
        node,
        options,
        waiting: DashMap::new(),
        runner: OnceLock::new(),
        working: DashMap::new(),
        out_of_turn: Mutex::default(),
        settled_until: AtomicI64::new(0),
        counters: Counters::default(),
        is_one_of_many: AtomicBool::new(false),
        stopping: AtomicBool::new(false),
        looks: AtomicU64::new(0),
        per_executor: AtomicUsize::new(1),
        takes_more_until: Mutex::default(),
        left_to_others: AtomicUsize::new(0),
    });
    worker.belongs_to(Arc::downgrade(&shared));
    tokio::spawn(changes::write(Arc::downgrade(&shared), queue));
    tokio::spawn(notices::listen(Arc::downgrade(&shared)));
    Ok((shared, lock))
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
        self.shared
            .changes
            .make(|reply| Change::Submit(job, reply))
            .await
    }

    async fn start(&self, _: JobId, _: u32) -> Result<(), StoreError> {
        Ok(())
    }

    async fn hand_back(&self, _: JobId, _: u32) -> Result<(), StoreError> {
        Ok(())
    }

    async fn finish(
        &self,
        id: JobId,
        attempt: u32,
        settlement: Settlement,
    ) -> Result<Finished, StoreError> {
        self.shared.finish(id, attempt, settlement).await
    }

    async fn get(&self, id: JobId) -> Result<Found, StoreError> {
        let shared = Arc::clone(&self.shared);
        self.on_threads(async move { shared.find(id).await }).await
    }

    async fn wait(&self, id: JobId, patience: Duration) -> Result<Found, StoreError> {
        let shared = Arc::clone(&self.shared);
        self.on_threads(async move { shared.wait(id, patience).await })
            .await
    }

    async fn log_so_far(&self, id: JobId, attempt: u32) -> Result<Option<LogSoFar>, StoreError> {
        let shared = Arc::clone(&self.shared);
        self.on_threads(async move { shared.log_so_far(id, attempt).await })
            .await
    }

    async fn list(&self, query: &ListQuery) -> Result<JobPage, StoreError> {
        let (shared, query) = (Arc::clone(&self.shared), query.clone());
        self.on_threads(async move { shared.list(&query).await })
            .await
    }

    async fn sweep(&self, now: Timestamp) -> Result<usize, StoreError> {
        let shared = Arc::clone(&self.shared);
        self.on_threads(async move { shared.sweep(now).await })
            .await
    }

    fn keeps_terms(&self) -> bool {
        true
    }

    fn hands_out(&self) -> bool {
        true
    }

    fn begin(&self, runner: Arc<dyn JobRunner>) -> Result<(), StoreError> {
        let _ = self.shared.runner.set(runner);
        let Some(runtime) = &self.runtime else {
            return Ok(());
        };
        let _entered = runtime.enter();
        *lock(&self.beat) = Some(runtime.spawn(nodes::beat(Arc::clone(&self.shared))));
        *lock(&self.run) = Some(self.shared.client.start()?);
        Ok(())
    }

    fn hand_out_more(&self) {
        self.shared.take_more();
    }

    async fn cancel(&self, id: JobId) -> Result<(), StoreError> {
        let shared = Arc::clone(&self.shared);
        self.on_threads(async move { shared.cancel(id).await })
            .await
    }

    async fn nodes(&self) -> Result<Option<Nodes>, StoreError> {
        let shared = Arc::clone(&self.shared);
        self.on_threads(async move { shared.nodes().await.map(Some) })
            .await
    }

    fn counts(&self) -> StoreCounts {
        self.shared.counters.told()
    }

    fn hold(&self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        if let Some(run) = &*lock(&self.run) {
            run.stopper().stop();
        }
    }

    async fn close(&self) {
        self.hold();
        let run = lock(&self.run).take();
        let beat = lock(&self.beat).take();
        let shared = Arc::clone(&self.shared);
        let closed = async move {
            if let Some(mut run) = run {
                let stopped = tokio::time::timeout(CLOSE_WITHIN, run.stop_and_cancel()).await;
                if !matches!(stopped, Ok(Ok(()))) {
                    tracing::error!(
                        "the queue did not stop in time; what it had is run again by another start or node"
                    );
                }
            }
            if let Some(beat) = beat {
                beat.abort();
            }
            shared.restore_turns(Duration::ZERO).await?;
            shared.leave().await
        };
        if let Err(cause) = self.on_threads(closed).await {
            tracing::warn!(%cause, "the store was not told that this node ends");
        }
    }

    async fn health(&self) -> Result<(), StoreError> {
        let shared = Arc::clone(&self.shared);
        self.on_threads(async move { shared.probe().await }).await
    }
}

impl Drop for DurableStore {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn as_millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

type Owner = Weak<Shared>;
