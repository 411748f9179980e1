//! The valid keys. A reloaded file replaces them while requests are open.

use super::file::{Entry, KeyFile};
use super::{KeyId, Presented, Scope};
use crate::hex::Digest;
use crate::limits::{KeyBuckets, Quotas};
use governor::clock::DefaultClock;
use parking_lot::RwLock;
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::sync::Arc;
use subtle::ConstantTimeEq as _;
use tokio::sync::watch;

#[derive(Debug)]
pub struct Key {
    id: KeyId,
    sha256: Digest,
    scopes: Vec<Scope>,
    requests_max: u32,
    buckets: Arc<KeyBuckets>,
    /// True once the key is revoked, or has lost a scope.
    revocation: Arc<watch::Sender<bool>>,
}

impl Key {
    pub fn id(&self) -> KeyId {
        self.id
    }

    pub fn allows(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
    }

    pub fn requests_max(&self) -> u32 {
        self.requests_max
    }

    /// Returns true once the key is revoked, or has lost a scope.
    pub fn is_revoked(&self) -> bool {
        *self.revocation.borrow()
    }

    /// Completes once [`Self::is_revoked`].
    pub fn revoked(&self) -> impl Future<Output = ()> + use<> {
        let mut revocation = self.revocation.subscribe();
        async move {
            // The key owns the sender. An error means that the key was dropped.
            let _ = revocation.wait_for(|is_revoked| *is_revoked).await;
        }
    }

    pub fn buckets(&self) -> &KeyBuckets {
        &self.buckets
    }
}

/// The key is unknown.
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
    /// A key with unchanged quotas retains its buckets. Requests that are open with a removed key, or with a key that
    /// lost a scope, are ended.
    pub fn replace(&self, file: &KeyFile) {
        let old = self.keys.read().clone();
        let keys = file
            .keys
            .iter()
            .map(|entry| (entry.id, Arc::new(self.key(entry, &old))));
        let keys: HashMap<_, _> = keys.collect();
        let is_retained = |old: &Key| {
            keys.get(&old.id)
                .is_some_and(|key: &Arc<Key>| Arc::ptr_eq(&key.revocation, &old.revocation))
        };
        let revoked: Vec<_> = old.values().filter(|key| !is_retained(key)).collect();
        *self.keys.write() = keys;
        for key in revoked {
            key.revocation.send_replace(true);
        }
    }

    /// Returns the key that a client presents; `None` if the text is not a key, or the id or the secret is unknown.
    pub fn find(&self, presented: &str) -> Option<Arc<Key>> {
        let presented = Presented::parse(presented)?;
        let key = self.keys.read().get(&presented.id).cloned()?;
        let digest: Digest = Sha256::digest(presented.secret).into();
        // Constant time: the duration must not reveal how much of a hash matches.
        bool::from(digest.ct_eq(&key.sha256)).then_some(key)
    }

    pub(crate) fn len(&self) -> usize {
        self.keys.read().len()
    }

    fn key(&self, entry: &Entry, old: &HashMap<KeyId, Arc<Key>>) -> Key {
        let quotas = Quotas {
            run: entry.run_quota.unwrap_or(self.quotas.run),
            read: entry.read_quota.unwrap_or(self.quotas.read),
        };
        let used = old
            .get(&entry.id)
            .filter(|key| key.buckets.quotas() == quotas);
        let buckets = match used {
            Some(key) => Arc::clone(&key.buckets),
            None => Arc::new(KeyBuckets::new(quotas, &DefaultClock::default())),
        };
        // Open requests go on if the key still has all scopes that it had.
        let unchanged = old.get(&entry.id).filter(|key| {
            let is_allowed = |scope| entry.scopes.contains(scope);
            key.sha256 == entry.sha256 && key.scopes.iter().all(is_allowed)
        });
        let revocation = match unchanged {
            Some(key) => Arc::clone(&key.revocation),
            None => Arc::new(watch::Sender::new(false)),
        };
        Key {
            revocation,
            id: entry.id,
            sha256: entry.sha256,
            scopes: entry.scopes.clone(),
            requests_max: entry.requests_max.unwrap_or(self.requests_max),
            buckets,
        }
    }
}
