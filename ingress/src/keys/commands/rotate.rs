//! A new secret for a key: `sandpiper-ingress key rotate`.

use super::{Missing, edit, no_randomness, unknown_id};
use crate::keys::file::PreviousSecret;
use crate::keys::{KeyFileError, KeyId, Presented};
use crate::timestamp::Timestamp;
use std::path::Path;
use std::time::Duration;

#[derive(Debug, Clone, Copy, Default)]
pub struct Rotation {
    /// Time for which the old secret stays valid.
    pub overlap: Option<Duration>,
    /// The new time from which on the key is not valid any more; unchanged when absent.
    pub expires: Option<Timestamp>,
}

/// A rotated key.
#[derive(Debug)]
pub struct Rotated {
    /// The key with its new secret, which is stored nowhere.
    pub key: String,
    /// The time at which the old secret ends; `None` if the old secret is not valid any more.
    pub old_until: Option<Timestamp>,
}

/// Gives a key a new secret. Id, tenant, scopes, quotas and budgets stay.
///
/// Of earlier secrets only the last one can stay valid for a time.
///
/// # Errors
///
/// The id is unknown, the key has expired and gets no later time, or the file cannot be locked, read or written.
pub fn rotate(path: &Path, id: KeyId, rotation: Rotation) -> Result<Rotated, KeyFileError> {
    edit(path, Missing::Refuse, |file, path| {
        let entry = file.entry_mut(id).ok_or_else(|| unknown_id(path, id))?;
        let expires = rotation.expires.or(entry.expires);
        if let Some(at) = expires.filter(|expires| expires.has_passed()) {
            return Err(KeyFileError::Expired {
                path: path.to_owned(),
                id,
                at,
            });
        }
        let presented = Presented::random(id).map_err(no_randomness(path))?;
        let old_until = rotation
            .overlap
            .map(|overlap| Timestamp::now().plus(overlap));
        entry.previous = old_until.map(|until| PreviousSecret {
            sha256: entry.sha256,
            until,
        });
        entry.sha256 = presented.digest();
        entry.expires = expires;
        Ok(Rotated {
            key: presented.to_text(),
            old_until,
        })
    })
}
