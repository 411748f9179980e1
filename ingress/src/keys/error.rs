//! The error of the keys file.

use super::storage::FILE_BYTES_MAX;
use super::{KeyId, TenantName};
use crate::timestamp::Timestamp;
use std::io;
use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    #[error("{path}: {cause}")]
    Io { path: PathBuf, cause: io::Error },
    /// The content is not valid JSON, or has another structure.
    #[error("{path}: {cause}")]
    Malformed {
        path: PathBuf,
        cause: serde_json::Error,
    },
    #[error("{path}: longer than {FILE_BYTES_MAX} bytes")]
    TooLong { path: PathBuf },
    /// Other users than the owner may write the file.
    #[error(
        "{path}: the mode {mode:04o} lets other users change the keys; run `chmod go-w {path}`"
    )]
    Writable { path: PathBuf, mode: u32 },
    /// Another process held the lock for ten seconds.
    #[error("{path}: another process is changing it; try again")]
    Locked { path: PathBuf },
    #[error("{path}: the id {id} occurs twice")]
    DuplicateId { path: PathBuf, id: KeyId },
    #[error("{path}: the tenant {name} occurs twice in `tenants`")]
    DuplicateTenant { path: PathBuf, name: TenantName },
    #[error("{path}: there is no key with the id {id}; `sandpiper-ingress key list` has the ids")]
    UnknownId { path: PathBuf, id: KeyId },
    #[error("{path}: no key has the tenant {name}; `sandpiper-ingress key list` has the tenants")]
    UnknownTenant { path: PathBuf, name: TenantName },
    /// A new secret would not be valid for a moment.
    #[error("{path}: the key {id} expired at {at}; give --expires with a later time too")]
    Expired {
        path: PathBuf,
        id: KeyId,
        at: Timestamp,
    },
}
