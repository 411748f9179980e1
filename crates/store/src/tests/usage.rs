//! The usage that a store counts itself: jobs that it accepts, and executions that it records as final.

use super::*;
use crate::{TotalsQuery, UsageBatch, UsageEntry, UsageQuery, UsageStore};
use sandpiper_domain::{IdempotencyKey, Owner, Period, UsageCounts};

/// Returns all usage of the current day.
async fn usage_of(store: &(impl UsageStore + ?Sized), owner: &Owner) -> UsageCounts {
    let now = Timestamp::now();
    let query = UsageQuery {
        access: Access::All,
        period: Period::Day,
        from: Period::Day.start(now),
        to: Period::Day.end(now),
        limit: 100,
    };
    let mut counts = UsageCounts::default();
    for sum in store.usage(&query).await.unwrap().sums {
        if sum.owner == *owner {
            counts.add(&sum.counts);
        }
    }
    counts
}

#[tokio::test]
async fn a_job_counts_once_when_it_is_accepted_and_once_when_it_ends() {
    over_every_store(|store| async move {
        let new = new_job("key:00000000000000aa", 10);
        let (id, owner) = (new.job.id, new.job.owner.clone());
        store.submit(new).await.unwrap();
        let accepted = usage_of(&*store, &owner).await;
        assert_eq!((accepted.jobs_queued, accepted.executions_charged), (1, 1));
        assert_eq!((accepted.bytes_in, accepted.queued_bytes), (10, 10));
        assert_eq!(accepted.executions, [0; Outcome::ALL.len()]);
        store.start(id, 1).await.unwrap();
        store.requeue(id, 1).await.unwrap();
        store.start(id, 2).await.unwrap();
        // The finish of an earlier attempt is stale, and so is a second finish.
        for attempt in [1, 2, 2] {
            store.finish(id, attempt, finished(id)).await.unwrap();
        }
        let ended = usage_of(&*store, &owner).await;
        let expected = UsageCounts {
            executions: [1, 0, 0, 0, 0, 0, 0, 0, 0],
            ..accepted
        };
        assert_eq!(ended, expected);
        let nobody = Owner::default();
        assert_eq!(usage_of(&*store, &nobody).await, UsageCounts::default());
    })
    .await;
}

/// Returns the processor time that is reserved for the jobs of an owner, in the day and in the month.
async fn reserved(store: &(impl UsageStore + ?Sized), owner: &Owner) -> [Duration; 2] {
    let now = Timestamp::now();
    let query = TotalsQuery {
        tenants: vec![owner.tenant.clone()],
        day: Period::Day.start(now),
        month: Period::Month.start(now),
    };
    let totals = store.usage_totals(&query).await.unwrap().totals;
    [Period::Day, Period::Month].map(|period| {
        let of_period = totals.iter().filter(|total| total.period == period);
        let of_owner = of_period.filter(|total| total.owner == *owner);
        let micros = of_owner.map(|total| total.charged.reserved_micros).sum();
        Duration::from_micros(micros)
    })
}

#[tokio::test]
async fn a_job_under_a_budget_of_processor_time_reserves_its_time_limit_until_it_ends() {
    over_every_store(|store| async move {
        let mut ids = Vec::new();
        for reserves_cpu in [true, true, false] {
            let mut new = new_job("key:00000000000000aa", 10);
            new.terms.reserves_cpu = reserves_cpu;
            ids.push(new.job.id);
            store.submit(new).await.unwrap();
        }
        let new = new_job("key:00000000000000aa", 10);
        let (owner, timeout) = (new.job.owner.clone(), new.job.limits.timeout());
        assert_eq!(reserved(&*store, &owner).await, [2 * timeout; 2]);
        store.start(ids[0], 1).await.unwrap();
        store.requeue(ids[0], 1).await.unwrap();
        store.start(ids[0], 2).await.unwrap();
        assert_eq!(reserved(&*store, &owner).await, [2 * timeout; 2]);
        let ended = finished(ids[0]);
        store.finish(ids[0], 2, ended).await.unwrap();
        assert_eq!(reserved(&*store, &owner).await, [timeout; 2]);
        store.start(ids[1], 1).await.unwrap();
        store.finish(ids[1], 1, cancelled()).await.unwrap();
        assert_eq!(reserved(&*store, &owner).await, [Duration::ZERO; 2]);
        assert_eq!(
            reserved(&*store, &Owner::default()).await,
            [Duration::ZERO; 2]
        );
    })
    .await;
}

#[tokio::test]
async fn a_job_that_never_ran_counts_as_accepted_only() {
    over_every_store(|store| async move {
        let owner = new_job("test", 1).job.owner.clone();
        for settlement in [|_| cancelled(), lost] {
            let id = submit_and_start(&*store).await;
            store.finish(id, 1, settlement(id)).await.unwrap();
        }
        let counts = usage_of(&*store, &owner).await;
        assert_eq!((counts.jobs_queued, counts.executions_charged), (2, 2));
        assert_eq!(counts.executions, [0; Outcome::ALL.len()]);
    })
    .await;
}

#[tokio::test]
async fn a_repeated_request_and_a_rejected_one_count_nothing() {
    let store = MemoryStore::new(MemoryStoreBounds {
        client_jobs_max: 1,
        ..ROOMY
    });
    let mut new = new_job("test", 1);
    new.terms.key = IdempotencyKey::new("key");
    let owner = new.job.owner.clone();
    for is_replay in [false, true, true] {
        let accepted = store.submit(new.clone()).await.unwrap();
        assert_eq!(accepted.is_replay, is_replay);
    }
    assert!(store.submit(new_job("test", 1)).await.is_err());
    assert_eq!(usage_of(&store, &owner).await.executions_charged, 1);
}

#[tokio::test]
async fn a_batch_that_is_given_again_counts_once() {
    let store = MemoryStore::new(ROOMY);
    let batch = |sequence| {
        Arc::new(UsageBatch {
            sequence,
            entries: vec![UsageEntry {
                owner: Owner::default(),
                hour: Period::Hour.start(Timestamp::now()),
                counts: UsageCounts {
                    executions_charged: 1,
                    ..UsageCounts::default()
                },
            }],
        })
    };
    for sequence in [1, 1, 2, 1, 2] {
        store.record_usage(batch(sequence)).await.unwrap();
    }
    let counts = usage_of(&store, &Owner::default()).await;
    assert_eq!(counts.executions_charged, 2);
}
