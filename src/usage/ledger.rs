//! Use of a tenant or a key in the current day and month, as far as this node knows.

use sandpiper_domain::{BudgetPeriod, BudgetUnit, ChargedUsage, Period, Timestamp};

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
#[derive(Debug, Clone, Copy, Default)]
struct Spent {
    /// The first moment of the period.
    start: Option<Timestamp>,
    /// The store's total at the last refresh, with what this node had not written by then.
    total: ChargedUsage,
    /// Counted by this node between the beginnings of the last refresh and of the one that is in progress.
    before_refresh: ChargedUsage,
    /// Counted by this node since.
    since: ChargedUsage,
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
        sum.add(&self.before_refresh);
        sum.add(&self.since);
        sum
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

    /// Returns what is used of a budget, requests in flight included.
    pub(super) fn used(&mut self, today: &Today, period: BudgetPeriod) -> ChargedUsage {
        self.enter(today);
        let mut used = match period {
            BudgetPeriod::Day => self.day.sum(),
            BudgetPeriod::Month => self.month.sum(),
        };
        used.add(&self.in_flight);
        used
    }
}

/// Returns what is left of a budget.
pub(super) fn remaining(limit: u64, unit: BudgetUnit, used: &ChargedUsage) -> u64 {
    match unit {
        BudgetUnit::CpuSeconds => micros(limit).saturating_sub(used.cpu_micros) / 1_000_000,
        unit => limit.saturating_sub(used.amount(unit)),
    }
}

/// Returns true if a request beyond `used` would exceed a budget. Its processor time is not known yet, so a budget of
/// processor time is exceeded once nothing is left.
pub(super) fn would_exceed(
    limit: u64,
    unit: BudgetUnit,
    used: &ChargedUsage,
    request: &ChargedUsage,
) -> bool {
    match unit {
        BudgetUnit::CpuSeconds => used.cpu_micros >= micros(limit),
        unit => {
            let more = request.amount(unit);
            more > 0 && used.amount(unit).saturating_add(more) > limit
        }
    }
}

fn micros(seconds: u64) -> u64 {
    seconds.saturating_mul(1_000_000)
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
            cpu_micros: 59_999_999,
            queued_bytes: 90,
        };
        let request = |queued_bytes| ChargedUsage {
            executions: 1,
            cpu_micros: 0,
            queued_bytes,
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
}
