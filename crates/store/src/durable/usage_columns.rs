//! The columns of usage in a database.

use super::numbers::as_i64;
use sandpiper_domain::{ApiKeyId, Outcome, Owner, Period, UsageCounts};
use sqlx::{ColumnIndex, Decode, Row, Type};

/// The sums of a row, each a column.
pub(super) const SUMS: [&str; OUTCOMES + 9] = [
    "succeeded",
    "threw",
    "timed_out",
    "memory_exceeded",
    "stack_exceeded",
    "output_exceeded",
    "cancelled",
    "crashed",
    "diverged",
    "executions_charged",
    "jobs_queued",
    "wall_micros",
    "cpu_micros",
    "memory_byte_seconds",
    "bytes_in",
    "bytes_out",
    "queued_bytes",
    "calls",
];

const OUTCOMES: usize = Outcome::ALL.len();

/// Returns a list of all sums, each in the form that `form` returns for its column.
pub(super) fn each_sum(form: impl Fn(&str) -> String) -> String {
    SUMS.map(form).join(", ")
}

/// Returns the values of a row, in the order of [`SUMS`].
pub(super) fn values(counts: &UsageCounts) -> impl Iterator<Item = i64> {
    let others = [
        counts.executions_charged,
        counts.jobs_queued,
        counts.wall_micros,
        counts.cpu_micros,
        counts.memory_byte_seconds,
        counts.bytes_in,
        counts.bytes_out,
        counts.queued_bytes,
        counts.calls,
    ];
    counts.executions.into_iter().chain(others).map(as_i64)
}

/// Reads the sums of a row, from the column with the index `first` on.
pub(super) fn counts_of<'r, R>(row: &'r R, first: usize) -> Result<UsageCounts, sqlx::Error>
where
    R: Row,
    usize: ColumnIndex<R>,
    i64: Decode<'r, R::Database> + Type<R::Database>,
{
    let number = |index: usize| {
        let number: i64 = row.try_get(first + index)?;
        Ok::<_, sqlx::Error>(u64::try_from(number).unwrap_or_default())
    };
    let mut executions = [0; OUTCOMES];
    for (index, count) in executions.iter_mut().enumerate() {
        *count = number(index)?;
    }
    Ok(UsageCounts {
        executions,
        executions_charged: number(OUTCOMES)?,
        jobs_queued: number(OUTCOMES + 1)?,
        wall_micros: number(OUTCOMES + 2)?,
        cpu_micros: number(OUTCOMES + 3)?,
        memory_byte_seconds: number(OUTCOMES + 4)?,
        bytes_in: number(OUTCOMES + 5)?,
        bytes_out: number(OUTCOMES + 6)?,
        queued_bytes: number(OUTCOMES + 7)?,
        calls: number(OUTCOMES + 8)?,
    })
}

/// Returns the letter of a period, and the column with its first moment in rows that are not folded yet.
pub(super) fn period_columns(period: Period) -> (&'static str, &'static str) {
    match period {
        Period::Hour => ("h", "hour_at"),
        Period::Day => ("d", "day_at"),
        Period::Month => ("m", "month_at"),
    }
}

/// Returns the id of an owner's key; a primary key has no null, so that no key is an empty text.
pub(super) fn key_text(owner: &Owner) -> String {
    owner
        .key
        .as_ref()
        .map(ApiKeyId::to_string)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_has_the_column_of_its_name_and_every_sum_has_a_value() {
        for outcome in Outcome::ALL {
            assert_eq!(SUMS[outcome as usize], outcome.as_str());
        }
        assert_eq!(values(&UsageCounts::default()).count(), SUMS.len());
    }
}
