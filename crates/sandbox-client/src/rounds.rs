//! Rounds of executions with tools: the time that one gets, and the [`Round`] that results from what was observed.
//!
//! ```text
//!   observation                           before the end of the log       behind it
//!   report that it suspends               suspended, with nothing new     suspended
//!   final frame: succeeded                the end was reached before      finished
//!   final frame: diverged                 finished                        finished
//!   final frame: a limit was hit          the replay failed               finished, with what it had reported
//!   deadline and grace period over        the replay failed               finished: timed out
//!   anything else                         finished, as any execution      finished, as any execution
//! ```
//!
//! Out of scope: the checks of a report (`round_check`).

use crate::round_check::{self, CheckedReport};
use crate::sandbox::Ran;
use crate::termination::{self, Termination};
use sandpiper_domain::tools::{
    Record, ReplayLog, Round, RoundEnd, RoundUsage, Suspension, ToolLimits,
};
use sandpiper_domain::{JobId, Outcome};
use sandpiper_sandbox_protocol::{BrokenProtocol, ReportedEnd, RoundReport, RoundWork};
use std::time::{Duration, Instant};

/// Difference between the times of job process and executor that is accepted.
const OWN_TIME_SLACK: Duration = Duration::from_millis(250);

/// The report of a job process about its round, as far as it has arrived.
pub(crate) struct Reported<'a> {
    work: &'a RoundWork<'a>,
    has_replayed: bool,
    begun: Instant,
    /// Time until the job process said to have reached the end of its log.
    replay: Duration,
    report: Option<Box<RoundReport>>,
    checked: Option<CheckedReport>,
}

/// The report of a round, checked.
#[derive(Debug)]
pub(crate) struct CheckedRound {
    has_replayed: bool,
    report: Option<CheckedReport>,
}

impl<'a> Reported<'a> {
    pub(crate) fn new(work: &'a RoundWork<'a>) -> Self {
        Self {
            work,
            has_replayed: work.log.rounds() == 0,
            begun: Instant::now(),
            replay: Duration::ZERO,
            report: None,
            checked: None,
        }
    }

    /// Notes that the job process says to have reached the end of its log.
    pub(crate) fn note_replayed(&mut self) -> Result<(), BrokenProtocol> {
        if self.has_replayed || self.report.is_some() {
            return Err(BrokenProtocol::ForgedRound("it replays twice"));
        }
        self.has_replayed = true;
        self.replay = self.begun.elapsed();
        Ok(())
    }

    /// Notes the report. Returns whether the round suspends: no other frame follows.
    pub(crate) fn note(&mut self, report: Box<RoundReport>) -> Result<bool, BrokenProtocol> {
        if self.report.is_some() {
            return Err(BrokenProtocol::ForgedRound("it reports twice"));
        }
        let suspends = matches!(report.end, ReportedEnd::Suspended { .. });
        self.report = Some(report);
        Ok(suspends)
    }

    /// Checks the report of a round that has ended with `outcome`, or suspends. `entries` log entries were received.
    pub(crate) fn check(
        &mut self,
        outcome: Option<Outcome>,
        entries: u64,
        elapsed: Duration,
    ) -> Result<(), &'static str> {
        if outcome == Some(Outcome::Succeeded) && self.report.is_none() {
            return Err("it succeeds without a report");
        }
        let is_at_an_end = matches!(outcome, Some(Outcome::Succeeded | Outcome::Threw));
        if is_at_an_end && !self.has_replayed && !self.work.log.has_ended() {
            return Err("it ends before its log does");
        }
        let Some(mut report) = self.report.take() else {
            return Ok(());
        };
        if outcome.is_some() && !is_at_an_end {
            // The process may have been stopped between the count of an entry and its frame.
            report.log_entries = round_check::entries_before(self.work).saturating_add(entries);
        }
        let mut checked = round_check::checked(*report, self.work, entries, elapsed)?;
        if self.has_replayed {
            let least = self.least_own_time(elapsed, &checked.usage);
            checked.usage.own_micros = checked.usage.own_micros.max(least);
        }
        let adds = !checked.calls.is_empty() || !checked.records.is_empty();
        if adds && !self.has_replayed {
            return Err("it adds to its log before it has reached the end");
        }
        self.checked = Some(checked);
        Ok(())
    }

    /// Checks the report of a job process that was killed or has died behind it. A report that does not pass is ignored: the
    /// process has no word in the end of its execution.
    pub(crate) fn check_of_the_dead(&mut self, entries: u64, elapsed: Duration) {
        let _ = self.check(Some(Outcome::Crashed), entries, elapsed);
    }

    /// Returns the own time of the script by the executor's clock, microseconds, less what a busy machine may add to it. A
    /// job process cannot tell less.
    fn least_own_time(&self, elapsed: Duration, usage: &RoundUsage) -> u64 {
        let waited = usage
            .waited_micros
            .min(self.work.wait_ms.saturating_mul(1000));
        let own = elapsed
            .saturating_sub(self.replay)
            .saturating_sub(Duration::from_micros(waited))
            .saturating_sub(OWN_TIME_SLACK);
        u64::try_from(own.as_micros()).unwrap_or(u64::MAX)
    }

    pub(crate) fn into_checked(self) -> CheckedRound {
        CheckedRound {
            has_replayed: self.has_replayed,
            report: self.checked,
        }
    }
}

/// Returns the time that a round may take, beside the grace period: what is left of the script's own, waiting in the
/// process, and a replay.
pub(crate) fn time_of(work: &RoundWork<'_>) -> Duration {
    let own = Duration::from_micros(work.log.own_micros());
    let replay = if work.log.rounds() > 0 {
        ToolLimits::replay_time(own)
    } else {
        Duration::ZERO
    };
    let left = work.limits.timeout().saturating_sub(own);
    left + replay + Duration::from_millis(work.wait_ms)
}

/// Returns the round of an execution that was cancelled before it started.
pub(crate) fn never_started(id: JobId, work: &RoundWork<'_>) -> Round {
    let execution = termination::never_started(id, work.limits);
    without_report(work.log, RoundEnd::Finished(Box::new(execution)))
}

/// Returns the round that results from what was observed. See the table of this module.
pub(crate) fn into_round(mut ran: Ran, id: JobId, work: &RoundWork<'_>) -> Round {
    let checked = ran.observed.round.take();
    let has_replayed = checked.as_ref().is_none_or(|checked| checked.has_replayed);
    let report = checked.and_then(|checked| checked.report);
    if !has_replayed && let Some(reason) = failure_of_replay(&ran.observed.termination) {
        return without_report(work.log, RoundEnd::ReplayFailed(reason));
    }
    let console = ran.observed.log.console;
    let resume_at_ms = report.as_ref().and_then(|report| {
        let due = report.due_ms?;
        Some(spaced(work.log, &report.records, due))
    });
    let end = if matches!(ran.observed.termination, Termination::Suspended) {
        let mut usage = ran.observed.usage(ran.report);
        if let Some(report) = &report {
            usage.peak_memory_bytes = report.peak_memory_bytes;
        }
        RoundEnd::Suspended(Box::new(Suspension {
            id,
            started_at: ran.at,
            finished_at: ran.at.plus(ran.observed.wall),
            resume_at_ms,
            usage,
            log: ran.observed.log.entries,
            log_dropped: ran.observed.log.dropped,
            log_dropped_at: ran.observed.log.dropped_at,
            limits: work.limits,
        }))
    } else {
        let (observed, at) = (ran.observed, ran.at);
        let execution = observed.into_execution(id, at, &work.limits, ran.report);
        RoundEnd::Finished(Box::new(execution))
    };
    let Some(report) = report else {
        return without_report(work.log, end);
    };
    Round {
        calls: report.calls,
        records: report.records,
        unobserved: report.unobserved,
        log_entries: report.log_entries,
        log_digest: report.log_digest,
        console,
        usage: report.usage,
        end,
    }
}

fn without_report(log: &ReplayLog, end: RoundEnd) -> Round {
    Round {
        calls: Vec::new(),
        records: Vec::new(),
        unobserved: Vec::new(),
        log_entries: log.log_entries(),
        log_digest: log.log_digest(),
        console: log.console(),
        usage: RoundUsage::default(),
        end,
    }
}

/// Returns why a replay failed that did not reach the end of its log; `None` if the end is not the replay's fault.
fn failure_of_replay(termination: &Termination) -> Option<String> {
    match termination {
        Termination::Overran => Some("the replay of the log took too long".to_owned()),
        Termination::Done(done)
            if matches!(
                done.outcome,
                Outcome::TimedOut | Outcome::MemoryExceeded | Outcome::StackExceeded
            ) =>
        {
            let outcome = done.outcome.as_str();
            Some(format!("the replay of the log ended as {outcome}"))
        }
        _ => None,
    }
}

/// Returns the time of the next wake for timers that are due at `due_ms`: not too soon after the last wake.
fn spaced(log: &ReplayLog, records: &[Record], due_ms: u64) -> u64 {
    let last_wake = (log.records().iter().chain(records))
        .rev()
        .find_map(|record| match record {
            Record::Wake { at_ms } => Some(*at_ms),
            Record::Answer { .. } => None,
        });
    let Some(last_wake) = last_wake else {
        return due_ms;
    };
    let spacing = ToolLimits::wake_spacing_ms(last_wake.saturating_sub(log.start_ms()));
    due_ms.max(last_wake.saturating_add(spacing))
}
