//! The move of a key to another tenant: `sandpiper-ingress key assign`.

use super::{Missing, edit, unknown_id};
use crate::keys::identity::owner;
use crate::keys::{KeyFileError, KeyId, TenantName};
use std::path::Path;

/// Moves a key to a tenant. Its open requests end. Returns the tenant to which the key belonged: a name, or `key:<id>`.
///
/// # Errors
///
/// The id is unknown, or the file cannot be locked, read or written.
pub fn assign(path: &Path, id: KeyId, tenant: &TenantName) -> Result<String, KeyFileError> {
    edit(path, Missing::Refuse, |file, path| {
        let entry = file.entry_mut(id).ok_or_else(|| unknown_id(path, id))?;
        let from = owner(entry);
        entry.tenant = Some(tenant.clone());
        Ok(from)
    })
}
