//! Secrets that all nodes of a database share.

use super::database::Database;
use super::pool::on_pool;
use super::seal::Column;
use crate::StoreError;
use tracing::warn;

/// Returns the secret of this name, and stores `new` if there is none. Nodes that start at the same time get the same.
///
/// A secret is encrypted with the data keys, if there are any. One that a former data key encrypts is encrypted anew, and
/// one that cannot be read any more is replaced: rows of jobs would have stopped the start if they still needed that key.
pub(super) async fn get_or_add(
    database: &Database,
    name: &'static str,
    new: String,
) -> Result<String, StoreError> {
    let stored = add_missing(database, name, &new).await?;
    let secret = match database.seal.open(Column::Secret, name, stored.clone()) {
        Ok(secret) if database.seal.is_current(&stored) => return Ok(secret),
        Ok(secret) => secret,
        Err(cause) => {
            warn!(
                %cause, name,
                "a secret in the database cannot be decrypted and is replaced: what was sealed with it can no longer be opened"
            );
            new
        }
    };
    replace(database, name, &stored, &secret).await?;
    // Another node may have replaced the secret first.
    let stored = read(database, name).await?;
    database.seal.open(Column::Secret, name, stored)
}

/// Stores a secret unless there is one, and returns the stored text.
async fn add_missing(
    database: &Database,
    name: &'static str,
    new: &str,
) -> Result<String, StoreError> {
    let sealed = database.seal.seal(Column::Secret, name, new.to_owned());
    on_pool!(&database.pool, pool => {
        sqlx::query("INSERT INTO sandpiper_secrets (name, secret) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING")
            .bind(name)
            .bind(sealed)
            .execute(pool)
            .await?;
    });
    read(database, name).await
}

/// Stores a secret in the place of `former`, a stored text.
async fn replace(
    database: &Database,
    name: &'static str,
    former: &str,
    secret: &str,
) -> Result<(), StoreError> {
    let sealed = database.seal.seal(Column::Secret, name, secret.to_owned());
    on_pool!(&database.pool, pool => {
        sqlx::query("UPDATE sandpiper_secrets SET secret = $1 WHERE name = $2 AND secret = $3")
            .bind(sealed)
            .bind(name)
            .bind(former)
            .execute(pool)
            .await?;
    });
    Ok(())
}

async fn read(database: &Database, name: &'static str) -> Result<String, StoreError> {
    let (stored,): (String,) = on_pool!(&database.pool, pool => {
        sqlx::query_as("SELECT secret FROM sandpiper_secrets WHERE name = $1")
            .bind(name)
            .fetch_one(pool)
            .await?
    });
    Ok(stored)
}
