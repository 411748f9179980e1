//! Use of a tenant or a key in the current day and month, as far as this node knows.

use super::shares::Shares;
use sandpiper_domain::{BudgetPeriod, BudgetUnit, ChargedUsage, Period, Timestamp};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Time between two marks.
const MARK_EVERY: Duration = Duration::from_millis(250);

/// The day and the month of a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Today {
    pub(super) day: Timestamp,
    day_end: Timestamp,
    pub(super) month: Timestamp,
    month_end: Timestamp,
}

impl Today {
    pub(super) fn of(now: Timestamp) -> Self {
        Self {
            day: Period::Day.start(now),
            day_end: Period::Day.end(now),
            month: Period::Month.start(now),
            month_end: Period::Month.end(now),
        }
    }

    pub(super) fn contains(&self, now: Timestamp) -> bool {
        (self.day..self.day_end).contains(&now)
    }

    pub(super) fn start(&self, period: BudgetPeriod) -> Timestamp {
        match period {
            BudgetPeriod::Day => self.day,
            BudgetPeriod::Month => self.month,
        }
    }

    pub(super) fn end(&self, period: BudgetPeriod) -> Timestamp {
        match period {
            BudgetPeriod::Day => self.day_end,
            BudgetPeriod::Month => self.month_end,
        }
    }
}

/// The usage of one owner of budgets.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    day: Spent,
    month: Spent,
    /// Requests that were let through and are not counted yet.
    pub(super) in_flight: ChargedUsage,
}

/// Usage of one period.
#[derive(Debug, Default)]
struct Spent {
    /// The first moment of the period.
    start: Option<Timestamp>,
    /// The store's total at the last refresh, with what this node had not written by then.
    total: ChargedUsage,
    /// Counted by this node between the beginnings of the last refresh and of the one that is in progress.
    before_refresh: ChargedUsage,
    /// Counted by this node since.
    since: ChargedUsage,
    /// Totals of readings, each with the beginning of its reading, oldest first.
    marks: VecDeque<(Instant, ChargedUsage)>,
    /// The total before any share that another node could still use at the last reading; nothing if it is not known.
    before_shares: ChargedUsage,
}

impl Spent {
    /// Begins anew if the period is over.
    fn enter(&mut self, start: Timestamp) {
        if self.start != Some(start) {
            *self = Self {
                start: Some(start),
                ..Self::default()
            };
        }
    }

    fn sum(&self) -> ChargedUsage {
        let mut sum = self.total;
        sum.add(&self.counted());
        sum
    }

    /// Returns what this node has counted since the last refresh that ended.
    fn counted(&self) -> ChargedUsage {
        let mut counted = self.before_refresh;
        counted.add(&self.since);
        counted
    }

    /// Retains the total as that of a reading which began at `read`, and forgets totals that are of no more use.
    fn mark(&mut self, read: Instant) {
        let has_recent = |(at, _): &(Instant, ChargedUsage)| read < *at + MARK_EVERY;
        if !self.marks.back().is_some_and(has_recent) {
            self.marks.push_back((read, self.total));
        }
        while let Some((second, _)) = self.marks.get(1)
            && *second + Shares::END_AFTER <= read
        {
            self.marks.pop_front();
        }
        let oldest = self.marks.front();
        let before = oldest.filter(|(at, _)| *at + Shares::END_AFTER <= read);
        self.before_shares = before.map_or_else(ChargedUsage::default, |(_, total)| *total);
    }
}

impl Ledger {
    fn enter(&mut self, today: &Today) {
        self.day.enter(today.day);
        self.month.enter(today.month);
    }

    /// Adds usage that this node has counted.
    pub(super) fn add(&mut self, today: &Today, charged: &ChargedUsage) {
        self.enter(today);
        self.day.since.add(charged);
        self.month.since.add(charged);
    }

    /// Notes that the totals are being read: they will include what this node has counted so far.
    pub(super) fn begin_refresh(&mut self, today: &Today) {
        self.enter(today);
        for spent in [&mut self.day, &mut self.month] {
            let since = std::mem::take(&mut spent.since);
            spent.before_refresh.add(&since);
        }
    }

    /// Begins to replace the totals by those that were read in `today`.
    pub(super) fn clear_totals(&mut self, today: &Today) {
        for (spent, start) in [(&mut self.day, today.day), (&mut self.month, today.month)] {
            if spent.start == Some(start) {
                spent.total = ChargedUsage::default();
                spent.before_refresh = ChargedUsage::default();
            }
        }
    }

    /// Adds to the totals of the period that begins at `start`, unless that period is over.
    pub(super) fn add_total(
        &mut self,
        period: BudgetPeriod,
        start: Timestamp,
        charged: &ChargedUsage,
    ) {
        let spent = match period {
            BudgetPeriod::Day => &mut self.day,
            BudgetPeriod::Month => &mut self.month,
        };
        if spent.start.is_none() {
            spent.enter(start);
        }
        if spent.start == Some(start) {
            spent.total.add(charged);
        }
    }

    /// Notes that the totals are complete. Their reading began at `read`.
    pub(super) fn end_refresh(&mut self, read: Instant) {
        self.day.mark(read);
        self.month.mark(read);
    }

    fn spent(&self, period: BudgetPeriod) -> &Spent {
        match period {
            BudgetPeriod::Day => &self.day,
            BudgetPeriod::Month => &self.month,
        }
    }

    /// Returns what is used of a budget, requests in flight included.
    pub(super) fn used(&mut self, today: &Today, period: BudgetPeriod) -> ChargedUsage {
        self.enter(today);
        let mut used = self.spent(period).sum();
        used.add(&self.in_flight);
        used
    }

    /// Returns the numbers from which the shares of all nodes in a budget follow.
    pub(super) fn shares(
        &mut self,
        today: &Today,
        period: BudgetPeriod,
        unit: BudgetUnit,
        limit: u64,
    ) -> Shares {
        self.enter(today);
        let spent = self.spent(period);
        let mut own = spent.counted();
        own.add(&self.in_flight);
        let limit = limit.saturating_mul(unit.exact_parts());
        let left = |used: &ChargedUsage| limit.saturating_sub(used.exact(unit));
        Shares {
            left_at_reading: left(&spent.total),
            left_before: left(&spent.before_shares),
            own: own.exact(unit),
        }
    }
}

/// Returns what is left of a budget.
pub(super) fn remaining(limit: u64, unit: BudgetUnit, used: &ChargedUsage) -> u64 {
    let limit = limit.saturating_mul(unit.exact_parts());
    limit.saturating_sub(used.exact(unit)) / unit.exact_parts()
}

/// Returns true if a request beyond `used` would exceed a budget. Its processor time is not known yet, so a budget of
/// processor time is exceeded once nothing is left.
pub(super) fn would_exceed(
    limit: u64,
    unit: BudgetUnit,
    used: &ChargedUsage,
    request: &ChargedUsage,
) -> bool {
    let (limit, used) = (limit.saturating_mul(unit.exact_parts()), used.exact(unit));
    match unit {
        BudgetUnit::CpuSeconds => used >= limit,
        BudgetUnit::Executions | BudgetUnit::QueuedBytes => {
            let more = request.exact(unit);
            more > 0 && used.saturating_add(more) > limit
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn executions(count: u64) -> ChargedUsage {
        ChargedUsage {
            executions: count,
            ..ChargedUsage::default()
        }
    }

    fn today(text: &str) -> Today {
        Today::of(Timestamp::from_rfc3339(text).unwrap())
    }

    #[test]
    fn a_refresh_replaces_what_was_counted_before_it_began_and_nothing_else() {
        let (mut ledger, day) = (Ledger::default(), today("2026-11-24T12:00:00Z"));
        let used = |ledger: &mut Ledger| ledger.used(&day, BudgetPeriod::Day).executions;
        ledger.add(&day, &executions(3));
        ledger.begin_refresh(&day);
        ledger.add(&day, &executions(4));
        assert_eq!(used(&mut ledger), 7);
        // The refresh failed, and the next one begins.
        ledger.begin_refresh(&day);
        ledger.add(&day, &executions(5));
        assert_eq!(used(&mut ledger), 12);
        ledger.clear_totals(&day);
        ledger.add_total(BudgetPeriod::Day, day.day, &executions(100));
        assert_eq!(used(&mut ledger), 105);
        ledger.in_flight = executions(2);
        assert_eq!(used(&mut ledger), 107);
    }

    #[test]
    fn a_new_day_begins_with_nothing_and_its_month_goes_on() {
        let (mut ledger, day) = (Ledger::default(), today("2026-11-24T23:59:59Z"));
        ledger.add(&day, &executions(3));
        ledger.begin_refresh(&day);
        let next = today("2026-11-25T00:00:00Z");
        assert_eq!(ledger.used(&next, BudgetPeriod::Day).executions, 0);
        assert_eq!(ledger.used(&next, BudgetPeriod::Month).executions, 3);
        // Totals of the day before come too late.
        ledger.clear_totals(&day);
        ledger.add_total(BudgetPeriod::Day, day.day, &executions(50));
        ledger.add_total(BudgetPeriod::Month, day.month, &executions(50));
        assert_eq!(ledger.used(&next, BudgetPeriod::Day).executions, 0);
        assert_eq!(ledger.used(&next, BudgetPeriod::Month).executions, 50);
    }

    #[test]
    fn a_budget_is_exceeded_by_the_request_beyond_it() {
        use BudgetUnit::{CpuSeconds, Executions, QueuedBytes};
        let used = ChargedUsage {
            executions: 9,
            cpu_micros: 29_999_999,
            reserved_micros: 30_000_000,
            queued_bytes: 90,
        };
        let request = |queued_bytes| ChargedUsage {
            executions: 1,
            queued_bytes,
            ..ChargedUsage::default()
        };
        assert!(!would_exceed(10, Executions, &used, &request(0)));
        assert!(would_exceed(9, Executions, &used, &request(0)));
        assert!(!would_exceed(60, CpuSeconds, &used, &request(0)));
        assert!(would_exceed(59, CpuSeconds, &used, &request(0)));
        assert!(!would_exceed(100, QueuedBytes, &used, &request(10)));
        assert!(would_exceed(100, QueuedBytes, &used, &request(11)));
        // An execution that is not queued takes no queued bytes.
        assert!(!would_exceed(50, QueuedBytes, &used, &request(0)));
        assert_eq!(remaining(10, Executions, &used), 1);
        assert_eq!(remaining(60, CpuSeconds, &used), 0);
        assert_eq!(remaining(50, QueuedBytes, &used), 0);
    }

    #[test]
    fn shares_follow_from_the_last_totals_and_from_those_before_any_share() {
        let (mut ledger, day) = (Ledger::default(), today("2026-11-24T12:00:00Z"));
        let start = Instant::now();
        let after = |millis| start + Duration::from_millis(millis);
        let end = u64::try_from(Shares::END_AFTER.as_millis()).unwrap();
        let read = |ledger: &mut Ledger, total, at| {
            ledger.begin_refresh(&day);
            ledger.clear_totals(&day);
            ledger.add_total(BudgetPeriod::Day, day.day, &executions(total));
            ledger.end_refresh(at);
        };
        let shares = |ledger: &mut Ledger| {
            ledger.shares(&day, BudgetPeriod::Day, BudgetUnit::Executions, 100)
        };
        read(&mut ledger, 10, start);
        ledger.add(&day, &executions(2));
        ledger.in_flight = executions(3);
        let expected = Shares {
            left_at_reading: 90,
            left_before: 100,
            own: 5,
        };
        assert_eq!(shares(&mut ledger), expected);
        // A reading soon after another one leaves no mark.
        read(&mut ledger, 40, after(100));
        read(&mut ledger, 60, after(1_000));
        read(&mut ledger, 70, after(end));
        let later = shares(&mut ledger);
        assert_eq!((later.left_at_reading, later.left_before), (30, 90));
        assert_eq!(later.own, 3);
        read(&mut ledger, 80, after(end + 1_000));
        assert_eq!(shares(&mut ledger).left_before, 40);
        assert_eq!(ledger.day.marks.len(), 3);
        // A new day has nothing of the day before.
        let next = today("2026-11-25T00:00:00Z");
        let new = ledger.shares(&next, BudgetPeriod::Day, BudgetUnit::Executions, 100);
        assert_eq!((new.left_at_reading, new.left_before), (100, 100));
    }
}
