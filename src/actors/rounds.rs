//! Rounds of executions with tools.

use super::dispatcher::Run;
use super::handle::{CancelOnDrop, DispatcherHandle};
use super::runner::RoundTask;
use super::types::{DispatchError, RoundResult};
use sandpiper_domain::tools::{ReplayLog, RoundEnd, ToolLimits};
use sandpiper_domain::{Access, Execution, Owner};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tracing::error;

/// Attempts at a round whose replay the service fails.
const ATTEMPTS_MAX: u32 = 3;

impl DispatcherHandle {
    /// Runs one round of an execution with tools and waits for its end. The wait is bounded as that of
    /// [`DispatcherHandle::execute`]. Dropping the future cancels the round: a queued round is removed, a running one is
    /// killed, and nothing of it was told to anybody.
    pub async fn run_round(&self, round: RoundTask) -> RoundResult {
        let round = Arc::new(round);
        for _ in 0..ATTEMPTS_MAX {
            let ended = self.try_round(Arc::clone(&round)).await?;
            let RoundEnd::ReplayFailed(cause) = &ended.end else {
                return Ok(ended);
            };
            error!(
                %cause, job = %round.job.id, rounds = round.log.rounds(),
                "an execution with tools could not be replayed along its own log: the round is tried again"
            );
        }
        Err(DispatchError::ReplayFailed)
    }

    async fn try_round(&self, round: Arc<RoundTask>) -> RoundResult {
        let tenant = round.job.owner.tenant.clone();
        self.check_not_purged(&tenant)?;
        let (reply, result) = oneshot::channel();
        let job = &round.job;
        let patience = self.0.execute_within + job.limits.timeout() + longest_replay(&round.log);
        let mut on_drop = CancelOnDrop::new(self, job.id);
        self.hand_over(Run::round(round, reply)).await?;
        let Ok(result) = tokio::time::timeout(patience, result).await else {
            error!(
                "a round had no result in time: the client gets an error and the round is cancelled; search the log for \
                 earlier errors"
            );
            return Err(DispatchError::Internal);
        };
        on_drop.forget();
        if self.is_purged(&tenant) {
            return Err(DispatchError::PurgedMeanwhile);
        }
        result.unwrap_or(Err(DispatchError::Internal))
    }

    /// Counts an execution with tools that the service has ended itself, between two rounds.
    pub fn count_ended(&self, execution: &Execution) {
        let stats = &self.0.stats;
        stats.count_execution(execution.outcome, execution.limit_hit());
    }

    /// Keeps the execution of the last round readable for a while, like the result of [`DispatcherHandle::execute`].
    pub fn remember(&self, owner: Owner, execution: &Arc<Execution>) {
        let tenant = owner.tenant.clone();
        self.0.recent.insert(owner, execution);
        if self.is_purged(&tenant) {
            // The purge may have deleted the results of the tenant before there was this one.
            let access = Access::Tenant(tenant);
            self.0.recent.purge(&access, Some(execution.id));
        }
    }
}

/// Returns the longest time that a process takes to run along a log, and to wait for timers in its round.
fn longest_replay(log: &ReplayLog) -> Duration {
    let own = Duration::from_micros(log.own_micros());
    ToolLimits::replay_time(own) + Duration::from_millis(ToolLimits::WAITS_IN_PROCESS_MS)
}
