//! The connections of a durable store, the threads that use them, and the deadline of each call.

use super::deadline::within;
use super::pool::Pool;
use super::seal::Seal;
use crate::StoreError;
use std::time::Duration;
use tokio::runtime::Handle;

/// The database of a store. A clone shares the connections.
#[derive(Debug, Clone)]
pub(super) struct Database {
    /// Connections that read and write.
    pub(super) pool: Pool,
    /// Connections for statements that only read.
    pub(super) readers: Pool,
    pub(super) seal: Seal,
    threads: Handle,
    /// Longest that a caller waits for one statement.
    timeout: Duration,
}

impl Database {
    /// Makes a database whose work runs on the current runtime.
    pub(super) fn new(pool: Pool, readers: Pool, seal: Seal, timeout: Duration) -> Self {
        Self {
            pool,
            readers,
            seal,
            threads: Handle::current(),
            timeout,
        }
    }

    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Returns whether other nodes can use the database too: a file of SQLite belongs to one process.
    pub(super) fn is_shared(&self) -> bool {
        matches!(self.pool, Pool::Postgres(_))
    }

    /// Waits for `work`, one statement, at most for the timeout.
    pub(super) async fn in_time<T>(
        &self,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        within(self.timeout, work).await
    }

    /// Runs `work`, one statement, on the store's own threads, at most for the timeout.
    pub(super) async fn on_threads<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.on_threads_within(self.timeout, work).await
    }

    /// Runs `work` on the store's own threads, at most for `limit`.
    pub(super) async fn on_threads_within<T: Send + 'static>(
        &self,
        limit: Duration,
        work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        let work = self.threads.spawn(within(limit, work));
        let closed = |_| Err(StoreError::Unavailable("it has been closed".to_owned()));
        work.await.unwrap_or_else(closed)
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        Self::Unavailable(error.to_string())
    }
}

impl From<riverqueue::Error> for StoreError {
    fn from(error: riverqueue::Error) -> Self {
        Self::Unavailable(error.to_string())
    }
}
