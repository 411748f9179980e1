//! Changes of what belongs to a tenant: moved to another tenant, or deleted.

use super::dispatcher::Cancel;
use super::handle::{DispatcherHandle, unavailable};
use super::purged_tenants::KNOWN_AFTER;
use super::types::{DispatchError, ListQuery, Lookup, Purged};
use sandpiper_domain::{Access, ApiKeyId, JobId, JobRecord, JobState, Owner, Tenant};
use std::time::Duration;
use tokio::time::Instant;
use tracing::info;

/// Jobs of one look at what a tenant has open.
const PAGE: usize = 500;
/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Longest time that the open jobs of a purged tenant take to stop.
const STOPPED_WITHIN: Duration = Duration::from_secs(30);

impl DispatcherHandle {
    /// Gives the jobs of the tenant `from` that `key` submitted to the tenant `to`. Returns how many the store had.
    pub async fn assign(
        &self,
        key: ApiKeyId,
        from: &Tenant,
        to: &Tenant,
    ) -> Result<u64, DispatchError> {
        let owner = Owner {
            tenant: to.clone(),
            key: Some(key),
        };
        let of_key = Access::Key(from.clone(), key);
        self.0.recent.assign(&of_key, &owner);
        let assigned = self.0.store.assign(key, from, to).await;
        assigned.map_err(unavailable)
    }

    /// Stops a job if it is open, and deletes everything that is stored about it.
    pub async fn purge(&self, id: JobId, access: &Access) -> Result<Purged, DispatchError> {
        self.cancel(id, access).await?;
        let purged = match self.get(id, access).await? {
            Lookup::Unknown => return Ok(Purged::Unknown),
            Lookup::Found(now) if !now.job.state.is_final() => return Ok(Purged::StillRuns),
            Lookup::Found(now) => Purged::Done(JobRecord {
                execution: None,
                ..now.job
            }),
            Lookup::Expired => Purged::Expired,
        };
        self.0.store.purge(id).await.map_err(unavailable)?;
        self.0.recent.purge(access, Some(id));
        Ok(purged)
    }

    /// Refuses the tenant's requests from now on, stops its jobs, and deletes everything that is stored about them.
    /// Returns how many jobs there were. The tenant without keys is emptied, and its requests are not refused.
    pub async fn purge_tenant(&self, tenant: &Tenant) -> Result<u64, DispatchError> {
        if *tenant != Tenant::default() {
            self.set_purged(tenant, true).await?;
            let nodes = self.0.store.nodes().await.map_err(unavailable)?;
            if nodes.is_some_and(|nodes| nodes.nodes.len() > 1) {
                tokio::time::sleep(KNOWN_AFTER).await;
            }
        }
        self.stop_jobs(tenant).await?;
        let purged = self.0.store.purge_tenant(tenant).await;
        let purged = purged.map_err(unavailable)?;
        self.0.recent.purge(&Access::Tenant(tenant.clone()), None);
        info!(%tenant, jobs = purged, "a tenant was purged");
        Ok(purged)
    }

    /// Answers the tenant's requests again.
    pub async fn restore_tenant(&self, tenant: &Tenant) -> Result<(), DispatchError> {
        self.set_purged(tenant, false).await
    }

    /// Returns whether there is a job, an execution or usage of a tenant, or its purge. The tenant without keys exists.
    pub async fn knows_tenant(&self, tenant: &Tenant) -> Result<bool, DispatchError> {
        if *tenant == Tenant::default() || self.0.recent.has(&Access::Tenant(tenant.clone())) {
            return Ok(true);
        }
        let known = self.0.store.knows_tenant(tenant).await;
        known.map_err(unavailable)
    }

    #[must_use]
    pub fn is_purged(&self, tenant: &Tenant) -> bool {
        self.0.purged_tenants.contains(tenant)
    }

    /// Refuses a request whose tenant was purged while its body arrived.
    pub(super) fn check_not_purged(&self, tenant: &Tenant) -> Result<(), DispatchError> {
        if self.is_purged(tenant) {
            return Err(DispatchError::TenantPurged);
        }
        Ok(())
    }

    async fn set_purged(&self, tenant: &Tenant, is_purged: bool) -> Result<(), DispatchError> {
        let set = self.0.store.set_purged(tenant, is_purged).await;
        set.map_err(unavailable)?;
        self.0.purged_tenants.read().await.map_err(unavailable)
    }

    /// Cancels the open jobs of a tenant, and waits until none is open.
    async fn stop_jobs(&self, tenant: &Tenant) -> Result<(), DispatchError> {
        let deadline = Instant::now() + STOPPED_WITHIN;
        loop {
            let mut open = Vec::new();
            for state in [JobState::Queued, JobState::Running, JobState::Waiting] {
                open.extend(self.some_jobs(tenant, state).await?);
            }
            if open.is_empty() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(DispatchError::JobsStillRun);
            }
            for job in open {
                self.0.store.cancel(job.id).await.map_err(unavailable)?;
                self.ask(Cancel(job.id)).await?;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Returns jobs of a tenant in this state, at least one if there is one. A page may be empty although there are jobs
    /// on a later one.
    async fn some_jobs(
        &self,
        tenant: &Tenant,
        state: JobState,
    ) -> Result<Vec<JobRecord>, DispatchError> {
        let mut before = None;
        loop {
            let query = ListQuery {
                access: Access::Tenant(tenant.clone()),
                state: Some(state),
                limit: PAGE,
                before,
            };
            let page = self.list(query).await?;
            if !page.jobs.is_empty() || page.next.is_none() {
                return Ok(page.jobs);
            }
            before = page.next;
        }
    }
}
