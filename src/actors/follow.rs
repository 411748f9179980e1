//! Following a job: what it does and logs, as it comes.

use super::answers::{JobNow, Lookup, News, Refusal, Told};
use super::dispatcher::Whereabouts;
use super::handle::DispatcherHandle;
use sandpiper_domain::{JobId, JobState, LogSoFar};
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout_at};

/// Between two looks at a job that waits, or runs in another process.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Least time between two looks at a log that grows.
const LOG_EVERY: Duration = Duration::from_millis(20);

impl DispatcherHandle {
    /// What is new of a job beyond what was `told`, as soon as there is something, for as long as `patience` lasts.
    pub async fn follow(&self, id: JobId, told: Told, patience: Duration) -> Result<News, Refusal> {
        let deadline = Instant::now() + patience;
        loop {
            if self.is_drained() {
                return Err(Refusal::Draining);
            }
            let begun = Instant::now();
            let running_here = match self.where_is(id).await? {
                Some(Whereabouts::Running(handle)) => Some(handle),
                _ => None,
            };
            if let Some(handle) = &running_here
                && told
                    .stands
                    .is_some_and(|(state, _)| state == JobState::Running)
            {
                // Registered before the log is read, so that what comes in between is not missed.
                let logged = handle.logged();
                tokio::pin!(logged);
                logged.as_mut().enable();
                let log = handle.log_since(told.next);
                if !log.entries.is_empty() {
                    return Ok(News::Logged(log));
                }
                let until = deadline.min(begun + LOOK_EVERY);
                if timeout_at(until, logged).await.is_ok() && until < deadline {
                    sleep_until(begun + LOG_EVERY).await;
                    continue;
                }
            }
            let now = match self.get(id).await? {
                Lookup::Found(now) => now,
                Lookup::Expired => return Ok(News::Expired),
                Lookup::Unknown => return Ok(News::Unknown),
            };
            if told.stands != Some((now.job.state, now.job.attempt)) {
                return Ok(News::Stands(beyond(now, told)));
            }
            let log = beyond(now, told).log;
            if let Some(log) = log.filter(|log| !log.entries.is_empty()) {
                return Ok(News::Logged(log));
            }
            if Instant::now() >= deadline {
                return Ok(News::Nothing);
            }
            // Woken when it ends, and looking for when it begins.
            let until = deadline.min(begun + LOOK_EVERY);
            let patience = until.saturating_duration_since(Instant::now());
            self.wait(id, patience).await?;
        }
    }
}

/// The job with what of its log was not told yet.
fn beyond(now: JobNow, told: Told) -> JobNow {
    let next = if now.job.attempt == told.attempt {
        told.next
    } else {
        0
    };
    let log = match (&now.job.execution, now.log) {
        (Some(execution), _) => Some(execution.log_since(next)),
        (None, Some(log)) => Some(LogSoFar {
            entries: log
                .entries
                .into_iter()
                .filter(|(number, _)| *number >= next)
                .collect(),
            next: log.next,
        }),
        (None, None) => None,
    };
    JobNow { log, ..now }
}
