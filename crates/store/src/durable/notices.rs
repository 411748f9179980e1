//! Notices between nodes: a node tells the others which jobs ended, so that callers that wait there are woken.
//!
//! Notices are hints. They are sent in the transaction that ends the jobs, and only while there are other nodes. A caller
//! that waits also polls, so a lost notice costs a second and nothing else.

use super::pool::{Pool, Transaction, on_transaction};
use super::waiters::Waiters;
use sandpiper_domain::JobId;
use sqlx::PgPool;
use sqlx::postgres::PgListener;
use std::fmt::Write as _;
use std::sync::Weak;
use std::time::Duration;
use tracing::warn;

/// Channel of `NOTIFY` in Postgres.
const CHANNEL: &str = "sandpiper_ended";
/// Most ids in one notice: a notice of Postgres has less than 8,000 bytes.
pub(super) const IDS_MAX: usize = 200;
const LISTEN_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Tells the other nodes, when the transaction commits, that these jobs have ended.
pub(super) async fn notify<'a>(
    transaction: &mut Transaction,
    ids: impl IntoIterator<Item = &'a JobId>,
) -> Result<(), sqlx::Error> {
    let payload = payload(ids);
    on_transaction!(transaction, connection => {
        sqlx::query("SELECT pg_notify($1, $2)")
            .bind(CHANNEL)
            .bind(payload)
            .execute(&mut **connection)
            .await?;
    });
    Ok(())
}

fn payload<'a>(ids: impl IntoIterator<Item = &'a JobId>) -> String {
    let mut text = String::new();
    for id in ids {
        // Writing to memory cannot fail.
        let _ = write!(text, "{id},");
    }
    text
}

/// Wakes the callers of this node when their jobs end on another node, for as long as the store exists.
pub(super) async fn listen(waiters: Weak<Waiters>, pool: Pool) {
    let Pool::Postgres(pool) = pool else {
        return;
    };
    while waiters.strong_count() > 0 {
        if let Err(cause) = listen_on(&waiters, &pool).await {
            warn!(
                %cause,
                "notices of other nodes are not received; callers that wait for jobs of other nodes are polled for \
                 every second; listening is tried again"
            );
        }
        tokio::time::sleep(LISTEN_AGAIN_AFTER).await;
    }
}

async fn listen_on(waiters: &Weak<Waiters>, pool: &PgPool) -> Result<(), sqlx::Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.listen(CHANNEL).await?;
    loop {
        let notice = listener.recv().await?;
        let Some(waiters) = waiters.upgrade() else {
            return Ok(());
        };
        for id in notice.payload().split_terminator(',') {
            if let Ok(id) = id.parse() {
                waiters.wake(id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_with_the_most_ids_fits_and_lists_them() {
        let ids: Vec<JobId> = (0..IDS_MAX).map(|_| JobId::generate()).collect();
        let text = payload(&ids);
        assert!(text.len() < 8_000);
        let read: Vec<JobId> = text
            .split_terminator(',')
            .map(|id| id.parse().unwrap())
            .collect();
        assert_eq!(read, ids);
    }
}
