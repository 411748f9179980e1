//! The identity of a key, in the headers that the ingress sends to the service.

use super::file::{Entry, KeyFile};
use super::{Scope, TenantName};
use hyper::header::HeaderValue;

/// The values of the headers that tell the service about a key.
#[derive(Debug)]
pub(crate) struct Identity {
    /// The unit of fairness and of the store's quotas: `tenant:<name>`, or `key:<id>` for a key without a tenant.
    pub client: HeaderValue,
    /// The owner of jobs: the tenant's name, or `key:<id>`.
    pub tenant: HeaderValue,
    /// The id of the key.
    pub key: HeaderValue,
    /// The scopes of the key, separated by commas.
    pub scopes: HeaderValue,
    /// The budgets of the tenant and of the key, if there are any.
    pub budget: Option<HeaderValue>,
}

impl Identity {
    /// Returns the identity of a key of this file.
    pub(super) fn of(entry: &Entry, file: &KeyFile) -> Self {
        let id = entry.id.to_string();
        let owner = owner(entry);
        let client = match &entry.tenant {
            Some(tenant) => format!("tenant:{tenant}"),
            None => owner.clone(),
        };
        let mut scopes = entry.scopes.clone();
        scopes.sort_unstable();
        scopes.dedup();
        let scopes: Vec<&str> = scopes.into_iter().map(Scope::name).collect();
        let budget = budget(entry, file);
        Self {
            client: value(&client),
            tenant: value(&owner),
            key: value(&id),
            scopes: value(&scopes.join(",")),
            budget: (!budget.is_empty()).then(|| value(&budget)),
        }
    }
}

/// Returns the name of the tenant to which the key belongs: `key:<id>` if the file names none.
pub(super) fn owner(entry: &Entry) -> String {
    match &entry.tenant {
        Some(tenant) => tenant.to_string(),
        None => format!("key:{}", entry.id),
    }
}

fn budget(entry: &Entry, file: &KeyFile) -> String {
    let mut items = String::new();
    let of_tenant = |tenant: &TenantName| file.budgets_of(tenant);
    if let Some(budgets) = entry.tenant.as_ref().and_then(of_tenant) {
        budgets.append_to_header("tenant", &mut items);
    }
    entry.budgets.append_to_header("key", &mut items);
    items
}

fn value(text: &str) -> HeaderValue {
    match HeaderValue::from_str(text) {
        Ok(value) => value,
        Err(_) => unreachable!("names, ids, scopes and budgets are visible ASCII"),
    }
}
