//! The keys file: JSON, with a hash of each secret and no secret.

use super::storage::{self, Writer};
use super::{Budgets, KeyFileError, KeyId, Scope, TenantName, text};
use crate::hex::Digest;
use crate::limits::Quota;
use crate::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::path::Path;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyFile {
    pub(super) keys: Vec<Entry>,
    /// The budgets of tenants. A tenant without an entry has none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) tenants: Vec<TenantEntry>,
}

/// One key. An absent quota or maximum is that of a client without a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Entry {
    #[serde(serialize_with = "text::write", deserialize_with = "text::read")]
    pub(super) id: KeyId,
    /// The name of the key, for people.
    pub(super) name: String,
    /// The tenant to which the key belongs. A key without one is a tenant of its own.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "text::write_some",
        deserialize_with = "text::read_some"
    )]
    pub(super) tenant: Option<TenantName>,
    #[serde(
        serialize_with = "text::write_digest",
        deserialize_with = "text::read_digest"
    )]
    pub(super) sha256: Digest,
    /// The secret before the last rotation, if it stays valid for a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) previous: Option<PreviousSecret>,
    pub(super) scopes: Vec<Scope>,
    /// The time from which on the key is not valid any more.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "text::write_some",
        deserialize_with = "text::read_some"
    )]
    pub(super) expires: Option<Timestamp>,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "text::write_some",
        deserialize_with = "text::read_some"
    )]
    pub(super) run_quota: Option<Quota>,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "text::write_some",
        deserialize_with = "text::read_some"
    )]
    pub(super) read_quota: Option<Quota>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) requests_max: Option<u32>,
    #[serde(default, skip_serializing_if = "Budgets::is_empty")]
    pub(super) budgets: Budgets,
    /// A remark, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) note: Option<String>,
}

/// A replaced secret of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PreviousSecret {
    #[serde(
        serialize_with = "text::write_digest",
        deserialize_with = "text::read_digest"
    )]
    pub(super) sha256: Digest,
    /// The time from which on the secret is not valid any more.
    #[serde(serialize_with = "text::write", deserialize_with = "text::read")]
    pub(super) until: Timestamp,
}

/// The budgets of all keys of one tenant together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TenantEntry {
    #[serde(serialize_with = "text::write", deserialize_with = "text::read")]
    pub(super) name: TenantName,
    #[serde(default, skip_serializing_if = "Budgets::is_empty")]
    pub(super) budgets: Budgets,
}

impl KeyFile {
    pub(super) fn entry_mut(&mut self, id: KeyId) -> Option<&mut Entry> {
        self.keys.iter_mut().find(|entry| entry.id == id)
    }

    /// Returns the budgets of a tenant, if it has any.
    pub(super) fn budgets_of(&self, tenant: &TenantName) -> Option<&Budgets> {
        let mut tenants = self.tenants.iter();
        let tenant = tenants.find(|entry| entry.name == *tenant)?;
        (!tenant.budgets.is_empty()).then_some(&tenant.budgets)
    }
}

/// Reads the keys file.
///
/// # Errors
///
/// The file cannot be read, has another structure, is too long, or can be changed by other users than its owner.
pub fn load(path: &Path) -> Result<KeyFile, KeyFileError> {
    let bytes = storage::read(path, Writer::Owner)?;
    let file: KeyFile =
        serde_json::from_slice(&bytes).map_err(|cause| KeyFileError::Malformed {
            path: path.to_owned(),
            cause,
        })?;
    let mut known = HashSet::new();
    if let Some(entry) = file.keys.iter().find(|entry| !known.insert(entry.id)) {
        return Err(KeyFileError::DuplicateId {
            path: path.to_owned(),
            id: entry.id,
        });
    }
    let mut known = HashSet::new();
    if let Some(entry) = (file.tenants.iter()).find(|entry| !known.insert(&entry.name)) {
        return Err(KeyFileError::DuplicateTenant {
            path: path.to_owned(),
            name: entry.name.clone(),
        });
    }
    Ok(file)
}

/// Replaces the keys file atomically.
pub(super) fn store(path: &Path, file: &KeyFile) -> Result<(), KeyFileError> {
    let mut text = serde_json::to_vec_pretty(file).map_err(|cause| KeyFileError::Malformed {
        path: path.to_owned(),
        cause,
    })?;
    text.push(b'\n');
    storage::replace(path, &text)
}
