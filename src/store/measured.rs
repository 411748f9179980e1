//! A store that measures another: the duration and the failures of each operation.

use super::{
    Accepted, Finished, Found, JobPage, JobRecords, JobRunner, JobStore, ListQuery, NewJob, Nodes,
    Settlement, StoreCounts, StoreError,
};
use crate::meters::Operations;
use async_trait::async_trait;
use sandpiper_domain::{JobId, LogSoFar, Timestamp};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Labels of the operations in metrics, in the order of [`Operation`].
const NAMES: &[&str] = &[
    "submit",
    "start",
    "hand_back",
    "finish",
    "get",
    "wait",
    "log",
    "list",
    "sweep",
    "cancel",
    "nodes",
    "health",
];

#[derive(Debug, Clone, Copy)]
enum Operation {
    Submit,
    Start,
    Requeue,
    Finish,
    Get,
    Wait,
    Log,
    List,
    Sweep,
    Cancel,
    Nodes,
    Health,
}

/// A measured store. A rejected job is no failure: the client learns that the store is full, and the operator from other
/// metrics.
#[derive(Debug)]
pub struct MeasuredStore<S: ?Sized> {
    operations: Arc<Operations>,
    store: Arc<S>,
}

impl<S: JobStore + ?Sized> MeasuredStore<S> {
    /// Measures `store`.
    #[must_use]
    pub fn new(store: Arc<S>) -> Self {
        Self {
            store,
            operations: Arc::new(Operations::new(NAMES)),
        }
    }

    /// Returns the measurements.
    #[must_use]
    pub fn operations(&self) -> Arc<Operations> {
        Arc::clone(&self.operations)
    }

    async fn timed<T>(
        &self,
        operation: Operation,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let began = Instant::now();
        let done = work.await;
        self.operations.took(operation as usize, began.elapsed());
        self.count(operation, &done);
        done
    }

    fn count<T>(&self, operation: Operation, done: &Result<T, StoreError>) {
        if let Err(StoreError::Unavailable(_) | StoreError::Unreadable(_)) = done {
            self.operations.failed(operation as usize);
        }
    }
}

#[async_trait]
impl<S: JobStore + ?Sized> JobStore for MeasuredStore<S> {
    fn name(&self) -> &'static str {
        self.store.name()
    }

    fn promise(&self) -> &'static str {
        self.store.promise()
    }

    async fn submit(&self, job: NewJob) -> Result<Accepted, StoreError> {
        self.timed(Operation::Submit, self.store.submit(job)).await
    }

    async fn get(&self, id: JobId) -> Result<Found, StoreError> {
        self.timed(Operation::Get, self.store.get(id)).await
    }

    /// Counts failures only: the caller chooses the duration.
    async fn wait(&self, id: JobId, patience: Duration) -> Result<Found, StoreError> {
        let found = self.store.wait(id, patience).await;
        self.count(Operation::Wait, &found);
        found
    }

    async fn log_so_far(&self, id: JobId, attempt: u32) -> Result<Option<LogSoFar>, StoreError> {
        self.timed(Operation::Log, self.store.log_so_far(id, attempt))
            .await
    }

    async fn list(&self, query: &ListQuery) -> Result<JobPage, StoreError> {
        self.timed(Operation::List, self.store.list(query)).await
    }

    async fn sweep(&self, now: Timestamp) -> Result<usize, StoreError> {
        self.timed(Operation::Sweep, self.store.sweep(now)).await
    }

    fn supports_terms(&self) -> bool {
        self.store.supports_terms()
    }

    fn start_dispatch(&self, runner: Arc<dyn JobRunner>) -> Result<(), StoreError> {
        self.store.start_dispatch(runner)
    }

    fn dispatch_more(&self) {
        self.store.dispatch_more();
    }

    async fn cancel(&self, id: JobId) -> Result<(), StoreError> {
        self.timed(Operation::Cancel, self.store.cancel(id)).await
    }

    async fn nodes(&self) -> Result<Option<Nodes>, StoreError> {
        self.timed(Operation::Nodes, self.store.nodes()).await
    }

    fn counts(&self) -> StoreCounts {
        self.store.counts()
    }

    fn stop_dispatch(&self) {
        self.store.stop_dispatch();
    }

    async fn close(&self) {
        self.store.close().await;
    }

    fn has_room(&self) -> bool {
        self.store.has_room()
    }

    async fn health(&self) -> Result<(), StoreError> {
        self.timed(Operation::Health, self.store.health()).await
    }
}

#[async_trait]
impl<S: JobRecords + ?Sized> JobRecords for MeasuredStore<S> {
    async fn start(&self, id: JobId, attempt: u32) -> Result<(), StoreError> {
        self.timed(Operation::Start, self.store.start(id, attempt))
            .await
    }

    async fn requeue(&self, id: JobId, attempt: u32) -> Result<(), StoreError> {
        self.timed(Operation::Requeue, self.store.requeue(id, attempt))
            .await
    }

    async fn finish(
        &self,
        id: JobId,
        attempt: u32,
        settlement: Settlement,
    ) -> Result<Finished, StoreError> {
        let finished = self.store.finish(id, attempt, settlement);
        self.timed(Operation::Finish, finished).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_operation_has_its_label() {
        assert_eq!(NAMES.len(), Operation::Health as usize + 1);
        assert_eq!(NAMES[Operation::Finish as usize], "finish");
        assert_eq!(NAMES[Operation::Cancel as usize], "cancel");
    }
}
