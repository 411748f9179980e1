//! The creation of a key: `sandpiper-ingress key new`.

use super::{Missing, edit, no_randomness};
use crate::keys::file::Entry;
use crate::keys::{BudgetChange, Budgets, KeyFileError, KeyId, Presented, Scope, TenantName};
use crate::limits::Quota;
use crate::timestamp::Timestamp;
use std::path::Path;

#[derive(Debug, Clone)]
pub struct NewKey {
    /// The name of the key, for people.
    pub name: String,
    /// The tenant to which the key belongs; a tenant of its own when absent.
    pub tenant: Option<TenantName>,
    pub scopes: Vec<Scope>,
    /// The time from which on the key is not valid any more.
    pub expires: Option<Timestamp>,
    /// The quota for running code; that of clients without a key when absent.
    pub run_quota: Option<Quota>,
    /// The quota for all other requests; that of clients without a key when absent.
    pub read_quota: Option<Quota>,
    /// Maximum open requests; that of clients without a key when absent.
    pub requests_max: Option<u32>,
    pub budgets: Vec<BudgetChange>,
    /// A remark, for people.
    pub note: Option<String>,
}

/// Adds the hash of a new key to the file and returns the key itself, which is stored nowhere. Creates a missing file.
///
/// # Errors
///
/// The file cannot be locked, read or written.
pub fn create(path: &Path, new: NewKey) -> Result<String, KeyFileError> {
    edit(path, Missing::Create, |file, path| {
        let presented = KeyId::random().and_then(Presented::random);
        let presented = presented.map_err(no_randomness(path))?;
        let mut budgets = Budgets::default();
        for change in new.budgets {
            budgets.change(change);
        }
        let mut scopes = new.scopes;
        scopes.sort_unstable();
        scopes.dedup();
        file.keys.push(Entry {
            id: presented.id,
            name: new.name,
            tenant: new.tenant,
            sha256: presented.digest(),
            previous: None,
            scopes,
            expires: new.expires,
            run_quota: new.run_quota,
            read_quota: new.read_quota,
            requests_max: new.requests_max,
            budgets,
            note: new.note,
        });
        Ok(presented.to_text())
    })
}
