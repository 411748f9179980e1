//! The work that reserve executors get, and the moment at which they get it.

use super::super::dispatcher::{Drain, ReserveOptions, StopAll};
use super::super::executor::{CheckUp, Execute};
use super::super::work_queue::WorkItem;
use super::support::{Harness, HarnessOptions, PATIENCE, eventually, soon, succeed};
use sandpiper_domain::{Access, JobState, Outcome};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Time for several periodic checks.
const A_WHILE: Duration = Duration::from_millis(200);

fn options(executors: usize, reserve_executors: usize) -> HarnessOptions {
    HarnessOptions {
        reserve_executors,
        ..HarnessOptions::new(executors)
    }
}

/// Builds a harness in which one client holds all executors and has two more jobs waiting. Returns the held work too.
async fn held(options: HarnessOptions) -> (Harness, Vec<Execute>) {
    let executors = options.executors;
    let mut harness = options.build();
    for _ in 0..executors + 2 {
        harness.submit_as("holder").await;
    }
    let held = harness.handed_out().await;
    assert_eq!(held.len(), executors);
    (harness, held)
}

#[actix::test]
async fn work_of_another_client_runs_on_a_reserve_executor_while_one_client_holds_all() {
    let after = Duration::from_millis(40);
    let options = HarnessOptions {
        reserve: ReserveOptions {
            after,
            idle_max: PATIENCE,
        },
        ..options(2, 2)
    };
    let (mut harness, held) = held(options).await;
    let (id, result) = harness.ask_as("other").await;
    harness.reserve_comes_up().await;
    let execute = harness.next_on_reserve(0).await;
    assert_eq!(execute.id(), id);
    assert!(execute.since.elapsed() >= after, "it did not wait");
    let running = || harness.stats.running.load(Ordering::Relaxed);
    assert_eq!(running(), 3);
    succeed(execute);
    let execution = soon("the caller gets a result", result)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((execution.id, execution.outcome), (id, Outcome::Succeeded));
    assert_eq!(harness.stats.meters.reserve_executions.get(), 1);
    eventually("its executor is free again", || running() == 2).await;
    // No regular executor came free with it.
    assert!(harness.handed_out().await.is_empty());
    held.into_iter().for_each(succeed);
    assert_eq!(harness.handed_out().await.len(), 2);
}

#[actix::test]
async fn a_background_job_of_another_client_runs_on_a_reserve_executor_too() {
    let (mut harness, _held) = held(options(1, 1)).await;
    let id = harness.submit_as("other").await;
    harness.reserve_comes_up().await;
    succeed(harness.next_on_reserve(0).await);
    assert_eq!(harness.final_job(id).await.state, JobState::Finished);
}

#[actix::test]
async fn a_client_has_one_execution_on_a_reserve_executor_and_only_while_it_has_no_other() {
    let (mut harness, held) = held(options(1, 3)).await;
    harness.reserve_comes_up().await;
    tokio::time::sleep(A_WHILE).await;
    let none = harness.try_reserve_item(0);
    assert!(none.is_none(), "the holder has an executor: {none:?}");
    let (first, _answer) = harness.ask_as("other").await;
    let (second, _answer) = harness.ask_as("other").await;
    let execute = harness.next_on_reserve(0).await;
    assert_eq!(execute.id(), first);
    // Another reserve executor is started ahead of need.
    harness.reserve_comes_up().await;
    tokio::time::sleep(A_WHILE).await;
    let none = harness.try_reserve_item(1);
    assert!(none.is_none(), "it has an executor: {none:?}");
    succeed(execute);
    assert_eq!(harness.next_on_reserve(0).await.id(), second);
    drop(held);
}

#[actix::test]
async fn several_clients_that_hold_all_executors_are_treated_like_one() {
    let mut harness = options(2, 2).build();
    for client in ["a", "b", "a", "b"] {
        harness.submit_as(client).await;
    }
    let _held = harness.handed_out().await;
    let (id, _answer) = harness.ask_as("other").await;
    harness.reserve_comes_up().await;
    assert_eq!(harness.next_on_reserve(0).await.id(), id);
}

#[actix::test]
async fn never_more_are_handed_out_than_there_are_executors_and_reserve_executors() {
    let (mut harness, held) = held(options(2, 2)).await;
    let mut results = Vec::new();
    for client in 0..10 {
        results.push(harness.ask_as(&format!("client {client}")).await);
    }
    harness.reserve_comes_up().await;
    harness.reserve_comes_up().await;
    let running = || harness.stats.running.load(Ordering::Relaxed);
    eventually("all are at work", || running() == 4).await;
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(running(), 4);
    // The requests that have waited longest come first.
    let begun: BTreeSet<_> = [
        harness.next_on_reserve(0).await.id(),
        harness.next_on_reserve(1).await.id(),
    ]
    .into();
    assert_eq!(begun, results[..2].iter().map(|(id, _)| *id).collect());
    assert!(harness.handed_out().await.is_empty());
    drop(held);
}

#[actix::test]
async fn prefetched_work_of_an_executor_that_does_not_come_free_goes_to_a_reserve_executor() {
    let mut harness = options(1, 1).build();
    // So many executions were short that the next work is prefetched.
    for _ in 0..3 {
        let (_, result) = harness.ask_as("holder").await;
        succeed(harness.next().await);
        assert!(
            soon("the caller gets a result", result)
                .await
                .unwrap()
                .is_ok()
        );
    }
    let (_, _answer) = harness.ask_as("holder").await;
    let held = harness.next().await;
    let (id, result) = harness.ask_as("other").await;
    let stats = Arc::clone(&harness.stats);
    let ready = || stats.queued_interactive.load(Ordering::Relaxed);
    assert_eq!(ready(), 1);
    harness.reserve_comes_up().await;
    let execute = harness.next_on_reserve(0).await;
    assert_eq!(execute.id(), id);
    eventually("it does not wait any more", || ready() == 0).await;
    assert!(harness.handed_out().await.is_empty());
    succeed(execute);
    assert!(
        soon("the caller gets a result", result)
            .await
            .unwrap()
            .is_ok()
    );
    succeed(held);
    let (next, _answer) = harness.ask_as("holder").await;
    assert_eq!(harness.next().await.id(), next);
}

#[actix::test]
async fn as_long_as_executors_come_free_no_reserve_executor_is_needed() {
    let options = HarnessOptions {
        reserve: ReserveOptions {
            after: Duration::from_secs(1),
            idle_max: PATIENCE,
        },
        ..options(1, 1)
    };
    let mut harness = options.build();
    for number in 0..40 {
        harness.submit_as(&format!("client {number}")).await;
    }
    let end = Instant::now() + Duration::from_millis(2_500);
    while Instant::now() < end {
        succeed(harness.next().await);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let none = harness.try_reserve_item(0);
    assert!(none.is_none(), "{none:?}");
}

#[actix::test]
async fn a_reserve_executor_that_cannot_be_started_costs_no_client_its_work() {
    let (mut harness, held) = held(options(1, 1)).await;
    let (id, result) = harness.ask_as("other").await;
    let WorkItem::CheckUp(CheckUp(done)) = harness.reserve_item(0).await else {
        panic!("the reserve executor got work before it was up");
    };
    // The check-up ends, and the executor is not up.
    let _ = done.send(());
    tokio::time::sleep(A_WHILE).await;
    let none = harness.try_reserve_item(0);
    assert!(none.is_none(), "it is tried again at once: {none:?}");
    held.into_iter().for_each(succeed);
    let execute = harness.next().await;
    assert_eq!(execute.id(), id);
    succeed(execute);
    assert!(
        soon("the caller gets a result", result)
            .await
            .unwrap()
            .is_ok()
    );
}

#[actix::test]
async fn a_reserve_executor_is_kept_while_it_may_be_needed_and_then_ended() {
    let options = HarnessOptions {
        reserve: ReserveOptions {
            after: Duration::from_millis(10),
            idle_max: Duration::from_millis(50),
        },
        ..options(1, 1)
    };
    let (mut harness, held) = held(options).await;
    harness.reserve_comes_up().await;
    tokio::time::sleep(A_WHILE).await;
    let none = harness.try_reserve_item(0);
    assert!(none.is_none(), "{none:?}");
    held.into_iter().for_each(succeed);
    for _ in 0..2 {
        succeed(harness.next().await);
    }
    let item = harness.reserve_item(0).await;
    assert!(matches!(item, WorkItem::EndZygote), "{item:?}");
}

#[actix::test]
async fn work_on_a_reserve_executor_is_drained_cancelled_and_stopped_like_all_work() {
    let (mut harness, held) = held(options(1, 2)).await;
    harness.reserve_comes_up().await;
    let cancelled = harness.submit_as("one").await;
    let execute = harness.next_on_reserve(0).await;
    let is_stopped = || execute.handle.is_cancelled();
    let cancel = harness.handle.cancel(cancelled, &Access::All);
    let executor = async { eventually("it is stopped", is_stopped).await };
    let (_, ()) = tokio::join!(tokio::time::timeout(A_WHILE, cancel), executor);
    succeed(execute);

    let (_, _answer) = harness.ask_as("two").await;
    let execute = harness.next_on_reserve(0).await;
    held.into_iter().for_each(succeed);
    let _others = harness.handed_out().await;
    harness.dispatcher.send(Drain).await.unwrap();
    assert!(harness.stats.running.load(Ordering::Relaxed) > 0);
    assert!(!execute.handle.is_cancelled());
    harness.dispatcher.send(StopAll).await.unwrap();
    assert!(execute.handle.is_cancelled());
}
