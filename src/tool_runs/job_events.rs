//! The events of a job with tools: entries of its log, calls and answers, in one order.
//!
//! The order follows from what the store has: of each round first the answers that it took, then its log entries, then its
//! calls. So every node tells the same events with the same ids, at any time.

use super::JobRun;
use super::job_run::RoundEnd;
use sandpiper_domain::tools::{Call, CallResult, Record};
use sandpiper_domain::{LogEntry, LogSoFar};
use std::fmt;
use std::str::FromStr;

/// The place behind an event: the numbers of the next log entry, the next call and the next answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EventPosition {
    pub(crate) log_entries: u64,
    pub(crate) calls: usize,
    pub(crate) answers: usize,
}

impl EventPosition {
    /// Returns the place behind both: an event of an earlier round may stand behind a place that a client knows.
    pub(crate) fn beyond(self, other: Self) -> Self {
        Self {
            log_entries: self.log_entries.max(other.log_entries),
            calls: self.calls.max(other.calls),
            answers: self.answers.max(other.answers),
        }
    }
}

impl fmt::Display for EventPosition {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            log_entries,
            calls,
            answers,
        } = self;
        write!(formatter, "{log_entries}.{calls}.{answers}")
    }
}

#[derive(Debug, PartialEq, Eq)]
pub struct NoPosition;

impl FromStr for EventPosition {
    type Err = NoPosition;

    fn from_str(text: &str) -> Result<Self, NoPosition> {
        let mut numbers = text.split('.');
        let mut next = || numbers.next().ok_or(NoPosition);
        let position = Self {
            log_entries: next()?.parse().map_err(|_| NoPosition)?,
            calls: next()?.parse().map_err(|_| NoPosition)?,
            answers: next()?.parse().map_err(|_| NoPosition)?,
        };
        match numbers.next() {
            None => Ok(position),
            Some(_) => Err(NoPosition),
        }
    }
}

/// Something that a committed round has done.
#[derive(Debug)]
pub(crate) enum JobEvent<'a> {
    /// The script took an answer at this time of its clock, Unix milliseconds.
    Answer {
        seq: u32,
        at_ms: u64,
        result: &'a CallResult,
    },
    Log(&'a LogEntry),
    Call(&'a Call),
}

impl JobRun {
    /// Returns the events beyond `since`, each with the place behind it. `log` is the log of the console.
    pub(crate) fn events<'a>(
        &'a self,
        log: &'a LogSoFar,
        since: EventPosition,
    ) -> Vec<(EventPosition, JobEvent<'a>)> {
        let mut answers = self.run.log.answers().enumerate().peekable();
        let mut entries = log.entries.iter().peekable();
        let mut calls = self.run.log.calls().iter().enumerate().peekable();
        // Behind the last round come the answers to calls that the script did not await.
        let rest = RoundEnd {
            calls: usize::MAX,
            records: usize::MAX,
            log_entries: u64::MAX,
        };
        let mut at = EventPosition::default();
        let mut events = Vec::new();
        // The numbers of records and of answers differ: wakes are records too.
        let mut answers_until = AnswersUntil::default();
        for end in self.round_ends.iter().copied().chain([rest]) {
            let answers_end = answers_until.records(self, end.records);
            while let Some((index, (seq, at_ms, result))) =
                answers.next_if(|(index, _)| *index < answers_end)
            {
                at.answers = index + 1;
                if index >= since.answers {
                    events.push((at, JobEvent::Answer { seq, at_ms, result }));
                }
            }
            while let Some((number, entry)) =
                entries.next_if(|(number, _)| *number < end.log_entries)
            {
                at.log_entries = number + 1;
                if *number >= since.log_entries {
                    events.push((at, JobEvent::Log(entry)));
                }
            }
            while let Some((index, call)) = calls.next_if(|(index, _)| *index < end.calls) {
                at.calls = index + 1;
                if index >= since.calls {
                    events.push((at, JobEvent::Call(call)));
                }
            }
        }
        events
    }
}

/// Counts the answers among the first records of a log.
#[derive(Default)]
struct AnswersUntil {
    records: usize,
    answers: usize,
}

impl AnswersUntil {
    fn records(&mut self, run: &JobRun, end: usize) -> usize {
        if end == usize::MAX {
            return usize::MAX;
        }
        let records = run.run.log.records().get(self.records..end);
        let is_answer = |record: &&Record| matches!(record, Record::Answer { .. });
        self.answers += records.unwrap_or_default().iter().filter(is_answer).count();
        self.records = end;
        self.answers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_read_as_it_is_written() {
        let position = EventPosition {
            log_entries: 5,
            calls: 2,
            answers: 1,
        };
        assert_eq!(position.to_string(), "5.2.1");
        assert_eq!("5.2.1".parse(), Ok(position));
        for text in ["", "1", "1-2", "1.2", "1.2.3.4", "a.b.c", "1..2"] {
            assert_eq!(text.parse::<EventPosition>(), Err(NoPosition), "{text}");
        }
    }
}
