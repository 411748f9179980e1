//! Usage in a database.
//!
//! A transaction that accepts or settles jobs inserts what they add into `sandpiper_usage_added`, a row for each owner and
//! hour, and so does the flush of a node. No such transaction waits for another one. A sweep folds these rows into
//! `sandpiper_usage`, which has one row for each owner and each hour, day and month. Queries read both tables, each query
//! in one statement and so at one moment.

use super::database::Database;
use super::nodes::NodeRegistry;
use super::numbers::{as_i64, as_millis, timestamp, unix_millis};
use super::pool::{Transaction, on_pool, on_transaction};
use super::record::owner_from_text;
use super::usage_columns::{counts_of, each_sum, key_text, period_columns, values};
use crate::usage::{
    RecordedTotals, RecordedUsage, TotalsQuery, UsageBatch, UsageQuery, UsageSum, UsageTotal,
};
use crate::{NewJob, Settlement, StoreError};
use sandpiper_domain::{ChargedUsage, Owner, Period, Tenant, Timestamp, UsageCounts};
use sqlx::{QueryBuilder, Row as _};
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

/// Rows of one INSERT: a statement of SQLite takes 32,766 values.
const INSERTED_AT_A_TIME: usize = 500;
/// Time for which the last batch of a node is remembered: far longer than a node goes on to give the same batch.
const SEQUENCE_REMEMBERED: Duration = Duration::from_hours(24 * 7);

static INSERT: LazyLock<String> = LazyLock::new(|| {
    let sums = each_sum(str::to_owned);
    format!(
        "INSERT INTO sandpiper_usage_added (tenant, api_key, hour_at, day_at, month_at, {sums}) "
    )
});

/// Records the number of a batch, unless that batch or a later one was recorded before.
const INSERT_SEQUENCE: &str = "INSERT INTO sandpiper_usage_flushes (node, sequence, flushed_at) VALUES ($1, $2, $3) \
    ON CONFLICT (node) DO UPDATE SET sequence = excluded.sequence, flushed_at = excluded.flushed_at \
    WHERE sandpiper_usage_flushes.sequence < excluded.sequence";

/// The counts that one transaction adds to usage.
#[derive(Debug, Default)]
pub(super) struct UsageDelta(BTreeMap<(Owner, Timestamp), UsageCounts>);

impl UsageDelta {
    /// Adds usage to the hour of `at`.
    pub(super) fn add(&mut self, owner: &Owner, at: Timestamp, counts: &UsageCounts) {
        let key = (owner.clone(), Period::Hour.start(at));
        self.0.entry(key).or_default().add(counts);
    }

    /// Adds a job that is accepted.
    pub(super) fn add_accepted(&mut self, new: &NewJob) {
        let counts = UsageCounts::of_accepted_job(&new.job.script);
        self.add(&new.job.owner, new.created_at, &counts);
    }

    /// Adds the execution of a job that gets its final state, if the job ran.
    pub(super) fn add_settlement(&mut self, owner: &Owner, settlement: &Settlement) {
        if let Some(execution) = settlement.counted_execution() {
            let counts = UsageCounts::of_job_execution(execution);
            self.add(owner, execution.finished_at, &counts);
        }
    }

    pub(super) async fn insert(&self, transaction: &mut Transaction) -> Result<(), sqlx::Error> {
        let rows: Vec<_> = self.0.iter().collect();
        for chunk in rows.chunks(INSERTED_AT_A_TIME) {
            on_transaction!(transaction, connection => {
                let mut insert = QueryBuilder::new(INSERT.as_str());
                insert.push_values(chunk, |mut row, ((owner, hour), counts)| {
                    row.push_bind(owner.tenant.as_str())
                        .push_bind(key_text(owner))
                        .push_bind(unix_millis(*hour))
                        .push_bind(unix_millis(Period::Day.start(*hour)))
                        .push_bind(unix_millis(Period::Month.start(*hour)));
                    for value in values(counts) {
                        row.push_bind(value);
                    }
                });
                insert.build().execute(&mut **connection).await?;
            });
        }
        Ok(())
    }
}

#[derive(Debug)]
pub(super) struct UsageTables {
    database: Database,
    node: String,
    nodes: Arc<NodeRegistry>,
    /// Time for which sums are kept.
    kept: Duration,
}

impl UsageTables {
    pub(super) fn new(
        database: Database,
        node: String,
        nodes: Arc<NodeRegistry>,
        kept: Duration,
    ) -> Self {
        Self {
            database,
            node,
            nodes,
            kept,
        }
    }

    /// Records a batch of this node, unless the batch was recorded before.
    pub(super) async fn record(&self, batch: &UsageBatch) -> Result<(), StoreError> {
        let mut transaction = self.database.pool.begin().await?;
        let is_new = on_transaction!(&mut transaction, connection => {
            sqlx::query(INSERT_SEQUENCE)
                .bind(&self.node)
                .bind(as_i64(batch.sequence))
                .bind(unix_millis(Timestamp::now()))
                .execute(&mut **connection)
                .await?
                .rows_affected()
        });
        if is_new == 0 {
            return Ok(());
        }
        let mut delta = UsageDelta::default();
        for entry in &batch.entries {
            delta.add(&entry.owner, entry.hour, &entry.counts);
        }
        delta.insert(&mut transaction).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Returns the sums that a query asks for, and the number of the last batch of this node at that moment.
    pub(super) async fn read(&self, query: &UsageQuery) -> Result<RecordedUsage, StoreError> {
        let (letter, column) = period_columns(query.period);
        let columns = each_sum(str::to_owned);
        let sums = each_sum(|column| format!("CAST(sum({column}) AS BIGINT) AS {column}"));
        let folded = format!(
            "SELECT tenant, api_key, starts_at, {columns} FROM sandpiper_usage WHERE period = '{letter}' AND starts_at"
        );
        let added = format!(
            "SELECT tenant, api_key, {column}, {columns} FROM sandpiper_usage_added WHERE {column}"
        );
        let tenant = query.access.tenant().map(Tenant::as_str);
        let key = query.access.key().map(|key| key.to_string());
        let limit = i64::try_from(query.limit).unwrap_or(i64::MAX);
        let rows: Vec<(i64, Option<UsageSum>)> = on_pool!(&self.database.readers, pool => {
            let mut select = QueryBuilder::new(
                "SELECT (SELECT coalesce(max(sequence), 0) FROM sandpiper_usage_flushes WHERE node = ",
            );
            select.push_bind(&self.node).push(format!(
                "), u.* FROM (SELECT 1 AS one) o LEFT JOIN (SELECT tenant, api_key, starts_at, {sums} FROM ("
            ));
            for (rows, column, union) in [(&folded, "starts_at", ""), (&added, column, " UNION ALL ")] {
                select.push(union).push(rows).push(" >= ").push_bind(unix_millis(query.from));
                select.push(format!(" AND {column} < ")).push_bind(unix_millis(query.to));
                if let Some(tenant) = tenant {
                    select.push(" AND tenant = ").push_bind(tenant);
                }
                if let Some(key) = &key {
                    select.push(" AND api_key = ").push_bind(key);
                }
            }
            select.push(
                ") s GROUP BY tenant, api_key, starts_at) u ON true ORDER BY u.starts_at, u.tenant, u.api_key LIMIT ",
            );
            // One row more tells that there are more.
            select.push_bind(limit.saturating_add(1));
            let rows = select.build().fetch_all(pool).await?;
            let mut read = Vec::with_capacity(rows.len());
            for row in &rows {
                let tenant: Option<&str> = row.try_get(1)?;
                let sum = match tenant {
                    None => None,
                    Some(tenant) => Some(UsageSum {
                        start: timestamp(row.try_get(3)?),
                        owner: owner_from_text(tenant, row.try_get(2)?),
                        counts: counts_of(row, 4)?,
                    }),
                };
                read.push((row.try_get(0)?, sum));
            }
            read
        });
        Ok(RecordedUsage {
            sequence: sequence(rows.first().map(|(sequence, _)| *sequence)),
            sums: rows.into_iter().filter_map(|(_, sum)| sum).collect(),
        })
    }

    /// Returns what tenants have used in a day and in a month, and the number of the last batch of this node at that moment.
    pub(super) async fn totals(&self, query: &TotalsQuery) -> Result<RecordedTotals, StoreError> {
        type Row = (
            i64,
            Option<String>,
            Option<String>,
            Option<String>,
            Option<i64>,
            Option<i64>,
            Option<i64>,
            Option<i64>,
        );
        const CHARGED: &str = "executions_charged, cpu_micros, 0 AS reserved_ms, queued_bytes";
        if query.tenants.is_empty() {
            return Ok(RecordedTotals::default());
        }
        let other_nodes = self.nodes.count_others();
        let rows: Vec<Row> = on_pool!(&self.database.readers, pool => {
            let mut select = QueryBuilder::new("WITH wanted (tenant) AS (");
            select.push_values(&query.tenants, |mut row, tenant| {
                row.push_bind(tenant.as_str());
            });
            select
                .push(") SELECT (SELECT coalesce(max(sequence), 0) FROM sandpiper_usage_flushes WHERE node = ")
                .push_bind(&self.node)
                .push(
                    "), t.* FROM (SELECT 1 AS one) o LEFT JOIN (SELECT tenant, api_key, period, \
                     CAST(sum(executions_charged) AS BIGINT) AS executions, CAST(sum(cpu_micros) AS BIGINT) AS cpu_micros, \
                     CAST(sum(reserved_ms) AS BIGINT) AS reserved_ms, CAST(sum(queued_bytes) AS BIGINT) AS queued_bytes FROM (",
                );
            let periods = [(Period::Day, query.day), (Period::Month, query.month)];
            for (index, (period, start)) in periods.into_iter().enumerate() {
                let (letter, column) = period_columns(period);
                let union = if index == 0 { "" } else { " UNION ALL " };
                select
                    .push(format!(
                        "{union}SELECT tenant, api_key, period, {CHARGED} FROM sandpiper_usage \
                         WHERE tenant IN (SELECT tenant FROM wanted) AND period = '{letter}' AND starts_at = "
                    ))
                    .push_bind(unix_millis(start))
                    .push(format!(
                        " UNION ALL SELECT tenant, api_key, '{letter}' AS period, {CHARGED} FROM sandpiper_usage_added \
                         WHERE tenant IN (SELECT tenant FROM wanted) AND {column} = "
                    ))
                    .push_bind(unix_millis(start))
                    // A job takes its time in the period in which it ends, whichever that will be.
                    .push(format!(
                        " UNION ALL SELECT tenant, coalesce(api_key, ''), '{letter}', 0, 0, reserved_ms, 0 FROM sandpiper_jobs \
                         WHERE tenant IN (SELECT tenant FROM wanted) AND state = 'open' AND reserved_ms IS NOT NULL"
                    ));
            }
            select.push(") s GROUP BY tenant, api_key, period) t ON true");
            select.build_query_as().fetch_all(pool).await?
        });
        let sequence = sequence(rows.first().map(|row| row.0));
        let totals = rows.into_iter().filter_map(|row| {
            let (_, tenant, api_key, period, executions, cpu_micros, reserved_ms, queued_bytes) =
                row;
            let number = |number: Option<i64>| number.and_then(|number| u64::try_from(number).ok());
            Some(UsageTotal {
                owner: owner_from_text(&tenant?, api_key.as_deref()),
                period: match period?.as_str() {
                    "d" => Period::Day,
                    _ => Period::Month,
                },
                charged: ChargedUsage {
                    executions: number(executions).unwrap_or_default(),
                    cpu_micros: number(cpu_micros).unwrap_or_default(),
                    reserved_micros: number(reserved_ms)
                        .unwrap_or_default()
                        .saturating_mul(1_000),
                    queued_bytes: number(queued_bytes).unwrap_or_default(),
                },
            })
        });
        Ok(RecordedTotals {
            totals: totals.collect(),
            sequence,
            other_nodes,
        })
    }

    /// Returns the moment up to which sums are too old to be kept, milliseconds since 1970.
    pub(super) fn kept_until(&self, now: i64) -> i64 {
        now.saturating_sub(as_millis(self.kept))
    }

    /// Returns the moment up to which the last batches of nodes are forgotten, milliseconds since 1970.
    pub(super) fn sequences_kept_until(now: i64) -> i64 {
        now.saturating_sub(as_millis(SEQUENCE_REMEMBERED))
    }
}

fn sequence(stored: Option<i64>) -> u64 {
    let stored = stored.and_then(|sequence| u64::try_from(sequence).ok());
    stored.unwrap_or_default()
}
