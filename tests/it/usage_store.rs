//! The part of a store that holds usage, over every kind of store: sums, totals, batches that are given again, and sweeps.

use crate::stores::{Store, over_every_store};
use sandpiper_domain::{
    Access, ApiKeyId, Ceiling, Outcome, Owner, Period, Tenant, Timestamp, UsageCounts, samples,
};
use sandpiper_store::{
    Address, DurableOptions, DurableStore, JobStore, MemoryStore, MemoryStoreBounds, TotalsQuery,
    UsageBatch, UsageEntry, UsageQuery, UsageSum, WaitingBounds,
};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Runtime;

over_every_store!(
    sums_of_hours_and_days_are_those_of_their_entries,
    a_batch_is_recorded_once_however_often_it_is_given,
    totals_are_those_of_the_day_and_the_month_by_key,
    old_sums_are_swept_and_others_stay,
    sums_are_the_same_before_and_after_they_are_folded,
);

const NOON: &str = "2026-11-24T12:00:00Z";
const KEPT: Duration = Duration::from_hours(24 * 62);

/// A store, and the runtime that waits for it.
struct Opened {
    store: Arc<dyn JobStore>,
    runtime: Runtime,
}

impl Opened {
    fn new(store: &Store) -> Self {
        let store: Arc<dyn JobStore> = match store {
            Store::Memory => Arc::new(MemoryStore::new(MemoryStoreBounds {
                jobs_max: 10,
                bytes_max: 1 << 20,
                ttl: KEPT,
                client_jobs_max: 10,
                client_bytes: 1 << 20,
                usage_kept: KEPT,
                waiting: WaitingBounds::DEFAULT,
            })),
            Store::Sqlite(folder) => durable(Address::Sqlite(folder.path("jobs.db"))),
            Store::Postgres(url) => durable(Address::Postgres(url.clone())),
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        Self { store, runtime }
    }

    fn record(&self, sequence: u64, entries: &[UsageEntry]) {
        let batch = Arc::new(UsageBatch {
            sequence,
            entries: entries.to_vec(),
        });
        let recorded = self.store.record_usage(batch);
        self.runtime.block_on(recorded).unwrap();
    }

    fn read(&self, access: Access, period: Period, from: &str, to: &str) -> Vec<UsageSum> {
        let query = UsageQuery {
            access,
            period,
            from: at(from),
            to: at(to),
            limit: 1_000,
        };
        self.runtime
            .block_on(self.store.usage(&query))
            .unwrap()
            .sums
    }

    fn days(&self) -> Vec<UsageSum> {
        let (from, to) = ("2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z");
        self.read(Access::All, Period::Day, from, to)
    }

    fn sequence(&self) -> u64 {
        let query = UsageQuery {
            access: Access::All,
            period: Period::Day,
            from: at(NOON),
            to: at(NOON),
            limit: 1,
        };
        let read = self.runtime.block_on(self.store.usage(&query)).unwrap();
        read.sequence
    }

    fn sweep(&self, now: Timestamp) {
        self.runtime.block_on(self.store.sweep(now)).unwrap();
    }
}

fn durable(address: Address) -> Arc<dyn JobStore> {
    Arc::new(DurableStore::open(durable_options(address)).unwrap())
}

pub(crate) fn durable_options(address: Address) -> DurableOptions {
    DurableOptions {
        address,
        data_keys: None,
        defaults: samples::limits(),
        ceiling: Ceiling {
            timeout_ms: 1_000,
            memory_bytes: 1 << 20,
            output_bytes: 1 << 20,
        },
        ttl: KEPT,
        attempts_max: 3,
        executors: 1,
        reserve_executors: 0,
        connections: 4,
        timeout: Duration::from_secs(20),
        claims_per_executor: 1,
        client_jobs_max: 10,
        client_bytes: 1 << 20,
        bytes_max: 1 << 20,
        usage_kept: KEPT,
        waiting: WaitingBounds::DEFAULT,
    }
}

fn at(text: &str) -> Timestamp {
    Timestamp::from_rfc3339(text).unwrap()
}

fn owner(tenant: &str, key: u8) -> Owner {
    let key: Option<ApiKeyId> = (key > 0).then(|| format!("{key:016x}").parse().unwrap());
    Owner {
        tenant: tenant.parse().unwrap(),
        key,
    }
}

/// Returns an entry in which every sum is another multiple of `weight`.
fn entry(owner: &Owner, hour: &str, weight: u64) -> UsageEntry {
    let mut executions = [0; Outcome::ALL.len()];
    for (count, number) in executions.iter_mut().zip(21..) {
        *count = number * weight;
    }
    UsageEntry {
        owner: owner.clone(),
        hour: at(hour),
        counts: UsageCounts {
            executions,
            executions_charged: 9 * weight,
            jobs_queued: 10 * weight,
            wall_micros: 11 * weight,
            cpu_micros: 12 * weight,
            memory_byte_seconds: 13 * weight,
            bytes_in: 14 * weight,
            bytes_out: 15 * weight,
            queued_bytes: 16 * weight,
            calls: 17 * weight,
        },
    }
}

fn counts(weight: u64) -> UsageCounts {
    entry(&Owner::default(), NOON, weight).counts
}

fn sums_of_hours_and_days_are_those_of_their_entries(store: &Store) {
    let opened = Opened::new(store);
    let [a, second, b, none] = [owner("a", 1), owner("a", 2), owner("b", 3), owner("a", 0)];
    opened.record(
        1,
        &[
            entry(&a, NOON, 1),
            entry(&a, "2026-11-24T13:00:00Z", 2),
            entry(&a, "2026-11-25T00:00:00Z", 4),
            entry(&second, NOON, 8),
            entry(&b, NOON, 16),
            entry(&none, NOON, 32),
        ],
    );
    opened.record(2, &[entry(&a, NOON, 64)]);
    let weights = |sums: &[UsageSum]| -> Vec<(String, Owner, u64)> {
        let rows = sums.iter().map(|sum| {
            let weight = sum.counts.jobs_queued / 10;
            assert_eq!(sum.counts, counts(weight), "{sum:?}");
            (sum.start.to_rfc3339(), sum.owner.clone(), weight)
        });
        let mut rows: Vec<_> = rows.collect();
        rows.sort();
        rows
    };
    let day = "2026-11-24T00:00:00.000Z".to_owned();
    let next = "2026-11-25T00:00:00.000Z".to_owned();
    let all = weights(&opened.days());
    let mut expected = vec![
        (day.clone(), none.clone(), 32),
        (day.clone(), a.clone(), 67),
        (day.clone(), second.clone(), 8),
        (day.clone(), b.clone(), 16),
        (next.clone(), a.clone(), 4),
    ];
    expected.sort();
    assert_eq!(all, expected);
    let (from, to) = ("2026-11-24T12:00:00Z", "2026-11-24T13:00:00Z");
    let of_tenant = Access::Tenant(a.tenant.clone());
    let hour = opened.read(of_tenant.clone(), Period::Hour, from, to);
    assert_eq!(weights(&hour).len(), 3);
    let of_key = Access::Key(a.tenant.clone(), a.key.unwrap());
    let hour = opened.read(of_key, Period::Hour, from, to);
    let noon = "2026-11-24T12:00:00.000Z".to_owned();
    assert_eq!(weights(&hour), [(noon, a.clone(), 65)]);
    // The end is not included, and neither is another tenant's key.
    let later = opened.read(of_tenant, Period::Hour, to, "2026-11-24T14:00:00Z");
    assert_eq!(weights(&later).len(), 1);
    let of_stranger = Access::Key(b.tenant, a.key.unwrap());
    assert!(opened.read(of_stranger, Period::Hour, from, to).is_empty());
}

fn a_batch_is_recorded_once_however_often_it_is_given(store: &Store) {
    let opened = Opened::new(store);
    let owner = owner("a", 1);
    assert_eq!(opened.sequence(), 0);
    for sequence in [1, 1, 2, 1, 2, 3, 3] {
        opened.record(sequence, &[entry(&owner, NOON, 1)]);
    }
    assert_eq!(opened.sequence(), 3);
    let days = opened.days();
    assert_eq!(days.len(), 1);
    assert_eq!(days[0].counts, counts(3));
    // A batch may have more owners than a statement has values.
    let many: Vec<UsageEntry> = (0..1_200)
        .map(|number| entry(&owner_of_number(number), NOON, 1))
        .collect();
    opened.record(4, &many);
    let sum: u64 = opened.days().iter().map(|sum| sum.counts.jobs_queued).sum();
    assert_eq!(sum, 30 + 12_000 - 2_000, "the query has a limit of its own");
}

fn owner_of_number(number: u64) -> Owner {
    Owner {
        tenant: format!("z{number:04}").parse().unwrap(),
        key: None,
    }
}

fn totals_are_those_of_the_day_and_the_month_by_key(store: &Store) {
    let opened = Opened::new(store);
    let [first, second, other] = [owner("a", 1), owner("a", 2), owner("b", 3)];
    opened.record(
        1,
        &[
            entry(&first, NOON, 1),
            entry(&first, "2026-11-23T12:00:00Z", 2),
            entry(&first, "2026-10-31T23:00:00Z", 4),
            entry(&second, "2026-11-24T23:00:00Z", 8),
            entry(&other, NOON, 16),
        ],
    );
    for is_folded in [false, true] {
        if is_folded {
            opened.sweep(at(NOON));
        }
        let tenants = ["a", "unknown"].map(|name| name.parse::<Tenant>().unwrap());
        let query = TotalsQuery {
            tenants: tenants.to_vec(),
            day: at("2026-11-24T00:00:00Z"),
            month: at("2026-11-01T00:00:00Z"),
        };
        let read = opened.runtime.block_on(opened.store.usage_totals(&query));
        let read = read.unwrap();
        assert_eq!(read.sequence, 1);
        let mut totals: Vec<(Owner, Period, u64)> = read
            .totals
            .iter()
            .map(|total| {
                let weight = total.charged.executions / 9;
                assert_eq!(total.charged, counts(weight).charged());
                (total.owner.clone(), total.period, weight)
            })
            .collect();
        totals.sort();
        let expected = [
            (first.clone(), Period::Day, 1),
            (first.clone(), Period::Month, 3),
            (second.clone(), Period::Day, 8),
            (second.clone(), Period::Month, 8),
        ];
        assert_eq!(totals, expected, "folded: {is_folded}");
    }
    let nobody = TotalsQuery {
        tenants: vec!["nobody".parse().unwrap()],
        day: at(NOON),
        month: at(NOON),
    };
    let read = opened.runtime.block_on(opened.store.usage_totals(&nobody));
    let read = read.unwrap();
    assert_eq!((read.totals.len(), read.sequence), (0, 1));
}

fn old_sums_are_swept_and_others_stay(store: &Store) {
    let opened = Opened::new(store);
    let owner = owner("a", 1);
    opened.record(
        1,
        &[
            entry(&owner, "2026-11-01T00:00:00Z", 1),
            entry(&owner, NOON, 2),
        ],
    );
    let days = || -> Vec<u64> {
        let days = opened.days();
        days.iter().map(|sum| sum.counts.jobs_queued / 10).collect()
    };
    opened.sweep(at(NOON));
    assert_eq!(days(), [1, 2]);
    opened.sweep(at("2026-11-02T00:00:00Z").plus(KEPT));
    assert_eq!(days(), [2]);
    opened.sweep(at("2026-12-02T00:00:00Z").plus(KEPT));
    assert_eq!(days(), [0; 0]);
}

fn sums_are_the_same_before_and_after_they_are_folded(store: &Store) {
    let opened = Opened::new(store);
    let owners = [owner("a", 1), owner("a", 0), owner("b", 2)];
    for sequence in 1..=20 {
        let entries = owners.iter().map(|owner| entry(owner, NOON, sequence));
        opened.record(sequence, &entries.collect::<Vec<_>>());
        let before = opened.days();
        if sequence % 4 == 0 {
            opened.sweep(at(NOON));
            assert_eq!(opened.days(), before);
        }
        let weight = sequence * (sequence + 1) / 2;
        let each: Vec<UsageCounts> = before.iter().map(|sum| sum.counts).collect();
        assert_eq!(each, [counts(weight); 3]);
    }
}
