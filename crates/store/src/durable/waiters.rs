//! Callers of this node that wait for the final state of a job.

use dashmap::DashMap;
use sandpiper_domain::JobId;
use std::sync::Arc;
use tokio::sync::Notify;

#[derive(Debug, Default)]
pub(super) struct Waiters(DashMap<JobId, Arc<Notify>>);

/// One caller that waits, until this is dropped.
pub(super) struct Waiter<'a> {
    waiters: &'a Waiters,
    id: JobId,
    /// Notified when the job has its final state.
    pub(super) settled: Arc<Notify>,
}

impl Waiters {
    pub(super) fn register(&self, id: JobId) -> Waiter<'_> {
        let settled = Arc::clone(&self.0.entry(id).or_default());
        Waiter {
            waiters: self,
            id,
            settled,
        }
    }

    pub(super) fn wake(&self, id: JobId) {
        if let Some((_, settled)) = self.0.remove(&id) {
            settled.notify_waiters();
        }
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        // The last waiter and the map: two references.
        self.waiters
            .0
            .remove_if(&self.id, |_, settled| Arc::strong_count(settled) <= 2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn all_callers_that_wait_for_a_job_are_woken_and_no_other() {
        let waiters = Waiters::default();
        let [id, other] = [JobId::generate(), JobId::generate()];
        let [first, second, of_other] = [
            waiters.register(id),
            waiters.register(id),
            waiters.register(other),
        ];
        let woken = [&first, &second].map(|waiter| waiter.settled.notified());
        let not_woken = of_other.settled.notified();
        waiters.wake(id);
        for notified in woken {
            notified.await;
        }
        let is_woken = tokio::time::timeout(std::time::Duration::ZERO, not_woken).await;
        assert!(is_woken.is_err());
    }

    #[test]
    fn a_job_is_forgotten_with_its_last_waiter() {
        let waiters = Waiters::default();
        let id = JobId::generate();
        let [first, second] = [waiters.register(id), waiters.register(id)];
        drop(first);
        assert_eq!(waiters.0.len(), 1);
        drop(second);
        assert!(waiters.0.is_empty());
    }
}
