//! The last synchronous executions of this process, readable by id for a while.
//!
//! A convenience, not a promise: bounded in entries and bytes, and the oldest goes first. Synchronous callers had their
//! answer; this is for looking at it again.

use dashmap::DashMap;
use sandpiper_domain::{Execution, Job, JobId, JobState, Outcome, Timestamp};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How much is kept, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct RecentBounds {
    /// Most executions.
    pub executions_max: usize,
    /// Most bytes, near enough.
    pub bytes_max: usize,
    /// How long.
    pub ttl: Duration,
}

#[derive(Debug, Default)]
struct Order {
    oldest_first: VecDeque<(Timestamp, JobId, usize)>,
    bytes: usize,
}

/// See the module.
#[derive(Debug)]
pub struct RecentExecutions {
    bounds: RecentBounds,
    executions: DashMap<JobId, Arc<Execution>>,
    order: Mutex<Order>,
}

impl RecentExecutions {
    /// Empty.
    #[must_use]
    pub fn new(bounds: RecentBounds) -> Self {
        Self {
            bounds,
            executions: DashMap::new(),
            order: Mutex::default(),
        }
    }

    /// Keeps `execution`; makes room by letting go of the oldest.
    pub fn keep(&self, execution: &Arc<Execution>) {
        let bytes = execution.size_bytes();
        if self.bounds.executions_max == 0 || bytes > self.bounds.bytes_max {
            return;
        }
        self.executions.insert(execution.id, Arc::clone(execution));
        let mut order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
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

    /// As a job, which it is to whoever looks at it.
    #[must_use]
    pub fn get(&self, id: JobId) -> Option<Job> {
        let execution = Arc::clone(self.executions.get(&id)?.value());
        let state = match execution.outcome {
            Outcome::Cancelled => JobState::Cancelled,
            _ => JobState::Finished,
        };
        Some(Job {
            outcome: Some(execution.outcome),
            run_at: None,
            id,
            state,
            created_at: execution.started_at,
            started_at: Some(execution.started_at),
            finished_at: Some(execution.finished_at),
            expires_at: Some(execution.finished_at.plus(self.bounds.ttl)),
            attempt: 1,
            execution: Some(execution),
        })
    }

    /// Forgets what has expired by `now`.
    pub fn sweep(&self, now: Timestamp) {
        let mut order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
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
