//! The records of jobs in memory as attempts change them, and the usage that they count.

use super::MemoryStore;
use crate::{
    Committed, Finished, JobRecords, RecordedTotals, RecordedUsage, Settlement, StoreError,
    SuspendedRound, ToolProgress, TotalsQuery, UsageBatch, UsageQuery, UsageStore, UsageTotal,
};
use async_trait::async_trait;
use sandpiper_domain::{ChargedUsage, JobId, JobState, Period, Timestamp, UsageCounts};
use std::sync::Arc;

#[async_trait]
impl UsageStore for MemoryStore {
    async fn record_usage(&self, batch: Arc<UsageBatch>) -> Result<(), StoreError> {
        self.usage_table.record(&batch);
        Ok(())
    }

    async fn usage(&self, query: &UsageQuery) -> Result<RecordedUsage, StoreError> {
        Ok(self.usage_table.read(query))
    }

    async fn usage_totals(&self, query: &TotalsQuery) -> Result<RecordedTotals, StoreError> {
        let mut recorded = self.usage_table.totals(query);
        for entry in &self.entries {
            let owner = &entry.job.owner;
            let Some(reserved) = entry
                .reserved
                .filter(|_| query.tenants.contains(&owner.tenant))
            else {
                continue;
            };
            let charged = ChargedUsage {
                reserved_micros: u64::try_from(reserved.as_micros()).unwrap_or(u64::MAX),
                ..ChargedUsage::default()
            };
            // A job takes its time in the period in which it ends, whichever that will be.
            let totals = [Period::Day, Period::Month].map(|period| UsageTotal {
                owner: owner.clone(),
                period,
                charged,
            });
            recorded.totals.extend(totals);
        }
        Ok(recorded)
    }
}

#[async_trait]
impl JobRecords for MemoryStore {
    async fn start(&self, id: JobId, attempt: u32) -> Result<(), StoreError> {
        if let Some(mut entry) = self.entries.get_mut(&id)
            && !entry.job.state.is_final()
        {
            entry.job.state = JobState::Running;
            entry.job.attempt = attempt;
            entry.job.started_at = Some(Timestamp::now());
        }
        Ok(())
    }

    async fn requeue(&self, id: JobId, attempt: u32) -> Result<(), StoreError> {
        if let Some(mut entry) = self.entries.get_mut(&id)
            && entry.job.state == JobState::Running
            && entry.job.attempt == attempt
        {
            entry.job.state = JobState::Queued;
            entry.job.started_at = None;
        }
        Ok(())
    }

    async fn finish(
        &self,
        id: JobId,
        attempt: u32,
        settlement: Settlement,
    ) -> Result<Finished, StoreError> {
        let (now, ttl) = (Timestamp::now(), self.bounds.ttl);
        let counted = settlement.counted_execution().map(|execution| {
            let counts = UsageCounts::of_job_execution(execution);
            (execution.finished_at, counts)
        });
        let (settled, client, owner, before, after) = {
            let Some(mut entry) = self.entries.get_mut(&id) else {
                return Ok(Finished::Stale);
            };
            if entry.job.state.is_final() || entry.job.attempt != attempt {
                return Ok(Finished::Stale);
            }
            let before = entry.held();
            entry.settle(settlement, now, ttl);
            let settled = Arc::clone(&entry.settled);
            let owner = entry.job.owner.clone();
            (settled, entry.client.clone(), owner, before, entry.held())
        };
        if let Some((at, counts)) = counted {
            self.usage_table.add(&owner, at, &counts);
        }
        self.usage.change_job(&client, before, after);
        self.orders.lock().insert_expiry(now.plus(ttl), id);
        settled.notify_waiters();
        Ok(Finished::Recorded)
    }

    async fn suspend(
        &self,
        id: JobId,
        attempt: u32,
        progress: &ToolProgress,
        round: Arc<SuspendedRound>,
    ) -> Result<Committed, StoreError> {
        Ok(self.commit_suspension(id, attempt, progress, &round))
    }

    async fn resume(&self, id: JobId) -> Result<(), StoreError> {
        if let Some(mut entry) = self.entries.get_mut(&id)
            && entry.job.state == JobState::Waiting
        {
            entry.job.state = JobState::Queued;
        }
        Ok(())
    }
}
