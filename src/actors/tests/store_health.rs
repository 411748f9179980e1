//! Whether the store answers, as it is told to whoever watches.

use super::support::soon;
use super::witness::Witness;
use crate::actors::StoreHealth;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Longer than an answer is believed.
const LATER: Duration = Duration::from_millis(1_100);

#[actix::test]
async fn however_many_ask_the_store_is_asked_once_and_again_when_its_answer_is_old() {
    let store = Witness::over(1);
    let health = StoreHealth::new(Arc::clone(&store) as _);
    for _ in 0..100 {
        assert!(health.is_up().await);
    }
    assert_eq!(store.health_asked(), 1);
    store.set_ill(true);
    assert!(health.is_up().await, "it was well a moment ago");
    tokio::time::sleep(LATER).await;
    for _ in 0..100 {
        assert!(!health.is_up().await);
    }
    assert_eq!(store.health_asked(), 2);
    store.set_ill(false);
    tokio::time::sleep(LATER).await;
    assert!(health.is_up().await);
}

#[actix::test]
async fn a_store_that_does_not_answer_is_down_within_a_second_and_is_not_asked_again_meanwhile() {
    let store = Witness::over(1);
    let health = StoreHealth::new(Arc::clone(&store) as _);
    store.let_answer(false);
    let asked = (0..20).map(|_| health.is_up());
    let answers = soon("the probes end", futures_util::future::join_all(asked)).await;
    assert!(answers.iter().all(|is_up| !is_up));
    let began = Instant::now();
    for _ in 0..20 {
        assert!(!health.is_up().await);
    }
    // Whoever asks now waits for nothing: twenty together for less than one did before.
    assert!(began.elapsed() < Duration::from_secs(1));
    assert_eq!(store.health_asked(), 1);
    store.let_answer(true);
    soon("it is up again", async {
        while !health.is_up().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}
