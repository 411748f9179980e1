//! Answers: taken once, all of them or none, and never too late.

use super::{ROOMY, Tested, answer, calls_one_after_the_other, ended, offered};
use crate::stores::{Store, over_every_store};
use sandpiper_domain::{Access, JobState, Timestamp};
use sandpiper_store::{Answered, FoundHead, OfferedCall, Ran, SuspendedRound};
use std::sync::Arc;
use std::time::Duration;

over_every_store!(
    an_answer_is_taken_once_and_another_one_is_refused,
    of_the_answers_of_a_request_all_are_taken_or_none,
    an_answer_that_comes_too_late_is_refused,
    the_inbox_has_room_for_so_many_bytes,
    an_answer_that_a_round_knew_and_left_wakes_nothing,
    the_head_of_a_job_is_found_by_those_who_may_see_the_job,
);

/// Offers three calls, and ends with the answer of the last one.
fn three_calls() -> impl Fn(&sandpiper_domain::Job, &sandpiper_store::ToolProgress) -> Ran {
    |job, progress| {
        let taken: Vec<u32> = progress.inbox.iter().map(|answer| answer.seq).collect();
        if taken.contains(&2) {
            return ended(job, taken);
        }
        let offered = match progress.rounds {
            0 => (0..3).map(offered).collect(),
            _ => Vec::new(),
        };
        Ran::Suspended(Arc::new(SuspendedRound {
            head: b"1".to_vec(),
            part: Some(format!("{taken:?}").into_bytes()),
            taken,
            offered,
            needs_reader: true,
            ..SuspendedRound::default()
        }))
    }
}

fn an_answer_is_taken_once_and_another_one_is_refused(store: &Store) {
    let tested = Tested::new(store, three_calls());
    let id = tested.submit();
    tested.settled(id);
    assert_eq!(tested.answer(id, &[(0, "one")]), Answered::Taken);
    // The same answer again, while it is in the inbox or after a round has taken it.
    for _ in 0..2 {
        assert_eq!(tested.answer(id, &[(0, "one")]), Answered::Taken);
        let other = tested.answer(id, &[(0, "other")]);
        assert_eq!(other, Answered::AlreadyAnswered(vec![0]));
        tested.settled(id);
    }
    assert_eq!(tested.parts(id), ["[]", "[0]"]);
    assert_eq!(tested.rounds(), 2);
    assert_eq!(tested.answer(id, &[(2, "three")]), Answered::Taken);
    assert_eq!(tested.settled(id).state, JobState::Finished);
    let late = tested.answer(id, &[(0, "one")]);
    assert_eq!(late, Answered::Final(JobState::Finished));
}

fn of_the_answers_of_a_request_all_are_taken_or_none(store: &Store) {
    let tested = Tested::new(store, three_calls());
    let id = tested.submit();
    tested.settled(id);
    let with_unknown = tested.answer(id, &[(0, "one"), (7, "what"), (1, "two")]);
    assert_eq!(with_unknown, Answered::UnknownCalls(vec![1]));
    assert!(tested.progress(id).unwrap().inbox.is_empty());
    assert_eq!(tested.answer(id, &[(1, "two")]), Answered::Taken);
    tested.settled(id);
    let with_other = tested.answer(id, &[(0, "one"), (1, "other")]);
    assert_eq!(with_other, Answered::AlreadyAnswered(vec![1]));
    assert!(tested.progress(id).unwrap().inbox.is_empty());
    // One that is known, and two that are new.
    let all = tested.answer(id, &[(1, "two"), (2, "three"), (0, "one")]);
    assert_eq!(all, Answered::Taken);
    assert_eq!(tested.settled(id).state, JobState::Finished);
    assert_eq!(tested.parts(id), ["[]", "[1]", "\"end\""]);
}

fn an_answer_that_comes_too_late_is_refused(store: &Store) {
    // The first call may be answered for half a second, the second one until a round times it out.
    const OPEN_FOR: Duration = Duration::from_millis(500);
    let tested = Tested::new(store, |job, progress| {
        let call = |seq, answer_until| OfferedCall {
            answer_until,
            ..offered(seq)
        };
        let round = match progress.rounds {
            0 => SuspendedRound {
                offered: vec![
                    call(0, Some(Timestamp::now().plus(OPEN_FOR))),
                    call(1, None),
                    call(2, None),
                ],
                needs_reader: true,
                ..SuspendedRound::default()
            },
            1 => SuspendedRound {
                taken: vec![2],
                timed_out: vec![1],
                needs_reader: true,
                ..SuspendedRound::default()
            },
            _ => return ended(job, Vec::new()),
        };
        Ran::Suspended(Arc::new(round))
    });
    let id = tested.submit();
    tested.settled(id);
    std::thread::sleep(OPEN_FOR + Duration::from_millis(10));
    let late = tested.answer(id, &[(1, "in time"), (0, "late")]);
    assert_eq!(late, Answered::TimedOut(vec![1]));
    assert_eq!(tested.answer(id, &[(2, "in time")]), Answered::Taken);
    assert_eq!(tested.settled(id).rounds, Some(2));
    let late = tested.answer(id, &[(1, "late")]);
    assert_eq!(late, Answered::TimedOut(vec![0]));
    // An answer that was taken in time is known, however late it is repeated.
    assert_eq!(tested.answer(id, &[(2, "in time")]), Answered::Taken);
    assert!(tested.progress(id).unwrap().inbox.is_empty());
}

fn the_inbox_has_room_for_so_many_bytes(store: &Store) {
    let tested = Tested::new(store, three_calls());
    let id = tested.submit();
    tested.settled(id);
    let large = "x".repeat(100);
    let answers = vec![answer(0, &large), answer(1, &large), answer(2, "y")];
    let answered = tested
        .store
        .answer(id, &Access::All, answers, 150, Timestamp::now());
    assert_eq!(tested.run(answered).unwrap(), Answered::NoRoom(vec![1]));
    assert!(tested.progress(id).unwrap().inbox.is_empty());
}

fn an_answer_that_a_round_knew_and_left_wakes_nothing(store: &Store) {
    // The first call's answer is left until that of the second is there.
    let tested = Tested::new(store, |job, progress| {
        if progress.inbox.len() == 2 {
            return ended(job, vec![0, 1]);
        }
        Ran::Suspended(Arc::new(SuspendedRound {
            offered: vec![offered(0), offered(1)],
            needs_reader: true,
            ..SuspendedRound::default()
        }))
    });
    let id = tested.submit();
    tested.settled(id);
    assert_eq!(tested.answer(id, &[(0, "one")]), Answered::Taken);
    assert_eq!(tested.settled(id).state, JobState::Waiting);
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(tested.rounds(), 2);
    assert_eq!(tested.progress(id).unwrap().inbox.len(), 1);
    assert_eq!(tested.answer(id, &[(1, "two")]), Answered::Taken);
    assert_eq!(tested.settled(id).state, JobState::Finished);
    let inbox = tested.progress(id).unwrap().inbox;
    assert!(inbox.is_empty(), "{inbox:?}");
}

fn the_head_of_a_job_is_found_by_those_who_may_see_the_job(store: &Store) {
    let tested = Tested::new(store, calls_one_after_the_other(2));
    let id = tested.submit_of("tenant:a");
    tested.settled(id);
    let head = |access: &Access| tested.run(tested.store.tool_head(id, access)).unwrap();
    assert_eq!(head(&Access::All), FoundHead::Head(b"0".to_vec()));
    let of = |name: &str| Access::Tenant(name.parse().unwrap());
    assert_eq!(head(&of("a")), FoundHead::Head(b"0".to_vec()));
    assert_eq!(head(&of("b")), FoundHead::Unknown);
    let (answers, other) = (vec![answer(0, "one")], of("b"));
    let answered = tested
        .store
        .answer(id, &other, answers, ROOMY, Timestamp::now());
    assert_eq!(tested.run(answered).unwrap(), Answered::Unknown);
}
