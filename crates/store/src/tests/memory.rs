//! The bounds of the store in memory, beside the contract.

use super::*;

fn store_of(jobs_max: usize, bytes_max: usize) -> MemoryStore {
    MemoryStore::new(MemoryStoreBounds {
        jobs_max,
        bytes_max,
        ttl: TTL,
        client_jobs_max: 1_000_000,
        client_bytes: usize::MAX,
        usage_kept: ROOMY.usage_kept,
        waiting: WaitingBounds::DEFAULT,
    })
}

/// Submits jobs of `code_bytes` bytes of code until the store rejects one.
async fn fill(store: &MemoryStore, code_bytes: usize) -> (Vec<JobId>, Duration) {
    let mut ids = Vec::new();
    loop {
        assert!(ids.len() < 10_000, "the store rejects nothing");
        match store.submit(new_job("test", code_bytes)).await {
            Ok(accepted) => ids.push(accepted.job.id),
            Err(StoreError::Full { retry_after }) => return (ids, retry_after),
            Err(other) => panic!("{other}"),
        }
    }
}

async fn finish_all(store: &MemoryStore, ids: &[JobId]) {
    for id in ids {
        let answer = store.finish(*id, 0, finished(*id)).await.unwrap();
        assert_eq!(answer, Finished::Recorded);
    }
}

#[tokio::test]
async fn a_full_store_rejects_the_next_job() {
    let store = store_of(10, usize::MAX / 2);
    let (ids, _) = fill(&store, 1).await;
    assert_eq!(ids.len(), 10);
}

#[tokio::test]
async fn a_job_beyond_the_bound_of_bytes_is_rejected() {
    let store = store_of(usize::MAX, 1_000_000);
    let (ids, _) = fill(&store, 90_000).await;
    assert!((8..=11).contains(&ids.len()), "{} jobs", ids.len());
    // A smaller job may still find room.
    store.submit(new_job("test", 1)).await.unwrap();
}

#[tokio::test]
async fn a_full_store_evicts_no_job_that_has_not_expired() {
    let store = store_of(10, usize::MAX / 2);
    let (ids, _) = fill(&store, 1).await;
    finish_all(&store, &ids[..5]).await;
    store.sweep(Timestamp::now()).await.unwrap();
    assert!(store.submit(new_job("test", 1)).await.is_err());
    for (index, id) in ids.iter().enumerate() {
        let is_final = get(&store, *id).await.state.is_final();
        assert_eq!(is_final, index < 5);
    }
}

#[tokio::test]
async fn a_rejection_has_the_time_until_there_is_room() {
    let store = store_of(3, usize::MAX / 2);
    let (ids, without_end) = fill(&store, 1).await;
    // No job is final, so no record can expire before a whole time to live.
    assert_eq!(without_end, TTL);
    finish_all(&store, &ids[..1]).await;
    let expires_at = get(&store, ids[0]).await.expires_at.unwrap();
    let before = Timestamp::now();
    let (_, retry_after) = fill(&store, 1).await;
    let after = Timestamp::now();
    let earliest = expires_at.as_unix_millis() - after.as_unix_millis();
    let latest = expires_at.as_unix_millis() - before.as_unix_millis();
    let retry_millis = u64::try_from(retry_after.as_millis()).unwrap();
    assert!(
        (earliest..=latest).contains(&retry_millis),
        "{retry_after:?}"
    );
    // After that time there is room.
    store.sweep(after.plus(retry_after)).await.unwrap();
    assert!(store.submit(new_job("test", 1)).await.is_ok());
}

#[tokio::test]
async fn an_expired_job_releases_its_bytes() {
    let store = store_of(usize::MAX, 1_000_000);
    let (first, _) = fill(&store, 10_000).await;
    for _ in 0..5 {
        let (left, _) = fill(&store, 10_000).await;
        assert!(left.is_empty());
        let all = store.list(&everything()).await.unwrap().jobs;
        let ids: Vec<JobId> = all.iter().map(|job| job.id).collect();
        finish_all(&store, &ids).await;
        let swept = store.sweep(when_all_is_expired()).await.unwrap();
        assert_eq!(swept, ids.len());
        let (again, _) = fill(&store, 10_000).await;
        assert_eq!(again.len(), first.len());
    }
}

#[tokio::test]
async fn a_result_counts_instead_of_its_script() {
    let store = store_of(usize::MAX, 1_000_000);
    let (ids, _) = fill(&store, 100_000).await;
    finish_all(&store, &ids).await;
    let (more, _) = fill(&store, 100_000).await;
    assert!(more.len() + 1 >= ids.len(), "the scripts still count");
    let large = Settlement {
        state: JobState::Finished,
        execution: Some(Arc::new(samples::success(more[0], 500_000))),
        last_round: None,
    };
    store.finish(more[0], 0, large).await.unwrap();
    finish_all(&store, &more[1..]).await;
    let (fewer, _) = fill(&store, 100_000).await;
    assert!(fewer.len() < more.len() - 3, "the result does not count");
}

#[tokio::test]
async fn the_jobs_of_a_client_are_bounded_in_bytes_until_they_expire() {
    let store = MemoryStore::new(MemoryStoreBounds {
        client_bytes: 300_000,
        ..ROOMY
    });
    let of = |client: &str| new_job(client, 90_000);
    let mut ids = Vec::new();
    let rejected = loop {
        assert!(ids.len() < 10, "the store rejects nothing");
        match store.submit(of("a")).await {
            Ok(accepted) => ids.push(accepted.job.id),
            Err(rejection) => break rejection,
        }
    };
    assert!(matches!(
        rejected,
        StoreError::ClientBytesFull { most: 300_000, .. }
    ));
    assert_eq!(ids.len(), 3);
    // Another client has bytes of its own.
    store.submit(of("b")).await.unwrap();
    // A job that is cancelled before it ran makes room for one more, and no second one.
    store.finish(ids[0], 0, cancelled()).await.unwrap();
    let again = store.submit(of("a")).await.unwrap().job.id;
    assert!(store.submit(of("a")).await.is_err());
    // A result counts instead of its script.
    for id in [again, ids[1], ids[2]] {
        let large = Settlement {
            state: JobState::Finished,
            execution: Some(Arc::new(samples::success(id, 200_000))),
            last_round: None,
        };
        store.finish(id, 0, large).await.unwrap();
    }
    assert!(store.submit(of("a")).await.is_err());
    let counts = store.counts();
    assert_eq!(counts.refused_client_bytes, 3);
    assert!(counts.bytes > 600_000);
    store.sweep(when_all_is_expired()).await.unwrap();
    store.submit(of("a")).await.unwrap();
}

fn everything() -> crate::ListQuery {
    crate::ListQuery {
        access: Access::All,
        state: None,
        limit: 10_000,
        before: None,
    }
}
