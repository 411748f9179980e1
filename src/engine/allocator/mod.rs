//! The heap of one JavaScript runtime: libc's allocator behind a counter and a limit.
//!
//! Its own: how many bytes the engine holds, the most it ever held, and whether it was ever told no. Not its own: what a
//! refusal means for the execution (`failure` decides that). Written because QuickJS's own limit says nothing afterwards:
//! an out-of-memory error often surfaces as the value `null`, which a script can throw as well. Called by `warm`, and by
//! the timers and counters of the host, which charge what they keep outside the engine's heap.
#![allow(unsafe_code)] // the allocator interface deals in raw pointers; nothing else in this module does

mod arenas;

use arenas::ArenaPages;
use rquickjs::allocator::Allocator;
use std::cell::{Cell, RefCell};
use std::ptr::{self, NonNull};
use std::rc::Rc;

/// Bytes held, most ever held, and the limit. Shared by the allocator and the host; one thread.
#[derive(Debug)]
pub(super) struct MemoryAccount {
    current: Cell<usize>,
    peak: Cell<usize>,
    limit: Cell<usize>,
    refused: Cell<bool>,
}

impl MemoryAccount {
    pub(super) fn without_limit() -> Self {
        Self {
            current: Cell::new(0),
            peak: Cell::new(0),
            limit: Cell::new(usize::MAX),
            refused: Cell::new(false),
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

    /// Undoes what an allocation that the host tried on its own account did to the flag.
    pub(super) fn set_refused(&self, refused: bool) {
        self.refused.set(refused);
    }

    /// Charges `bytes` that the host keeps for the script outside the engine's heap. False: the limit forbids it.
    pub(super) fn charge(&self, bytes: usize) -> bool {
        if !self.has_room_for(bytes) {
            self.refused.set(true);
            return false;
        }
        self.add(bytes);
        true
    }

    /// Gives back what [`MemoryAccount::charge`] took.
    pub(super) fn discharge(&self, bytes: usize) {
        self.current.set(self.current.get().saturating_sub(bytes));
    }

    fn has_room_for(&self, bytes: usize) -> bool {
        self.current
            .get()
            .checked_add(bytes)
            .is_some_and(|total| total <= self.limit.get())
    }

    fn add(&self, bytes: usize) {
        let current = self.current.get() + bytes;
        self.current.set(current);
        if current > self.peak.get() {
            self.peak.set(current);
        }
    }
}

/// libc's allocator, counted, with pages for the arenas that executions inherit. Sizes are what was really handed out, so
/// a free needs no bookkeeping of ours.
pub(super) struct CountingAllocator {
    account: Rc<MemoryAccount>,
    pages: Rc<RefCell<ArenaPages>>,
}

/// While this lives, the engine is being built: its arenas are inherited ones.
pub(super) struct Building(Rc<RefCell<ArenaPages>>);

impl Drop for Building {
    fn drop(&mut self) {
        self.0.borrow_mut().close();
    }
}

impl CountingAllocator {
    pub(super) fn new(account: Rc<MemoryAccount>) -> (Self, Building) {
        let pages = Rc::new(RefCell::new(ArenaPages::take()));
        let building = Building(Rc::clone(&pages));
        (Self { account, pages }, building)
    }

    fn counted(&self, pointer: *mut u8) -> *mut u8 {
        let Some(block) = NonNull::new(pointer) else {
            return self.refuse();
        };
        self.account.add(usable_size(block));
        pointer
    }

    fn refuse(&self) -> *mut u8 {
        self.account.refused.set(true);
        ptr::null_mut()
    }
}

/// How many bytes a block of this allocator has.
fn usable_size(block: NonNull<u8>) -> usize {
    // SAFETY: what is no page of ours is libc's, and live, or the caller would not have it.
    arenas::size_of_page(block)
        .unwrap_or_else(|| unsafe { libc::malloc_usable_size(block.as_ptr().cast()) })
}

// SAFETY: every pointer is a page of ours or comes from libc's malloc, calloc or realloc; both are aligned for any type and
// have at least the size asked for; the usable size is the giver's own answer for the same pointer.
unsafe impl Allocator for CountingAllocator {
    fn alloc(&mut self, size: usize) -> *mut u8 {
        if !self.account.has_room_for(size) {
            return self.refuse();
        }
        let page = self.pages.borrow_mut().page_for(size);
        // SAFETY: malloc takes any size and answers null when it has none.
        let block = page.map_or_else(|| unsafe { libc::malloc(size) }.cast(), NonNull::as_ptr);
        self.counted(block)
    }

    fn calloc(&mut self, count: usize, size: usize) -> *mut u8 {
        let fits = count
            .checked_mul(size)
            .is_some_and(|bytes| self.account.has_room_for(bytes));
        if !fits {
            return self.refuse();
        }
        // SAFETY: calloc takes any count and size and answers null when it has none.
        self.counted(unsafe { libc::calloc(count, size) }.cast())
    }

    unsafe fn dealloc(&mut self, pointer: *mut u8) {
        let Some(block) = NonNull::new(pointer) else {
            return;
        };
        self.account.discharge(usable_size(block));
        if arenas::size_of_page(block).is_some() {
            self.pages.borrow_mut().give_back(block);
            return;
        }
        // SAFETY: the caller says that this allocator handed out `pointer`, so it is libc's and still live.
        unsafe { libc::free(pointer.cast()) };
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
        let old_size = usable_size(block);
        if new_size > old_size && !self.account.has_room_for(new_size - old_size) {
            return self.refuse();
        }
        if arenas::size_of_page(block).is_some() {
            // The engine never grows an arena; if it did, it would get a block of libc's.
            if new_size <= old_size {
                return pointer;
            }
            let moved = self.alloc(new_size);
            if !moved.is_null() {
                // SAFETY: both are live and have `old_size` bytes; the old one is given back once.
                unsafe {
                    ptr::copy_nonoverlapping(pointer, moved, old_size);
                    self.dealloc(pointer);
                }
            }
            return moved;
        }
        // SAFETY: the caller says that this allocator handed out `pointer`, so it is libc's and still live; when realloc
        // answers null the old block stays live, and stays counted.
        let moved: *mut u8 = unsafe { libc::realloc(pointer.cast(), new_size) }.cast();
        if !moved.is_null() {
            self.account.discharge(old_size);
        }
        self.counted(moved)
    }

    unsafe fn usable_size(pointer: *mut u8) -> usize {
        NonNull::new(pointer).map_or(0, usable_size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allocation_beyond_the_limit_is_refused_and_remembered() {
        let account = Rc::new(MemoryAccount::without_limit());
        account.start(1024);
        let mut allocator = CountingAllocator::new(Rc::clone(&account)).0;
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
    fn a_grown_block_is_counted_once() {
        let account = Rc::new(MemoryAccount::without_limit());
        let mut allocator = CountingAllocator::new(Rc::clone(&account)).0;
        let block = allocator.alloc(64);
        // SAFETY: `block` came from this allocator.
        let grown = unsafe { allocator.realloc(block, 4096) };
        assert!(account.current() >= 4096 && account.current() < 5000);
        // SAFETY: `grown` came from this allocator.
        unsafe { allocator.dealloc(grown) };
        assert_eq!(account.current(), 0);
    }
}
