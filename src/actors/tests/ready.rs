//! What lies ready for an Executor before it is free: only while executions are short, and taken back when nobody wants it.

use super::super::answers::{ExecuteAnswer, Refusal};
use super::super::dispatcher::RunNow;
use super::support::{House, Plan, eventually, soon, submission, succeed};
use sandpiper_domain::JobId;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::oneshot;

/// A house with one executor, in which so many executions have been short that the next lie ready.
async fn swift(plan: Plan) -> House {
    let mut house = plan.build();
    for _ in 0..3 {
        let answer = ask(&house).await.1;
        succeed(house.next().await);
        assert!(soon("it is answered", answer).await.unwrap().is_ok());
    }
    house
}

/// Somebody who waits for an execution.
async fn ask(house: &House) -> (JobId, oneshot::Receiver<ExecuteAnswer>) {
    let (reply, answer) = oneshot::channel();
    let submission = submission();
    let id = submission.id;
    let run_now = RunNow { submission, reply };
    house.dispatcher.send(run_now).await.unwrap();
    (id, answer)
}

fn waiting(house: &House) -> usize {
    house.board.queued_interactive.load(Ordering::Relaxed)
}

#[actix::test]
async fn while_executions_are_short_one_more_lies_ready_and_counts_as_waiting() {
    let mut house = swift(Plan::new(1)).await;
    let asked = [ask(&house).await, ask(&house).await, ask(&house).await];
    let handed: Vec<_> = house.handed_out().await;
    let ids: Vec<_> = handed.iter().map(|execute| execute.id).collect();
    assert_eq!(ids, [asked[0].0, asked[1].0]);
    assert_eq!(waiting(&house), 2);
    assert_eq!(house.board.running.load(Ordering::Relaxed), 1);
}

#[actix::test]
async fn before_any_was_short_none_lies_ready() {
    let mut house = Plan::new(1).build();
    let _asked = [ask(&house).await, ask(&house).await];
    assert_eq!(house.handed_out().await.len(), 1);
}

#[actix::test]
async fn while_jobs_wait_in_the_background_none_lies_ready() {
    let mut house = swift(Plan::new(1)).await;
    house.submit().await;
    let busy = house.next().await;
    house.submit().await;
    let _asked = ask(&house).await;
    assert!(house.handed_out().await.is_empty());
    succeed(busy);
    house.next().await;
}

#[actix::test]
async fn what_lies_ready_is_not_run_for_a_caller_that_went_away() {
    let mut house = swift(Plan::new(1)).await;
    let (_, _busy) = ask(&house).await;
    let running = house.next().await;
    let handle = house.handle.clone();
    let caller = tokio::spawn(async move { handle.execute(submission()).await });
    eventually("it lies ready", || waiting(&house) == 1).await;
    caller.abort();
    eventually("it does not any more", || waiting(&house) == 0).await;
    assert!(house.handed_out().await.is_empty());
    let (next, _answer) = ask(&house).await;
    succeed(running);
    assert_eq!(house.next().await.id, next);
}

#[actix::test]
async fn what_lies_ready_is_refused_when_it_has_waited_too_long() {
    let plan = Plan {
        queue_wait_max: Duration::from_secs(1),
        ..Plan::new(1)
    };
    let mut house = swift(plan).await;
    let (_, _busy) = ask(&house).await;
    let running = house.next().await;
    let (_, ready) = ask(&house).await;
    let refused = soon("it is refused", ready).await.unwrap();
    assert!(matches!(refused, Err(Refusal::QueueWaitExceeded { .. })));
    assert!(house.handed_out().await.is_empty());
    // It is not counted for anything any more.
    let (next, _answer) = ask(&house).await;
    succeed(running);
    assert_eq!(house.next().await.id, next);
}

#[actix::test]
async fn what_an_executor_is_slow_to_take_is_refused_when_it_has_waited_too_long() {
    let plan = Plan {
        queue_wait_max: Duration::from_secs(1),
        ..Plan::new(1)
    };
    let house = plan.build();
    let (_, asked) = ask(&house).await;
    let refused = soon("it is refused", asked).await.unwrap();
    assert!(matches!(refused, Err(Refusal::QueueWaitExceeded { .. })));
    let running = || house.board.running.load(Ordering::Relaxed);
    eventually("it does not count as running", || running() == 0).await;
}

#[actix::test]
async fn what_lies_ready_takes_a_place_of_the_queue() {
    let plan = Plan {
        interactive_max: 1,
        ..Plan::new(1)
    };
    let mut house = swift(plan).await;
    let (_, _busy) = ask(&house).await;
    let _running = house.next().await;
    let (_, _ready) = ask(&house).await;
    let (_, refused) = ask(&house).await;
    let refused = soon("it is refused", refused).await.unwrap();
    assert!(matches!(refused, Err(Refusal::QueueFull { .. })));
}

#[actix::test]
async fn a_service_that_stops_refuses_what_lies_ready() {
    let mut house = swift(Plan::new(1)).await;
    let (_, _busy) = ask(&house).await;
    let running = house.next().await;
    let (_, ready) = ask(&house).await;
    let handle = house.handle.clone();
    let drained = tokio::spawn(async move { handle.drain(Duration::ZERO).await });
    let refused = soon("it is refused", ready).await.unwrap();
    assert!(matches!(refused, Err(Refusal::Draining)));
    assert!(house.handed_out().await.is_empty());
    succeed(running);
    soon("all have ended", drained).await.unwrap();
}
