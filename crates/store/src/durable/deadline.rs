//! Deadlines of calls to the database.
//!
//! No caller waits for the database longer than `--store-timeout-ms`. The database has deadlines of its own
//! (`connect.rs`), so that it stops statements that no caller waits for. The deadlines here hold where the database does
//! not respond at all.

use crate::StoreError;
use std::time::Duration;

/// Waits for `work` at most for `limit`. Work that takes longer is dropped, and its open transaction is rolled back.
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
