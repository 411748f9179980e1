//! Promises that were rejected while nobody listened.
//!
//! Its own: the set of them, in order, with constant time to take one out again. Not its own: when the set is looked at
//! (`execution`, whenever the microtask queue is empty) and what then happens. The engine reports to it.

use rquickjs::{Persistent, Value};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};

type Kept = Persistent<Value<'static>>;

/// What one of them costs of the execution's memory, beside the promise itself, which the engine counts.
pub(super) const REJECTION_BYTES: usize = 256;

/// Rejected promises without a handler, by identity and by age. Held outside the engine's heap; the tracker charges for
/// them.
#[derive(Default)]
pub(super) struct Rejections {
    ages: RefCell<HashMap<Kept, u64>>,
    reasons: RefCell<BTreeMap<u64, Kept>>,
    next_age: Cell<u64>,
    interrupted: RefCell<Option<Kept>>,
}

impl Rejections {
    /// A promise was rejected and has no handler.
    pub(super) fn add(&self, promise: Kept, reason: Kept) {
        let age = self.next_age.get();
        self.next_age.set(age + 1);
        self.ages.borrow_mut().insert(promise, age);
        self.reasons.borrow_mut().insert(age, reason);
    }

    /// A rejected promise got its handler after all. False: it was not one of these.
    pub(super) fn remove(&self, promise: &Kept) -> bool {
        let Some(age) = self.ages.borrow_mut().remove(promise) else {
            return false;
        };
        self.reasons.borrow_mut().remove(&age);
        true
    }

    /// A job of the promise queue was interrupted at the deadline, which rejected its promise with the engine's error.
    pub(super) fn note_interrupt(&self, error: Kept) {
        self.interrupted.replace(Some(error));
    }

    /// The error of that interrupt: it knows the line.
    pub(super) fn interrupt(&self) -> Option<Kept> {
        self.interrupted.borrow().clone()
    }

    /// Why the oldest of them was rejected.
    pub(super) fn first_reason(&self) -> Option<Kept> {
        self.reasons.borrow().values().next().cloned()
    }
}
