//! Deadlines: nobody waits for the database for longer than `--store-timeout-ms`.
//!
//! The database has deadlines of its own (`database.rs`), so that it does not go on with what nobody waits for. These hold
//! where it does not answer at all.

use super::Shared;
use crate::store::StoreError;
use std::time::Duration;

/// Waits for `work` at most for `limit`; beyond that it is given up, and what it began is rolled back.
pub(super) async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    tokio::time::timeout(limit, work)
        .await
        .unwrap_or_else(|_| Err(late()))
}

pub(super) fn late() -> StoreError {
    StoreError::Unavailable("it does not answer in time".to_owned())
}

impl Shared {
    /// Waits for `work`, one question to the database, for as long as anything may.
    pub(super) async fn in_time<T>(
        &self,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        within(self.options.timeout, work).await
    }
}
