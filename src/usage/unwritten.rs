//! Usage that the store has not recorded yet.

use sandpiper_domain::{Owner, Timestamp, UsageCounts};
use sandpiper_store::{UsageBatch, UsageEntry, UsageQuery, UsageSum};
use std::collections::HashMap;
use std::sync::Arc;

/// Most owners and hours with unwritten usage. While the store is away, an owner takes one for each hour.
const ENTRIES_MAX: usize = 50_000;

#[derive(Debug, Default)]
pub(super) struct Unwritten {
    /// Usage of each owner in the hour in which its last execution ended.
    current: HashMap<Owner, HourOfOwner>,
    /// Usage in other hours.
    others: Vec<UsageEntry>,
    /// The batch that is being recorded, or whose recording failed. Its response may be lost, so the batch is given again
    /// as it is.
    batch: Option<Arc<UsageBatch>>,
    /// The number of the last batch.
    sequence: u64,
}

#[derive(Debug)]
struct HourOfOwner {
    hour: Timestamp,
    counts: UsageCounts,
}

impl Unwritten {
    /// Adds usage to an hour. Returns false if there are too many owners and hours.
    pub(super) fn add(&mut self, owner: &Owner, hour: Timestamp, counts: &UsageCounts) -> bool {
        let is_full = self.current.len() + self.others.len() >= ENTRIES_MAX;
        let Some(current) = self.current.get_mut(owner) else {
            if !is_full {
                let counts = *counts;
                self.current
                    .insert(owner.clone(), HourOfOwner { hour, counts });
            }
            return !is_full;
        };
        if current.hour != hour {
            if is_full {
                return false;
            }
            let counts = UsageCounts::default();
            let before = std::mem::replace(current, HourOfOwner { hour, counts });
            self.others.push(UsageEntry {
                owner: owner.clone(),
                hour: before.hour,
                counts: before.counts,
            });
        }
        current.counts.add(counts);
        true
    }

    /// Returns the batch to record: the last one if its recording did not succeed, or else a new one of all usage.
    pub(super) fn begin_batch(&mut self) -> Option<Arc<UsageBatch>> {
        let is_empty = self.current.is_empty() && self.others.is_empty();
        if self.batch.is_none() && !is_empty {
            self.sequence += 1;
            let mut entries = std::mem::take(&mut self.others);
            entries.extend(self.current.drain().map(|(owner, current)| UsageEntry {
                owner,
                hour: current.hour,
                counts: current.counts,
            }));
            self.batch = Some(Arc::new(UsageBatch {
                sequence: self.sequence,
                entries,
            }));
        }
        self.batch.clone()
    }

    /// Notes that the store has recorded the batch with this number.
    pub(super) fn end_batch(&mut self, sequence: u64) {
        self.batch.take_if(|batch| batch.sequence == sequence);
    }

    /// Returns all usage, each with the number of the batch that has it or will have it.
    pub(super) fn entries(&self) -> impl Iterator<Item = (u64, &Owner, Timestamp, &UsageCounts)> {
        let next = self.sequence + 1;
        let batch = self.batch.iter().flat_map(|batch| {
            let entries = batch.entries.iter();
            entries.map(|entry| (batch.sequence, &entry.owner, entry.hour, &entry.counts))
        });
        let others = self.others.iter();
        let others = others.map(move |entry| (next, &entry.owner, entry.hour, &entry.counts));
        let current = self.current.iter();
        let current = current.map(move |(owner, at)| (next, owner, at.hour, &at.counts));
        batch.chain(others).chain(current)
    }

    /// Returns the usage that a query asks for, each with the number of its batch.
    pub(super) fn matching(&self, query: &UsageQuery) -> Vec<(u64, UsageSum)> {
        let matching = self.entries().filter(|(_, owner, hour, _)| {
            (query.from..query.to).contains(hour) && query.access.includes(owner)
        });
        let sums = matching.map(|(sequence, owner, hour, counts)| {
            let sum = UsageSum {
                start: query.period.start(hour),
                owner: owner.clone(),
                counts: *counts,
            };
            (sequence, sum)
        });
        sums.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sandpiper_domain::{Access, Period};

    fn one() -> UsageCounts {
        UsageCounts {
            executions_charged: 1,
            ..UsageCounts::default()
        }
    }

    fn hour(number: u64) -> Timestamp {
        Timestamp::from_unix_millis(number * 3_600_000)
    }

    fn sum(batch: &UsageBatch) -> u64 {
        let counts = batch.entries.iter().map(|entry| &entry.counts);
        counts.map(|counts| counts.executions_charged).sum()
    }

    #[test]
    fn a_batch_is_given_again_until_it_is_recorded_and_has_nothing_that_came_later() {
        let (mut unwritten, owner) = (Unwritten::default(), Owner::default());
        assert!(unwritten.begin_batch().is_none());
        unwritten.add(&owner, hour(1), &one());
        unwritten.add(&owner, hour(1), &one());
        let first = unwritten.begin_batch().unwrap();
        assert_eq!((first.sequence, sum(&first)), (1, 2));
        unwritten.add(&owner, hour(1), &one());
        assert_eq!(unwritten.begin_batch().unwrap(), first);
        unwritten.end_batch(1);
        let second = unwritten.begin_batch().unwrap();
        assert_eq!((second.sequence, sum(&second)), (2, 1));
        // A late response to the first batch concerns no other.
        unwritten.end_batch(1);
        assert_eq!(unwritten.begin_batch().unwrap(), second);
        unwritten.end_batch(2);
        assert!(unwritten.begin_batch().is_none());
    }

    #[test]
    fn usage_stays_in_its_hour_in_whichever_order_executions_end() {
        let (mut unwritten, owner) = (Unwritten::default(), Owner::default());
        for number in [1, 2, 1, 2, 2] {
            unwritten.add(&owner, hour(number), &one());
        }
        let query = |from, to| UsageQuery {
            access: Access::All,
            period: Period::Hour,
            from: hour(from),
            to: hour(to),
            limit: 10,
        };
        let count = |query| unwritten.matching(&query).len();
        assert!(count(query(1, 2)) > 0);
        assert_eq!(count(query(3, 9)), 0);
        let batch = unwritten.begin_batch().unwrap();
        let of = |number| {
            let entries = batch.entries.iter();
            let entries = entries.filter(|entry| entry.hour == hour(number));
            entries
                .map(|entry| entry.counts.executions_charged)
                .sum::<u64>()
        };
        assert_eq!((of(1), of(2)), (2, 3));
    }
}
