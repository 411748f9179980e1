//! Memory from the kernel, by pages. Knows nobody.

use std::ptr;

/// Bytes of a page.
pub(super) const PAGE_BYTES: usize = 4096;

/// When the kernel is to find the pages of a mapping.
#[derive(Debug, Clone, Copy)]
pub(super) enum Pages {
    /// Each when it is touched first.
    WhenTouched,
    /// All of them in one call.
    AtOnce,
}

/// As many bytes, all zeroes; `None` when there is no memory.
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
