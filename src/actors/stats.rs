//! The live numbers of the executors and the Dispatcher. Health and metrics read them without asking an actor, so both
//! respond fast while every executor is busy.

use super::meters::{Meters, ToolCounters};
use crate::telemetry::Telemetry;
use procfs::process::Process;
use sandpiper_domain::{Limit, Outcome};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};

#[derive(Debug, Default)]
struct Slot {
    taken: AtomicBool,
    /// 0 while there is no live zygote.
    zygote_pid: AtomicU32,
    busy: AtomicBool,
}

impl Slot {
    fn zygote_pid(&self) -> Option<u32> {
        Some(self.zygote_pid.load(Ordering::Relaxed)).filter(|pid| *pid != 0)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ExecutorKind {
    /// An executor that is up as long as the service is.
    Regular,
    /// An executor that is started on demand.
    Reserve,
}

/// The live numbers of the executors and the Dispatcher. Every field is atomic: a reader never waits.
#[derive(Debug)]
pub struct Stats {
    slots: Vec<Slot>,
    reserve_slots: Vec<Slot>,
    /// Zygotes replaced because they, or a child of theirs, died.
    pub zygotes_replaced: AtomicU64,
    /// Executors restarted after a panic.
    pub executors_revived: AtomicU64,
    pub executions_crashed: AtomicU64,
    /// Executions that SIGKILL ended after `timeoutMs` and the grace period, because the engine's interrupt had not.
    pub executions_killed: AtomicU64,
    /// Executions that ended, by outcome, in the order of [`Outcome::ALL`].
    executions: [AtomicU64; Outcome::ALL.len()],
    /// Executions that a limit ended, in the order of [`Limit::ALL`].
    limits_hit: [AtomicU64; Limit::ALL.len()],
    /// Rounds, calls and suspensions of executions with tools.
    pub tools: ToolCounters,
    /// Running mean of the elapsed time of executions, microseconds.
    pub mean_wall_micros: AtomicU64,
    /// Jobs that the store failed to accept, and sweeps that failed.
    pub store_failures: AtomicU64,
    pub queued_interactive: AtomicUsize,
    pub queued_background: AtomicUsize,
    /// Executions that executors have, without those that are prefetched.
    pub running: AtomicUsize,
    /// True once no new work is taken.
    pub draining: AtomicBool,
    pub meters: Meters,
    telemetry: Telemetry,
}

impl Stats {
    /// Creates the stats of a service with so many executors, none of which is a reserve executor.
    #[must_use]
    pub fn new(executors: usize) -> Arc<Self> {
        Self::with_telemetry(executors, 0, Telemetry::off())
    }

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
            limits_hit: Default::default(),
            tools: ToolCounters::default(),
            mean_wall_micros: AtomicU64::new(0),
            store_failures: AtomicU64::new(0),
            queued_interactive: AtomicUsize::new(0),
            queued_background: AtomicUsize::new(0),
            running: AtomicUsize::new(0),
            draining: AtomicBool::new(false),
            meters: Meters::default(),
            telemetry,
        })
    }

    #[must_use]
    pub fn telemetry(&self) -> &Telemetry {
        &self.telemetry
    }

    /// Counts an execution that has ended, and the limit that ended it.
    pub(super) fn count_execution(&self, outcome: Outcome, limit: Option<Limit>) {
        self.executions[outcome as usize].fetch_add(1, Ordering::Relaxed);
        if let Some(limit) = limit {
            self.limits_hit[limit as usize].fetch_add(1, Ordering::Relaxed);
        }
    }

    pub fn limits_hit(&self) -> impl Iterator<Item = (Limit, u64)> {
        let counts = self.limits_hit.iter();
        Limit::ALL
            .into_iter()
            .zip(counts.map(|count| count.load(Ordering::Relaxed)))
    }

    pub fn executions(&self) -> impl Iterator<Item = (Outcome, u64)> {
        let counts = self.executions.iter();
        Outcome::ALL
            .into_iter()
            .zip(counts.map(|count| count.load(Ordering::Relaxed)))
    }

    /// Returns the number of executors, reserve executors not counted.
    #[must_use]
    pub fn executors(&self) -> usize {
        self.slots.len()
    }

    /// Returns the number of executors whose zygote is alive, as the kernel says.
    #[must_use]
    pub fn executors_ready(&self) -> usize {
        count_alive(&self.slots)
    }

    #[must_use]
    pub fn executors_busy(&self) -> usize {
        count_busy(&self.slots)
    }

    /// Returns the most reserve executors that can be up.
    #[must_use]
    pub fn reserve_executors(&self) -> usize {
        self.reserve_slots.len()
    }

    #[must_use]
    pub fn reserve_executors_up(&self) -> usize {
        count_alive(&self.reserve_slots)
    }

    #[must_use]
    pub fn reserve_executors_busy(&self) -> usize {
        count_busy(&self.reserve_slots)
    }

    pub(super) fn is_reserve_up(&self, index: usize) -> bool {
        let slot = self.reserve_slots.get(index);
        slot.and_then(Slot::zygote_pid).is_some_and(is_alive)
    }

    /// Returns the pids of this process, its zygotes, and all their descendants.
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

    /// Takes a free slot for an executor of this kind. There are as many slots as executors of the kind.
    pub(super) fn take_slot(self: &Arc<Self>, kind: ExecutorKind) -> Option<ExecutorSlot> {
        let index = self
            .slots_of(kind)
            .iter()
            .position(|slot| !slot.taken.swap(true, Ordering::AcqRel))?;
        Some(ExecutorSlot {
            stats: Arc::clone(self),
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

/// The slot of one executor. The slot is free again when this is dropped.
#[derive(Debug)]
pub(super) struct ExecutorSlot {
    stats: Arc<Stats>,
    kind: ExecutorKind,
    index: usize,
}

impl ExecutorSlot {
    /// Returns the number of the executor among those of its kind, from 0.
    pub(super) fn index(&self) -> usize {
        self.index
    }

    /// Returns the number of the executor among all, from 0: reserve executors come last.
    pub(super) fn number(&self) -> usize {
        match self.kind {
            ExecutorKind::Regular => self.index,
            ExecutorKind::Reserve => self.stats.executors() + self.index,
        }
    }

    pub(super) fn record_zygote(&self, pid: Option<u32>) {
        self.slot()
            .zygote_pid
            .store(pid.unwrap_or(0), Ordering::Relaxed);
    }

    pub(super) fn record_busy(&self, busy: bool) {
        self.slot().busy.store(busy, Ordering::Relaxed);
    }

    pub(super) fn stats(&self) -> &Stats {
        &self.stats
    }

    fn slot(&self) -> &Slot {
        &self.stats.slots_of(self.kind)[self.index]
    }
}

impl Drop for ExecutorSlot {
    fn drop(&mut self) {
        self.record_zygote(None);
        self.record_busy(false);
        self.slot().taken.store(false, Ordering::Release);
    }
}

fn process(pid: u32) -> Option<Process> {
    Process::new(i32::try_from(pid).ok()?).ok()
}

/// Returns true if this process runs. A killed zygote stays a zombie until its executor reaps it, which does not run.
fn is_alive(pid: u32) -> bool {
    process(pid).is_some_and(|process| process.is_alive())
}

fn children_of(pid: u32) -> Vec<u32> {
    let children =
        process(pid).and_then(|process| process.task_main_thread().ok()?.children().ok());
    children.unwrap_or_default()
}
