//! A cache of the last synchronous executions of this process, by id.
//!
//! The cache is a convenience and no promise: it is bounded in entries and bytes, and evicts the oldest first. The callers
//! have had their response; the cache is for reading it again.

use dashmap::DashMap;
use parking_lot::Mutex;
use sandpiper_domain::{Access, Execution, JobId, JobRecord, Owner, Timestamp};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

#[derive(Debug, Clone, Copy)]
pub struct RecentBounds {
    pub executions_max: usize,
    /// Most bytes, approximately.
    pub bytes_max: usize,
    /// Time from the end of an execution to its expiry.
    pub ttl: Duration,
}

#[derive(Debug, Default)]
struct Order {
    oldest_first: VecDeque<(Timestamp, JobId, usize)>,
    bytes: usize,
}

#[derive(Debug)]
pub struct RecentExecutions {
    bounds: RecentBounds,
    executions: DashMap<JobId, (Owner, Arc<Execution>)>,
    order: Mutex<Order>,
}

impl RecentExecutions {
    #[must_use]
    pub fn new(bounds: RecentBounds) -> Self {
        Self {
            bounds,
            executions: DashMap::new(),
            order: Mutex::default(),
        }
    }

    /// Adds an execution of `owner`, and evicts the oldest executions where there is no room.
    pub fn insert(&self, owner: Owner, execution: &Arc<Execution>) {
        let bytes = execution.size_bytes();
        if self.bounds.executions_max == 0 || bytes > self.bounds.bytes_max {
            return;
        }
        let entry = (owner, Arc::clone(execution));
        self.executions.insert(execution.id, entry);
        let mut order = self.order.lock();
        order
            .oldest_first
            .push_back((execution.finished_at, execution.id, bytes));
        order.bytes += bytes;
        while order.oldest_first.len() > self.bounds.executions_max
            || order.bytes > self.bounds.bytes_max
        {
            self.drop_oldest(&mut order);
        }
    }

    /// Returns an execution as a finished job, if `access` includes it.
    #[must_use]
    pub fn get(&self, id: JobId, access: &Access) -> Option<JobRecord> {
        let (owner, execution) = self.executions.get(&id)?.value().clone();
        access.includes(&owner).then(|| JobRecord {
            owner,
            outcome: Some(execution.outcome),
            run_at: None,
            id,
            state: super::final_state(execution.outcome),
            created_at: execution.started_at,
            started_at: Some(execution.started_at),
            finished_at: Some(execution.finished_at),
            expires_at: Some(execution.finished_at.plus(self.bounds.ttl)),
            attempt: 1,
            execution: Some(execution),
            rounds: None,
        })
    }

    /// Returns whether there is an execution that `access` includes.
    #[must_use]
    pub fn has(&self, access: &Access) -> bool {
        let mut executions = self.executions.iter();
        executions.any(|entry| access.includes(&entry.0))
    }

    /// Gives the executions that `before` includes to another owner.
    pub fn assign(&self, before: &Access, owner: &Owner) {
        for mut entry in self.executions.iter_mut() {
            if before.includes(&entry.0) {
                entry.0.clone_from(owner);
            }
        }
    }

    /// Removes the executions that `access` includes, or only the one with this id.
    pub fn purge(&self, access: &Access, only: Option<JobId>) {
        let is_purged = |id: &JobId| only.is_none_or(|only| only == *id);
        let mut order = self.order.lock();
        let mut left = VecDeque::with_capacity(order.oldest_first.len());
        for (finished_at, id, bytes) in std::mem::take(&mut order.oldest_first) {
            let includes = |_: &JobId, (owner, _): &(Owner, _)| access.includes(owner);
            if is_purged(&id) && self.executions.remove_if(&id, includes).is_some() {
                order.bytes -= bytes;
            } else {
                left.push_back((finished_at, id, bytes));
            }
        }
        order.oldest_first = left;
    }

    pub fn sweep(&self, now: Timestamp) {
        let mut order = self.order.lock();
        while let Some((finished_at, ..)) = order.oldest_first.front() {
            if finished_at.plus(self.bounds.ttl) > now {
                return;
            }
            self.drop_oldest(&mut order);
        }
    }

    fn drop_oldest(&self, order: &mut Order) {
        if let Some((_, id, bytes)) = order.oldest_first.pop_front() {
            order.bytes -= bytes;
            self.executions.remove(&id);
        }
    }
}
