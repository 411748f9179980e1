//! Changes of the sums of usage: added rows are folded into them, and a key or a tenant may leave.

use super::database::Database;
use super::pool::{Pool, Transaction, on_pool, on_transaction};
use super::usage_columns::each_sum;
use crate::StoreError;
use sandpiper_domain::{ApiKeyId, Tenant};
use sqlx::{AssertSqlSafe, PgPool, SqlitePool};
use std::sync::LazyLock;

/// Rows of one statement: other writers wait no longer than it takes.
const FOLDED_AT_A_TIME: i64 = 5_000;
/// Most statements of one fold.
const FOLDS_MAX: usize = 20;
/// Key of an advisory lock that no other program takes: "sandusag" in ASCII.
const FOLD_LOCK: i64 = 0x7361_6e64_7573_6167;

/// Adds a row to the sum of its owner and period.
static ADD_TO_SUM: LazyLock<String> = LazyLock::new(|| {
    let sums =
        each_sum(|column| format!("{column} = sandpiper_usage.{column} + excluded.{column}"));
    format!("ON CONFLICT (tenant, period, starts_at, api_key) DO UPDATE SET {sums}")
});

/// Returns an INSERT that adds the rows of `added` to the sums.
fn add_rows_of(added: &str) -> String {
    let columns = each_sum(str::to_owned);
    let sums = each_sum(|column| format!("sum(a.{column})"));
    let add_to_sum = &*ADD_TO_SUM;
    format!(
        "INSERT INTO sandpiper_usage (tenant, api_key, period, starts_at, {columns}) \
         SELECT a.tenant, a.api_key, p.period, \
             CASE p.period WHEN 'h' THEN a.hour_at WHEN 'd' THEN a.day_at ELSE a.month_at END, {sums} \
         FROM {added} a CROSS JOIN (SELECT 'h' AS period UNION ALL SELECT 'd' UNION ALL SELECT 'm') p \
         WHERE true GROUP BY 1, 2, 3, 4 {add_to_sum}"
    )
}

/// Folds the added rows into the sums.
pub(super) async fn fold(database: &Database) -> Result<(), StoreError> {
    let (has_rows,): (bool,) = on_pool!(&database.readers, pool => {
        sqlx::query_as("SELECT EXISTS (SELECT 1 FROM sandpiper_usage_added)")
            .fetch_one(pool)
            .await?
    });
    if !has_rows {
        return Ok(());
    }
    match &database.pool {
        Pool::Sqlite(pool) => fold_sqlite(pool).await?,
        Pool::Postgres(pool) => {
            for _ in 0..FOLDS_MAX {
                if fold_postgres(pool).await? < FOLDED_AT_A_TIME {
                    break;
                }
            }
        }
    }
    Ok(())
}

/// Folds all rows. No other program writes meanwhile.
async fn fold_sqlite(pool: &SqlitePool) -> Result<(), sqlx::Error> {
    let mut transaction = riverqueue::database::begin_sqlite_write(pool).await?;
    sqlx::query(AssertSqlSafe(add_rows_of("sandpiper_usage_added")))
        .execute(&mut *transaction)
        .await?;
    sqlx::query("DELETE FROM sandpiper_usage_added")
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await
}

/// Folds rows that have been committed, and returns how many there were.
async fn fold_postgres(pool: &PgPool) -> Result<i64, sqlx::Error> {
    let mut transaction = riverqueue::database::begin_postgres(pool).await?;
    // Two folds at a time would wait for each other.
    let (is_alone,): (bool,) = sqlx::query_as("SELECT pg_try_advisory_xact_lock($1)")
        .bind(FOLD_LOCK)
        .fetch_one(&mut *transaction)
        .await?;
    let folded = if is_alone {
        let statement = format!(
            "WITH gone AS (DELETE FROM sandpiper_usage_added \
                 WHERE ctid = ANY (ARRAY (SELECT ctid FROM sandpiper_usage_added LIMIT $1)) RETURNING *), \
             folded AS ({}) SELECT count(*) FROM gone",
            add_rows_of("gone")
        );
        let (folded,): (i64,) = sqlx::query_as(AssertSqlSafe(statement))
            .bind(FOLDED_AT_A_TIME)
            .fetch_one(&mut *transaction)
            .await?;
        folded
    } else {
        0
    };
    transaction.commit().await?;
    Ok(folded)
}

/// Gives the usage of `key` as a key of the tenant `from` to the tenant `to`. Usage that a node has not written yet stays.
pub(super) async fn assign(
    transaction: &mut Transaction,
    key: ApiKeyId,
    from: &Tenant,
    to: &Tenant,
) -> Result<(), sqlx::Error> {
    const OF_KEY: &str = "WHERE tenant = $1 AND api_key = $2";
    if from == to {
        return Ok(());
    }
    let key = key.to_string();
    on_transaction!(&mut *transaction, connection => {
        let added = format!("UPDATE sandpiper_usage_added SET tenant = $3 {OF_KEY}");
        sqlx::query(AssertSqlSafe(added))
            .bind(from.as_str())
            .bind(&key)
            .bind(to.as_str())
            .execute(&mut **connection)
            .await?;
    });
    let (columns, add_to_sum) = (each_sum(str::to_owned), &*ADD_TO_SUM);
    let insert = format!(
        "INSERT INTO sandpiper_usage (tenant, api_key, period, starts_at, {columns}) \
         SELECT $3, api_key, period, starts_at, {columns} FROM"
    );
    let delete = format!("DELETE FROM sandpiper_usage {OF_KEY}");
    let moved = match transaction {
        Transaction::Sqlite(_) => format!("{insert} sandpiper_usage {OF_KEY} {add_to_sum}"),
        // In one statement, so that no row that another node folds in between is deleted.
        Transaction::Postgres(_) => {
            format!("WITH gone AS ({delete} RETURNING *) {insert} gone WHERE true {add_to_sum}")
        }
    };
    on_transaction!(&mut *transaction, connection => {
        sqlx::query(AssertSqlSafe(moved))
            .bind(from.as_str())
            .bind(&key)
            .bind(to.as_str())
            .execute(&mut **connection)
            .await?;
        sqlx::query(AssertSqlSafe(delete))
            .bind(from.as_str())
            .bind(&key)
            .execute(&mut **connection)
            .await?;
    });
    Ok(())
}

/// Deletes the usage of a tenant.
pub(super) async fn purge(database: &Database, tenant: &Tenant) -> Result<(), StoreError> {
    let mut transaction = database.pool.begin().await?;
    on_transaction!(&mut transaction, connection => {
        for statement in [
            "DELETE FROM sandpiper_usage_added WHERE tenant = $1",
            "DELETE FROM sandpiper_usage WHERE tenant = $1",
        ] {
            sqlx::query(statement)
                .bind(tenant.as_str())
                .execute(&mut **connection)
                .await?;
        }
    });
    transaction.commit().await?;
    Ok(())
}

/// Deletes the usage that nodes wrote after its tenant was purged.
pub(super) async fn purge_late(database: &Database) -> Result<(), StoreError> {
    on_pool!(&database.pool, pool => {
        sqlx::query(
            "DELETE FROM sandpiper_usage WHERE tenant IN (SELECT tenant FROM sandpiper_tenants)",
        )
        .execute(pool)
        .await?;
    });
    Ok(())
}
