//! The stack that job processes run on.
//!
//! Not the zygote's: that stays out of every fork, so that a child inherits nothing of it, neither pages to copy nor what
//! lies on it from the zygote's own work. Every child begins on an empty one, at the same address.

use super::mappings;
use nix::errno::Errno;
use std::ffi::c_void;
use std::ops::Range;
use std::ptr;

/// Room of a job process's stack. The engine's own bound lies far below.
pub(super) const STACK_BYTES: usize = 8 << 20;

/// An empty stack, of which every child gets a copy.
#[derive(Debug)]
pub(super) struct JobStack {
    end: *mut c_void,
}

impl JobStack {
    /// A new one. The kernel keeps a gap below it in which it puts nothing, as with every stack.
    pub(super) fn new() -> Result<Self, Errno> {
        let rights = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE
            | libc::MAP_ANONYMOUS
            | libc::MAP_NORESERVE
            | libc::MAP_STACK
            | libc::MAP_GROWSDOWN;
        // SAFETY: a new mapping, at an address of the kernel's choice.
        let start = unsafe { libc::mmap(ptr::null_mut(), STACK_BYTES, rights, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(Errno::last());
        }
        // A huge page for a few kilobytes would be two megabytes to clear for every child. Without such pages: no matter.
        // SAFETY: the mapping is ours, and as long as is said.
        let _ = unsafe { libc::madvise(start, STACK_BYTES, libc::MADV_NOHUGEPAGE) };
        Ok(Self {
            end: start.wrapping_byte_add(STACK_BYTES),
        })
    }

    /// Where it begins, from above; aligned to a page.
    pub(super) fn end(&self) -> *mut c_void {
        self.end
    }
}

/// Where the stack lies that this runs on, grown to more than a zygote ever uses: for
/// [`Privilege::keep_from_children`](super::privilege::Privilege::keep_from_children).
///
/// The environment lies there as well, as the kernel laid it out; what children may look up of it is kept elsewhere.
pub(super) fn own() -> Option<Range<usize>> {
    keep_time_zone();
    let deepest = grown();
    mappings::of_this_process()
        .into_iter()
        .map(|mapping| mapping.range)
        .find(|range| range.contains(&deepest))
}

#[inline(never)]
fn grown() -> usize {
    const OF_A_ZYGOTE: usize = 256 << 10;
    let room = std::hint::black_box([0_u8; OF_A_ZYGOTE]);
    std::hint::black_box(&room).as_ptr().addr()
}

/// The one variable that the C library asks for later, and the list it stands in, on the heap.
fn keep_time_zone() {
    // SAFETY: there is one thread, and nobody holds a variable of the environment.
    unsafe {
        libc::clearenv();
        libc::setenv(c"TZ".as_ptr(), c"UTC0".as_ptr(), 1);
    }
}
