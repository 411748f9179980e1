//! Pages of memory from the kernel. This module uses no other module of the allocator.

use std::ptr;

pub(super) const PAGE_BYTES: usize = 4096;

/// The time at which the kernel allocates the pages of a mapping.
#[derive(Debug, Clone, Copy)]
pub(super) enum Pages {
    /// Each page at its first access.
    WhenTouched,
    /// All pages in one call.
    AtOnce,
}

/// Maps `bytes` of zeroed memory. Returns `None` if there is no memory.
pub(super) fn map(bytes: usize, pages: Pages) -> Option<*mut u8> {
    let rights = libc::PROT_READ | libc::PROT_WRITE;
    let private = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    let flags = match pages {
        Pages::WhenTouched => private,
        Pages::AtOnce => private | libc::MAP_POPULATE,
    };
    // SAFETY: a new mapping, at an address of the kernel's choice.
    let start = unsafe { libc::mmap(ptr::null_mut(), bytes, rights, flags, -1, 0) };
    (start != libc::MAP_FAILED).then(|| start.cast())
}
