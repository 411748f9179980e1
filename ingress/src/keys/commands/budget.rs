//! The budgets of a key or a tenant: `sandpiper-ingress key budget`.

use super::{Missing, Subject, edit, unknown_id, unknown_tenant};
use crate::keys::file::{KeyFile, TenantEntry};
use crate::keys::{BudgetChange, Budgets, KeyFileError, TenantName};
use std::path::Path;

/// Changes the budgets of a key or a tenant and returns all of them.
///
/// # Errors
///
/// The id or the tenant is unknown, or the file cannot be locked, read or written.
pub fn change_budgets(
    path: &Path,
    subject: &Subject,
    changes: &[BudgetChange],
) -> Result<Budgets, KeyFileError> {
    edit(path, Missing::Refuse, |file, path| {
        let budgets = match subject {
            Subject::Key(id) => {
                let entry = file.entry_mut(*id).ok_or_else(|| unknown_id(path, *id))?;
                &mut entry.budgets
            }
            Subject::Tenant(name) => {
                tenant_budgets(file, name).ok_or_else(|| unknown_tenant(path, name))?
            }
        };
        for change in changes {
            budgets.change(*change);
        }
        let budgets = budgets.clone();
        file.tenants.retain(|tenant| !tenant.budgets.is_empty());
        Ok(budgets)
    })
}

/// Returns the budgets of a tenant, which are new if it has none yet; `None` if no key has the tenant.
fn tenant_budgets<'f>(file: &'f mut KeyFile, name: &TenantName) -> Option<&'f mut Budgets> {
    let at = file.tenants.iter().position(|tenant| tenant.name == *name);
    let at = match at {
        Some(at) => at,
        None => {
            let mut keys = file.keys.iter();
            keys.find(|entry| entry.tenant.as_ref() == Some(name))?;
            file.tenants.push(TenantEntry {
                name: name.clone(),
                budgets: Budgets::default(),
            });
            file.tenants.len() - 1
        }
    };
    file.tenants.get_mut(at).map(|tenant| &mut tenant.budgets)
}
