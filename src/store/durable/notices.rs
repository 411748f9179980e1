//! What one node tells the others: that jobs have ended, so that whoever waits for them there is woken.
//!
//! Hints only. They are sent where there is somebody to hear them, in the transaction that ends the jobs; whoever waits
//! looks by itself now and then.

use super::Shared;
use super::database::Database;
use sandpiper_domain::JobId;
use sqlx::PgPool;
use sqlx::postgres::PgListener;
use std::fmt::Write as _;
use std::sync::Weak;
use std::time::Duration;
use tracing::warn;

const CHANNEL: &str = "sandpiper_ended";
/// Names of jobs in one notice: Postgres takes less than 8,000 bytes.
pub(super) const NAMES_MAX: usize = 200;
/// Between two tries to listen.
const LISTEN_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Tells the others in this transaction, which is Postgres's.
pub(super) const TELL: &str = "SELECT pg_notify('sandpiper_ended', $1)";

/// The names of jobs, as a notice has them.
pub(super) fn names<'a>(ids: impl IntoIterator<Item = &'a JobId>) -> String {
    let mut text = String::new();
    for id in ids {
        // Writing to memory cannot fail.
        let _ = write!(text, "{id},");
    }
    text
}

/// Wakes whoever waits here for what has ended elsewhere, for as long as there is a store.
pub(super) async fn listen(store: Weak<Shared>) {
    loop {
        let Some(pool) = store.upgrade().and_then(|shared| match &shared.database {
            Database::Postgres(pool) => Some(pool.clone()),
            Database::Sqlite(_) => None,
        }) else {
            return;
        };
        if let Err(cause) = listen_on(&store, &pool).await {
            warn!(%cause, "notices of other nodes are not heard; who waits for their jobs is answered a second later");
        }
        tokio::time::sleep(LISTEN_AGAIN_AFTER).await;
    }
}

async fn listen_on(store: &Weak<Shared>, pool: &PgPool) -> Result<(), sqlx::Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.listen(CHANNEL).await?;
    loop {
        let notice = listener.recv().await?;
        let Some(shared) = store.upgrade() else {
            return Ok(());
        };
        for id in notice.payload().split_terminator(',') {
            if let Ok(id) = id.parse() {
                shared.wake(id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_of_the_most_jobs_fits_and_names_them() {
        let ids: Vec<JobId> = (0..NAMES_MAX).map(|_| JobId::generate()).collect();
        let text = names(&ids);
        assert!(text.len() < 8_000);
        let read: Vec<JobId> = text
            .split_terminator(',')
            .map(|id| id.parse().unwrap())
            .collect();
        assert_eq!(read, ids);
    }
}
