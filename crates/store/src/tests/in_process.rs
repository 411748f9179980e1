//! The jobs of a store of one process, on their way to the runner.

use super::*;
use crate::{InProcessStore, JobRunner, NotRun, Ran, StartHook, ToolProgress};
use async_trait::async_trait;
use sandpiper_domain::{Job, LogSoFar};
use std::sync::atomic::{AtomicUsize, Ordering};

/// A runner whose jobs never end.
#[derive(Debug, Default)]
struct CountingRunner(AtomicUsize);

#[async_trait]
impl JobRunner for CountingRunner {
    async fn run(
        &self,
        _: Arc<Job>,
        _: Option<Arc<ToolProgress>>,
        _: QueuePlace,
        _: StartHook,
    ) -> Result<Ran, NotRun> {
        self.0.fetch_add(1, Ordering::SeqCst);
        std::future::pending().await
    }

    async fn log_since(&self, _: JobId, _: u64) -> Option<LogSoFar> {
        None
    }

    async fn cancel(&self, _: JobId) {}
}

/// A job that is accepted just before the service stops would otherwise never start.
#[tokio::test]
async fn a_job_is_with_the_runner_before_its_submit_returns() {
    let store = InProcessStore::new(Arc::new(MemoryStore::new(ROOMY)), 3);
    let runner = Arc::new(CountingRunner::default());
    store.start_dispatch(Arc::clone(&runner) as _).unwrap();
    submit(&store).await;
    assert_eq!(runner.0.load(Ordering::SeqCst), 1);
}
