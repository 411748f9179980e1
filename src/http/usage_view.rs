//! The views of usage: JSON, and CSV for spreadsheets.
#![allow(unused_qualifications)] // in what utoipa derives

use crate::usage::BudgetStatus;
use sandpiper_domain::{Outcome, Owner, Tenant, Timestamp, UsageCounts};
use sandpiper_store::UsageSum;
use serde::Serialize;
use std::borrow::Cow;
use std::fmt::Write as _;
use utoipa::ToSchema;

/// The columns of the CSV form.
const CSV_COLUMNS: [&str; 21] = [
    "start",
    "tenant",
    "key",
    "succeeded",
    "threw",
    "timed_out",
    "memory_exceeded",
    "stack_exceeded",
    "output_exceeded",
    "cancelled",
    "crashed",
    "diverged",
    "executionsCharged",
    "jobsQueued",
    "wallMs",
    "cpuMs",
    "memoryByteSeconds",
    "bytesIn",
    "bytesOut",
    "queuedBytes",
    "calls",
];
/// End of a line of CSV (RFC 4180).
const END_OF_LINE: &str = "\r\n";

/// Usage of tenants.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = UsageReport)]
pub(super) struct UsageView {
    /// Tenant of the report; null for all tenants.
    #[schema(value_type = Option<String>, required)]
    pub(super) tenant: Option<Tenant>,
    /// First moment, which begins a period.
    #[schema(value_type = String, format = DateTime)]
    pub(super) from: Timestamp,
    /// First moment that is not included.
    #[schema(value_type = String, format = DateTime)]
    pub(super) to: Timestamp,
    /// Length of each period.
    pub(super) by: PeriodWord,
    /// Usage by period, tenant and key, oldest first. Periods without usage are left out.
    pub(super) periods: Vec<PeriodView>,
    /// Sum of all periods.
    pub(super) totals: CountsView,
    /// Budgets of the request's key and its tenant, in the current day and month. Empty if there are none, or if the report
    /// is of another tenant.
    pub(super) budgets: Vec<BudgetView>,
}

/// Length of a period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = UsagePeriodLength)]
pub(super) enum PeriodWord {
    Hour,
    Day,
}

/// Usage of one tenant and key in one period.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = UsagePeriod)]
pub(super) struct PeriodView {
    /// First moment of the period, UTC.
    #[schema(value_type = String, format = DateTime)]
    start: Timestamp,
    /// Tenant.
    #[schema(value_type = String)]
    tenant: Tenant,
    /// ID of the API key; absent without a key.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    key: Option<String>,
    #[serde(flatten)]
    #[schema(inline)]
    counts: CountsView,
}

/// Sums of usage.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = UsageCounts)]
pub(super) struct CountsView {
    /// Executions that ended, by outcome.
    executions: OutcomesView,
    /// Executions charged to budgets: that of a job when the job is accepted, others when they end.
    executions_charged: u64,
    /// Jobs that were accepted.
    jobs_queued: u64,
    /// Elapsed time of executions, milliseconds.
    wall_ms: f64,
    /// Processor time of executions, milliseconds.
    cpu_ms: f64,
    /// Peak memory of each execution multiplied by its elapsed time, bytes times seconds.
    memory_byte_seconds: u64,
    /// Code, input and globals of requests, bytes.
    bytes_in: u64,
    /// Results and logs, bytes of JSON.
    bytes_out: u64,
    /// The part of `bytesIn` that came with jobs.
    queued_bytes: u64,
    /// Calls of tools that scripts made.
    calls: u64,
}

/// Executions that ended, by outcome.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = UsageOutcomes)]
struct OutcomesView {
    /// Executions with this outcome.
    succeeded: u64,
    /// Executions with this outcome.
    threw: u64,
    /// Executions with this outcome.
    timed_out: u64,
    /// Executions with this outcome.
    memory_exceeded: u64,
    /// Executions with this outcome.
    stack_exceeded: u64,
    /// Executions with this outcome.
    output_exceeded: u64,
    /// Executions with this outcome.
    cancelled: u64,
    /// Executions with this outcome.
    crashed: u64,
    /// Executions with this outcome.
    diverged: u64,
}

/// A budget, and what is used of it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Budget)]
pub(super) struct BudgetView {
    /// Name of the budget, as in the header `RateLimit`.
    policy: &'static str,
    /// `executions`, `cpuSeconds` or `queuedBytes`.
    unit: &'static str,
    /// The budget.
    limit: u64,
    /// Used in the current period, requests in progress included.
    used: u64,
    /// Left in the current period.
    remaining: u64,
    /// Time at which the budget begins anew.
    #[schema(value_type = String, format = DateTime)]
    resets_at: Timestamp,
}

impl From<&UsageCounts> for CountsView {
    fn from(counts: &UsageCounts) -> Self {
        let with = |outcome| counts.executions_with(outcome);
        Self {
            executions: OutcomesView {
                succeeded: with(Outcome::Succeeded),
                threw: with(Outcome::Threw),
                timed_out: with(Outcome::TimedOut),
                memory_exceeded: with(Outcome::MemoryExceeded),
                stack_exceeded: with(Outcome::StackExceeded),
                output_exceeded: with(Outcome::OutputExceeded),
                cancelled: with(Outcome::Cancelled),
                crashed: with(Outcome::Crashed),
                diverged: with(Outcome::Diverged),
            },
            executions_charged: counts.executions_charged,
            jobs_queued: counts.jobs_queued,
            wall_ms: millis(counts.wall_micros),
            cpu_ms: millis(counts.cpu_micros),
            memory_byte_seconds: counts.memory_byte_seconds,
            bytes_in: counts.bytes_in,
            bytes_out: counts.bytes_out,
            queued_bytes: counts.queued_bytes,
            calls: counts.calls,
        }
    }
}

#[allow(clippy::cast_precision_loss)] // exact for 285 years
fn millis(micros: u64) -> f64 {
    micros as f64 / 1000.0
}

impl From<&UsageSum> for PeriodView {
    fn from(sum: &UsageSum) -> Self {
        Self {
            start: sum.start,
            tenant: sum.owner.tenant.clone(),
            key: key_of(&sum.owner),
            counts: CountsView::from(&sum.counts),
        }
    }
}

fn key_of(owner: &Owner) -> Option<String> {
    owner.key.map(|key| key.to_string())
}

impl From<&BudgetStatus> for BudgetView {
    fn from(status: &BudgetStatus) -> Self {
        Self {
            policy: status.policy.name(),
            unit: status.policy.unit.as_str(),
            limit: status.limit,
            used: status.used,
            remaining: status.remaining,
            resets_at: status.resets_at,
        }
    }
}

/// Returns sums as CSV (RFC 4180). Times, keys and numbers need no quotes.
pub(super) fn csv(sums: &[UsageSum]) -> String {
    let mut text = CSV_COLUMNS.join(",");
    text.push_str(END_OF_LINE);
    for sum in sums {
        let UsageSum {
            start,
            owner,
            counts,
        } = sum;
        let key = key_of(owner).unwrap_or_default();
        // Writing to memory cannot fail.
        let tenant = field(owner.tenant.as_str());
        let _ = write!(text, "{},{tenant},{key}", start.to_rfc3339());
        for count in counts.executions {
            let _ = write!(text, ",{count}");
        }
        let _ = write!(
            text,
            ",{},{},{},{},{},{},{},{},{}{END_OF_LINE}",
            counts.executions_charged,
            counts.jobs_queued,
            millis(counts.wall_micros),
            millis(counts.cpu_micros),
            counts.memory_byte_seconds,
            counts.bytes_in,
            counts.bytes_out,
            counts.queued_bytes,
            counts.calls,
        );
    }
    text
}

/// Returns a text as one field of CSV, in quotes where it needs them. A text that a spreadsheet would calculate gets an
/// apostrophe in front. The names of tenants need neither, but another program may have written rows of its own.
fn field(text: &str) -> Cow<'_, str> {
    const NEED_QUOTES: [char; 4] = [',', '"', '\r', '\n'];
    const BEGIN_FORMULAS: [char; 6] = ['=', '+', '-', '@', '\t', '\r'];
    let is_formula = text.starts_with(BEGIN_FORMULAS);
    if !is_formula && !text.contains(NEED_QUOTES) {
        return Cow::Borrowed(text);
    }
    let apostrophe = if is_formula { "'" } else { "" };
    Cow::Owned(format!("\"{apostrophe}{}\"", text.replace('"', "\"\"")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_of_csv_is_quoted_where_needed_and_never_a_formula() {
        for (text, expected) in [
            ("acme", "acme"),
            ("key:00000000000000ff", "key:00000000000000ff"),
            ("", ""),
            ("a,b", "\"a,b\""),
            ("a\"b", "\"a\"\"b\""),
            ("a\r\nb", "\"a\r\nb\""),
            ("=1+2", "\"'=1+2\""),
            ("+1", "\"'+1\""),
            ("-1", "\"'-1\""),
            ("@A1", "\"'@A1\""),
            ("\t=1", "\"'\t=1\""),
        ] {
            assert_eq!(field(text), expected, "{text:?}");
        }
    }

    #[test]
    fn csv_has_a_column_for_each_value_in_the_order_of_its_head() {
        let sum = UsageSum {
            start: Timestamp::from_unix_millis(0),
            owner: Owner {
                tenant: "acme".parse().unwrap(),
                key: "00000000000000ff".parse().ok(),
            },
            counts: UsageCounts {
                executions: [1, 2, 3, 4, 5, 6, 7, 8, 9],
                executions_charged: 10,
                jobs_queued: 11,
                wall_micros: 12_500,
                cpu_micros: 13_000,
                memory_byte_seconds: 14,
                bytes_in: 15,
                bytes_out: 16,
                queued_bytes: 17,
                calls: 18,
            },
        };
        let expected = "1970-01-01T00:00:00.000Z,acme,00000000000000ff,1,2,3,4,5,6,7,8,9,10,11,12.5,13,14,15,16,17,18";
        let text = csv(&[sum]);
        let lines: Vec<&str> = text.split("\r\n").collect();
        assert_eq!(lines[1..], [expected, ""]);
        for outcome in Outcome::ALL {
            assert_eq!(CSV_COLUMNS[3 + outcome as usize], outcome.as_str());
        }
        assert_eq!(lines[0].split(',').count(), expected.split(',').count());
    }
}
