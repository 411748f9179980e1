//! The last synchronous executions: which of them can still be read.

use super::*;
use crate::store::{RecentBounds, RecentExecutions};
use sandpiper_domain::Execution;

fn recent_of(executions_max: usize, bytes_max: usize) -> RecentExecutions {
    RecentExecutions::new(RecentBounds {
        executions_max,
        bytes_max,
        ttl: TTL,
    })
}

fn keep(recent: &RecentExecutions, result_bytes: usize) -> Arc<Execution> {
    let execution = Arc::new(samples::success(JobId::generate(), result_bytes));
    recent.keep(&execution);
    execution
}

/// Which of `executions` can still be read, oldest first.
fn kept(recent: &RecentExecutions, executions: &[Arc<Execution>]) -> Vec<bool> {
    executions
        .iter()
        .map(|execution| recent.get(execution.id).is_some())
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
        recent.keep(&execution);
        assert_eq!(recent.get(execution.id).unwrap().state, state);
    }
}

#[test]
fn an_execution_is_read_back_as_a_job_that_tells_its_end() {
    let recent = recent_of(2, 1 << 20);
    let execution = keep(&recent, 10);
    let job = recent.get(execution.id).unwrap();
    assert_eq!(job.id, execution.id);
    assert_eq!(job.attempt, 1);
    assert_eq!(job.expires_at, Some(execution.finished_at.plus(TTL)));
    assert_eq!(job.execution, Some(execution));
}

#[test]
fn of_too_many_the_oldest_goes_first() {
    let recent = recent_of(3, 1 << 20);
    let executions: Vec<_> = (0..5).map(|_| keep(&recent, 10)).collect();
    assert_eq!(kept(&recent, &executions), [false, false, true, true, true]);
}

#[test]
fn of_too_many_bytes_the_oldest_goes_first() {
    let recent = recent_of(100, 100_000);
    let small: Vec<_> = (0..3).map(|_| keep(&recent, 20_000)).collect();
    assert_eq!(kept(&recent, &small), [true, true, true]);
    let large = keep(&recent, 70_000);
    assert_eq!(kept(&recent, &small), [false, false, true]);
    assert_eq!(kept(&recent, &[large]), [true]);
}

#[test]
fn one_that_is_larger_than_everything_pushes_nothing_out() {
    let recent = recent_of(100, 100_000);
    let small = keep(&recent, 1_000);
    let too_large = keep(&recent, 100_001);
    assert_eq!(kept(&recent, &[small, too_large]), [true, false]);
}

#[test]
fn an_execution_goes_when_its_time_is_over_and_gives_its_bytes_back() {
    let recent = recent_of(100, 100_000);
    for _ in 0..5 {
        let executions: Vec<_> = (0..3).map(|_| keep(&recent, 30_000)).collect();
        let last = executions[2].finished_at;
        let just_before =
            Timestamp::from_unix_millis(executions[0].finished_at.plus(TTL).as_unix_millis() - 1);
        recent.sweep(just_before);
        assert_eq!(kept(&recent, &executions), [true, true, true]);
        recent.sweep(last.plus(TTL));
        assert_eq!(kept(&recent, &executions), [false, false, false]);
    }
}

#[test]
fn where_none_may_be_kept_none_is() {
    let recent = recent_of(0, 1 << 20);
    let execution = keep(&recent, 10);
    assert_eq!(kept(&recent, &[execution]), [false]);
}
