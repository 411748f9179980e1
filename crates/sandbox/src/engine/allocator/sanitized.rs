//! The heap of `make test-asan`. Every block is the C library's, so that AddressSanitizer knows its bounds, and a test
//! chooses which requests are refused. Compiled with `--cfg sandpiper_asan` only.

use super::{CATCHABLE_BYTES, MemoryAccount};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The requests of an execution that are refused, in addition to those beyond the limit. Numbered from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusals {
    None,
    /// One request.
    One(u64),
    /// A request and all that follow.
    AllFrom(u64),
    /// A request and all that follow, and the engine goes on. This is the control, which must lead to reports.
    Ignored(u64),
    /// One request, counting only those that may be refused to a script.
    OneLarge(u64),
    /// A request and all that follow, counting only those that may be refused to a script.
    AllLargeFrom(u64),
}

static FIRST: AtomicU64 = AtomicU64::new(0);
static IS_LASTING: AtomicBool = AtomicBool::new(false);
static ONLY_LARGE: AtomicBool = AtomicBool::new(false);
static IS_IGNORED: AtomicBool = AtomicBool::new(false);
static SEEN: AtomicU64 = AtomicU64::new(0);

/// Chooses the refusals for the execution that this process starts next.
pub fn refuse_by_choice(refusals: Refusals) {
    let (first, is_lasting, only_large) = match refusals {
        Refusals::None => (0, false, false),
        Refusals::One(number) => (number, false, false),
        Refusals::AllFrom(number) | Refusals::Ignored(number) => (number, true, false),
        Refusals::OneLarge(number) => (number, false, true),
        Refusals::AllLargeFrom(number) => (number, true, true),
    };
    IS_IGNORED.store(matches!(refusals, Refusals::Ignored(_)), Ordering::Relaxed);
    FIRST.store(first, Ordering::Relaxed);
    IS_LASTING.store(is_lasting, Ordering::Relaxed);
    ONLY_LARGE.store(only_large, Ordering::Relaxed);
}

/// Returns whether the execution got as far as the chosen request.
pub fn was_refused_by_choice() -> bool {
    let first = FIRST.load(Ordering::Relaxed);
    first > 0 && SEEN.load(Ordering::Relaxed) >= first
}

/// Returns whether the engine goes on after any refusal.
pub(super) fn is_ignored() -> bool {
    IS_IGNORED.load(Ordering::Relaxed)
}

pub(super) fn is_chosen(account: &MemoryAccount, bytes: usize) -> bool {
    let first = FIRST.load(Ordering::Relaxed);
    let counts = bytes >= CATCHABLE_BYTES || !ONLY_LARGE.load(Ordering::Relaxed);
    if first == 0 || !counts || account.output.get().is_none() {
        return false;
    }
    let number = SEEN.fetch_add(1, Ordering::Relaxed) + 1;
    number == first || (number > first && IS_LASTING.load(Ordering::Relaxed))
}

pub(super) struct Heap;

impl Heap {
    pub(super) fn of_this_process_or_boxed() -> NonNull<Self> {
        NonNull::dangling()
    }

    pub(super) fn alloc(&mut self, size: usize) -> *mut u8 {
        // SAFETY: malloc takes any size.
        unsafe { libc::malloc(size.max(1)).cast() }
    }

    pub(super) fn calloc(&mut self, size: usize) -> *mut u8 {
        // SAFETY: calloc takes any size.
        unsafe { libc::calloc(1, size.max(1)).cast() }
    }

    /// # Safety
    /// `block` came from this heap and is still live.
    pub(super) unsafe fn dealloc(&mut self, block: NonNull<u8>) {
        // SAFETY: guaranteed by the caller.
        unsafe { libc::free(block.as_ptr().cast()) };
    }

    /// # Safety
    /// `block` came from this heap and is still live.
    pub(super) unsafe fn realloc(&mut self, block: NonNull<u8>, size: usize) -> *mut u8 {
        // SAFETY: guaranteed by the caller.
        unsafe { libc::realloc(block.as_ptr().cast(), size).cast() }
    }
}

/// # Safety
/// `block` came from a [`Heap`] and is still live.
pub(super) unsafe fn usable_size(block: NonNull<u8>) -> usize {
    // SAFETY: guaranteed by the caller.
    unsafe { libc::malloc_usable_size(block.as_ptr().cast()) }
}

/// # Safety
/// As for [`usable_size`].
pub(super) unsafe fn held_bytes(block: NonNull<u8>) -> usize {
    // SAFETY: guaranteed by the caller.
    unsafe { usable_size(block) }
}
