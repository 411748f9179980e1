//! Changes of the owners of jobs, and the deletion of all that is stored about jobs.

use super::database::Database;
use super::deleted_bytes::DeletedBytes;
use super::numbers::unix_millis;
use super::pool::{on_pool, on_transaction};
use super::usage_fold;
use crate::StoreError;
use sandpiper_domain::{ApiKeyId, JobId, Tenant, Timestamp};
use sqlx::{AssertSqlSafe, QueryBuilder};
use std::collections::HashSet;
use std::sync::Arc;

/// Jobs of one transaction: other writers wait no longer than one transaction takes.
const BATCH: u32 = 500;

#[derive(Debug, Clone)]
pub(super) struct Owners {
    pub(super) database: Database,
    pub(super) deleted_bytes: Arc<DeletedBytes>,
}

impl Owners {
    /// Gives the jobs of the tenant `from` that `key` submitted to the tenant `to`, in small batches; then its usage.
    pub(super) async fn assign(
        &self,
        key: ApiKeyId,
        from: &Tenant,
        to: &Tenant,
    ) -> Result<u64, StoreError> {
        let mut assigned = 0;
        let mut after = String::new();
        loop {
            let ids = self.ids_of(key, from, &after).await?;
            let Some(last) = ids.last() else {
                break;
            };
            after.clone_from(last);
            assigned += self.assign_batch(&ids, to).await?;
        }
        let mut transaction = self.database.pool.begin().await?;
        usage_fold::assign(&mut transaction, key, from, to).await?;
        transaction.commit().await?;
        Ok(assigned)
    }

    /// Deletes the rows of a job that is not open.
    pub(super) async fn purge(&self, id: JobId) -> Result<(), StoreError> {
        self.purge_batch(&[id.to_string()]).await?;
        self.forget_pages().await
    }

    /// Deletes the rows of a tenant's jobs that are not open, in small batches; then the tenant's usage.
    pub(super) async fn purge_tenant(&self, tenant: &Tenant) -> Result<u64, StoreError> {
        let mut purged = 0;
        loop {
            let rows: Vec<(String,)> = on_pool!(&self.database.readers, pool => {
                sqlx::query_as(
                    "SELECT id FROM sandpiper_jobs WHERE tenant = $1 AND state <> 'open' ORDER BY id LIMIT $2",
                )
                .bind(tenant.as_str())
                .bind(i64::from(BATCH))
                .fetch_all(pool)
                .await?
            });
            if rows.is_empty() {
                break;
            }
            let ids: Vec<String> = rows.into_iter().map(|(id,)| id).collect();
            purged += self.purge_batch(&ids).await?;
        }
        usage_fold::purge(&self.database, tenant).await?;
        self.forget_pages().await?;
        Ok(purged)
    }

    async fn purge_batch(&self, ids: &[String]) -> Result<u64, StoreError> {
        let mut transaction = self.database.pool.begin().await?;
        let purged = on_transaction!(&mut transaction, connection => {
            for rows in [
                "sandpiper_keys WHERE job_id IN (",
                "sandpiper_logs WHERE job_id IN (",
                "river_job WHERE id IN (SELECT river_id FROM sandpiper_jobs WHERE state <> 'open' AND id IN (",
            ] {
                let mut delete = QueryBuilder::new("DELETE FROM ");
                delete.push(rows);
                push_ids(&mut delete, ids);
                if rows.contains("SELECT") {
                    delete.push(")");
                }
                delete.build().execute(&mut **connection).await?;
            }
            let mut delete = QueryBuilder::new("DELETE FROM sandpiper_jobs WHERE state <> 'open' AND id IN (");
            push_ids(&mut delete, ids);
            delete.build().execute(&mut **connection).await?.rows_affected()
        });
        transaction.commit().await?;
        Ok(purged)
    }

    async fn forget_pages(&self) -> Result<(), StoreError> {
        let now = unix_millis(Timestamp::now());
        self.deleted_bytes.empty_log(now).await
    }

    pub(super) async fn set_purged(
        &self,
        tenant: &Tenant,
        is_purged: bool,
    ) -> Result<(), StoreError> {
        // The clock of the database: those of nodes may differ.
        let now = self.database.pool.now();
        let statement = if is_purged {
            format!(
                "INSERT INTO sandpiper_tenants (tenant, purged_at) VALUES ($1, {now}) \
                 ON CONFLICT (tenant) DO UPDATE SET purged_at = excluded.purged_at"
            )
        } else {
            // Whatever its time: a node of an earlier version writes the time of its own clock.
            "DELETE FROM sandpiper_tenants WHERE tenant = $1".to_owned()
        };
        on_pool!(&self.database.pool, pool => {
            sqlx::query(AssertSqlSafe(statement))
                .bind(tenant.as_str())
                .execute(pool)
                .await?;
        });
        Ok(())
    }

    /// Returns whether there is a job or usage of a tenant, or its purge.
    pub(super) async fn knows_tenant(&self, tenant: &Tenant) -> Result<bool, StoreError> {
        let (known,): (bool,) = on_pool!(&self.database.readers, pool => {
            sqlx::query_as(
                "SELECT EXISTS (SELECT 1 FROM sandpiper_jobs WHERE tenant = $1) \
                 OR EXISTS (SELECT 1 FROM sandpiper_usage WHERE tenant = $1) \
                 OR EXISTS (SELECT 1 FROM sandpiper_usage_added WHERE tenant = $1) \
                 OR EXISTS (SELECT 1 FROM sandpiper_tenants WHERE tenant = $1)",
            )
            .bind(tenant.as_str())
            .fetch_one(pool)
            .await?
        });
        Ok(known)
    }

    pub(super) async fn purged_tenants(&self) -> Result<HashSet<Tenant>, StoreError> {
        let rows: Vec<(String,)> = on_pool!(&self.database.readers, pool => {
            sqlx::query_as("SELECT tenant FROM sandpiper_tenants").fetch_all(pool).await?
        });
        Ok(rows
            .iter()
            .map(|(tenant,)| Tenant::stored(tenant))
            .collect())
    }

    async fn ids_of(
        &self,
        key: ApiKeyId,
        tenant: &Tenant,
        after: &str,
    ) -> Result<Vec<String>, StoreError> {
        let rows: Vec<(String,)> = on_pool!(&self.database.readers, pool => {
            sqlx::query_as(
                "SELECT id FROM sandpiper_jobs WHERE tenant = $1 AND api_key = $2 AND id > $3 ORDER BY id LIMIT $4",
            )
            .bind(tenant.as_str())
            .bind(key.to_string())
            .bind(after)
            .bind(i64::from(BATCH))
            .fetch_all(pool)
            .await?
        });
        Ok(rows.into_iter().map(|(id,)| id).collect())
    }

    async fn assign_batch(&self, ids: &[String], to: &Tenant) -> Result<u64, StoreError> {
        let client = to.client();
        let client = client.as_ref().map(|client| client.as_str());
        let mut transaction = self.database.pool.begin().await?;
        let changed = on_transaction!(&mut transaction, connection => {
            let mut update = QueryBuilder::new("UPDATE sandpiper_jobs SET tenant = ");
            update.push_bind(to.as_str()).push(", client = coalesce(");
            update.push_bind(client).push(", client) WHERE id IN (");
            push_ids(&mut update, ids);
            let changed = update.build().execute(&mut **connection).await?.rows_affected();
            let mut update = QueryBuilder::new("UPDATE sandpiper_tool_jobs SET tenant = ");
            update.push_bind(to.as_str()).push(", client = coalesce(");
            update.push_bind(client).push(", client) WHERE job_id IN (");
            push_ids(&mut update, ids);
            update.build().execute(&mut **connection).await?;
            // The client may have used the same idempotency key itself.
            let mut update = QueryBuilder::new("UPDATE sandpiper_keys SET client = ");
            update.push_bind(client).push(" WHERE NOT EXISTS (SELECT 1 FROM sandpiper_keys k WHERE k.client = ");
            update.push_bind(client).push(" AND k.idempotency_key = sandpiper_keys.idempotency_key) AND job_id IN (");
            push_ids(&mut update, ids);
            if client.is_some() {
                update.build().execute(&mut **connection).await?;
            }
            changed
        });
        transaction.commit().await?;
        Ok(changed)
    }
}

/// Appends the ids and a closing parenthesis.
fn push_ids<'a, DB: sqlx::Database>(query: &mut QueryBuilder<DB>, ids: &'a [String])
where
    &'a str: sqlx::Encode<'a, DB> + sqlx::Type<DB>,
{
    let mut list = query.separated(", ");
    for id in ids {
        list.push_bind(id.as_str());
    }
    query.push(")");
}
