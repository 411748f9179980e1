//! Prefetched work: pushed for an Executor before that is free, only while executions are short, and retracted when its
//! result is not wanted any more.

use super::super::dispatcher::Run;
use super::super::types::{DispatchError, ExecuteResult};
use super::support::{Harness, HarnessOptions, eventually, new_job, soon, succeed};
use sandpiper_domain::JobId;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::oneshot;

/// Builds a harness with one executor, in which so many executions were short that the next work is prefetched.
async fn prefetching_harness(options: HarnessOptions) -> Harness {
    let mut harness = options.build();
    for _ in 0..3 {
        let result = ask(&harness).await.1;
        succeed(harness.next().await);
        assert!(
            soon("the caller gets a result", result)
                .await
                .unwrap()
                .is_ok()
        );
    }
    harness
}

/// Sends a request that waits for its execution.
async fn ask(harness: &Harness) -> (JobId, oneshot::Receiver<ExecuteResult>) {
    let (reply, result) = oneshot::channel();
    let job = new_job();
    let id = job.id;
    let message = Run::now(job, reply);
    harness.dispatcher.send(message).await.unwrap();
    (id, result)
}

fn waiting(harness: &Harness) -> usize {
    harness.stats.queued_interactive.load(Ordering::Relaxed)
}

#[actix::test]
async fn while_executions_are_short_one_more_is_prefetched_and_counts_as_waiting() {
    let mut harness = prefetching_harness(HarnessOptions::new(1)).await;
    let asked = [
        ask(&harness).await,
        ask(&harness).await,
        ask(&harness).await,
    ];
    let pushed: Vec<_> = harness.handed_out().await;
    let ids: Vec<_> = pushed.iter().map(|execute| execute.id()).collect();
    assert_eq!(ids, [asked[0].0, asked[1].0]);
    assert_eq!(waiting(&harness), 2);
    assert_eq!(harness.stats.running.load(Ordering::Relaxed), 1);
}

#[actix::test]
async fn before_any_execution_was_short_none_is_prefetched() {
    let mut harness = HarnessOptions::new(1).build();
    let _asked = [ask(&harness).await, ask(&harness).await];
    assert_eq!(harness.handed_out().await.len(), 1);
}

#[actix::test]
async fn while_background_jobs_wait_none_is_prefetched() {
    let mut harness = prefetching_harness(HarnessOptions::new(1)).await;
    harness.submit().await;
    let busy = harness.next().await;
    harness.submit().await;
    let _asked = ask(&harness).await;
    assert!(harness.handed_out().await.is_empty());
    succeed(busy);
    harness.next().await;
}

#[actix::test]
async fn prefetched_work_is_not_run_for_a_caller_that_has_gone() {
    let mut harness = prefetching_harness(HarnessOptions::new(1)).await;
    let (_, _busy) = ask(&harness).await;
    let running = harness.next().await;
    let handle = harness.handle.clone();
    let caller = tokio::spawn(async move { handle.execute(new_job()).await });
    eventually("the work is prefetched", || waiting(&harness) == 1).await;
    caller.abort();
    eventually("the work is retracted", || waiting(&harness) == 0).await;
    assert!(harness.handed_out().await.is_empty());
    let (next, _answer) = ask(&harness).await;
    succeed(running);
    assert_eq!(harness.next().await.id(), next);
}

#[actix::test]
async fn prefetched_work_is_refused_when_it_has_waited_too_long() {
    let options = HarnessOptions {
        queue_wait_max: Duration::from_secs(1),
        ..HarnessOptions::new(1)
    };
    let mut harness = prefetching_harness(options).await;
    let (_, _busy) = ask(&harness).await;
    let running = harness.next().await;
    let (_, ready) = ask(&harness).await;
    let refused = soon("it is refused", ready).await.unwrap();
    assert!(matches!(
        refused,
        Err(DispatchError::QueueWaitExceeded { .. })
    ));
    assert!(harness.handed_out().await.is_empty());
    // The retracted work is not counted any more.
    let (next, _answer) = ask(&harness).await;
    succeed(running);
    assert_eq!(harness.next().await.id(), next);
}

#[actix::test]
async fn pushed_work_that_no_executor_pops_is_refused_when_it_has_waited_too_long() {
    let options = HarnessOptions {
        queue_wait_max: Duration::from_secs(1),
        ..HarnessOptions::new(1)
    };
    let harness = options.build();
    let (_, asked) = ask(&harness).await;
    let refused = soon("it is refused", asked).await.unwrap();
    assert!(matches!(
        refused,
        Err(DispatchError::QueueWaitExceeded { .. })
    ));
    let running = || harness.stats.running.load(Ordering::Relaxed);
    eventually("it does not count as running", || running() == 0).await;
}

#[actix::test]
async fn prefetched_work_takes_a_place_of_the_queue() {
    let options = HarnessOptions {
        interactive_max: 1,
        ..HarnessOptions::new(1)
    };
    let mut harness = prefetching_harness(options).await;
    let (_, _busy) = ask(&harness).await;
    let _running = harness.next().await;
    let (_, _ready) = ask(&harness).await;
    let (_, refused) = ask(&harness).await;
    let refused = soon("it is refused", refused).await.unwrap();
    assert!(matches!(refused, Err(DispatchError::QueueFull { .. })));
}

#[actix::test]
async fn a_service_that_stops_refuses_prefetched_work() {
    let mut harness = prefetching_harness(HarnessOptions::new(1)).await;
    let (_, _busy) = ask(&harness).await;
    let running = harness.next().await;
    let (_, ready) = ask(&harness).await;
    let handle = harness.handle.clone();
    let drained = tokio::spawn(async move { handle.drain(Duration::ZERO).await });
    let refused = soon("it is refused", ready).await.unwrap();
    assert!(matches!(refused, Err(DispatchError::Draining)));
    assert!(harness.handed_out().await.is_empty());
    succeed(running);
    soon("all have ended", drained).await.unwrap();
}
