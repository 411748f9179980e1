//! The checks of what a job process reports of a round: every number in it must follow from the log, the declared tools,
//! the limits and the answers at hand.
//!
//! A job process that was taken over reports what it likes. No call of it is shown or sent before it has passed here, and
//! what is shown, stored and sent are the bytes that this module has written.

use sandpiper_domain::JsonText;
use sandpiper_domain::tools::{
    Arrived, Call, CallResult, Record, Refusal, RoundUsage, restated_argument,
};
use sandpiper_sandbox_protocol::{ReportedEnd, ReportedRecord, RoundReport, RoundWork};
use std::collections::{HashMap, HashSet};
use std::time::Duration;

/// Difference between the clocks of service and job process that is accepted, milliseconds.
const CLOCK_SLACK_MS: u64 = 1_000;
/// Longest delay of a timer, milliseconds: 2^31.
const DELAY_MS_MAX: u64 = 1 << 31;

/// A report that has passed.
#[derive(Debug)]
pub(crate) struct CheckedReport {
    pub(crate) calls: Vec<Call>,
    pub(crate) records: Vec<Record>,
    pub(crate) unobserved: Vec<u32>,
    pub(crate) log_entries: u64,
    pub(crate) log_digest: u64,
    pub(crate) usage: RoundUsage,
    pub(crate) peak_memory_bytes: u64,
    /// The time at which the next timer of a suspended round is due, Unix milliseconds.
    pub(crate) due_ms: Option<u64>,
}

/// Checks `report`. `entries` log entries were received. Fails with the rule that it breaks.
pub(crate) fn checked(
    report: RoundReport,
    work: &RoundWork<'_>,
    entries: u64,
    elapsed: Duration,
) -> Result<CheckedReport, &'static str> {
    if work.strict && !(report.calls.is_empty() && report.records.is_empty()) {
        return Err("a strict replay adds to its log");
    }
    if report.log_entries != entries_before(work).saturating_add(entries) {
        return Err("its log entries are miscounted");
    }
    let mut check = Check::new(work);
    let calls = report.calls.into_iter();
    let calls: Vec<Call> = calls
        .map(|call| check.call(call))
        .collect::<Result<_, _>>()?;
    let latest_ms = work
        .now_ms
        .saturating_add(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
        .saturating_add(CLOCK_SLACK_MS);
    let records = report.records.iter();
    let records: Vec<Record> = records
        .map(|record| check.record(record, &calls, latest_ms))
        .collect::<Result<_, _>>()?;
    if calls.last().is_some_and(|call| call.at_ms > check.clock_ms) {
        return Err("a call was made behind the last record");
    }
    let due_ms = match report.end {
        ReportedEnd::Ends => None,
        ReportedEnd::Suspended { resume_at_ms } => {
            check.suspension(resume_at_ms, &calls)?;
            resume_at_ms
        }
    };
    if report.unobserved.len() > check.count || !check.knows_all(&report.unobserved) {
        return Err("a rejected call that was never made");
    }
    let elapsed_micros = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
    Ok(CheckedReport {
        calls,
        records,
        unobserved: report.unobserved,
        log_entries: report.log_entries,
        log_digest: report.log_digest,
        usage: RoundUsage {
            own_micros: report.own_micros.min(elapsed_micros),
            replay_micros: report.replay_micros.min(elapsed_micros),
            waited_micros: report.waited_micros.min(elapsed_micros),
        },
        peak_memory_bytes: report.peak_memory_bytes,
        due_ms,
    })
}

/// Returns how many log entries were told before the round. A strict replay tells all entries again.
pub(crate) fn entries_before(work: &RoundWork<'_>) -> u64 {
    if work.strict {
        0
    } else {
        work.log.log_entries()
    }
}

struct Check<'a> {
    work: &'a RoundWork<'a>,
    /// Calls so far, old and new.
    count: usize,
    /// Clock of the last call that was checked, Unix milliseconds.
    call_ms: u64,
    /// Clock behind the last record that was checked, Unix milliseconds.
    clock_ms: u64,
    answered: HashSet<u32>,
    arrived: HashMap<u32, &'a Arrived>,
    wakes: u32,
    /// Calls that were refused for lack of room.
    without_room: u32,
    log_bytes: usize,
    /// The part of `log_bytes` that may lie beyond the bound.
    beyond_bytes: usize,
}

impl<'a> Check<'a> {
    fn new(work: &'a RoundWork<'a>) -> Self {
        let log = work.log;
        let arrived = work.arrived.iter();
        Self {
            work,
            count: log.calls().len(),
            call_ms: log.calls().last().map_or(log.start_ms(), |call| call.at_ms),
            clock_ms: log.clock_ms(),
            answered: log.answers().map(|(seq, _, _)| seq).collect(),
            arrived: arrived.map(|answer| (answer.seq, answer)).collect(),
            wakes: log.wakes(),
            without_room: 0,
            log_bytes: log.log_bytes(),
            beyond_bytes: 0,
        }
        .with_calls_of_the_log()
    }

    fn with_calls_of_the_log(mut self) -> Self {
        for call in self.work.log.calls() {
            self.note_room(call);
        }
        self
    }

    /// Notes a call that was refused for lack of room: it is logged all the same.
    fn note_room(&mut self, call: &Call) {
        let Some(refused) = call.refused.filter(|refused| refused.is_for_room()) else {
            return;
        };
        self.without_room = self.without_room.saturating_add(1);
        if refused == Refusal::LogFull || call.argument.is_none() {
            self.beyond_bytes = self.beyond_bytes.saturating_add(call.log_bytes());
        }
    }

    fn call(&mut self, mut call: Call) -> Result<Call, &'static str> {
        let limits = self.work.tool_limits;
        if usize::try_from(call.seq) != Ok(self.count) {
            return Err("the numbers of its calls have a gap");
        }
        let tools = self.work.script.tools();
        if !tools.is_some_and(|tools| tools.contains(call.name.as_str())) {
            return Err("it calls a tool that was not declared");
        }
        if call.at_ms < self.call_ms {
            return Err("its calls go back in time");
        }
        let is_beyond = call.seq >= limits.calls_max;
        if is_beyond != (call.refused == Some(Refusal::TooManyCalls)) {
            return Err("it makes more calls than it may");
        }
        let is_without = matches!(
            call.refused,
            Some(Refusal::ArgumentTooLarge | Refusal::LogFull)
        );
        call.argument = match call.argument {
            Some(_) if is_without => return Err("it shows an argument that is too large"),
            Some(argument) => Some(self.argument(&argument)?),
            None => None,
        };
        self.note_room(&call);
        if self.without_room > Refusal::WITHOUT_ROOM_MAX {
            return Err("it goes on to make calls without room for them");
        }
        self.charge(call.log_bytes())?;
        self.count += 1;
        self.call_ms = call.at_ms;
        Ok(call)
    }

    /// Returns an argument in the form that is shown, stored and sent.
    fn argument(&self, argument: &JsonText) -> Result<JsonText, &'static str> {
        let most = usize::try_from(self.work.tool_limits.argument_bytes).unwrap_or(usize::MAX);
        if argument.as_str().len() > most {
            return Err("an argument is longer than it may be");
        }
        let text = restated_argument(argument.as_str())
            .map_err(|_| "an argument is no JSON that a script can pass")?;
        if text.len() > most {
            return Err("an argument is longer than it may be");
        }
        JsonText::parse(text).map_err(|_| "an argument is no JSON that a script can pass")
    }

    fn record(
        &mut self,
        record: &ReportedRecord,
        calls: &[Call],
        latest_ms: u64,
    ) -> Result<Record, &'static str> {
        match *record {
            ReportedRecord::Wake { at_ms } => {
                self.wakes = self.wakes.saturating_add(1);
                if at_ms < self.clock_ms || at_ms > latest_ms.max(self.clock_ms) {
                    return Err("it wakes at a time that is not now");
                }
                if self.wakes > self.work.tool_limits.wakes {
                    return Err("it wakes more often than it may");
                }
                self.clock_ms = at_ms;
                Ok(Record::Wake { at_ms })
            }
            ReportedRecord::Answer {
                seq,
                at_ms,
                refused,
            } => {
                let (result, least_ms) = self.answer(seq, refused, calls)?;
                if at_ms != least_ms.max(self.clock_ms) {
                    return Err("an answer has another time than its own");
                }
                self.clock_ms = at_ms;
                Ok(Record::Answer { seq, at_ms, result })
            }
        }
    }

    /// Returns the result of an answer, and the time at which it was at hand.
    fn answer(
        &mut self,
        seq: u32,
        refused: Option<Refusal>,
        calls: &[Call],
    ) -> Result<(CallResult, u64), &'static str> {
        let Some(call) = self.find(seq, calls) else {
            return Err("an answer to a call that was never made");
        };
        let (of_call, called_ms) = (call.refused, call.at_ms);
        if !self.answered.insert(seq) {
            return Err("a call is answered twice");
        }
        let arrived = self.arrived.get(&seq).copied();
        match (of_call, refused, arrived) {
            // The engine's own answer to a call that it has refused.
            (Some(of_call), Some(refused), None) if of_call == refused => {
                Ok((self.refusal(refused), called_ms))
            }
            (None, None, Some(arrived)) => {
                self.charge(arrived.result.log_bytes())?;
                Ok((arrived.result.clone(), arrived.arrived_ms))
            }
            (None, Some(Refusal::LogFull), Some(arrived)) => {
                Ok((self.refusal(Refusal::LogFull), arrived.arrived_ms))
            }
            _ => Err("an answer that is not at hand"),
        }
    }

    /// Returns the engine's own answer. It costs what it costs, and is never refused itself.
    fn refusal(&mut self, refused: Refusal) -> CallResult {
        let result = CallResult::Failed(refused.failure());
        self.log_bytes = self.log_bytes.saturating_add(result.log_bytes());
        result
    }

    fn find<'c>(&'c self, seq: u32, calls: &'c [Call]) -> Option<&'c Call> {
        let index = usize::try_from(seq).ok()?;
        let logged = self.work.log.calls();
        match logged.get(index) {
            Some(call) => Some(call),
            None => calls.get(index - logged.len()),
        }
    }

    fn suspension(&self, resume_at_ms: Option<u64>, calls: &[Call]) -> Result<(), &'static str> {
        let all = self.work.log.calls().iter().chain(calls);
        let waits_for_a_call =
            { all }.any(|call| call.refused.is_none() && !self.answered.contains(&call.seq));
        if !waits_for_a_call && resume_at_ms.is_none() {
            return Err("it suspends and waits for nothing");
        }
        let soonest = self.clock_ms;
        let latest = soonest.saturating_add(DELAY_MS_MAX);
        if resume_at_ms.is_some_and(|due| due < soonest || due > latest) {
            return Err("it suspends until a time that no timer has");
        }
        Ok(())
    }

    fn knows_all(&self, seqs: &[u32]) -> bool {
        let is_known = |seq: &u32| usize::try_from(*seq).is_ok_and(|seq| seq < self.count);
        seqs.iter().all(is_known)
    }

    /// Charges bytes of calls and answers.
    fn charge(&mut self, bytes: usize) -> Result<(), &'static str> {
        self.log_bytes = self.log_bytes.saturating_add(bytes);
        let most = usize::try_from(self.work.tool_limits.log_bytes).unwrap_or(usize::MAX);
        // The engine's own answers are given where there is no room left.
        let refusals = self.count.saturating_mul(Refusal::BYTES_MAX);
        let beyond = self.beyond_bytes.saturating_add(refusals);
        if self.log_bytes > most.saturating_add(beyond) {
            return Err("its log is longer than it may be");
        }
        Ok(())
    }
}
