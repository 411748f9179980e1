//! Usage in memory: sums by hour, day and month, bounded in number. The oldest hours are dropped first, then days.

use crate::usage::{
    RecordedTotals, RecordedUsage, TotalsQuery, UsageBatch, UsageQuery, UsageSum, UsageTotal,
};
use parking_lot::Mutex;
use sandpiper_domain::{ApiKeyId, Owner, Period, Tenant, Timestamp, UsageCounts};
use std::collections::BTreeMap;
use std::time::Duration;

/// Most sums of all owners and periods together: some ten megabytes.
const SUMS_MAX: usize = 50_000;

#[derive(Debug)]
pub(super) struct UsageTable {
    /// Time for which sums are kept.
    kept: Duration,
    sums: Mutex<Sums>,
}

#[derive(Debug, Default)]
struct Sums {
    /// Sums by first moment and owner, in the order of [`Period::ALL`].
    periods: [BTreeMap<Timestamp, BTreeMap<Owner, UsageCounts>>; Period::ALL.len()],
    count: usize,
    /// The number of the last batch.
    sequence: u64,
    dropped: u64,
}

impl UsageTable {
    pub(super) fn new(kept: Duration) -> Self {
        Self {
            kept,
            sums: Mutex::default(),
        }
    }

    pub(super) fn add(&self, owner: &Owner, at: Timestamp, counts: &UsageCounts) {
        self.sums.lock().add(owner, at, counts, SUMS_MAX);
    }

    pub(super) fn record(&self, batch: &UsageBatch) {
        let mut sums = self.sums.lock();
        if batch.sequence <= sums.sequence {
            return;
        }
        sums.sequence = batch.sequence;
        for entry in &batch.entries {
            sums.add(&entry.owner, entry.hour, &entry.counts, SUMS_MAX);
        }
    }

    pub(super) fn read(&self, query: &UsageQuery) -> RecordedUsage {
        let sums = self.sums.lock();
        let range = sums.periods[query.period as usize].range(query.from..query.to);
        let found = range
            .flat_map(|(start, owners)| owners.iter().map(move |owner| (start, owner)))
            .filter(|(_, (owner, _))| query.access.includes(owner))
            .take(query.limit.saturating_add(1))
            .map(|(start, (owner, counts))| UsageSum {
                start: *start,
                owner: owner.clone(),
                counts: *counts,
            });
        RecordedUsage {
            sums: found.collect(),
            sequence: sums.sequence,
        }
    }

    pub(super) fn totals(&self, query: &TotalsQuery) -> RecordedTotals {
        let sums = self.sums.lock();
        let mut totals = Vec::new();
        for (period, start) in [(Period::Day, query.day), (Period::Month, query.month)] {
            let owners = sums.periods[period as usize].get(&start);
            let owners = owners.into_iter().flatten();
            let wanted = owners.filter(|(owner, _)| query.tenants.contains(&owner.tenant));
            totals.extend(wanted.map(|(owner, counts)| UsageTotal {
                owner: owner.clone(),
                period,
                charged: counts.charged(),
            }));
        }
        RecordedTotals {
            totals,
            sequence: sums.sequence,
            other_nodes: 0,
        }
    }

    /// Gives the usage of `key` as a key of the tenant `from` to the tenant `to`.
    pub(super) fn assign(&self, key: ApiKeyId, from: &Tenant, to: &Tenant) {
        let of = |tenant: &Tenant| Owner {
            tenant: tenant.clone(),
            key: Some(key),
        };
        let (before, after) = (of(from), of(to));
        let sums = &mut *self.sums.lock();
        for owners in sums.periods.iter_mut().flat_map(BTreeMap::values_mut) {
            let Some(counts) = owners.remove(&before) else {
                continue;
            };
            sums.count -= usize::from(owners.contains_key(&after));
            owners.entry(after.clone()).or_default().add(&counts);
        }
    }

    /// Returns whether there is usage of a tenant.
    pub(super) fn has(&self, tenant: &Tenant) -> bool {
        let sums = self.sums.lock();
        let mut owners = sums.periods.iter().flat_map(BTreeMap::values);
        owners.any(|owners| owners.keys().any(|owner| owner.tenant == *tenant))
    }

    /// Drops the usage of a tenant.
    pub(super) fn purge(&self, tenant: &Tenant) {
        let sums = &mut *self.sums.lock();
        let mut count = 0;
        for starts in &mut sums.periods {
            starts.retain(|_, owners| {
                owners.retain(|owner, _| owner.tenant != *tenant);
                count += owners.len();
                !owners.is_empty()
            });
        }
        sums.count = count;
    }

    /// Drops sums that are too old to be kept.
    pub(super) fn sweep(&self, now: Timestamp) {
        let kept = u64::try_from(self.kept.as_millis()).unwrap_or(u64::MAX);
        let until = Timestamp::from_unix_millis(now.as_unix_millis().saturating_sub(kept));
        let sums = &mut *self.sums.lock();
        for period in &mut sums.periods {
            while let Some(oldest) = period.first_entry()
                && *oldest.key() <= until
            {
                sums.count -= oldest.remove().len();
            }
        }
    }

    /// Returns the number of sums that were dropped because there were too many.
    pub(super) fn dropped(&self) -> u64 {
        self.sums.lock().dropped
    }
}

impl Sums {
    fn add(&mut self, owner: &Owner, at: Timestamp, counts: &UsageCounts, most: usize) {
        for (period, starts) in Period::ALL.into_iter().zip(&mut self.periods) {
            let owners = starts.entry(period.start(at)).or_default();
            if let Some(sum) = owners.get_mut(owner) {
                sum.add(counts);
            } else {
                owners.insert(owner.clone(), *counts);
                self.count += 1;
            }
        }
        while self.count > most {
            self.drop_oldest();
        }
    }

    /// Drops one sum of the oldest hour, or of the oldest longer period where there are no hours.
    fn drop_oldest(&mut self) {
        let mut periods = self.periods.iter_mut();
        let Some(mut oldest) = periods.find_map(BTreeMap::first_entry) else {
            self.count = 0;
            return;
        };
        oldest.get_mut().pop_first();
        if oldest.get().is_empty() {
            oldest.remove();
        }
        self.count -= 1;
        self.dropped += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_sums_drop_the_oldest_hours_and_keep_days_and_months() {
        let (mut sums, owner) = (Sums::default(), Owner::default());
        let counts = UsageCounts {
            executions_charged: 1,
            ..UsageCounts::default()
        };
        let hours = |count: u64| Timestamp::from_unix_millis(count * 3_600_000);
        for hour in 0..48 {
            sums.add(&owner, hours(hour), &counts, 10);
        }
        // Two days and a month leave room for seven hours.
        let [of_hours, of_days, of_months] = &sums.periods;
        let kept: Vec<Timestamp> = of_hours.keys().copied().collect();
        assert_eq!(kept, (41..48).map(hours).collect::<Vec<_>>());
        assert_eq!((sums.count, sums.dropped), (10, 41));
        let charged = |owners: &BTreeMap<Owner, UsageCounts>| owners[&owner].executions_charged;
        assert_eq!(of_days.values().map(charged).collect::<Vec<_>>(), [24, 24]);
        assert_eq!(of_months.values().map(charged).collect::<Vec<_>>(), [48]);
    }
}
