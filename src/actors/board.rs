//! What the executors and the Dispatcher show of themselves: plain numbers that health and metrics read without asking
//! an actor, so that they stay fast while every executor spins.

use super::meters::Meters;
use crate::telemetry::Telemetry;
use sandpiper_domain::Outcome;
use std::fs::File;
use std::io::Read as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};

/// One executor's place on the board.
#[derive(Debug, Default)]
struct Slot {
    taken: AtomicBool,
    /// 0: no live zygote.
    zygote_pid: AtomicU32,
    busy: AtomicBool,
}

impl Slot {
    fn zygote_pid(&self) -> Option<u32> {
        Some(self.zygote_pid.load(Ordering::Relaxed)).filter(|pid| *pid != 0)
    }
}

/// Which executors an executor is one of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ExecutorKind {
    /// The executors that are up as long as the service is.
    Regular,
    /// The executors that are raised on demand.
    Reserve,
}

/// See the module.
#[derive(Debug)]
pub struct Board {
    slots: Vec<Slot>,
    reserve_slots: Vec<Slot>,
    /// Zygotes replaced because they or a child of theirs died.
    pub zygotes_replaced: AtomicU64,
    /// Executors brought back after a panic.
    pub executors_revived: AtomicU64,
    /// Executions whose job process crashed.
    pub executions_crashed: AtomicU64,
    /// Executions killed at their deadline because the polite interrupt did not end them.
    pub executions_killed: AtomicU64,
    /// Executions that ended, by outcome, in the order of [`Outcome::ALL`].
    executions: [AtomicU64; Outcome::ALL.len()],
    /// Running mean of the wall time of executions, microseconds.
    pub mean_wall_micros: AtomicU64,
    /// Jobs that were given up because the service failed to run them.
    pub jobs_lost: AtomicU64,
    /// Finishes that the store refused because the job had moved on.
    pub finishes_stale: AtomicU64,
    /// Changes of a job that the store failed to record.
    pub store_failures: AtomicU64,
    /// Waiting, interactive lane.
    pub queued_interactive: AtomicUsize,
    /// Waiting, background lane.
    pub queued_background: AtomicUsize,
    /// Handed to executors.
    pub running: AtomicUsize,
    /// Changes of a job that the store was asked for and has not yet made.
    pub unrecorded: AtomicUsize,
    /// No new work is taken.
    pub draining: AtomicBool,
    /// How long work waits and runs.
    pub meters: Meters,
    /// Where spans go.
    telemetry: Telemetry,
}

impl Board {
    /// A board for so many executors, of which none is a reserve.
    #[must_use]
    pub fn new(executors: usize) -> Arc<Self> {
        Self::with_telemetry(executors, 0, Telemetry::off())
    }

    /// A board for so many executors and reserve executors, whose spans go there.
    #[must_use]
    pub fn with_telemetry(
        executors: usize,
        reserve_executors: usize,
        telemetry: Telemetry,
    ) -> Arc<Self> {
        let slots = |count| (0..count).map(|_| Slot::default()).collect();
        Arc::new(Self {
            slots: slots(executors),
            reserve_slots: slots(reserve_executors),
            zygotes_replaced: AtomicU64::new(0),
            executors_revived: AtomicU64::new(0),
            executions_crashed: AtomicU64::new(0),
            executions_killed: AtomicU64::new(0),
            executions: Default::default(),
            mean_wall_micros: AtomicU64::new(0),
            jobs_lost: AtomicU64::new(0),
            finishes_stale: AtomicU64::new(0),
            store_failures: AtomicU64::new(0),
            queued_interactive: AtomicUsize::new(0),
            queued_background: AtomicUsize::new(0),
            running: AtomicUsize::new(0),
            unrecorded: AtomicUsize::new(0),
            draining: AtomicBool::new(false),
            meters: Meters::default(),
            telemetry,
        })
    }

    /// Where spans go.
    #[must_use]
    pub fn telemetry(&self) -> &Telemetry {
        &self.telemetry
    }

    /// One more ended so.
    pub(super) fn count_execution(&self, outcome: Outcome) {
        self.executions[outcome as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How many executions ended, by outcome.
    pub fn executions(&self) -> impl Iterator<Item = (Outcome, u64)> {
        let counts = self.executions.iter();
        Outcome::ALL
            .into_iter()
            .zip(counts.map(|count| count.load(Ordering::Relaxed)))
    }

    /// How many executors there are, reserve executors not counted.
    #[must_use]
    pub fn executors(&self) -> usize {
        self.slots.len()
    }

    /// How many of them have a zygote that the kernel knows to be alive.
    #[must_use]
    pub fn executors_ready(&self) -> usize {
        count_alive(&self.slots)
    }

    /// How many of them run something.
    #[must_use]
    pub fn executors_busy(&self) -> usize {
        count_busy(&self.slots)
    }

    /// How many reserve executors there may be.
    #[must_use]
    pub fn reserve_executors(&self) -> usize {
        self.reserve_slots.len()
    }

    /// How many of them have a zygote that the kernel knows to be alive.
    #[must_use]
    pub fn reserve_executors_up(&self) -> usize {
        count_alive(&self.reserve_slots)
    }

    /// How many of them run something.
    #[must_use]
    pub fn reserve_executors_busy(&self) -> usize {
        count_busy(&self.reserve_slots)
    }

    /// True if this reserve executor has a zygote that the kernel knows to be alive.
    pub(super) fn is_reserve_up(&self, index: usize) -> bool {
        let slot = self.reserve_slots.get(index);
        slot.and_then(Slot::zygote_pid).is_some_and(is_alive)
    }

    /// This process, its zygotes, and all that descends from them.
    #[must_use]
    pub fn process_ids(&self) -> Vec<u32> {
        let mut found = vec![std::process::id()];
        let mut unvisited: Vec<u32> = self.zygote_pids().collect();
        while let Some(pid) = unvisited.pop() {
            found.push(pid);
            unvisited.extend(children_of(pid));
        }
        found
    }

    fn zygote_pids(&self) -> impl Iterator<Item = u32> {
        let all = self.slots.iter().chain(&self.reserve_slots);
        all.filter_map(Slot::zygote_pid)
    }

    /// Takes a free place among executors of this kind; there are as many as those.
    pub(super) fn take_place(self: &Arc<Self>, kind: ExecutorKind) -> Option<BoardPlace> {
        let index = self
            .slots_of(kind)
            .iter()
            .position(|slot| !slot.taken.swap(true, Ordering::AcqRel))?;
        Some(BoardPlace {
            board: Arc::clone(self),
            kind,
            index,
        })
    }

    fn slots_of(&self, kind: ExecutorKind) -> &[Slot] {
        match kind {
            ExecutorKind::Regular => &self.slots,
            ExecutorKind::Reserve => &self.reserve_slots,
        }
    }
}

fn count_alive(slots: &[Slot]) -> usize {
    let pids = slots.iter().filter_map(Slot::zygote_pid);
    pids.filter(|pid| is_alive(*pid)).count()
}

fn count_busy(slots: &[Slot]) -> usize {
    let busy = |slot: &&Slot| slot.busy.load(Ordering::Relaxed);
    slots.iter().filter(busy).count()
}

/// An executor's own place; free again when it is dropped.
#[derive(Debug)]
pub(super) struct BoardPlace {
    board: Arc<Board>,
    kind: ExecutorKind,
    index: usize,
}

impl BoardPlace {
    /// Returns the number of the executor among those of its kind, from 0.
    pub(super) fn index(&self) -> usize {
        self.index
    }

    /// Returns the number of the executor among all, from 0: reserve executors come last.
    pub(super) fn number(&self) -> usize {
        match self.kind {
            ExecutorKind::Regular => self.index,
            ExecutorKind::Reserve => self.board.executors() + self.index,
        }
    }

    pub(super) fn show_zygote(&self, pid: Option<u32>) {
        self.slot()
            .zygote_pid
            .store(pid.unwrap_or(0), Ordering::Relaxed);
    }

    pub(super) fn show_busy(&self, busy: bool) {
        self.slot().busy.store(busy, Ordering::Relaxed);
    }

    pub(super) fn board(&self) -> &Board {
        &self.board
    }

    fn slot(&self) -> &Slot {
        &self.board.slots_of(self.kind)[self.index]
    }
}

impl Drop for BoardPlace {
    fn drop(&mut self) {
        self.show_zygote(None);
        self.show_busy(false);
        self.slot().taken.store(false, Ordering::Release);
    }
}

/// A zygote that was killed stays a zombie until its executor notices; the kernel says so in its status.
fn is_alive(pid: u32) -> bool {
    // The state stands near the front, so one read of a small buffer is enough; this is asked twenty times a second.
    let mut buffer = [0; 128];
    let Ok(length) =
        File::open(format!("/proc/{pid}/stat")).and_then(|mut file| file.read(&mut buffer))
    else {
        return false;
    };
    let stat = String::from_utf8_lossy(&buffer[..length]);
    // `pid (name) state …`; the name may hold anything, a bracket too.
    let state = stat
        .rsplit(')')
        .next()
        .and_then(|rest| rest.trim_start().chars().next());
    !matches!(state, None | Some('Z' | 'X'))
}

fn children_of(pid: u32) -> Vec<u32> {
    std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))
        .unwrap_or_default()
        .split_whitespace()
        .filter_map(|child| child.parse().ok())
        .collect()
}
