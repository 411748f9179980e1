//! Usage and budgets: counts what executions take on this node, writes the counts to the store, and holds requests to the
//! budgets of their tenant and key.
//!
//! The store counts the jobs that it accepts and settles ([`sandpiper_store::UsageStore`]); the meter counts the
//! executions of `POST /api/execute`. Counting takes one short lock. Nothing that a request waits for waits for a flush.

mod account;
mod accounts;
mod budgets;
mod flush;
mod ledger;
mod refresh;
mod shares;
#[cfg(test)]
mod tests;
mod unwritten;

pub use account::OverBudget;
pub use accounts::BudgetStatus;
pub use budgets::Charge;

use crate::actors::RoundTask;
use accounts::Accounts;
use parking_lot::Mutex;
use sandpiper_domain::tools::{Round, RoundEnd};
use sandpiper_domain::{Execution, Job, Outcome, Period, Policy, Tenant, Timestamp, UsageCounts};
use sandpiper_http_kit::counters::Counter;
use sandpiper_store::{StoreError, UsageQuery, UsageStore, UsageSum};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tokio::sync::{Notify, RwLock};
use unwritten::Unwritten;

/// Counts usage on this node, and knows what tenants have used of their budgets.
#[derive(Debug)]
pub struct UsageMeter {
    store: Arc<dyn UsageStore>,
    state: Mutex<State>,
    /// Held by a reading of totals, and shared by what changes them meanwhile: a flush, and a job between its charge and
    /// its acceptance. So totals include what this node has counted, and nothing twice.
    gate: Arc<RwLock<()>>,
    /// Notified when totals of a tenant are to be read.
    refresh_wanted: Notify,
    /// Notified when usage is to be written at once.
    flush_wanted: Notify,
    /// Notified when totals were read, or could not be read.
    refreshed: Notify,
    stats: UsageStats,
    /// True while the last flush has failed.
    flush_fails: AtomicBool,
    /// True while the last reading of totals has failed.
    refresh_fails: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    unwritten: Unwritten,
    accounts: Accounts,
}

/// The counters of the meter.
#[derive(Debug, Default)]
pub struct UsageStats {
    /// Batches that the store has recorded.
    pub flushes: Counter,
    /// Attempts to record a batch that failed.
    pub flush_failures: Counter,
    /// Executions whose usage was dropped because too many owners had unwritten usage.
    pub dropped: Counter,
    /// Requests refused because of a budget, in the order of [`Policy::index`].
    pub refusals: [Counter; Policy::COUNT],
    /// Requests held to budgets without recent totals of the store.
    pub unverified: Counter,
    /// Requests that waited for a reading of totals because other nodes may use up the rest of a budget, or because jobs
    /// that have ended may have made room.
    pub waits: Counter,
}

impl UsageMeter {
    #[must_use]
    pub fn new(store: Arc<dyn UsageStore>) -> Arc<Self> {
        Arc::new(Self {
            store,
            state: Mutex::default(),
            gate: Arc::default(),
            refresh_wanted: Notify::new(),
            flush_wanted: Notify::new(),
            refreshed: Notify::new(),
            stats: UsageStats::default(),
            flush_fails: AtomicBool::new(false),
            refresh_fails: AtomicBool::new(false),
        })
    }

    #[must_use]
    pub fn stats(&self) -> &UsageStats {
        &self.stats
    }

    /// Counts an execution of `POST /api/execute` that has ended.
    pub fn count_execution(&self, job: &Job, execution: &Execution) {
        let counts = UsageCounts::of_execution(&job.script, execution);
        self.add(job, execution.finished_at, &counts);
    }

    fn add(&self, job: &Job, at: Timestamp, counts: &UsageCounts) {
        let hour = Period::Hour.start(at);
        let state = &mut *self.state.lock();
        if !state.unwritten.add(&job.owner, hour, counts) {
            self.stats.dropped.count();
        }
        if state.accounts.count(job, counts) {
            self.flush_wanted.notify_one();
        }
    }

    /// Counts a round of an execution with tools. `outcome` is that of the execution, if it has ended.
    pub fn count_round(&self, task: &RoundTask, round: &Round, outcome: Option<Outcome>) {
        let is_first = task.log.rounds() == 0;
        let counts = UsageCounts::of_round(&task.job.script, round, outcome, is_first);
        self.add(&task.job, Timestamp::now(), &counts);
    }

    /// Counts the outcome of an execution with tools that the service has ended between two rounds.
    pub fn count_outcome(&self, job: &Job, execution: &Execution) {
        let counts = UsageCounts::of_outcome(execution.outcome);
        self.add(job, execution.finished_at, &counts);
    }

    /// Counts a round of a job with tools. `outcome` is that of the job's execution, if this is its last round.
    pub fn count_job_round(&self, task: &RoundTask, round: &Round, outcome: Option<Outcome>) {
        if let (RoundEnd::Finished(execution), Some(_)) = (&round.end, outcome) {
            self.note_job_execution(&task.job, execution);
        }
        let counts = UsageCounts::of_job_round(round, outcome.is_some());
        self.add(&task.job, Timestamp::now(), &counts);
    }

    /// Notes the processor time of a job's execution. The store counts the execution when it records the final state, and
    /// budgets know of it at once.
    pub fn note_job_execution(&self, job: &Job, execution: &Execution) {
        let counts = UsageCounts::of_job_execution(execution);
        self.state.lock().accounts.count_job(job, &counts);
    }

    /// Returns whether there is usage of a tenant that this node has not written yet.
    #[must_use]
    pub fn has_unwritten(&self, tenant: &Tenant) -> bool {
        let state = self.state.lock();
        let mut entries = state.unwritten.entries();
        entries.any(|(_, owner, ..)| owner.tenant == *tenant)
    }

    /// Returns sums by start and owner, with the usage that this node has not written yet. One more than the limit of the
    /// query means that there are more.
    pub async fn read(&self, query: &UsageQuery) -> Result<Vec<UsageSum>, StoreError> {
        // Read first: what is written meanwhile is in a batch whose number the store returns.
        let unwritten = self.state.lock().unwritten.matching(query);
        let recorded = self.store.usage(query).await?;
        let missing = unwritten
            .into_iter()
            .filter(|(sequence, _)| *sequence > recorded.sequence)
            .map(|(_, sum)| sum);
        let mut sums = BTreeMap::<_, UsageCounts>::new();
        for sum in recorded.sums.into_iter().chain(missing) {
            let counts = sums.entry((sum.start, sum.owner)).or_default();
            counts.add(&sum.counts);
        }
        let sums = sums.into_iter().map(|((start, owner), counts)| UsageSum {
            start,
            owner,
            counts,
        });
        Ok(sums.collect())
    }
}
