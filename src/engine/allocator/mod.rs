//! The heap of one JavaScript runtime: an allocator ([`heap`]) behind a counter and a limit.
//!
//! Its own: how many bytes the engine holds, the most it ever held, and whether it was ever told no. Not its own: what a
//! refusal means for the execution (`failure` decides that). Written because QuickJS's own limit says nothing afterwards:
//! an out-of-memory error often surfaces as the value `null`, which a script can throw as well. Called by `warm`, and by
//! the timers and counters of the host, which charge what they keep outside the engine's heap.
#![allow(unsafe_code)] // the allocator interface deals in raw pointers; nothing else in this module does

mod heap;
mod pages;
pub(crate) mod placement;
pub(crate) mod process;
mod slabs;

use heap::Heap;
use rquickjs::allocator::Allocator;
use std::cell::Cell;
use std::ptr::{self, NonNull};
use std::rc::Rc;

/// After a refusal the engine may take this much beyond the limit, in small blocks: enough for the error that says so.
/// Without it the engine throws `null`, and a script that catches it and asks for its message fails of something else.
const FOR_ERRORS_BYTES: usize = 4096;
/// The longest of such blocks, bytes.
const FOR_ERRORS_BLOCK_BYTES: usize = 512;

/// Bytes held, most ever held, and the limit. Shared by the allocator and the host; one thread.
#[derive(Debug)]
pub(super) struct MemoryAccount {
    current: Cell<usize>,
    peak: Cell<usize>,
    limit: Cell<usize>,
    refused: Cell<bool>,
    refused_small: Cell<bool>,
}

impl MemoryAccount {
    pub(super) fn without_limit() -> Self {
        Self {
            current: Cell::new(0),
            peak: Cell::new(0),
            limit: Cell::new(usize::MAX),
            refused: Cell::new(false),
            refused_small: Cell::new(false),
        }
    }

    /// Starts the account of one execution: what is held already counts, the peak starts from it.
    pub(super) fn start(&self, limit: usize) {
        self.limit.set(limit);
        self.peak.set(self.current.get());
        self.refused.set(false);
    }

    pub(super) fn current(&self) -> usize {
        self.current.get()
    }

    pub(super) fn peak(&self) -> usize {
        self.peak.get()
    }

    /// Whether any allocation was refused, by the limit or by the kernel.
    pub(super) fn was_refused(&self) -> bool {
        self.refused.get()
    }

    /// Whether the last one that was refused was as small as the parts of an error are.
    pub(super) fn was_refused_for_error(&self) -> bool {
        self.refused.get() && self.refused_small.get()
    }

    fn refuse(&self, bytes: usize) {
        self.refused.set(true);
        self.refused_small.set(bytes <= FOR_ERRORS_BLOCK_BYTES);
    }

    /// Undoes what an allocation that the host tried on its own account did to the flag.
    pub(super) fn set_refused(&self, refused: bool) {
        self.refused.set(refused);
    }

    /// Charges `bytes` that the host keeps for the script outside the engine's heap. False: the limit forbids it.
    pub(super) fn charge(&self, bytes: usize) -> bool {
        if !self.has_room_for(bytes) {
            self.refuse(bytes);
            return false;
        }
        self.add(bytes);
        true
    }

    /// Gives back what [`MemoryAccount::charge`] took.
    pub(super) fn discharge(&self, bytes: usize) {
        self.current.set(self.current.get().saturating_sub(bytes));
    }

    #[inline]
    fn has_room_for(&self, bytes: usize) -> bool {
        self.current
            .get()
            .checked_add(bytes)
            .is_some_and(|total| total <= self.limit.get())
            || self.has_room_for_error(bytes)
    }

    #[cold]
    fn has_room_for_error(&self, bytes: usize) -> bool {
        let most = self.limit.get().saturating_add(FOR_ERRORS_BYTES);
        self.refused.get()
            && bytes <= FOR_ERRORS_BLOCK_BYTES
            && self.current.get().saturating_add(bytes) <= most
    }

    fn add(&self, bytes: usize) {
        let current = self.current.get() + bytes;
        self.current.set(current);
        if current > self.peak.get() {
            self.peak.set(current);
        }
    }
}

/// The heap, counted. Sizes are what was really handed out, so a free needs no bookkeeping of ours.
pub(super) struct CountingAllocator {
    account: Rc<MemoryAccount>,
    heap: NonNull<Heap>,
}

impl CountingAllocator {
    /// On the heap of this process, or, where it has none, on one that stays until the process ends, as engines do.
    pub(super) fn new(account: Rc<MemoryAccount>) -> Self {
        let heap = process::of_this_process().unwrap_or_else(Heap::boxed);
        Self { account, heap }
    }

    #[inline]
    fn heap(&mut self) -> &mut Heap {
        // SAFETY: an engine and its heap have one thread, and no call into the heap is under way: none of them calls back.
        unsafe { self.heap.as_mut() }
    }

    #[inline]
    fn counted(&self, pointer: *mut u8, size: usize) -> *mut u8 {
        let Some(block) = NonNull::new(pointer) else {
            return self.refuse(size);
        };
        // SAFETY: the heap has just handed it out.
        self.account.add(unsafe { heap::held_bytes(block) });
        pointer
    }

    #[cold]
    fn refuse(&self, size: usize) -> *mut u8 {
        self.account.refuse(size);
        ptr::null_mut()
    }
}

// SAFETY: every pointer is a block of the heap's: aligned to eight bytes, as the engine's own small blocks are, and with at
// least the size asked for; the usable size is the heap's answer for the same pointer.
unsafe impl Allocator for CountingAllocator {
    fn alloc(&mut self, size: usize) -> *mut u8 {
        if !self.account.has_room_for(size) {
            return self.refuse(size);
        }
        let block = self.heap().alloc(size);
        self.counted(block, size)
    }

    fn calloc(&mut self, count: usize, size: usize) -> *mut u8 {
        let bytes = count.saturating_mul(size);
        if !self.account.has_room_for(bytes) {
            return self.refuse(bytes);
        }
        let block = self.heap().calloc(bytes);
        self.counted(block, bytes)
    }

    unsafe fn dealloc(&mut self, pointer: *mut u8) {
        let Some(block) = NonNull::new(pointer) else {
            return;
        };
        // SAFETY: the caller says that this allocator handed out `pointer`, and that it is still live.
        unsafe {
            self.account.discharge(heap::held_bytes(block));
            self.heap().dealloc(block);
        }
    }

    unsafe fn realloc(&mut self, pointer: *mut u8, new_size: usize) -> *mut u8 {
        let Some(block) = NonNull::new(pointer) else {
            return self.alloc(new_size);
        };
        if new_size == 0 {
            // SAFETY: as the caller of this function says.
            unsafe { self.dealloc(pointer) };
            return ptr::null_mut();
        }
        // SAFETY: the caller says that this allocator handed out `pointer`, and that it is still live.
        let held = unsafe { heap::held_bytes(block) };
        if new_size > held && !self.account.has_room_for(new_size - held) {
            return self.refuse(new_size);
        }
        // SAFETY: as above. When the heap answers null the old block stays, and stays counted.
        let moved = unsafe { self.heap().realloc(block, new_size) };
        if !moved.is_null() {
            self.account.discharge(held);
        }
        self.counted(moved, new_size)
    }

    unsafe fn usable_size(pointer: *mut u8) -> usize {
        // SAFETY: the caller says that this allocator handed out `pointer`, and that it is still live.
        NonNull::new(pointer).map_or(0, |block| unsafe { heap::usable_size(block) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allocation_beyond_the_limit_is_refused_and_remembered() {
        let account = Rc::new(MemoryAccount::without_limit());
        account.start(1024);
        let mut allocator = CountingAllocator::new(Rc::clone(&account));
        let small = allocator.alloc(100);
        assert!(!small.is_null() && !account.was_refused());
        assert!(allocator.alloc(2048).is_null() && account.was_refused());
        assert!(allocator.calloc(usize::MAX, 2).is_null());
        // SAFETY: `small` came from this allocator.
        unsafe { allocator.dealloc(small) };
        assert_eq!(account.current(), 0);
        assert!(account.peak() >= 100);
    }

    #[test]
    fn after_a_refusal_there_is_room_for_an_error_and_no_more() {
        let account = Rc::new(MemoryAccount::without_limit());
        account.start(1024);
        let mut allocator = CountingAllocator::new(Rc::clone(&account));
        assert!(allocator.alloc(2000).is_null());
        let given = (0..100).filter(|_| !allocator.alloc(500).is_null()).count();
        assert!((9..=10).contains(&given), "{given}");
        assert!(allocator.alloc(600).is_null());
        assert!(account.peak() <= 1024 + FOR_ERRORS_BYTES + 32);
    }

    #[test]
    fn a_grown_block_is_counted_once() {
        let account = Rc::new(MemoryAccount::without_limit());
        let mut allocator = CountingAllocator::new(Rc::clone(&account));
        let block = allocator.alloc(64);
        // SAFETY: `block` came from this allocator.
        let grown = unsafe { allocator.realloc(block, 4096) };
        assert!(account.current() >= 4096 && account.current() < 5000);
        // SAFETY: `grown` came from this allocator.
        unsafe { allocator.dealloc(grown) };
        assert_eq!(account.current(), 0);
    }
}
