//! Counts of stored bytes, and how long a count is valid.

use parking_lot::Mutex;
use std::time::{Duration, Instant};

/// Time for which a count is valid.
const COUNT_VALID_FOR: Duration = Duration::from_secs(1);
/// The same for a count that would reject a job: jobs may have ended and records expired since.
const REJECTING_COUNT_VALID_FOR: Duration = Duration::from_millis(100);

/// Returns whether a count of this moment is valid. A count that would reject a job is valid for less long.
pub(super) fn is_valid(counted_at: Instant, would_reject: bool) -> bool {
    let valid_for = if would_reject {
        REJECTING_COUNT_VALID_FOR
    } else {
        COUNT_VALID_FOR
    };
    counted_at.elapsed() < valid_for
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct StoredBytes {
    pub(super) bytes: u64,
    /// Bytes of jobs with a final state, which expire.
    pub(super) expiring: u64,
}

impl StoredBytes {
    /// Reads the sums of a row. A negative sum, which only a wrong account could have, counts as 0.
    pub(super) fn of_row(bytes: i64, expiring: i64) -> Self {
        Self {
            bytes: u64::try_from(bytes).unwrap_or_default(),
            expiring: u64::try_from(expiring).unwrap_or_default(),
        }
    }

    pub(super) fn add_request(&mut self, request_bytes: u64) {
        self.bytes = self.bytes.saturating_add(request_bytes);
    }

    pub(super) fn add_execution(&mut self, execution_bytes: u64) {
        self.bytes = self.bytes.saturating_add(execution_bytes);
        self.expiring = self.expiring.saturating_add(execution_bytes);
    }
}

/// The last count of the bytes of all clients, with what this node has added since.
#[derive(Debug, Default)]
pub(super) struct TotalBytes(Mutex<Count>);

#[derive(Debug, Clone, Copy, Default)]
struct Count {
    stored: StoredBytes,
    /// Expiry of the next record, milliseconds since 1970.
    next_expiry: Option<i64>,
    counted_at: Option<Instant>,
    /// Batches of submits that have begun and that have ended, counted together: odd while one is being written.
    batch_changes: u64,
}

impl TotalBytes {
    /// Notes that a batch of submits begins or ends. A count that overlaps a batch may miss what the batch adds.
    pub(super) fn note_batch_change(&self) {
        self.0.lock().batch_changes += 1;
    }

    /// Returns a mark for [`TotalBytes::set_since`], unless a batch is being written.
    pub(super) fn mark(&self) -> Option<u64> {
        let batch_changes = self.0.lock().batch_changes;
        batch_changes.is_multiple_of(2).then_some(batch_changes)
    }

    /// Replaces the count by one that was begun at `mark`, unless a batch has begun since.
    pub(super) fn set_since(&self, mark: u64, stored: StoredBytes, next_expiry: Option<i64>) {
        let mut count = self.0.lock();
        if count.batch_changes == mark {
            count.replace(stored, next_expiry);
        }
    }

    pub(super) fn stored(&self) -> StoredBytes {
        self.0.lock().stored
    }

    pub(super) fn set(&self, stored: StoredBytes, next_expiry: Option<i64>) {
        self.0.lock().replace(stored, next_expiry);
    }

    pub(super) fn add_request(&self, request_bytes: u64) {
        self.0.lock().stored.add_request(request_bytes);
    }

    pub(super) fn add_execution(&self, execution_bytes: u64) {
        self.0.lock().stored.add_execution(execution_bytes);
    }

    pub(super) fn is_old(&self, would_reject: impl Fn(&StoredBytes) -> bool) -> bool {
        let count = *self.0.lock();
        let is_valid = |at| is_valid(at, would_reject(&count.stored));
        !count.counted_at.is_some_and(is_valid)
    }

    pub(super) fn next_expiry(&self) -> Option<i64> {
        self.0.lock().next_expiry
    }
}

impl Count {
    fn replace(&mut self, stored: StoredBytes, next_expiry: Option<i64>) {
        self.stored = stored;
        self.next_expiry = next_expiry;
        self.counted_at = Some(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_valid_for_a_second_and_for_less_where_it_would_reject_a_job() {
        let total = TotalBytes::default();
        assert!(total.is_old(|_| false), "nothing was counted yet");
        let counted_ago = |ago: Duration| {
            let at = Instant::now().checked_sub(ago);
            total.0.lock().counted_at = at;
        };
        counted_ago(REJECTING_COUNT_VALID_FOR * 2);
        assert!(!total.is_old(|_| false));
        assert!(total.is_old(|_| true));
        counted_ago(COUNT_VALID_FOR);
        assert!(total.is_old(|_| false));
    }

    #[test]
    fn accepted_requests_and_executions_of_this_node_count_before_the_next_count() {
        let total = TotalBytes::default();
        total.add_request(10);
        total.add_execution(7);
        let stored = StoredBytes {
            bytes: 17,
            expiring: 7,
        };
        assert_eq!(total.stored(), stored);
        // A wrong account is never less than nothing.
        assert_eq!(StoredBytes::of_row(-1, -1), StoredBytes::default());
    }

    #[test]
    fn a_count_that_overlaps_a_batch_is_not_used() {
        let total = TotalBytes::default();
        let mark = total.mark().unwrap();
        total.note_batch_change();
        total.add_request(10);
        assert_eq!(total.mark(), None, "a batch is being written");
        total.set_since(mark, StoredBytes::default(), None);
        assert_eq!(total.stored().bytes, 10);
        total.note_batch_change();
        let mark = total.mark().unwrap();
        total.set_since(mark, StoredBytes::default(), None);
        assert_eq!(total.stored().bytes, 0);
    }
}
