//! The usage of a tenant: what its executions and jobs took, summed by hour, day and month of UTC.

mod budget;
mod period;

pub use budget::{
    BudgetPeriod, BudgetScope, BudgetUnit, Budgets, ChargedUsage, InvalidBudgets, Policy,
};
pub use period::Period;

use super::tools::{Round, RoundEnd};
use super::{Execution, Outcome, Script, Usage};

/// Sums of usage. Every sum stops at the largest number and never wraps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UsageCounts {
    /// Executions that ended, in the order of [`Outcome::ALL`].
    pub executions: [u64; Outcome::ALL.len()],
    /// Executions that were charged to budgets: that of a job when the job is accepted, others when they end.
    pub executions_charged: u64,
    /// Jobs that were accepted.
    pub jobs_queued: u64,
    pub wall_micros: u64,
    pub cpu_micros: u64,
    /// Peak memory multiplied by elapsed time, bytes times seconds.
    pub memory_byte_seconds: u64,
    /// Code, input and globals: of a job when it is accepted, of others when they end.
    pub bytes_in: u64,
    /// Result and log.
    pub bytes_out: u64,
    /// The part of `bytes_in` that came with jobs.
    pub queued_bytes: u64,
    /// Calls of tools that scripts made.
    pub calls: u64,
}

impl UsageCounts {
    /// Counts an execution of `POST /api/execute`, which is charged when it ends.
    pub fn of_execution(script: &Script, execution: &Execution) -> Self {
        Self {
            executions_charged: 1,
            bytes_in: script.content_bytes(),
            ..Self::of_job_execution(execution)
        }
    }

    /// Counts a round of an execution of `POST /api/execute` with tools. The execution is charged with its first round, and
    /// `outcome` is that of its last.
    pub fn of_round(
        script: &Script,
        round: &Round,
        outcome: Option<Outcome>,
        is_first: bool,
    ) -> Self {
        let usage = match &round.end {
            RoundEnd::Finished(execution) => &execution.usage,
            RoundEnd::Suspended(suspension) => &suspension.usage,
            RoundEnd::ReplayFailed(_) => return Self::default(),
        };
        let mut counts = Self {
            executions_charged: u64::from(is_first),
            bytes_in: script.content_bytes(),
            calls: u64::try_from(round.calls.len()).unwrap_or(u64::MAX),
            ..Self::of_usage(usage)
        };
        if let Some(outcome) = outcome {
            counts.executions[outcome as usize] = 1;
        }
        counts
    }

    /// Counts the outcome of an execution with tools that the service has ended between two rounds.
    pub fn of_outcome(outcome: Outcome) -> Self {
        let mut counts = Self::default();
        counts.executions[outcome as usize] = 1;
        counts
    }

    /// Counts a round of a job with tools. Of its last round only the calls are counted: the store counts the execution.
    pub fn of_job_round(round: &Round, is_last: bool) -> Self {
        let used = match &round.end {
            RoundEnd::Suspended(suspension) => Self::of_usage(&suspension.usage),
            RoundEnd::Finished(execution) if !is_last => Self::of_usage(&execution.usage),
            RoundEnd::Finished(_) => Self::default(),
            RoundEnd::ReplayFailed(_) => return Self::default(),
        };
        Self {
            calls: u64::try_from(round.calls.len()).unwrap_or(u64::MAX),
            ..used
        }
    }

    /// Counts a job that is accepted.
    pub fn of_accepted_job(script: &Script) -> Self {
        let bytes = script.content_bytes();
        Self {
            executions_charged: 1,
            jobs_queued: 1,
            bytes_in: bytes,
            queued_bytes: bytes,
            ..Self::default()
        }
    }

    /// Counts the final execution of a job, which was charged when the job was accepted.
    pub fn of_job_execution(execution: &Execution) -> Self {
        let mut counts = Self::of_usage(&execution.usage);
        counts.executions[execution.outcome as usize] = 1;
        counts
    }

    fn of_usage(usage: &Usage) -> Self {
        Self {
            wall_micros: usage.wall_micros,
            cpu_micros: usage.cpu_micros,
            memory_byte_seconds: byte_seconds(usage.peak_memory_bytes, usage.wall_micros),
            bytes_out: usage.output_bytes,
            ..Self::default()
        }
    }

    pub fn add(&mut self, more: &Self) {
        for (sum, more) in self.executions.iter_mut().zip(&more.executions) {
            *sum = sum.saturating_add(*more);
        }
        for (sum, more) in [
            (&mut self.executions_charged, more.executions_charged),
            (&mut self.jobs_queued, more.jobs_queued),
            (&mut self.wall_micros, more.wall_micros),
            (&mut self.cpu_micros, more.cpu_micros),
            (&mut self.memory_byte_seconds, more.memory_byte_seconds),
            (&mut self.bytes_in, more.bytes_in),
            (&mut self.bytes_out, more.bytes_out),
            (&mut self.queued_bytes, more.queued_bytes),
            (&mut self.calls, more.calls),
        ] {
            *sum = sum.saturating_add(more);
        }
    }

    /// Returns the number of executions that ended with `outcome`.
    pub fn executions_with(&self, outcome: Outcome) -> u64 {
        self.executions[outcome as usize]
    }

    /// Returns the part that budgets bound.
    pub fn charged(&self) -> ChargedUsage {
        ChargedUsage {
            executions: self.executions_charged,
            cpu_micros: self.cpu_micros,
            reserved_micros: 0,
            queued_bytes: self.queued_bytes,
        }
    }
}

/// Multiplies bytes by a time in microseconds, rounded to whole byte-seconds.
fn byte_seconds(bytes: u64, micros: u64) -> u64 {
    const MICROS: u128 = 1_000_000;
    let product = u128::from(bytes) * u128::from(micros) + MICROS / 2;
    u64::try_from(product / MICROS).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{JobId, samples};

    #[test]
    fn an_outcome_has_its_place_in_the_counts() {
        for (index, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, index);
            let execution = samples::execution(JobId::generate(), outcome);
            let counts = UsageCounts::of_job_execution(&execution);
            assert_eq!(counts.executions_with(outcome), 1);
            assert_eq!(counts.executions.iter().sum::<u64>(), 1);
        }
    }

    #[test]
    fn a_job_is_charged_when_it_is_accepted_and_not_again_when_it_ends() {
        let (script, id) = (samples::script(10), JobId::generate());
        let execution = samples::success(id, 4);
        let accepted = UsageCounts::of_accepted_job(&script);
        let ended = UsageCounts::of_job_execution(&execution);
        let mut job = accepted;
        job.add(&ended);
        assert_eq!((job.executions_charged, job.jobs_queued), (1, 1));
        assert_eq!((job.bytes_in, job.queued_bytes), (10, 10));
        assert_eq!(job.executions_with(Outcome::Succeeded), 1);
        let synchronous = UsageCounts::of_execution(&script, &execution);
        assert_eq!(synchronous.executions_charged, 1);
        assert_eq!((synchronous.bytes_in, synchronous.queued_bytes), (10, 0));
    }

    #[test]
    fn memory_is_multiplied_by_time_and_sums_never_wrap() {
        assert_eq!(byte_seconds(174_840, 610), 107);
        assert_eq!(byte_seconds(1 << 28, 30_000_000), 30 << 28);
        assert_eq!(byte_seconds(u64::MAX, u64::MAX), u64::MAX);
        let mut most = UsageCounts {
            executions: [u64::MAX; Outcome::ALL.len()],
            wall_micros: u64::MAX,
            ..UsageCounts::default()
        };
        let before = most;
        most.add(&before);
        assert_eq!(most, before);
    }
}
