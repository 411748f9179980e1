//! Promises that were rejected and have no handler.
//!
//! In scope: the set of them, ordered by age, with removal in constant time. Out of scope: the moment of the check
//! (`execution`, whenever the microtask queue is empty) and its consequences. The engine reports to it.

use rquickjs::{Persistent, Value};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};

type Handle = Persistent<Value<'static>>;

/// Cost of one rejection, bytes of the execution's memory, in addition to the promise, which the engine counts.
pub(super) const REJECTION_BYTES: usize = 256;

/// Rejected promises without a handler, by identity and by age. Held outside the engine's heap; the tracker charges for
/// them.
#[derive(Default)]
pub(super) struct Rejections {
    ages: RefCell<HashMap<Handle, u64>>,
    reasons: RefCell<BTreeMap<u64, Handle>>,
    next_age: Cell<u64>,
    interrupted: RefCell<Option<Handle>>,
}

impl Rejections {
    pub(super) fn add(&self, promise: Handle, reason: Handle) {
        let age = self.next_age.get();
        self.next_age.set(age + 1);
        self.ages.borrow_mut().insert(promise, age);
        self.reasons.borrow_mut().insert(age, reason);
    }

    /// Removes a promise that has got a handler after all. Returns false if it was not in the set.
    pub(super) fn remove(&self, promise: &Handle) -> bool {
        let Some(age) = self.ages.borrow_mut().remove(promise) else {
            return false;
        };
        self.reasons.borrow_mut().remove(&age);
        true
    }

    /// Notes the engine's error with which the deadline has interrupted a job of the promise queue.
    pub(super) fn note_interrupt(&self, error: Handle) {
        self.interrupted.replace(Some(error));
    }

    /// Returns the error of the interrupt. It has a position.
    pub(super) fn interrupt(&self) -> Option<Handle> {
        self.interrupted.borrow().clone()
    }

    /// Returns the reason of the oldest rejection.
    pub(super) fn first_reason(&self) -> Option<Handle> {
        self.reasons.borrow().values().next().cloned()
    }
}
