//! The keys that count now. A new file replaces them while requests go on.

use super::file::{Entry, KeyFile};
use super::{KeyId, Presented, Scope};
use crate::hex::Digest;
use crate::limits::{KeyBuckets, Quotas};
use governor::clock::DefaultClock;
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use subtle::ConstantTimeEq as _;
use tokio::sync::watch;

/// One key that counts.
#[derive(Debug)]
pub struct Key {
    id: KeyId,
    sha256: Digest,
    scopes: Vec<Scope>,
    requests_max: u32,
    buckets: Arc<KeyBuckets>,
    /// True once the key no longer counts, or may do less.
    revocation: Arc<watch::Sender<bool>>,
}

impl Key {
    /// Its public name.
    #[must_use]
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// Whether its holder may do this.
    #[must_use]
    pub fn allows(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
    }

    /// Requests that may be open at a time.
    #[must_use]
    pub fn requests_max(&self) -> u32 {
        self.requests_max
    }

    /// Returns true once the key no longer counts, or may do less than it could.
    #[must_use]
    pub fn is_revoked(&self) -> bool {
        *self.revocation.borrow()
    }

    /// Completes once [`Self::is_revoked`].
    pub fn revoked(&self) -> impl Future<Output = ()> + use<> {
        let mut revocation = self.revocation.subscribe();
        async move {
            // The sender is gone only with every key that could still count.
            let _ = revocation.wait_for(|is_revoked| *is_revoked).await;
        }
    }

    /// How much of everything it has left.
    #[must_use]
    pub fn buckets(&self) -> &KeyBuckets {
        &self.buckets
    }
}

/// No such key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unknown;

/// All keys that count.
#[derive(Debug)]
pub struct KeyRing {
    keys: RwLock<HashMap<KeyId, Arc<Key>>>,
    /// For keys whose entry says nothing.
    quotas: Quotas,
    requests_max: u32,
}

impl KeyRing {
    /// The keys of `file`; where an entry is silent, these bounds hold.
    #[must_use]
    pub fn new(file: &KeyFile, quotas: Quotas, requests_max: u32) -> Self {
        let ring = Self {
            keys: RwLock::default(),
            quotas,
            requests_max,
        };
        ring.replace(file);
        ring
    }

    /// Takes the keys of another file. A key that keeps its quotas keeps what it has used of them. What is open with a key that is
    /// gone, or may do less, ends.
    pub fn replace(&self, file: &KeyFile) {
        let old = self.read().clone();
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
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
        for key in revoked {
            key.revocation.send_replace(true);
        }
    }

    /// The key that is presented, if it is one.
    pub fn find(&self, presented: &str) -> Result<Arc<Key>, Unknown> {
        let presented = Presented::parse(presented).ok_or(Unknown)?;
        let key = self.read().get(&presented.id).cloned().ok_or(Unknown)?;
        let digest: Digest = Sha256::digest(presented.secret).into();
        // In the same time whatever the difference: how much of a hash is right must not be told.
        if bool::from(digest.ct_eq(&key.sha256)) {
            return Ok(key);
        }
        Err(Unknown)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.read().len()
    }

    /// Whether there is none, so that nobody may do anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.read().is_empty()
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, HashMap<KeyId, Arc<Key>>> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner)
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
        // What is open with a key goes on if the key still may do all that it could.
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
