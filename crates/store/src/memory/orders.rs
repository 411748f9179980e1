//! Orders of the jobs in memory: by age and by expiry; and the owners of expired jobs.

use sandpiper_domain::{Access, JobId, JobRecord, Owner, Tenant, Timestamp};
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::ops::Bound::{Excluded, Unbounded};

/// Most ids of expired jobs that are remembered, so that a query gets 410 and not 404.
const TOMBSTONES_MAX: usize = 100_000;

#[derive(Debug, Default)]
pub(super) struct Orders {
    /// By id, which is by age.
    by_age: BTreeSet<JobId>,
    by_tenant: HashMap<Tenant, BTreeSet<JobId>>,
    /// Only jobs with a final state.
    by_expiry: BTreeSet<(Timestamp, JobId)>,
    /// Oldest first.
    tombstones: VecDeque<JobId>,
    owners_of_expired: HashMap<JobId, Owner>,
}

impl Orders {
    pub(super) fn insert(&mut self, id: JobId, tenant: &Tenant) {
        self.by_age.insert(id);
        if let Some(ids) = self.by_tenant.get_mut(tenant) {
            ids.insert(id);
        } else {
            self.by_tenant.insert(tenant.clone(), BTreeSet::from([id]));
        }
    }

    /// Returns the jobs of `tenant`, or of all tenants, that are older than `before`.
    pub(super) fn newest_first(
        &self,
        tenant: Option<&Tenant>,
        before: Option<JobId>,
    ) -> impl Iterator<Item = JobId> {
        let ids = match tenant {
            None => Some(&self.by_age),
            Some(tenant) => self.by_tenant.get(tenant),
        };
        let upper = before.map_or(Unbounded, Excluded);
        let older = ids.map(|ids| ids.range((Unbounded, upper)).rev().copied());
        older.into_iter().flatten()
    }

    pub(super) fn insert_expiry(&mut self, expires_at: Timestamp, id: JobId) {
        self.by_expiry.insert((expires_at, id));
    }

    pub(super) fn next_expiry(&self) -> Option<Timestamp> {
        self.by_expiry.first().map(|(at, _)| *at)
    }

    pub(super) fn owner_of_expired(&self, id: JobId) -> Option<&Owner> {
        self.owners_of_expired.get(&id)
    }

    /// Removes the jobs that have expired by `now` from the order of expiry, and returns them.
    pub(super) fn take_expired(&mut self, now: Timestamp) -> Vec<JobId> {
        let mut expired = Vec::new();
        while let Some(&(at, id)) = self.by_expiry.first() {
            if at > now {
                break;
            }
            self.by_expiry.pop_first();
            expired.push(id);
        }
        expired
    }

    /// Gives `ids`, and the expired jobs that `before` includes, another owner.
    pub(super) fn assign(&mut self, ids: &[JobId], before: &Access, owner: &Owner) {
        for id in ids {
            if let Some(tenant) = before.tenant() {
                self.remove(*id, tenant);
            }
            self.insert(*id, &owner.tenant);
        }
        for expired in self.owners_of_expired.values_mut() {
            if before.includes(expired) {
                expired.clone_from(owner);
            }
        }
    }

    /// Forgets a job that has its final state.
    pub(super) fn forget(&mut self, id: JobId, job: &JobRecord) {
        self.remove(id, &job.owner.tenant);
        if let Some(expires_at) = job.expires_at {
            self.by_expiry.remove(&(expires_at, id));
        }
    }

    pub(super) fn forget_tombstone(&mut self, id: JobId) {
        self.owners_of_expired.remove(&id);
    }

    /// Forgets the expired jobs of a tenant.
    pub(super) fn forget_expired(&mut self, tenant: &Tenant) {
        self.owners_of_expired
            .retain(|_, owner| owner.tenant != *tenant);
    }

    fn remove(&mut self, id: JobId, tenant: &Tenant) {
        self.by_age.remove(&id);
        if let Some(ids) = self.by_tenant.get_mut(tenant) {
            ids.remove(&id);
            if ids.is_empty() {
                self.by_tenant.remove(tenant);
            }
        }
    }

    /// Removes an expired job, and remembers its id and owner.
    pub(super) fn bury(&mut self, id: JobId, owner: Owner) {
        self.remove(id, &owner.tenant);
        self.tombstones.push_back(id);
        self.owners_of_expired.insert(id, owner);
        if self.tombstones.len() > TOMBSTONES_MAX
            && let Some(oldest) = self.tombstones.pop_front()
        {
            self.owners_of_expired.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_expire_in_the_order_of_their_expiry_and_are_remembered() {
        let mut orders = Orders::default();
        let owner = Owner::default();
        let ids: Vec<JobId> = (0..3).map(|_| JobId::generate()).collect();
        for (id, at) in ids.iter().zip([30, 10, 20]) {
            orders.insert(*id, &owner.tenant);
            orders.insert_expiry(Timestamp::from_unix_millis(at), *id);
        }
        assert_eq!(orders.next_expiry(), Some(Timestamp::from_unix_millis(10)));
        let expired = orders.take_expired(Timestamp::from_unix_millis(20));
        assert_eq!(expired, [ids[1], ids[2]]);
        for id in expired {
            orders.bury(id, owner.clone());
        }
        assert_eq!(
            orders.newest_first(None, None).collect::<Vec<_>>(),
            [ids[0]]
        );
        assert!(orders.owner_of_expired(ids[1]).is_some());
        assert!(orders.owner_of_expired(ids[0]).is_none());
    }

    #[test]
    fn each_tenant_has_an_order_of_its_own() {
        let mut orders = Orders::default();
        let [a, b]: [Tenant; 2] = ["a", "b"].map(|name| name.parse().unwrap());
        let ids: Vec<JobId> = (0..4).map(|_| JobId::generate()).collect();
        for (id, tenant) in ids.iter().zip([&a, &b, &a, &b]) {
            orders.insert(*id, tenant);
        }
        let listed = |tenant, before| orders.newest_first(tenant, before).collect::<Vec<_>>();
        assert_eq!(listed(Some(&a), None), [ids[2], ids[0]]);
        assert_eq!(listed(Some(&b), Some(ids[3])), [ids[1]]);
        assert_eq!(listed(None, None), [ids[3], ids[2], ids[1], ids[0]]);
        assert_eq!(listed(Some(&Tenant::default()), None), []);
    }
}
