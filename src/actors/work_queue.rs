//! The work queue between the Dispatcher and its Executors. The Dispatcher pushes work; the next free Executor pops it.
//!
//! A SyncArbiter's own mailbox is not used for work, for two reasons. The thread that started the System forwards each
//! of its messages, so every execution would wake one thread more. And a message in that mailbox cannot be retracted.

use super::executor::{CheckUp, Execute};
use parking_lot::{Condvar, Mutex, MutexGuard};
use sandpiper_domain::JobId;
use std::collections::VecDeque;
use std::time::Instant;

#[derive(Debug)]
pub(super) enum WorkItem {
    Execute(Execute),
    CheckUp(CheckUp),
    /// End the zygote of a reserve executor that has been idle for long.
    EndZygote,
}

/// A queue of work for one Executor or several. The queue has no bound of its own: the Dispatcher counts what it pushes
/// and stops at its own bound.
#[derive(Debug, Default)]
pub(super) struct WorkQueue {
    items: Mutex<Items>,
    pushed: Condvar,
}

#[derive(Debug, Default)]
struct Items {
    work: VecDeque<Execute>,
    check_ups: VecDeque<CheckUp>,
    end_zygote: bool,
    /// Executors that sleep until something is pushed.
    sleeping: usize,
    is_closed: bool,
}

impl Items {
    fn pop(&mut self) -> Option<WorkItem> {
        let work = self.work.pop_front().map(WorkItem::Execute);
        work.or_else(|| self.check_ups.pop_front().map(WorkItem::CheckUp))
            .or_else(|| std::mem::take(&mut self.end_zygote).then_some(WorkItem::EndZygote))
    }
}

impl WorkQueue {
    /// Appends work. A sleeping Executor pops the work at once.
    pub(super) fn push(&self, work: Execute) {
        let mut items = self.items.lock();
        items.work.push_back(work);
        self.wake_one(items);
    }

    /// Asks the next free Executor to check its zygote.
    pub(super) fn push_check_up(&self, check_up: CheckUp) {
        let mut items = self.items.lock();
        items.check_ups.push_back(check_up);
        self.wake_one(items);
    }

    /// Asks the Executor to end its zygote once the queue is empty. Only for a queue that has one Executor.
    pub(super) fn push_end_zygote(&self) {
        let mut items = self.items.lock();
        items.end_zygote = true;
        self.wake_one(items);
    }

    /// Returns the id of each execution that no Executor has popped, and the moment at which it began to wait.
    pub(super) fn not_popped(&self) -> Vec<(JobId, Instant)> {
        let items = self.items.lock();
        let work = items.work.iter();
        work.map(|work| (work.id(), work.since)).collect()
    }

    /// Removes and returns the work that no Executor has popped and for which `is_unwanted` is true.
    pub(super) fn retract(&self, is_unwanted: impl Fn(&Execute) -> bool) -> Vec<Execute> {
        let mut items = self.items.lock();
        let (unwanted, wanted) = (items.work.drain(..)).partition(|work| is_unwanted(work));
        items.work = wanted;
        Vec::from(unwanted)
    }

    /// Removes and returns the next item, work before check-ups. Blocks until there is one. Returns `None` once the
    /// queue is closed and empty.
    pub(super) fn pop(&self) -> Option<WorkItem> {
        let mut items = self.items.lock();
        loop {
            if let Some(item) = items.pop() {
                return Some(item);
            }
            if items.is_closed {
                return None;
            }
            items.sleeping += 1;
            self.pushed.wait(&mut items);
            items.sleeping -= 1;
        }
    }

    /// Removes and returns the next item if there is one now. For tests, which pop in place of an Executor.
    #[cfg(test)]
    pub(super) fn try_pop(&self) -> Option<WorkItem> {
        self.items.lock().pop()
    }

    /// Closes the queue: nothing will be pushed any more.
    pub(super) fn close(&self) {
        self.items.lock().is_closed = true;
        self.pushed.notify_all();
    }

    /// Wakes one sleeping Executor. A wake without a sleeper would cost a system call as well, so there is none.
    fn wake_one(&self, items: MutexGuard<'_, Items>) {
        let has_sleepers = items.sleeping > 0;
        drop(items);
        if has_sleepers {
            self.pushed.notify_one();
        }
    }
}
