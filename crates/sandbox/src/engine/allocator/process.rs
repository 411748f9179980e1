//! The allocator of the whole program: the C library's. A zygote, and so its job processes, use the room of the
//! engine's heap first.
//!
//! Every execution also writes to Rust's own allocations in a zygote: reference counts and the host's state. On pages
//! of their own, in a heap with its own lists, they would cost ten more page copies per execution.

use super::MemoryAccount;
use super::heap::Heap;
use super::placement::{Placement, Warming, Written};
use super::watch;
use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr::{self, NonNull};
use std::rc::Rc;
use std::sync::atomic::{AtomicPtr, Ordering};

#[derive(Debug)]
struct ProcessAllocator;

#[global_allocator]
static ALLOCATOR: ProcessAllocator = ProcessAllocator;

/// A zygote's heap; null in every other process.
static HEAP: AtomicPtr<Heap> = AtomicPtr::new(ptr::null_mut());

/// The account of a zygote's engine; null in every other process.
static ACCOUNT: AtomicPtr<MemoryAccount> = AtomicPtr::new(ptr::null_mut());

/// The account that Rust's own allocations are charged to; null except during [`charged`].
static CHARGED: AtomicPtr<MemoryAccount> = AtomicPtr::new(ptr::null_mut());

/// Runs `call`, whose allocations by Rust are charged to `account` as if they were the engine's: the execution ends if
/// they exceed the limit. Afterwards nothing is charged any more, so what the call returns is small, or is its own
/// allocation. Applies to a zygote's children alone.
pub(in crate::engine) fn charged<T>(account: &Rc<MemoryAccount>, call: impl FnOnce() -> T) -> T {
    if of_this_process().is_none() {
        return call();
    }
    let held_before = account.current();
    CHARGED.store(Rc::as_ptr(account).cast_mut(), Ordering::Relaxed);
    let done = call();
    CHARGED.store(ptr::null_mut(), Ordering::Relaxed);
    account.discharge(account.current().saturating_sub(held_before));
    done
}

/// Prepares the final message of a call that was broken off: nothing is charged any more, and the reserve of the heap is
/// open.
pub(in crate::engine) fn break_off() {
    CHARGED.store(ptr::null_mut(), Ordering::Relaxed);
    open_reserve();
}

#[inline]
fn charge(bytes: usize) {
    // SAFETY: the pointer is null, or to an account that `charged` borrows. There is one thread.
    if let Some(account) = unsafe { CHARGED.load(Ordering::Relaxed).as_ref() } {
        account.charge(bytes);
    }
}

#[inline]
fn discharge(bytes: usize) {
    // SAFETY: as in `charge`.
    if let Some(account) = unsafe { CHARGED.load(Ordering::Relaxed).as_ref() } {
        account.discharge(bytes);
    }
}

/// Makes `account` end the execution when Rust is refused memory. Applies to a zygote alone: another process goes on
/// after its engines.
pub(in crate::engine) fn set_account(account: &Rc<MemoryAccount>) {
    if of_this_process().is_some() {
        // Never freed, so that the pointer stays valid.
        let account = Rc::into_raw(Rc::clone(account));
        ACCOUNT.store(account.cast_mut(), Ordering::Relaxed);
    }
}

/// Adds the reserve to the room of this process's heap.
#[cold]
pub(super) fn open_reserve() {
    if let Some(mut heap) = of_this_process() {
        // SAFETY: as in `close`.
        unsafe { heap.as_mut() }.open_reserve();
    }
}

/// Ends the execution of this process, if one is running. Rust was refused memory and would otherwise abort.
#[cold]
fn end_execution() {
    // SAFETY: the pointer is null, or the one that `set_account` never frees. A zygote and its children have one
    // thread.
    if let Some(account) = unsafe { ACCOUNT.load(Ordering::Relaxed).as_ref() } {
        account.end();
    }
}

/// Makes this process allocate from a heap that is cheap to fork.
///
/// # Safety
/// The process has one thread, and so have the children that it will fork.
pub(crate) unsafe fn begin() {
    if HEAP.load(Ordering::Relaxed).is_null() {
        HEAP.store(Heap::boxed().as_ptr(), Ordering::Relaxed);
    }
}

/// Notes the blocks of the engine that is built next, to learn from them. Places those that `placement` has.
pub(crate) fn note_blocks(placement: &Placement) {
    let Some(mut heap) = of_this_process() else {
        return;
    };
    // SAFETY: as in `close`.
    let room_bytes = unsafe { heap.as_ref() }.capacity();
    let warming = Box::new(Warming::noting(room_bytes, placement));
    // SAFETY: as in `close`.
    unsafe { heap.as_mut() }.warm_with(warming);
}

/// Starts to watch the noted blocks: the engine is built, and a sample follows.
pub(crate) fn watch_blocks() {
    close();
    if let Some(heap) = of_this_process() {
        // SAFETY: as in `close`. The room is memory that the process may write to.
        unsafe { watch::begin(heap.as_ref().noted_range()) };
    }
}

/// Returns the blocks that were written to since [`watch_blocks`].
pub(crate) fn written() -> Written {
    let addresses = watch::end();
    // SAFETY: as in `close`.
    of_this_process().map_or_else(Written::default, |heap| unsafe {
        heap.as_ref().blocks_at(&addresses)
    })
}

/// Places the blocks of the engine that is built until [`end_placing`].
pub(crate) fn place(placement: &Placement) {
    let Some(mut heap) = of_this_process() else {
        return;
    };
    let warming = Box::new(Warming::placing(placement));
    // SAFETY: as in `close`.
    unsafe { heap.as_mut() }.warm_with(warming);
}

/// Ends the placing: the engine is built.
pub(crate) fn end_placing() {
    // SAFETY: as in `close`. The state is dropped after the reference to the heap.
    let warming = of_this_process().and_then(|mut heap| unsafe { heap.as_mut() }.end_warming());
    drop(warming);
}

/// Closes the room: children inherit its content, and later blocks are apart from it.
pub(crate) fn close() {
    if let Some(mut heap) = of_this_process() {
        // SAFETY: there is one thread, and no call into the heap is under way: none of them calls back.
        unsafe { heap.as_mut() }.close_warm();
    }
}

/// Returns the heap of a zygote.
#[inline]
pub(super) fn of_this_process() -> Option<NonNull<Heap>> {
    NonNull::new(HEAP.load(Ordering::Relaxed))
}

#[inline]
fn or_end_execution(block: *mut u8) -> *mut u8 {
    if block.is_null() {
        end_execution();
    }
    block
}

// SAFETY: a block comes from the heap or from the system allocator, which are asked for the caller's layout. The heap
// recognises its own blocks by their addresses, and aligns to eight bytes.
unsafe impl GlobalAlloc for ProcessAllocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        charge(layout.size());
        if let Some(mut heap) = of_this_process()
            && layout.align() <= Heap::ALIGNMENT
        {
            // SAFETY: as in `close`.
            let block = unsafe { heap.as_mut() }.alloc_in_room(layout.size());
            if !block.is_null() {
                return block;
            }
        }
        // SAFETY: guaranteed by the caller.
        or_end_execution(unsafe { System.alloc(layout) })
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        discharge(layout.size());
        if let Some(mut heap) = of_this_process() {
            // SAFETY: as in `close`. The caller guarantees that a block of the room is live.
            unsafe {
                let heap = heap.as_mut();
                if heap.is_of_room(block) {
                    return heap.dealloc(NonNull::new_unchecked(block));
                }
            }
        }
        // SAFETY: guaranteed by the caller. The block is none of the heap's.
        unsafe { System.dealloc(block, layout) }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as in `close`.
        let is_of_room =
            of_this_process().is_some_and(|heap| unsafe { heap.as_ref() }.is_of_room(block));
        if !is_of_room {
            charge(size);
            discharge(layout.size());
            // SAFETY: guaranteed by the caller. The block is none of the heap's.
            return or_end_execution(unsafe { System.realloc(block, layout, size) });
        }
        // SAFETY: guaranteed by the caller. The blocks do not overlap, and each has the size of its layout.
        unsafe {
            let moved = self.alloc(Layout::from_size_align_unchecked(size, layout.align()));
            if !moved.is_null() {
                ptr::copy_nonoverlapping(block, moved, size.min(layout.size()));
                self.dealloc(block, layout);
            }
            moved
        }
    }
}
