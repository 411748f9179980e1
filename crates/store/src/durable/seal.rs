//! Sealing of the columns that have contents of jobs, where the operator has given data keys.

use super::connect::OpenError;
use super::pool::{Pool, on_pool};
use crate::StoreError;
use crate::data_keys::{DataKeys, Place, Unopened, key_of, prefix_of};
use crate::fingerprint::Fingerprint;
use sqlx::AssertSqlSafe;
use std::sync::Arc;

/// Text that each data key seals once, so that a wrong key is found out at start.
const CANARY: &str = "sandpiper";
/// Separates the id of a key from a blinded digest.
const SEPARATOR: char = ':';

/// A column that has contents of a job.
#[derive(Debug, Clone, Copy)]
pub(super) enum Column {
    Request,
    Execution,
    Log,
    Secret,
    /// Of the progress of a job with tools.
    Head,
    /// Of one committed round.
    Part,
    /// Of a call.
    Answer,
}

impl Column {
    fn name(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Execution => "execution",
            Self::Log => "log",
            Self::Secret => "secret",
            Self::Head => "head",
            Self::Part => "part",
            Self::Answer => "answer",
        }
    }
}

/// Seals and opens columns; without data keys the text is stored as it is.
#[derive(Debug, Clone, Default)]
pub(super) struct Seal(Option<Arc<DataKeys>>);

impl Seal {
    pub(super) fn new(keys: Option<Arc<DataKeys>>) -> Self {
        Self(keys)
    }

    pub(super) fn seal(&self, column: Column, row: &str, text: String) -> String {
        match &self.0 {
            None => text,
            Some(keys) => keys.seal(place(column, row), &text),
        }
    }

    /// Opens a sealed text. Rows from before the first data key are not sealed.
    pub(super) fn open(
        &self,
        column: Column,
        row: &str,
        text: String,
    ) -> Result<String, StoreError> {
        let Some(id) = key_of(&text) else {
            return Ok(text);
        };
        let opened = match &self.0 {
            None => Err(Unopened::UnknownKey(id.to_owned())),
            Some(keys) => keys.open(place(column, row), &text),
        };
        opened.map_err(|error| match error {
            // The key may come with the next start: no job is lost for it.
            Unopened::UnknownKey(_) => StoreError::Unavailable(error.to_string()),
            Unopened::Forged => StoreError::Unreadable(error.to_string()),
        })
    }

    /// Returns whether a stored text is in the form in which it would be stored now.
    pub(super) fn is_current(&self, text: &str) -> bool {
        let sealing = self.0.as_ref().and_then(|keys| keys.ids().next());
        key_of(text) == sealing
    }

    /// Returns the digests of a request as they are stored: blinded where there is a data key.
    pub(super) fn stored_digests(&self, fingerprint: &Fingerprint) -> (String, String) {
        let blinded = self.0.as_ref().and_then(|keys| {
            let id = keys.ids().next()?;
            let blinded = fingerprint.map(|digest| keys.blind(id, digest))?;
            let exact = format!("{id}{SEPARATOR}{}", blinded.exact());
            Some((exact, blinded.meaning()))
        });
        blinded.unwrap_or_else(|| (fingerprint.exact().to_owned(), fingerprint.meaning()))
    }

    /// Returns whether stored digests are those of a request.
    pub(super) fn is_same(
        &self,
        fingerprint: &Fingerprint,
        exact: &str,
        meaning: Option<&str>,
    ) -> bool {
        let Some((id, exact)) = exact.split_once(SEPARATOR) else {
            return fingerprint.is_stored_as(exact, meaning);
        };
        let keys = self.0.as_ref();
        let blinded = keys.and_then(|keys| fingerprint.map(|digest| keys.blind(id, digest)));
        blinded.is_some_and(|blinded| blinded.is_stored_as(exact, meaning))
    }

    /// Returns a digest as it is stored: blinded where there is a data key.
    pub(super) fn stored_digest(&self, digest: &str) -> String {
        let blinded = self.0.as_ref().and_then(|keys| {
            let id = keys.ids().next()?;
            Some(format!("{id}{SEPARATOR}{}", keys.blind(id, digest)?))
        });
        blinded.unwrap_or_else(|| digest.to_owned())
    }

    /// Returns whether a stored digest is this one.
    pub(super) fn is_same_digest(&self, stored: &str, digest: &str) -> bool {
        let Some((id, stored)) = stored.split_once(SEPARATOR) else {
            return stored == digest;
        };
        let blinded = self.0.as_ref().and_then(|keys| keys.blind(id, digest));
        blinded.is_some_and(|blinded| blinded == stored)
    }

    /// Checks that the data keys open every row, and records the one that seals from now on.
    pub(super) async fn check(&self, pool: &Pool) -> Result<(), OpenError> {
        let used: Vec<(String, String)> = on_pool!(pool, pool => {
            sqlx::query_as("SELECT id, canary FROM sandpiper_data_keys").fetch_all(pool).await?
        });
        for (id, canary) in &used {
            let place = Place {
                row: id,
                column: "canary",
            };
            let opened = match &self.0 {
                None => Err(Unopened::UnknownKey(id.clone())),
                Some(keys) => keys.open(place, canary),
            };
            match opened {
                Ok(_) => {}
                Err(Unopened::UnknownKey(_)) if !is_in_use(pool, id).await? => {
                    on_pool!(pool, pool => {
                        sqlx::query("DELETE FROM sandpiper_data_keys WHERE id = $1").bind(id).execute(pool).await?;
                    });
                }
                Err(Unopened::UnknownKey(_)) => {
                    return Err(OpenError::DataKeyMissing(id.clone()));
                }
                Err(Unopened::Forged) => return Err(OpenError::DataKeyWrong(id.clone())),
            }
        }
        let sealing = self
            .0
            .as_ref()
            .and_then(|keys| Some((keys, keys.ids().next()?)));
        if let Some((keys, id)) = sealing {
            let place = Place {
                row: id,
                column: "canary",
            };
            let canary = keys.seal(place, CANARY);
            on_pool!(pool, pool => {
                sqlx::query("INSERT INTO sandpiper_data_keys (id, canary) VALUES ($1, $2) ON CONFLICT DO NOTHING")
                    .bind(id)
                    .bind(canary)
                    .execute(pool)
                    .await?;
            });
        }
        Ok(())
    }
}

fn place(column: Column, row: &str) -> Place<'_> {
    Place {
        row,
        column: column.name(),
    }
}

/// Returns whether a row is sealed with this key. Reads all rows.
async fn is_in_use(pool: &Pool, id: &str) -> Result<bool, sqlx::Error> {
    let prefix = prefix_of(id);
    let length = prefix.len();
    for (table, column) in [
        ("sandpiper_jobs", "request"),
        ("sandpiper_jobs", "execution"),
        ("sandpiper_logs", "entries"),
        ("sandpiper_tool_jobs", "head"),
        ("sandpiper_rounds", "part"),
        ("sandpiper_calls", "answer"),
    ] {
        let select =
            format!("SELECT 1 FROM {table} WHERE substr({column}, 1, {length}) = $1 LIMIT 1");
        let found: Option<(i32,)> = on_pool!(pool, pool => {
            sqlx::query_as(AssertSqlSafe(select)).bind(&prefix).fetch_optional(pool).await?
        });
        if found.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}
