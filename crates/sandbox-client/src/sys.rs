//! Raw system calls of the service that no crate wraps.
#![allow(unsafe_code)] // raw system calls

use nix::errno::Errno;
use nix::unistd::Pid;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

/// Returns the number of bytes in the pipe of `descriptor` that were not read yet.
pub(crate) fn unread_bytes(descriptor: BorrowedFd<'_>) -> Result<usize, Errno> {
    let mut count: libc::c_int = 0;
    // SAFETY: FIONREAD writes one int, to a local that lives for the call.
    let asked = unsafe { libc::ioctl(descriptor.as_raw_fd(), libc::FIONREAD, &raw mut count) };
    Errno::result(asked)?;
    Ok(usize::try_from(count).unwrap_or_default())
}

/// Returns the processor time that process `pid` has used so far, from the kernel; `None` once it is reaped.
pub(crate) fn cpu_time_of(pid: Pid) -> Option<Duration> {
    const PROCESS_SCHEDULED_TIME: i32 = 2;
    // The kernel's encoding of "the processor clock of process pid": (!pid << 3) | kind. The C library's function that
    // computes it makes a system call to check it.
    let clock = (!pid.as_raw() << 3) | PROCESS_SCHEDULED_TIME;
    let mut spent = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `spent` is a local that lives for the call. An unknown clock is an error and not undefined behaviour.
    let read = unsafe { libc::clock_gettime(clock, &raw mut spent) };
    if read != 0 {
        return None;
    }
    let seconds = u64::try_from(spent.tv_sec).ok()?;
    let nanos = u32::try_from(spent.tv_nsec).ok()?;
    Some(Duration::new(seconds, nanos))
}

/// Gives each block of a megabyte or more a mapping of its own, which returns to the system when the block is freed. By
/// default the C library raises this threshold to the largest block it has seen, and then retains the memory of large
/// responses.
pub fn map_large_blocks_separately() {
    #[cfg(target_env = "gnu")]
    // SAFETY: a parameter of the allocator, set before there is a second thread.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 1 << 20);
    }
}
