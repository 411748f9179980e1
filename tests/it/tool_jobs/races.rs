//! Answers, cancels and ends that come at the same moment: no wake-up is lost, and nothing is half taken.

use super::{PATIENCE, Tested, answer, ended, offered};
use crate::stores::{Store, over_every_store};
use sandpiper_domain::{Access, Job, JobId, JobState, Timestamp};
use sandpiper_store::{Answered, JobStore, Ran, SuspendedRound, ToolProgress};
use std::sync::Arc;
use std::time::Duration;

over_every_store!(
    no_answer_is_lost_that_comes_while_a_round_suspends,
    an_answer_at_the_moment_of_the_end_is_taken_or_too_late,
    a_cancel_at_the_moment_of_a_suspension_cancels_the_job,
);

/// Jobs of each race.
const RACES: u32 = 60;

/// Offers all calls in the first round, and ends with the last answer. Each round takes what it was given.
fn all_at_once(calls: u32) -> impl Fn(&Job, &ToolProgress) -> Ran + Send + Sync {
    move |job, progress| {
        let before: u32 = match progress.rounds {
            0 => 0,
            _ => std::str::from_utf8(&progress.head)
                .unwrap()
                .parse()
                .unwrap(),
        };
        let taken: Vec<u32> = progress.inbox.iter().map(|answer| answer.seq).collect();
        let now = before + u32::try_from(taken.len()).unwrap();
        if now == calls {
            return ended(job, taken);
        }
        let offered = match progress.rounds {
            0 => (0..calls).map(offered).collect(),
            _ => Vec::new(),
        };
        Ran::Suspended(Arc::new(SuspendedRound {
            head: now.to_string().into_bytes(),
            part: Some(format!("{taken:?}").into_bytes()),
            taken,
            offered,
            needs_reader: true,
            ..SuspendedRound::default()
        }))
    }
}

async fn answer_one(store: &dyn JobStore, id: JobId, seq: u32) -> Answered {
    let answers = vec![answer(seq, &format!("answer {seq}"))];
    store
        .answer(id, &Access::All, answers, super::ROOMY, Timestamp::now())
        .await
        .unwrap()
}

/// Every answer comes at another moment of the round before it: a wake-up that is lost would leave the job waiting for ever.
fn no_answer_is_lost_that_comes_while_a_round_suspends(store: &Store) {
    const CALLS: u32 = 5;
    let tested = Tested::new(store, all_at_once(CALLS));
    *tested.runner.takes.lock() = Duration::from_millis(3);
    let ids: Vec<JobId> = (0..RACES).map(|_| tested.submit()).collect();
    tested.run(async {
        let mut tasks = Vec::new();
        for (number, id) in (0_u64..).zip(ids.clone()) {
            let store = Arc::clone(&tested.store);
            tasks.push(tokio::spawn(async move {
                store.wait(id, &Access::All, PATIENCE).await.unwrap();
                let answers = (0..CALLS).map(|seq| {
                    let store = Arc::clone(&store);
                    let pause = (number * 7 + u64::from(seq) * 13) % 17;
                    tokio::spawn(async move {
                        tokio::time::sleep(Duration::from_millis(pause)).await;
                        assert_eq!(answer_one(&*store, id, seq).await, Answered::Taken);
                    })
                });
                for answered in answers.collect::<Vec<_>>() {
                    answered.await.unwrap();
                }
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
    });
    for id in ids {
        assert_eq!(tested.settled_for_good(id).state, JobState::Finished);
        let progress = tested.progress(id).unwrap();
        assert!(progress.inbox.is_empty());
        assert_eq!(progress.arrivals, u64::from(CALLS));
        // Each answer is in one part, or in the last round.
        let taken: usize = tested.parts(id).iter().map(|part| numbers(part)).sum();
        assert!(taken < CALLS as usize, "{:?}", tested.parts(id));
    }
}

/// Returns how many numbers a part lists.
fn numbers(part: &str) -> usize {
    let words = part.split(|letter: char| !letter.is_ascii_digit());
    words.filter(|word| !word.is_empty()).count()
}

fn an_answer_at_the_moment_of_the_end_is_taken_or_too_late(store: &Store) {
    // The first answer ends the job; the second comes at the same moment.
    let tested = Tested::new(store, |job, progress| {
        if progress.rounds == 0 {
            return Ran::Suspended(Arc::new(SuspendedRound {
                offered: vec![offered(0), offered(1)],
                needs_reader: true,
                ..SuspendedRound::default()
            }));
        }
        let taken = progress.inbox.iter().map(|answer| answer.seq);
        ended(job, taken.collect())
    });
    for number in 0..RACES {
        let id = tested.submit();
        tested.settled(id);
        let store = Arc::clone(&tested.store);
        let second = tested.run(async move {
            let first = answer_one(&*store, id, 0).await;
            assert_eq!(first, Answered::Taken);
            tokio::time::sleep(Duration::from_micros(u64::from(number) * 150)).await;
            answer_one(&*store, id, 1).await
        });
        assert_eq!(tested.settled(id).state, JobState::Finished);
        let inbox = tested.progress(id).unwrap().inbox;
        match second {
            // In the inbox of a job that has ended, or taken by its last round.
            Answered::Taken => assert!(inbox.iter().all(|answer| answer.seq == 1)),
            Answered::Final(JobState::Finished) => assert!(inbox.is_empty()),
            other => panic!("{other:?}"),
        }
    }
}

fn a_cancel_at_the_moment_of_a_suspension_cancels_the_job(store: &Store) {
    let tested = Tested::new(store, all_at_once(1));
    *tested.runner.takes.lock() = Duration::from_millis(4);
    for number in 0..RACES {
        let id = tested.submit();
        let store = Arc::clone(&tested.store);
        tested.run(async move {
            tokio::time::sleep(Duration::from_micros(u64::from(number) * 200)).await;
            store.cancel(id).await.unwrap();
        });
        let job = tested.settled_for_good(id);
        assert_eq!(job.state, JobState::Cancelled, "{number}");
    }
}

impl Tested {
    /// Waits until a job has its final state.
    fn settled_for_good(&self, id: JobId) -> sandpiper_domain::JobRecord {
        let start = std::time::Instant::now();
        loop {
            let job = self.get(id);
            if job.state.is_final() {
                return job;
            }
            assert!(start.elapsed() < PATIENCE, "{job:?}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}
