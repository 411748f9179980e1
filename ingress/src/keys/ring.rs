//! The valid keys. A reloaded file replaces them while requests are open.

use super::credential::{Credential, Secret, Validity};
use super::file::{Entry, KeyFile};
use super::identity::owner;
use super::uses::LastUse;
use super::{Identity, KeyId, Presented, Scope};
use crate::hex::Digest;
use crate::limits::{KeyBuckets, Quotas};
use crate::timestamp::Timestamp;
use governor::clock::DefaultClock;
use parking_lot::RwLock;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use subtle::ConstantTimeEq as _;
use tokio::sync::watch;

#[derive(Debug)]
pub struct Key {
    id: KeyId,
    name: String,
    /// The name of the tenant to which the key belongs, `key:<id>` if the file names none.
    owner: String,
    scopes: Vec<Scope>,
    expires: Option<Timestamp>,
    requests_max: u32,
    buckets: Arc<KeyBuckets>,
    /// The current secret, and the previous one if it stays valid for a time.
    secrets: Vec<Secret>,
    last_use: Arc<LastUse>,
    identity: Identity,
}

impl Key {
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// Returns the name of the key, for people.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the name of the tenant to which the key belongs.
    pub(crate) fn owner(&self) -> &str {
        &self.owner
    }

    pub fn allows(&self, scope: Scope) -> bool {
        self.scopes.iter().any(|own| own.includes(scope))
    }

    pub fn requests_max(&self) -> u32 {
        self.requests_max
    }

    pub fn buckets(&self) -> &KeyBuckets {
        &self.buckets
    }

    /// Returns what the service is told of this key.
    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    pub(super) fn last_use(&self) -> &LastUse {
        &self.last_use
    }

    /// Returns the secret with this digest.
    fn secret(&self, digest: &Digest) -> Option<&Secret> {
        // Constant time: the duration must not reveal how much of a hash matches.
        let mut secrets = self.secrets.iter();
        secrets.find(|secret| bool::from(digest.ct_eq(&secret.sha256)))
    }

    /// Returns true if requests that are open with this key may go on with `new`.
    fn may_continue_as(&self, new: &Entry) -> bool {
        let is_allowed = |scope: &Scope| new.scopes.iter().any(|own| own.includes(*scope));
        self.owner == owner(new) && self.scopes.iter().all(is_allowed)
    }
}

/// The reason for which a presented key is not valid.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyError {
    /// The text is not a key, or the id or the secret is unknown.
    #[error("this key is not known here")]
    Unknown,
    #[error("this key expired at {1}")]
    Expired(Arc<Key>, Timestamp),
    /// A rotation has ended this secret of the key.
    #[error("this secret was replaced and is not valid since {1}; use the new key")]
    Replaced(Arc<Key>, Timestamp),
}

impl KeyError {
    /// Returns the key whose id and secret were presented, if both are known.
    pub(crate) fn key(&self) -> Option<&Arc<Key>> {
        match self {
            Self::Unknown => None,
            Self::Expired(key, _) | Self::Replaced(key, _) => Some(key),
        }
    }
}

#[derive(Debug)]
pub struct KeyRing {
    keys: RwLock<HashMap<KeyId, Arc<Key>>>,
    /// The quotas of entries without quotas.
    quotas: Quotas,
    requests_max: u32,
}

impl KeyRing {
    /// Creates the keys of `file`. The given bounds are the defaults of its entries.
    pub fn new(file: &KeyFile, quotas: Quotas, requests_max: u32) -> Self {
        let ring = Self {
            keys: RwLock::default(),
            quotas,
            requests_max,
        };
        ring.replace(file);
        ring
    }

    /// Replaces the keys with those of another file.
    ///
    /// A key with unchanged quotas retains its buckets. Requests that are open with a removed or replaced secret, or
    /// with a key that lost a scope or changed its tenant, are ended.
    pub fn replace(&self, file: &KeyFile) {
        let old = self.keys.read().clone();
        let keys = file.keys.iter().map(|entry| {
            let key = self.key(entry, file, old.get(&entry.id).map(AsRef::as_ref));
            (entry.id, Arc::new(key))
        });
        let keys: HashMap<_, _> = keys.collect();
        let secrets_of = |key: &Arc<Key>| -> Vec<_> {
            let secrets = key.secrets.iter();
            secrets
                .map(|secret| Arc::as_ptr(&secret.validity))
                .collect()
        };
        let retained: HashSet<_> = keys.values().flat_map(secrets_of).collect();
        *self.keys.write() = keys;
        for secret in old.values().flat_map(|key| &key.secrets) {
            if !retained.contains(&Arc::as_ptr(&secret.validity)) {
                secret.set(Validity::Revoked);
            }
        }
    }

    /// Returns the key that a client presents, and records the use.
    ///
    /// # Errors
    ///
    /// The key is unknown or not valid any more.
    pub(crate) fn find(&self, presented: &str) -> Result<Credential, KeyError> {
        let presented = Presented::parse(presented).ok_or(KeyError::Unknown)?;
        let key = self.keys.read().get(&presented.id).cloned();
        let key = key.ok_or(KeyError::Unknown)?;
        let secret = key.secret(&presented.digest()).ok_or(KeyError::Unknown)?;
        if let Some(at) = key.expires.filter(|expires| expires.has_passed()) {
            return Err(KeyError::Expired(Arc::clone(&key), at));
        }
        if let Some(at) = secret.replaced_at.filter(|until| until.has_passed()) {
            return Err(KeyError::Replaced(Arc::clone(&key), at));
        }
        key.last_use.record(Timestamp::now());
        let validity = Arc::clone(&secret.validity);
        Ok(Credential { key, validity })
    }

    /// Returns the number of keys that have not expired.
    pub(crate) fn len(&self) -> usize {
        let has_expired = |key: &Key| key.expires.is_some_and(Timestamp::has_passed);
        let keys = self.keys.read();
        keys.values().filter(|key| !has_expired(key)).count()
    }

    /// Returns whether a key belongs to this tenant.
    pub(crate) fn has_owner(&self, tenant: &str) -> bool {
        let keys = self.keys.read();
        keys.values().any(|key| key.owner == tenant)
    }

    /// Returns every key of the file.
    pub(super) fn all(&self) -> Vec<Arc<Key>> {
        self.keys.read().values().cloned().collect()
    }

    fn key(&self, entry: &Entry, file: &KeyFile, old: Option<&Key>) -> Key {
        let quotas = Quotas {
            run: entry.run_quota.unwrap_or(self.quotas.run),
            read: entry.read_quota.unwrap_or(self.quotas.read),
        };
        let used = old.filter(|key| key.buckets.quotas() == quotas);
        let buckets = match used {
            Some(key) => Arc::clone(&key.buckets),
            None => Arc::new(KeyBuckets::new(quotas, &DefaultClock::default())),
        };
        Key {
            id: entry.id,
            name: entry.name.clone(),
            owner: owner(entry),
            scopes: entry.scopes.clone(),
            expires: entry.expires,
            requests_max: entry.requests_max.unwrap_or(self.requests_max),
            buckets,
            secrets: secrets(entry, old.filter(|key| key.may_continue_as(entry))),
            last_use: old.map_or_else(Arc::default, |key| Arc::clone(&key.last_use)),
            identity: Identity::of(entry, file),
        }
    }
}

/// Returns the secrets of a key. A secret that `continued` has too retains its open requests, with the new validity.
fn secrets(entry: &Entry, continued: Option<&Key>) -> Vec<Secret> {
    let current = (entry.sha256, None);
    let previous = entry.previous.as_ref();
    let previous = previous.map(|previous| (previous.sha256, Some(previous.until)));
    let secrets = [current].into_iter().chain(previous);
    let secrets = secrets.map(|(sha256, replaced_at)| {
        let ends = [entry.expires, replaced_at];
        let validity = Validity::Until(ends.into_iter().flatten().min());
        let old = continued.and_then(|key| key.secret(&sha256));
        let secret = Secret {
            sha256,
            replaced_at,
            validity: match old {
                Some(old) => Arc::clone(&old.validity),
                None => Arc::new(watch::Sender::new(validity)),
            },
        };
        secret.set(validity);
        secret
    });
    secrets.collect()
}
