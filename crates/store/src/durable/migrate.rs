//! The tables of Sandpiper beside River's, and their migrations.

use super::pool::{Pool, Transaction, on_transaction};
use riverqueue::migrate::PostgresMigrator;
use sqlx::{AssertSqlSafe, PgPool};

/// A migration: SQL statements, separated by blank lines.
struct Migration {
    sqlite: &'static str,
    postgres: &'static str,
}

impl Migration {
    const fn of_both(text: &'static str) -> Self {
        Self {
            sqlite: text,
            postgres: text,
        }
    }

    fn statements(&self, transaction: &Transaction) -> impl Iterator<Item = &'static str> + use<> {
        let text = match transaction {
            Transaction::Sqlite(_) => self.sqlite,
            Transaction::Postgres(_) => self.postgres,
        };
        text.split("\n\n")
    }
}

/// All migrations, oldest first. A version is an index into this list, from 1. A released migration is never changed.
const MIGRATIONS: [Migration; 4] = [
    Migration::of_both(include_str!("migrations/1.sql")),
    Migration::of_both(include_str!("migrations/2.sql")),
    Migration::of_both(include_str!("migrations/3.sql")),
    Migration {
        sqlite: include_str!("migrations/4.sqlite.sql"),
        postgres: include_str!("migrations/4.postgres.sql"),
    },
];

/// Key of an advisory lock that no other program takes: "sandpipe" in ASCII.
const MIGRATION_LOCK: i64 = 0x7361_6e64_7069_7065;

#[derive(Debug)]
pub(super) enum MigrateError {
    Connection(sqlx::Error),
    Failed(String),
    Newer { found: i64, known: i64 },
}

impl From<sqlx::Error> for MigrateError {
    fn from(error: sqlx::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

/// Migrates River's tables and ours, on connections without deadlines: large tables take long.
pub(super) async fn migrate_postgres(pool: &PgPool) -> Result<(), MigrateError> {
    // Several nodes may start at once: one of them migrates, and the others find the work done. The lock belongs to this
    // connection.
    let connection = MigrateError::Connection;
    let mut locked = pool.acquire().await.map_err(connection)?;
    sqlx::query("SELECT pg_advisory_lock($1)")
        .bind(MIGRATION_LOCK)
        .execute(&mut *locked)
        .await
        .map_err(connection)?;
    let river = PostgresMigrator::new(pool.clone()).migrate_up().await;
    let migrated = match river {
        Ok(_) => migrate(&Pool::Postgres(pool.clone())).await,
        Err(error) => Err(MigrateError::Failed(error.to_string())),
    };
    // Closing the connection releases the lock, also after an error.
    let _ = locked.close().await;
    migrated
}

/// Creates our own tables, or applies the migrations that are missing, in one transaction.
pub(super) async fn migrate(pool: &Pool) -> Result<(), MigrateError> {
    let mut transaction = pool.begin().await?;
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    let (found,): (i64,) = on_transaction!(&mut transaction, connection => {
        sqlx::query("CREATE TABLE IF NOT EXISTS sandpiper_migrations (version BIGINT PRIMARY KEY)")
            .execute(&mut **connection)
            .await?;
        sqlx::query_as("SELECT coalesce(max(version), 0) FROM sandpiper_migrations")
            .fetch_one(&mut **connection)
            .await?
    });
    if found > known {
        return Err(MigrateError::Newer { found, known });
    }
    for (version, migration) in (1_i64..).zip(MIGRATIONS) {
        if version > found {
            apply(&mut transaction, version, &migration).await?;
        }
    }
    transaction.commit().await?;
    Ok(())
}

async fn apply(
    transaction: &mut Transaction,
    version: i64,
    migration: &Migration,
) -> Result<(), sqlx::Error> {
    for statement in migration.statements(transaction) {
        on_transaction!(transaction, connection => {
            sqlx::query(AssertSqlSafe(statement)).execute(&mut **connection).await?;
        });
    }
    on_transaction!(transaction, connection => {
        sqlx::query("INSERT INTO sandpiper_migrations (version) VALUES ($1)")
            .bind(version)
            .execute(&mut **connection)
            .await?;
    });
    Ok(())
}
