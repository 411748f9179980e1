//! Pages for the arenas that every execution inherits.
//!
//! The engine cuts its small objects from arenas of nearly a page each, one for every size, and an execution writes to
//! most of them. After a fork each page written to is copied. Where libc puts them, an arena lies across two pages; here
//! it has one of its own. Open while the engine is built; what comes later is new to the execution anyway.

use std::cell::UnsafeCell;
use std::ops::RangeInclusive;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, Ordering};

const PAGE_BYTES: usize = 4096;
/// A warm engine has some fifty arenas. What finds no page is libc's.
const PAGES: usize = 128;
/// A page, less what is left over when it is cut into blocks of one size.
const ARENA_BYTES: RangeInclusive<usize> = 3584..=PAGE_BYTES;

#[repr(C, align(4096))]
struct Room(UnsafeCell<[[u8; PAGE_BYTES]; PAGES]>);

// SAFETY: only the one owner of `ArenaPages` hands out its pages, each to one holder at a time.
unsafe impl Sync for Room {}

static ROOM: Room = Room(UnsafeCell::new([[0; PAGE_BYTES]; PAGES]));
static IS_TAKEN: AtomicBool = AtomicBool::new(false);

/// The pages that are free. One for each process.
pub(super) struct ArenaPages {
    free: Vec<NonNull<u8>>,
}

impl ArenaPages {
    /// All pages of this process, or none if they are taken.
    pub(super) fn take() -> Self {
        let count = if IS_TAKEN.swap(true, Ordering::Relaxed) {
            0
        } else {
            PAGES
        };
        let first = ROOM.0.get().cast::<[u8; PAGE_BYTES]>();
        let pages = (0..count)
            .rev()
            .filter_map(|page| NonNull::new(first.wrapping_add(page)));
        Self {
            free: pages.map(NonNull::cast).collect(),
        }
    }

    /// A page for `size` bytes, if that is an arena's size and there is one.
    pub(super) fn page_for(&mut self, size: usize) -> Option<NonNull<u8>> {
        ARENA_BYTES.contains(&size).then(|| self.free.pop())?
    }

    /// Takes a page back.
    pub(super) fn give_back(&mut self, page: NonNull<u8>) {
        self.free.push(page);
    }

    /// Nothing is handed out any more.
    pub(super) fn close(&mut self) {
        self.free = Vec::new();
    }
}

/// How many bytes `block` has, if it is one of these pages.
pub(super) fn size_of_page(block: NonNull<u8>) -> Option<usize> {
    let offset = block.addr().get().wrapping_sub(ROOM.0.get().addr());
    (offset < PAGES * PAGE_BYTES).then_some(PAGE_BYTES)
}
