//! The list of one tenant takes as long among a thousand tenants as alone, over every kind of store.

use crate::stores::{Store, over_every_store};
use crate::usage_store::durable_options;
use sandpiper_domain::{Access, JobState, JobTerms, Tenant, Timestamp, samples};
use sandpiper_store::{
    Address, DurableOptions, DurableStore, JobPage, JobStore, ListQuery, MemoryStore,
    MemoryStoreBounds, NewJob, QueuePlace, WaitingBounds,
};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

over_every_store!(a_list_takes_as_long_among_a_thousand_tenants_as_alone);

const TENANTS: usize = 1_000;
const JOBS_EACH: usize = 100;
const ROUNDS: usize = 100;
/// A list that reads the jobs of all tenants takes hundreds of times as long.
const SLOWER_MAX: f64 = 4.0;

/// A store with the jobs of one tenant, or of all.
struct Opened {
    store: Arc<dyn JobStore>,
    runtime: Runtime,
}

impl Opened {
    fn new(store: &Store) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        Self {
            store: open(store),
            runtime,
        }
    }

    /// Submits the jobs of one tenant.
    fn submit(&self, tenant: &str) {
        for _ in 0..JOBS_EACH {
            let new = NewJob {
                job: Arc::new(samples::job(&format!("tenant:{tenant}"), 10)),
                created_at: Timestamp::now(),
                terms: JobTerms::default(),
                queue_place: QueuePlace::default(),
                tool_head: None,
            };
            self.runtime.block_on(self.store.submit(new)).unwrap();
        }
    }

    fn list(&self, query: &ListQuery) -> (JobPage, Duration) {
        let start = Instant::now();
        let page = self.runtime.block_on(self.store.list(query)).unwrap();
        (page, start.elapsed())
    }
}

fn open(store: &Store) -> Arc<dyn JobStore> {
    const BYTES_MAX: usize = 1 << 30;
    let durable = |address| {
        let options = DurableOptions {
            client_jobs_max: JOBS_EACH,
            client_bytes: BYTES_MAX as u64,
            bytes_max: BYTES_MAX as u64,
            ..durable_options(address)
        };
        Arc::new(DurableStore::open(options).unwrap())
    };
    match store {
        Store::Memory => Arc::new(MemoryStore::new(MemoryStoreBounds {
            jobs_max: TENANTS * JOBS_EACH,
            bytes_max: BYTES_MAX,
            ttl: Duration::from_hours(1),
            client_jobs_max: JOBS_EACH,
            client_bytes: BYTES_MAX,
            usage_kept: Duration::from_hours(1),
            waiting: WaitingBounds::DEFAULT,
        })),
        Store::Sqlite(folder) => durable(Address::Sqlite(folder.path("jobs.db"))),
        Store::Postgres(url) => durable(Address::Postgres(url.clone())),
    }
}

/// Gives every other tenant the same jobs. Their ids lie between those of the first one.
async fn copy_to_the_others(store: &Store) {
    let (numbers, hex) = match store {
        Store::Memory => return,
        Store::Sqlite(_) => (
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < {TENANTS}) ",
            "printf('%012x', i)",
        ),
        Store::Postgres(_) => (
            "WITH n(i) AS (SELECT generate_series(1, {TENANTS} - 1)) ",
            "lpad(to_hex(i), 12, '0')",
        ),
    };
    let copy = format!(
        "{numbers} INSERT INTO sandpiper_jobs (id, river_id, tenant, client, request, state, attempt, created_at, finished_at) \
         SELECT substr(id, 1, 24) || {hex}, -river_id * {TENANTS} - i, 'tenant-' || i, 'tenant:tenant-' || i, request, \
         'finished', 1, created_at, created_at FROM sandpiper_jobs CROSS JOIN n"
    );
    let copy = AssertSqlSafe(copy.replace("{TENANTS}", &TENANTS.to_string()));
    let copied = match store {
        Store::Postgres(url) => {
            let mut connection = sqlx::PgConnection::connect(url).await.unwrap();
            connection.execute(copy).await.unwrap().rows_affected()
        }
        Store::Sqlite(folder) => {
            let options =
                sqlx::sqlite::SqliteConnectOptions::new().filename(folder.path("jobs.db"));
            let mut connection = options.connect().await.unwrap();
            connection.execute(copy).await.unwrap().rows_affected()
        }
        Store::Memory => return,
    };
    assert_eq!(copied, ((TENANTS - 1) * JOBS_EACH) as u64);
}

fn a_list_takes_as_long_among_a_thousand_tenants_as_alone(store: &Store) {
    let beside = match store {
        Store::Memory => Store::Memory,
        Store::Sqlite(_) => Store::sqlite(),
        Store::Postgres(_) => Store::postgres(),
    };
    let (alone, among) = (Opened::new(&beside), Opened::new(store));
    alone.submit("one");
    among.submit("one");
    among.runtime.block_on(copy_to_the_others(store));
    if matches!(store, Store::Memory) {
        (1..TENANTS).for_each(|number| among.submit(&format!("tenant-{number}")));
    }
    let access = || Access::Tenant("one".parse::<Tenant>().unwrap());
    for (state, expected) in [
        (None, JOBS_EACH),
        (Some(JobState::Queued), JOBS_EACH),
        (Some(JobState::Running), 0),
        (Some(JobState::Finished), 0),
    ] {
        let mut times = [Vec::new(), Vec::new()];
        for round in 0..ROUNDS {
            // In turn, so that a busy moment of the machine slows both down.
            for (opened, times) in [&alone, &among].into_iter().zip(&mut times) {
                let first = ListQuery {
                    access: access(),
                    state,
                    limit: JOBS_EACH / 2,
                    before: None,
                };
                let (page, took) = opened.list(&first);
                let second = ListQuery {
                    before: page.next,
                    ..first
                };
                let (rest, took_rest) = match page.next {
                    Some(_) => opened.list(&second),
                    None => (
                        JobPage {
                            jobs: Vec::new(),
                            next: None,
                        },
                        Duration::ZERO,
                    ),
                };
                assert_eq!(page.jobs.len() + rest.jobs.len(), expected, "{state:?}");
                // The first round opens files and plans queries.
                if round > 0 {
                    times.push(took + took_rest);
                }
            }
        }
        let [alone, among] = times.map(|mut times| {
            times.sort();
            times[times.len() / 2].as_secs_f64()
        });
        assert!(
            among < alone * SLOWER_MAX,
            "{state:?}: {alone} s alone, {among} s among {TENANTS} tenants"
        );
    }
}
