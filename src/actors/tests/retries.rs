//! Jobs whose executor fails: tried again, lost in the end, and recorded in order whatever the store takes.

use super::super::executor::ExecutorFailure;
use super::support::{Plan, answer, eventually, succeed};
use sandpiper_domain::{JobState, Outcome, samples};
use std::sync::atomic::Ordering;

#[actix::test]
async fn a_job_that_no_executor_can_run_is_handed_back_each_time_and_lost_in_the_end() {
    let mut house = Plan::new(1).build();
    let id = house.submit().await;
    for failure in [
        ExecutorFailure::NoSandbox,
        ExecutorFailure::Panicked,
        ExecutorFailure::NoSandbox,
    ] {
        let execute = house.next().await;
        assert_eq!(execute.id, id);
        answer(execute, Err(failure));
    }
    let job = house.final_job(id).await;
    assert_eq!((job.state, job.attempt), (JobState::Lost, 3));
    let execution = job.execution.expect("its execution says why");
    assert_eq!(execution.outcome, Outcome::Crashed);
    assert_eq!(execution.limits, samples::limits());
    let error = execution.error.as_ref().unwrap();
    assert_eq!(error.name, "Lost");
    assert!(error.message.contains("3 times"), "{}", error.message);
    let expected = [
        "start 1",
        "hand_back 1",
        "start 2",
        "hand_back 2",
        "start 3",
        "finish 3 lost",
    ];
    assert_eq!(house.store.changes(), expected);
    // Its slot is free again.
    let next = house.submit().await;
    assert_eq!(house.next().await.id, next);
}

#[actix::test]
async fn a_job_tried_again_that_then_succeeds_has_attempt_2_and_one_final_state() {
    let mut house = Plan::new(1).build();
    let id = house.submit().await;
    // An executor that is gone drops the answer: the same as one that says that it failed.
    drop(house.next().await.reply);
    succeed(house.next().await);
    let job = house.final_job(id).await;
    assert_eq!((job.state, job.attempt), (JobState::Finished, 2));
    assert_eq!(job.execution.unwrap().outcome, Outcome::Succeeded);
    let expected = ["start 1", "hand_back 1", "start 2", "finish 2 finished"];
    assert_eq!(house.store.changes(), expected);
    assert_eq!(house.board.finishes_stale.load(Ordering::Relaxed), 0);
}

#[actix::test]
async fn a_job_that_rests_keeps_no_other_from_running() {
    let mut house = Plan::new(1).build();
    let resting = house.submit().await;
    let next = house.submit().await;
    answer(house.next().await, Err(ExecutorFailure::NoSandbox));
    let execute = house.next().await;
    assert_eq!(execute.id, next);
    succeed(execute);
    assert_eq!(house.next().await.id, resting);
}

#[actix::test]
async fn a_job_whose_code_failed_is_not_tried_again() {
    let outcomes = [
        Outcome::Threw,
        Outcome::TimedOut,
        Outcome::MemoryExceeded,
        Outcome::Crashed,
    ];
    let mut house = Plan::new(1).build();
    for outcome in outcomes {
        let id = house.submit().await;
        let execute = house.next().await;
        answer(execute, Ok(samples::execution(id, outcome)));
        let job = house.final_job(id).await;
        assert_eq!((job.state, job.attempt), (JobState::Finished, 1));
        assert_eq!(job.execution.unwrap().outcome, outcome);
    }
    assert!(house.handed_out().await.is_empty());
}

#[actix::test]
async fn a_job_without_a_place_to_come_back_to_waits_until_there_is_one() {
    let mut house = Plan {
        background_max: 1,
        ..Plan::new(1)
    }
    .build();
    let unlucky = house.submit().await;
    let execute = house.next().await;
    let first = house.submit().await;
    // The first takes its executor, and the second the only place in the queue before it comes back.
    answer(execute, Err(ExecutorFailure::NoSandbox));
    let execute = house.next().await;
    assert_eq!(execute.id, first);
    let second = house.submit().await;
    let handed_back = || house.store.changes().contains(&"hand_back 1".to_owned());
    eventually("it is handed back", handed_back).await;
    assert_eq!(house.job(unlucky).await.state, JobState::Queued);
    // Longer than it rests: it finds the queue full, and may not be forgotten for it.
    let early = tokio::time::timeout(std::time::Duration::from_millis(400), house.next()).await;
    assert!(early.is_err(), "there was no executor for it");
    succeed(execute);
    let execute = house.next().await;
    assert_eq!(execute.id, second);
    succeed(execute);
    assert_eq!(house.next().await.id, unlucky);
}

#[actix::test]
async fn a_finish_is_not_recorded_before_its_start() {
    let mut house = Plan::new(1).build();
    house.store.let_start(false);
    let id = house.submit().await;
    succeed(house.next().await);
    // The execution has ended, and whatever the Dispatcher makes of that it has made.
    house.handed_out().await;
    house.handed_out().await;
    house.store.let_start(true);
    let job = house.final_job(id).await;
    assert_eq!((job.state, job.attempt), (JobState::Finished, 1));
    assert_eq!(house.store.changes(), ["start 1", "finish 1 finished"]);
}

#[actix::test]
async fn a_job_is_not_handed_back_before_its_start_is_recorded() {
    let mut house = Plan::new(1).build();
    house.store.let_start(false);
    let id = house.submit().await;
    answer(house.next().await, Err(ExecutorFailure::NoSandbox));
    house.handed_out().await;
    house.handed_out().await;
    house.store.let_start(true);
    succeed(house.next().await);
    let job = house.final_job(id).await;
    assert_eq!((job.state, job.attempt), (JobState::Finished, 2));
    let expected = ["start 1", "hand_back 1", "start 2", "finish 2 finished"];
    assert_eq!(house.store.changes(), expected);
}
