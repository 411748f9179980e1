//! The retained part of a log that may be longer than its response: the head, the tail, and the number of entries
//! missing between them.
//!
//! The head takes up to half of `outputBytes`, and the newest entries take the rest. A result that needs the room
//! displaces log entries, the oldest of the tail first. The cost of an entry is [`LogEntry::output_bytes`].
//!
//! An execution with tools has its log in pieces, one of each round, which are sent before the next one is known. Its head
//! takes half of `outputBytes` in all rounds together, and it has no tail.

use sandpiper_domain::tools::ConsoleBytes;
use sandpiper_domain::{Limits, LogEntry, LogSoFar};
use sandpiper_sandbox_protocol::BrokenProtocol;
use std::collections::VecDeque;

/// The log of a running execution, bounded by the job's limits. The engine observes the limits; an attacker who has
/// taken over the engine does not.
#[derive(Debug, Default)]
pub(crate) struct RetainedLog {
    head: Vec<(u64, LogEntry)>,
    tail: VecDeque<(u64, LogEntry)>,
    /// Entries received, retained or not. The number of an entry is the count of entries before it.
    received: u64,
    /// True once the head takes no more entries: a later entry there would be out of order.
    head_is_full: bool,
    head_bytes: usize,
    tail_bytes: usize,
    dropped: u64,
    output_bytes: usize,
    /// Of a round: its limits, and the cost of the entries of all rounds so far.
    round: Option<(Limits, ConsoleBytes)>,
    /// Cost of all entries, retained or not.
    logged: u64,
    logged_max: u64,
}

#[derive(Debug)]
pub(crate) struct FinishedLog {
    pub(crate) entries: Vec<LogEntry>,
    pub(crate) dropped: u64,
    /// The number of retained entries that precede the dropped ones.
    pub(crate) dropped_at: usize,
    /// Cost of the retained entries, out of `outputBytes`.
    pub(crate) bytes: usize,
    /// Of a round: the cost of the entries of all rounds so far.
    pub(crate) console: ConsoleBytes,
}

impl FinishedLog {
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.dropped == 0
    }
}

impl RetainedLog {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            output_bytes: usize::try_from(limits.output_bytes()).unwrap_or(usize::MAX),
            logged_max: limits.log_bytes(),
            ..Self::default()
        }
    }

    /// Begins the log of a round. `before` is the cost of the entries of earlier rounds.
    pub(crate) fn of_round(limits: &Limits, before: ConsoleBytes) -> Self {
        Self {
            round: Some((*limits, before)),
            logged: before.logged,
            ..Self::new(limits)
        }
    }

    /// Returns the bytes that a result may have. In an execution without tools a result displaces log entries.
    pub(crate) fn room_for_result(&self) -> usize {
        match &self.round {
            Some((limits, console)) => console.room_for_result(limits),
            None => self.output_bytes,
        }
    }

    /// Adds the next entry. Drops older entries if there is no room for it.
    pub(crate) fn take(&mut self, entry: LogEntry) -> Result<(), BrokenProtocol> {
        let cost = entry.output_bytes();
        self.charge(cost)?;
        if cost > self.output_bytes {
            return Err(BrokenProtocol::TooLong);
        }
        let number = self.received;
        self.received += 1;
        if let Some((limits, console)) = &mut self.round {
            if console.add(cost, limits) {
                self.head_bytes += cost;
                self.head.push((number, entry));
            } else {
                self.dropped += 1;
            }
            return Ok(());
        }
        if !self.head_is_full && self.head_bytes + cost <= self.output_bytes / 2 {
            self.head_bytes += cost;
            self.head.push((number, entry));
            return Ok(());
        }
        self.head_is_full = true;
        self.tail_bytes += cost;
        self.tail.push_back((number, entry));
        self.trim_tail(self.output_bytes.saturating_sub(self.head_bytes));
        Ok(())
    }

    /// Counts an entry that the job process could not send.
    pub(crate) fn drop_one(&mut self) -> Result<(), BrokenProtocol> {
        self.charge(LogEntry::OVERHEAD_BYTES)?;
        if let Some((limits, console)) = &mut self.round {
            console.add(LogEntry::OVERHEAD_BYTES, limits);
        }
        self.received += 1;
        self.dropped += 1;
        Ok(())
    }

    /// Returns how many entries were received.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    pub(crate) fn since(&self, number: u64) -> LogSoFar {
        let kept = self.head.iter().chain(&self.tail);
        LogSoFar {
            entries: kept
                .skip_while(|(its_number, _)| *its_number < number)
                .cloned()
                .collect(),
            next: self.received,
        }
    }

    /// Returns the log that fits next to a result of `result_bytes`.
    pub(crate) fn finish(mut self, result_bytes: usize) -> FinishedLog {
        // Of a round all entries stay: its result has the room that is left.
        let result_bytes = if self.round.is_some() {
            0
        } else {
            result_bytes
        };
        let room = self.output_bytes.saturating_sub(result_bytes);
        self.trim_tail(room.saturating_sub(self.head_bytes));
        while self.head_bytes > room {
            let Some((_, entry)) = self.head.pop() else {
                break;
            };
            self.head_bytes -= entry.output_bytes();
            self.dropped += 1;
        }
        let kept = || self.head.iter().chain(&self.tail);
        let in_order = (0..)
            .zip(kept())
            .take_while(|(count, (number, _))| count == number);
        let dropped_at = in_order.count();
        let kept = self.head.into_iter().chain(self.tail);
        FinishedLog {
            entries: kept.map(|(_, entry)| entry).collect(),
            dropped_at,
            dropped: self.dropped,
            bytes: self.head_bytes + self.tail_bytes,
            console: self
                .round
                .map_or_else(ConsoleBytes::default, |(_, console)| console),
        }
    }

    fn charge(&mut self, cost: usize) -> Result<(), BrokenProtocol> {
        self.logged = self
            .logged
            .saturating_add(u64::try_from(cost).unwrap_or(u64::MAX));
        if self.logged > self.logged_max {
            return Err(BrokenProtocol::TooLong);
        }
        Ok(())
    }

    fn trim_tail(&mut self, room: usize) {
        while self.tail_bytes > room {
            let Some((_, entry)) = self.tail.pop_front() else {
                break;
            };
            self.tail_bytes -= entry.output_bytes();
            self.dropped += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use proptest::test_runner::Config;
    use sandpiper_domain::{Ceiling, JsonText, LogKind, Timestamp};

    const OUTPUT_BYTES: u32 = 1000;

    fn limits() -> Limits {
        let ceiling = Ceiling {
            timeout_ms: 1_000,
            memory_bytes: 1 << 20,
            output_bytes: OUTPUT_BYTES,
        };
        Limits::defaults(1_000, 1 << 20, OUTPUT_BYTES, &ceiling).unwrap()
    }

    fn kept() -> RetainedLog {
        RetainedLog::new(&limits())
    }

    fn entry(number: usize, bytes: usize) -> LogEntry {
        let text = "x".repeat(bytes);
        LogEntry {
            kind: LogKind::Log,
            timestamp: Timestamp::now(),
            depth: 0,
            data: JsonText::parse(format!("[{number},\"{text}\"]")).unwrap(),
        }
    }

    fn numbers(log: &FinishedLog) -> Vec<usize> {
        let number = |entry: &LogEntry| {
            let data: (usize, String) = serde_json::from_str(entry.data.as_str()).unwrap();
            data.0
        };
        log.entries.iter().map(number).collect()
    }

    #[test]
    fn the_log_of_many_rounds_is_that_of_one() {
        let costs = [30, 10, 80, 30, 400, 30, 2, 30, 90];
        let in_rounds = |lengths: &[usize]| {
            let mut before = ConsoleBytes::default();
            let mut told = Vec::new();
            let mut number = 0;
            for length in lengths {
                let mut log = RetainedLog::of_round(&limits(), before);
                for cost in &costs[number..number + length] {
                    log.take(entry(number, *cost)).unwrap();
                    number += 1;
                }
                let finished = log.finish(OUTPUT_BYTES as usize);
                before = finished.console;
                told.extend(numbers(&finished));
            }
            (told, before)
        };
        let whole = in_rounds(&[costs.len()]);
        // The fifth does not fit, and none after it is kept.
        assert_eq!(whole.0, [0, 1, 2, 3]);
        assert_eq!(in_rounds(&[1; 9]), whole);
        assert_eq!(in_rounds(&[0, 5, 0, 2, 2]), whole);
        assert!(whole.1.kept <= ConsoleBytes::kept_max(&limits()));
        let log = RetainedLog::of_round(&limits(), whole.1);
        let left = usize::try_from(u64::from(OUTPUT_BYTES) - whole.1.kept).unwrap();
        assert_eq!(log.room_for_result(), left);
    }

    #[test]
    fn a_log_that_fits_is_kept_whole() {
        let mut log = kept();
        // 64 and `[0,"…"]` of 36 each.
        for number in 0..10 {
            log.take(entry(number, 30)).unwrap();
        }
        let log = log.finish(0);
        assert_eq!(numbers(&log), (0..10).collect::<Vec<_>>());
        assert_eq!((log.dropped, log.bytes), (0, 1000));
    }

    #[test]
    fn a_longer_one_keeps_its_head_and_its_newest_entries() {
        let mut log = kept();
        for number in 0..100 {
            log.take(entry(number, 29 + usize::from(number < 10)))
                .unwrap();
        }
        let log = log.finish(0);
        assert_eq!(numbers(&log), [0, 1, 2, 3, 4, 95, 96, 97, 98, 99]);
        assert_eq!((log.dropped, log.dropped_at), (90, 5));
    }

    #[test]
    fn a_result_takes_its_room_from_the_middle() {
        let finish = |result_bytes| {
            let mut log = kept();
            for number in 0..10 {
                log.take(entry(number, 30)).unwrap();
            }
            log.finish(result_bytes)
        };
        assert_eq!(numbers(&finish(1)), [0, 1, 2, 3, 4, 6, 7, 8, 9]);
        assert_eq!(numbers(&finish(500)), [0, 1, 2, 3, 4]);
        assert_eq!(numbers(&finish(650)), [0, 1, 2]);
        assert_eq!(numbers(&finish(1000)), [0; 0]);
        assert_eq!(finish(1000).dropped, 10);
    }

    #[test]
    fn an_entry_that_needs_all_the_room_there_is_beside_the_head_is_kept() {
        let mut log = kept();
        for number in 0..3 {
            log.take(entry(number, 30)).unwrap();
        }
        log.take(entry(3, 630)).unwrap();
        assert_eq!(numbers(&log.finish(0)), [0, 1, 2, 3]);
    }

    #[test]
    fn while_it_runs_what_is_kept_can_be_read_from_any_number_on() {
        let mut log = kept();
        assert_eq!(log.since(0), LogSoFar::default());
        for number in 0..20 {
            log.take(entry(number, 30 - usize::from(number > 9)))
                .unwrap();
        }
        log.drop_one().unwrap();
        let since = |number| {
            let log = log.since(number);
            assert_eq!(log.next, 21);
            let numbers: Vec<u64> = log.entries.iter().map(|(number, _)| *number).collect();
            numbers
        };
        assert_eq!(since(0), [0, 1, 2, 3, 4, 15, 16, 17, 18, 19]);
        assert_eq!(since(3), [3, 4, 15, 16, 17, 18, 19]);
        assert_eq!(since(9), [15, 16, 17, 18, 19]);
        assert_eq!(since(18), [18, 19]);
        assert_eq!(since(20), [0; 0]);
        assert_eq!(log.since(0).dropped(), 11);
        let written: (u64, String) = {
            let log = log.since(17);
            serde_json::from_str(log.entries[0].1.data.as_str()).unwrap()
        };
        assert_eq!(written.0, 17);
    }

    #[test]
    fn logging_without_end_breaks_the_protocol() {
        let mut log = kept();
        let most = usize::try_from(Limits::LOG_FACTOR).unwrap() * 10;
        for number in 0..most {
            log.take(entry(number % 10, 30)).unwrap();
        }
        assert_eq!(log.drop_one(), Err(BrokenProtocol::TooLong));
    }

    proptest! {
        #![proptest_config(Config { failure_persistence: None, ..Config::default() })]

        #[test]
        fn what_is_kept_and_what_is_dropped_is_what_was_logged_in_order_and_fits(
            sizes in prop::collection::vec(prop::option::of(0..900_usize), 0..40),
            result_bytes in 0..1000_usize,
        ) {
            let mut log = kept();
            let mut logged = 0;
            for (number, size) in sizes.iter().enumerate() {
                let taken = match size {
                    Some(size) => log.take(entry(number, *size)),
                    None => log.drop_one(),
                };
                if taken.is_err() {
                    break;
                }
                logged += 1;
            }
            let log = log.finish(result_bytes);
            let kept = numbers(&log);
            prop_assert!(kept.is_sorted());
            prop_assert_eq!(u64::try_from(kept.len()).unwrap() + log.dropped, logged);
            let bytes: usize = log.entries.iter().map(LogEntry::output_bytes).sum();
            prop_assert_eq!(bytes, log.bytes);
            prop_assert!(bytes + result_bytes <= 1000);
        }
    }
}
