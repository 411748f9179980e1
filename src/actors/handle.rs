//! The way into the actors for everything above them.

use super::answers::{
    Accepted, Cancelled, ExecuteAnswer, JobNow, JobPage, ListQuery, Lookup, Node, Nodes, Refusal,
    SandboxReach, ServiceStatus, StoreCounts, Submission,
};
use super::board::Board;
use super::dispatcher::{
    Cancel, CheckNetwork, Dispatcher, Drain, RunNow, StopAll, Submit, WhereIs, Whereabouts,
};
use super::meters::Meters;
use super::store_health::StoreHealth;
use crate::store::{Found, JobStore, RecentExecutions, StoreError};
use crate::telemetry::Telemetry;
use actix::prelude::SendError;
use actix::{Addr, MailboxError};
use sandpiper_domain::{Job, JobId, JobState, JobTerms, Limits, Timestamp};
use sandpiper_sandbox_client::{IsolationLevel, WallReport};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::sync::{oneshot, watch};
use tracing::error;

/// Longest that the Dispatcher may take to answer a question. It never blocks: beyond this it is broken.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// How long a cancel waits for the running job to be dead. A kill takes a few milliseconds.
const CANCEL_WITHIN: Duration = Duration::from_secs(2);
/// How long a network check waits: a place in the queue, and a moment.
const NET_CHECK_WITHIN: Duration = Duration::from_secs(40);
/// How often draining looks whether everything is done.
const DRAIN_POLL: Duration = Duration::from_millis(10);

/// Cheap to clone; every clone talks to the same Dispatcher. Every wait in here has a deadline.
#[derive(Debug, Clone)]
pub struct DispatcherHandle(Arc<Parts>);

/// What the handle stands on.
#[derive(Debug)]
pub struct Parts {
    /// The actor.
    pub dispatcher: Addr<Dispatcher>,
    /// Reads go past the actor.
    pub store: Arc<dyn JobStore>,
    /// Whether it answers.
    pub store_health: Arc<StoreHealth>,
    /// As above.
    pub recent: Arc<RecentExecutions>,
    /// Numbers.
    pub board: Arc<Board>,
    /// Proved at start.
    pub isolation_level: IsolationLevel,
    /// Proved at start.
    pub walls: Vec<WallReport>,
    /// Longest from asking to the answer of an execution, beside the script's own time.
    pub execute_within: Duration,
    /// What a network check may use.
    pub net_check_limits: Limits,
    /// When this process started.
    pub started_at: Timestamp,
    /// True once nothing runs any more and nothing will: whoever waits is let go.
    pub drained: watch::Sender<bool>,
}

impl DispatcherHandle {
    /// A handle on these parts.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    /// Runs `submission` and waits for its execution: at most for the queue's longest wait, the script's own time and
    /// the grace. Dropping the future cancels the job: queued, it is removed; running, it is killed.
    pub async fn execute(&self, submission: Submission) -> ExecuteAnswer {
        let (reply, answer) = oneshot::channel();
        let patience = self.0.execute_within + submission.limits.timeout();
        let mut on_drop = CancelOnDrop {
            dispatcher: self.0.dispatcher.clone(),
            id: Some(submission.id),
        };
        self.hand_over(RunNow { submission, reply }).await?;
        // Only a broken part of the service takes this long; the job is cancelled by `on_drop`.
        let Ok(answer) = tokio::time::timeout(patience, answer).await else {
            error!("an execution was not answered in time");
            return Err(Refusal::Internal);
        };
        on_drop.id = None;
        answer.unwrap_or(Err(Refusal::Internal))
    }

    /// Puts `message` into the Dispatcher's mailbox, and waits only while that is full: whether it was taken is told with
    /// the answer, and to be told twice would cost each request a wake.
    async fn hand_over(&self, message: RunNow) -> Result<(), Refusal> {
        match self.0.dispatcher.try_send(message) {
            Ok(()) => Ok(()),
            Err(SendError::Full(message)) => self
                .0
                .dispatcher
                .send(message)
                .timeout(ANSWER_WITHIN)
                .await
                .map_err(broken),
            Err(SendError::Closed(_)) => Err(broken(MailboxError::Closed)),
        }
    }

    /// Accepts `submission` to be run later.
    pub async fn submit(
        &self,
        submission: Submission,
        terms: JobTerms,
    ) -> Result<Accepted, Refusal> {
        self.0
            .dispatcher
            .send(Submit { submission, terms })
            .timeout(ANSWER_WITHIN)
            .await
            .map_err(broken)?
    }

    /// The job as it stands.
    pub async fn get(&self, id: JobId) -> Result<Lookup, Refusal> {
        let found = self.0.store.get(id).await;
        self.look_up(id, found).await
    }

    /// The job as it stands once it is final, once `wait` is over, or once the service has stopped running jobs.
    pub async fn wait(&self, id: JobId, wait: Duration) -> Result<Lookup, Refusal> {
        let mut drained = self.0.drained.subscribe();
        // What it answers is a lock, which is not to be held while the store is asked.
        let is_drained = async { drop(drained.wait_for(|is_drained| *is_drained).await) };
        let found = tokio::select! {
            found = self.0.store.wait(id, wait) => found,
            () = is_drained => self.0.store.get(id).await,
        };
        self.look_up(id, found).await
    }

    /// Jobs, newest first.
    pub async fn list(&self, query: ListQuery) -> Result<JobPage, Refusal> {
        self.0.store.list(&query).await.map_err(unavailable)
    }

    /// Stops a job, and waits until it has stopped.
    pub async fn cancel(&self, id: JobId) -> Result<Cancelled, Refusal> {
        match self.get(id).await? {
            Lookup::Expired => return Ok(Cancelled::Expired),
            Lookup::Unknown => return Ok(Cancelled::Unknown),
            Lookup::Found(now) if now.job.state.is_final() => {
                return Ok(Cancelled::AlreadyFinal(now.job.state));
            }
            Lookup::Found(_) => {}
        }
        self.0.store.cancel(id).await.map_err(unavailable)?;
        self.0
            .dispatcher
            .send(Cancel(id))
            .timeout(ANSWER_WITHIN)
            .await
            .map_err(broken)?;
        match self.wait(id, CANCEL_WITHIN).await? {
            // It ended by itself in the same moment.
            Lookup::Found(now)
                if now.job.state.is_final() && now.job.state != JobState::Cancelled =>
            {
                Ok(Cancelled::AlreadyFinal(now.job.state))
            }
            Lookup::Found(now) => Ok(Cancelled::Done(now.job)),
            Lookup::Expired => Ok(Cancelled::Expired),
            Lookup::Unknown => Ok(Cancelled::Unknown),
        }
    }

    /// Who runs jobs of the store.
    pub async fn nodes(&self) -> Result<Nodes, Refusal> {
        if let Some(nodes) = self.0.store.nodes().await.map_err(unavailable)? {
            return Ok(nodes);
        }
        // Memory belongs to this process alone, and its queue says how long it is.
        let this = "this".to_owned();
        Ok(Nodes {
            nodes: vec![Node {
                id: this.clone(),
                started_at: self.0.started_at,
                seen_at: Timestamp::now(),
                executors: self.0.board.executors(),
            }],
            this,
            oldest_queued: None,
        })
    }

    /// Tries to open a TCP connection to `host:port` from inside a job process.
    pub async fn net_check(&self, host: IpAddr, port: u16) -> Result<SandboxReach, Refusal> {
        let (reply, answer) = oneshot::channel();
        let message = CheckNetwork {
            host,
            port,
            limits: self.0.net_check_limits,
            reply,
        };
        self.0
            .dispatcher
            .send(message)
            .timeout(ANSWER_WITHIN)
            .await
            .map_err(broken)?;
        match tokio::time::timeout(NET_CHECK_WITHIN, answer).await {
            Ok(Ok(reach)) => reach,
            Ok(Err(_)) | Err(_) => Err(Refusal::Internal),
        }
    }

    /// How the service is. Does not wait and asks no actor.
    #[must_use]
    pub fn status(&self) -> ServiceStatus {
        let Parts { board, store, .. } = &*self.0;
        let counts = store.counts();
        ServiceStatus {
            isolation_level: self.0.isolation_level.to_string(),
            walls: self.0.walls.clone(),
            store: store.name().to_owned(),
            store_promise: store.promise().to_owned(),
            draining: board.draining.load(Ordering::SeqCst),
            executors: board.executors(),
            executors_ready: board.executors_ready(),
            executors_busy: board.executors_busy(),
            reserve_executors: board.reserve_executors(),
            reserve_executors_up: board.reserve_executors_up(),
            reserve_executors_busy: board.reserve_executors_busy(),
            zygotes_replaced: board.zygotes_replaced.load(Ordering::Relaxed),
            executors_revived: board.executors_revived.load(Ordering::Relaxed),
            executions_crashed: board.executions_crashed.load(Ordering::Relaxed),
            executions_killed: board.executions_killed.load(Ordering::Relaxed),
            executions: board.executions().collect(),
            mean_wall: Duration::from_micros(board.mean_wall_micros.load(Ordering::Relaxed)),
            jobs: StoreCounts {
                lost: counts.lost + board.jobs_lost.load(Ordering::Relaxed),
                stale: counts.stale + board.finishes_stale.load(Ordering::Relaxed),
                failures: counts.failures + board.store_failures.load(Ordering::Relaxed),
                ..counts
            },
            queued_interactive: board.queued_interactive.load(Ordering::Relaxed),
            queued_background: board.queued_background.load(Ordering::Relaxed),
            process_ids: board.process_ids(),
        }
    }

    /// Whether the store answers; waits for it no longer than a second.
    pub async fn store_is_up(&self) -> bool {
        self.0.store_health.is_up().await
    }

    /// When this process started.
    #[must_use]
    pub fn started_at(&self) -> Timestamp {
        self.0.started_at
    }

    /// How long work waits and runs.
    #[must_use]
    pub fn meters(&self) -> &Meters {
        &self.0.board.meters
    }

    /// Where spans go.
    #[must_use]
    pub fn telemetry(&self) -> &Telemetry {
        self.0.board.telemetry()
    }

    /// Takes no new work and gives what runs `patience` to end; then stops it. Afterwards nothing runs,
    /// and what ran is recorded.
    pub async fn drain(&self, patience: Duration) {
        self.0.store.hold();
        let _ = self.0.dispatcher.send(Drain).timeout(ANSWER_WITHIN).await;
        if !self.is_idle_within(patience).await {
            let _ = self.0.dispatcher.send(StopAll).timeout(ANSWER_WITHIN).await;
            if !self.is_idle_within(CANCEL_WITHIN).await {
                error!("some executions could not be stopped, or not be recorded");
            }
        }
        self.0.store.close().await;
        self.0.drained.send_replace(true);
    }

    /// Whether nothing runs any more and nothing will.
    pub(super) fn is_drained(&self) -> bool {
        *self.0.drained.borrow()
    }

    async fn is_idle_within(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        loop {
            let board = &self.0.board;
            let left = board.running.load(Ordering::Acquire)
                + board.queued_interactive.load(Ordering::Relaxed)
                + board.unrecorded.load(Ordering::Relaxed);
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
        found: Result<Found, StoreError>,
    ) -> Result<Lookup, Refusal> {
        match found.map_err(unavailable)? {
            Found::Job(job) => self.now(job).await.map(Lookup::Found),
            Found::Expired => Ok(Lookup::Expired),
            Found::Unknown => Ok(self.0.recent.get(id).map_or(Lookup::Unknown, |job| {
                Lookup::Found(JobNow {
                    job,
                    queue_position: None,
                    log: None,
                })
            })),
        }
    }

    /// What the store says of it, and what is known of it here.
    async fn now(&self, mut job: Job) -> Result<JobNow, Refusal> {
        let (mut queue_position, mut log) = (None, None);
        let whereabouts = if job.state.is_final() {
            None
        } else {
            self.where_is(job.id).await?
        };
        match whereabouts {
            // The store may not know it yet.
            Some(Whereabouts::Running(handle)) if job.state == JobState::Running => {
                log = Some(handle.log_since(0));
            }
            Some(Whereabouts::Running(_)) => {}
            Some(Whereabouts::Waiting(position)) => {
                // A database has handed it out, and here it waits for an executor.
                if job.state == JobState::Running {
                    job.state = JobState::Queued;
                    job.attempt = job.attempt.saturating_sub(1);
                    job.started_at = None;
                }
                queue_position = Some(position);
            }
            None if job.state == JobState::Running => {
                let brought = self.0.store.log_so_far(job.id, job.attempt).await;
                log = brought.map_err(unavailable)?;
            }
            None => {}
        }
        Ok(JobNow {
            job,
            queue_position,
            log,
        })
    }

    pub(super) async fn where_is(&self, id: JobId) -> Result<Option<Whereabouts>, Refusal> {
        self.0
            .dispatcher
            .send(WhereIs(id))
            .timeout(ANSWER_WITHIN)
            .await
            .map_err(broken)
    }
}

/// The store did not do it: why is said in the log, not to the client.
fn unavailable(failure: StoreError) -> Refusal {
    error!(error = %failure, "the store did not answer");
    match failure {
        StoreError::Unreadable(_) => Refusal::Internal,
        _ => Refusal::StoreUnavailable,
    }
}

/// The Dispatcher did not answer: said in the log, not to the client.
fn broken(failure: MailboxError) -> Refusal {
    error!(error = %failure, "a part of the service did not answer");
    Refusal::Internal
}

/// Cancels the job if whoever waits for it goes away.
struct CancelOnDrop {
    dispatcher: Addr<Dispatcher>,
    id: Option<JobId>,
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
