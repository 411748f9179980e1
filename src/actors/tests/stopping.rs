//! Cancelling one job, and stopping them all.

use super::super::answers::{Cancelled, Lookup, Refusal};
use super::super::dispatcher::{Drain, StopAll};
use super::super::executor::{Execute, ExecutorFailure};
use super::support::{House, PATIENCE, Plan, answer, eventually, soon, submission, succeed};
use sandpiper_domain::{JobId, JobState, JobTerms, Outcome, samples};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Cancels, while the executor that has the job does its part.
async fn cancel_running(house: &House, execute: Execute, then: fn(Execute)) -> Cancelled {
    let id = execute.id;
    let executor = async {
        eventually("it is stopped", || execute.handle.is_cancelled()).await;
        then(execute);
    };
    let (cancelled, ()) = tokio::join!(house.handle.cancel(id), executor);
    cancelled.unwrap()
}

fn killed(execute: Execute) {
    let execution = samples::execution(execute.id, Outcome::Cancelled);
    answer(execute, Ok(execution));
}

async fn is_handed_back(house: &House) {
    let handed_back = || house.store.changes().contains(&"hand_back 1".to_owned());
    eventually("it is handed back", handed_back).await;
}

fn assert_cancelled(cancelled: &Cancelled) {
    assert!(
        matches!(cancelled, Cancelled::Done(job) if job.state == JobState::Cancelled),
        "{cancelled:?}"
    );
}

#[actix::test]
async fn a_queued_job_that_is_cancelled_is_never_handed_out() {
    let mut house = Plan::new(1).build();
    house.submit().await;
    let busy = house.next().await;
    let cancelled = house.submit().await;
    let stays = house.submit().await;
    assert_cancelled(&house.handle.cancel(cancelled).await.unwrap());
    let job = house.final_job(cancelled).await;
    assert!(job.execution.is_none() && job.started_at.is_none());
    succeed(busy);
    assert_eq!(house.next().await.id, stays);
}

#[actix::test]
async fn a_running_job_is_stopped_and_keeps_what_it_did() {
    let mut house = Plan::new(1).build();
    let id = house.submit().await;
    let execute = house.next().await;
    assert_cancelled(&cancel_running(&house, execute, killed).await);
    let execution = house.final_job(id).await.execution.unwrap();
    assert_eq!(execution.outcome, Outcome::Cancelled);
    assert_eq!(house.store.changes(), ["start 1", "finish 1 cancelled"]);
}

#[actix::test]
async fn a_job_that_ends_in_the_moment_of_its_cancel_has_ended() {
    let mut house = Plan::new(1).build();
    house.submit().await;
    let execute = house.next().await;
    let cancelled = cancel_running(&house, execute, succeed).await;
    assert!(
        matches!(cancelled, Cancelled::AlreadyFinal(JobState::Finished)),
        "{cancelled:?}"
    );
}

#[actix::test]
async fn a_cancelled_job_whose_executor_fails_is_not_tried_again() {
    let mut house = Plan::new(1).build();
    house.submit().await;
    let execute = house.next().await;
    let fail: fn(Execute) = |execute| answer(execute, Err(ExecutorFailure::Panicked));
    assert_cancelled(&cancel_running(&house, execute, fail).await);
    assert_eq!(house.store.changes(), ["start 1", "finish 1 cancelled"]);
}

#[actix::test]
async fn a_resting_job_that_is_cancelled_is_not_tried_again() {
    let mut house = Plan::new(1).build();
    let cancelled = house.submit().await;
    let other = house.submit().await;
    answer(house.next().await, Err(ExecutorFailure::NoSandbox));
    is_handed_back(&house).await;
    // The other has the only executor meanwhile, so this one rests, or waits at most.
    let execute = house.next().await;
    assert_cancelled(&house.handle.cancel(cancelled).await.unwrap());
    // One that begins to rest after it, and comes back, comes back alone.
    answer(execute, Err(ExecutorFailure::NoSandbox));
    assert_eq!(house.next().await.id, other);
    assert_eq!(house.board.finishes_stale.load(Ordering::Relaxed), 0);
}

#[actix::test]
async fn a_job_that_is_final_or_unknown_cannot_be_cancelled() {
    let mut house = Plan::new(1).build();
    let id = house.submit().await;
    succeed(house.next().await);
    house.final_job(id).await;
    let cancelled = house.handle.cancel(id).await.unwrap();
    assert!(matches!(
        cancelled,
        Cancelled::AlreadyFinal(JobState::Finished)
    ));
    let never_seen = house.handle.cancel(JobId::generate()).await.unwrap();
    assert!(matches!(never_seen, Cancelled::Unknown));
}

#[actix::test]
async fn a_draining_service_refuses_new_work_and_ends_what_runs() {
    let mut house = Plan::new(1).build();
    let running = house.submit().await;
    let execute = house.next().await;
    let queued = house.submit().await;
    let handle = house.handle.clone();
    let caller = tokio::spawn(async move { handle.execute(submission()).await });
    let waiting = || house.board.queued_interactive.load(Ordering::Relaxed);
    eventually("the caller waits", || waiting() == 1).await;
    house.dispatcher.send(Drain).await.unwrap();
    assert!(house.handle.status().draining);
    let refused = house.handle.execute(submission()).await;
    assert_eq!(refused, Err(Refusal::Draining));
    let refused = house.handle.submit(submission(), JobTerms::default()).await;
    assert_eq!(refused.unwrap_err(), Refusal::Draining);
    succeed(execute);
    assert_eq!(house.final_job(running).await.state, JobState::Finished);
    // Somebody waits for that one; the job can wait for the next start.
    let execute = house.next().await;
    assert_ne!(execute.id, queued);
    succeed(execute);
    let answer = soon("the caller is told", caller).await.unwrap();
    assert_eq!(answer.unwrap().outcome, Outcome::Succeeded);
    assert!(house.handed_out().await.is_empty());
    assert_eq!(house.job(queued).await.state, JobState::Queued);
}

#[actix::test]
async fn stopping_all_stops_what_runs_and_refuses_who_waits() {
    let mut house = Plan::new(2).build();
    let jobs = [house.submit().await, house.submit().await];
    let running = [house.next().await, house.next().await];
    let handle = house.handle.clone();
    let caller = tokio::spawn(async move { handle.execute(submission()).await });
    let waiting = || house.board.queued_interactive.load(Ordering::Relaxed);
    eventually("the caller waits", || waiting() == 1).await;
    house.dispatcher.send(StopAll).await.unwrap();
    let refused = soon("the caller is told", caller).await.unwrap();
    assert_eq!(refused, Err(Refusal::Draining));
    for execute in running {
        assert!(execute.handle.is_cancelled());
        killed(execute);
    }
    for id in jobs {
        assert_eq!(house.final_job(id).await.state, JobState::Cancelled);
    }
}

#[actix::test]
async fn a_drain_is_over_as_soon_as_nothing_runs_and_lets_go_of_whoever_waits() {
    let mut house = Plan::new(1).build();
    house.submit().await;
    let execute = house.next().await;
    let queued = house.submit().await;
    let handle = house.handle.clone();
    // Longer than this test may take: only the drain can end it in time.
    let waiter = tokio::spawn(async move { handle.wait(queued, PATIENCE * 10).await });
    let handle = house.handle.clone();
    let drain = tokio::spawn(async move { handle.drain(PATIENCE * 10).await });
    let draining = || house.board.draining.load(Ordering::SeqCst);
    eventually("it drains", draining).await;
    assert!(!drain.is_finished(), "something runs");
    succeed(execute);
    soon("the drain is over", drain).await.unwrap();
    let found = soon("the waiter is let go", waiter).await.unwrap().unwrap();
    assert!(matches!(found, Lookup::Found(now) if now.job.state == JobState::Queued));
}

#[actix::test]
async fn a_drain_whose_patience_is_over_stops_what_runs() {
    let mut house = Plan::new(1).build();
    let id = house.submit().await;
    let execute = house.next().await;
    let executor = async {
        eventually("it is stopped", || execute.handle.is_cancelled()).await;
        killed(execute);
    };
    let drain = house.handle.drain(Duration::from_millis(10));
    soon("the drain is over", async { tokio::join!(drain, executor) }).await;
    assert_eq!(house.final_job(id).await.state, JobState::Cancelled);
}

#[actix::test]
async fn a_drain_is_not_over_before_what_ran_is_recorded() {
    let mut house = Plan::new(1).build();
    house.store.let_start(false);
    let id = house.submit().await;
    succeed(house.next().await);
    let running = || house.board.running.load(Ordering::Relaxed);
    eventually("nothing runs", || running() == 0).await;
    let handle = house.handle.clone();
    let mut drain = tokio::spawn(async move { handle.drain(PATIENCE * 10).await });
    let early = tokio::time::timeout(Duration::from_millis(100), &mut drain).await;
    assert!(early.is_err(), "its end would be lost with the process");
    house.store.let_start(true);
    soon("the drain is over", drain).await.unwrap();
    assert_eq!(house.job(id).await.state, JobState::Finished);
}
