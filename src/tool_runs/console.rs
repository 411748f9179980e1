//! The log of the console of a job with tools, over all of its rounds: a head and a tail, as in a single execution.
//!
//! The entries of the head lie in the parts that rounds append. The tail moves, so it lies in the head of the progress,
//! which each round replaces.

use sandpiper_domain::{JsonText, LogEntry, LogKind, LogSoFar, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// An entry as it is stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoredEntry {
    number: u64,
    kind: LogKind,
    at_ms: u64,
    depth: u32,
    data: JsonText,
}

impl StoredEntry {
    fn new(number: u64, entry: LogEntry) -> Self {
        Self {
            number,
            kind: entry.kind,
            at_ms: entry.timestamp.as_unix_millis(),
            depth: entry.depth,
            data: entry.data,
        }
    }

    fn cost(&self) -> usize {
        LogEntry::OVERHEAD_BYTES + self.data.as_str().len()
    }

    pub(super) fn numbered(&self) -> (u64, LogEntry) {
        let entry = LogEntry {
            kind: self.kind,
            timestamp: Timestamp::from_unix_millis(self.at_ms),
            depth: self.depth,
            data: self.data.clone(),
        };
        (self.number, entry)
    }
}

/// The part of the log that each round replaces, and the size of what lies in the parts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Console {
    /// Cost of the entries in the parts, out of `outputBytes`.
    head_bytes: usize,
    /// True once the parts take no more entries: a later entry there would be out of order.
    head_is_full: bool,
    tail: VecDeque<StoredEntry>,
}

impl Console {
    /// Takes the entries of a round, whose first number is `next`. Returns those that belong into its part.
    pub(super) fn take(
        &mut self,
        entries: Vec<(u64, LogEntry)>,
        next: u64,
        output_bytes: u32,
    ) -> Vec<StoredEntry> {
        let output_bytes = usize::try_from(output_bytes).unwrap_or(usize::MAX);
        let mut of_part = Vec::new();
        let mut expected = next;
        for (number, entry) in entries {
            let entry = StoredEntry::new(number, entry);
            let cost = entry.cost();
            // Behind entries that were dropped the tail begins.
            let fits = number == expected && self.head_bytes + cost <= output_bytes / 2;
            expected = number + 1;
            if !self.head_is_full && fits {
                self.head_bytes += cost;
                of_part.push(entry);
            } else {
                self.head_is_full = true;
                self.tail.push_back(entry);
            }
        }
        let room = output_bytes.saturating_sub(self.head_bytes);
        let mut tail_bytes: usize = self.tail.iter().map(StoredEntry::cost).sum();
        while tail_bytes > room
            && let Some(entry) = self.tail.pop_front()
        {
            tail_bytes -= entry.cost();
        }
        of_part
    }

    pub(super) fn tail(&self) -> impl Iterator<Item = &StoredEntry> {
        self.tail.iter()
    }
}

/// Returns the entries of one round with their numbers. The first entry has the number `from`.
pub(super) fn numbered(
    log: Vec<LogEntry>,
    dropped: u64,
    dropped_at: usize,
    from: u64,
) -> Vec<(u64, LogEntry)> {
    let counted = log.into_iter().enumerate().map(|(count, entry)| {
        let behind = if count < dropped_at { 0 } else { dropped };
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        (from + count + behind, entry)
    });
    counted.collect()
}

/// A log of all rounds as it is shown beside a result.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct WholeLog {
    pub(crate) entries: Vec<LogEntry>,
    pub(crate) dropped: u64,
    /// The number of entries that precede the dropped ones.
    pub(crate) dropped_at: usize,
}

impl WholeLog {
    /// Returns the log that fits next to a result of `result_bytes`: the oldest entries of the tail make room first.
    pub(crate) fn within(log: LogSoFar, output_bytes: u32, result_bytes: usize) -> Self {
        let output_bytes = usize::try_from(output_bytes).unwrap_or(usize::MAX);
        let room = output_bytes.saturating_sub(result_bytes);
        let LogSoFar { entries, next } = log;
        let mut bytes: usize = entries.iter().map(|(_, one)| one.output_bytes()).sum();
        let mut head_bytes = 0;
        let in_head = (0..).zip(&entries).take_while(|(count, (number, entry))| {
            head_bytes += entry.output_bytes();
            count == number && head_bytes <= output_bytes / 2
        });
        let in_head = in_head.count();
        let mut head = entries;
        let mut tail: VecDeque<_> = head.split_off(in_head).into();
        while bytes > room
            && let Some((_, entry)) = tail.pop_front().or_else(|| head.pop())
        {
            bytes -= entry.output_bytes();
        }
        let (in_front, kept) = (head.len(), head.len() + tail.len());
        let dropped = next.saturating_sub(u64::try_from(kept).unwrap_or(u64::MAX));
        Self {
            dropped_at: if dropped > 0 {
                in_order(&head, &tail)
            } else {
                in_front
            },
            dropped,
            entries: head
                .into_iter()
                .chain(tail)
                .map(|(_, entry)| entry)
                .collect(),
        }
    }
}

/// Returns how many entries stand before the first gap.
fn in_order(head: &[(u64, LogEntry)], tail: &VecDeque<(u64, LogEntry)>) -> usize {
    let numbers = head.iter().chain(tail).map(|(number, _)| *number);
    (0..)
        .zip(numbers)
        .take_while(|(count, number)| count == number)
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(numbers: impl IntoIterator<Item = u64>) -> Vec<(u64, LogEntry)> {
        let entry = LogEntry {
            kind: LogKind::Log,
            timestamp: Timestamp::from_unix_millis(7),
            depth: 1,
            data: JsonText::parse("[1]".to_owned()).unwrap(),
        };
        numbers
            .into_iter()
            .map(|number| (number, entry.clone()))
            .collect()
    }

    fn numbers(stored: &[StoredEntry]) -> Vec<u64> {
        stored.iter().map(|entry| entry.number).collect()
    }

    /// Room for ten entries.
    const OUTPUT_BYTES: u32 = 670;

    #[test]
    fn the_head_lies_in_the_parts_and_the_tail_moves() {
        let mut console = Console::default();
        let part = console.take(entries(0..3), 0, OUTPUT_BYTES);
        assert_eq!(numbers(&part), [0, 1, 2]);
        assert_eq!(part[1].numbered(), entries([1])[0]);
        let part = console.take(entries(3..9), 3, OUTPUT_BYTES);
        assert_eq!(numbers(&part), [3, 4]);
        let part = console.take(entries(9..20), 9, OUTPUT_BYTES);
        assert!(part.is_empty());
        let tail: Vec<u64> = console.tail().map(|entry| entry.number).collect();
        assert_eq!(tail, [15, 16, 17, 18, 19]);
    }

    #[test]
    fn entries_behind_a_gap_belong_to_the_tail() {
        let mut console = Console::default();
        let log = entries([0, 0, 0])
            .into_iter()
            .map(|(_, entry)| entry)
            .collect();
        let numbered = numbered(log, 10, 1, 4);
        let of_round: Vec<u64> = numbered.iter().map(|(number, _)| *number).collect();
        assert_eq!(of_round, [4, 15, 16]);
        let part = console.take(numbered, 4, OUTPUT_BYTES);
        assert_eq!(numbers(&part), [4]);
        assert_eq!(console.tail().count(), 2);
    }

    #[test]
    fn a_result_displaces_the_oldest_entries_of_the_tail_and_then_the_head() {
        let log = |range: std::ops::Range<u64>| LogSoFar {
            next: range.end,
            entries: entries(range),
        };
        let whole = WholeLog::within(log(0..10), OUTPUT_BYTES, 0);
        assert_eq!((whole.entries.len(), whole.dropped), (10, 0));
        let whole = WholeLog::within(log(0..10), OUTPUT_BYTES, 2 * 67);
        assert_eq!(
            (whole.entries.len(), whole.dropped, whole.dropped_at),
            (8, 2, 5)
        );
        let whole = WholeLog::within(log(0..10), OUTPUT_BYTES, 8 * 67);
        assert_eq!(
            (whole.entries.len(), whole.dropped, whole.dropped_at),
            (2, 8, 2)
        );
    }
}
