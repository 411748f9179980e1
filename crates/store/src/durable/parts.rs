//! Connects the parts of a durable store.

use super::admission::AdmissionControl;
use super::answers::Answers;
use super::attempts::Attempts;
use super::change_queue::ChangeQueue;
use super::claims::Claims;
use super::connect::{self, FileLock, OpenError, Opened};
use super::counters::Counters;
use super::database::Database;
use super::deleted_bytes::DeletedBytes;
use super::job_writer::JobWriter;
use super::jobs::Jobs;
use super::keys::Keys;
use super::logs::Logs;
use super::nodes::{self, NodeRegistry};
use super::numbers::unix_millis;
use super::options::DurableOptions;
use super::quotas::Quotas;
use super::requests::Requests;
use super::sweep::Sweeper;
use super::upkeep::Upkeep;
use super::usage::UsageTables;
use super::waiters::Waiters;
use super::work::{AttemptRunner, RunWorker};
use super::{notices, river};
use riverqueue::Client;
use sandpiper_domain::Timestamp;
use std::sync::atomic::{AtomicBool, AtomicI64};
use std::sync::{Arc, OnceLock};

#[derive(Debug)]
pub(super) struct OpenStore {
    pub(super) parts: Parts,
    pub(super) changes: ChangeQueue,
    pub(super) writer: Arc<JobWriter>,
    pub(super) runner: Arc<AttemptRunner>,
    pub(super) sweeper: Arc<Sweeper>,
    _lock: Option<FileLock>,
}

/// The parts that need no other part than the database and River's client.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) database: Database,
    pub(super) river: Client,
    pub(super) counters: Arc<Counters>,
    waiters: Arc<Waiters>,
    pub(super) jobs: Jobs,
    requests: Requests,
    pub(super) logs: Logs,
    pub(super) quotas: Arc<Quotas>,
    pub(super) claims: Arc<Claims>,
    pub(super) attempts: Arc<Attempts>,
    pub(super) nodes: Arc<NodeRegistry>,
    pub(super) usage: Arc<UsageTables>,
    pub(super) deleted_bytes: Arc<DeletedBytes>,
}

impl OpenStore {
    /// Opens the database for the node with this id, and starts to write changes and to receive notices.
    pub(super) async fn open(options: &DurableOptions, node: String) -> Result<Self, OpenError> {
        let Opened {
            database,
            river: river_pool,
            lock,
        } = connect::open(options).await?;
        if lock.is_some() {
            nodes::requeue_all(&database.pool).await?;
        }
        // The worker is attached last: its runner needs River's client, which needs the worker.
        let worker = RunWorker::default();
        let river = river::client(&river_pool, options, &node, &worker)?;
        let parts = Parts::new(database, river, options, node);
        let (changes, queue) = ChangeQueue::new(options.timeout);
        let writer = Arc::new(parts.writer(options));
        let runner = Arc::new(parts.runner(options, changes.clone()));
        worker.attach(&runner);
        tokio::spawn(Arc::clone(&writer).run(queue));
        let waiters = Arc::downgrade(&parts.waiters);
        tokio::spawn(notices::listen(waiters, parts.database.pool.clone()));
        let sweeper = Arc::new(parts.sweeper(options));
        Ok(Self {
            parts,
            changes,
            writer,
            runner,
            sweeper,
            _lock: lock,
        })
    }
}

impl Parts {
    fn new(database: Database, river: Client, options: &DurableOptions, node: String) -> Self {
        let counters = Arc::new(Counters::default());
        let waiters = Arc::new(Waiters::default());
        let polls_notices = !database.is_shared();
        let claims = Claims::new(river.clone(), polls_notices, options);
        let attempts = Attempts::new(database.clone(), node.clone(), Arc::clone(&counters));
        let (id, executors) = (node.clone(), options.executors);
        let nodes = NodeRegistry::new(database.clone(), id, executors, Arc::clone(&counters));
        let nodes = Arc::new(nodes);
        let kept = options.usage_kept;
        let usage = UsageTables::new(database.clone(), node, Arc::clone(&nodes), kept);
        let deleted_bytes = DeletedBytes::new(database.clone(), unix_millis(Timestamp::now()));
        Self {
            jobs: Jobs::new(database.clone(), Arc::clone(&waiters)),
            requests: Requests::new(database.clone(), options),
            logs: Logs::new(database.clone()),
            quotas: Arc::new(Quotas::new(database.clone(), options)),
            claims: Arc::new(claims),
            attempts: Arc::new(attempts),
            nodes,
            usage: Arc::new(usage),
            deleted_bytes: Arc::new(deleted_bytes),
            database,
            river,
            counters,
            waiters,
        }
    }

    fn writer(&self, options: &DurableOptions) -> JobWriter {
        let keys = Keys::new(self.database.clone(), self.jobs.clone());
        JobWriter {
            admission: AdmissionControl {
                database: self.database.clone(),
                quotas: Arc::clone(&self.quotas),
                keys: keys.clone(),
                counters: Arc::clone(&self.counters),
            },
            keys,
            database: self.database.clone(),
            river: self.river.clone(),
            waiters: Arc::clone(&self.waiters),
            nodes: Arc::clone(&self.nodes),
            claims: Arc::clone(&self.claims),
            ttl: options.ttl,
            attempts_max: options.attempts_max,
        }
    }

    fn runner(&self, options: &DurableOptions, changes: ChangeQueue) -> AttemptRunner {
        AttemptRunner {
            database: self.database.clone(),
            requests: self.requests.clone(),
            quotas: Arc::clone(&self.quotas),
            claims: Arc::clone(&self.claims),
            attempts: Arc::clone(&self.attempts),
            logs: self.logs.clone(),
            changes,
            counters: Arc::clone(&self.counters),
            attempts_max: options.attempts_max,
            executors: OnceLock::new(),
            is_stopping: AtomicBool::new(false),
        }
    }

    fn sweeper(&self, options: &DurableOptions) -> Sweeper {
        Sweeper {
            database: self.database.clone(),
            requests: self.requests.clone(),
            quotas: Arc::clone(&self.quotas),
            counters: Arc::clone(&self.counters),
            usage: Arc::clone(&self.usage),
            deleted_bytes: Arc::clone(&self.deleted_bytes),
            ttl: options.ttl,
            default_limits: options.defaults,
            settled_until: AtomicI64::new(0),
        }
    }

    pub(super) fn answers(&self) -> Answers {
        Answers {
            database: self.database.clone(),
            claims: Arc::clone(&self.claims),
        }
    }

    pub(super) fn upkeep(&self) -> Upkeep {
        Upkeep {
            nodes: Arc::clone(&self.nodes),
            claims: Arc::clone(&self.claims),
            attempts: Arc::clone(&self.attempts),
            counters: Arc::clone(&self.counters),
        }
    }
}
