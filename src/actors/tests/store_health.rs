//! The health of the store, as probes see it.

use super::recording_store::RecordingStore;
use super::support::soon;
use crate::actors::StoreHealth;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Longer than a response is valid.
const LATER: Duration = Duration::from_millis(1_100);

#[actix::test]
async fn the_store_is_asked_once_for_many_probes_and_again_when_its_response_is_old() {
    let store = RecordingStore::over(1);
    let health = StoreHealth::new(Arc::clone(&store) as _);
    for _ in 0..100 {
        assert!(health.is_up().await);
    }
    assert_eq!(store.health_asked(), 1);
    store.set_unwritable(true);
    assert!(health.is_up().await, "the store was up a moment ago");
    tokio::time::sleep(LATER).await;
    for _ in 0..100 {
        assert!(!health.is_up().await);
    }
    assert_eq!(store.health_asked(), 2);
    store.set_unwritable(false);
    tokio::time::sleep(LATER).await;
    assert!(health.is_up().await);
}

#[actix::test]
async fn a_store_that_does_not_respond_is_down_within_a_second_and_is_not_asked_again_meanwhile() {
    let store = RecordingStore::over(1);
    let health = StoreHealth::new(Arc::clone(&store) as _);
    store.let_health_respond(false);
    let asked = (0..20).map(|_| health.is_up());
    let results = soon("the probes end", futures_util::future::join_all(asked)).await;
    assert!(results.iter().all(|is_up| !is_up));
    let began = Instant::now();
    for _ in 0..20 {
        assert!(!health.is_up().await);
    }
    // A probe now waits for nothing: twenty probes together take less time than one did before.
    assert!(began.elapsed() < Duration::from_secs(1));
    assert_eq!(store.health_asked(), 1);
    store.let_health_respond(true);
    soon("it is up again", async {
        while !health.is_up().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}
