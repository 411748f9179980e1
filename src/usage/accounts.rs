//! The accounts of tenants with budgets: what each has used in the current day and month, as far as this node knows.
//!
//! An account is the total of the store, which is read at most once a second, and what this node has counted since.
//! A request that is let through is in flight until it is counted, so that requests at the same time exceed no budget.
//! The counts of other nodes are known a second later.

use super::ledger::{Ledger, Today, remaining, would_exceed};
use super::unwritten::Unwritten;
use sandpiper_domain::{
    ApiKeyId, BudgetPeriod, BudgetScope, Budgets, ChargedUsage, Job, JobId, Owner, Period, Policy,
    Tenant, Timestamp, UsageCounts,
};
use sandpiper_store::{RecordedTotals, TotalsQuery};
use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

/// Shortest time between two readings of a tenant's totals.
const REFRESH_EVERY: Duration = Duration::from_secs(1);
/// Age of totals that are no longer recent. A request waits for newer ones.
const RECENT_FOR: Duration = Duration::from_secs(5);
/// Time after a reading that failed, in which no request waits for another one. Readings go on meanwhile.
const NO_WAIT_FOR: Duration = Duration::from_secs(10);
/// Time after which an account without requests is dropped.
const IDLE_MAX: Duration = Duration::from_secs(600);
/// Most tenants whose totals are read at a time.
const REFRESHED_AT_A_TIME: usize = 200;

/// A request would exceed a budget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OverBudget {
    pub policy: Policy,
    pub limit: u64,
    pub used: u64,
    /// The moment at which the budget begins anew.
    pub resets_at: Timestamp,
}

/// The knowledge of what a tenant has used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Knowledge {
    /// The totals of the store were not read for long. A reading is wanted.
    Awaited,
    /// The totals are not recent, because the store does not respond.
    Stale,
    Recent,
}

/// A budget, and what is used of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BudgetStatus {
    pub policy: Policy,
    pub limit: u64,
    pub used: u64,
    pub remaining: u64,
    /// The first moment of the budget's period.
    pub starts_at: Timestamp,
    /// The moment at which the budget begins anew.
    pub resets_at: Timestamp,
}

impl BudgetStatus {
    /// Returns the length of the budget's period.
    #[must_use]
    pub fn window(&self) -> Duration {
        let [start, end] = [self.starts_at, self.resets_at].map(Timestamp::as_unix_millis);
        Duration::from_millis(end.saturating_sub(start))
    }
}

#[derive(Debug, Default)]
pub(super) struct Accounts {
    tenants: HashMap<Tenant, Account>,
    /// Tenants whose totals are to be read.
    wanted: Vec<Tenant>,
    today: Option<Today>,
}

#[derive(Debug)]
struct Account {
    all_keys: Ledger,
    keys: HashMap<ApiKeyId, Ledger>,
    in_flight: HashMap<JobId, InFlight>,
    /// The beginning of the last reading of the totals that succeeded.
    refreshed_at: Option<Instant>,
    /// The end of the last reading, if it failed.
    failed_at: Option<Instant>,
    /// True until the reading that is wanted has ended.
    is_wanted: bool,
    used_at: Instant,
}

#[derive(Debug)]
struct InFlight {
    key: Option<ApiKeyId>,
    charged: ChargedUsage,
}

/// A reading of totals that has begun.
#[derive(Debug)]
pub(super) struct Refresh {
    pub(super) query: TotalsQuery,
    today: Today,
    began: Instant,
    /// Usage that this node had not written, each with the number of its batch.
    unwritten: Vec<(u64, Owner, Timestamp, ChargedUsage)>,
}

impl Account {
    fn new() -> Self {
        Self {
            all_keys: Ledger::default(),
            keys: HashMap::new(),
            in_flight: HashMap::new(),
            refreshed_at: None,
            failed_at: None,
            is_wanted: false,
            used_at: Instant::now(),
        }
    }

    fn ledger(&mut self, scope: BudgetScope, key: Option<ApiKeyId>) -> &mut Ledger {
        match (scope, key) {
            (BudgetScope::Key, Some(key)) => self.keys.entry(key).or_default(),
            _ => &mut self.all_keys,
        }
    }

    /// Returns the ledgers that a request with this key counts in.
    fn ledgers(&mut self, key: Option<ApiKeyId>) -> impl Iterator<Item = &mut Ledger> {
        let of_key = key.map(|key| self.keys.entry(key).or_default());
        std::iter::once(&mut self.all_keys).chain(of_key)
    }

    fn knowledge(&self) -> Knowledge {
        let is_within = |at: Option<Instant>, time| at.is_some_and(|at| at.elapsed() < time);
        if is_within(self.refreshed_at, RECENT_FOR) {
            Knowledge::Recent
        } else if is_within(self.failed_at, NO_WAIT_FOR) {
            Knowledge::Stale
        } else {
            Knowledge::Awaited
        }
    }

    /// Returns true if the totals may be read again.
    fn is_due(&self) -> bool {
        let last = self.refreshed_at.max(self.failed_at);
        !self.is_wanted && last.is_none_or(|last| last.elapsed() >= REFRESH_EVERY)
    }

    /// Removes a request from those in flight.
    fn release(&mut self, id: JobId) {
        let Some(InFlight { key, charged }) = self.in_flight.remove(&id) else {
            return;
        };
        for ledger in self.ledgers(key) {
            let in_flight = &mut ledger.in_flight;
            in_flight.executions = in_flight.executions.saturating_sub(charged.executions);
            in_flight.queued_bytes = in_flight.queued_bytes.saturating_sub(charged.queued_bytes);
        }
    }

    fn count(&mut self, today: &Today, key: Option<ApiKeyId>, charged: &ChargedUsage) {
        for ledger in self.ledgers(key) {
            ledger.add(today, charged);
        }
    }
}

impl Accounts {
    fn today(&mut self) -> Today {
        let now = Timestamp::now();
        match self.today {
            Some(today) if today.contains(now) => today,
            _ => *self.today.insert(Today::of(now)),
        }
    }

    /// Looks up what is known of a tenant. Returns also whether a reading of the totals has become wanted.
    pub(super) fn look_up(&mut self, tenant: &Tenant) -> (Knowledge, bool) {
        let account = self.account(tenant);
        account.used_at = Instant::now();
        let (knowledge, is_due) = (account.knowledge(), account.is_due());
        if is_due {
            account.is_wanted = true;
            self.wanted.push(tenant.clone());
        }
        (knowledge, is_due)
    }

    fn account(&mut self, tenant: &Tenant) -> &mut Account {
        self.tenants
            .entry(tenant.clone())
            .or_insert_with(Account::new)
    }

    /// Lets a request through, or returns the budget that it would exceed; of several, the one that begins anew last.
    pub(super) fn charge(
        &mut self,
        owner: &Owner,
        budgets: &Budgets,
        id: JobId,
        charged: ChargedUsage,
    ) -> Result<(), OverBudget> {
        let today = self.today();
        let account = self.account(&owner.tenant);
        let mut over: Option<OverBudget> = None;
        for (policy, limit) in budgets.iter() {
            let ledger = account.ledger(policy.scope, owner.key);
            let used = ledger.used(&today, policy.period);
            let resets_at = today.end(policy.period);
            let is_last = over.as_ref().is_none_or(|over| over.resets_at < resets_at);
            if is_last && would_exceed(limit, policy.unit, &used, &charged) {
                over = Some(OverBudget {
                    policy,
                    limit,
                    used: used.amount(policy.unit),
                    resets_at,
                });
            }
        }
        if let Some(over) = over {
            return Err(over);
        }
        let key = owner.key;
        for ledger in account.ledgers(key) {
            ledger.in_flight.add(&charged);
        }
        account.in_flight.insert(id, InFlight { key, charged });
        Ok(())
    }

    /// Removes a request from those in flight, unless it is counted already.
    pub(super) fn release(&mut self, tenant: &Tenant, id: JobId) {
        if let Some(account) = self.tenants.get_mut(tenant) {
            account.release(id);
        }
    }

    /// Counts a request in flight whose job was accepted.
    pub(super) fn accept(&mut self, owner: &Owner, id: JobId) {
        let today = self.today();
        let Some(account) = self.tenants.get_mut(&owner.tenant) else {
            return;
        };
        let charged = account.in_flight.get(&id).map(|request| request.charged);
        account.release(id);
        if let Some(charged) = charged {
            account.count(&today, owner.key, &charged);
        }
    }

    /// Counts an execution that has ended, or the part of it that was not charged before.
    pub(super) fn count(&mut self, job: &Job, counts: &UsageCounts) {
        let tenant = &job.owner.tenant;
        if !self.tenants.contains_key(tenant) {
            return;
        }
        let today = self.today();
        if let Some(account) = self.tenants.get_mut(tenant) {
            account.release(job.id);
            account.count(&today, job.owner.key, &counts.charged());
        }
    }

    /// Returns each budget with what is used of it.
    pub(super) fn budget_status(&mut self, owner: &Owner, budgets: &Budgets) -> Vec<BudgetStatus> {
        let today = self.today();
        let mut unknown = Account::new();
        let account = self.tenants.get_mut(&owner.tenant).unwrap_or(&mut unknown);
        let each = budgets.iter().map(|(policy, limit)| {
            let ledger = account.ledger(policy.scope, owner.key);
            let used = ledger.used(&today, policy.period);
            BudgetStatus {
                policy,
                limit,
                used: used.amount(policy.unit),
                remaining: remaining(limit, policy.unit, &used),
                starts_at: today.start(policy.period),
                resets_at: today.end(policy.period),
            }
        });
        each.collect()
    }

    pub(super) fn has_wanted(&self) -> bool {
        !self.wanted.is_empty()
    }

    /// Begins to read the totals of tenants, if some are wanted.
    pub(super) fn begin_refresh(&mut self, unwritten: &Unwritten) -> Option<Refresh> {
        let count = self.wanted.len().min(REFRESHED_AT_A_TIME);
        if count == 0 {
            return None;
        }
        let today = self.today();
        let tenants: Vec<Tenant> = self.wanted.drain(..count).collect();
        let wanted: HashSet<&Tenant> = tenants.iter().collect();
        for tenant in &tenants {
            if let Some(account) = self.tenants.get_mut(tenant) {
                account.all_keys.begin_refresh(&today);
                let of_keys = account.keys.values_mut();
                of_keys.for_each(|ledger| ledger.begin_refresh(&today));
            }
        }
        let unwritten = unwritten
            .entries()
            .filter(|(_, owner, ..)| wanted.contains(&owner.tenant))
            .map(|(sequence, owner, hour, counts)| {
                (sequence, owner.clone(), hour, counts.charged())
            });
        let unwritten = unwritten.collect();
        Some(Refresh {
            query: TotalsQuery {
                tenants,
                day: today.day,
                month: today.month,
            },
            today,
            began: Instant::now(),
            unwritten,
        })
    }

    /// Replaces the totals of the tenants by those that were read; keeps them if none could be read.
    pub(super) fn end_refresh(&mut self, refresh: &Refresh, read: Option<&RecordedTotals>) {
        for tenant in &refresh.query.tenants {
            let Some(account) = self.tenants.get_mut(tenant) else {
                continue;
            };
            account.is_wanted = false;
            if read.is_none() {
                account.failed_at = Some(Instant::now());
            } else {
                account.refreshed_at = Some(refresh.began);
                account.failed_at = None;
                account.all_keys.clear_totals(&refresh.today);
                let of_keys = account.keys.values_mut();
                of_keys.for_each(|ledger| ledger.clear_totals(&refresh.today));
            }
        }
        let Some(read) = read else { return };
        for total in &read.totals {
            let period = match total.period {
                Period::Day => BudgetPeriod::Day,
                Period::Hour | Period::Month => BudgetPeriod::Month,
            };
            self.add_total(&total.owner, period, &refresh.today, &total.charged);
        }
        for (sequence, owner, hour, charged) in &refresh.unwritten {
            if *sequence <= read.sequence {
                continue;
            }
            for period in BudgetPeriod::ALL {
                if period.period().start(*hour) == refresh.today.start(period) {
                    self.add_total(owner, period, &refresh.today, charged);
                }
            }
        }
    }

    fn add_total(
        &mut self,
        owner: &Owner,
        period: BudgetPeriod,
        today: &Today,
        charged: &ChargedUsage,
    ) {
        if let Some(account) = self.tenants.get_mut(&owner.tenant) {
            for ledger in account.ledgers(owner.key) {
                ledger.add_total(period, today.start(period), charged);
            }
        }
    }

    /// Drops the accounts that had no request for long.
    pub(super) fn drop_idle(&mut self) {
        self.tenants.retain(|_, account| {
            account.is_wanted
                || !account.in_flight.is_empty()
                || account.used_at.elapsed() < IDLE_MAX
        });
    }
}
