//! Jobs whose executor fails: retried, lost in the end, and recorded in order by a store of any speed.

use super::super::executor::ExecutorFailure;
use super::support::{HarnessOptions, eventually, respond, succeed};
use sandpiper_domain::{JobState, Outcome, samples};

#[actix::test]
async fn a_job_that_no_executor_can_run_is_requeued_each_time_and_lost_in_the_end() {
    let mut harness = HarnessOptions::new(1).build();
    let id = harness.submit().await;
    for failure in [
        ExecutorFailure::NoSandbox,
        ExecutorFailure::Panicked,
        ExecutorFailure::NoSandbox,
    ] {
        let execute = harness.next().await;
        assert_eq!(execute.id(), id);
        respond(execute, Err(failure));
    }
    let job = harness.final_job(id).await;
    assert_eq!((job.state, job.attempt), (JobState::Lost, 3));
    let execution = job.execution.expect("its execution says why");
    assert_eq!(execution.outcome, Outcome::Crashed);
    assert_eq!(execution.limits, samples::limits());
    let error = execution.error.as_ref().unwrap();
    assert_eq!(error.name, "Lost");
    assert!(error.message.contains("3 times"), "{}", error.message);
    let expected = [
        "start 1",
        "requeue 1",
        "start 2",
        "requeue 2",
        "start 3",
        "finish 3 lost",
    ];
    assert_eq!(harness.store.changes(), expected);
    // Its executor is free again.
    let next = harness.submit().await;
    assert_eq!(harness.next().await.id(), next);
}

#[actix::test]
async fn a_retried_job_that_then_succeeds_has_attempt_2_and_one_final_state() {
    let mut harness = HarnessOptions::new(1).build();
    let id = harness.submit().await;
    // An executor that has gone drops the sender: the same as one that reports a failure.
    drop(harness.next().await.reply);
    succeed(harness.next().await);
    let job = harness.final_job(id).await;
    assert_eq!((job.state, job.attempt), (JobState::Finished, 2));
    assert_eq!(job.execution.unwrap().outcome, Outcome::Succeeded);
    let expected = ["start 1", "requeue 1", "start 2", "finish 2 finished"];
    assert_eq!(harness.store.changes(), expected);
    assert_eq!(harness.counts().stale, 0);
}

#[actix::test]
async fn a_job_that_waits_for_its_retry_delays_no_other() {
    let mut harness = HarnessOptions::new(1).build();
    let retrying = harness.submit().await;
    let next = harness.submit().await;
    respond(harness.next().await, Err(ExecutorFailure::NoSandbox));
    let execute = harness.next().await;
    assert_eq!(execute.id(), next);
    succeed(execute);
    assert_eq!(harness.next().await.id(), retrying);
}

#[actix::test]
async fn a_job_whose_code_failed_is_not_tried_again() {
    let outcomes = [
        Outcome::Threw,
        Outcome::TimedOut,
        Outcome::MemoryExceeded,
        Outcome::Crashed,
    ];
    let mut harness = HarnessOptions::new(1).build();
    for outcome in outcomes {
        let id = harness.submit().await;
        let execute = harness.next().await;
        respond(execute, Ok(samples::execution(id, outcome)));
        let job = harness.final_job(id).await;
        assert_eq!((job.state, job.attempt), (JobState::Finished, 1));
        assert_eq!(job.execution.unwrap().outcome, outcome);
    }
    assert!(harness.handed_out().await.is_empty());
}

#[actix::test]
async fn a_retried_job_that_finds_the_queue_full_waits_until_there_is_a_place() {
    let mut harness = HarnessOptions {
        background_max: 1,
        ..HarnessOptions::new(1)
    }
    .build();
    let unlucky = harness.submit().await;
    let execute = harness.next().await;
    let first = harness.submit().await;
    // The first job takes the executor, and the second the only place in the queue before the unlucky one comes back.
    respond(execute, Err(ExecutorFailure::NoSandbox));
    let execute = harness.next().await;
    assert_eq!(execute.id(), first);
    let second = harness.submit().await;
    let requeued = || harness.store.changes().contains(&"requeue 1".to_owned());
    eventually("the job is requeued", requeued).await;
    assert_eq!(harness.job(unlucky).await.state, JobState::Queued);
    // Longer than the time to a retry: the job finds the queue full, and must not be lost for that.
    let early = tokio::time::timeout(std::time::Duration::from_millis(400), harness.next()).await;
    assert!(early.is_err(), "there was no executor for it");
    succeed(execute);
    let execute = harness.next().await;
    assert_eq!(execute.id(), second);
    succeed(execute);
    assert_eq!(harness.next().await.id(), unlucky);
}

#[actix::test]
async fn a_finish_is_not_recorded_before_its_start() {
    let mut harness = HarnessOptions::new(1).build();
    harness.store.let_start(false);
    let id = harness.submit().await;
    succeed(harness.next().await);
    // The execution has ended, and the Dispatcher has handled its result.
    harness.handed_out().await;
    harness.handed_out().await;
    harness.store.let_start(true);
    let job = harness.final_job(id).await;
    assert_eq!((job.state, job.attempt), (JobState::Finished, 1));
    assert_eq!(harness.store.changes(), ["start 1", "finish 1 finished"]);
}

#[actix::test]
async fn a_job_is_not_requeued_before_its_start_is_recorded() {
    let mut harness = HarnessOptions::new(1).build();
    harness.store.let_start(false);
    let id = harness.submit().await;
    respond(harness.next().await, Err(ExecutorFailure::NoSandbox));
    harness.handed_out().await;
    harness.handed_out().await;
    harness.store.let_start(true);
    succeed(harness.next().await);
    let job = harness.final_job(id).await;
    assert_eq!((job.state, job.attempt), (JobState::Finished, 2));
    let expected = ["start 1", "requeue 1", "start 2", "finish 2 finished"];
    assert_eq!(harness.store.changes(), expected);
}
