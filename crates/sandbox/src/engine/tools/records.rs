//! The choice of the next record: the log's own, or at its end a new one.
//!
//! At the end of the log the earlier of two is made: an answer at hand, or a wake if the service's clock has reached the due
//! time of a timer.

use super::divergence::Divergence;
use super::replay::{Delivery, Replay, Source, State, Target};
use sandpiper_domain::tools::{CallResult, Record, Refusal, ToolLimits};
use sandpiper_sandbox_protocol::ReportedRecord;
use std::time::Duration;

/// The next step when no microtask is left and no timer is due.
#[derive(Debug, PartialEq)]
pub(super) enum Next {
    Record(Target),
    /// A timer is due so soon that the process waits for it.
    Wait(Duration),
    /// The execution waits for calls or for a timer, due at these Unix milliseconds.
    Suspend(Option<u64>),
    TooManyWakes,
    /// Nothing can ever happen any more.
    Nothing,
}

impl Replay {
    /// Returns what happens next. `clock_ms` is the script's clock, and `due_ms` the time of its next timer, Unix
    /// milliseconds. Calls `reach_end` before the first step behind the log.
    pub(super) fn next(
        &self,
        clock_ms: u64,
        due_ms: Option<u64>,
        reach_end: impl FnOnce() -> Result<(), Divergence>,
    ) -> Result<Next, Divergence> {
        if let Some(target) = self.next_of_log()? {
            return Ok(Next::Record(target));
        }
        if self.given.strict {
            return self.next_of_strict(due_ms);
        }
        let now_ms = self.now_ms();
        let answer = self.next_answer();
        let wake = due_ms
            .filter(|due| *due <= now_ms)
            .map(|_| now_ms.max(clock_ms));
        let answer = answer.map(|(delivery, arrived_ms)| (delivery, arrived_ms.max(clock_ms)));
        let (at_ms, answer) = match (answer, wake) {
            (None, None) => return Ok(self.next_of_nothing(now_ms, due_ms)),
            (Some((answer, at_ms)), None) => (at_ms, Some(answer)),
            (Some((answer, at_ms)), Some(wake)) if at_ms <= wake => (at_ms, Some(answer)),
            (_, Some(wake)) => (wake, None),
        };
        if !self.is_behind_log() {
            reach_end()?;
        }
        self.make(Target { at_ms, answer })
    }

    /// Takes the next record of the log.
    fn next_of_log(&self) -> Result<Option<Target>, Divergence> {
        let mut state = self.state.borrow_mut();
        let index = state.records;
        let Some(record) = self.log().records().get(index) else {
            return Ok(None);
        };
        state.records += 1;
        if let Record::Answer { result, .. } = record {
            state.log_bytes = state.log_bytes.saturating_add(result.log_bytes());
        }
        let answer = match record {
            Record::Answer { seq, .. } if !self.pending.borrow().contains_key(seq) => {
                return Err(Divergence(format!(
                    "the log has an answer to call {seq} where the script has not made that call"
                )));
            }
            Record::Answer { seq, .. } => Some(Delivery {
                seq: *seq,
                result: Source::Log(index),
            }),
            Record::Wake { .. } => None,
        };
        Ok(Some(Target {
            at_ms: record.at_ms(),
            answer,
        }))
    }

    /// A strict replay jumps to the next timer, and makes no record.
    fn next_of_strict(&self, due_ms: Option<u64>) -> Result<Next, Divergence> {
        if let Some(at_ms) = due_ms {
            return Ok(Next::Record(Target {
                at_ms,
                answer: None,
            }));
        }
        match self.pending.borrow().keys().next() {
            Some(seq) => Err(Divergence(format!(
                "the script waits for call {seq}, and the log has no answer to it"
            ))),
            None => Ok(Next::Nothing),
        }
    }

    /// Returns the earliest answer at hand to a call that has been made, with the time at which it arrived.
    fn next_answer(&self) -> Option<(Delivery, u64)> {
        let state = self.state.borrow();
        if let Some((seq, refusal)) = state.own_answers.front() {
            let delivery = Delivery {
                seq: *seq,
                result: Source::Refusal(*refusal),
            };
            return Some((delivery, 0));
        }
        let pending = self.pending.borrow();
        let index = *state.arrived.iter().find(|index| {
            let seq = self.given.arrived[**index].seq;
            pending.contains_key(&seq)
        })?;
        let arrived = &self.given.arrived[index];
        let delivery = Delivery {
            seq: arrived.seq,
            result: Source::Arrived(index),
        };
        Some((delivery, arrived.arrived_ms))
    }

    fn next_of_nothing(&self, now_ms: u64, due_ms: Option<u64>) -> Next {
        let state = self.state.borrow();
        let has_pending = !self.pending.borrow().is_empty();
        let Some(due_ms) = due_ms else {
            return if has_pending {
                Next::Suspend(None)
            } else {
                Next::Nothing
            };
        };
        let wait_ms = due_ms.saturating_sub(now_ms);
        let budget = Duration::from_millis(self.given.wait_ms);
        let left = budget.saturating_sub(self.waited());
        let wait = Duration::from_millis(wait_ms);
        // A new call is offered only after the suspension.
        let is_short = wait_ms <= ToolLimits::WAIT_IN_PROCESS_MS && wait <= left;
        if is_short && state.new_calls.is_empty() {
            return Next::Wait(wait);
        }
        Next::Suspend(Some(due_ms))
    }

    /// Makes a record of `target` behind the log.
    fn make(&self, mut target: Target) -> Result<Next, Divergence> {
        let mut state = self.state.borrow_mut();
        let at_ms = target.at_ms;
        let Some(delivery) = &mut target.answer else {
            if state.wakes >= self.limits().wakes {
                return Ok(Next::TooManyWakes);
            }
            state.wakes += 1;
            state.new_records.push(ReportedRecord::Wake { at_ms });
            return Ok(Next::Record(target));
        };
        let refused = match delivery.result {
            Source::Refusal(refusal) => {
                state.own_answers.pop_front();
                Some(refusal)
            }
            Source::Arrived(index) => {
                state.arrived.retain(|other| *other != index);
                self.refusal_for_room(&state, index)
            }
            Source::Log(_) => None,
        };
        if let Some(refusal) = refused {
            delivery.result = Source::Refusal(refusal);
        }
        let bytes = self.result_of(delivery.result).log_bytes();
        state.log_bytes = state.log_bytes.saturating_add(bytes);
        state.new_records.push(ReportedRecord::Answer {
            seq: delivery.seq,
            at_ms,
            refused,
        });
        Ok(Next::Record(target))
    }

    /// Returns the failure in the place of an answer that the log has no room for.
    fn refusal_for_room(&self, state: &State, index: usize) -> Option<Refusal> {
        let bytes = self.given.arrived[index].result.log_bytes();
        let bytes = state.log_bytes.saturating_add(bytes);
        let most = usize::try_from(self.limits().log_bytes).unwrap_or(usize::MAX);
        (bytes > most).then_some(Refusal::LogFull)
    }

    /// Returns a result where it lies.
    pub(super) fn result_of(&self, source: Source) -> CallResult {
        match source {
            Source::Log(index) => match &self.log().records()[index] {
                Record::Answer { result, .. } => result.clone(),
                Record::Wake { .. } => CallResult::Failed(Refusal::LogFull.failure()),
            },
            Source::Arrived(index) => self.given.arrived[index].result.clone(),
            Source::Refusal(refusal) => CallResult::Failed(refusal.failure()),
        }
    }
}
