//! The life of a job with tools: it waits, goes on, ends, is cancelled, and is deleted.

use super::{PATIENCE, TTL, Tested, calls_one_after_the_other, ended, new_job, offered};
use crate::stores::{Store, over_every_store};
use sandpiper_domain::{Access, ApiKeyId, JobState, Outcome, Owner, Tenant, Timestamp};
use sandpiper_store::{Answered, Found, NewJob, Ran, StoreError, SuspendedRound, WaitingBounds};
use std::sync::Arc;
use std::time::{Duration, Instant};

over_every_store!(
    a_job_waits_for_its_reader_and_goes_on_with_the_answer,
    a_job_that_waits_for_a_timer_goes_on_at_its_moment,
    a_job_that_waits_is_cancelled_and_keeps_its_progress,
    a_plain_job_has_no_progress_and_takes_no_answer,
    jobs_that_wait_are_bounded_by_client_and_are_no_open_jobs,
    the_progress_of_a_job_is_deleted_with_its_record,
    a_job_that_waits_moves_with_its_key,
    a_caller_that_waits_is_told_of_a_suspension_and_not_of_a_timer,
);

fn a_job_waits_for_its_reader_and_goes_on_with_the_answer(store: &Store) {
    let tested = Tested::new(store, calls_one_after_the_other(2));
    let id = tested.submit();
    let waiting = tested.settled(id);
    assert_eq!(waiting.state, JobState::Waiting);
    assert_eq!((waiting.rounds, waiting.attempt), (Some(1), 1));
    assert!(waiting.started_at.is_none() && waiting.execution.is_none());
    assert_eq!(tested.listed(JobState::Waiting), [id]);
    for other in [JobState::Queued, JobState::Running, JobState::Finished] {
        assert_eq!(tested.listed(other), [], "{other:?}");
    }
    assert_eq!(tested.answer(id, &[(0, "one")]), Answered::Taken);
    let again = tested.settled(id);
    assert_eq!((again.state, again.rounds), (JobState::Waiting, Some(2)));
    assert_eq!(tested.answer(id, &[(1, "two")]), Answered::Taken);
    let finished = tested.settled(id);
    assert_eq!(finished.state, JobState::Finished);
    assert_eq!((finished.rounds, finished.attempt), (Some(3), 1));
    assert!(finished.execution.is_some());
    assert_eq!(tested.parts(id), ["[]", "[\"one\"]", "\"end\""]);
    let progress = tested.progress(id).unwrap();
    assert_eq!(progress.head, b"{\"head\":\"end\"}");
    assert!(progress.inbox.is_empty());
    assert_eq!(tested.listed(JobState::Waiting), []);
    assert_eq!(tested.listed(JobState::Finished), [id]);
    assert_eq!(tested.rounds(), 3);
}

fn a_job_that_waits_for_a_timer_goes_on_at_its_moment(store: &Store) {
    const PAUSE: Duration = Duration::from_millis(1_500);
    let tested = Tested::new(store, |job, progress| {
        if progress.rounds == 1 {
            return ended(job, Vec::new());
        }
        Ran::Suspended(Arc::new(SuspendedRound {
            resume_at: Some(Timestamp::now().plus(PAUSE)),
            ..SuspendedRound::default()
        }))
    });
    let start = Instant::now();
    let id = tested.submit();
    // A timer needs no reader: the wait goes on to the end.
    assert_eq!(tested.settled(id).state, JobState::Finished);
    let took = start.elapsed();
    assert!(took >= PAUSE, "{took:?}");
    assert!(took < PAUSE + Duration::from_secs(4), "{took:?}");
    assert_eq!(tested.rounds(), 2);
}

fn a_job_that_waits_is_cancelled_and_keeps_its_progress(store: &Store) {
    let tested = Tested::new(store, calls_one_after_the_other(2));
    let id = tested.submit();
    tested.settled(id);
    tested.run(tested.store.cancel(id)).unwrap();
    let start = Instant::now();
    while tested.get(id).state != JobState::Cancelled {
        assert!(start.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(10));
    }
    let cancelled = tested.get(id);
    assert_eq!(cancelled.outcome, Some(Outcome::Cancelled));
    assert_eq!((cancelled.rounds, cancelled.attempt), (Some(1), 1));
    assert!(cancelled.execution.is_none() && cancelled.expires_at.is_some());
    assert_eq!(tested.parts(id), ["[]"]);
    let late = tested.answer(id, &[(0, "one")]);
    assert_eq!(late, Answered::Final(JobState::Cancelled));
    assert_eq!(tested.listed(JobState::Waiting), []);
    assert_eq!(tested.rounds(), 1);
}

fn a_plain_job_has_no_progress_and_takes_no_answer(store: &Store) {
    let tested = Tested::new(store, calls_one_after_the_other(1));
    let plain = NewJob {
        job: Arc::new(sandpiper_domain::samples::job("test", 1)),
        tool_head: None,
        ..new_job("test")
    };
    let id = tested.run(tested.store.submit(plain)).unwrap().job.id;
    let finished = tested.settled(id);
    assert_eq!(finished.state, JobState::Finished);
    assert_eq!(finished.rounds, None);
    assert_eq!(tested.progress(id), None);
    assert_eq!(tested.answer(id, &[(0, "one")]), Answered::NoTools);
}

fn jobs_that_wait_are_bounded_by_client_and_are_no_open_jobs(store: &Store) {
    let waiting = WaitingBounds {
        jobs_max: 3,
        bytes_max: 1 << 20,
    };
    let tested = Tested::within(store, waiting, calls_one_after_the_other(1));
    let ids: Vec<_> = (0..3).map(|_| tested.submit_of("a")).collect();
    for id in &ids {
        assert_eq!(tested.settled(*id).state, JobState::Waiting);
    }
    // Counts of other moments are valid for a second.
    std::thread::sleep(Duration::from_millis(1_100));
    let full = tested.run(tested.store.submit(new_job("a")));
    assert!(
        matches!(full, Err(StoreError::WaitingFull { most: 3 })),
        "{full:?}"
    );
    assert_eq!(tested.store.counts().refused_waiting, 1);
    // Another client has bounds of its own, and a plain job is not bounded.
    tested.submit_of("b");
    let plain = NewJob {
        job: Arc::new(sandpiper_domain::samples::job("a", 1)),
        tool_head: None,
        ..new_job("a")
    };
    tested.run(tested.store.submit(plain)).unwrap();
    assert_eq!(tested.answer(ids[0], &[(0, "one")]), Answered::Taken);
    assert_eq!(tested.settled(ids[0]).state, JobState::Finished);
    std::thread::sleep(Duration::from_millis(1_100));
    tested.submit_of("a");
}

fn the_progress_of_a_job_is_deleted_with_its_record(store: &Store) {
    let tested = Tested::new(store, calls_one_after_the_other(1));
    let bytes_before = {
        tested.run(tested.store.sweep(Timestamp::now())).unwrap();
        tested.store.counts().bytes
    };
    let ids: Vec<_> = (0..3).map(|_| tested.submit_of("tenant:a")).collect();
    for id in &ids {
        tested.settled(*id);
        assert_eq!(tested.answer(*id, &[(0, "one")]), Answered::Taken);
        assert_eq!(tested.settled(*id).state, JobState::Finished);
    }
    tested.run(tested.store.purge(ids[0])).unwrap();
    let later = Timestamp::now().plus(TTL * 2);
    assert_eq!(tested.progress(ids[0]), None);
    assert!(tested.progress(ids[1]).is_some());
    assert_eq!(tested.run(tested.store.sweep(later)).unwrap(), 2);
    for id in &ids[1..] {
        assert_eq!(tested.progress(*id), None);
        let found = tested.run(tested.store.get(*id, &Access::All)).unwrap();
        assert!(matches!(found, Found::Expired));
        assert_eq!(tested.answer(*id, &[(0, "one")]), Answered::Expired);
    }
    let id = tested.submit_of("tenant:a");
    tested.settled(id);
    tested.answer(id, &[(0, "one")]);
    tested.settled(id);
    let tenant: Tenant = "a".parse().unwrap();
    let purged = tested.run(tested.store.purge_tenant(&tenant)).unwrap();
    assert!(purged >= 1);
    assert_eq!(tested.progress(id), None);
    // The bytes of all of them are free again.
    tested.run(tested.store.sweep(Timestamp::now())).unwrap();
    assert_eq!(tested.store.counts().bytes, bytes_before);
}

fn a_job_that_waits_moves_with_its_key(store: &Store) {
    let tested = Tested::new(store, calls_one_after_the_other(1));
    let [from, to]: [Tenant; 2] = ["from", "to"].map(|name| name.parse().unwrap());
    let key: ApiKeyId = "0000000000000001".parse().unwrap();
    let mut new = new_job("tenant:from");
    let job = Arc::get_mut(&mut new.job).unwrap();
    job.owner = Owner {
        tenant: from.clone(),
        key: Some(key),
    };
    let id = tested.run(tested.store.submit(new)).unwrap().job.id;
    tested.settled(id);
    let moved = tested.run(tested.store.assign(key, &from, &to)).unwrap();
    assert_eq!(moved, 1);
    let (now, answers) = (Timestamp::now(), vec![super::answer(0, "one")]);
    let of_former = Access::Tenant(from);
    let refused = tested
        .store
        .answer(id, &of_former, answers.clone(), super::ROOMY, now);
    assert_eq!(tested.run(refused).unwrap(), Answered::Unknown);
    let of_new = Access::Tenant(to);
    let query = sandpiper_store::ListQuery {
        access: of_new.clone(),
        state: Some(JobState::Waiting),
        limit: 10,
        before: None,
    };
    assert_eq!(tested.run(tested.store.list(&query)).unwrap().jobs.len(), 1);
    let taken = tested.store.answer(id, &of_new, answers, super::ROOMY, now);
    assert_eq!(tested.run(taken).unwrap(), Answered::Taken);
    assert_eq!(tested.settled(id).state, JobState::Finished);
}

fn a_caller_that_waits_is_told_of_a_suspension_and_not_of_a_timer(store: &Store) {
    // First a timer, then a call.
    let tested = Tested::new(store, |job, progress| {
        let round = match progress.rounds {
            0 => SuspendedRound {
                resume_at: Some(Timestamp::now().plus(Duration::from_millis(300))),
                ..SuspendedRound::default()
            },
            1 => SuspendedRound {
                offered: vec![offered(0)],
                needs_reader: true,
                ..SuspendedRound::default()
            },
            _ => return ended(job, vec![0]),
        };
        Ran::Suspended(Arc::new(round))
    });
    let id = tested.submit();
    let waiting = tested.settled(id);
    assert_eq!(
        (waiting.state, waiting.rounds),
        (JobState::Waiting, Some(2))
    );
}
