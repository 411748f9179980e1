//! Budgets: how much a tenant or a key may use in a day or a month.
//!
//! The ingress knows the budgets and sends them with each request, in a header that [`Budgets`] reads strictly: a budget
//! that is misread would be no budget.

use super::Period;
use std::str::FromStr;

/// The owner of a budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BudgetScope {
    /// All keys of a tenant together.
    Tenant,
    /// One key.
    Key,
}

/// The time after which a budget begins anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BudgetPeriod {
    Day,
    Month,
}

impl BudgetPeriod {
    pub const ALL: [Self; 2] = [Self::Day, Self::Month];

    pub fn period(self) -> Period {
        match self {
            Self::Day => Period::Day,
            Self::Month => Period::Month,
        }
    }
}

/// The unit of a budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BudgetUnit {
    /// Executions of `POST /api/execute` and accepted jobs.
    Executions,
    /// Processor time of executions.
    CpuSeconds,
    /// Code, input and globals of accepted jobs.
    QueuedBytes,
}

impl BudgetUnit {
    pub const ALL: [Self; 3] = [Self::Executions, Self::CpuSeconds, Self::QueuedBytes];

    /// Returns the name in the API, and in the header.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Executions => "executions",
            Self::CpuSeconds => "cpuSeconds",
            Self::QueuedBytes => "queuedBytes",
        }
    }

    /// Returns the number of parts of one unit in which usage is counted: processor time is counted in microseconds.
    pub fn exact_parts(self) -> u64 {
        match self {
            Self::CpuSeconds => 1_000_000,
            Self::Executions | Self::QueuedBytes => 1,
        }
    }
}

/// One of the budgets that a request can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Policy {
    pub scope: BudgetScope,
    pub period: BudgetPeriod,
    pub unit: BudgetUnit,
}

impl Policy {
    /// The number of policies.
    pub const COUNT: usize = 12;

    /// Returns every policy, in the order of [`Policy::index`].
    pub fn all() -> impl Iterator<Item = Self> {
        let scopes = [BudgetScope::Tenant, BudgetScope::Key].into_iter();
        let pairs = scopes.flat_map(|scope| {
            BudgetPeriod::ALL
                .into_iter()
                .map(move |period| (scope, period))
        });
        pairs.flat_map(|(scope, period)| {
            BudgetUnit::ALL.into_iter().map(move |unit| Self {
                scope,
                period,
                unit,
            })
        })
    }

    /// Returns the place of this policy among all.
    pub fn index(self) -> usize {
        (self.scope as usize * BudgetPeriod::ALL.len() + self.period as usize)
            * BudgetUnit::ALL.len()
            + self.unit as usize
    }

    /// Returns the name in headers, in the API and in metrics.
    pub fn name(self) -> &'static str {
        use BudgetPeriod::{Day, Month};
        use BudgetScope::{Key, Tenant};
        use BudgetUnit::{CpuSeconds, Executions, QueuedBytes};
        match (self.scope, self.period, self.unit) {
            (Tenant, Day, Executions) => "tenant-day",
            (Tenant, Day, CpuSeconds) => "tenant-day-cpu",
            (Tenant, Day, QueuedBytes) => "tenant-day-bytes",
            (Tenant, Month, Executions) => "tenant-month",
            (Tenant, Month, CpuSeconds) => "tenant-month-cpu",
            (Tenant, Month, QueuedBytes) => "tenant-month-bytes",
            (Key, Day, Executions) => "key-day",
            (Key, Day, CpuSeconds) => "key-day-cpu",
            (Key, Day, QueuedBytes) => "key-day-bytes",
            (Key, Month, Executions) => "key-month",
            (Key, Month, CpuSeconds) => "key-month-cpu",
            (Key, Month, QueuedBytes) => "key-month-bytes",
        }
    }
}

/// Usage in the units of budgets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ChargedUsage {
    pub executions: u64,
    pub cpu_micros: u64,
    /// Processor time that is reserved for jobs that have not ended.
    pub reserved_micros: u64,
    pub queued_bytes: u64,
}

impl ChargedUsage {
    pub fn add(&mut self, more: &Self) {
        self.executions = self.executions.saturating_add(more.executions);
        self.cpu_micros = self.cpu_micros.saturating_add(more.cpu_micros);
        self.reserved_micros = self.reserved_micros.saturating_add(more.reserved_micros);
        self.queued_bytes = self.queued_bytes.saturating_add(more.queued_bytes);
    }

    /// Returns the usage without that of an earlier moment.
    #[must_use]
    pub fn without(&self, less: &Self) -> Self {
        Self {
            executions: self.executions.saturating_sub(less.executions),
            cpu_micros: self.cpu_micros.saturating_sub(less.cpu_micros),
            reserved_micros: self.reserved_micros.saturating_sub(less.reserved_micros),
            queued_bytes: self.queued_bytes.saturating_sub(less.queued_bytes),
        }
    }

    /// Returns the amount in this unit, microseconds of processor time. Reserved processor time is included.
    pub fn exact(&self, unit: BudgetUnit) -> u64 {
        match unit {
            BudgetUnit::Executions => self.executions,
            BudgetUnit::CpuSeconds => self.cpu_micros.saturating_add(self.reserved_micros),
            BudgetUnit::QueuedBytes => self.queued_bytes,
        }
    }

    /// Returns the amount in this unit, whole seconds of processor time. Reserved processor time is included.
    pub fn amount(&self, unit: BudgetUnit) -> u64 {
        self.exact(unit) / unit.exact_parts()
    }
}

/// The budgets of a request: those of its tenant and those of its key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Budgets([Option<u64>; Policy::COUNT]);

/// The text of budgets breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("budget {item:?} {rule}")]
pub struct InvalidBudgets {
    item: String,
    rule: &'static str,
}

impl Budgets {
    /// The largest budget, which every JSON reader knows exactly.
    pub const MAX: u64 = (1 << 53) - 1;
    /// Separates the budgets of different periods and owners.
    const SEPARATOR: &'static str = ", ";

    /// Returns the policies that have a budget, each with its budget.
    pub fn iter(&self) -> impl Iterator<Item = (Policy, u64)> {
        Policy::all().filter_map(|policy| Some((policy, self.0[policy.index()]?)))
    }

    pub fn has(&self, scope: BudgetScope) -> bool {
        self.iter().any(|(policy, _)| policy.scope == scope)
    }

    pub fn has_unit(&self, unit: BudgetUnit) -> bool {
        self.iter().any(|(policy, _)| policy.unit == unit)
    }

    /// Reads the budgets of one owner and period, such as `tenant-day;executions=1000;cpuSeconds=60`.
    fn read_item(&mut self, item: &str) -> Result<(), &'static str> {
        let mut parts = item.split(';');
        let (scope, period) = match parts.next().unwrap_or_default() {
            "tenant-day" => (BudgetScope::Tenant, BudgetPeriod::Day),
            "tenant-month" => (BudgetScope::Tenant, BudgetPeriod::Month),
            "key-day" => (BudgetScope::Key, BudgetPeriod::Day),
            "key-month" => (BudgetScope::Key, BudgetPeriod::Month),
            _ => return Err("must begin with tenant-day, tenant-month, key-day or key-month"),
        };
        let of_item = |policy: &Policy| policy.scope == scope && policy.period == period;
        if self.iter().any(|(policy, _)| of_item(&policy)) {
            return Err("is given twice");
        }
        let mut is_empty = true;
        for part in parts {
            let Some((name, number)) = part.split_once('=') else {
                return Err("must have the form UNIT=NUMBER after each semicolon");
            };
            let unit = BudgetUnit::ALL
                .into_iter()
                .find(|unit| unit.as_str() == name);
            let unit =
                unit.ok_or("has a unit other than executions, cpuSeconds and queuedBytes")?;
            let number =
                parse_number(number).ok_or("must have whole numbers from 1 to 2^53 - 1")?;
            let policy = Policy {
                scope,
                period,
                unit,
            };
            if self.0[policy.index()].replace(number).is_some() {
                return Err("has a unit twice");
            }
            is_empty = false;
        }
        if is_empty {
            return Err("has no unit");
        }
        Ok(())
    }
}

/// Parses a number as it is written: digits, the first of them not zero.
fn parse_number(text: &str) -> Option<u64> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    let number = text.parse().ok().filter(|_| is_plain)?;
    (1..=Budgets::MAX).contains(&number).then_some(number)
}

impl FromStr for Budgets {
    type Err = InvalidBudgets;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut budgets = Self::default();
        for item in text.split(Self::SEPARATOR) {
            budgets.read_item(item).map_err(|rule| InvalidBudgets {
                item: item.chars().take(200).collect(),
                rule,
            })?;
        }
        Ok(budgets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fmt::Write as _;

    /// Returns budgets in the form of the header.
    fn written(budgets: &Budgets) -> String {
        let mut text = String::new();
        let mut last = None;
        for (policy, number) in budgets.iter() {
            let owner = (policy.scope, policy.period);
            if last != Some(owner) {
                let separator = if last.is_some() { ", " } else { "" };
                let unit = BudgetUnit::Executions;
                let name = Policy { unit, ..policy }.name();
                write!(text, "{separator}{name}").unwrap();
                last = Some(owner);
            }
            write!(text, ";{}={number}", policy.unit.as_str()).unwrap();
        }
        text
    }

    #[test]
    fn a_policy_has_its_own_index_and_name() {
        let policies: Vec<Policy> = Policy::all().collect();
        assert_eq!(policies.len(), Policy::COUNT);
        for (index, policy) in policies.iter().enumerate() {
            assert_eq!(policy.index(), index);
            let same_name = |other: &&Policy| other.name() == policy.name();
            assert_eq!(policies.iter().filter(same_name).count(), 1);
        }
    }

    #[test]
    fn budgets_are_read_by_owner_period_and_unit() {
        let text = "tenant-day;executions=1000;cpuSeconds=60, key-month;executions=20000";
        let budgets: Budgets = text.parse().unwrap();
        let read: Vec<(&str, u64)> = budgets
            .iter()
            .map(|(policy, number)| (policy.name(), number))
            .collect();
        let expected = [
            ("tenant-day", 1000),
            ("tenant-day-cpu", 60),
            ("key-month", 20_000),
        ];
        assert_eq!(read, expected);
        assert!(budgets.has(BudgetScope::Key) && budgets.has(BudgetScope::Tenant));
        assert!(!Budgets::default().has(BudgetScope::Tenant));
    }

    #[test]
    fn budgets_in_any_other_form_are_rejected() {
        for text in [
            "",
            " ",
            "tenant-day",
            "tenant-day;",
            "tenant-year;executions=1",
            "Tenant-day;executions=1",
            " tenant-day;executions=1",
            "tenant-day;executions=1 ",
            "tenant-day; executions=1",
            "tenant-day;executions",
            "tenant-day;executions=",
            "tenant-day;executions=0",
            "tenant-day;executions=01",
            "tenant-day;executions=+1",
            "tenant-day;executions=-1",
            "tenant-day;executions=1.5",
            "tenant-day;executions=1e3",
            "tenant-day;executions=9007199254740992",
            "tenant-day;executions=99999999999999999999999",
            "tenant-day;calls=1",
            "tenant-day;executions=1;executions=2",
            "tenant-day;executions=1,key-day;executions=1",
            "tenant-day;executions=1, ",
            "tenant-day;executions=1, tenant-day;cpuSeconds=1",
        ] {
            assert!(text.parse::<Budgets>().is_err(), "{text:?} was read");
        }
        assert!(
            "key-day;queuedBytes=9007199254740991"
                .parse::<Budgets>()
                .is_ok()
        );
    }

    proptest! {
        #[test]
        fn budgets_are_read_as_they_were_written(
            numbers in prop::array::uniform12(prop::option::of(1..=Budgets::MAX))
        ) {
            let budgets = Budgets(numbers);
            let text = written(&budgets);
            if numbers.iter().any(Option::is_some) {
                prop_assert_eq!(text.parse::<Budgets>().unwrap(), budgets);
            } else {
                prop_assert!(text.parse::<Budgets>().is_err());
            }
        }

        #[test]
        fn text_that_is_read_as_budgets_is_written_the_same_but_for_its_order(text in
            "((tenant|key)-(day|month|year)(;(executions|cpuSeconds|queuedBytes|x)=[0-9]{0,3}){0,3}(, |,)?){0,3}"
        ) {
            if let Ok(budgets) = text.parse::<Budgets>() {
                let parts = |text: &str| {
                    let mut parts: Vec<_> = text.split([';', ',']).map(str::trim).map(str::to_owned).collect();
                    parts.sort();
                    parts
                };
                prop_assert_eq!(parts(&written(&budgets)), parts(&text));
            }
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,100}") {
            let _ = text.parse::<Budgets>();
        }
    }
}
