//! The stack of a job process.
//!
//! The zygote's own stack is left out of every fork. A child inherits neither its pages, which would have to be copied,
//! nor the remains of the zygote's work on it. Every child starts on an empty stack, at the same address.

use super::mappings;
use nix::errno::Errno;
use std::ffi::c_void;
use std::ops::Range;
use std::ptr;

/// Size of a job process's stack, bytes. The engine's own limit is far below.
pub(super) const STACK_BYTES: usize = 12 << 20;

/// An empty stack, of which every child gets a copy.
#[derive(Debug)]
pub(super) struct JobStack {
    end: *mut c_void,
}

impl JobStack {
    /// Maps a new stack. The kernel keeps a gap below it, as with every stack.
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
        // A huge page for a few kilobytes would be two megabytes to clear for every child. Where there are no huge
        // pages, nothing changes.
        // SAFETY: this value owns the mapping, which is that long.
        let _ = unsafe { libc::madvise(start, STACK_BYTES, libc::MADV_NOHUGEPAGE) };
        Ok(Self {
            end: start.wrapping_byte_add(STACK_BYTES),
        })
    }

    /// Returns the addresses of the stack.
    pub(super) fn range(&self) -> Range<usize> {
        let end = self.end.addr();
        end - STACK_BYTES..end
    }

    /// Returns the upper end, where the stack starts; aligned to a page.
    pub(super) fn end(&self) -> *mut c_void {
        self.end
    }
}

/// Returns the range of the stack that this function runs on, grown beyond what a zygote ever uses: for
/// [`Privilege::exclude_from_forks`](super::privilege::Privilege::exclude_from_forks).
///
/// The kernel puts the environment there as well. The variable that children may look up is moved to the heap.
pub(super) fn own() -> Option<Range<usize>> {
    move_time_zone_to_heap();
    let deepest = grow_stack();
    mappings::of_this_process()
        .into_iter()
        .map(|mapping| mapping.range)
        .find(|range| range.contains(&deepest))
}

#[inline(never)]
fn grow_stack() -> usize {
    const OF_A_ZYGOTE: usize = 256 << 10;
    let room = std::hint::black_box([0_u8; OF_A_ZYGOTE]);
    std::hint::black_box(&room).as_ptr().addr()
}

/// Moves the one variable that the C library reads later, and the list that contains it, to the heap.
fn move_time_zone_to_heap() {
    // SAFETY: there is one thread, and no code holds a variable of the environment.
    unsafe {
        libc::clearenv();
        libc::setenv(c"TZ".as_ptr(), c"UTC0".as_ptr(), 1);
    }
}
