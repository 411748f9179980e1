//! The secret of a key that a request presents, and how long the secret is valid.

use super::Key;
use crate::hex::Digest;
use crate::timestamp::Timestamp;
use std::future::pending;
use std::sync::Arc;
use tokio::sync::watch;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Validity {
    /// Valid before this time; at any time when absent.
    Until(Option<Timestamp>),
    /// The secret or its key is not in the file any more, or the key has lost a scope or changed its tenant.
    Revoked,
}

/// A secret in the file. All requests that presented the secret share its validity.
#[derive(Debug)]
pub(super) struct Secret {
    pub(super) sha256: Digest,
    /// The time at which a rotation ends the secret; `None` for the current secret of the key.
    pub(super) replaced_at: Option<Timestamp>,
    pub(super) validity: Arc<watch::Sender<Validity>>,
}

impl Secret {
    /// Sets the validity, which ends open requests if they are not valid any more.
    pub(super) fn set(&self, validity: Validity) {
        self.validity.send_if_modified(|current| {
            let is_new = *current != validity;
            *current = validity;
            is_new
        });
    }
}

/// A key that a request presents with a valid secret.
#[derive(Debug, Clone)]
pub(crate) struct Credential {
    pub(crate) key: Arc<Key>,
    pub(super) validity: Arc<watch::Sender<Validity>>,
}

/// The reason for which a credential is not valid any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CredentialEnd {
    Revoked,
    Expired,
}

impl Credential {
    /// Returns the reason for which the credential is not valid any more; `None` while it is valid.
    pub(crate) fn ended(&self) -> Option<CredentialEnd> {
        match *self.validity.borrow() {
            Validity::Revoked => Some(CredentialEnd::Revoked),
            Validity::Until(Some(until)) if until.has_passed() => Some(CredentialEnd::Expired),
            Validity::Until(_) => None,
        }
    }

    /// Completes once [`Self::ended`].
    pub(crate) fn end(&self) -> impl Future<Output = CredentialEnd> + use<> {
        let mut validity = self.validity.subscribe();
        async move {
            loop {
                let until = match *validity.borrow_and_update() {
                    Validity::Revoked => return CredentialEnd::Revoked,
                    Validity::Until(until) => until,
                };
                let expired = async {
                    match until {
                        Some(until) => until.passed().await,
                        None => pending().await,
                    }
                };
                tokio::select! {
                    () = expired => return CredentialEnd::Expired,
                    changed = validity.changed() => {
                        if changed.is_err() {
                            // The key owned the sender and was dropped.
                            return CredentialEnd::Revoked;
                        }
                    }
                }
            }
        }
    }
}
