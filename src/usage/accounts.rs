//! The accounts of tenants with budgets: what each has used in the current day and month, as far as this node knows.
//!
//! An account is the total of the store, which is read at most once a second, and what this node has counted since.
//! A request that is let through is in flight until it is counted, so that requests at the same time exceed no budget.
//! Beyond its share (`shares.rs`) a node reads the totals more often.

use super::account::{Account, Knowledge, Request, Verdict};
use super::ledger::{Today, remaining};
use super::unwritten::Unwritten;
use sandpiper_domain::{
    BudgetPeriod, Budgets, ChargedUsage, Job, JobId, Owner, Period, Policy, Tenant, Timestamp,
    UsageCounts,
};
use sandpiper_store::{RecordedTotals, TotalsQuery};
use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

/// Time after which an account without requests is dropped.
const IDLE_MAX: Duration = Duration::from_secs(600);
/// Most tenants whose totals are read at a time.
const REFRESHED_AT_A_TIME: usize = 200;

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

/// A reading of totals that has begun.
#[derive(Debug)]
pub(super) struct Refresh {
    pub(super) query: TotalsQuery,
    today: Today,
    began: Instant,
    /// Usage that this node had not written, each with the number of its batch.
    unwritten: Vec<(u64, Owner, Timestamp, ChargedUsage)>,
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
            self.want(tenant);
        }
        (knowledge, is_due)
    }

    fn account(&mut self, tenant: &Tenant) -> &mut Account {
        self.tenants
            .entry(tenant.clone())
            .or_insert_with(Account::new)
    }

    /// Returns whether a request of a tenant fits into its budgets, and takes it in flight if it does.
    pub(super) fn charge(&mut self, tenant: &Tenant, request: &Request<'_>) -> Verdict {
        let today = self.today();
        self.account(tenant).charge(&today, request)
    }

    /// Has the totals of a tenant read.
    pub(super) fn want(&mut self, tenant: &Tenant) {
        let account = self.account(tenant);
        if !account.is_wanted {
            account.is_wanted = true;
            self.wanted.push(tenant.clone());
        }
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

    /// Counts an execution that has ended, and whose request is in flight until now. Returns true if other nodes should
    /// know of it soon.
    pub(super) fn count(&mut self, job: &Job, counts: &UsageCounts) -> bool {
        self.release(&job.owner.tenant, job.id);
        self.count_job(job, counts)
    }

    /// Counts the part of a job's execution that was not charged before. The request may be in flight still: a short job
    /// can end before its submitter knows that it was accepted. Returns true if other nodes should know of it soon.
    pub(super) fn count_job(&mut self, job: &Job, counts: &UsageCounts) -> bool {
        let tenant = &job.owner.tenant;
        if !self.tenants.contains_key(tenant) {
            return false;
        }
        let today = self.today();
        self.tenants.get_mut(tenant).is_some_and(|account| {
            account.count(&today, job.owner.key, &counts.charged());
            account.is_urgent()
        })
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

    /// Returns true if other nodes share the budgets of a tenant whose totals are to be read.
    pub(super) fn is_shared(&self) -> bool {
        let mut tenants = self.wanted.iter();
        tenants.any(|tenant| {
            let account = self.tenants.get(tenant);
            account.is_some_and(|account| account.other_nodes > 0)
        })
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
                account.each_ledger(|ledger| ledger.begin_refresh(&today));
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
        let Some(read) = read else {
            self.each_of(refresh, |account| {
                account.is_wanted = false;
                account.failed_at = Some(Instant::now());
            });
            return;
        };
        self.each_of(refresh, |account| {
            account.is_wanted = false;
            account.refreshed_at = Some(refresh.began);
            account.failed_at = None;
            account.other_nodes = read.other_nodes;
            account.each_ledger(|ledger| ledger.clear_totals(&refresh.today));
        });
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
        self.each_of(refresh, |account| {
            account.each_ledger(|ledger| ledger.end_refresh(refresh.began));
        });
    }

    /// Changes the account of each tenant whose totals were read.
    fn each_of(&mut self, refresh: &Refresh, mut change: impl FnMut(&mut Account)) {
        for tenant in &refresh.query.tenants {
            if let Some(account) = self.tenants.get_mut(tenant) {
                change(account);
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
