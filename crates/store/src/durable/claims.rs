//! The number of jobs that this node claims from River at a time.

use super::args::QUEUES;
use super::options::DurableOptions;
use super::prefetch::PrefetchController;
use parking_lot::Mutex;
use riverqueue::{Client, QueueConfig};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Time between two queries for jobs that no notice announced.
pub(super) const POLL_EVERY: Duration = Duration::from_millis(500);
/// Time for which a node claims jobs for its reserve executors after a request.
const CLAIM_MORE_FOR: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Claims {
    river: Client,
    /// True where River polls a table for notices, as in SQLite.
    polls_notices: bool,
    executors: usize,
    reserve_executors: usize,
    prefetch: PrefetchController,
    /// Jobs that the node claims now for each executor.
    per_executor: AtomicUsize,
    /// Configurations of the queue since the start.
    configurations: AtomicU64,
    /// Moment until which the node claims jobs for reserve executors too.
    claim_more_until: Mutex<Option<Instant>>,
    /// Workers that wait until another node is done with a job that was taken from them. They occupy no executor.
    superseded_workers: AtomicUsize,
}

/// Counts a worker as superseded, until this is dropped.
#[derive(Debug)]
pub(super) struct SupersededWorker<'a>(&'a Claims);

impl Claims {
    pub(super) fn new(river: Client, polls_notices: bool, options: &DurableOptions) -> Self {
        Self {
            river,
            polls_notices,
            executors: options.executors,
            reserve_executors: options.reserve_executors,
            prefetch: PrefetchController::new(options.claims_per_executor),
            per_executor: AtomicUsize::new(1),
            configurations: AtomicU64::new(0),
            claim_more_until: Mutex::default(),
            superseded_workers: AtomicUsize::new(0),
        }
    }

    pub(super) fn prefetch(&self) -> &PrefetchController {
        &self.prefetch
    }

    /// Has River look for jobs in a queue now. In SQLite River reads notices from a table every tenth of a second, which is a long wait
    /// for a job of an idle node; but a queue that is configured anew looks for jobs at once.
    pub(super) fn look_for_jobs(&self, queue: &str) {
        if self.polls_notices {
            self.configure(&[queue], self.prefetch.per_executor());
        }
    }

    /// Applies the number of claims that the prefetch controller returns now.
    pub(super) fn adjust(&self) {
        let per_executor = self.prefetch.per_executor();
        let claimed_more = {
            let mut until = self.claim_more_until.lock();
            until.take_if(|until| *until <= Instant::now()).is_some()
        };
        if claimed_more || self.per_executor.load(Ordering::Relaxed) != per_executor {
            self.configure(&QUEUES, per_executor);
        }
    }

    /// Has River look for jobs now, also for the reserve executors.
    pub(super) fn claim_more(&self) {
        *self.claim_more_until.lock() = Some(Instant::now() + CLAIM_MORE_FOR);
        self.configure(&QUEUES, self.prefetch.per_executor());
    }

    /// Counts a worker as superseded, so that another job is claimed beside it.
    pub(super) fn supersede_worker(&self) -> SupersededWorker<'_> {
        self.superseded_workers.fetch_add(1, Ordering::Relaxed);
        self.configure(&QUEUES, self.prefetch.per_executor());
        SupersededWorker(self)
    }

    /// Configures these queues anew. Each may claim as many jobs as the node has room for: jobs of two queues that arrive
    /// together wait for an executor in the Dispatcher, and are requeued after a second.
    fn configure(&self, queues: &[&str], per_executor: usize) {
        self.per_executor.store(per_executor, Ordering::Relaxed);
        // River looks for jobs only if the configuration differs from the last one: the poll interval alternates.
        let odd = self.configurations.fetch_add(1, Ordering::Relaxed) % 2;
        let poll_every = POLL_EVERY + Duration::from_millis(odd);
        let superseded = self.superseded_workers.load(Ordering::Relaxed);
        let more = match *self.claim_more_until.lock() {
            Some(until) if Instant::now() < until => self.reserve_executors,
            _ => 0,
        };
        let jobs_max = self.executors * per_executor + superseded + more;
        for queue in queues {
            let config = queue_config(jobs_max, poll_every);
            if let Err(cause) = self.river.local_queues().update(queue, config) {
                tracing::warn!(
                    queue,
                    %cause,
                    "the queue cannot be told to look for jobs now; it looks at its next poll, within half a second"
                );
            }
        }
    }
}

impl Drop for SupersededWorker<'_> {
    fn drop(&mut self) {
        let claims = self.0;
        claims.superseded_workers.fetch_sub(1, Ordering::Relaxed);
        claims.configure(&QUEUES, claims.prefetch.per_executor());
    }
}

pub(super) fn queue_config(jobs_max: usize, poll_every: Duration) -> QueueConfig {
    QueueConfig::new(jobs_max).with_fetch_poll_interval(poll_every)
}
