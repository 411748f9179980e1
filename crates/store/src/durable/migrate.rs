//! The tables of Sandpiper beside River's, and their migrations.

use super::connect::OpenError;
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
const MIGRATIONS: [Migration; 9] = [
    Migration::of_both(include_str!("migrations/1.sql")),
    Migration::of_both(include_str!("migrations/2.sql")),
    Migration::of_both(include_str!("migrations/3.sql")),
    Migration {
        sqlite: include_str!("migrations/4.sqlite.sql"),
        postgres: include_str!("migrations/4.postgres.sql"),
    },
    Migration {
        sqlite: include_str!("migrations/5.sqlite.sql"),
        postgres: include_str!("migrations/5.postgres.sql"),
    },
    Migration::of_both(include_str!("migrations/6.sql")),
    Migration::of_both(include_str!("migrations/7.sql")),
    Migration::of_both(include_str!("migrations/8.sql")),
    Migration {
        sqlite: include_str!("migrations/9.sqlite.sql"),
        postgres: include_str!("migrations/9.postgres.sql"),
    },
];

/// Key of an advisory lock that no other program takes: "sandpipe" in ASCII.
const MIGRATION_LOCK: i64 = 0x7361_6e64_7069_7065;

/// Migrates River's tables and ours, on connections without deadlines: large tables take long.
pub(super) async fn migrate_postgres(pool: &PgPool) -> Result<(), OpenError> {
    // Several nodes may start at once: one of them migrates, and the others find the work done. The lock belongs to this
    // connection.
    let mut locked = pool.acquire().await?;
    sqlx::query("SELECT pg_advisory_lock($1)")
        .bind(MIGRATION_LOCK)
        .execute(&mut *locked)
        .await?;
    let river = PostgresMigrator::new(pool.clone()).migrate_up().await;
    let migrated = match river {
        Ok(_) => migrate(&Pool::Postgres(pool.clone())).await,
        Err(error) => Err(OpenError::Migration(error.to_string())),
    };
    // Closing the connection releases the lock, also after an error.
    let _ = locked.close().await;
    migrated
}

/// Creates our own tables, or applies the migrations that are missing, in one transaction.
pub(super) async fn migrate(pool: &Pool) -> Result<(), OpenError> {
    let migrated = apply_missing(pool).await;
    let found = migrated.map_err(|error| OpenError::Migration(error.to_string()))?;
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    if found > known {
        return Err(OpenError::Newer { found, known });
    }
    Ok(())
}

/// Applies the migrations that are missing, and returns the version that was found. Tables of a later version miss none.
async fn apply_missing(pool: &Pool) -> Result<i64, sqlx::Error> {
    let mut transaction = pool.begin().await?;
    let (found,): (i64,) = on_transaction!(&mut transaction, connection => {
        sqlx::query("CREATE TABLE IF NOT EXISTS sandpiper_migrations (version BIGINT PRIMARY KEY)")
            .execute(&mut **connection)
            .await?;
        sqlx::query_as("SELECT coalesce(max(version), 0) FROM sandpiper_migrations")
            .fetch_one(&mut **connection)
            .await?
    });
    for (version, migration) in (1_i64..).zip(MIGRATIONS) {
        if version > found {
            apply(&mut transaction, version, &migration).await?;
        }
    }
    transaction.commit().await?;
    Ok(found)
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
