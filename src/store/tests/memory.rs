//! What the store in memory adds to the contract: its bounds.

use super::*;

fn store_of(jobs_max: usize, bytes_max: usize) -> MemoryStore {
    MemoryStore::new(MemoryStoreBounds {
        jobs_max,
        bytes_max,
        ttl: TTL,
        client_jobs_max: 1_000_000,
        client_bytes: usize::MAX,
    })
}

/// Submits jobs of so many bytes of code until the store refuses.
async fn fill(store: &MemoryStore, code_bytes: usize) -> (Vec<JobId>, Duration) {
    let mut ids = Vec::new();
    loop {
        assert!(ids.len() < 10_000, "it takes whatever comes");
        match store.submit(new_job(code_bytes)).await {
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
async fn it_holds_so_many_jobs_and_refuses_the_next() {
    let store = store_of(10, usize::MAX / 2);
    let (ids, _) = fill(&store, 1).await;
    assert_eq!(ids.len(), 10);
}

#[tokio::test]
async fn it_holds_so_many_bytes_and_refuses_what_is_more() {
    let store = store_of(usize::MAX, 1_000_000);
    let (ids, _) = fill(&store, 90_000).await;
    assert!((8..=11).contains(&ids.len()), "{} jobs", ids.len());
    // A smaller one may still find room.
    store.submit(new_job(1)).await.unwrap();
}

#[tokio::test]
async fn it_refuses_rather_than_let_go_of_a_job_that_has_not_expired() {
    let store = store_of(10, usize::MAX / 2);
    let (ids, _) = fill(&store, 1).await;
    finish_all(&store, &ids[..5]).await;
    store.sweep(Timestamp::now()).await.unwrap();
    assert!(store.submit(new_job(1)).await.is_err());
    for (index, id) in ids.iter().enumerate() {
        let is_final = get(&store, *id).await.state.is_final();
        assert_eq!(is_final, index < 5);
    }
}

#[tokio::test]
async fn it_says_how_long_until_there_is_room() {
    let store = store_of(3, usize::MAX / 2);
    let (ids, without_end) = fill(&store, 1).await;
    // Nothing is final: no record can expire before its time to live is over.
    assert_eq!(without_end, TTL);
    finish_all(&store, &ids[..1]).await;
    let expires_at = get(&store, ids[0]).await.expires_at.unwrap();
    let before = Timestamp::now();
    let (_, retry_after) = fill(&store, 1).await;
    let after = Timestamp::now();
    let earliest = expires_at.as_unix_millis() - after.as_unix_millis();
    let latest = expires_at.as_unix_millis() - before.as_unix_millis();
    let told = u64::try_from(retry_after.as_millis()).unwrap();
    assert!((earliest..=latest).contains(&told), "{retry_after:?}");
    // It was the truth.
    store.sweep(after.plus(retry_after)).await.unwrap();
    assert!(store.submit(new_job(1)).await.is_ok());
}

#[tokio::test]
async fn what_expired_gives_its_bytes_back() {
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
async fn a_result_counts_in_the_place_of_its_script() {
    let store = store_of(usize::MAX, 1_000_000);
    let (ids, _) = fill(&store, 100_000).await;
    finish_all(&store, &ids).await;
    let (more, _) = fill(&store, 100_000).await;
    assert!(more.len() + 1 >= ids.len(), "the scripts still count");
    let large = Settlement {
        state: JobState::Finished,
        execution: Some(Arc::new(samples::success(more[0], 500_000))),
    };
    store.finish(more[0], 0, large).await.unwrap();
    finish_all(&store, &more[1..]).await;
    let (fewer, _) = fill(&store, 100_000).await;
    assert!(fewer.len() < more.len() - 3, "the result does not count");
}

#[tokio::test]
async fn a_client_holds_so_many_bytes_its_results_among_them_until_they_expire() {
    let store = MemoryStore::new(MemoryStoreBounds {
        client_bytes: 300_000,
        ..ROOMY
    });
    let of = |client: &str| NewJob {
        client: ClientKey::new(client),
        ..new_job(90_000)
    };
    let mut ids = Vec::new();
    let refused = loop {
        assert!(ids.len() < 10, "it takes whatever comes");
        match store.submit(of("a")).await {
            Ok(accepted) => ids.push(accepted.job.id),
            Err(refusal) => break refusal,
        }
    };
    assert!(matches!(
        refused,
        StoreError::ClientBytesFull { most: 300_000, .. }
    ));
    assert_eq!(ids.len(), 3);
    // Another client has bytes of its own.
    store.submit(of("b")).await.unwrap();
    // Cancelled before it ran: there is room again for one, and for no more.
    store.finish(ids[0], 0, cancelled()).await.unwrap();
    let again = store.submit(of("a")).await.unwrap().job.id;
    assert!(store.submit(of("a")).await.is_err());
    // A result counts in the place of its script.
    for id in [again, ids[1], ids[2]] {
        let large = Settlement {
            state: JobState::Finished,
            execution: Some(Arc::new(samples::success(id, 200_000))),
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

fn everything() -> crate::store::ListQuery {
    crate::store::ListQuery {
        state: None,
        limit: 10_000,
        before: None,
    }
}
