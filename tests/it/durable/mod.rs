//! Jobs in a database: each promise over SQLite, and over a Postgres that the test starts itself.

mod backup;
mod bytes;
mod crash;
mod deadlines;
mod encryption;
mod kinds;
mod life;
mod nodes;
mod outage;
mod river;
mod tenants;
mod terms;
mod trouble;
mod upgrade;
mod usage;

use crate::stores::{Folder, Postgres};
use crate::support::Service;
use serde_json::{Value, json};

/// A database that outlives the services on it.
enum Database {
    Sqlite(Folder),
    Postgres(Postgres),
}

impl Database {
    fn store(&self) -> String {
        match self {
            Self::Sqlite(folder) => format!("sqlite:{}", folder.text("deep/er/jobs.db")),
            Self::Postgres(postgres) => postgres.url(),
        }
    }

    /// Starts a service on the database, with additional options.
    fn serve(&self, options: &[&str]) -> Service {
        let store = self.store();
        Service::start_with(&[&["--store", &store], options].concat())
    }

    /// Puts the tables back to version 4, which knew no owners of jobs.
    fn downgrade_to_4(&self) {
        if matches!(self, Self::Postgres(_)) {
            self.change("DROP FUNCTION sandpiper_jobs_tenant CASCADE");
            self.change("DROP FUNCTION sandpiper_tools_gone, sandpiper_tool_bytes CASCADE");
        } else {
            self.change(
                "DROP TRIGGER sandpiper_tools_expired; DROP TRIGGER sandpiper_tools_deleted",
            );
        }
        self.change(
            "DROP TABLE sandpiper_tool_jobs; \
             DROP TABLE sandpiper_rounds; \
             DROP TABLE sandpiper_calls; \
             DROP INDEX sandpiper_jobs_reserved; \
             ALTER TABLE sandpiper_jobs DROP COLUMN reserved_ms; \
             DROP INDEX sandpiper_jobs_tenant; \
             DROP INDEX sandpiper_jobs_tenant_state; \
             ALTER TABLE sandpiper_jobs DROP COLUMN tenant; \
             ALTER TABLE sandpiper_jobs DROP COLUMN api_key; \
             DROP TABLE sandpiper_tenants; \
             DROP TABLE sandpiper_data_keys; \
             DROP TABLE sandpiper_secrets; \
             DROP TABLE sandpiper_usage; \
             DROP TABLE sandpiper_usage_added; \
             DROP TABLE sandpiper_usage_flushes; \
             DELETE FROM sandpiper_migrations WHERE version >= 5",
        );
    }

    /// Executes statements. No service may use a file of SQLite at the same time.
    fn change(&self, statements: &str) {
        match self {
            Self::Postgres(postgres) => drop(postgres.ask(statements).unwrap()),
            Self::Sqlite(folder) => {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .unwrap();
                runtime.block_on(async {
                    use sqlx::{ConnectOptions as _, Connection as _, Executor as _};
                    let options = sqlx::sqlite::SqliteConnectOptions::new()
                        .filename(folder.path("deep/er/jobs.db"));
                    let mut connection = options.connect().await.unwrap();
                    let statements = sqlx::AssertSqlSafe(statements.to_owned());
                    connection.execute(sqlx::raw_sql(statements)).await.unwrap();
                    connection.close().await.unwrap();
                });
            }
        }
    }
}

/// Checks `promise` over each kind of database.
fn over_each(promise: impl Fn(&Database)) {
    promise(&Database::Sqlite(Folder::new()));
    promise(&Database::Postgres(Postgres::start()));
}

/// Returns a job that runs until it is stopped.
fn endless() -> Value {
    json!({ "code": "for (;;);", "limits": { "timeoutMs": 30_000 } })
}

impl Service {
    fn job(&self, id: &str) -> Value {
        let answer = self.get(&format!("/api/jobs/{id}"));
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json()
    }

    fn state(&self, id: &str) -> String {
        self.job(id)["state"].as_str().unwrap().to_owned()
    }
}
