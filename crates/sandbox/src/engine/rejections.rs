//! Promises that were rejected and have no handler.
//!
//! In scope: the set of them, ordered by age, with removal in constant time. Out of scope: the moment of the check
//! (`execution`, whenever the microtask queue is empty) and its consequences (`reports`). The engine reports to it.

use super::reports::Kind;
use rquickjs::{Persistent, Value};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap, VecDeque};

type Handle = Persistent<Value<'static>>;

/// Cost of one rejection, bytes of the execution's memory, in addition to the promise, which the engine counts.
pub(super) const REJECTION_BYTES: usize = 256;

/// A rejected promise and its reason.
#[derive(Clone)]
pub(super) struct Rejection {
    pub(super) promise: Handle,
    pub(super) reason: Handle,
}

/// Rejected promises without a handler, by identity and by age. Held outside the engine's heap; the tracker charges for
/// them.
#[derive(Default)]
pub(super) struct Rejections {
    ages: RefCell<HashMap<Handle, u64>>,
    by_age: RefCell<BTreeMap<u64, Rejection>>,
    next_age: Cell<u64>,
    /// True once listeners got a rejection.
    has_reported: Cell<bool>,
    /// The promise whose rejection listeners are getting.
    reporting: RefCell<Option<Handle>>,
    /// Rejections that listeners got before something handled them.
    handled_late: RefCell<VecDeque<Rejection>>,
    interrupted: RefCell<Option<Handle>>,
}

impl Rejections {
    pub(super) fn add(&self, promise: Handle, reason: Handle) {
        let age = self.next_age.get();
        self.next_age.set(age + 1);
        self.ages.borrow_mut().insert(promise.clone(), age);
        let rejection = Rejection { promise, reason };
        self.by_age.borrow_mut().insert(age, rejection);
    }

    /// Notes that a promise has got a handler after all. Returns false if it is not in the set any more.
    pub(super) fn remove(&self, promise: &Handle) -> bool {
        let Some(age) = self.ages.borrow_mut().remove(promise) else {
            return false;
        };
        self.by_age.borrow_mut().remove(&age);
        true
    }

    /// Notes that something handles a promise that is not in the set any more. Returns whether listeners must know: not if
    /// they have handled the promise themselves.
    pub(super) fn add_handled_late(&self, promise: Handle, reason: Handle) -> bool {
        let is_late = self.has_reported.get() && self.reporting.borrow().as_ref() != Some(&promise);
        if is_late {
            let rejection = Rejection { promise, reason };
            self.handled_late.borrow_mut().push_back(rejection);
        }
        is_late
    }

    /// Notes the engine's error with which the deadline has interrupted a job of the promise queue.
    pub(super) fn note_interrupt(&self, error: Handle) {
        self.interrupted.replace(Some(error));
    }

    /// Returns the error of the interrupt. It has a position.
    pub(super) fn interrupt(&self) -> Option<Handle> {
        self.interrupted.borrow().clone()
    }

    /// Returns the oldest rejection that nothing handles.
    #[cfg(test)]
    pub(super) fn oldest(&self) -> Option<Rejection> {
        self.by_age.borrow().values().next().cloned()
    }

    /// Takes the next rejection to report: the oldest that nothing handles, or else one that was handled late.
    pub(super) fn take_next(&self) -> Option<(Rejection, Kind)> {
        let oldest = self.by_age.borrow_mut().pop_first();
        if let Some((_, rejection)) = oldest {
            self.ages.borrow_mut().remove(&rejection.promise);
            self.has_reported.set(true);
            self.reporting.replace(Some(rejection.promise.clone()));
            return Some((rejection, Kind::Rejection));
        }
        let handled = self.handled_late.borrow_mut().pop_front();
        handled.map(|rejection| (rejection, Kind::Handled))
    }

    /// Notes that listeners have got the rejection that [`Rejections::take_next`] returned.
    pub(super) fn end_report(&self) {
        self.reporting.replace(None);
    }
}
