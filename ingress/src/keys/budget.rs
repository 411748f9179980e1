//! Budgets: how much a key or a tenant may use in a day or a month. The ingress states them; the service meters.

use serde::{Deserialize, Serialize};
use serde_json::Number;
use std::collections::BTreeMap;
use std::fmt;
use std::fmt::Write as _;
use std::str::FromStr;

/// Maximum of a budget: the largest whole number that every reader of JSON reads exactly.
const AMOUNT_MAX: u64 = (1 << 53) - 1;

/// A calendar day or month, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Period {
    Day,
    Month,
}

impl Period {
    const ALL: [Self; 2] = [Self::Day, Self::Month];

    fn name(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Month => "month",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Unit {
    /// Executions that are started, and jobs that are accepted.
    Executions,
    /// Processor time of executions, seconds.
    CpuSeconds,
    /// Bytes of accepted jobs.
    QueuedBytes,
}

impl Unit {
    const ALL: [Self; 3] = [Self::Executions, Self::CpuSeconds, Self::QueuedBytes];

    fn name(self) -> &'static str {
        match self {
            Self::Executions => "executions",
            Self::CpuSeconds => "cpuSeconds",
            Self::QueuedBytes => "queuedBytes",
        }
    }
}

type Amounts<N> = BTreeMap<Period, BTreeMap<Unit, N>>;

/// The budgets of one key or tenant. Each is from 1 to [`AMOUNT_MAX`]; what is absent has no bound.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Amounts<Number>")]
pub struct Budgets(Amounts<u64>);

impl TryFrom<Amounts<Number>> for Budgets {
    type Error = String;

    fn try_from(amounts: Amounts<Number>) -> Result<Self, String> {
        let mut budgets = Self::default();
        for (period, units) in amounts {
            for (unit, number) in units {
                let amount = number.as_u64().filter(|amount| is_amount(*amount));
                let amount = amount.ok_or_else(|| {
                    format!(
                        "budgets.{}.{} is {number}: give a whole number from 1 to {AMOUNT_MAX}, or leave the field out",
                        period.name(),
                        unit.name()
                    )
                })?;
                budgets.change(BudgetChange {
                    period,
                    unit,
                    amount: Some(amount),
                });
            }
        }
        Ok(budgets)
    }
}

fn is_amount(amount: u64) -> bool {
    (1..=AMOUNT_MAX).contains(&amount)
}

impl Budgets {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Sets or removes one budget.
    pub fn change(&mut self, change: BudgetChange) {
        let BudgetChange {
            period,
            unit,
            amount,
        } = change;
        let units = self.0.entry(period).or_default();
        match amount {
            Some(amount) => {
                units.insert(unit, amount);
            }
            None => {
                units.remove(&unit);
            }
        }
        self.0.retain(|_, units| !units.is_empty());
    }

    /// Appends the items of `Sandpiper-Budget` for these budgets, such as `key-day;executions=1000;cpuSeconds=60`.
    pub(super) fn append_to_header(&self, scope: &str, header: &mut String) {
        for (period, units) in &self.0 {
            if !header.is_empty() {
                header.push_str(", ");
            }
            // Writing to a string never fails.
            let _ = write!(header, "{scope}-{}", period.name());
            for (unit, amount) in units {
                let _ = write!(header, ";{}={amount}", unit.name());
            }
        }
    }
}

/// Writes the budgets in the form of the command line: `day:executions=1000, month:cpuSeconds=60`.
impl fmt::Display for Budgets {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (period, units) in &self.0 {
            for (unit, amount) in units {
                write!(
                    formatter,
                    "{separator}{}:{}={amount}",
                    period.name(),
                    unit.name()
                )?;
                separator = ", ";
            }
        }
        Ok(())
    }
}

/// A budget of the command line: `day:executions=1000`, or `day:executions=none` for no bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BudgetChange {
    period: Period,
    unit: Unit,
    /// The new budget; `None` removes the budget.
    amount: Option<u64>,
}

impl FromStr for BudgetChange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = || {
            let (name, amount) = text.split_once('=')?;
            let (period, unit) = name.split_once(':')?;
            let period = Period::ALL
                .into_iter()
                .find(|known| known.name() == period)?;
            let unit = Unit::ALL.into_iter().find(|known| known.name() == unit)?;
            Some((period, unit, amount))
        };
        let (period, unit, amount) = parts().ok_or(
            "give PERIOD:UNIT=NUMBER, such as day:executions=1000; the period is day or month, the unit executions, \
             cpuSeconds or queuedBytes",
        )?;
        let amount = match amount {
            "none" => None,
            digits => {
                let amount = digits.parse().ok().filter(|amount| is_amount(*amount));
                Some(amount.ok_or_else(|| {
                    format!(
                        "{}:{} is a whole number from 1 to {AMOUNT_MAX}, or `none` for no budget",
                        period.name(),
                        unit.name()
                    )
                })?)
            }
        };
        Ok(Self {
            period,
            unit,
            amount,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budgets(changes: &[&str]) -> Budgets {
        let mut budgets = Budgets::default();
        for change in changes {
            budgets.change(change.parse().unwrap());
        }
        budgets
    }

    #[test]
    fn budgets_are_stored_by_period_and_unit() {
        let some = budgets(&[
            "month:queuedBytes=7",
            "day:executions=1000",
            "day:cpuSeconds=60",
        ]);
        let json = serde_json::to_string(&some).unwrap();
        assert_eq!(
            json,
            r#"{"day":{"executions":1000,"cpuSeconds":60},"month":{"queuedBytes":7}}"#
        );
        assert_eq!(serde_json::from_str::<Budgets>(&json).unwrap(), some);
        let mut header = "tenant-day;executions=5".to_owned();
        some.append_to_header("key", &mut header);
        assert_eq!(
            header,
            "tenant-day;executions=5, key-day;executions=1000;cpuSeconds=60, key-month;queuedBytes=7"
        );
        assert_eq!(
            some.to_string(),
            "day:executions=1000, day:cpuSeconds=60, month:queuedBytes=7"
        );
    }

    #[test]
    fn a_budget_is_changed_and_removed_alone() {
        let some = budgets(&["day:executions=1", "day:cpuSeconds=2", "day:executions=3"]);
        assert_eq!(some, budgets(&["day:cpuSeconds=2", "day:executions=3"]));
        let none = budgets(&[
            "day:executions=1",
            "day:executions=none",
            "month:cpuSeconds=none",
        ]);
        assert!(none.is_empty());
    }

    #[test]
    fn an_invalid_budget_is_refused_by_name() {
        for (text, said) in [
            (
                "day:executions=0",
                "day:executions is a whole number from 1 to 9007199254740991",
            ),
            ("month:cpuSeconds=-1", "month:cpuSeconds is a whole number"),
            ("day:queuedBytes=9007199254740992", "9007199254740991"),
            ("day:executions=1.5", "whole number"),
            ("day:executions", "PERIOD:UNIT=NUMBER"),
            ("week:executions=1", "day or month"),
            ("day:calls=1", "cpuSeconds or queuedBytes"),
            ("", "PERIOD:UNIT=NUMBER"),
        ] {
            let error = text.parse::<BudgetChange>().unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
        for (json, said) in [
            (r#"{"day":{"executions":0}}"#, "budgets.day.executions is 0"),
            (
                r#"{"month":{"cpuSeconds":-5}}"#,
                "budgets.month.cpuSeconds is -5",
            ),
            (
                r#"{"day":{"queuedBytes":1.5}}"#,
                "from 1 to 9007199254740991",
            ),
            (r#"{"week":{}}"#, "unknown variant `week`"),
            (r#"{"day":{"calls":1}}"#, "unknown variant `calls`"),
            (r#"{"day":{"executions":"1"}}"#, "invalid type"),
        ] {
            let error = serde_json::from_str::<Budgets>(json)
                .unwrap_err()
                .to_string();
            assert!(error.contains(said), "{json}: {error}");
        }
    }
}
