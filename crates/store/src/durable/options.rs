//! Options of a durable store.

use crate::data_keys::DataKeys;
use crate::tools::WaitingBounds;
use sandpiper_domain::{Ceiling, Limits};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    Sqlite(PathBuf),
    /// `postgres://…`
    Postgres(String),
}

#[derive(Debug, Clone)]
pub struct DurableOptions {
    pub address: Address,
    /// Keys that encrypt the contents of jobs; `None` stores them as text.
    pub data_keys: Option<Arc<DataKeys>>,
    /// Limits of a job of another River client that requests none.
    pub defaults: Limits,
    /// Highest limits that a job of another River client may request.
    pub ceiling: Ceiling,
    /// Time from a job's final state to the expiry of its record.
    pub ttl: Duration,
    /// Most attempts at a job that the service fails to run.
    pub attempts_max: u32,
    /// Executions that this node runs at a time.
    pub executors: usize,
    /// Executions that this node may run beyond those, on reserve executors.
    pub reserve_executors: usize,
    /// Connections to Postgres.
    pub connections: u32,
    /// Longest that a caller waits for one statement.
    pub timeout: Duration,
    /// Most jobs that a node claims for each executor: one runs, the others are prefetched.
    pub claims_per_executor: usize,
    /// Most jobs of one client that are queued or running.
    pub client_jobs_max: usize,
    /// Most bytes of requests, logs and executions of one client's jobs.
    pub client_bytes: u64,
    /// Most bytes of requests, logs and executions of all jobs.
    pub bytes_max: u64,
    /// Time for which sums of usage are kept.
    pub usage_kept: Duration,
    pub waiting: WaitingBounds,
}
