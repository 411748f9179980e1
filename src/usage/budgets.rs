//! Holds requests to budgets.

use super::UsageMeter;
use super::accounts::{BudgetStatus, Knowledge, OverBudget};
use sandpiper_domain::{Budgets, ChargedUsage, Job, JobId, Owner, Tenant};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OwnedRwLockReadGuard;
use tokio::time::Instant;

/// Longest time that the first request of a tenant waits for the store.
pub(super) const TOTALS_WITHIN: Duration = Duration::from_secs(4);

/// A request that was let through and is not counted yet. Dropping it forgets a request that came to nothing.
#[derive(Debug)]
pub struct Charge {
    meter: Arc<UsageMeter>,
    owner: Owner,
    id: JobId,
    /// Held by a job, so that no reading of totals comes between its acceptance and its count.
    _shared: Option<OwnedRwLockReadGuard<()>>,
}

impl Charge {
    /// Counts the job of the request, which the store has accepted.
    pub fn accept(self) {
        self.meter
            .state
            .lock()
            .accounts
            .accept(&self.owner, self.id);
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        let state = &mut *self.meter.state.lock();
        state.accounts.release(&self.owner.tenant, self.id);
    }
}

impl UsageMeter {
    /// Lets an execution of `POST /api/execute` through, or returns the budget that it would exceed. The first request of a
    /// tenant waits for the store, for at most [`TOTALS_WITHIN`].
    pub async fn charge_execution(
        self: &Arc<Self>,
        job: &Job,
        budgets: &Budgets,
    ) -> Result<Charge, OverBudget> {
        self.note_knowledge(&job.owner.tenant).await;
        self.charge(job, budgets, 0, None)
    }

    /// Lets a job of `POST /api/jobs` through, as [`UsageMeter::charge_execution`].
    pub async fn charge_job(
        self: &Arc<Self>,
        job: &Job,
        budgets: &Budgets,
    ) -> Result<Charge, OverBudget> {
        self.note_knowledge(&job.owner.tenant).await;
        let shared = Arc::clone(&self.gate).read_owned().await;
        let queued_bytes = job.script.content_bytes();
        self.charge(job, budgets, queued_bytes, Some(shared))
    }

    async fn note_knowledge(&self, tenant: &Tenant) {
        if self.learn_totals(tenant).await != Knowledge::Recent {
            self.stats.unverified.count();
        }
    }

    fn charge(
        self: &Arc<Self>,
        job: &Job,
        budgets: &Budgets,
        queued_bytes: u64,
        shared: Option<OwnedRwLockReadGuard<()>>,
    ) -> Result<Charge, OverBudget> {
        let charged = ChargedUsage {
            executions: 1,
            cpu_micros: 0,
            queued_bytes,
        };
        let accounts = &mut self.state.lock().accounts;
        match accounts.charge(&job.owner, budgets, job.id, charged) {
            Ok(()) => Ok(Charge {
                meter: Arc::clone(self),
                owner: job.owner.clone(),
                id: job.id,
                _shared: shared,
            }),
            Err(over) => {
                self.stats.refusals[over.policy.index()].count();
                Err(over)
            }
        }
    }

    /// Returns each budget with what is used of it, as far as this node knows.
    #[must_use]
    pub fn budget_status(&self, owner: &Owner, budgets: &Budgets) -> Vec<BudgetStatus> {
        self.state.lock().accounts.budget_status(owner, budgets)
    }

    /// Returns each budget with what is used of it, after the store's totals are known.
    pub async fn known_budget_status(&self, owner: &Owner, budgets: &Budgets) -> Vec<BudgetStatus> {
        self.learn_totals(&owner.tenant).await;
        self.budget_status(owner, budgets)
    }

    /// Has the totals of a tenant read, at most once a second, and waits for them if they were not read for long.
    async fn learn_totals(&self, tenant: &Tenant) -> Knowledge {
        let deadline = Instant::now() + TOTALS_WITHIN;
        loop {
            let refreshed = self.refreshed.notified();
            tokio::pin!(refreshed);
            // Registered before the account is looked up, so that no reading in between is missed.
            refreshed.as_mut().enable();
            let (knowledge, wants) = self.state.lock().accounts.look_up(tenant);
            if wants {
                self.refresh_wanted.notify_one();
            }
            if knowledge != Knowledge::Awaited {
                return knowledge;
            }
            if tokio::time::timeout_at(deadline, refreshed).await.is_err() {
                return Knowledge::Stale;
            }
        }
    }
}
