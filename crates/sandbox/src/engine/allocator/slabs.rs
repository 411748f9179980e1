//! Slabs: sixteen kilobytes of blocks of one size each. A slab that is empty again serves any size.
//!
//! How long its blocks are a slab says for all of them, so they have no headers, and begin at multiples of sixteen.

use super::heap::{Free, STEP_BYTES};
use super::pages::{Pages, map};
use std::ptr::{self, NonNull};

/// The last class that slabs have.
const CLASS_MAX: usize = 64;
const SLAB_BYTES: usize = 16 << 10;
/// Slabs that the kernel is asked for at a time.
const SLABS_AT_ONCE: usize = 16;
/// Who has used up so many of these mappings will have use for all of the next: a fault for each of its pages takes longer than
/// finding all of them in one call.
const MAPPED_PAGE_BY_PAGE: u32 = 2;

/// At the beginning of each slab.
#[repr(C)]
struct Slab {
    next: *mut Slab,
    previous: *mut Slab,
    free: *mut Free,
    class: usize,
    live: usize,
    /// Bytes from the slab's beginning that have never been a block.
    fresh: usize,
}

const SLAB_HEAD_BYTES: usize = size_of::<Slab>().next_multiple_of(STEP_BYTES);

/// All slabs of a heap.
pub(super) struct Slabs {
    /// Those of each class that have a block left.
    open: [*mut Slab; CLASS_MAX + 1],
    /// Those without a block.
    empty: *mut Slab,
    /// How often the kernel was asked for some.
    mapped: u32,
}

impl Slabs {
    pub(super) fn new() -> Self {
        Self {
            open: [ptr::null_mut(); CLASS_MAX + 1],
            empty: ptr::null_mut(),
            mapped: 0,
        }
    }

    /// A block of at least `size` bytes; null when it is longer than slabs have any, or there is no memory.
    pub(super) fn alloc(&mut self, size: usize) -> *mut u8 {
        let class = size.div_ceil(STEP_BYTES).max(1);
        if class > CLASS_MAX {
            return ptr::null_mut();
        }
        let mut slab = self.open[class];
        if slab.is_null() {
            slab = self.new_slab(class);
            if slab.is_null() {
                return ptr::null_mut();
            }
        }
        // SAFETY: an open slab has a free block or fresh bytes for one.
        unsafe {
            let free = (*slab).free;
            let block = if free.is_null() {
                let fresh = (*slab).fresh;
                (*slab).fresh += class * STEP_BYTES;
                slab.cast::<u8>().add(fresh)
            } else {
                (*slab).free = (*free).0;
                free.cast()
            };
            (*slab).live += 1;
            if (*slab).free.is_null() && !has_fresh(slab) {
                self.unlink(slab);
            }
            block
        }
    }

    /// Takes a block back.
    ///
    /// # Safety
    /// `block` is a slab's, and still live.
    pub(super) unsafe fn dealloc(&mut self, block: NonNull<u8>) {
        let free: *mut Free = block.as_ptr().cast();
        // SAFETY: as the caller says; a slab's blocks are at least sixteen bytes long.
        unsafe {
            let slab = slab_of(block);
            let was_full = (*slab).free.is_null() && !has_fresh(slab);
            free.write(Free((*slab).free));
            (*slab).free = free;
            (*slab).live -= 1;
            if (*slab).live == 0 {
                if !was_full {
                    self.unlink(slab);
                }
                (*slab).next = self.empty;
                self.empty = slab;
            } else if was_full {
                self.link(slab);
            }
        }
    }

    /// An open slab for blocks of `class`; null when there is no memory for one.
    fn new_slab(&mut self, class: usize) -> *mut Slab {
        if self.empty.is_null() {
            self.map_slabs();
        }
        let slab = self.empty;
        if !slab.is_null() {
            // SAFETY: an empty slab is of these, and nobody has a block of it.
            unsafe {
                self.empty = (*slab).next;
                slab.write(Slab {
                    next: ptr::null_mut(),
                    previous: ptr::null_mut(),
                    free: ptr::null_mut(),
                    class,
                    live: 0,
                    fresh: SLAB_HEAD_BYTES,
                });
                self.link(slab);
            }
        }
        slab
    }

    fn map_slabs(&mut self) {
        let pages = match self.mapped {
            ..MAPPED_PAGE_BY_PAGE => Pages::WhenTouched,
            _ => Pages::AtOnce,
        };
        let Some(start) = map(SLABS_AT_ONCE * SLAB_BYTES, pages) else {
            return;
        };
        self.mapped = self.mapped.saturating_add(1);
        // A mapping begins at a page. Mostly it follows the one before it, which ended at a slab's end.
        let skipped = start.align_offset(SLAB_BYTES);
        let count = (SLABS_AT_ONCE * SLAB_BYTES - skipped) / SLAB_BYTES;
        for number in (0..count).rev() {
            // SAFETY: so many slabs lie within the mapping.
            unsafe {
                let slab: *mut Slab = start.add(skipped + number * SLAB_BYTES).cast();
                (*slab).next = self.empty;
                self.empty = slab;
            }
        }
    }

    /// # Safety
    /// `slab` is this heap's, has a block left, and is in no list.
    unsafe fn link(&mut self, slab: *mut Slab) {
        // SAFETY: as the caller says; what is in the list is a slab of this heap.
        unsafe {
            let class = (*slab).class;
            (*slab).previous = ptr::null_mut();
            (*slab).next = self.open[class];
            if !self.open[class].is_null() {
                (*self.open[class]).previous = slab;
            }
            self.open[class] = slab;
        }
    }

    /// # Safety
    /// `slab` is in the list of the open ones of its class.
    unsafe fn unlink(&mut self, slab: *mut Slab) {
        // SAFETY: as the caller says; its neighbours are slabs of this heap.
        unsafe {
            let (next, previous) = ((*slab).next, (*slab).previous);
            if !next.is_null() {
                (*next).previous = previous;
            }
            if previous.is_null() {
                self.open[(*slab).class] = next;
            } else {
                (*previous).next = next;
            }
        }
    }
}

/// Blocks of slabs begin at a multiple of sixteen, others between two.
#[inline]
pub(super) fn is_of_slab(block: NonNull<u8>) -> bool {
    block.addr().get().is_multiple_of(STEP_BYTES)
}

/// The slab of a block, which begins at a multiple of its length.
#[inline]
fn slab_of(block: NonNull<u8>) -> *mut Slab {
    block
        .as_ptr()
        .map_addr(|address| address & !(SLAB_BYTES - 1))
        .cast()
}

/// Bytes that `block` really has.
///
/// # Safety
/// `block` is a slab's, and still live.
#[inline]
pub(super) unsafe fn size_of_block(block: NonNull<u8>) -> usize {
    // SAFETY: as the caller says.
    unsafe { (*slab_of(block)).class * STEP_BYTES }
}

/// # Safety
/// `slab` is a slab.
unsafe fn has_fresh(slab: *mut Slab) -> bool {
    // SAFETY: as the caller says.
    unsafe { (*slab).fresh + (*slab).class * STEP_BYTES <= SLAB_BYTES }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_slab_serves_blocks_of_another_size() {
        let mut slabs = Slabs::new();
        let count = 20_000;
        let small: Vec<_> = (0..count).map(|_| slabs.alloc(40)).collect();
        for block in small {
            // SAFETY: each is live.
            unsafe { slabs.dealloc(NonNull::new(block).unwrap()) };
        }
        let mut mapped = 0;
        let mut slab = slabs.empty;
        while !slab.is_null() {
            mapped += 1;
            // SAFETY: an empty slab is one of these.
            slab = unsafe { (*slab).next };
        }
        assert!(mapped * SLAB_BYTES >= count * 40);
        let of_one_slab = (SLAB_BYTES - SLAB_HEAD_BYTES) / 1_008;
        for _ in 0..mapped * of_one_slab {
            assert!(!slabs.alloc(1_000).is_null());
        }
        assert!(slabs.empty.is_null(), "all of them are in use, and no more");
    }
}
