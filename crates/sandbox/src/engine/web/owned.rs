//! Memory of natives that objects of the script own, until the engine collects them.
#![allow(unsafe_code)] // the engine's call for a collection, which its crate offers for a runtime only

use crate::engine::allocator::MemoryAccount;
use crate::engine::realm::Scene;
use rquickjs::qjs;
use std::cell::Cell;
use std::rc::Rc;

/// Growth of such memory after which a collection is worth its time, bytes. The engine counts its own heap alone, so it
/// would not start one.
const COLLECTION_AFTER_BYTES: usize = 4 << 20;

/// The memory that all objects own together.
#[derive(Default)]
pub(in crate::engine) struct OwnedBytes {
    held: Cell<usize>,
    /// The least that was held since the last collection.
    least: Cell<usize>,
}

impl OwnedBytes {
    /// Returns whether a collection is due before `bytes` more are held.
    fn is_collection_due(&self, bytes: usize, memory: &MemoryAccount) -> bool {
        let grown = self.held.get() - self.least.get();
        // What lives does not make each further object a reason for a collection.
        let enough = COLLECTION_AFTER_BYTES.max(self.least.get() / 2);
        grown + bytes > enough || (grown > 0 && !memory.has_room_for(bytes))
    }

    fn add(&self, bytes: usize) {
        self.held.set(self.held.get() + bytes);
    }

    fn remove(&self, bytes: usize) {
        self.held.set(self.held.get() - bytes);
        self.least.set(self.least.get().min(self.held.get()));
    }
}

/// Memory that one object owns, charged to the execution until the engine collects the object.
pub(super) struct Owned {
    owned: Rc<OwnedBytes>,
    memory: Rc<MemoryAccount>,
    bytes: usize,
}

impl Owned {
    /// Charges `bytes`. Collects garbage first if that is due, and ends the execution if the memory does not suffice then.
    pub(super) fn new(scene: &Scene<'_>, bytes: usize) -> Self {
        let (owned, memory) = (&scene.host.owned, &scene.host.memory);
        if owned.is_collection_due(bytes, memory) {
            // SAFETY: the runtime is live. The engine itself collects at any allocation of an object, and a native may
            // allocate. No finalizer of a native calls the engine.
            unsafe { qjs::JS_RunGC(qjs::JS_GetRuntime(scene.ctx.as_raw().as_ptr())) };
            owned.least.set(owned.held.get());
        }
        memory.charge(bytes);
        owned.add(bytes);
        Self {
            owned: Rc::clone(owned),
            memory: Rc::clone(memory),
            bytes,
        }
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        self.owned.remove(self.bytes);
        self.memory.discharge(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODEC: usize = 64 << 10;

    #[test]
    fn a_collection_is_due_after_some_growth_and_not_for_what_lives() {
        let (owned, memory) = (OwnedBytes::default(), MemoryAccount::without_limit());
        let mut collections = 0;
        for _ in 0..1_000 {
            if owned.is_collection_due(CODEC, &memory) {
                collections += 1;
                owned.least.set(owned.held.get());
            }
            owned.add(CODEC);
        }
        assert!((3..=16).contains(&collections), "{collections}");
        for _ in 0..1_000 {
            owned.remove(CODEC);
        }
        assert_eq!((owned.held.get(), owned.least.get()), (0, 0));
        assert!(!owned.is_collection_due(CODEC, &memory));
    }
}
