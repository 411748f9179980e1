//! The move of a key to another tenant: `sandpiper-ingress key assign`.

use super::{Missing, edit, unknown_id};
use crate::keys::identity::owner;
use crate::keys::{KeyFileError, KeyId, TenantName};
use std::path::Path;

/// A key that was moved.
#[derive(Debug)]
pub struct Assigned {
    /// The tenant to which the key belonged: a name, or `key:<id>`.
    pub from: String,
    /// The other keys that still belong to that tenant.
    pub others: usize,
}

/// Moves a key to a tenant. Its open requests end. Jobs that are stored stay with their tenant.
///
/// # Errors
///
/// The id is unknown, or the file cannot be locked, read or written.
pub fn assign(path: &Path, id: KeyId, tenant: &TenantName) -> Result<Assigned, KeyFileError> {
    edit(path, Missing::Refuse, |file, path| {
        let entry = file.entry_mut(id).ok_or_else(|| unknown_id(path, id))?;
        let from = owner(entry);
        entry.tenant = Some(tenant.clone());
        let is_left = |name: &str| name == from;
        let others = file.keys.iter().filter(|entry| is_left(&owner(entry)));
        Ok(Assigned {
            others: others.filter(|entry| entry.id != id).count(),
            from,
        })
    })
}
