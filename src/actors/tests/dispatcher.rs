//! Who is handed out, when, and what a place in the queue is worth.

use super::super::answers::{ClaimAnswer, Refusal, Submission};
use super::super::dispatcher::{RunClaimed, RunNow};
use super::super::executor::ExecutorFailure;
use super::support::{House, PATIENCE, Plan, answer, eventually, soon, submission, succeed};
use super::witness::Witness;
use crate::actors::dispatcher::{WhereIs, Whereabouts};
use crate::store::{JobStore as _, NotRun};
use sandpiper_domain::{JobId, JobState, JobTerms, Outcome, Timestamp};
use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::oneshot;

#[actix::test]
async fn never_more_are_handed_out_than_there_are_executors() {
    let mut house = Plan::new(3).build();
    let mut submitted = BTreeSet::new();
    for _ in 0..100 {
        submitted.insert(house.submit().await);
    }
    let mut in_flight = VecDeque::from(house.handed_out().await);
    assert_eq!(in_flight.len(), 3);
    let mut run = BTreeSet::new();
    while let Some(execute) = in_flight.pop_front() {
        let id = execute.id;
        assert!(run.insert(id), "a job was handed out twice");
        succeed(execute);
        // The slot is given on only once the answer is there.
        if run.len() + in_flight.len() < 100 {
            in_flight.push_back(house.next().await);
        }
        assert_eq!(house.final_job(id).await.state, JobState::Finished);
        in_flight.extend(house.handed_out().await);
        assert!(in_flight.len() <= 3, "{} in flight", in_flight.len());
    }
    assert_eq!(run, submitted);
    let running = || house.board.running.load(Ordering::Relaxed);
    eventually("the board shows that none runs", || running() == 0).await;
}

#[actix::test]
async fn an_answer_that_an_executor_drops_is_a_failure_and_frees_its_slot() {
    let mut house = Plan::new(1).build();
    let handle = house.handle.clone();
    let caller = tokio::spawn(async move { handle.execute(submission()).await });
    drop(house.next().await.reply);
    let refused = soon("the caller is told", caller).await.unwrap();
    assert_eq!(refused, Err(Refusal::IsolationLost));
    let id = house.submit().await;
    succeed(house.next().await);
    assert_eq!(house.final_job(id).await.state, JobState::Finished);
}

#[actix::test]
async fn a_caller_whose_executor_panicked_is_told_of_an_internal_failure_and_not_run_again() {
    let mut house = Plan::new(1).build();
    let handle = house.handle.clone();
    let caller = tokio::spawn(async move { handle.execute(submission()).await });
    answer(house.next().await, Err(ExecutorFailure::Panicked));
    let refused = soon("the caller is told", caller).await.unwrap();
    assert_eq!(refused, Err(Refusal::Internal));
    assert!(house.handed_out().await.is_empty());
}

#[actix::test]
async fn a_caller_has_the_execution_of_its_own_job() {
    let mut house = Plan::new(2).build();
    let callers: Vec<_> = (0..2)
        .map(|_| {
            let handle = house.handle.clone();
            let submission = submission();
            let id = submission.id;
            (
                id,
                tokio::spawn(async move { handle.execute(submission).await }),
            )
        })
        .collect();
    let (first, second) = (house.next().await, house.next().await);
    succeed(second);
    succeed(first);
    for (id, caller) in callers {
        let execution = soon("the caller is told", caller).await.unwrap().unwrap();
        assert_eq!((execution.id, execution.outcome), (id, Outcome::Succeeded));
    }
}

#[actix::test]
async fn a_caller_that_went_away_is_not_run() {
    let mut house = Plan::new(1).build();
    house.submit().await;
    let busy = house.next().await;
    let (reply, answer) = oneshot::channel();
    let run_now = RunNow {
        submission: submission(),
        reply,
    };
    house.dispatcher.send(run_now).await.unwrap();
    let next = house.submit().await;
    drop(answer);
    succeed(busy);
    assert_eq!(house.next().await.id, next);
}

#[actix::test]
async fn a_caller_that_goes_away_leaves_the_queue_at_once() {
    let mut house = Plan::new(1).build();
    house.submit().await;
    let _busy = house.next().await;
    let handle = house.handle.clone();
    let caller = tokio::spawn(async move { handle.execute(submission()).await });
    let waiting = || house.board.queued_interactive.load(Ordering::Relaxed);
    eventually("it waits", || waiting() == 1).await;
    caller.abort();
    eventually("it does not wait any more", || waiting() == 0).await;
}

#[actix::test]
async fn a_caller_that_goes_away_while_its_job_runs_has_it_stopped() {
    let mut house = Plan::new(1).build();
    let handle = house.handle.clone();
    let caller = tokio::spawn(async move { handle.execute(submission()).await });
    let running = house.next().await;
    assert!(!running.handle.is_cancelled());
    caller.abort();
    eventually("it is stopped", || running.handle.is_cancelled()).await;
}

#[actix::test]
async fn a_caller_waits_only_so_long_and_a_job_waits_on() {
    let mut house = Plan {
        queue_wait_max: Duration::from_millis(20),
        ..Plan::new(1)
    }
    .build();
    house.submit().await;
    let busy = house.next().await;
    let job = house.submit().await;
    let refused = soon("it is refused", house.handle.execute(submission())).await;
    let Err(Refusal::QueueWaitExceeded { waited }) = refused else {
        panic!("not refused for its wait: {refused:?}");
    };
    assert!(waited >= Duration::from_millis(20));
    let waiting = || house.board.queued_interactive.load(Ordering::Relaxed);
    eventually("its place is free", || waiting() == 0).await;
    assert_eq!(house.job(job).await.state, JobState::Queued);
    succeed(busy);
    assert_eq!(house.next().await.id, job);
}

#[actix::test]
async fn a_store_that_refuses_gives_the_place_in_the_queue_back() {
    let mut house = Plan {
        store: Witness::over(1),
        background_max: 1,
        ..Plan::new(1)
    }
    .build();
    let first = house.submit().await;
    let running = house.next().await;
    // The first of these would take the only place for good.
    for _ in 0..3 {
        let refused = house.handle.submit(submission(), JobTerms::default()).await;
        let Err(Refusal::StoreFull { retry_after }) = refused else {
            panic!("not refused by the store: {refused:?}");
        };
        assert!(retry_after >= Duration::from_secs(1));
    }
    succeed(running);
    house.final_job(first).await;
    let later = Timestamp::now().plus(PATIENCE * 2);
    assert_eq!(house.store.sweep(later).await.unwrap(), 1);
    let second = house.submit().await;
    assert_eq!(house.next().await.id, second);
}

#[actix::test]
async fn a_full_queue_refuses_before_the_store_is_asked() {
    let mut house = Plan {
        background_max: 1,
        ..Plan::new(1)
    }
    .build();
    house.submit().await;
    let running = house.next().await;
    let waiting = house.submit().await;
    let refused = submission();
    let id = refused.id;
    let answer = house.handle.submit(refused, JobTerms::default()).await;
    assert!(
        matches!(answer, Err(Refusal::QueueFull { retry_after }) if retry_after >= Duration::from_secs(1)),
        "{answer:?}"
    );
    let found = house.store.get(id).await.unwrap();
    assert!(matches!(found, crate::store::Found::Unknown));
    succeed(running);
    assert_eq!(house.next().await.id, waiting);
    house.submit().await;
}

#[actix::test]
async fn a_queued_job_knows_its_place_and_a_running_one_has_none() {
    let mut house = Plan::new(1).build();
    let running = house.submit().await;
    let _busy = house.next().await;
    let waiting = [house.submit().await, house.submit().await];
    let mut places = Vec::new();
    for id in [running, waiting[0], waiting[1], JobId::generate()] {
        places.push(match house.dispatcher.send(WhereIs(id)).await.unwrap() {
            Some(Whereabouts::Waiting(place)) => Some(place),
            Some(Whereabouts::Running(_)) | None => None,
        });
    }
    assert_eq!(places, [None, Some(1), Some(2), None]);
}

#[actix::test]
async fn check_ups_that_take_long_do_not_heap_up() {
    // No executor has taken its place on the board, so none is ready, and all are free.
    let mut house = Plan::new(3).build();
    let asked = async |house: &mut House, count| {
        while house.check_ups() < count {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    soon("each executor is looked after", asked(&mut house, 3)).await;
    // Several times of looking around, in which none of them has answered.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(house.check_ups(), 3, "check-ups heap up");
    house.end_check_ups();
    soon("they go on", asked(&mut house, 3)).await;
}

#[actix::test]
async fn sweeps_of_a_slow_store_do_not_pile_up() {
    let house = Plan::new(1).build();
    house.store.let_sweep(false);
    let begun = || house.store.sweeps_begun();
    eventually("a sweep begins", || begun() == 1).await;
    // Two more are due meanwhile.
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    assert_eq!(begun(), 1, "sweeps pile up");
    house.store.let_sweep(true);
    eventually("the next one begins", || begun() > 1).await;
}

/// Brings the Dispatcher a job that the store has handed out.
async fn claim(house: &House, id: JobId) -> oneshot::Receiver<ClaimAnswer> {
    let (reply, answer) = oneshot::channel();
    let submission = Submission { id, ..submission() };
    let claimed = RunClaimed { submission, reply };
    house.dispatcher.send(claimed).await.unwrap();
    answer
}

#[actix::test]
async fn a_job_that_is_claimed_again_while_it_is_here_has_no_place_until_that_is_over() {
    let mut house = Plan::new(1).build();
    let id = JobId::generate();
    let _other = claim(&house, JobId::generate()).await;
    let first = claim(&house, id).await;
    let other = house.next().await;
    let while_it_waits = claim(&house, id).await;
    succeed(other);
    let running = house.next().await;
    let while_it_runs = claim(&house, id).await;
    for refused in [while_it_waits, while_it_runs] {
        let told = soon("it is told", refused).await.unwrap();
        assert_eq!(told.unwrap_err(), NotRun::Busy);
    }
    succeed(running);
    assert!(soon("it has its end", first).await.unwrap().is_ok());
    let _again = claim(&house, id).await;
    assert_eq!(house.next().await.id, id);
}
