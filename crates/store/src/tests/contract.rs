//! The contract of every store: each test is one promise of [`JobStore`].

use super::*;
use crate::{Committed, JobPage, ListQuery, SuspendedRound, ToolProgress};
use sandpiper_domain::{ApiKeyId, Owner, Tenant};
use std::collections::BTreeSet;
use std::time::Instant;
use tokio::runtime::Handle;

#[tokio::test]
async fn a_submitted_job_is_queued_and_is_found() {
    over_every_store(|store| async move {
        let new = new_job("test", 1);
        let accepted = store.submit(new.clone()).await.unwrap().job;
        let found = get(&*store, new.job.id).await;
        for job in [accepted, found] {
            assert_eq!(job.id, new.job.id);
            assert_eq!(job.state, JobState::Queued);
            assert_eq!(job.created_at, new.created_at);
            assert_eq!(job.attempt, 0);
            assert!(job.started_at.is_none() && job.finished_at.is_none());
            assert!(job.expires_at.is_none() && job.execution.is_none());
        }
    })
    .await;
}

#[tokio::test]
async fn a_started_job_runs_with_its_attempt() {
    over_every_store(|store| async move {
        let id = submit_and_start(&*store).await;
        let job = get(&*store, id).await;
        assert_eq!((job.state, job.attempt), (JobState::Running, 1));
        assert!(job.started_at.is_some_and(|at| at >= job.created_at));
    })
    .await;
}

#[tokio::test]
async fn a_finish_is_recorded_with_its_execution_and_its_end() {
    over_every_store(|store| async move {
        let id = submit_and_start(&*store).await;
        let settlement = finished(id);
        let execution = settlement.execution.clone();
        let answer = store.finish(id, 1, settlement).await.unwrap();
        assert_eq!(answer, Finished::Recorded);
        let job = get(&*store, id).await;
        assert_eq!((job.state, job.attempt), (JobState::Finished, 1));
        assert_eq!(job.execution, execution);
        let finished_at = job.finished_at.unwrap();
        assert!(finished_at >= job.started_at.unwrap());
        assert_eq!(job.expires_at.unwrap(), finished_at.plus(TTL));
    })
    .await;
}

#[tokio::test]
async fn a_finish_of_an_earlier_attempt_is_stale_and_changes_nothing() {
    over_every_store(|store| async move {
        let id = submit_and_start(&*store).await;
        store.requeue(id, 1).await.unwrap();
        store.start(id, 2).await.unwrap();
        let answer = store.finish(id, 1, finished(id)).await.unwrap();
        assert_eq!(answer, Finished::Stale);
        let job = get(&*store, id).await;
        assert_eq!((job.state, job.attempt), (JobState::Running, 2));
        assert!(job.execution.is_none() && job.expires_at.is_none());
        let answer = store.finish(id, 2, finished(id)).await.unwrap();
        assert_eq!(answer, Finished::Recorded);
    })
    .await;
}

#[tokio::test]
async fn a_final_job_never_changes() {
    over_every_store(|store| async move {
        for settlement in [finished, lost, |_| cancelled()] {
            let id = submit_and_start(&*store).await;
            store.finish(id, 1, settlement(id)).await.unwrap();
            let before = get(&*store, id).await;
            for second in [finished(id), cancelled(), lost(id)] {
                let answer = store.finish(id, 1, second).await.unwrap();
                assert_eq!(answer, Finished::Stale);
            }
            store.start(id, 2).await.unwrap();
            store.requeue(id, 1).await.unwrap();
            let after = get(&*store, id).await;
            assert_eq!(after.state, before.state);
            assert_eq!(after.attempt, before.attempt);
            assert_eq!(after.execution, before.execution);
            assert_eq!(after.started_at, before.started_at);
            assert_eq!(after.finished_at, before.finished_at);
            assert_eq!(after.expires_at, before.expires_at);
        }
    })
    .await;
}

#[tokio::test]
async fn a_job_that_was_never_started_can_be_cancelled() {
    over_every_store(|store| async move {
        let id = submit(&*store).await;
        let answer = store.finish(id, 0, cancelled()).await.unwrap();
        assert_eq!(answer, Finished::Recorded);
        assert_eq!(get(&*store, id).await.state, JobState::Cancelled);
    })
    .await;
}

#[tokio::test]
async fn a_finish_of_an_unknown_job_is_stale() {
    over_every_store(|store| async move {
        let id = JobId::generate();
        let answer = store.finish(id, 0, finished(id)).await.unwrap();
        assert_eq!(answer, Finished::Stale);
        assert!(matches!(
            store.get(id, &Access::All).await.unwrap(),
            Found::Unknown
        ));
    })
    .await;
}

#[tokio::test]
async fn a_job_that_is_handed_back_is_queued_and_keeps_count_of_its_attempts() {
    over_every_store(|store| async move {
        let id = submit_and_start(&*store).await;
        store.requeue(id, 1).await.unwrap();
        let job = get(&*store, id).await;
        assert_eq!((job.state, job.attempt), (JobState::Queued, 1));
        assert!(job.started_at.is_none());
        let answer = store.finish(id, 1, cancelled()).await.unwrap();
        assert_eq!(answer, Finished::Recorded, "cancelled while it rested");
    })
    .await;
}

#[tokio::test]
async fn an_earlier_attempt_cannot_requeue_a_later_one() {
    over_every_store(|store| async move {
        let id = submit_and_start(&*store).await;
        store.requeue(id, 1).await.unwrap();
        store.start(id, 2).await.unwrap();
        store.requeue(id, 1).await.unwrap();
        let job = get(&*store, id).await;
        assert_eq!((job.state, job.attempt), (JobState::Running, 2));
    })
    .await;
}

#[tokio::test]
async fn a_caller_that_waits_is_woken_by_the_finish() {
    over_every_store(|store| async move {
        let id = submit_and_start(&*store).await;
        let waiters: Vec<_> = (0..3)
            .map(|_| {
                let store = Arc::clone(&store);
                // Longer than the test may take: only the finish can end the wait in time.
                tokio::spawn(async move { store.wait(id, &Access::All, PATIENCE * 10).await })
            })
            .collect();
        // Every caller waits before the finish.
        tokio::task::yield_now().await;
        store.finish(id, 1, finished(id)).await.unwrap();
        for waiter in waiters {
            let job = job(waiter.await.unwrap().unwrap());
            assert_eq!(job.state, JobState::Finished);
            assert!(job.execution.is_some());
        }
    })
    .await;
}

#[tokio::test]
async fn a_wait_that_times_out_returns_the_job() {
    over_every_store(|store| async move {
        let id = submit_and_start(&*store).await;
        let patience = Duration::from_millis(30);
        let began = Instant::now();
        let job = job(store.wait(id, &Access::All, patience).await.unwrap());
        assert_eq!(job.state, JobState::Running);
        assert!(began.elapsed() >= patience, "it gave up early");
    })
    .await;
}

#[tokio::test]
async fn a_wait_for_a_job_that_cannot_change_returns_at_once() {
    over_every_store(|store| async move {
        let id = submit_and_start(&*store).await;
        store.finish(id, 1, finished(id)).await.unwrap();
        // Longer than the test may take.
        let wait = |id| store.wait(id, &Access::All, PATIENCE * 10);
        assert_eq!(job(wait(id).await.unwrap()).state, JobState::Finished);
        let never_seen = JobId::generate();
        assert!(matches!(wait(never_seen).await.unwrap(), Found::Unknown));
        store.sweep(when_all_is_expired()).await.unwrap();
        assert!(matches!(wait(id).await.unwrap(), Found::Expired));
    })
    .await;
}

async fn page(store: &dyn JobStore, state: Option<JobState>, before: Option<JobId>) -> JobPage {
    let query = ListQuery {
        access: Access::All,
        state,
        limit: 7,
        before,
    };
    store.list(&query).await.unwrap()
}

/// Reads all pages of the jobs in this state.
async fn pages(store: &dyn JobStore, state: Option<JobState>) -> Vec<JobRecord> {
    let mut all = Vec::new();
    let mut before = None;
    loop {
        let page = page(store, state, before).await;
        assert!(page.jobs.len() <= 7);
        assert!(page.next.is_none() || page.jobs.len() == 7);
        all.extend(page.jobs);
        if page.next.is_none() {
            return all;
        }
        before = page.next;
    }
}

#[tokio::test]
async fn pages_of_a_list_have_every_job_once_newest_first() {
    over_every_store(|store| async move {
        let mut ids = BTreeSet::new();
        for _ in 0..500 {
            ids.insert(submit(&*store).await);
        }
        let listed: Vec<JobId> = pages(&*store, None)
            .await
            .iter()
            .map(|job| job.id)
            .collect();
        let newest_first: Vec<JobId> = ids.into_iter().rev().collect();
        assert_eq!(listed, newest_first);
    })
    .await;
}

#[tokio::test]
async fn a_job_submitted_between_two_pages_moves_neither() {
    over_every_store(|store| async move {
        for _ in 0..20 {
            submit(&*store).await;
        }
        let first = page(&*store, None, None).await;
        let undisturbed = page(&*store, None, first.next).await;
        submit(&*store).await;
        let second = page(&*store, None, first.next).await;
        let ids = |page: &JobPage| page.jobs.iter().map(|job| job.id).collect::<Vec<_>>();
        assert_eq!(ids(&second), ids(&undisturbed));
        assert!(ids(&second)[0] < ids(&first)[6]);
    })
    .await;
}

#[tokio::test]
async fn a_list_of_one_state_has_those_jobs_and_no_others() {
    over_every_store(|store| async move {
        let mut expected: [BTreeSet<JobId>; 6] = Default::default();
        for index in 0..500 {
            let kind = index % JobState::ALL.len();
            let id = match JobState::ALL[kind] {
                JobState::Waiting => submit_with_tools(&*store).await,
                _ => submit(&*store).await,
            };
            match JobState::ALL[kind] {
                JobState::Queued => {}
                JobState::Waiting => {
                    store.start(id, 1).await.unwrap();
                    let committed = suspend(&*store, id, 1, 0).await;
                    assert_eq!(committed, Committed::Waits);
                }
                JobState::Running => store.start(id, 1).await.unwrap(),
                state => {
                    let settlement = Settlement {
                        state,
                        ..cancelled()
                    };
                    store.finish(id, 0, settlement).await.unwrap();
                }
            }
            expected[kind].insert(id);
        }
        for (state, ids) in JobState::ALL.into_iter().zip(expected) {
            let listed = pages(&*store, Some(state)).await;
            assert!(listed.iter().all(|job| job.state == state));
            let listed: Vec<JobId> = listed.iter().map(|job| job.id).collect();
            let newest_first: Vec<JobId> = ids.into_iter().rev().collect();
            assert_eq!(listed, newest_first, "{}", state.as_str());
        }
    })
    .await;
}

#[tokio::test]
async fn a_full_last_page_has_no_next_page() {
    over_every_store(|store| async move {
        for _ in 0..14 {
            submit(&*store).await;
        }
        let first = page(&*store, None, None).await;
        let second = page(&*store, None, first.next).await;
        assert_eq!(second.jobs.len(), 7);
        assert!(second.next.is_none());
    })
    .await;
}

#[tokio::test]
async fn an_expired_job_is_reported_as_expired() {
    over_every_store(|store| async move {
        let over = submit_and_start(&*store).await;
        store.finish(over, 1, finished(over)).await.unwrap();
        let unfinished = submit_and_start(&*store).await;
        assert_eq!(store.sweep(Timestamp::now()).await.unwrap(), 0);
        assert_eq!(get(&*store, over).await.state, JobState::Finished);
        assert_eq!(store.sweep(when_all_is_expired()).await.unwrap(), 1);
        assert!(matches!(
            store.get(over, &Access::All).await.unwrap(),
            Found::Expired
        ));
        // A job that is not final does not expire, however old it is.
        assert_eq!(get(&*store, unfinished).await.state, JobState::Running);
        let never_seen = JobId::generate();
        let found = store.get(never_seen, &Access::All).await.unwrap();
        assert!(matches!(found, Found::Unknown));
        let listed: Vec<JobId> = pages(&*store, None)
            .await
            .iter()
            .map(|job| job.id)
            .collect();
        assert_eq!(listed, [unfinished]);
        let late = store.finish(over, 1, finished(over)).await.unwrap();
        assert_eq!(late, Finished::Stale);
    })
    .await;
}

#[tokio::test]
async fn of_many_finishes_at_once_exactly_one_is_recorded() {
    over_every_store(|store| async move {
        for _ in 0..50 {
            let id = submit_and_start(&*store).await;
            let line = Arc::new(std::sync::Barrier::new(8));
            let finishes: Vec<_> = (0..8)
                .map(|thread| {
                    let (store, line) = (Arc::clone(&store), Arc::clone(&line));
                    let runtime = Handle::current();
                    tokio::task::spawn_blocking(move || {
                        let execution = Arc::new(samples::success(id, 10 + thread));
                        let settlement = Settlement {
                            state: JobState::Finished,
                            execution: Some(Arc::clone(&execution)),
                            last_round: None,
                        };
                        line.wait();
                        let answer = runtime.block_on(store.finish(id, 1, settlement));
                        (answer.unwrap(), execution)
                    })
                })
                .collect();
            let mut recorded = Vec::new();
            for finish in finishes {
                if let (Finished::Recorded, execution) = finish.await.unwrap() {
                    recorded.push(execution);
                }
            }
            assert_eq!(recorded.len(), 1);
            // The stored execution is that of the finish that was recorded.
            let job = get(&*store, id).await;
            assert_eq!(job.execution.as_ref(), recorded.first());
        }
    })
    .await;
}

#[tokio::test]
async fn a_store_that_works_is_healthy_and_has_a_name() {
    over_every_store(|store| async move {
        store.health().await.unwrap();
        assert!(!store.name().is_empty() && !store.promise().is_empty());
    })
    .await;
}

/// Submits a job of this tenant, with a key.
async fn submit_of(store: &dyn JobStore, tenant: &Tenant, key: ApiKeyId) -> JobId {
    let client = tenant.client().unwrap();
    let mut job = samples::job(client.as_str(), 1);
    job.owner = Owner {
        tenant: tenant.clone(),
        key: Some(key),
    };
    let new = NewJob {
        job: Arc::new(job),
        ..new_job("test", 1)
    };
    store.submit(new).await.unwrap().job.id
}

#[tokio::test]
async fn a_job_is_found_waited_for_and_listed_by_those_only_who_may_see_it() {
    over_every_store(|store| async move {
        let [a, b]: [Tenant; 2] = ["a", "b"].map(|name| name.parse().unwrap());
        let [first, second]: [ApiKeyId; 2] =
            ["0000000000000001", "0000000000000002"].map(|id| id.parse().unwrap());
        let ids = [
            submit_of(&*store, &a, first).await,
            submit_of(&*store, &a, second).await,
            submit_of(&*store, &b, first).await,
            submit(&*store).await,
        ];
        for (access, seen) in [
            (Access::All, [true; 4]),
            (Access::Tenant(a.clone()), [true, true, false, false]),
            (Access::Key(a.clone(), second), [false, true, false, false]),
            (Access::Tenant(b.clone()), [false, false, true, false]),
            (
                Access::Tenant(Tenant::default()),
                [false, false, false, true],
            ),
            (Access::Tenant("c".parse().unwrap()), [false; 4]),
        ] {
            for (id, is_seen) in ids.into_iter().zip(seen) {
                let found = store.get(id, &access).await.unwrap();
                assert_eq!(matches!(found, Found::Job(_)), is_seen, "{access:?}");
                // A wait for a job that cannot be seen ends at once, as for one that does not exist.
                let patience = if is_seen {
                    Duration::ZERO
                } else {
                    PATIENCE * 10
                };
                let found = store.wait(id, &access, patience).await.unwrap();
                assert_eq!(matches!(found, Found::Job(_)), is_seen, "{access:?}");
            }
            let query = ListQuery {
                access: access.clone(),
                state: Some(JobState::Queued),
                limit: 10,
                before: None,
            };
            let listed = store.list(&query).await.unwrap().jobs;
            let listed: BTreeSet<JobId> = listed.iter().map(|job| job.id).collect();
            let expected = ids.into_iter().zip(seen);
            let expected = expected.filter_map(|(id, is_seen)| is_seen.then_some(id));
            assert_eq!(listed, expected.collect(), "{access:?}");
        }
        for id in ids {
            store.finish(id, 0, cancelled()).await.unwrap();
        }
        store.sweep(when_all_is_expired()).await.unwrap();
        let of_a = Access::Tenant(a);
        assert!(matches!(
            store.get(ids[0], &of_a).await.unwrap(),
            Found::Expired
        ));
        assert!(matches!(
            store.get(ids[2], &of_a).await.unwrap(),
            Found::Unknown
        ));
    })
    .await;
}

async fn submit_with_tools(store: &dyn JobStore) -> JobId {
    let new = NewJob {
        tool_head: Some(b"{}".to_vec()),
        ..new_job("test", 1)
    };
    store.submit(new).await.unwrap().job.id
}

/// Commits a round without calls, which began after `rounds` rounds.
async fn suspend(store: &dyn JobRecords, id: JobId, attempt: u32, rounds: u32) -> Committed {
    let progress = ToolProgress {
        rounds,
        ..ToolProgress::default()
    };
    let round = Arc::new(SuspendedRound::default());
    store.suspend(id, attempt, &progress, round).await.unwrap()
}

#[tokio::test]
async fn a_round_is_committed_once_and_only_by_the_attempt_that_owns_the_job() {
    over_every_store(|store| async move {
        let id = submit_with_tools(&*store).await;
        store.start(id, 1).await.unwrap();
        store.requeue(id, 1).await.unwrap();
        store.start(id, 2).await.unwrap();
        assert_eq!(suspend(&*store, id, 1, 0).await, Committed::Stale);
        assert_eq!(suspend(&*store, id, 2, 0).await, Committed::Waits);
        assert_eq!(get(&*store, id).await.state, JobState::Waiting);
        assert_eq!(suspend(&*store, id, 2, 0).await, Committed::Stale);
        let job = get(&*store, id).await;
        assert_eq!((job.state, job.rounds), (JobState::Waiting, Some(1)));
        store.resume(id).await.unwrap();
        assert_eq!(get(&*store, id).await.state, JobState::Queued);
        store.start(id, 2).await.unwrap();
        let settled = store.finish(id, 2, cancelled()).await.unwrap();
        assert_eq!(settled, Finished::Recorded);
        let job = get(&*store, id).await;
        assert_eq!(job.outcome, Some(Outcome::Cancelled), "it has run");
        assert_eq!(suspend(&*store, id, 2, 1).await, Committed::Stale);
        let plain = submit_and_start(&*store).await;
        assert_eq!(suspend(&*store, plain, 1, 0).await, Committed::Stale);
    })
    .await;
}

#[tokio::test]
async fn a_secret_is_the_one_that_came_first() {
    over_every_store(|store| async move {
        assert_eq!(store.secret("a", "1".to_owned()).await.unwrap(), "1");
        assert_eq!(store.secret("a", "2".to_owned()).await.unwrap(), "1");
        assert_eq!(store.secret("b", "2".to_owned()).await.unwrap(), "2");
    })
    .await;
}
