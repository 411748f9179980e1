//! Between the Dispatcher and its Executors: a tray on which work is laid, and from which the next free Executor takes it.
//!
//! A SyncArbiter's own mailbox has two faults here. Each message to it is carried on by the thread that started the System,
//! which is one more thread to wake for every execution; and what is in it cannot be taken back.

use super::executor::{CheckUp, Execute};
use sandpiper_domain::JobId;
use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// What an Executor is to do next.
#[derive(Debug)]
pub(super) enum Errand {
    Execute(Execute),
    CheckUp(CheckUp),
    /// End the zygote.
    Rest,
}

/// See the module. It has no bound of its own: the Dispatcher lays no more than it counts.
#[derive(Debug, Default)]
pub(super) struct Tray {
    contents: Mutex<Contents>,
    laid: Condvar,
}

#[derive(Debug, Default)]
struct Contents {
    work: VecDeque<Execute>,
    check_ups: VecDeque<CheckUp>,
    is_to_rest: bool,
    /// Executors that sleep until something is laid.
    sleeping: usize,
    is_closed: bool,
}

impl Contents {
    fn next(&mut self) -> Option<Errand> {
        let work = self.work.pop_front().map(Errand::Execute);
        work.or_else(|| self.check_ups.pop_front().map(Errand::CheckUp))
            .or_else(|| std::mem::take(&mut self.is_to_rest).then_some(Errand::Rest))
    }
}

impl Tray {
    /// Lays work. An Executor that sleeps takes it at once.
    pub(super) fn lay(&self, work: Execute) {
        let mut contents = self.contents();
        contents.work.push_back(work);
        self.wake_one(contents);
    }

    /// Asks whoever is free next to look after itself.
    pub(super) fn ask_for_check_up(&self, check_up: CheckUp) {
        let mut contents = self.contents();
        contents.check_ups.push_back(check_up);
        self.wake_one(contents);
    }

    /// Asks the Executor to end its zygote once there is nothing else to do. For a tray that has one Executor.
    pub(super) fn ask_to_rest(&self) {
        let mut contents = self.contents();
        contents.is_to_rest = true;
        self.wake_one(contents);
    }

    /// Returns the work that no Executor has taken: its id, and since when it waits.
    pub(super) fn ready(&self) -> Vec<(JobId, Instant)> {
        let contents = self.contents();
        let ready = contents.work.iter();
        ready.map(|work| (work.id, work.origin.since)).collect()
    }

    /// What has been laid and that nobody has taken, as far as it `is_unwanted`.
    pub(super) fn take_back(&self, is_unwanted: impl Fn(&Execute) -> bool) -> Vec<Execute> {
        let mut contents = self.contents();
        let (unwanted, wanted) = (contents.work.drain(..)).partition(|work| is_unwanted(work));
        contents.work = wanted;
        Vec::from(unwanted)
    }

    /// The next errand, work before check-ups; waits for it. Nothing once the tray is closed and empty.
    pub(super) fn take(&self) -> Option<Errand> {
        let mut contents = self.contents();
        loop {
            if let Some(errand) = contents.next() {
                return Some(errand);
            }
            if contents.is_closed {
                return None;
            }
            contents.sleeping += 1;
            let woken = self.laid.wait(contents);
            contents = woken.unwrap_or_else(PoisonError::into_inner);
            contents.sleeping -= 1;
        }
    }

    /// What lies there now. For tests, in which nobody else takes it.
    #[cfg(test)]
    pub(super) fn try_take(&self) -> Option<Errand> {
        self.contents().next()
    }

    /// No more will be laid.
    pub(super) fn close(&self) {
        self.contents().is_closed = true;
        self.laid.notify_all();
    }

    /// To wake nobody would be a system call too.
    fn wake_one(&self, contents: MutexGuard<'_, Contents>) {
        let somebody_sleeps = contents.sleeping > 0;
        drop(contents);
        if somebody_sleeps {
            self.laid.notify_one();
        }
    }

    fn contents(&self) -> MutexGuard<'_, Contents> {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
