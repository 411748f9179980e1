//! Orders of the jobs in memory: by age and by expiry; and the ids of expired jobs.

use sandpiper_domain::{JobId, Timestamp};
use std::collections::{BTreeSet, VecDeque};

/// Most ids of expired jobs that are remembered, so that a query gets 410 and not 404.
const TOMBSTONES_MAX: usize = 100_000;

#[derive(Debug, Default)]
pub(super) struct Orders {
    /// By id, which is by age.
    pub(super) by_age: BTreeSet<JobId>,
    /// Only jobs with a final state.
    by_expiry: BTreeSet<(Timestamp, JobId)>,
    /// Oldest first.
    tombstones: VecDeque<JobId>,
    tombstone_set: BTreeSet<JobId>,
}

impl Orders {
    pub(super) fn insert_expiry(&mut self, expires_at: Timestamp, id: JobId) {
        self.by_expiry.insert((expires_at, id));
    }

    pub(super) fn next_expiry(&self) -> Option<Timestamp> {
        self.by_expiry.first().map(|(at, _)| *at)
    }

    pub(super) fn has_expired(&self, id: JobId) -> bool {
        self.tombstone_set.contains(&id)
    }

    /// Removes the jobs that have expired by `now`, remembers their ids, and returns them.
    pub(super) fn expire(&mut self, now: Timestamp) -> Vec<JobId> {
        let mut expired = Vec::new();
        while let Some(&(at, id)) = self.by_expiry.first() {
            if at > now {
                break;
            }
            self.by_expiry.pop_first();
            self.by_age.remove(&id);
            self.bury(id);
            expired.push(id);
        }
        expired
    }

    fn bury(&mut self, id: JobId) {
        self.tombstones.push_back(id);
        self.tombstone_set.insert(id);
        if self.tombstones.len() > TOMBSTONES_MAX
            && let Some(oldest) = self.tombstones.pop_front()
        {
            self.tombstone_set.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_expire_in_the_order_of_their_expiry_and_are_remembered() {
        let mut orders = Orders::default();
        let ids: Vec<JobId> = (0..3).map(|_| JobId::generate()).collect();
        for (id, at) in ids.iter().zip([30, 10, 20]) {
            orders.by_age.insert(*id);
            orders.insert_expiry(Timestamp::from_unix_millis(at), *id);
        }
        assert_eq!(orders.next_expiry(), Some(Timestamp::from_unix_millis(10)));
        let expired = orders.expire(Timestamp::from_unix_millis(20));
        assert_eq!(expired, [ids[1], ids[2]]);
        assert_eq!(orders.by_age.len(), 1);
        assert!(orders.has_expired(ids[1]) && !orders.has_expired(ids[0]));
    }
}
