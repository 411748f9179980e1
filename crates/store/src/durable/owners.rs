//! Changes of the owners of jobs.

use super::database::Database;
use super::pool::{on_pool, on_transaction};
use crate::StoreError;
use sandpiper_domain::{ApiKeyId, Tenant};
use sqlx::QueryBuilder;

/// Jobs of one transaction: other writers wait no longer than one transaction takes.
const BATCH: u32 = 500;

#[derive(Debug)]
pub(super) struct Owners {
    pub(super) database: Database,
}

impl Owners {
    /// Gives the jobs of the tenant `from` that `key` submitted to the tenant `to`, in small batches.
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
                return Ok(assigned);
            };
            after.clone_from(last);
            assigned += self.assign_batch(&ids, to).await?;
        }
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
