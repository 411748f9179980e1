//! The open jobs and stored bytes of each client, and the queue position of its next job.
//!
//! Scheduling is fair: a client that submits many jobs delays only its own. A client's first open job gets a head start of
//! [`HEAD_START_MAX`], and each further one less, down to none from [`NO_HEAD_START_AT`] open jobs on.

use super::numbers::as_millis;
use super::stored::{StoredBytes, is_valid};
use dashmap::DashMap;
use sandpiper_domain::ClientKey;
use std::time::{Duration, Instant};

/// Time after which a client that submits nothing is forgotten.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);
/// Number of a client's open jobs from which on its next job gets no head start.
pub(super) const NO_HEAD_START_AT: u64 = 1_000;
/// Head start of the first open job of a client.
const HEAD_START_MAX: Duration = Duration::from_hours(1);

#[derive(Debug, Clone, Copy)]
pub(super) struct ClientUsage {
    /// Jobs that are queued or running, and have never suspended.
    pub(super) open_jobs: u64,
    pub(super) waiting: Waiting,
    pub(super) stored: StoredBytes,
    counted_at: Instant,
    /// Queue position of the client's last job, milliseconds since 1970.
    last_position: i64,
}

/// The jobs of a client that have suspended and have not ended, and their bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Waiting {
    pub(super) jobs: u64,
    pub(super) bytes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct QueuePosition {
    /// The moment by which River orders the job, milliseconds since 1970; `None` for the moment of its insert.
    pub(super) scheduled_at: Option<i64>,
}

/// The usage of each client, as counted by the database at most once a second; what this node accepts and ends in between
/// is added.
#[derive(Debug, Default)]
pub(super) struct Clients(DashMap<ClientKey, ClientUsage>);

impl Clients {
    pub(super) fn is_counted(
        &self,
        client: &ClientKey,
        would_reject: impl Fn(&ClientUsage) -> bool,
    ) -> bool {
        let usage = self.0.get(client);
        usage.is_some_and(|usage| is_valid(usage.counted_at, would_reject(&usage)))
    }

    /// Returns the last known usage of a client, however old it is.
    pub(super) fn usage(&self, client: &ClientKey) -> Option<ClientUsage> {
        self.0.get(client).map(|usage| *usage)
    }

    pub(super) fn set(
        &self,
        client: &ClientKey,
        open_jobs: u64,
        waiting: Waiting,
        stored: StoredBytes,
    ) {
        let counted_at = Instant::now();
        let mut usage = self.0.entry(client.clone()).or_insert(ClientUsage {
            open_jobs,
            waiting,
            stored,
            counted_at,
            last_position: 0,
        });
        usage.open_jobs = open_jobs;
        usage.waiting = waiting;
        usage.stored = stored;
        usage.counted_at = counted_at;
    }

    /// Adds the bytes of the execution of a job that had suspended.
    pub(super) fn end_waiting_job(&self, client: &ClientKey, execution_bytes: u64) {
        if let Some(mut usage) = self.0.get_mut(client) {
            usage.waiting.jobs = usage.waiting.jobs.saturating_sub(1);
            usage.stored.add_execution(execution_bytes);
        }
    }

    /// Adds a job that was created at `created_at`, and returns its queue position, which is never before that of an
    /// earlier open job of the client.
    pub(super) fn add_job(
        &self,
        client: &ClientKey,
        created_at: i64,
        request_bytes: u64,
    ) -> QueuePosition {
        let Some(mut usage) = self.0.get_mut(client) else {
            return QueuePosition { scheduled_at: None };
        };
        let head_start = head_start(usage.open_jobs);
        let position = created_at.saturating_sub(as_millis(head_start));
        let position = if usage.open_jobs == 0 {
            position
        } else {
            position.max(usage.last_position)
        };
        usage.open_jobs += 1;
        usage.stored.add_request(request_bytes);
        usage.last_position = position;
        QueuePosition {
            // Without a head start the database's clock decides.
            scheduled_at: (!head_start.is_zero()).then_some(position),
        }
    }

    /// Removes an open job that has ended on this node, and adds the bytes of its execution.
    pub(super) fn end_job(&self, client: &ClientKey, execution_bytes: u64) {
        if let Some(mut usage) = self.0.get_mut(client) {
            usage.open_jobs = usage.open_jobs.saturating_sub(1);
            usage.stored.add_execution(execution_bytes);
        }
    }

    pub(super) fn sweep(&self) {
        self.0
            .retain(|_, usage| usage.counted_at.elapsed() < FORGOTTEN_AFTER);
    }
}

fn head_start(open_jobs: u64) -> Duration {
    let left = NO_HEAD_START_AT.saturating_sub(open_jobs);
    HEAD_START_MAX.mul_f64(left as f64 / NO_HEAD_START_AT as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_of_one_client_keep_their_order_and_a_client_with_fewer_open_jobs_is_ahead() {
        let clients = Clients::default();
        let [many, few] = ["many", "few"].map(ClientKey::new);
        clients.set(&many, 0, Waiting::default(), StoredBytes::default());
        clients.set(&few, 0, Waiting::default(), StoredBytes::default());
        let hour = as_millis(HEAD_START_MAX);
        let position =
            |client: &ClientKey, at| clients.add_job(client, at, 1).scheduled_at.unwrap_or(at);
        let of_many: Vec<i64> = (0..2_000)
            .map(|number| position(&many, hour + number))
            .collect();
        assert!(of_many.is_sorted());
        assert_eq!(of_many[0], 0);
        assert_eq!(of_many[1_999], hour + 1_999);
        let later = hour + 10_000;
        assert!((of_many[0]..of_many[10]).contains(&position(&few, later)));
        // Jobs that have ended give no place ahead of jobs that are open.
        for _ in 0..1_500 {
            clients.end_job(&many, 1);
        }
        assert_eq!(position(&many, later), of_many[1_999]);
        for _ in 0..501 {
            clients.end_job(&many, 1);
        }
        assert_eq!(position(&many, later), later - hour);
    }

    #[test]
    fn the_more_jobs_a_client_has_open_the_shorter_the_head_start_of_the_next() {
        assert_eq!(head_start(0), HEAD_START_MAX);
        assert!(head_start(1) < head_start(0));
        assert!(head_start(999) > Duration::ZERO);
        assert_eq!(head_start(1_000), Duration::ZERO);
        assert_eq!(head_start(u64::MAX), Duration::ZERO);
    }
}
