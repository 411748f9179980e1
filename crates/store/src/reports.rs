//! Reports of a store about itself: the nodes that it dispatches to, and its counters.

use sandpiper_domain::Timestamp;
use std::time::Duration;

/// A process that runs jobs of a store.
#[derive(Debug, Clone)]
pub struct Node {
    /// Unique for each start of a process.
    pub id: String,
    pub started_at: Timestamp,
    /// The moment of its last heartbeat.
    pub seen_at: Timestamp,
    pub executors: usize,
}

#[derive(Debug, Clone)]
pub struct Nodes {
    /// The nodes that are alive.
    pub nodes: Vec<Node>,
    pub this: String,
    /// Time that the oldest queued job has waited.
    pub oldest_queued: Option<Duration>,
}

/// Counters of jobs on this node since its start, and the bytes in the store.
#[derive(Debug, Clone, Copy, Default)]
pub struct StoreCounts {
    /// Jobs that were taken from dead nodes.
    pub rescued: u64,
    /// Jobs that are lost: in each attempt their node died, or the service failed to run them.
    pub lost: u64,
    /// Finishes that came too late and were rejected.
    pub stale: u64,
    /// Jobs that were requeued before they ran.
    pub requeued: u64,
    /// Calls to the store that failed, repeated or not.
    pub failures: u64,
    /// Jobs rejected because the store had as many jobs or bytes as it may.
    pub refused_full: u64,
    /// Jobs rejected because their client had as many open jobs as it may.
    pub refused_client_jobs: u64,
    /// Jobs rejected because the jobs of their client had as many bytes as they may.
    pub refused_client_bytes: u64,
    /// Jobs with tools rejected because as many jobs of their client waited as may, or jobs with as many bytes.
    pub refused_waiting: u64,
    /// Jobs that have suspended and have not ended, at the last count.
    pub waiting: u64,
    /// Starts of jobs that were postponed because there was no room for the output.
    pub postponed: u64,
    /// Sums of usage that were dropped because there were too many.
    pub usage_dropped: u64,
    /// Stored bytes of requests, logs and executions, at the last count.
    pub bytes: u64,
    /// Most bytes of requests, logs and executions.
    pub bytes_max: u64,
}
