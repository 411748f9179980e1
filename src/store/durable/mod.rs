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
mod bytes;
mod changes;
mod claims;
mod clients;
mod counters;
mod database;
mod deadline;
mod jobs;
mod logs;
mod migrate;
mod nodes;
mod notices;
mod options;
mod pace;
mod record;
mod river;
mod sweep;
mod work;

pub use backup::{BackupError, back_up};
pub use database::OpenError;
pub use options::{Address, DurableOptions};

use super::{
    Accepted, Finished, Found, JobPage, JobRunner, JobStore, ListQuery, NewJob, Nodes, Settlement,
    StoreCounts, StoreError,
};
use async_trait::async_trait;
use bytes::{Reservations, Total};
use changes::{Change, Changes};
use clients::Clients;
use counters::Counters;
use dashmap::DashMap;
use database::{Database, FileLock, Opened};
use deadline::within;
use nodes::OutOfTurn;
use pace::Pace;
use riverqueue::{Client, RunHandle};
use sandpiper_domain::{JobId, LogSoFar, Timestamp};
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
/// Longest that a sweep takes, which asks many questions.
const SWEEP_WITHIN: Duration = Duration::from_secs(60);
/// Longest that giving back takes when the service stops.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);

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
    total: Total,
    reservations: Reservations,
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
    /// When this node last wrote to the database that it lives.
    lived_at: Mutex<Instant>,
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

    /// Runs one question on the store's own threads, for as long as anybody waits for one.
    async fn on_threads<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.on_threads_within(self.shared.options.timeout, work)
            .await
    }

    /// Runs on the store's own threads, at most for `limit`.
    async fn on_threads_within<T: Send + 'static>(
        &self,
        limit: Duration,
        work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        let stopped = || StoreError::Unavailable("it has been closed".to_owned());
        let runtime = self.runtime.as_ref().ok_or_else(stopped)?;
        let work = runtime.spawn(within(limit, work));
        work.await.unwrap_or_else(|_| Err(stopped()))
    }
}

async fn connect(
    options: DurableOptions,
    node: String,
) -> Result<(Arc<Shared>, Option<FileLock>), OpenError> {
    let Opened {
        database,
        readers,
        river,
        lock,
    } = database::open(&options).await?;
    if lock.is_some() {
        nodes::give_back_all(&database).await?;
    }
    // The workers know the store, which knows its client, which knows the workers.
    let worker = work::RunWorker::default();
    let client = river::client(&river, &options, &node, &worker)?;
    let (changes, queue) = Changes::new(options.timeout);
    let pace = Pace::new(options.claims_per_executor);
    let shared = Arc::new(Shared {
        database,
        readers,
        client,
        changes,
        clients: Clients::default(),
        total: Total::default(),
        reservations: Reservations::default(),
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
        lived_at: Mutex::new(Instant::now()),
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
        // A look that is late ends it, so it lasts for two more at most.
        let limit = patience.saturating_add(2 * shared.options.timeout);
        self.on_threads_within(limit, async move { shared.wait(id, patience).await })
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
        self.on_threads_within(SWEEP_WITHIN, async move { shared.sweep(now).await })
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
        let stored = self.shared.total.stored();
        self.shared
            .counters
            .told(stored.bytes, self.shared.options.bytes_max)
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
            shared.in_time(shared.restore_turns(Duration::ZERO)).await?;
            shared.in_time(shared.leave()).await
        };
        let limit = CLOSE_WITHIN.saturating_add(2 * self.shared.options.timeout);
        if let Err(cause) = self.on_threads_within(limit, closed).await {
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
