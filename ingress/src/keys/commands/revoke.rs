//! The end of keys: `sandpiper-ingress key revoke`.

use super::{Missing, Subject, edit, unknown_id, unknown_tenant};
use crate::keys::{KeyFileError, KeyId};
use std::path::Path;

/// A revoked key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revoked {
    pub id: KeyId,
    /// The name of the key, for people.
    pub name: String,
}

/// Removes a key, or all keys of a tenant with the tenant's budgets. Requests with these keys are rejected, and open
/// ones end.
///
/// # Errors
///
/// The id or the tenant is unknown, or the file cannot be locked, read or written.
pub fn revoke(path: &Path, subject: &Subject) -> Result<Vec<Revoked>, KeyFileError> {
    edit(path, Missing::Refuse, |file, path| {
        let keys = file.keys.extract_if(.., |entry| match subject {
            Subject::Key(id) => entry.id == *id,
            Subject::Tenant(name) => entry.tenant.as_ref() == Some(name),
        });
        let revoked: Vec<_> = keys
            .map(|entry| Revoked {
                id: entry.id,
                name: entry.name,
            })
            .collect();
        match subject {
            Subject::Key(id) if revoked.is_empty() => return Err(unknown_id(path, *id)),
            Subject::Key(_) => {}
            Subject::Tenant(name) => {
                let tenants = file.tenants.len();
                file.tenants.retain(|entry| entry.name != *name);
                if revoked.is_empty() && file.tenants.len() == tenants {
                    return Err(unknown_tenant(path, name));
                }
            }
        }
        Ok(revoked)
    })
}
