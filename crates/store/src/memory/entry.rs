//! A job in memory.

use crate::Settlement;
use sandpiper_domain::{ClientKey, JobRecord, Timestamp};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) job: JobRecord,
    pub(super) client: ClientKey,
    pub(super) bytes: usize,
    /// Processor time that budgets reserve for the job until it ends.
    pub(super) reserved: Option<Duration>,
    /// Notified when the job has its final state.
    pub(super) settled: Arc<Notify>,
}

impl Entry {
    /// Gives the job its final state, and returns the bytes of the entry before.
    pub(super) fn settle(
        &mut self,
        settlement: Settlement,
        now: Timestamp,
        ttl: Duration,
    ) -> usize {
        // The entry holds the execution from now on, and the script no longer.
        let execution = settlement.execution.as_ref();
        let bytes = size_of::<Self>() + execution.map_or(0, |execution| execution.size_bytes());
        let before = std::mem::replace(&mut self.bytes, bytes);
        self.reserved = None;
        self.job.state = settlement.state;
        self.job.outcome = settlement.outcome();
        self.job.execution = settlement.execution;
        self.job.finished_at = Some(now);
        self.job.expires_at = Some(now.plus(ttl));
        before
    }
}
