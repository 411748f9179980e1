//! Our own tables, and how they came to be.

use super::database::{Database, OpenError, in_transaction};
use riverqueue::migrate::PostgresMigrator;
use sqlx::{AssertSqlSafe, PgPool};

/// Brings the tables up to date, on connections without deadlines: what is there may be much.
pub(super) async fn migrate_postgres(pool: &PgPool) -> Result<(), OpenError> {
    // Several nodes may start at once: one of them migrates, and the others find it done. The lock is this connection's.
    let mut locked = pool.acquire().await?;
    sqlx::query("SELECT pg_advisory_lock($1)")
        .bind(MIGRATION_LOCK)
        .execute(&mut *locked)
        .await?;
    let river = PostgresMigrator::new(pool.clone()).migrate_up().await;
    let migrated = match river {
        Ok(_) => migrate(&Database::Postgres(pool.clone())).await,
        Err(error) => Err(OpenError::Migration(error.to_string())),
    };
    // Closed, so that the lock is gone whatever became of it.
    let _ = locked.close().await;
    migrated
}

/// A step of our own tables: its statements, which blank lines part.
struct Migration {
    sqlite: &'static str,
    postgres: &'static str,
}

impl Migration {
    /// One that is the same for both.
    const fn of_both(text: &'static str) -> Self {
        Self {
            sqlite: text,
            postgres: text,
        }
    }

    fn statements(&self, database: &Database) -> impl Iterator<Item = &'static str> + use<> {
        let text = match database {
            Database::Sqlite(_) => self.sqlite,
            Database::Postgres(_) => self.postgres,
        };
        text.split("\n\n")
    }
}

/// Our own tables, in the order that they came to be; a version is its place here, from 1. What was released is never
/// changed.
const MIGRATIONS: [Migration; 4] = [
    Migration::of_both(include_str!("migrations/1.sql")),
    Migration::of_both(include_str!("migrations/2.sql")),
    Migration::of_both(include_str!("migrations/3.sql")),
    Migration {
        sqlite: include_str!("migrations/4.sqlite.sql"),
        postgres: include_str!("migrations/4.postgres.sql"),
    },
];

/// A number that nobody else locks: "sandpipe" in ASCII.
const MIGRATION_LOCK: i64 = 0x7361_6e64_7069_7065;

pub(super) async fn migrate(database: &Database) -> Result<(), OpenError> {
    let failed = |error: sqlx::Error| OpenError::Migration(error.to_string());
    migrate_in_transaction(database)
        .await
        .map_err(|error| match error {
            Migrate::Database(error) => failed(error),
            Migrate::Newer { found, known } => OpenError::Newer { found, known },
        })
}

enum Migrate {
    Database(sqlx::Error),
    Newer { found: i64, known: i64 },
}

impl From<sqlx::Error> for Migrate {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

async fn migrate_in_transaction(database: &Database) -> Result<(), Migrate> {
    in_transaction!(database, transaction => {
        sqlx::query("CREATE TABLE IF NOT EXISTS sandpiper_migrations (version BIGINT PRIMARY KEY)")
            .execute(&mut *transaction)
            .await?;
        let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
        let (found,): (i64,) = sqlx::query_as("SELECT coalesce(max(version), 0) FROM sandpiper_migrations")
            .fetch_one(&mut *transaction)
            .await?;
        if found > known {
            return Err(Migrate::Newer { found, known });
        }
        for (version, migration) in (1_i64..).zip(MIGRATIONS) {
            if version <= found {
                continue;
            }
            for statement in migration.statements(database) {
                sqlx::query(AssertSqlSafe(statement)).execute(&mut *transaction).await?;
            }
            sqlx::query("INSERT INTO sandpiper_migrations (version) VALUES ($1)")
                .bind(version)
                .execute(&mut *transaction)
                .await?;
        }
    });
    Ok(())
}
