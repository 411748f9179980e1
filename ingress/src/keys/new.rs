//! The creation of a key: `sandpiper-ingress key new`.

use super::file::{Entry, KeyFile, KeyFileError, load, lock, store};
use super::{KeyId, Presented, Scope};
use crate::hex::Digest;
use crate::limits::Quota;
use sha2::{Digest as _, Sha256};
use std::path::Path;

#[derive(Debug, Clone)]
pub struct NewKey {
    /// The name of the key, for people.
    pub name: String,
    pub scopes: Vec<Scope>,
    /// The quota for running code; that of clients without a key when absent.
    pub run_quota: Option<Quota>,
    /// The quota for all other requests; that of clients without a key when absent.
    pub read_quota: Option<Quota>,
    /// Maximum open requests; that of clients without a key when absent.
    pub requests_max: Option<u32>,
}

/// Adds the hash of a new key to the file and returns the key itself, which is stored nowhere. Creates a missing file.
///
/// Concurrent processes wait for each other.
///
/// # Errors
///
/// The file cannot be locked, read or written.
pub fn write_new(path: &Path, new: NewKey) -> Result<String, KeyFileError> {
    // A symbolic link stays; its target is replaced.
    let followed = path.canonicalize();
    let path = followed.as_deref().unwrap_or(path);
    let _lock = lock(path)?;
    let mut file = if path.exists() {
        load(path)?
    } else {
        KeyFile::default()
    };
    let mut random = [0; 40];
    getrandom::fill(&mut random).map_err(|cause| KeyFileError::Io {
        path: path.to_owned(),
        cause: cause.into(),
    })?;
    let (mut id, mut secret) = ([0; 8], [0; 32]);
    id.copy_from_slice(&random[..8]);
    secret.copy_from_slice(&random[8..]);
    let presented = Presented {
        id: KeyId(u64::from_be_bytes(id)),
        secret,
    };
    let sha256: Digest = Sha256::digest(secret).into();
    file.keys.push(Entry {
        id: presented.id,
        name: new.name,
        sha256,
        scopes: new.scopes,
        run_quota: new.run_quota,
        read_quota: new.read_quota,
        requests_max: new.requests_max,
    });
    store(path, &file)?;
    Ok(presented.to_text())
}
