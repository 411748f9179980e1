//! The order in which work is handed out, and the bounds of the queue.

use super::super::dispatcher::Run;
use super::super::executor::ExecutorFailure;
use super::super::runner::Task;
use super::super::types::{ClaimResult, DispatchError};
use super::recording_store::RecordingStore;
use super::support::{
    Harness, HarnessOptions, PATIENCE, eventually, new_job, respond, soon, succeed,
};
use crate::actors::dispatcher::{JobLocation, Locate};
use sandpiper_domain::{Access, Job, JobId, JobState, JobTerms, Outcome, Timestamp, samples};
use sandpiper_store::{JobStore as _, NotRun};
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::oneshot;

#[actix::test]
async fn never_more_are_handed_out_than_there_are_executors() {
    let mut harness = HarnessOptions::new(3).build();
    let mut submitted = BTreeSet::new();
    for _ in 0..100 {
        submitted.insert(harness.submit().await);
    }
    let mut in_flight = VecDeque::from(harness.handed_out().await);
    assert_eq!(in_flight.len(), 3);
    let mut run = BTreeSet::new();
    while let Some(execute) = in_flight.pop_front() {
        let id = execute.id();
        assert!(run.insert(id), "a job was handed out twice");
        succeed(execute);
        // The executor is free only once the result has arrived.
        if run.len() + in_flight.len() < 100 {
            in_flight.push_back(harness.next().await);
        }
        assert_eq!(harness.final_job(id).await.state, JobState::Finished);
        in_flight.extend(harness.handed_out().await);
        assert!(in_flight.len() <= 3, "{} in flight", in_flight.len());
    }
    assert_eq!(run, submitted);
    let running = || harness.stats.running.load(Ordering::Relaxed);
    eventually("the stats say that none runs", || running() == 0).await;
}

#[actix::test]
async fn a_result_that_an_executor_drops_is_a_failure_and_frees_the_executor() {
    let mut harness = HarnessOptions::new(1).build();
    let handle = harness.handle.clone();
    let caller = tokio::spawn(async move { handle.execute(new_job()).await });
    drop(harness.next().await.reply);
    let refused = soon("the caller gets a result", caller).await.unwrap();
    assert_eq!(refused, Err(DispatchError::IsolationLost));
    let id = harness.submit().await;
    succeed(harness.next().await);
    assert_eq!(harness.final_job(id).await.state, JobState::Finished);
}

#[actix::test]
async fn a_caller_whose_executor_panicked_gets_an_internal_error_and_is_not_run_again() {
    let mut harness = HarnessOptions::new(1).build();
    let handle = harness.handle.clone();
    let caller = tokio::spawn(async move { handle.execute(new_job()).await });
    respond(harness.next().await, Err(ExecutorFailure::Panicked));
    let refused = soon("the caller gets a result", caller).await.unwrap();
    assert_eq!(refused, Err(DispatchError::Internal));
    assert!(harness.handed_out().await.is_empty());
}

#[actix::test]
async fn a_caller_gets_the_execution_of_its_own_job() {
    let mut harness = HarnessOptions::new(2).build();
    let callers: Vec<_> = (0..2)
        .map(|_| {
            let handle = harness.handle.clone();
            let job = new_job();
            let id = job.id;
            (id, tokio::spawn(async move { handle.execute(job).await }))
        })
        .collect();
    let (first, second) = (harness.next().await, harness.next().await);
    succeed(second);
    succeed(first);
    for (id, caller) in callers {
        let execution = soon("the caller gets a result", caller)
            .await
            .unwrap()
            .unwrap();
        assert_eq!((execution.id, execution.outcome), (id, Outcome::Succeeded));
    }
}

#[actix::test]
async fn the_work_of_a_caller_that_has_gone_is_not_run() {
    let mut harness = HarnessOptions::new(1).build();
    harness.submit().await;
    let busy = harness.next().await;
    let (reply, result) = oneshot::channel();
    let message = Run::now(new_job(), reply);
    harness.dispatcher.send(message).await.unwrap();
    let next = harness.submit().await;
    drop(result);
    succeed(busy);
    assert_eq!(harness.next().await.id(), next);
}

#[actix::test]
async fn a_caller_that_goes_away_leaves_the_queue_at_once() {
    let mut harness = HarnessOptions::new(1).build();
    harness.submit().await;
    let _busy = harness.next().await;
    let handle = harness.handle.clone();
    let caller = tokio::spawn(async move { handle.execute(new_job()).await });
    let waiting = || harness.stats.queued_interactive.load(Ordering::Relaxed);
    eventually("it waits", || waiting() == 1).await;
    caller.abort();
    eventually("it does not wait any more", || waiting() == 0).await;
}

#[actix::test]
async fn the_running_job_of_a_caller_that_goes_away_is_stopped() {
    let mut harness = HarnessOptions::new(1).build();
    let handle = harness.handle.clone();
    let caller = tokio::spawn(async move { handle.execute(new_job()).await });
    let running = harness.next().await;
    assert!(!running.handle.is_cancelled());
    caller.abort();
    eventually("it is stopped", || running.handle.is_cancelled()).await;
}

#[actix::test]
async fn a_caller_waits_for_a_limited_time_and_a_job_waits_on() {
    let mut harness = HarnessOptions {
        queue_wait_max: Duration::from_millis(20),
        ..HarnessOptions::new(1)
    }
    .build();
    harness.submit().await;
    let busy = harness.next().await;
    let job = harness.submit().await;
    let refused = soon("it is refused", harness.handle.execute(new_job())).await;
    let Err(DispatchError::QueueWaitExceeded { waited }) = refused else {
        panic!("not refused for its wait: {refused:?}");
    };
    assert!(waited >= Duration::from_millis(20));
    let waiting = || harness.stats.queued_interactive.load(Ordering::Relaxed);
    eventually("its place in the queue is free", || waiting() == 0).await;
    assert_eq!(harness.job(job).await.state, JobState::Queued);
    succeed(busy);
    assert_eq!(harness.next().await.id(), job);
}

#[actix::test]
async fn a_store_that_refuses_a_job_frees_its_place_in_the_queue() {
    let mut harness = HarnessOptions {
        store: RecordingStore::over(1),
        background_max: 1,
        ..HarnessOptions::new(1)
    }
    .build();
    let first = harness.submit().await;
    let running = harness.next().await;
    // The first of these would keep the only place for ever.
    for _ in 0..3 {
        let refused = harness
            .handle
            .submit(new_job(), JobTerms::default(), None)
            .await;
        let Err(DispatchError::StoreFull { retry_after }) = refused else {
            panic!("not refused by the store: {refused:?}");
        };
        assert!(retry_after >= Duration::from_secs(1));
    }
    succeed(running);
    harness.final_job(first).await;
    let later = Timestamp::now().plus(PATIENCE * 2);
    assert_eq!(harness.store.sweep(later).await.unwrap(), 1);
    let second = harness.submit().await;
    assert_eq!(harness.next().await.id(), second);
}

#[actix::test]
async fn a_full_queue_refuses_before_the_store_is_asked() {
    let mut harness = HarnessOptions {
        background_max: 1,
        ..HarnessOptions::new(1)
    }
    .build();
    harness.submit().await;
    let running = harness.next().await;
    let waiting = harness.submit().await;
    let refused = new_job();
    let id = refused.id;
    let result = harness
        .handle
        .submit(refused, JobTerms::default(), None)
        .await;
    assert!(
        matches!(result, Err(DispatchError::QueueFull { retry_after }) if retry_after >= Duration::from_secs(1)),
        "{result:?}"
    );
    let found = harness.store.get(id, &Access::All).await.unwrap();
    assert!(matches!(found, sandpiper_store::Found::Unknown));
    succeed(running);
    assert_eq!(harness.next().await.id(), waiting);
    harness.submit().await;
}

#[actix::test]
async fn a_queued_job_has_a_position_and_a_running_one_has_none() {
    let mut harness = HarnessOptions::new(1).build();
    let running = harness.submit().await;
    let _busy = harness.next().await;
    let waiting = [harness.submit().await, harness.submit().await];
    let mut slots = Vec::new();
    for id in [running, waiting[0], waiting[1], JobId::generate()] {
        slots.push(match harness.dispatcher.send(Locate(id)).await.unwrap() {
            Some(JobLocation::Waiting(slot)) => Some(slot),
            Some(JobLocation::Running { .. }) | None => None,
        });
    }
    assert_eq!(slots, [None, Some(1), Some(2), None]);
}

#[actix::test]
async fn slow_check_ups_do_not_pile_up() {
    // No executor has taken its slot in the stats, so none is ready, and all are free.
    let mut harness = HarnessOptions::new(3).build();
    let asked = async |harness: &mut Harness, count| {
        while harness.check_ups() < count {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    soon("each executor gets a check-up", asked(&mut harness, 3)).await;
    // Time for several periodic checks, in which none of the check-ups has ended.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(harness.check_ups(), 3, "check-ups pile up");
    harness.end_check_ups();
    soon("check-ups go on", asked(&mut harness, 3)).await;
}

#[actix::test]
async fn sweeps_of_a_slow_store_do_not_pile_up() {
    let harness = HarnessOptions::new(1).build();
    harness.store.let_sweep(false);
    let begun = || harness.store.sweeps_begun();
    eventually("a sweep begins", || begun() == 1).await;
    // Two more sweeps are due meanwhile.
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    assert_eq!(begun(), 1, "sweeps pile up");
    harness.store.let_sweep(true);
    eventually("the next one begins", || begun() > 1).await;
}

/// Sends the Dispatcher a job that the store has handed out.
async fn claim(harness: &Harness, id: JobId) -> oneshot::Receiver<ClaimResult> {
    let (reply, result) = oneshot::channel();
    let job = Arc::new(Job {
        id,
        ..samples::job("test", 1)
    });
    let (queue_place, on_start) = Default::default();
    let claimed = Run::claimed(Task::Script(job), queue_place, on_start, reply);
    harness.dispatcher.send(claimed).await.unwrap();
    result
}

#[actix::test]
async fn a_job_that_is_claimed_again_while_it_is_here_is_busy_until_its_end() {
    let mut harness = HarnessOptions::new(1).build();
    let id = JobId::generate();
    let _other = claim(&harness, JobId::generate()).await;
    let first = claim(&harness, id).await;
    let other = harness.next().await;
    let while_it_waits = claim(&harness, id).await;
    succeed(other);
    let running = harness.next().await;
    let while_it_runs = claim(&harness, id).await;
    for refused in [while_it_waits, while_it_runs] {
        let told = soon("the claim gets a result", refused).await.unwrap();
        assert_eq!(told.unwrap_err(), NotRun::Busy);
    }
    succeed(running);
    assert!(soon("the job ends", first).await.unwrap().is_ok());
    let _again = claim(&harness, id).await;
    assert_eq!(harness.next().await.id(), id);
}
