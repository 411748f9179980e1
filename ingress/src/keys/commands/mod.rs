//! The commands that read and change the keys file: `sandpiper-ingress key`.
//!
//! Each change holds the lock of the file and replaces the file atomically. A running ingress notices the change.

mod assign;
mod budget;
mod list;
mod new;
mod revoke;
mod rotate;
mod set;
mod table;

pub use assign::assign;
pub use budget::change_budgets;
pub use list::{KeyList, KeyView, list, show};
pub use new::{NewKey, create};
pub use revoke::{Revoked, revoke};
pub use rotate::{Rotated, Rotation, rotate};
pub use set::{KeyChange, Setting, change};

use super::file::{KeyFile, load, store};
use super::storage::lock;
use super::{KeyFileError, KeyId, TenantName};
use std::io;
use std::path::Path;

/// The keys that a command is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    Key(KeyId),
    /// All keys of a tenant together.
    Tenant(TenantName),
}

/// The treatment of a keys file that does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Missing {
    Create,
    Refuse,
}

/// Changes the keys file. Concurrent processes wait for each other. The file stays as it is if `change` fails.
fn edit<T>(
    path: &Path,
    missing: Missing,
    change: impl FnOnce(&mut KeyFile, &Path) -> Result<T, KeyFileError>,
) -> Result<T, KeyFileError> {
    // A symbolic link stays; its target is replaced.
    let followed = path.canonicalize();
    let path = followed.as_deref().unwrap_or(path);
    let _lock = lock(path)?;
    let mut file = if missing == Missing::Create && !path.exists() {
        KeyFile::default()
    } else {
        load(path)?
    };
    let changed = change(&mut file, path)?;
    store(path, &file)?;
    Ok(changed)
}

fn unknown_id(path: &Path, id: KeyId) -> KeyFileError {
    KeyFileError::UnknownId {
        path: path.to_owned(),
        id,
    }
}

fn unknown_tenant(path: &Path, name: &TenantName) -> KeyFileError {
    KeyFileError::UnknownTenant {
        path: path.to_owned(),
        name: name.clone(),
    }
}

/// Wraps a failure of the system's source of random bytes.
fn no_randomness(path: &Path) -> impl Fn(getrandom::Error) -> KeyFileError {
    move |cause| KeyFileError::Io {
        path: path.to_owned(),
        cause: io::Error::from(cause),
    }
}
