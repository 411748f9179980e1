//! Cancelling one job, and stopping all.

use super::super::dispatcher::{Drain, StopAll};
use super::super::executor::{Execute, ExecutorFailure};
use super::super::types::{Cancelled, DispatchError, Lookup};
use super::support::{
    Harness, HarnessOptions, PATIENCE, eventually, new_job, respond, soon, succeed,
};
use sandpiper_domain::{Access, JobId, JobState, JobTerms, Outcome, Timestamp, samples};
use sandpiper_store::{Found, JobRecords as _, JobStore as _, NewJob, QueuePlace, Settlement};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Cancels a job, while its executor does its part.
async fn cancel_running(harness: &Harness, execute: Execute, then: fn(Execute)) -> Cancelled {
    let id = execute.id();
    let executor = async {
        eventually("it is stopped", || execute.handle.is_cancelled()).await;
        then(execute);
    };
    let (cancelled, ()) = tokio::join!(harness.handle.cancel(id, &Access::All), executor);
    cancelled.unwrap()
}

fn killed(execute: Execute) {
    let execution = samples::execution(execute.id(), Outcome::Cancelled);
    respond(execute, Ok(execution));
}

async fn is_requeued(harness: &Harness) {
    let requeued = || harness.store.changes().contains(&"requeue 1".to_owned());
    eventually("the job is requeued", requeued).await;
}

fn assert_cancelled(cancelled: &Cancelled) {
    assert!(
        matches!(cancelled, Cancelled::Done(now) if now.job.state == JobState::Cancelled),
        "{cancelled:?}"
    );
}

#[actix::test]
async fn a_queued_job_that_is_cancelled_is_never_handed_out() {
    let mut harness = HarnessOptions::new(1).build();
    harness.submit().await;
    let busy = harness.next().await;
    let cancelled = harness.submit().await;
    let stays = harness.submit().await;
    assert_cancelled(
        &harness
            .handle
            .cancel(cancelled, &Access::All)
            .await
            .unwrap(),
    );
    let job = harness.final_job(cancelled).await;
    assert!(job.execution.is_none() && job.started_at.is_none());
    succeed(busy);
    assert_eq!(harness.next().await.id(), stays);
}

#[actix::test]
async fn a_running_job_is_stopped_and_keeps_what_it_did() {
    let mut harness = HarnessOptions::new(1).build();
    let id = harness.submit().await;
    let execute = harness.next().await;
    assert_cancelled(&cancel_running(&harness, execute, killed).await);
    let execution = harness.final_job(id).await.execution.unwrap();
    assert_eq!(execution.outcome, Outcome::Cancelled);
    assert_eq!(harness.store.changes(), ["start 1", "finish 1 cancelled"]);
}

#[actix::test]
async fn a_job_that_ends_in_the_moment_of_its_cancel_is_already_final() {
    let mut harness = HarnessOptions::new(1).build();
    harness.submit().await;
    let execute = harness.next().await;
    let cancelled = cancel_running(&harness, execute, succeed).await;
    assert!(
        matches!(cancelled, Cancelled::AlreadyFinal(JobState::Finished)),
        "{cancelled:?}"
    );
}

#[actix::test]
async fn a_cancelled_job_whose_executor_fails_is_not_retried() {
    let mut harness = HarnessOptions::new(1).build();
    harness.submit().await;
    let execute = harness.next().await;
    let fail: fn(Execute) = |execute| respond(execute, Err(ExecutorFailure::Panicked));
    assert_cancelled(&cancel_running(&harness, execute, fail).await);
    assert_eq!(harness.store.changes(), ["start 1", "finish 1 cancelled"]);
}

#[actix::test]
async fn a_job_cancelled_before_its_retry_is_not_retried() {
    let mut harness = HarnessOptions::new(1).build();
    let cancelled = harness.submit().await;
    let other = harness.submit().await;
    respond(harness.next().await, Err(ExecutorFailure::NoSandbox));
    is_requeued(&harness).await;
    // The other job has the only executor meanwhile, so this one waits for its retry or in the queue.
    let execute = harness.next().await;
    assert_cancelled(
        &harness
            .handle
            .cancel(cancelled, &Access::All)
            .await
            .unwrap(),
    );
    // Only the other job comes back.
    respond(execute, Err(ExecutorFailure::NoSandbox));
    assert_eq!(harness.next().await.id(), other);
    assert_eq!(harness.counts().stale, 0);
}

#[actix::test]
async fn a_job_that_is_final_or_unknown_cannot_be_cancelled() {
    let mut harness = HarnessOptions::new(1).build();
    let id = harness.submit().await;
    succeed(harness.next().await);
    harness.final_job(id).await;
    let cancelled = harness.handle.cancel(id, &Access::All).await.unwrap();
    assert!(matches!(
        cancelled,
        Cancelled::AlreadyFinal(JobState::Finished)
    ));
    let never_seen = harness
        .handle
        .cancel(JobId::generate(), &Access::All)
        .await
        .unwrap();
    assert!(matches!(never_seen, Cancelled::Unknown));
}

#[actix::test]
async fn a_draining_service_refuses_new_work_and_lets_running_work_end() {
    let mut harness = HarnessOptions::new(1).build();
    let running = harness.submit().await;
    let execute = harness.next().await;
    let queued = harness.submit().await;
    let handle = harness.handle.clone();
    let caller = tokio::spawn(async move { handle.execute(new_job()).await });
    let waiting = || harness.stats.queued_interactive.load(Ordering::Relaxed);
    eventually("the caller waits", || waiting() == 1).await;
    harness.dispatcher.send(Drain).await.unwrap();
    assert!(harness.handle.status().draining);
    let refused = harness.handle.execute(new_job()).await;
    assert_eq!(refused, Err(DispatchError::Draining));
    let refused = harness
        .handle
        .submit(new_job(), JobTerms::default(), None)
        .await;
    assert_eq!(refused.unwrap_err(), DispatchError::Draining);
    succeed(execute);
    assert_eq!(harness.final_job(running).await.state, JobState::Finished);
    // A caller waits for that work; the job can wait for the next start.
    let execute = harness.next().await;
    assert_ne!(execute.id(), queued);
    succeed(execute);
    let result = soon("the caller gets a result", caller).await.unwrap();
    assert_eq!(result.unwrap().outcome, Outcome::Succeeded);
    assert!(harness.handed_out().await.is_empty());
    assert_eq!(harness.job(queued).await.state, JobState::Queued);
}

#[actix::test]
async fn stopping_all_kills_running_work_and_refuses_waiting_work() {
    let mut harness = HarnessOptions::new(2).build();
    let jobs = [harness.submit().await, harness.submit().await];
    let running = [harness.next().await, harness.next().await];
    let handle = harness.handle.clone();
    let caller = tokio::spawn(async move { handle.execute(new_job()).await });
    let waiting = || harness.stats.queued_interactive.load(Ordering::Relaxed);
    eventually("the caller waits", || waiting() == 1).await;
    harness.dispatcher.send(StopAll).await.unwrap();
    let refused = soon("the caller gets a result", caller).await.unwrap();
    assert_eq!(refused, Err(DispatchError::Draining));
    for execute in running {
        assert!(execute.handle.is_cancelled());
        killed(execute);
    }
    for id in jobs {
        assert_eq!(harness.final_job(id).await.state, JobState::Cancelled);
    }
}

#[actix::test]
async fn a_drain_is_over_as_soon_as_nothing_runs_and_ends_every_wait() {
    let mut harness = HarnessOptions::new(1).build();
    harness.submit().await;
    let execute = harness.next().await;
    let queued = harness.submit().await;
    let handle = harness.handle.clone();
    // Longer than this test may take: only the drain can end the wait in time.
    let waiter =
        tokio::spawn(async move { handle.wait(queued, &Access::All, PATIENCE * 10).await });
    let handle = harness.handle.clone();
    let drain = tokio::spawn(async move { handle.drain(PATIENCE * 10).await });
    let draining = || harness.stats.draining.load(Ordering::SeqCst);
    eventually("it drains", draining).await;
    assert!(!drain.is_finished(), "something runs");
    succeed(execute);
    soon("the drain is over", drain).await.unwrap();
    let found = soon("the wait ends", waiter).await.unwrap().unwrap();
    assert!(matches!(found, Lookup::Found(now) if now.job.state == JobState::Queued));
}

#[actix::test]
async fn a_drain_whose_patience_is_over_stops_running_work() {
    let mut harness = HarnessOptions::new(1).build();
    let id = harness.submit().await;
    let execute = harness.next().await;
    let executor = async {
        eventually("it is stopped", || execute.handle.is_cancelled()).await;
        killed(execute);
    };
    let drain = harness.handle.drain(Duration::from_millis(10));
    soon("the drain is over", async { tokio::join!(drain, executor) }).await;
    assert_eq!(harness.final_job(id).await.state, JobState::Cancelled);
}

#[actix::test]
async fn a_drain_is_not_over_before_all_results_are_recorded() {
    let mut harness = HarnessOptions::new(1).build();
    harness.store.let_start(false);
    let id = harness.submit().await;
    succeed(harness.next().await);
    let running = || harness.stats.running.load(Ordering::Relaxed);
    eventually("nothing runs", || running() == 0).await;
    let handle = harness.handle.clone();
    let mut drain = tokio::spawn(async move { handle.drain(PATIENCE * 10).await });
    let early = tokio::time::timeout(Duration::from_millis(100), &mut drain).await;
    assert!(early.is_err(), "its end would be lost with the process");
    harness.store.let_start(true);
    soon("the drain is over", drain).await.unwrap();
    assert_eq!(harness.job(id).await.state, JobState::Finished);
}

#[actix::test]
async fn a_purge_of_a_tenant_stops_a_job_that_is_older_than_thousands_that_have_ended() {
    // More than one look at the list reads.
    const ENDED: u64 = 4_500;
    let mut harness = HarnessOptions::new(1).build();
    let client = "tenant:acme";
    let running = harness.submit_as(client).await;
    let execute = harness.next().await;
    for _ in 0..ENDED {
        let job = Arc::new(samples::job(client, 1));
        let id = job.id;
        let new = NewJob {
            job,
            created_at: Timestamp::now(),
            terms: JobTerms::default(),
            queue_place: QueuePlace::default(),
            tool_head: None,
        };
        harness.store.submit(new).await.unwrap();
        let never_ran = Settlement {
            state: JobState::Cancelled,
            execution: None,
            last_round: None,
        };
        harness.store.finish(id, 0, never_ran).await.unwrap();
    }
    let executor = async {
        eventually("it is stopped", || execute.handle.is_cancelled()).await;
        killed(execute);
    };
    let tenant = "acme".parse().unwrap();
    let purge = async { tokio::join!(harness.handle.purge_tenant(&tenant), executor) };
    let (purged, ()) = soon("the tenant is purged", purge).await;
    assert_eq!(purged.unwrap(), ENDED + 1);
    let left = harness.store.get(running, &Access::All).await.unwrap();
    assert!(matches!(left, Found::Unknown), "{left:?}");
}
