//! The keys of the file, for people and programs: `sandpiper-ingress key list` and `key show`.

use super::table::table;
use super::unknown_id;
use crate::keys::file::{Entry, KeyFile, load};
use crate::keys::identity::owner;
use crate::keys::uses::{Uses, UsesFile};
use crate::keys::{Budgets, KeyFileError, KeyId, Scope, TenantName};
use crate::timestamp::Timestamp;
use serde::Serialize;
use std::path::Path;

/// The public facts about a key. Neither the secret nor its hash is among them.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyView {
    id: String,
    name: String,
    /// The name of the tenant, `key:<id>` if the file names none.
    tenant: String,
    scopes: Vec<Scope>,
    expires: Option<String>,
    expired: bool,
    /// The last use that an ingress has written, if there is any.
    last_used: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    previous_secret_until: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    run_quota: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    read_quota: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    requests_max: Option<u32>,
    #[serde(skip_serializing_if = "Budgets::is_empty")]
    budgets: Budgets,
    #[serde(skip_serializing_if = "Budgets::is_empty")]
    tenant_budgets: Budgets,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct TenantView {
    name: String,
    keys: usize,
    #[serde(skip_serializing_if = "Budgets::is_empty")]
    budgets: Budgets,
}

/// The keys and the tenants of a file.
#[derive(Debug, Serialize)]
pub struct KeyList {
    keys: Vec<KeyView>,
    /// The tenants that the file names.
    tenants: Vec<TenantView>,
}

/// Reads the keys of the file, and the times of their last use if `uses` can be read.
///
/// # Errors
///
/// The keys file cannot be read. The second result is the reason for which the last uses cannot be read.
pub fn list(
    path: &Path,
    uses_file: Option<&Path>,
) -> Result<(KeyList, Option<KeyFileError>), KeyFileError> {
    let file = load(path)?;
    let (uses, failure) = uses_of(path, uses_file);
    let keys = file.keys.iter();
    let keys: Vec<_> = keys.map(|entry| KeyView::of(entry, &file, &uses)).collect();
    let tenants = tenants(&file);
    Ok((KeyList { keys, tenants }, failure))
}

/// Reads one key of the file.
///
/// # Errors
///
/// The id is unknown, or the file cannot be read. The second result is as for [`list`].
pub fn show(
    path: &Path,
    uses_file: Option<&Path>,
    id: KeyId,
) -> Result<(KeyView, Option<KeyFileError>), KeyFileError> {
    let file = load(path)?;
    let (uses, failure) = uses_of(path, uses_file);
    let entry = file.keys.iter().find(|entry| entry.id == id);
    let entry = entry.ok_or_else(|| unknown_id(path, id))?;
    Ok((KeyView::of(entry, &file, &uses), failure))
}

fn uses_of(path: &Path, uses_file: Option<&Path>) -> (Uses, Option<KeyFileError>) {
    match UsesFile::new(uses_file, path).read() {
        Ok(uses) => (uses, None),
        Err(error) => (Uses::new(), Some(error)),
    }
}

/// Returns the tenants that the keys and the section `tenants` name, in alphabetical order.
fn tenants(file: &KeyFile) -> Vec<TenantView> {
    let of_keys = file.keys.iter().filter_map(|entry| entry.tenant.as_ref());
    let of_section = file.tenants.iter().map(|tenant| &tenant.name);
    let mut names: Vec<&TenantName> = of_keys.chain(of_section).collect();
    names.sort_unstable();
    names.dedup();
    let view = |name: &TenantName| TenantView {
        name: name.to_string(),
        keys: (file.keys.iter())
            .filter(|entry| entry.tenant.as_ref() == Some(name))
            .count(),
        budgets: file.budgets_of(name).cloned().unwrap_or_default(),
    };
    names.into_iter().map(view).collect()
}

impl KeyView {
    fn of(entry: &Entry, file: &KeyFile, uses: &Uses) -> Self {
        let of_tenant = (entry.tenant.as_ref()).and_then(|tenant| file.budgets_of(tenant));
        let previous = entry.previous.as_ref().map(|previous| previous.until);
        Self {
            id: entry.id.to_string(),
            name: entry.name.clone(),
            tenant: owner(entry),
            scopes: entry.scopes.clone(),
            expires: entry.expires.map(|expires| expires.to_string()),
            expired: entry.expires.is_some_and(Timestamp::has_passed),
            last_used: uses.get(&entry.id).map(ToString::to_string),
            previous_secret_until: previous
                .filter(|until| !until.has_passed())
                .map(|until| until.to_string()),
            run_quota: entry.run_quota.map(|quota| quota.to_string()),
            read_quota: entry.read_quota.map(|quota| quota.to_string()),
            requests_max: entry.requests_max,
            budgets: entry.budgets.clone(),
            tenant_budgets: of_tenant.cloned().unwrap_or_default(),
            note: entry.note.clone(),
        }
    }

    fn scopes(&self) -> String {
        let names: Vec<_> = self.scopes.iter().map(|scope| scope.name()).collect();
        names.join(",")
    }

    fn expiry(&self) -> String {
        match &self.expires {
            None => "never".to_owned(),
            Some(at) if self.expired => format!("{at} (expired)"),
            Some(at) => at.clone(),
        }
    }

    /// Returns the facts as lines for people.
    pub fn to_text(&self) -> String {
        let or_default = |quota: &Option<String>| quota.clone().unwrap_or("default".to_owned());
        let requests_max = self.requests_max.map(|most| most.to_string());
        let mut rows = vec![
            ("id", self.id.clone()),
            ("name", self.name.clone()),
            ("tenant", self.tenant.clone()),
            ("scopes", self.scopes()),
            ("expires", self.expiry()),
            ("last used", last_used(self)),
            ("run quota", or_default(&self.run_quota)),
            ("read quota", or_default(&self.read_quota)),
            ("open requests", or_default(&requests_max)),
            ("budgets", or_none(&self.budgets)),
            ("budgets of the tenant", or_none(&self.tenant_budgets)),
        ];
        if let Some(until) = &self.previous_secret_until {
            rows.push(("old secret valid until", until.clone()));
        }
        if let Some(note) = &self.note {
            rows.push(("note", note.clone()));
        }
        let rows: Vec<_> = rows
            .into_iter()
            .map(|(name, value)| vec![name.to_owned(), value])
            .collect();
        table(&rows)
    }
}

impl KeyList {
    /// Returns the keys, and the budgets of tenants, as tables for people.
    pub fn to_text(&self) -> String {
        let head = [
            "ID",
            "NAME",
            "TENANT",
            "SCOPES",
            "EXPIRES",
            "LAST USED",
            "NOTE",
        ];
        let rows = self.keys.iter().map(|key| {
            vec![
                key.id.clone(),
                key.name.clone(),
                key.tenant.clone(),
                key.scopes(),
                key.expiry(),
                last_used(key),
                key.note.clone().unwrap_or_default(),
            ]
        });
        let head = head.map(str::to_owned).to_vec();
        let mut text = table(&[head].into_iter().chain(rows).collect::<Vec<_>>());
        if !self.tenants.is_empty() {
            let head = ["TENANT", "KEYS", "BUDGETS"].map(str::to_owned).to_vec();
            let rows = self.tenants.iter().map(|tenant| {
                vec![
                    tenant.name.clone(),
                    tenant.keys.to_string(),
                    or_none(&tenant.budgets),
                ]
            });
            text.push('\n');
            text.push_str(&table(&[head].into_iter().chain(rows).collect::<Vec<_>>()));
        }
        text
    }
}

fn last_used(key: &KeyView) -> String {
    key.last_used.clone().unwrap_or("-".to_owned())
}

fn or_none(budgets: &Budgets) -> String {
    match budgets.is_empty() {
        true => "none".to_owned(),
        false => budgets.to_string(),
    }
}
