//! The meter over a store in memory that can be made to fail.

use super::{OverBudget, UsageMeter};
use async_trait::async_trait;
use parking_lot::Mutex;
use sandpiper_domain::{
    Access, Budgets, Job, JobId, JobTerms, Owner, Period, Timestamp, UsageCounts, samples,
};
use sandpiper_store::{
    JobStore as _, MemoryStore, MemoryStoreBounds, NewJob, QueuePlace, RecordedTotals,
    RecordedUsage, StoreError, TotalsQuery, UsageBatch, UsageQuery, UsageStore, WaitingBounds,
};
use std::sync::Arc;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    /// Nothing is recorded and nothing is read.
    Away,
    /// A batch is recorded, and its response is lost.
    LostResponse,
}

#[derive(Debug)]
struct FaultyStore {
    inner: MemoryStore,
    fault: Mutex<Fault>,
    batches: Mutex<Vec<u64>>,
}

impl FaultyStore {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            inner: Self::memory(),
            fault: Mutex::new(Fault::None),
            batches: Mutex::default(),
        })
    }

    fn memory() -> MemoryStore {
        MemoryStore::new(MemoryStoreBounds {
            jobs_max: 1_000,
            bytes_max: 1 << 30,
            ttl: PATIENCE,
            client_jobs_max: 1_000,
            client_bytes: usize::MAX,
            usage_kept: Duration::from_hours(24 * 400),
            waiting: WaitingBounds::DEFAULT,
        })
    }

    fn set_fault(&self, fault: Fault) {
        *self.fault.lock() = fault;
    }

    fn fails(&self) -> Result<(), StoreError> {
        match *self.fault.lock() {
            Fault::None => Ok(()),
            _ => Err(StoreError::Unavailable("a fault of the test".to_owned())),
        }
    }
}

#[async_trait]
impl UsageStore for FaultyStore {
    async fn record_usage(&self, batch: Arc<UsageBatch>) -> Result<(), StoreError> {
        if *self.fault.lock() != Fault::Away {
            self.batches.lock().push(batch.sequence);
            self.inner.record_usage(batch).await?;
        }
        self.fails()
    }

    async fn usage(&self, query: &UsageQuery) -> Result<RecordedUsage, StoreError> {
        self.inner.usage(query).await
    }

    async fn usage_totals(&self, query: &TotalsQuery) -> Result<RecordedTotals, StoreError> {
        self.fails()?;
        self.inner.usage_totals(query).await
    }
}

fn meter(store: &Arc<FaultyStore>) -> Arc<UsageMeter> {
    UsageMeter::new(Arc::clone(store) as _)
}

/// Starts the tasks of a meter.
fn start(meter: &Arc<UsageMeter>) {
    let meter = Arc::clone(meter);
    tokio::spawn(async move { meter.run().await });
}

fn owner() -> Owner {
    Owner {
        tenant: "acme".parse().unwrap(),
        key: "00000000000000aa".parse().ok(),
    }
}

fn job() -> Job {
    Job {
        owner: owner(),
        ..samples::job("tenant:acme", 10)
    }
}

fn run(meter: &UsageMeter, job: &Job) {
    meter.count_execution(job, &samples::success(job.id, 2));
}

fn budgets(text: &str) -> Budgets {
    text.parse().unwrap()
}

/// Returns the executions that a report shows.
async fn reported(meter: &UsageMeter) -> u64 {
    let now = Timestamp::now();
    let query = UsageQuery {
        access: Access::Tenant(owner().tenant),
        period: Period::Day,
        from: Period::Day.start(now),
        to: Period::Day.end(now),
        limit: 10,
    };
    let mut counts = UsageCounts::default();
    for sum in meter.read(&query).await.unwrap() {
        counts.add(&sum.counts);
    }
    counts.executions.iter().sum()
}

#[tokio::test]
async fn a_report_has_each_execution_once_before_and_after_it_is_written() {
    let store = FaultyStore::new();
    let meter = meter(&store);
    assert_eq!(reported(&meter).await, 0);
    for count in 1..=3 {
        run(&meter, &job());
        assert_eq!(reported(&meter).await, count);
    }
    for fault in [Fault::Away, Fault::LostResponse, Fault::None] {
        store.set_fault(fault);
        meter.flush().await;
        assert_eq!(reported(&meter).await, 3, "{fault:?}");
    }
    run(&meter, &job());
    assert_eq!(reported(&meter).await, 4);
    assert!(meter.flush().await && !meter.flush().await);
    assert_eq!(reported(&meter).await, 4);
}

#[tokio::test]
async fn a_batch_whose_response_was_lost_is_given_again_and_counts_once() {
    let store = FaultyStore::new();
    let meter = meter(&store);
    run(&meter, &job());
    store.set_fault(Fault::LostResponse);
    assert!(!meter.flush().await);
    run(&meter, &job());
    assert!(!meter.flush().await);
    store.set_fault(Fault::None);
    meter.close().await;
    assert_eq!(*store.batches.lock(), [1, 1, 1, 2]);
    assert_eq!(reported(&meter).await, 2);
    let stats = meter.stats();
    assert_eq!((stats.flushes.get(), stats.flush_failures.get()), (2, 2));
}

#[tokio::test]
async fn requests_at_the_same_time_exceed_no_budget() {
    let store = FaultyStore::new();
    let meter = meter(&store);
    start(&meter);
    let budgets = budgets("tenant-day;executions=3");
    let mut charges = Vec::new();
    for _ in 0..3 {
        let job = job();
        let charge = meter.charge_execution(&job, &budgets).await.unwrap();
        charges.push((job, charge));
    }
    let over = meter.charge_execution(&job(), &budgets).await.unwrap_err();
    assert_eq!(
        (over.policy.name(), over.limit, over.used),
        ("tenant-day", 3, 3)
    );
    // A request that came to nothing makes room.
    drop(charges.pop());
    let again = job();
    let charge = meter.charge_execution(&again, &budgets).await.unwrap();
    // An execution that ended makes none, while its request goes on and afterwards.
    run(&meter, &again);
    assert!(meter.charge_execution(&job(), &budgets).await.is_err());
    drop(charge);
    assert!(meter.charge_execution(&job(), &budgets).await.is_err());
    let [status] = meter.budget_status(&owner(), &budgets)[..] else {
        panic!("one budget");
    };
    assert_eq!((status.used, status.remaining), (3, 0));
    assert_eq!(status.window(), Duration::from_hours(24));
}

#[tokio::test]
async fn a_budget_counts_what_the_store_has_and_what_is_not_written() {
    let store = FaultyStore::new();
    for _ in 0..2 {
        let new = NewJob {
            job: Arc::new(job()),
            created_at: Timestamp::now(),
            terms: JobTerms::default(),
            queue_place: QueuePlace::default(),
            tool_head: None,
        };
        store.inner.submit(new).await.unwrap();
    }
    let meter = meter(&store);
    run(&meter, &job());
    start(&meter);
    let both = budgets("tenant-day;executions=10, key-month;executions=10");
    let status = meter.known_budget_status(&owner(), &both).await;
    let used: Vec<u64> = status.iter().map(|budget| budget.used).collect();
    assert_eq!(used, [3, 3]);
    // Another key of the tenant has used nothing.
    let other = Owner {
        key: "00000000000000bb".parse().ok(),
        ..owner()
    };
    let text = "tenant-day;executions=10, key-month;executions=10;queuedBytes=50";
    let status = meter.known_budget_status(&other, &budgets(text)).await;
    let used: Vec<u64> = status.iter().map(|budget| budget.used).collect();
    assert_eq!(used, [3, 0, 0]);
}

#[tokio::test]
async fn a_job_is_charged_when_it_is_accepted_and_not_otherwise() {
    let store = FaultyStore::new();
    let meter = meter(&store);
    start(&meter);
    let budgets = budgets("tenant-day;executions=2;queuedBytes=25");
    drop(meter.charge_job(&job(), &budgets).await.unwrap());
    for _ in 0..2 {
        meter.charge_job(&job(), &budgets).await.unwrap().accept();
    }
    let over: OverBudget = meter.charge_job(&job(), &budgets).await.unwrap_err();
    assert_eq!(over.policy.name(), "tenant-day");
    let large = Job {
        id: JobId::generate(),
        owner: Owner {
            tenant: "other".parse().unwrap(),
            key: None,
        },
        ..samples::job("tenant:other", 30)
    };
    let over = meter.charge_job(&large, &budgets).await.unwrap_err();
    assert_eq!((over.policy.name(), over.used), ("tenant-day-bytes", 0));
    assert_eq!(meter.stats().refusals[over.policy.index()].get(), 1);
    // The bytes of an execution are not queued.
    assert!(meter.charge_execution(&large, &budgets).await.is_ok());
}

#[tokio::test]
async fn a_job_that_ends_before_its_submitter_knows_of_its_acceptance_stays_charged() {
    let store = FaultyStore::new();
    let meter = meter(&store);
    start(&meter);
    let budgets = budgets("tenant-day;executions=3;queuedBytes=1000");
    for _ in 0..3 {
        let job = job();
        let charge = meter.charge_job(&job, &budgets).await.unwrap();
        meter.note_job_execution(&job, &samples::success(job.id, 2));
        charge.accept();
    }
    assert!(meter.charge_job(&job(), &budgets).await.is_err());
    let status = meter.budget_status(&owner(), &budgets);
    let used: Vec<u64> = status.iter().map(|budget| budget.used).collect();
    assert_eq!(used, [3, 30]);
}

#[tokio::test]
async fn a_store_that_is_away_holds_no_request_up_and_the_node_goes_by_what_it_knows() {
    let store = FaultyStore::new();
    store.set_fault(Fault::Away);
    let meter = meter(&store);
    start(&meter);
    let budgets = budgets("tenant-day;executions=2");
    for _ in 0..2 {
        let job = job();
        let charge = meter.charge_execution(&job, &budgets);
        let charge = tokio::time::timeout(PATIENCE, charge).await.unwrap();
        run(&meter, &job);
        drop(charge.unwrap());
    }
    assert!(meter.charge_execution(&job(), &budgets).await.is_err());
    assert_eq!(meter.stats().unverified.get(), 3);
    assert_eq!(reported(&meter).await, 2);
}

/// One node's view of a store in memory that two nodes share.
#[derive(Debug)]
struct SharedStore {
    inner: Arc<MemoryStore>,
    /// The number of the last batch of all nodes.
    last: Arc<tokio::sync::Mutex<u64>>,
    /// The number of this node's last batch.
    own: Mutex<u64>,
}

impl SharedStore {
    fn of_two_nodes() -> [Arc<Self>; 2] {
        let inner = Arc::new(FaultyStore::memory());
        let last = Arc::default();
        [(); 2].map(|()| {
            Arc::new(Self {
                inner: Arc::clone(&inner),
                last: Arc::clone(&last),
                own: Mutex::default(),
            })
        })
    }
}

#[async_trait]
impl UsageStore for SharedStore {
    async fn record_usage(&self, batch: Arc<UsageBatch>) -> Result<(), StoreError> {
        let mut last = self.last.lock().await;
        // As long as a commit takes.
        tokio::time::sleep(Duration::from_millis(1)).await;
        if batch.sequence <= *self.own.lock() {
            return Ok(());
        }
        *last += 1;
        *self.own.lock() = batch.sequence;
        let renumbered = UsageBatch {
            sequence: *last,
            entries: batch.entries.clone(),
        };
        self.inner.record_usage(Arc::new(renumbered)).await
    }

    async fn usage(&self, query: &UsageQuery) -> Result<RecordedUsage, StoreError> {
        self.inner.usage(query).await
    }

    async fn usage_totals(&self, query: &TotalsQuery) -> Result<RecordedTotals, StoreError> {
        let _unchanged = self.last.lock().await;
        let totals = self.inner.usage_totals(query).await?;
        Ok(RecordedTotals {
            sequence: *self.own.lock(),
            other_nodes: 1,
            ..totals
        })
    }
}

#[tokio::test]
async fn two_nodes_exceed_a_budget_by_what_is_in_flight_at_the_other() {
    const LIMIT: usize = 400;
    let meters = SharedStore::of_two_nodes().map(|store| UsageMeter::new(store as _));
    meters.iter().for_each(start);
    let budgets = budgets(&format!("tenant-day;executions={LIMIT}"));
    let senders = meters.clone().map(|meter| {
        tokio::spawn(async move {
            let mut sent = 0;
            loop {
                let job = job();
                let Ok(charge) = meter.charge_execution(&job, &budgets).await else {
                    return sent;
                };
                tokio::time::sleep(Duration::from_millis(1)).await;
                run(&meter, &job);
                drop(charge);
                sent += 1;
            }
        })
    });
    let mut sent = Vec::new();
    for sender in senders {
        let ended = tokio::time::timeout(2 * PATIENCE, sender).await;
        sent.push(ended.expect("a sender hangs").unwrap());
    }
    let total: usize = sent.iter().sum();
    // One execution that runs, and one whose usage is being written.
    assert!((LIMIT..=LIMIT + 2).contains(&total), "{sent:?}");
    let waits = meters.iter().map(|meter| meter.stats().waits.get());
    assert!(waits.sum::<u64>() < LIMIT as u64, "most requests waited");
    assert!(meters[0].charge_execution(&job(), &budgets).await.is_err());
}

#[tokio::test]
async fn a_node_that_is_alone_reads_no_totals_for_each_request() {
    let store = FaultyStore::new();
    let meter = meter(&store);
    start(&meter);
    let budgets = budgets("tenant-day;executions=10");
    for _ in 0..10 {
        let job = job();
        let charge = meter.charge_execution(&job, &budgets).await.unwrap();
        run(&meter, &job);
        drop(charge);
    }
    assert!(meter.charge_execution(&job(), &budgets).await.is_err());
    assert_eq!(meter.stats().waits.get(), 0);
}
