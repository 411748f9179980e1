//! Holds requests to budgets.

use super::UsageMeter;
use super::account::{Knowledge, OverBudget, Request, Verdict};
use super::accounts::BudgetStatus;
use super::shares::Doubt;
use sandpiper_domain::{Budgets, ChargedUsage, Job, JobId, Owner, Tenant};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OwnedRwLockReadGuard;
use tokio::time::Instant;

/// Longest time that the first request of a tenant waits for the store.
pub(super) const TOTALS_WITHIN: Duration = Duration::from_secs(4);

/// Time after which a request that waits for the shares of other nodes to end looks at them again.
const SHARES_EVERY: Duration = Duration::from_millis(100);

/// The purpose of a charge. The store counts the acceptance of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum IsJob {
    Yes,
    No,
}

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
    /// Lets an execution of `POST /api/execute` through, or returns the budget that it would exceed. A request waits for the
    /// store, for at most [`TOTALS_WITHIN`], if the totals of its tenant were not read for long, or if other nodes may use
    /// up the rest of a budget.
    pub async fn charge_execution(
        self: &Arc<Self>,
        job: &Job,
        budgets: &Budgets,
    ) -> Result<Charge, OverBudget> {
        let charged = ChargedUsage {
            executions: 1,
            ..ChargedUsage::default()
        };
        self.charge(job, budgets, charged, IsJob::No).await
    }

    /// Lets a request through that continues an execution, as [`UsageMeter::charge_execution`]. Its first request was
    /// charged as an execution.
    pub async fn charge_continuation(
        self: &Arc<Self>,
        job: &Job,
        budgets: &Budgets,
    ) -> Result<Charge, OverBudget> {
        let charged = ChargedUsage::default();
        self.charge(job, budgets, charged, IsJob::No).await
    }

    /// Lets a job of `POST /api/jobs` through, as [`UsageMeter::charge_execution`]. The job's time limit is reserved in
    /// budgets of processor time until the job has ended.
    pub async fn charge_job(
        self: &Arc<Self>,
        job: &Job,
        budgets: &Budgets,
    ) -> Result<Charge, OverBudget> {
        let timeout = job.limits.timeout().as_micros();
        let charged = ChargedUsage {
            executions: 1,
            reserved_micros: u64::try_from(timeout).unwrap_or(u64::MAX),
            queued_bytes: job.script.content_bytes(),
            ..ChargedUsage::default()
        };
        self.charge(job, budgets, charged, IsJob::Yes).await
    }

    async fn charge(
        self: &Arc<Self>,
        job: &Job,
        budgets: &Budgets,
        charged: ChargedUsage,
        is_job: IsJob,
    ) -> Result<Charge, OverBudget> {
        let tenant = &job.owner.tenant;
        if self.learn_totals(tenant).await != Knowledge::Recent {
            self.stats.unverified.count();
        }
        let mut request = Request {
            budgets,
            key: job.owner.key,
            id: job.id,
            charged,
            arrived: std::time::Instant::now(),
            may_wait: true,
        };
        let deadline = Instant::now() + TOTALS_WITHIN;
        let mut has_waited = false;
        loop {
            let refreshed = self.refreshed.notified();
            tokio::pin!(refreshed);
            // Registered before the account is asked, so that no reading in between is missed.
            refreshed.as_mut().enable();
            let shared = match is_job {
                IsJob::Yes => Some(Arc::clone(&self.gate).read_owned().await),
                IsJob::No => None,
            };
            let verdict = self.state.lock().accounts.charge(tenant, &request);
            let doubt = match verdict {
                Verdict::Fits => {
                    return Ok(Charge {
                        meter: Arc::clone(self),
                        owner: job.owner.clone(),
                        id: job.id,
                        _shared: shared,
                    });
                }
                Verdict::Exceeds(over) => {
                    self.stats.refusals[over.policy.index()].count();
                    return Err(over);
                }
                Verdict::Doubtful(doubt) => doubt,
            };
            drop(shared);
            if !has_waited {
                self.stats.waits.count();
            }
            has_waited = true;
            let read = async {
                if doubt == Doubt::Others {
                    tokio::time::sleep(SHARES_EVERY).await;
                }
                self.state.lock().accounts.want(tenant);
                self.refresh_wanted.notify_one();
                refreshed.await;
            };
            request.may_wait = tokio::time::timeout_at(deadline, read).await.is_ok();
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
