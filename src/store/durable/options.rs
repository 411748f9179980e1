//! How a durable store is to be.

use sandpiper_domain::{Ceiling, Limits};
use std::path::PathBuf;
use std::time::Duration;

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
    /// Longest that anybody waits for the database.
    pub timeout: Duration,
    /// Most jobs that it takes for each of them: one runs, and the rest are at hand.
    pub claims_per_executor: usize,
    /// Most jobs of one client that are queued or running.
    pub client_jobs_max: usize,
    /// Most bytes of requests, logs and executions of one client's jobs.
    pub client_bytes: u64,
    /// Most bytes of requests, logs and executions of all jobs.
    pub bytes_max: u64,
}
