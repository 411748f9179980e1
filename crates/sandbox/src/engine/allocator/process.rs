//! The allocator of the whole program: the C library's; in a zygote, and so in its job processes, the engine's heap first.
//!
//! What Rust allocates in a zygote is written to by every execution as well: counts of references, the host's state. On
//! pages of their own, and in a heap with lists of its own, that would be ten pages more to copy for each.

use super::MemoryAccount;
use super::heap::Heap;
use super::placement::{Placement, Warming, Written};
use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr::{self, NonNull};
use std::rc::Rc;
use std::sync::atomic::{AtomicPtr, Ordering};

/// See the module.
#[derive(Debug)]
struct ProcessAllocator;

#[global_allocator]
static ALLOCATOR: ProcessAllocator = ProcessAllocator;

/// A zygote's heap; null in every other process.
static HEAP: AtomicPtr<Heap> = AtomicPtr::new(ptr::null_mut());

/// The account of a zygote's engine; null in every other process.
static ACCOUNT: AtomicPtr<MemoryAccount> = AtomicPtr::new(ptr::null_mut());

/// Makes `account` the one that ends an execution when Rust is refused memory. Only a zygote's: elsewhere a process goes on
/// after its engines.
pub(in crate::engine) fn ends_by(account: &Rc<MemoryAccount>) {
    if of_this_process().is_some() {
        // Never given back, so that the pointer stays valid.
        let account = Rc::into_raw(Rc::clone(account));
        ACCOUNT.store(account.cast_mut(), Ordering::Relaxed);
    }
}

/// Lets the room of this process's heap hand out its reserve.
#[cold]
pub(super) fn open_reserve() {
    if let Some(mut heap) = of_this_process() {
        // SAFETY: as in `close`.
        unsafe { heap.as_mut() }.open_reserve();
    }
}

/// Ends the execution of this process, if one is under way: Rust was refused memory, and would only abort.
#[cold]
fn end_execution() {
    // SAFETY: it is null, or what `ends_by` never gives back; a zygote and its children have one thread.
    if let Some(account) = unsafe { ACCOUNT.load(Ordering::Relaxed).as_ref() } {
        account.end();
    }
}

/// From now on this process allocates from a heap that forks well.
///
/// # Safety
/// The process has one thread, and so have the children that it will fork.
pub(crate) unsafe fn begin() {
    if HEAP.load(Ordering::Relaxed).is_null() {
        HEAP.store(Heap::boxed().as_ptr(), Ordering::Relaxed);
    }
}

/// The engine that is built next is one to learn from.
pub(crate) fn note_blocks() {
    let Some(mut heap) = of_this_process() else {
        return;
    };
    // SAFETY: as in `close`.
    let room_bytes = unsafe { heap.as_ref() }.capacity();
    let warming = Box::new(Warming::that_notes(room_bytes));
    // SAFETY: as in `close`.
    unsafe { heap.as_mut() }.warm_with(warming);
}

/// It is built: what comes from now on is an execution, and what that writes to is looked for.
pub(crate) fn look_for_changes() {
    let Some(mut heap) = of_this_process() else {
        return;
    };
    close();
    let was = copy_of_room().unwrap_or_default();
    // SAFETY: as in `close`.
    let warming = unsafe { heap.as_mut() }.end_warming();
    if let Some(mut warming) = warming {
        warming.look_for_changes(was);
        // SAFETY: as in `close`.
        unsafe { heap.as_mut() }.warm_with(warming);
    }
}

/// What the execution has written to.
pub(crate) fn written() -> Written {
    let Some(mut heap) = of_this_process() else {
        return Written::default();
    };
    // SAFETY: as in `close`.
    let warming = unsafe { heap.as_mut() }.end_warming();
    warming.map_or_else(Written::default, |mut warming| {
        // SAFETY: as in `close`; of the room as much has been handed out.
        unsafe {
            let (room, bytes) = heap.as_ref().room();
            warming.look(room, bytes);
        }
        warming.written()
    })
}

fn copy_of_room() -> Option<Vec<u8>> {
    let heap = of_this_process()?;
    // SAFETY: as in `close`. The copy has its memory before the room is looked at, and what the room has handed out by then
    // is as long as is said.
    unsafe {
        let mut copy = Vec::with_capacity(heap.as_ref().room().1);
        let (room, bytes) = heap.as_ref().room();
        let length = bytes.min(copy.capacity());
        ptr::copy_nonoverlapping(room, copy.as_mut_ptr(), length);
        copy.set_len(length);
        Some(copy)
    }
}

/// The engine that is built until [`end_placing`] has its blocks laid so.
pub(crate) fn place(placement: &Placement) {
    let Some(mut heap) = of_this_process() else {
        return;
    };
    let warming = Box::new(Warming::that_places(placement));
    // SAFETY: as in `close`.
    unsafe { heap.as_mut() }.warm_with(warming);
}

/// The engine is built.
pub(crate) fn end_placing() {
    // SAFETY: as in `close`. What is dropped is dropped when the heap is nobody's again.
    let warming = of_this_process().and_then(|mut heap| unsafe { heap.as_mut() }.end_warming());
    drop(warming);
}

/// All that children inherit is there: what comes from now on lies apart from it.
pub(crate) fn close() {
    if let Some(mut heap) = of_this_process() {
        // SAFETY: there is one thread, and no call into the heap is under way: none of them calls back.
        unsafe { heap.as_mut() }.close_warm();
    }
}

/// A zygote's heap.
#[inline]
pub(super) fn of_this_process() -> Option<NonNull<Heap>> {
    NonNull::new(HEAP.load(Ordering::Relaxed))
}

#[inline]
fn or_end(block: *mut u8) -> *mut u8 {
    if block.is_null() {
        end_execution();
    }
    block
}

// SAFETY: a block is the heap's or the system allocator's, each asked for what the caller asks for; the heap knows its own
// by their addresses, and aligns to eight bytes.
unsafe impl GlobalAlloc for ProcessAllocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if let Some(mut heap) = of_this_process()
            && layout.align() <= Heap::ALIGNMENT
        {
            // SAFETY: as in `close`.
            let block = unsafe { heap.as_mut() }.alloc_in_room(layout.size());
            if !block.is_null() {
                return block;
            }
        }
        // SAFETY: as the caller says.
        or_end(unsafe { System.alloc(layout) })
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if let Some(mut heap) = of_this_process() {
            // SAFETY: as in `close`; a block of the room is live, as the caller says.
            unsafe {
                let heap = heap.as_mut();
                if heap.is_of_room(block) {
                    return heap.dealloc(NonNull::new_unchecked(block));
                }
            }
        }
        // SAFETY: as the caller says; it is none of the heap's.
        unsafe { System.dealloc(block, layout) }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as in `close`.
        let is_of_room =
            of_this_process().is_some_and(|heap| unsafe { heap.as_ref() }.is_of_room(block));
        if !is_of_room {
            // SAFETY: as the caller says; it is none of the heap's.
            return or_end(unsafe { System.realloc(block, layout, size) });
        }
        // SAFETY: as the caller says; the blocks are apart, and each as long as its layout.
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
