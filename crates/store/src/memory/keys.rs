//! Idempotency keys of the store in memory.

use crate::fingerprint::Fingerprint;
use sandpiper_domain::{ClientKey, IdempotencyKey, JobId, Timestamp};
use std::collections::{HashMap, HashSet, VecDeque};

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

    /// Gives the requests that made these jobs to another client, unless that client has used their keys itself.
    pub(super) fn move_jobs(&mut self, ids: &HashSet<JobId>, to: &ClientKey) {
        for (_, key) in &mut self.by_age {
            let new_key = (to.clone(), key.1.clone());
            let is_moved = (self.by_key.get(key)).is_some_and(|request| ids.contains(&request.id));
            if is_moved
                && !self.by_key.contains_key(&new_key)
                && let Some(request) = self.by_key.remove(key)
            {
                self.by_key.insert(new_key.clone(), request);
                *key = new_key;
            }
        }
    }

    /// Forgets the requests that made these jobs.
    pub(super) fn forget_jobs(&mut self, ids: &HashSet<JobId>) {
        self.by_key.retain(|_, request| !ids.contains(&request.id));
        let by_key = &self.by_key;
        self.by_age.retain(|(_, key)| by_key.contains_key(key));
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
