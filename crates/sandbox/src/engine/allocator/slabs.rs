//! Slabs: sixteen kilobytes of blocks of one size each. An empty slab can serve any size.
//!
//! A slab records the size of its blocks once for all of them, so they have no headers and begin at multiples of
//! sixteen.

use super::heap::{Free, STEP_BYTES};
use super::pages::{Pages, map};
use std::ptr::{self, NonNull};

/// The largest class in slabs.
const CLASS_MAX: usize = 64;
const SLAB_BYTES: usize = 16 << 10;
/// Slabs mapped by one call.
const SLABS_AT_ONCE: usize = 16;
/// Mappings that are paged in on demand. An execution that has used up so many will use all of the next one: a page
/// fault for each of its pages takes longer than one call for all of them.
const MAPPED_PAGE_BY_PAGE: u32 = 2;

/// The head of each slab.
#[repr(C)]
struct Slab {
    next: *mut Slab,
    previous: *mut Slab,
    free: *mut Free,
    class: usize,
    live: usize,
    /// Bytes from the slab's start to the first that was never part of a block.
    fresh: usize,
}

const SLAB_HEAD_BYTES: usize = size_of::<Slab>().next_multiple_of(STEP_BYTES);

pub(super) struct Slabs {
    /// Slabs with a free block, by class.
    open: [*mut Slab; CLASS_MAX + 1],
    /// Slabs without a live block.
    empty: *mut Slab,
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

    /// Returns a block of at least `size` bytes. Returns null if slabs have no block of this size, or there is no
    /// memory.
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

    /// Frees a block.
    ///
    /// # Safety
    /// `block` is in a slab of this heap and still live.
    pub(super) unsafe fn dealloc(&mut self, block: NonNull<u8>) {
        let free: *mut Free = block.as_ptr().cast();
        // SAFETY: guaranteed by the caller. A slab's blocks have at least sixteen bytes.
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

    /// Returns an open slab for blocks of `class`; null if there is no memory.
    fn new_slab(&mut self, class: usize) -> *mut Slab {
        if self.empty.is_null() {
            self.map_slabs();
        }
        let slab = self.empty;
        if !slab.is_null() {
            // SAFETY: an empty slab is one of this heap, and none of its blocks is live.
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
        // A mapping begins at a page. It mostly follows the previous mapping, which ended at the end of a slab.
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

    /// Adds a slab to the list of open slabs of its class.
    ///
    /// # Safety
    /// `slab` is this heap's, has a free block, and is in no list.
    unsafe fn link(&mut self, slab: *mut Slab) {
        // SAFETY: guaranteed by the caller. The list contains slabs of this heap.
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

    /// Removes a slab from the list of open slabs of its class.
    ///
    /// # Safety
    /// `slab` is in that list.
    unsafe fn unlink(&mut self, slab: *mut Slab) {
        // SAFETY: guaranteed by the caller. The neighbours are slabs of this heap.
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

/// Returns whether a block is in a slab: such blocks begin at a multiple of sixteen, others between two.
#[inline]
pub(super) fn is_of_slab(block: NonNull<u8>) -> bool {
    block.addr().get().is_multiple_of(STEP_BYTES)
}

/// Returns the slab of a block. A slab begins at a multiple of its length.
#[inline]
fn slab_of(block: NonNull<u8>) -> *mut Slab {
    block
        .as_ptr()
        .map_addr(|address| address & !(SLAB_BYTES - 1))
        .cast()
}

/// Returns the size of `block`, bytes.
///
/// # Safety
/// `block` is in a slab and still live.
#[inline]
pub(super) unsafe fn size_of_block(block: NonNull<u8>) -> usize {
    // SAFETY: guaranteed by the caller.
    unsafe { (*slab_of(block)).class * STEP_BYTES }
}

/// Returns whether part of the slab was never used for a block.
///
/// # Safety
/// `slab` is a slab.
unsafe fn has_fresh(slab: *mut Slab) -> bool {
    // SAFETY: guaranteed by the caller.
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
            // SAFETY: each block is live.
            unsafe { slabs.dealloc(NonNull::new(block).unwrap()) };
        }
        let mut mapped = 0;
        let mut slab = slabs.empty;
        while !slab.is_null() {
            mapped += 1;
            // SAFETY: an empty slab is a slab of this heap.
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
