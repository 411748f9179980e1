//! Changes of a key that keep its secret: `sandpiper-ingress key set`.

use super::{Missing, edit, unknown_id};
use crate::keys::{KeyFileError, KeyId, Scope};
use crate::limits::Quota;
use crate::timestamp::Timestamp;
use std::path::Path;

/// The new value of a part of a key that may be absent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Setting<T> {
    To(T),
    /// The part becomes absent.
    Removed,
}

impl<T> Setting<T> {
    fn into_option(self) -> Option<T> {
        match self {
            Self::To(value) => Some(value),
            Self::Removed => None,
        }
    }
}

/// The parts of a key to change; an absent part stays as it is.
#[derive(Debug, Clone, Default)]
pub struct KeyChange {
    /// The name of the key, for people.
    pub name: Option<String>,
    pub scopes: Option<Vec<Scope>>,
    /// The time from which on the key is not valid any more.
    pub expires: Option<Setting<Timestamp>>,
    /// The quota for running code; that of clients without a key when removed.
    pub run_quota: Option<Setting<Quota>>,
    /// The quota for all other requests; that of clients without a key when removed.
    pub read_quota: Option<Setting<Quota>>,
    /// Maximum open requests; that of clients without a key when removed.
    pub requests_max: Option<Setting<u32>>,
    /// A remark, for people.
    pub note: Option<Setting<String>>,
}

/// Changes parts of a key. Its id, secret, tenant and budgets stay.
///
/// # Errors
///
/// The id is unknown, or the file cannot be locked, read or written.
pub fn change(path: &Path, id: KeyId, change: KeyChange) -> Result<(), KeyFileError> {
    edit(path, Missing::Refuse, |file, path| {
        let entry = file.entry_mut(id).ok_or_else(|| unknown_id(path, id))?;
        if let Some(name) = change.name {
            entry.name = name;
        }
        if let Some(mut scopes) = change.scopes {
            scopes.sort_unstable();
            scopes.dedup();
            entry.scopes = scopes;
        }
        set(&mut entry.expires, change.expires);
        set(&mut entry.run_quota, change.run_quota);
        set(&mut entry.read_quota, change.read_quota);
        set(&mut entry.requests_max, change.requests_max);
        set(&mut entry.note, change.note);
        Ok(())
    })
}

fn set<T>(part: &mut Option<T>, setting: Option<Setting<T>>) {
    if let Some(setting) = setting {
        *part = setting.into_option();
    }
}
