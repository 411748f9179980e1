//! The cache of synchronous executions: which of them it still has.

use super::*;
use crate::{RecentBounds, RecentExecutions};
use sandpiper_domain::{Execution, Owner};

fn recent_of(executions_max: usize, bytes_max: usize) -> RecentExecutions {
    RecentExecutions::new(RecentBounds {
        executions_max,
        bytes_max,
        ttl: TTL,
    })
}

fn insert(recent: &RecentExecutions, result_bytes: usize) -> Arc<Execution> {
    let execution = Arc::new(samples::success(JobId::generate(), result_bytes));
    recent.insert(Owner::default(), &execution);
    execution
}

/// Returns, for each of `executions`, whether the cache still has it.
fn cached(recent: &RecentExecutions, executions: &[Arc<Execution>]) -> Vec<bool> {
    executions
        .iter()
        .map(|execution| recent.get(execution.id, &Access::All).is_some())
        .collect()
}

#[test]
fn an_execution_that_was_stopped_is_a_cancelled_job() {
    let recent = recent_of(2, 1 << 20);
    for (outcome, state) in [
        (Outcome::Cancelled, JobState::Cancelled),
        (Outcome::Threw, JobState::Finished),
    ] {
        let execution = Arc::new(samples::execution(JobId::generate(), outcome));
        recent.insert(Owner::default(), &execution);
        assert_eq!(recent.get(execution.id, &Access::All).unwrap().state, state);
    }
}

#[test]
fn an_execution_is_read_as_a_finished_job() {
    let recent = recent_of(2, 1 << 20);
    let execution = insert(&recent, 10);
    let job = recent.get(execution.id, &Access::All).unwrap();
    assert_eq!(job.id, execution.id);
    assert_eq!(job.attempt, 1);
    assert_eq!(job.expires_at, Some(execution.finished_at.plus(TTL)));
    assert_eq!(job.execution, Some(execution));
}

#[test]
fn of_too_many_executions_the_oldest_is_evicted() {
    let recent = recent_of(3, 1 << 20);
    let executions: Vec<_> = (0..5).map(|_| insert(&recent, 10)).collect();
    assert_eq!(
        cached(&recent, &executions),
        [false, false, true, true, true]
    );
}

#[test]
fn of_too_many_bytes_the_oldest_is_evicted() {
    let recent = recent_of(100, 100_000);
    let small: Vec<_> = (0..3).map(|_| insert(&recent, 20_000)).collect();
    assert_eq!(cached(&recent, &small), [true, true, true]);
    let large = insert(&recent, 70_000);
    assert_eq!(cached(&recent, &small), [false, false, true]);
    assert_eq!(cached(&recent, &[large]), [true]);
}

#[test]
fn an_execution_larger_than_the_bound_evicts_nothing() {
    let recent = recent_of(100, 100_000);
    let small = insert(&recent, 1_000);
    let too_large = insert(&recent, 100_001);
    assert_eq!(cached(&recent, &[small, too_large]), [true, false]);
}

#[test]
fn an_expired_execution_is_removed_and_releases_its_bytes() {
    let recent = recent_of(100, 100_000);
    for _ in 0..5 {
        let executions: Vec<_> = (0..3).map(|_| insert(&recent, 30_000)).collect();
        let last = executions[2].finished_at;
        let just_before =
            Timestamp::from_unix_millis(executions[0].finished_at.plus(TTL).as_unix_millis() - 1);
        recent.sweep(just_before);
        assert_eq!(cached(&recent, &executions), [true, true, true]);
        recent.sweep(last.plus(TTL));
        assert_eq!(cached(&recent, &executions), [false, false, false]);
    }
}

#[test]
fn a_cache_of_no_executions_has_none() {
    let recent = recent_of(0, 1 << 20);
    let execution = insert(&recent, 10);
    assert_eq!(cached(&recent, &[execution]), [false]);
}
