//! Making a key: `sandpiper-ingress key new`.

use super::file::{Entry, KeyFile, KeyFileError, load, lock, store};
use super::{KeyId, Presented, Scope};
use crate::hex::Digest;
use crate::limits::Quota;
use sha2::{Digest as _, Sha256};
use std::path::Path;

/// What a new key is to be.
#[derive(Debug, Clone)]
pub struct NewKey {
    /// For people.
    pub name: String,
    /// What its holder may do.
    pub scopes: Vec<Scope>,
    /// For running code; as for clients without a key when absent.
    pub run_quota: Option<Quota>,
    /// For the rest; likewise.
    pub read_quota: Option<Quota>,
    /// Requests open at a time; likewise.
    pub requests_max: Option<u32>,
}

/// Adds a new key to the file, which is made if there is none, and returns the key, which is nowhere else. Processes that do
/// so at the same time wait for each other.
pub fn write_new(path: &Path, new: NewKey) -> Result<String, KeyFileError> {
    // A link stays, and what it leads to is replaced.
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
