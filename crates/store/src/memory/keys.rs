//! Idempotency keys of the store in memory.

use crate::fingerprint::Fingerprint;
use sandpiper_domain::{ClientKey, IdempotencyKey, JobId, Timestamp};
use std::collections::{HashMap, VecDeque};

const KEYS_MAX: usize = 100_000;

pub(super) type Key = (ClientKey, IdempotencyKey);

/// The requests with a key. A key is forgotten when its time is over, and the oldest also when there are too many.
#[derive(Debug, Default)]
pub(super) struct Keys {
    by_key: HashMap<Key, KeyedRequest>,
    by_age: VecDeque<(Timestamp, Key)>,
}

#[derive(Debug)]
pub(super) struct KeyedRequest {
    pub(super) id: JobId,
    pub(super) fingerprint: Fingerprint,
}

impl Keys {
    pub(super) fn get(&self, key: &Key) -> Option<&KeyedRequest> {
        self.by_key.get(key)
    }

    pub(super) fn insert(&mut self, key: Key, request: KeyedRequest) {
        if self.by_age.len() >= KEYS_MAX {
            self.forget_oldest();
        }
        self.by_age.push_back((Timestamp::now(), key.clone()));
        self.by_key.insert(key, request);
    }

    pub(super) fn sweep(&mut self, now: Timestamp) {
        while let Some((at, _)) = self.by_age.front()
            && at.plus(IdempotencyKey::REMEMBERED) <= now
        {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((_, key)) = self.by_age.pop_front() {
            self.by_key.remove(&key);
        }
    }
}
