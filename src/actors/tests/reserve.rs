//! Whose work is given to reserve executors, and when.

use super::super::dispatcher::{Drain, ReserveOptions, StopAll};
use super::super::executor::{CheckUp, Execute};
use super::super::tray::Errand;
use super::support::{House, PATIENCE, Plan, eventually, soon, succeed};
use sandpiper_domain::{JobState, Outcome};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Long enough for several times of looking around.
const A_WHILE: Duration = Duration::from_millis(200);

fn plan(executors: usize, reserve_executors: usize) -> Plan {
    Plan {
        reserve_executors,
        ..Plan::new(executors)
    }
}

/// A house in which one client holds all executors, with two more jobs waiting; and what it holds.
async fn held(plan: Plan) -> (House, Vec<Execute>) {
    let executors = plan.executors;
    let mut house = plan.build();
    for _ in 0..executors + 2 {
        house.submit_as("holder").await;
    }
    let held = house.handed_out().await;
    assert_eq!(held.len(), executors);
    (house, held)
}

#[actix::test]
async fn work_of_another_client_runs_on_a_reserve_executor_while_one_client_holds_all() {
    let after = Duration::from_millis(40);
    let plan = Plan {
        reserve: ReserveOptions {
            after,
            idle_max: PATIENCE,
        },
        ..plan(2, 2)
    };
    let (mut house, held) = held(plan).await;
    let (id, answer) = house.ask_as("other").await;
    house.reserve_comes_up().await;
    let execute = house.next_on_reserve(0).await;
    assert_eq!(execute.id, id);
    assert!(execute.origin.since.elapsed() >= after, "it did not wait");
    let running = || house.board.running.load(Ordering::Relaxed);
    assert_eq!(running(), 3);
    succeed(execute);
    let execution = soon("it is answered", answer).await.unwrap().unwrap();
    assert_eq!((execution.id, execution.outcome), (id, Outcome::Succeeded));
    assert_eq!(house.board.meters.reserve_executions.get(), 1);
    eventually("its executor is free again", || running() == 2).await;
    // The place of a regular executor was not given on with it.
    assert!(house.handed_out().await.is_empty());
    held.into_iter().for_each(succeed);
    assert_eq!(house.handed_out().await.len(), 2);
}

#[actix::test]
async fn so_does_a_job_of_the_background_lane() {
    let (mut house, _held) = held(plan(1, 1)).await;
    let id = house.submit_as("other").await;
    house.reserve_comes_up().await;
    succeed(house.next_on_reserve(0).await);
    assert_eq!(house.final_job(id).await.state, JobState::Finished);
}

#[actix::test]
async fn a_client_has_one_execution_on_a_reserve_executor_and_only_while_it_has_no_other() {
    let (mut house, held) = held(plan(1, 3)).await;
    house.reserve_comes_up().await;
    tokio::time::sleep(A_WHILE).await;
    let none = house.try_reserve_errand(0);
    assert!(none.is_none(), "the holder has an executor: {none:?}");
    let (first, _answer) = house.ask_as("other").await;
    let (second, _answer) = house.ask_as("other").await;
    let execute = house.next_on_reserve(0).await;
    assert_eq!(execute.id, first);
    // Another one is raised ahead, for somebody else.
    house.reserve_comes_up().await;
    tokio::time::sleep(A_WHILE).await;
    let none = house.try_reserve_errand(1);
    assert!(none.is_none(), "it has an executor: {none:?}");
    succeed(execute);
    assert_eq!(house.next_on_reserve(0).await.id, second);
    drop(held);
}

#[actix::test]
async fn several_names_of_one_holder_make_no_difference() {
    let mut house = plan(2, 2).build();
    for client in ["a", "b", "a", "b"] {
        house.submit_as(client).await;
    }
    let _held = house.handed_out().await;
    let (id, _answer) = house.ask_as("other").await;
    house.reserve_comes_up().await;
    assert_eq!(house.next_on_reserve(0).await.id, id);
}

#[actix::test]
async fn never_more_are_handed_out_than_there_are_executors_and_reserve_executors() {
    let (mut house, held) = held(plan(2, 2)).await;
    let mut answers = Vec::new();
    for client in 0..10 {
        answers.push(house.ask_as(&format!("client {client}")).await);
    }
    house.reserve_comes_up().await;
    house.reserve_comes_up().await;
    let running = || house.board.running.load(Ordering::Relaxed);
    eventually("all are at work", || running() == 4).await;
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(running(), 4);
    // Those that have waited longest come first.
    let begun: BTreeSet<_> = [
        house.next_on_reserve(0).await.id,
        house.next_on_reserve(1).await.id,
    ]
    .into();
    assert_eq!(begun, answers[..2].iter().map(|(id, _)| *id).collect());
    assert!(house.handed_out().await.is_empty());
    drop(held);
}

#[actix::test]
async fn what_lies_ready_for_an_executor_that_does_not_come_free_goes_to_a_reserve_executor() {
    let mut house = plan(1, 1).build();
    // So many executions have been short that the next one lies ready.
    for _ in 0..3 {
        let (_, answer) = house.ask_as("holder").await;
        succeed(house.next().await);
        assert!(soon("it is answered", answer).await.unwrap().is_ok());
    }
    let (_, _answer) = house.ask_as("holder").await;
    let held = house.next().await;
    let (id, answer) = house.ask_as("other").await;
    let board = Arc::clone(&house.board);
    let ready = || board.queued_interactive.load(Ordering::Relaxed);
    assert_eq!(ready(), 1);
    house.reserve_comes_up().await;
    let execute = house.next_on_reserve(0).await;
    assert_eq!(execute.id, id);
    eventually("it does not wait any more", || ready() == 0).await;
    assert!(house.handed_out().await.is_empty());
    succeed(execute);
    assert!(soon("it is answered", answer).await.unwrap().is_ok());
    succeed(held);
    let (next, _answer) = house.ask_as("holder").await;
    assert_eq!(house.next().await.id, next);
}

#[actix::test]
async fn as_long_as_executors_come_free_no_reserve_executor_is_needed() {
    let plan = Plan {
        reserve: ReserveOptions {
            after: Duration::from_secs(1),
            idle_max: PATIENCE,
        },
        ..plan(1, 1)
    };
    let mut house = plan.build();
    for number in 0..40 {
        house.submit_as(&format!("client {number}")).await;
    }
    let end = Instant::now() + Duration::from_millis(2_500);
    while Instant::now() < end {
        succeed(house.next().await);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let none = house.try_reserve_errand(0);
    assert!(none.is_none(), "{none:?}");
}

#[actix::test]
async fn a_reserve_executor_that_cannot_be_raised_costs_nobody_its_work() {
    let (mut house, held) = held(plan(1, 1)).await;
    let (id, answer) = house.ask_as("other").await;
    let Errand::CheckUp(CheckUp(done)) = house.reserve_errand(0).await else {
        panic!("it is given work before it is up");
    };
    // It is not up when it says that it is done.
    let _ = done.send(());
    tokio::time::sleep(A_WHILE).await;
    let none = house.try_reserve_errand(0);
    assert!(none.is_none(), "it is tried again at once: {none:?}");
    held.into_iter().for_each(succeed);
    let execute = house.next().await;
    assert_eq!(execute.id, id);
    succeed(execute);
    assert!(soon("it is answered", answer).await.unwrap().is_ok());
}

#[actix::test]
async fn a_reserve_executor_is_kept_while_it_may_be_needed_and_then_let_go() {
    let plan = Plan {
        reserve: ReserveOptions {
            after: Duration::from_millis(10),
            idle_max: Duration::from_millis(50),
        },
        ..plan(1, 1)
    };
    let (mut house, held) = held(plan).await;
    house.reserve_comes_up().await;
    tokio::time::sleep(A_WHILE).await;
    let none = house.try_reserve_errand(0);
    assert!(none.is_none(), "{none:?}");
    held.into_iter().for_each(succeed);
    for _ in 0..2 {
        succeed(house.next().await);
    }
    let errand = house.reserve_errand(0).await;
    assert!(matches!(errand, Errand::Rest), "{errand:?}");
}

#[actix::test]
async fn what_runs_on_a_reserve_executor_is_drained_cancelled_and_stopped_like_all() {
    let (mut house, held) = held(plan(1, 2)).await;
    house.reserve_comes_up().await;
    let cancelled = house.submit_as("one").await;
    let execute = house.next_on_reserve(0).await;
    let is_stopped = || execute.handle.is_cancelled();
    let cancel = house.handle.cancel(cancelled);
    let executor = async { eventually("it is stopped", is_stopped).await };
    let (_, ()) = tokio::join!(tokio::time::timeout(A_WHILE, cancel), executor);
    succeed(execute);

    let (_, _answer) = house.ask_as("two").await;
    let execute = house.next_on_reserve(0).await;
    held.into_iter().for_each(succeed);
    let _others = house.handed_out().await;
    house.dispatcher.send(Drain).await.unwrap();
    assert!(house.board.running.load(Ordering::Relaxed) > 0);
    assert!(!execute.handle.is_cancelled());
    house.dispatcher.send(StopAll).await.unwrap();
    assert!(execute.handle.is_cancelled());
}
