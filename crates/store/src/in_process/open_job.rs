//! One open job of a store of one process: its attempts, its rounds, and its waits between them.

use super::{JobRunner, Shared};
use crate::{
    Committed, Finished, Found, NotRun, QueuePlace, Ran, Settlement, StartHook, SuspendedRound,
    ToolProgress,
};
use sandpiper_domain::{Access, Job, JobState, Timestamp};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use tracing::field::display;
use tracing::warn;

/// Time until a job that could not be run is tried again.
const RETRY_AFTER: Duration = Duration::from_millis(250);

/// An attempt whose result is not recorded yet. [`InProcessStore::close`] waits until none exists.
struct Unrecorded(Arc<Shared>);

impl Unrecorded {
    fn new(shared: Arc<Shared>) -> Self {
        shared.unrecorded.send_modify(|count| *count += 1);
        Self(shared)
    }
}

impl Drop for Unrecorded {
    fn drop(&mut self) {
        self.0.unrecorded.send_modify(|count| *count -= 1);
    }
}

/// The signals that an open job gets.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Signals {
    pub(super) is_cancelled: bool,
    /// Requests with answers that were taken.
    pub(super) answers: u64,
}

/// A job on its way from being accepted to its final state.
pub(super) struct OpenJob {
    shared: Arc<Shared>,
    runner: Arc<dyn JobRunner>,
    job: Arc<Job>,
    /// The place that is reserved for the first attempt.
    place: QueuePlace,
    signals: watch::Receiver<Signals>,
    /// The number of the attempt that was recorded last; 0 before the first one.
    attempt: u32,
    /// The number of the next attempt. The first one after a committed round has the number of that round's last one.
    next_attempt: u32,
    /// The number of attempts that have started since the last committed round.
    attempts: u32,
}

impl Drop for OpenJob {
    fn drop(&mut self) {
        self.shared.open.remove(&self.job.id);
    }
}

impl OpenJob {
    pub(super) fn new(
        shared: Arc<Shared>,
        runner: Arc<dyn JobRunner>,
        job: Arc<Job>,
        place: QueuePlace,
        signals: watch::Receiver<Signals>,
    ) -> Self {
        Self {
            shared,
            runner,
            job,
            place,
            signals,
            attempt: 0,
            next_attempt: 1,
            attempts: 0,
        }
    }

    /// Runs the job until it has its final state, or until the service stops.
    pub(super) async fn run_to_end(mut self) {
        while !self.is_cancelled() {
            let Some(progress) = self.progress().await else {
                self.rest().await;
                continue;
            };
            let (on_start, started) = self.start_hook();
            let (result, unrecorded) = self.attempt(progress.clone(), on_start, started).await;
            let has_started = unrecorded.is_some();
            match result {
                Ok(Ran::Ended(execution, last_round)) => {
                    let settlement = Settlement::of(execution).with_last_round(last_round);
                    return self.finish(settlement).await;
                }
                Ok(Ran::Suspended(round)) => {
                    let Some(progress) = progress else {
                        return self.record_loss().await;
                    };
                    let committed = self.suspend(&progress, &round, has_started).await;
                    drop(unrecorded);
                    match committed {
                        Some(Committed::Due) => {}
                        Some(Committed::Waits) => self.wait_until_due(round.resume_at).await,
                        Some(Committed::Cancelled | Committed::Stale) => return,
                        None => self.rest().await,
                    }
                    continue;
                }
                Err(NotRun::Stopping) => return,
                Err(NotRun::Cancelled) => return self.finish(Settlement::CANCELLED).await,
                Err(NotRun::Failed) if self.is_cancelled() => {
                    return self.finish(Settlement::CANCELLED).await;
                }
                Err(NotRun::Failed) if has_started && self.attempts >= self.shared.attempts_max => {
                    return self.record_loss().await;
                }
                Err(NotRun::Failed) if has_started => self.record_requeue().await,
                // The queue is full. An accepted job stays accepted, and waits.
                Err(NotRun::Failed | NotRun::Busy) => {}
            }
            drop(unrecorded);
            self.rest().await;
        }
        self.finish(Settlement::CANCELLED).await;
    }

    fn is_cancelled(&self) -> bool {
        self.signals.borrow().is_cancelled
    }

    /// Waits until the job may be tried again. Ends early if the job is cancelled meanwhile.
    async fn rest(&mut self) {
        let cancelled = self.signals.wait_for(|signals| signals.is_cancelled);
        let _ = tokio::time::timeout(RETRY_AFTER, cancelled).await;
    }

    /// Reads the progress of a job with tools; of any other job there is none. Returns `None` if it cannot be read.
    async fn progress(&self) -> Option<Option<Arc<ToolProgress>>> {
        if self.job.script.tools().is_none() {
            return Some(None);
        }
        let read = self.shared.records.progress(self.job.id).await;
        let progress = self.shared.count_failure(read)?;
        Some(progress.map(Arc::new))
    }

    /// Commits a round that suspended; `None` if the commit failed.
    async fn suspend(
        &mut self,
        progress: &ToolProgress,
        round: &Arc<SuspendedRound>,
        has_started: bool,
    ) -> Option<Committed> {
        let records = &self.shared.records;
        let (id, round) = (self.job.id, Arc::clone(round));
        let committed = records.suspend(id, self.attempt, progress, round).await;
        let committed = self.shared.count_failure(committed)?;
        if has_started {
            self.next_attempt = self.attempt;
        }
        self.attempts = 0;
        Some(committed)
    }

    /// Waits until a job that waits has an answer, until its moment, or until it is cancelled.
    async fn wait_until_due(&mut self, resume_at: Option<Timestamp>) {
        let mut answers = 0;
        loop {
            let signals = &mut self.signals;
            let changed = async {
                let is_news = |now: &Signals| now.is_cancelled || now.answers != answers;
                signals.wait_for(is_news).await.map(|signals| *signals)
            };
            let until_moment = async {
                match resume_at {
                    Some(at) => tokio::time::sleep(time_until(at)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                signals = changed => match signals {
                    Ok(signals) if signals.is_cancelled => return,
                    Ok(signals) => answers = signals.answers,
                    // The store has gone.
                    Err(_) => return,
                },
                () = until_moment => {
                    let recorded = self.shared.records.resume(self.job.id).await;
                    self.shared.count_failure(recorded);
                    return;
                }
            }
            if !self.waits().await {
                return;
            }
        }
    }

    /// Returns whether the records say that the job waits.
    async fn waits(&self) -> bool {
        let found = self.shared.records.get(self.job.id, &Access::All).await;
        let found = self.shared.count_failure(found);
        matches!(found, Some(Found::Job(job)) if job.state == JobState::Waiting)
    }

    /// Returns a hook that notes the start in the moment in which it happens, and the receiver of that note.
    fn start_hook(&self) -> (StartHook, oneshot::Receiver<Unrecorded>) {
        let (sender, started) = oneshot::channel();
        let shared = Arc::clone(&self.shared);
        let on_start = StartHook::new(move || {
            // The receiver may have gone, with the service.
            let _ = sender.send(Unrecorded::new(shared));
        });
        (on_start, started)
    }

    /// Runs the job once, and records its start. The second value exists if an executor took the job.
    async fn attempt(
        &mut self,
        progress: Option<Arc<ToolProgress>>,
        on_start: StartHook,
        started: oneshot::Receiver<Unrecorded>,
    ) -> (Result<Ran, NotRun>, Option<Unrecorded>) {
        let (job, place) = (Arc::clone(&self.job), std::mem::take(&mut self.place));
        let runner = Arc::clone(&self.runner);
        let mut run = runner.run(job, progress, place, on_start);
        let unrecorded = tokio::select! {
            // If both are ready, the start is recorded before the result.
            biased;
            Ok(unrecorded) = started => unrecorded,
            result = &mut run => return (result, None),
        };
        self.attempt = self.next_attempt;
        self.next_attempt += 1;
        self.attempts += 1;
        let recorded = self.shared.records.start(self.job.id, self.attempt).await;
        self.shared.count_failure(recorded);
        // A cancel that came between the queue and the executor has found the job in neither.
        if self.is_cancelled() {
            runner.cancel(self.job.id).await;
        }
        (run.await, Some(unrecorded))
    }

    async fn record_loss(&self) {
        let attempts = self.attempts;
        let trace = self.job.trace.as_ref();
        let trace_id = trace.map(|trace| display(trace.trace_text()));
        warn!(job = %self.job.id, trace_id, attempts, "a job is lost: the service failed to run it in each attempt");
        self.shared.lost.fetch_add(1, Ordering::Relaxed);
        self.finish(Settlement::lost(&self.job, attempts)).await;
    }

    async fn record_requeue(&self) {
        let (id, attempt) = (self.job.id, self.attempt);
        let recorded = self.shared.records.requeue(id, attempt).await;
        self.shared.count_failure(recorded);
    }

    async fn finish(&self, settlement: Settlement) {
        let (id, attempt) = (self.job.id, self.attempt);
        let recorded = self.shared.records.finish(id, attempt, settlement).await;
        if self.shared.count_failure(recorded) == Some(Finished::Stale) {
            self.shared.stale.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn time_until(at: Timestamp) -> Duration {
    let now = Timestamp::now().as_unix_millis();
    Duration::from_millis(at.as_unix_millis().saturating_sub(now))
}
