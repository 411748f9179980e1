//! The account of one tenant: what the tenant and each of its keys have used in the current day and month, as far as this
//! node knows, and whether one more request fits.

use super::ledger::{Ledger, Today, would_exceed};
use super::shares::{Doubt, Reading, Shares};
use sandpiper_domain::{
    ApiKeyId, BudgetScope, BudgetUnit, Budgets, ChargedUsage, JobId, Policy, Timestamp,
};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Shortest time between two readings of a tenant's totals.
const REFRESH_EVERY: Duration = Duration::from_secs(1);
/// Age of totals that are no longer recent. A request waits for newer ones.
const RECENT_FOR: Duration = Duration::from_secs(5);
/// Time after a reading that failed, in which no request waits for another one. Readings go on meanwhile.
const NO_WAIT_FOR: Duration = Duration::from_secs(10);

/// A request would exceed a budget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OverBudget {
    pub policy: Policy,
    pub limit: u64,
    /// Used, with what is reserved for jobs that have not ended.
    pub used: u64,
    /// Processor time that is reserved for jobs that have not ended, seconds.
    pub reserved: u64,
    /// True if the request would fit once nothing is reserved.
    pub is_reserved: bool,
    /// The moment at which the budget begins anew.
    pub resets_at: Timestamp,
}

/// The answer to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Fits,
    Exceeds(OverBudget),
    /// The totals must be read before the request is answered.
    Doubtful(Doubt),
}

/// A request that is to be held to budgets.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request<'a> {
    pub(super) budgets: &'a Budgets,
    pub(super) key: Option<ApiKeyId>,
    pub(super) id: JobId,
    pub(super) charged: ChargedUsage,
    pub(super) arrived: Instant,
    /// False if the request must be answered by what this node knows.
    pub(super) may_wait: bool,
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

#[derive(Debug)]
pub(super) struct Account {
    pub(super) all_keys: Ledger,
    pub(super) keys: HashMap<ApiKeyId, Ledger>,
    pub(super) in_flight: HashMap<JobId, InFlight>,
    /// The beginning of the last reading of the totals that succeeded.
    pub(super) refreshed_at: Option<Instant>,
    /// The end of the last reading, if it failed.
    pub(super) failed_at: Option<Instant>,
    /// Nodes that accepted requests of the same tenants at the last reading.
    pub(super) other_nodes: u64,
    /// The moment at which a request was last in doubt.
    doubted_at: Option<Instant>,
    /// True until the reading that is wanted has ended.
    pub(super) is_wanted: bool,
    pub(super) used_at: Instant,
}

#[derive(Debug)]
pub(super) struct InFlight {
    pub(super) key: Option<ApiKeyId>,
    pub(super) charged: ChargedUsage,
}

impl Account {
    pub(super) fn new() -> Self {
        Self {
            all_keys: Ledger::default(),
            keys: HashMap::new(),
            in_flight: HashMap::new(),
            refreshed_at: None,
            failed_at: None,
            other_nodes: 0,
            doubted_at: None,
            is_wanted: false,
            used_at: Instant::now(),
        }
    }

    pub(super) fn ledger(&mut self, scope: BudgetScope, key: Option<ApiKeyId>) -> &mut Ledger {
        match (scope, key) {
            (BudgetScope::Key, Some(key)) => self.keys.entry(key).or_default(),
            _ => &mut self.all_keys,
        }
    }

    /// Returns the ledgers that a request with this key counts in.
    pub(super) fn ledgers(&mut self, key: Option<ApiKeyId>) -> impl Iterator<Item = &mut Ledger> {
        let of_key = key.map(|key| self.keys.entry(key).or_default());
        std::iter::once(&mut self.all_keys).chain(of_key)
    }

    pub(super) fn each_ledger(&mut self, change: impl FnMut(&mut Ledger)) {
        let all = std::iter::once(&mut self.all_keys).chain(self.keys.values_mut());
        all.for_each(change);
    }

    pub(super) fn knowledge(&self) -> Knowledge {
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
    pub(super) fn is_due(&self) -> bool {
        let last = self.refreshed_at.max(self.failed_at);
        !self.is_wanted && last.is_none_or(|last| last.elapsed() >= REFRESH_EVERY)
    }

    /// Removes a request from those in flight.
    pub(super) fn release(&mut self, id: JobId) {
        let Some(InFlight { key, charged }) = self.in_flight.remove(&id) else {
            return;
        };
        for ledger in self.ledgers(key) {
            let in_flight = &mut ledger.in_flight;
            *in_flight = in_flight.without(&charged);
        }
    }

    pub(super) fn count(&mut self, today: &Today, key: Option<ApiKeyId>, charged: &ChargedUsage) {
        for ledger in self.ledgers(key) {
            ledger.add(today, charged);
        }
    }

    /// Returns true if other nodes should soon know what this node counts.
    pub(super) fn is_urgent(&self) -> bool {
        self.doubted_at
            .is_some_and(|at| at.elapsed() < Shares::END_AFTER)
    }

    /// Returns whether a request fits into its budgets, and takes it in flight if it does. Of several exceeded budgets the
    /// one counts for which the client waits longest.
    pub(super) fn charge(&mut self, today: &Today, request: &Request<'_>) -> Verdict {
        let Request { key, charged, .. } = *request;
        let verdict = match self.exceeded(today, request) {
            Some(over) if over.is_reserved && self.may_be_outdated(request) => {
                Verdict::Doubtful(Doubt::Old)
            }
            Some(over) => return Verdict::Exceeds(over),
            None => match self.doubt(today, request) {
                Some(doubt) => Verdict::Doubtful(doubt),
                None => Verdict::Fits,
            },
        };
        if let Verdict::Doubtful(_) = verdict {
            return verdict;
        }
        for ledger in self.ledgers(key) {
            ledger.in_flight.add(&charged);
        }
        let in_flight = InFlight { key, charged };
        self.in_flight.insert(request.id, in_flight);
        verdict
    }

    fn exceeded(&mut self, today: &Today, request: &Request<'_>) -> Option<OverBudget> {
        let mut last: Option<OverBudget> = None;
        for (policy, limit) in request.budgets.iter() {
            let Policy { unit, period, .. } = policy;
            let used = self.ledger(policy.scope, request.key).used(today, period);
            if !would_exceed(limit, unit, &used, &request.charged) {
                continue;
            }
            let reserved = match unit {
                BudgetUnit::CpuSeconds => used.reserved_micros,
                BudgetUnit::Executions | BudgetUnit::QueuedBytes => 0,
            };
            let unreserved = ChargedUsage {
                reserved_micros: 0,
                ..used
            };
            let over = OverBudget {
                policy,
                limit,
                used: used.amount(unit),
                reserved: reserved / unit.exact_parts(),
                is_reserved: !would_exceed(limit, unit, &unreserved, &request.charged),
                resets_at: today.end(period),
            };
            let rank = |over: &OverBudget| (!over.is_reserved, over.resets_at);
            if last.as_ref().is_none_or(|last| rank(last) < rank(&over)) {
                last = Some(over);
            }
        }
        last
    }

    /// Returns true if a job may have ended since the last reading, and the request may wait for another one.
    fn may_be_outdated(&self, request: &Request<'_>) -> bool {
        let is_recent = |at: Instant| at.elapsed() < REFRESH_EVERY;
        request.may_wait && self.failed_at.is_none() && !self.refreshed_at.is_some_and(is_recent)
    }

    /// Returns the doubt whether a request fits that fits as far as this node knows.
    fn doubt(&mut self, today: &Today, request: &Request<'_>) -> Option<Doubt> {
        if self.other_nodes == 0 || !request.may_wait || self.failed_at.is_some() {
            return None;
        }
        let reading = Reading {
            began: self.refreshed_at?,
            other_nodes: self.other_nodes,
            now: Instant::now(),
            arrived: request.arrived,
        };
        let mut doubt = None;
        for (policy, limit) in request.budgets.iter() {
            let Policy { unit, period, .. } = policy;
            let more = match unit {
                // Not known yet.
                BudgetUnit::CpuSeconds => 0,
                unit => match request.charged.exact(unit) {
                    0 => continue,
                    more => more,
                },
            };
            let ledger = self.ledger(policy.scope, request.key);
            let used = ledger.used(today, period).exact(unit);
            let left = limit
                .saturating_mul(unit.exact_parts())
                .saturating_sub(used);
            let shares = ledger.shares(today, period, unit, limit);
            doubt = doubt.max(shares.doubt(left, more, &reading));
        }
        if doubt.is_some() {
            self.doubted_at = Some(reading.now);
        }
        doubt
    }
}
