//! The bounded queue of the Dispatcher: two lanes, fair between clients. A plain struct without actors.

use super::lane_queue::LaneQueue;
use super::meters::ByLane;
use sandpiper_domain::{ClientKey, JobId, Lane};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

#[derive(Debug, Clone, Copy)]
pub struct QueueBounds {
    pub interactive_max: usize,
    pub background_max: usize,
    /// Most bytes of scripts in both lanes. The background lane alone may hold three quarters of them.
    pub bytes_max: usize,
    /// Interactive jobs taken for each background job, while both lanes wait.
    pub interactive_weight: u32,
}

impl QueueBounds {
    pub(super) fn most(&self, lane: Lane) -> usize {
        match lane {
            Lane::Interactive => self.interactive_max,
            Lane::Background => self.background_max,
        }
    }
}

/// The lane has too many jobs, or both lanes together have too many bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

/// A place in the queue that is taken but not filled yet. The place is free again when the permit is dropped, on any
/// thread.
#[derive(Debug)]
#[must_use = "a permit holds its place only until it is dropped"]
pub struct QueuePermit {
    reserved: Arc<Reserved>,
    lane: Lane,
    bytes: usize,
}

impl QueuePermit {
    fn take(reserved: &Arc<Reserved>, lane: Lane, bytes: usize) -> Self {
        reserved.jobs.of(lane).fetch_add(1, Ordering::Relaxed);
        reserved.bytes.fetch_add(bytes, Ordering::Relaxed);
        Self {
            reserved: Arc::clone(reserved),
            lane,
            bytes,
        }
    }
}

impl Drop for QueuePermit {
    fn drop(&mut self) {
        let jobs = self.reserved.jobs.of(self.lane);
        jobs.fetch_sub(1, Ordering::Relaxed);
        self.reserved.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// The places and bytes of all permits that exist.
#[derive(Debug, Default)]
struct Reserved {
    jobs: ByLane<AtomicUsize>,
    bytes: AtomicUsize,
}

#[derive(Debug)]
pub struct Queued<T> {
    pub id: JobId,
    pub client: ClientKey,
    pub lane: Lane,
    /// The moment at which the job began to wait.
    pub since: Instant,
    pub bytes: usize,
    pub item: T,
}

#[derive(Debug)]
pub struct Queue<T> {
    bounds: QueueBounds,
    lanes: ByLane<LaneQueue<T>>,
    /// Bytes of the jobs that wait.
    bytes: usize,
    reserved: Arc<Reserved>,
    interactive_in_a_row: u32,
    locations: HashMap<JobId, (Lane, ClientKey)>,
}

impl<T> Queue<T> {
    #[must_use]
    pub fn new(bounds: QueueBounds) -> Self {
        Self {
            bounds,
            lanes: ByLane {
                interactive: LaneQueue::new(),
                background: LaneQueue::new(),
            },
            bytes: 0,
            reserved: Arc::default(),
            interactive_in_a_row: 0,
            locations: HashMap::new(),
        }
    }

    /// Takes a place of `bytes` in `lane`, before the job is stored anywhere.
    pub fn reserve(&self, lane: Lane, bytes: usize) -> Result<QueuePermit, Full> {
        let most = self.bounds.most(lane);
        let bytes_max = match lane {
            Lane::Interactive => self.bounds.bytes_max,
            // A quarter is kept for interactive work.
            Lane::Background => self.bounds.bytes_max / 4 * 3,
        };
        let reserved = &self.reserved;
        let jobs = self.lanes.of(lane).waiting + reserved.jobs.of(lane).load(Ordering::Relaxed);
        let all_bytes = self.bytes + reserved.bytes.load(Ordering::Relaxed);
        if jobs >= most || all_bytes + bytes > bytes_max {
            return Err(Full);
        }
        Ok(QueuePermit::take(reserved, lane, bytes))
    }

    /// Puts the job into the place that `permit` holds.
    pub fn push(
        &mut self,
        permit: QueuePermit,
        id: JobId,
        client: ClientKey,
        since: Instant,
        item: T,
    ) {
        let (lane, bytes) = (permit.lane, permit.bytes);
        drop(permit);
        self.enter(id, lane, &client, bytes);
        self.lanes.of_mut(lane).push(Queued {
            id,
            client,
            lane,
            since,
            bytes,
            item,
        });
    }

    /// Puts a background job that goes on before the client's jobs that begin, also if the lane is full: the job was accepted
    /// long ago.
    pub fn push_resumed(
        &mut self,
        id: JobId,
        client: ClientKey,
        since: Instant,
        bytes: usize,
        item: T,
    ) {
        let lane = Lane::Background;
        self.enter(id, lane, &client, bytes);
        self.lanes.of_mut(lane).push_resumed(Queued {
            id,
            client,
            lane,
            since,
            bytes,
            item,
        });
    }

    fn enter(&mut self, id: JobId, lane: Lane, client: &ClientKey, bytes: usize) {
        self.locations.insert(id, (lane, client.clone()));
        self.bytes += bytes;
    }

    /// Removes and returns the next job: the lanes by weight, and inside a lane every client in turn. Background jobs
    /// only of clients that `may_run` one more.
    pub fn pop(&mut self, may_run: impl Fn(&ClientKey) -> bool) -> Option<Queued<T>> {
        if self.background_is_due()
            && let Some(waiting) = self.lanes.background.pop(may_run)
        {
            self.interactive_in_a_row = 0;
            return self.leave(Some(waiting));
        }
        self.interactive_in_a_row = self.interactive_in_a_row.saturating_add(1);
        self.pop_interactive()
    }

    /// Removes and returns the next interactive job, whether or not background jobs wait.
    pub fn pop_interactive(&mut self) -> Option<Queued<T>> {
        let waiting = self.lanes.interactive.pop(|_| true);
        self.leave(waiting)
    }

    fn background_is_due(&self) -> bool {
        if self.lanes.background.waiting == 0 {
            return false;
        }
        self.lanes.interactive.waiting == 0
            || self.interactive_in_a_row >= self.bounds.interactive_weight
    }

    pub fn remove(&mut self, id: JobId) -> Option<Queued<T>> {
        let (lane, client) = self.locations.get(&id).cloned()?;
        let waiting = self.lanes.of_mut(lane).remove(id, &client);
        self.leave(waiting)
    }

    /// Removes and returns the jobs of `lane` that have waited since before `earliest`.
    pub fn remove_older(&mut self, lane: Lane, earliest: Instant) -> Vec<Queued<T>> {
        let too_old = self.lanes.of(lane).older(earliest);
        too_old
            .into_iter()
            .filter_map(|id| self.remove(id))
            .collect()
    }

    /// Returns the number of turns until this job is handed out, inside its lane; 1 is next. For a job of a tenant, only
    /// the tenant's own jobs count.
    #[must_use]
    pub fn position(&self, id: JobId) -> Option<usize> {
        let (lane, client) = self.locations.get(&id)?;
        self.lanes.of(*lane).position(id, client)
    }

    #[must_use]
    pub fn waiting(&self, lane: Lane) -> usize {
        self.lanes.of(lane).waiting
    }

    /// Returns the moment at which the oldest waiting job of `lane` began to wait.
    #[must_use]
    pub fn oldest(&self, lane: Lane) -> Option<Instant> {
        self.lanes.of(lane).oldest()
    }

    #[must_use]
    pub fn has_any_of(&self, client: &ClientKey) -> bool {
        self.lanes.interactive.has_any_of(client) || self.lanes.background.has_any_of(client)
    }

    /// Returns true if a job waits in `lane` whose client `is_wanted`.
    #[must_use]
    pub fn has_any_of_those(&self, lane: Lane, is_wanted: impl Fn(&ClientKey) -> bool) -> bool {
        self.lanes.of(lane).has_any_of_those(is_wanted)
    }

    /// Returns the job of `lane` that has waited longest among the first jobs of the clients that are wanted, and the
    /// moment at which it began to wait.
    #[must_use]
    pub fn oldest_of(
        &self,
        lane: Lane,
        is_wanted: impl Fn(&ClientKey) -> bool,
    ) -> Option<(Instant, JobId)> {
        self.lanes.of(lane).oldest_of(is_wanted)
    }

    fn leave(&mut self, waiting: Option<Queued<T>>) -> Option<Queued<T>> {
        let waiting = waiting?;
        self.bytes -= waiting.bytes;
        self.locations.remove(&waiting.id);
        Some(waiting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const BOUNDS: QueueBounds = QueueBounds {
        interactive_max: 10,
        background_max: 100,
        bytes_max: 1000,
        interactive_weight: 4,
    };

    fn push(
        queue: &mut Queue<&'static str>,
        lane: Lane,
        client: &str,
        item: &'static str,
    ) -> JobId {
        let id = JobId::generate();
        let permit = queue.reserve(lane, 1).unwrap();
        queue.push(permit, id, ClientKey::new(client), Instant::now(), item);
        id
    }

    fn drain(queue: &mut Queue<&'static str>) -> Vec<&'static str> {
        std::iter::from_fn(|| queue.pop(|_| true))
            .map(|waiting| waiting.item)
            .collect()
    }

    #[test]
    fn one_clients_flood_delays_that_client_alone() {
        let mut queue = Queue::new(BOUNDS);
        for item in ["a1", "a2", "a3"] {
            push(&mut queue, Lane::Background, "a", item);
        }
        push(&mut queue, Lane::Background, "b", "b1");
        assert_eq!(drain(&mut queue), ["a1", "b1", "a2", "a3"]);
    }

    #[test]
    fn neither_lane_starves_the_other() {
        let mut queue = Queue::new(BOUNDS);
        for _ in 0..8 {
            push(&mut queue, Lane::Interactive, "a", "i");
        }
        for _ in 0..3 {
            push(&mut queue, Lane::Background, "a", "B");
        }
        let order: String = drain(&mut queue).concat();
        assert_eq!(order, "iiiiBiiiiBB");
    }

    #[test]
    fn who_runs_enough_already_is_passed_over_and_keeps_nobody_back() {
        let mut queue = Queue::new(BOUNDS);
        for item in ["a1", "a2"] {
            push(&mut queue, Lane::Background, "a", item);
        }
        push(&mut queue, Lane::Background, "b", "b1");
        let not_a = |client: &ClientKey| client.as_str() != "a";
        assert_eq!(queue.pop(not_a).unwrap().item, "b1");
        assert!(queue.pop(not_a).is_none());
        push(&mut queue, Lane::Interactive, "a", "i");
        assert_eq!(queue.pop(not_a).unwrap().item, "i");
        assert_eq!(drain(&mut queue), ["a1", "a2"]);
    }

    #[test]
    fn a_full_lane_refuses_and_the_other_still_takes() {
        let mut queue = Queue::new(BOUNDS);
        for _ in 0..10 {
            push(&mut queue, Lane::Interactive, "a", "i");
        }
        assert!(queue.reserve(Lane::Interactive, 1).is_err());
        assert!(queue.reserve(Lane::Background, 1).is_ok());
    }

    #[test]
    fn scripts_together_are_bounded_in_bytes_and_a_dropped_permit_frees_its_place() {
        let queue: Queue<()> = Queue::new(BOUNDS);
        let permit = queue.reserve(Lane::Background, 600).unwrap();
        assert!(queue.reserve(Lane::Interactive, 600).is_err());
        drop(permit);
        assert!(queue.reserve(Lane::Interactive, 600).is_ok());
    }

    #[test]
    fn a_flood_of_large_jobs_leaves_bytes_for_those_that_somebody_waits_for() {
        let queue: Queue<()> = Queue::new(BOUNDS);
        let _place = queue.reserve(Lane::Background, 700).unwrap();
        assert!(queue.reserve(Lane::Background, 100).is_err());
        assert!(queue.reserve(Lane::Interactive, 200).is_ok());
    }

    #[test]
    fn a_job_is_handed_out_at_the_position_that_was_told() {
        let mut queue = Queue::new(BOUNDS);
        let ids: Vec<JobId> = [
            ("a", "1"),
            ("a", "2"),
            ("b", "3"),
            ("c", "4"),
            ("a", "5"),
            ("c", "6"),
        ]
        .into_iter()
        .map(|(client, item)| push(&mut queue, Lane::Background, client, item))
        .collect();
        let positions: Vec<usize> = ids.iter().map(|id| queue.position(*id).unwrap()).collect();
        let order: Vec<JobId> = std::iter::from_fn(|| queue.pop(|_| true))
            .map(|waiting| waiting.id)
            .collect();
        let found: Vec<usize> = ids
            .iter()
            .map(|id| order.iter().position(|other| other == id).unwrap() + 1)
            .collect();
        assert_eq!(positions, found);
    }

    #[test]
    fn a_job_that_goes_on_comes_first_and_is_never_refused() {
        let bounds = QueueBounds {
            background_max: 3,
            ..BOUNDS
        };
        let mut queue = Queue::new(bounds);
        for item in ["a1", "a2"] {
            push(&mut queue, Lane::Background, "a", item);
        }
        push(&mut queue, Lane::Background, "b", "b1");
        assert!(queue.reserve(Lane::Background, 1).is_err());
        for item in ["a3", "a4"] {
            let client = ClientKey::new("a");
            queue.push_resumed(JobId::generate(), client, Instant::now(), 2_000, item);
        }
        assert_eq!(queue.waiting(Lane::Background), 5);
        assert_eq!(drain(&mut queue), ["a3", "b1", "a4", "a1", "a2"]);
        assert!(queue.reserve(Lane::Background, 700).is_ok());
    }

    #[test]
    fn a_removed_job_is_not_handed_out() {
        let mut queue = Queue::new(BOUNDS);
        let gone = push(&mut queue, Lane::Background, "a", "gone");
        push(&mut queue, Lane::Background, "b", "stays");
        assert_eq!(queue.remove(gone).unwrap().item, "gone");
        assert!(queue.remove(gone).is_none());
        assert_eq!(drain(&mut queue), ["stays"]);
    }

    #[test]
    fn the_oldest_of_a_lane_is_known_whoever_has_brought_it() {
        let mut queue = Queue::new(BOUNDS);
        assert_eq!(queue.oldest(Lane::Background), None);
        let first = push(&mut queue, Lane::Background, "a", "a1");
        push(&mut queue, Lane::Background, "b", "b1");
        let since_first = queue.oldest(Lane::Background).unwrap();
        queue.remove(first);
        assert!(queue.oldest(Lane::Background).unwrap() >= since_first);
        assert_eq!(queue.oldest(Lane::Interactive), None);
    }

    #[test]
    fn jobs_that_waited_too_long_are_found() {
        let mut queue = Queue::new(BOUNDS);
        push(&mut queue, Lane::Interactive, "a", "old");
        let later = Instant::now() + Duration::from_secs(1);
        let removed = queue.remove_older(Lane::Interactive, later);
        assert_eq!(removed.len(), 1);
        assert_eq!(queue.waiting(Lane::Interactive), 0);
    }
}
