//! The heap of one engine, laid out for a process that is warmed, forked and used once.
//!
//! After a fork each page that a child writes to is copied, so the cost of an execution is the number of pages that it
//! writes to. A best-fit heap would put new objects into holes between warm ones, each on a page of its own. This heap
//! has three parts:
//!
//! 1. *The room*: consecutive blocks of up to four kilobytes. While the engine is built, they are packed. Then the room
//!    is closed: its holes are abandoned, and every child allocates behind it, on untouched pages. An ordinary
//!    execution ends before it has used these up.
//! 2. *Slabs*: 16 kilobytes of blocks of one size, up to a kilobyte. An empty slab can serve any size.
//! 3. *The C library*, for longer blocks: it merges free blocks, and can grow a block in place.
//!
//! A slab records the size of its blocks once for all of them. Every other block has a header of eight bytes before it.
//! The address tells the two apart: blocks of slabs begin at a multiple of sixteen, the others eight bytes after one.

use super::pages::{PAGE_BYTES, Pages, map};
use super::placement::{Warming, Written};
use super::slabs::{self, Slabs, is_of_slab};
use super::{MemoryAccount, process, watch};
use std::ops::Range;
use std::ptr::{self, NonNull};

/// Size of the header of each block that is in no slab. It holds the block's class, or [`LARGE`]. It keeps blocks
/// aligned to eight bytes, which the engine requires.
const HEADER_BYTES: usize = size_of::<u64>();
/// Block sizes are multiples of this.
pub(super) const STEP_BYTES: usize = 16;
/// The largest class in the room.
const ROOM_CLASS_MAX: usize = 256;
const CLASSES: usize = ROOM_CLASS_MAX + 1;
const ROOM_BYTES_MAX: usize = ROOM_CLASS_MAX * STEP_BYTES - HEADER_BYTES;
/// In place of a class: the block is the C library's.
const LARGE: u64 = u64::MAX;

/// Room for a warm engine, which takes half of it. Blocks that do not fit go to slabs.
const WARM_BYTES: usize = 704 << 10;
/// Room for a child.
const CHILD_BYTES: usize = 64 << 10;
/// The end of the room, for the final message of an execution that ran out of memory.
const RESERVE_BYTES: usize = 16 << 10;

/// A free block: a link to the next one of its list.
#[repr(transparent)]
pub(super) struct Free(pub(super) *mut Free);

/// The three parts of the heap. One thread uses it; blocks stay in place until they are freed.
pub(super) struct Heap {
    next: usize,
    end: usize,
    room: *mut u8,
    room_bytes: usize,
    /// Free blocks of the room, by class.
    free: [*mut Free; CLASSES],
    slabs: Slabs,
    /// Present while an engine is built.
    warming: Option<Box<Warming>>,
}

impl Heap {
    pub(super) const ALIGNMENT: usize = HEADER_BYTES;

    /// Returns a heap that lies at the beginning of its own room: its fields are written as often as the first
    /// allocations.
    pub(super) fn boxed() -> NonNull<Self> {
        let mut heap = Self::new();
        let place = heap.alloc_in_room(size_of::<Self>());
        match NonNull::new(place.cast::<Self>()) {
            Some(place) => {
                // SAFETY: the block has the size and alignment of a heap, and nothing else uses it.
                unsafe { place.write(heap) };
                place
            }
            None => NonNull::from(Box::leak(Box::new(heap))),
        }
    }

    /// Returns the heap of this process. If there is none, returns a new heap that is never freed, as engines never
    /// are.
    pub(super) fn of_this_process_or_boxed() -> NonNull<Self> {
        process::of_this_process().unwrap_or_else(Self::boxed)
    }

    pub(super) fn new() -> Self {
        let room_bytes = WARM_BYTES + CHILD_BYTES + RESERVE_BYTES;
        let room = map(room_bytes, Pages::WhenTouched).unwrap_or(ptr::null_mut());
        let room_bytes = if room.is_null() { 0 } else { room_bytes };
        Self {
            next: 0,
            end: room_bytes.saturating_sub(CHILD_BYTES + RESERVE_BYTES),
            room,
            room_bytes,
            free: [ptr::null_mut(); CLASSES],
            slabs: Slabs::new(),
            warming: None,
        }
    }

    /// Lets `warming` count, place and note blocks of the room until [`Heap::end_warming`].
    pub(super) fn warm_with(&mut self, mut warming: Box<Warming>) {
        debug_assert!(self.warming.is_none(), "to drop it would call back");
        self.next = warming.place_areas(self.next..self.end);
        self.warming = Some(warming);
    }

    pub(super) fn end_warming(&mut self) -> Option<Box<Warming>> {
        self.warming.take()
    }

    /// Returns the size of the room, bytes.
    pub(super) fn capacity(&self) -> usize {
        self.room_bytes
    }

    /// Returns the addresses of the blocks that are noted and were not placed, in whole pages. The heap is closed.
    pub(super) fn noted_range(&self) -> Range<usize> {
        let areas = self.warming.as_ref().map(|warming| warming.end_of_areas());
        let room = self.room.addr();
        room + areas.unwrap_or(self.next).min(self.next)..room + self.next
    }

    /// Returns the noted blocks in which `addresses` lie.
    pub(super) fn blocks_at(&self, addresses: &[usize]) -> Written {
        let positions = addresses
            .iter()
            .map(|address| address.wrapping_sub(self.room.addr()));
        let steps_at = |start| {
            // SAFETY: a block with a header was noted there. It keeps its header when it is freed.
            let class = unsafe { self.room.byte_add(start).cast::<u64>().read() };
            u32::try_from(class).unwrap_or_default()
        };
        self.warming
            .as_ref()
            .map_or_else(Written::default, |warming| {
                warming.blocks_at(positions, steps_at)
            })
    }

    /// Abandons the free blocks: later blocks are on pages of their own.
    pub(super) fn close_warm(&mut self) {
        self.free = [ptr::null_mut(); CLASSES];
        self.next = self.next.next_multiple_of(PAGE_BYTES);
        let most = self.room_bytes.saturating_sub(RESERVE_BYTES);
        self.end = most.min(self.next + CHILD_BYTES);
    }

    #[cold]
    pub(super) fn open_reserve(&mut self) {
        self.end = self.room_bytes;
    }

    /// Returns a block of at least `size` bytes; null if there is none.
    #[inline]
    pub(super) fn alloc(&mut self, size: usize) -> *mut u8 {
        let block = self.alloc_in_room(size);
        if block.is_null() {
            return self.alloc_outside(size);
        }
        block
    }

    /// Returns a block of the room, as [`Heap::alloc`] does.
    #[inline]
    pub(super) fn alloc_in_room(&mut self, size: usize) -> *mut u8 {
        if size > ROOM_BYTES_MAX {
            return ptr::null_mut();
        }
        let class = class_of(size);
        if self.warming.is_some() {
            return self.alloc_warming(class);
        }
        self.alloc_of_class(class)
    }

    #[cold]
    fn alloc_warming(&mut self, class: usize) -> *mut u8 {
        watch::close_page();
        let warming = self.warming.as_mut();
        let block = match warming.and_then(|warming| warming.place(class * STEP_BYTES)) {
            // SAFETY: the areas lie in the room, in a part that only they hand out.
            Some(start) => unsafe { begin(self.room.add(start), class) },
            None => self.alloc_of_class(class),
        };
        if let Some(warming) = &mut self.warming {
            warming.note(block.addr().wrapping_sub(self.room.addr() + HEADER_BYTES));
        }
        block
    }

    #[inline]
    fn alloc_of_class(&mut self, class: usize) -> *mut u8 {
        if let Some(block) = NonNull::new(self.free[class]) {
            // SAFETY: `dealloc` has put the block into the list, and nothing else uses it.
            self.free[class] = unsafe { block.as_ref().0 };
            return block.as_ptr().cast();
        }
        let bytes = class * STEP_BYTES;
        if bytes > self.end - self.next {
            return ptr::null_mut();
        }
        // SAFETY: the room has `end` bytes, and those from `next` on have never been handed out.
        let block = unsafe { begin(self.room.add(self.next), class) };
        self.next += bytes;
        block
    }

    #[inline]
    pub(super) fn is_of_room(&self, block: *mut u8) -> bool {
        block.addr().wrapping_sub(self.room.addr()) < self.room_bytes
    }

    /// Returns a zeroed block, as [`Heap::alloc`] does.
    pub(super) fn calloc(&mut self, size: usize) -> *mut u8 {
        if size > ROOM_BYTES_MAX {
            // SAFETY: calloc takes any size, and returns null if there is no memory.
            return large(unsafe { libc::calloc(1, with_header(size)) });
        }
        let block = self.alloc(size);
        if !block.is_null() {
            // SAFETY: the block has at least `size` bytes.
            unsafe { block.write_bytes(0, size) };
        }
        block
    }

    /// Frees a block.
    ///
    /// # Safety
    /// `block` came from this heap and is still live.
    #[inline]
    pub(super) unsafe fn dealloc(&mut self, block: NonNull<u8>) {
        if is_of_slab(block) {
            // SAFETY: guaranteed by the caller.
            return unsafe { self.slabs.dealloc(block) };
        }
        // SAFETY: guaranteed by the caller, so the header is before the block.
        let class = unsafe { header(block) };
        if class == LARGE {
            // SAFETY: a large block is the C library's and begins with the header.
            unsafe { libc::free(block.as_ptr().sub(HEADER_BYTES).cast()) };
            return;
        }
        let class = usize::try_from(class).unwrap_or_default() % CLASSES;
        let free: *mut Free = block.as_ptr().cast();
        // SAFETY: the block is the room's, has at least eight bytes, and is no longer used.
        unsafe { free.write(Free(self.free[class])) };
        self.free[class] = free;
    }

    /// Returns a block of at least `size` bytes with the content of `block`. Returns null if there is none; `block`
    /// then stays live.
    ///
    /// # Safety
    /// `block` came from this heap and is still live.
    pub(super) unsafe fn realloc(&mut self, block: NonNull<u8>, size: usize) -> *mut u8 {
        // SAFETY: guaranteed by the caller.
        let (had, is_large) = unsafe {
            let is_large = !is_of_slab(block) && header(block) == LARGE;
            (usable_size(block), is_large)
        };
        if is_large && size > ROOM_BYTES_MAX {
            // SAFETY: a large block is the C library's and begins with the header.
            let start = unsafe { block.as_ptr().sub(HEADER_BYTES) };
            // SAFETY: as above. If realloc returns null, the old block stays live.
            return large(unsafe { libc::realloc(start.cast(), with_header(size)) });
        }
        if !is_large && size <= had && had - size < STEP_BYTES {
            return block.as_ptr();
        }
        let moved = self.alloc(size);
        if !moved.is_null() {
            // SAFETY: both blocks are live, do not overlap and have at least so many bytes. The old block is freed
            // once.
            unsafe {
                ptr::copy_nonoverlapping(block.as_ptr(), moved, had.min(size));
                self.dealloc(block);
            }
        }
        moved
    }

    fn alloc_outside(&mut self, size: usize) -> *mut u8 {
        let block = self.slabs.alloc(size);
        if !block.is_null() {
            return block;
        }
        // SAFETY: malloc takes any size, and returns null if there is no memory. Near its bound on address space, a
        // process may have room in the C library's heap and none for more slabs.
        large(unsafe { libc::malloc(with_header(size)) })
    }
}

/// Returns the usable size of `block`, bytes.
///
/// # Safety
/// `block` came from a [`Heap`] and is still live.
#[inline]
pub(super) unsafe fn usable_size(block: NonNull<u8>) -> usize {
    // SAFETY: guaranteed by the caller, so the block lies in a slab or has a header before it. A large block is the C
    // library's and begins with the header.
    unsafe {
        if is_of_slab(block) {
            return slabs::size_of_block(block);
        }
        match header(block) {
            LARGE => {
                libc::malloc_usable_size(block.as_ptr().sub(HEADER_BYTES).cast()) - HEADER_BYTES
            }
            class => usize::try_from(class).unwrap_or_default() * STEP_BYTES - HEADER_BYTES,
        }
    }
}

/// Returns the size of `block` with its header, bytes.
///
/// # Safety
/// As for [`usable_size`].
#[inline]
pub(super) unsafe fn held_bytes(block: NonNull<u8>) -> usize {
    let header = if is_of_slab(block) { 0 } else { HEADER_BYTES };
    // SAFETY: guaranteed by the caller.
    unsafe { usable_size(block) + header }
}

/// Returns whether a test has chosen to refuse this request. Only the heap of `make test-asan` has such a choice.
#[inline]
pub(super) const fn is_chosen(_: &MemoryAccount, _: usize) -> bool {
    false
}

/// Returns whether the engine goes on after any refusal. Only the heap of `make test-asan` does.
pub(super) const fn is_ignored() -> bool {
    false
}

#[inline]
fn class_of(size: usize) -> usize {
    with_header(size).div_ceil(STEP_BYTES)
}

fn with_header(size: usize) -> usize {
    size.saturating_add(HEADER_BYTES)
}

/// Writes the header of a block that begins at `start`. Returns the address after it.
///
/// # Safety
/// `start` is writable for `class` steps and aligned to eight bytes.
#[inline]
unsafe fn begin(start: *mut u8, class: usize) -> *mut u8 {
    // SAFETY: guaranteed by the caller.
    unsafe {
        start.cast::<u64>().write(class as u64);
        start.add(HEADER_BYTES)
    }
}

/// Returns the header of a block.
///
/// # Safety
/// `block` has a header before it.
#[inline]
unsafe fn header(block: NonNull<u8>) -> u64 {
    // SAFETY: guaranteed by the caller. Blocks are aligned to eight bytes.
    unsafe { block.as_ptr().sub(HEADER_BYTES).cast::<u64>().read() }
}

/// Turns a block of the C library into one with a header. Null stays null.
fn large(start: *mut libc::c_void) -> *mut u8 {
    if start.is_null() {
        return ptr::null_mut();
    }
    let start: *mut u8 = start.cast();
    // SAFETY: the block was requested with room for the header, and the C library aligns to sixteen.
    unsafe {
        start.cast::<u64>().write(LARGE);
        start.add(HEADER_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Live blocks, each filled with a byte of its own.
    struct Held {
        heap: Heap,
        blocks: Vec<(NonNull<u8>, usize, u8)>,
        mark: u8,
    }

    impl Held {
        fn fill(&mut self, block: *mut u8, size: usize) {
            self.mark = self.mark.wrapping_add(1);
            let block = NonNull::new(block).unwrap();
            // SAFETY: the heap guarantees the block's size, and nothing else uses it.
            unsafe {
                assert!(usable_size(block) >= size);
                block.as_ptr().write_bytes(self.mark, size);
            }
            self.blocks.push((block, size, self.mark));
        }

        fn check(&self, (block, size, mark): (NonNull<u8>, usize, u8)) {
            // SAFETY: the block is live and has that size.
            let bytes = unsafe { std::slice::from_raw_parts(block.as_ptr(), size) };
            assert!(bytes.iter().all(|byte| *byte == mark));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn blocks_never_overlap_and_keep_what_is_in_them(
            steps in prop::collection::vec((0_u8..6, 1_usize..3_000, any::<prop::sample::Index>()), 1..2_000),
            closed_at in 0_usize..500,
        ) {
            let mut held = Held { heap: Heap::new(), blocks: Vec::new(), mark: 0 };
            for (number, (step, size, which)) in steps.into_iter().enumerate() {
                if number == closed_at {
                    held.heap.close_warm();
                }
                let size = if step % 2 == 0 { size % 200 + 1 } else { size };
                if step < 3 || held.blocks.is_empty() {
                    let block = held.heap.alloc(size);
                    held.fill(block, size);
                    continue;
                }
                let index = which.index(held.blocks.len());
                let old = held.blocks.swap_remove(index);
                held.check(old);
                // SAFETY: the block is live and no longer in the list.
                unsafe {
                    if step == 3 {
                        let moved = held.heap.realloc(old.0, size);
                        held.check((NonNull::new(moved).unwrap(), size.min(old.1), old.2));
                        held.fill(moved, size);
                    } else {
                        held.heap.dealloc(old.0);
                    }
                }
            }
            for block in &held.blocks {
                held.check(*block);
            }
        }
    }

    #[test]
    fn a_child_begins_on_a_page_of_its_own() {
        let mut heap = Heap::new();
        let warm = NonNull::new(heap.alloc(40)).unwrap();
        let hole = NonNull::new(heap.alloc(40)).unwrap();
        // SAFETY: the block is live.
        unsafe { heap.dealloc(hole) };
        heap.close_warm();
        let first = heap.alloc(40);
        assert_ne!(first.addr() / PAGE_BYTES, warm.as_ptr().addr() / PAGE_BYTES);
        assert_eq!(first.addr() % PAGE_BYTES, HEADER_BYTES);
    }

    #[test]
    fn a_room_that_is_used_up_still_has_its_reserve() {
        let mut heap = Heap::new();
        heap.close_warm();
        while !heap.alloc_in_room(1000).is_null() {}
        heap.open_reserve();
        let given = (0..100).take_while(|_| !heap.alloc_in_room(1000).is_null());
        assert!(given.count() >= 15);
    }

    #[test]
    fn zeroed_blocks_are_zero_even_where_others_have_been() {
        let mut heap = Heap::new();
        for size in [8, 300, 5_000] {
            let used = NonNull::new(heap.alloc(size)).unwrap();
            // SAFETY: the block is live and has that size.
            unsafe {
                used.as_ptr().write_bytes(7, size);
                heap.dealloc(used);
            }
            let zeroed = heap.calloc(size);
            // SAFETY: as above.
            let bytes = unsafe { std::slice::from_raw_parts(zeroed, size) };
            assert!(bytes.iter().all(|byte| *byte == 0));
        }
    }
}
