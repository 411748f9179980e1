//! The handle through which everything above the actors talks to them.

use super::dispatcher::{
    Cancel, CheckNetwork, Dispatcher, Drain, JobLocation, Locate, Run, StopAll, Submit,
};
use super::purged_tenants::PurgedTenants;
use super::stats::Stats;
use super::store_health::StoreHealth;
use super::types::{
    Accepted, Cancelled, DispatchError, ExecuteResult, JobPage, JobSnapshot, ListQuery, Lookup,
    Node, Nodes, SandboxReach,
};
use actix::prelude::SendError;
use actix::{Addr, Handler, MailboxError, Message};
use sandpiper_domain::{Access, Job, JobId, JobRecord, JobState, JobTerms, Limits, Timestamp};
use sandpiper_sandbox_client::{IsolationLevel, LayerReport};
use sandpiper_store::{Found, JobStore, RecentExecutions, StoreError};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::sync::{oneshot, watch};
use tracing::error;

/// Longest time until the Dispatcher responds. The Dispatcher never blocks: one that takes longer is broken.
pub(super) const RESPONSE_WITHIN: Duration = Duration::from_secs(5);
/// Time that a cancel waits for the running job to be dead. A kill takes a few milliseconds.
const CANCEL_WITHIN: Duration = Duration::from_secs(2);
/// Time between two looks at a cancelled job that has waited for answers.
const CANCEL_POLL: Duration = Duration::from_millis(10);
/// Time that a network check waits for its turn in the queue and its result.
const NET_CHECK_WITHIN: Duration = Duration::from_secs(40);
/// Time between two looks at the work that is left while the service drains.
const DRAIN_POLL: Duration = Duration::from_millis(10);

/// A handle on the Dispatcher, its store and its stats. Cheap to clone; every clone talks to the same Dispatcher. Every
/// wait has a deadline.
#[derive(Debug, Clone)]
pub struct DispatcherHandle(pub(super) Arc<HandleParts>);

#[derive(Debug)]
pub struct HandleParts {
    pub dispatcher: Addr<Dispatcher>,
    /// The store. The handle reads from it without the Dispatcher.
    pub store: Arc<dyn JobStore>,
    pub store_health: Arc<StoreHealth>,
    /// The recent synchronous executions. The handle reads from them without the Dispatcher.
    pub recent: Arc<RecentExecutions>,
    pub purged_tenants: Arc<PurgedTenants>,
    pub stats: Arc<Stats>,
    /// The isolation level, proved at start.
    pub isolation_level: IsolationLevel,
    pub isolation_layers: Vec<LayerReport>,
    /// Longest time from the request to the result of an execution, without the script's own time.
    pub execute_within: Duration,
    pub net_check_limits: Limits,
    pub started_at: Timestamp,
    /// True once nothing runs any more and nothing will: requests that wait for jobs end.
    pub drained: watch::Sender<bool>,
}

impl DispatcherHandle {
    #[must_use]
    pub fn new(parts: HandleParts) -> Self {
        Self(Arc::new(parts))
    }

    /// Runs `job` and waits for its execution. The wait is bounded by the queue's longest wait, the script's own
    /// time limit and a grace. Dropping the future cancels the job: a queued job is removed, a running job is killed.
    pub async fn execute(&self, job: Arc<Job>) -> ExecuteResult {
        self.check_not_purged(&job.owner.tenant)?;
        let (reply, result) = oneshot::channel();
        let (id, tenant) = (job.id, job.owner.tenant.clone());
        let patience = self.0.execute_within + job.limits.timeout();
        let mut on_drop = CancelOnDrop::new(self, job.id);
        self.hand_over(Run::now(job, reply)).await?;
        // Only a broken part of the service takes this long. `on_drop` cancels the job.
        let Ok(result) = tokio::time::timeout(patience, result).await else {
            error!(
                "an execution had no result in time: the client gets an error and the job is cancelled; search the log \
                 for earlier errors"
            );
            return Err(DispatchError::Internal);
        };
        on_drop.forget();
        if self.is_purged(&tenant) {
            // The purge may have deleted the results of the tenant before there was this one.
            self.0.recent.purge(&Access::Tenant(tenant), Some(id));
            return Err(DispatchError::PurgedMeanwhile);
        }
        result.unwrap_or(Err(DispatchError::Internal))
    }

    /// Puts `message` into the Dispatcher's mailbox. Waits only if the mailbox is full, and then until the Dispatcher has
    /// handled the message. The result of the execution says that the message was received; a confirmation of its own
    /// would cost each request one more wake-up.
    pub(super) async fn hand_over(&self, message: Run) -> Result<(), DispatchError> {
        match self.0.dispatcher.try_send(message) {
            Ok(()) => Ok(()),
            Err(SendError::Full(message)) => self.ask(message).await,
            Err(SendError::Closed(_)) => Err(broken(MailboxError::Closed)),
        }
    }

    /// Submits a job. `tool_head` is the first state of a job with tools.
    pub async fn submit(
        &self,
        job: Arc<Job>,
        terms: JobTerms,
        tool_head: Option<Vec<u8>>,
    ) -> Result<Accepted, DispatchError> {
        self.check_not_purged(&job.owner.tenant)?;
        let submitted = Arc::clone(&job);
        let submit = Submit {
            job,
            terms,
            tool_head,
        };
        let accepted = self.ask(submit).await??;
        let tenant = &submitted.owner.tenant;
        if self.is_purged(tenant) {
            // The purge may have looked for the tenant's jobs before the store had this one.
            let access = Access::Tenant(tenant.clone());
            self.purge(accepted.job.id, &access).await?;
            return Err(DispatchError::PurgedMeanwhile);
        }
        Ok(accepted)
    }

    /// Returns the job if `access` includes it.
    pub async fn get(&self, id: JobId, access: &Access) -> Result<Lookup, DispatchError> {
        let found = self.0.store.get(id, access).await;
        self.look_up(id, access, found).await
    }

    /// Returns the job once it is final or waits for its reader, once `wait` is over, or once the service has stopped running
    /// jobs.
    pub async fn wait(
        &self,
        id: JobId,
        access: &Access,
        wait: Duration,
    ) -> Result<Lookup, DispatchError> {
        let mut drained = self.0.drained.subscribe();
        // The result is a lock guard, which must not be held while the store is asked.
        let is_drained = async { drop(drained.wait_for(|is_drained| *is_drained).await) };
        let found = tokio::select! {
            found = self.0.store.wait(id, access, wait) => found,
            () = is_drained => self.0.store.get(id, access).await,
        };
        self.look_up(id, access, found).await
    }

    pub async fn list(&self, query: ListQuery) -> Result<JobPage, DispatchError> {
        self.0.store.list(&query).await.map_err(unavailable)
    }

    /// Stops a job, and waits until it has stopped.
    pub async fn cancel(&self, id: JobId, access: &Access) -> Result<Cancelled, DispatchError> {
        match self.get(id, access).await? {
            Lookup::Expired => return Ok(Cancelled::Expired),
            Lookup::Unknown => return Ok(Cancelled::Unknown),
            Lookup::Found(now) if now.job.state.is_final() => {
                return Ok(Cancelled::AlreadyFinal(now.job.state));
            }
            Lookup::Found(_) => {}
        }
        self.0.store.cancel(id).await.map_err(unavailable)?;
        self.ask(Cancel(id)).await?;
        match self.wait_for_end(id, access, CANCEL_WITHIN).await? {
            // The job ended by itself in the same moment.
            Lookup::Found(now)
                if now.job.state.is_final() && now.job.state != JobState::Cancelled =>
            {
                Ok(Cancelled::AlreadyFinal(now.job.state))
            }
            Lookup::Found(now) => Ok(Cancelled::Done(now)),
            Lookup::Expired => Ok(Cancelled::Expired),
            Lookup::Unknown => Ok(Cancelled::Unknown),
        }
    }

    /// Returns the job once it is final, or once `wait` is over. A job that waits for its reader is not final.
    async fn wait_for_end(
        &self,
        id: JobId,
        access: &Access,
        wait: Duration,
    ) -> Result<Lookup, DispatchError> {
        let deadline = Instant::now() + wait;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let now = self.wait(id, access, left).await?;
            let still_waits =
                matches!(&now, Lookup::Found(now) if now.job.state == JobState::Waiting);
            if !still_waits || left.is_zero() {
                return Ok(now);
            }
            tokio::time::sleep(CANCEL_POLL).await;
        }
    }

    pub async fn nodes(&self) -> Result<Nodes, DispatchError> {
        if let Some(nodes) = self.0.store.nodes().await.map_err(unavailable)? {
            return Ok(nodes);
        }
        // A store in memory has this process only, and the length of its queue is in the status.
        let this = "this".to_owned();
        Ok(Nodes {
            nodes: vec![Node {
                id: this.clone(),
                started_at: self.0.started_at,
                seen_at: Timestamp::now(),
                executors: self.0.stats.executors(),
            }],
            this,
            oldest_queued: None,
        })
    }

    /// Tries to open a TCP connection to `host:port` from inside a job process.
    pub async fn net_check(&self, host: IpAddr, port: u16) -> Result<SandboxReach, DispatchError> {
        let (reply, result) = oneshot::channel();
        let message = CheckNetwork {
            host,
            port,
            limits: self.0.net_check_limits,
            reply,
        };
        self.ask(message).await?;
        match tokio::time::timeout(NET_CHECK_WITHIN, result).await {
            Ok(Ok(reach)) => reach,
            Ok(Err(_)) | Err(_) => Err(DispatchError::Internal),
        }
    }

    /// Takes no new work and gives running work `patience` to end; then stops it. Afterwards nothing runs, and the
    /// results of everything that ran are recorded.
    pub async fn drain(&self, patience: Duration) {
        self.0.store.stop_dispatch();
        let _ = self.0.dispatcher.send(Drain).timeout(RESPONSE_WITHIN).await;
        if !self.is_idle_within(patience).await {
            let stopped = self.0.dispatcher.send(StopAll);
            let _ = stopped.timeout(RESPONSE_WITHIN).await;
            if !self.is_idle_within(CANCEL_WITHIN).await {
                error!("some executions could not be stopped: the service stops without them");
            }
        }
        self.0.store.close().await;
        self.0.drained.send_replace(true);
    }

    pub(super) fn is_drained(&self) -> bool {
        *self.0.drained.borrow()
    }

    async fn is_idle_within(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        loop {
            let stats = &self.0.stats;
            let left = stats.running.load(Ordering::Acquire)
                + stats.queued_interactive.load(Ordering::Relaxed);
            if left == 0 {
                return true;
            }
            if Instant::now() >= deadline {
                return false;
            }
            tokio::time::sleep(DRAIN_POLL).await;
        }
    }

    async fn look_up(
        &self,
        id: JobId,
        access: &Access,
        found: Result<Found, StoreError>,
    ) -> Result<Lookup, DispatchError> {
        match found.map_err(unavailable)? {
            Found::Job(job) => self.now(job).await.map(Lookup::Found),
            Found::Expired => Ok(Lookup::Expired),
            Found::Unknown => Ok(self
                .0
                .recent
                .get(id, access)
                .map_or(Lookup::Unknown, |job| Lookup::Found(JobSnapshot::of(job)))),
        }
    }

    /// Adds to a job of the store what only this process knows, its queue position or its log, and what the rounds of a job
    /// with tools have left.
    async fn now(&self, mut job: JobRecord) -> Result<JobSnapshot, DispatchError> {
        let (mut queue_position, mut log) = (None, None);
        let location = if job.state.is_final() {
            None
        } else {
            self.locate(job.id).await?
        };
        match location {
            // The store may not have recorded the start yet.
            Some(JobLocation::Running { handle, .. }) if job.state == JobState::Running => {
                log = Some(handle.log_since(0));
            }
            Some(JobLocation::Running { .. }) => {}
            Some(JobLocation::Waiting(position)) => {
                // A database has handed the job out, and the job waits here for an executor.
                if job.state == JobState::Running {
                    job.state = JobState::Queued;
                    job.attempt = job.attempt.saturating_sub(1);
                    job.started_at = None;
                }
                queue_position = Some(position);
            }
            None if job.state == JobState::Running && job.rounds.is_none() => {
                let uploaded = self.0.store.log_so_far(job.id, job.attempt).await;
                log = uploaded.map_err(unavailable)?;
            }
            None => {}
        }
        let tools = self.tool_run_of(&job).await?;
        if let Some(run) = &tools {
            job.execution = run.whole_execution(&job);
            log = (!job.state.is_final()).then(|| run.log_with(log.unwrap_or_default()));
        }
        Ok(JobSnapshot {
            job,
            queue_position,
            log,
            tools,
        })
    }

    pub(super) async fn locate(&self, id: JobId) -> Result<Option<JobLocation>, DispatchError> {
        self.ask(Locate(id)).await
    }

    /// Sends `message` to the Dispatcher, and returns its response.
    pub(super) async fn ask<M>(&self, message: M) -> Result<M::Result, DispatchError>
    where
        M: Message<Result: Send> + Send + 'static,
        Dispatcher: Handler<M>,
    {
        let response = self.0.dispatcher.send(message).timeout(RESPONSE_WITHIN);
        response.await.map_err(broken)
    }
}

/// Logs a failure of the store, and returns an error for the client without the cause.
pub(super) fn unavailable(failure: StoreError) -> DispatchError {
    error!(error = %failure, "the store failed to respond: the client gets an error");
    match failure {
        StoreError::Unreadable(_) => DispatchError::Internal,
        _ => DispatchError::StoreUnavailable,
    }
}

/// Logs that the Dispatcher did not respond, and returns an error for the client without the cause.
fn broken(failure: MailboxError) -> DispatchError {
    error!(
        error = %failure,
        "the Dispatcher did not respond: the client gets an error; if this repeats, restart the service"
    );
    DispatchError::Internal
}

/// Cancels the job when the caller drops its future.
pub(super) struct CancelOnDrop {
    dispatcher: Addr<Dispatcher>,
    id: Option<JobId>,
}

impl CancelOnDrop {
    pub(super) fn new(handle: &DispatcherHandle, id: JobId) -> Self {
        Self {
            dispatcher: handle.0.dispatcher.clone(),
            id: Some(id),
        }
    }

    /// Forgets the job, which has ended.
    pub(super) fn forget(&mut self) {
        self.id = None;
    }
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        let Some(id) = self.id else { return };
        let cancel = self.dispatcher.send(Cancel(id));
        // Without a runtime the process is ending, and every job process with it.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(cancel);
        }
    }
}
