//! Notes writes to a range of memory while a sample runs.
//!
//! The pages of the range are protected. A write to one faults: the handler notes the address, opens the page, and protects
//! the page that was open before. The next allocation protects it too. So a write is noted even if another one undoes it at
//! once, as with the reference count of a function that is called. Only of several writes in a row to one page may some be
//! missed. To step over each instruction would find these too; under a hypervisor a step takes some forty microseconds.
//!
//! For a process that is thrown away: a signal handler of the process is replaced, and a system call that writes to the
//! range fails.

use super::heap::STEP_BYTES;
use super::pages::PAGE_BYTES;
use std::ffi::{c_int, c_void};
use std::ops::Range;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

struct Watched {
    range: Range<usize>,
    /// By steps from the start of the range.
    written: Vec<bool>,
    /// The pages that may be written to; 0 stands for none.
    open: [usize; 2],
}

impl Watched {
    /// Lets `page` be written to, and no other page but its neighbour if that was open: one instruction may write to both.
    /// Returns false if the kernel refuses.
    fn open(&mut self, page: usize) -> bool {
        let [_, last] = self.open;
        let kept = if last.abs_diff(page) == PAGE_BYTES {
            last
        } else {
            0
        };
        let mut are_changed = true;
        for open in self.open {
            if open != 0 && open != kept {
                are_changed &= protect(open, PAGE_BYTES, libc::PROT_READ);
            }
        }
        self.open = [kept, page];
        if page != 0 {
            are_changed &= protect(page, PAGE_BYTES, libc::PROT_READ | libc::PROT_WRITE);
        }
        are_changed
    }
}

/// The memory that is watched; null before.
static WATCHED: AtomicPtr<Watched> = AtomicPtr::new(ptr::null_mut());

/// Watches `range`, whole pages, until [`end`].
///
/// # Safety
/// The process has one thread, and `range` is memory that it may write to.
pub(super) unsafe fn begin(range: Range<usize>) {
    let watched = Box::into_raw(Box::new(Watched {
        written: vec![false; range.len() / STEP_BYTES],
        range: range.clone(),
        open: [0; 2],
    }));
    WATCHED.store(watched, Ordering::Relaxed);
    // SAFETY: the structure consists of numbers and pointers, for which all zeroes are a valid value.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = (on_write as *const ()).addr();
    action.sa_flags = libc::SA_SIGINFO;
    // SAFETY: the handler is a function of the type that SA_SIGINFO asks for.
    unsafe { libc::sigaction(libc::SIGSEGV, &raw const action, ptr::null_mut()) };
    protect(range.start, range.len(), libc::PROT_READ);
}

/// Notes the next write to each page, if a range is watched.
pub(super) fn close_page() {
    // SAFETY: `begin` has made the value, `end` has not taken it, and the handler has no reference now.
    if let Some(watched) = unsafe { WATCHED.load(Ordering::Relaxed).as_mut() } {
        watched.open(0);
    }
}

/// Ends the watch. Returns the addresses that were written to, as far as the start of their step.
pub(super) fn end() -> Vec<usize> {
    let watched = WATCHED.swap(ptr::null_mut(), Ordering::Relaxed);
    if watched.is_null() {
        return Vec::new();
    }
    // SAFETY: `begin` has made the box, and the swap leaves it to this function.
    let watched = unsafe { Box::from_raw(watched) };
    let start = watched.range.start;
    protect(
        start,
        watched.range.len(),
        libc::PROT_READ | libc::PROT_WRITE,
    );
    let steps = watched.written.iter().enumerate();
    steps
        .filter(|(_, is_written)| **is_written)
        .map(|(step, _)| start + step * STEP_BYTES)
        .collect()
}

/// Changes the rights to whole pages. Returns false if the kernel refuses.
fn protect(start: usize, bytes: usize, rights: c_int) -> bool {
    let start = ptr::with_exposed_provenance_mut(start);
    // SAFETY: `begin` was promised memory of this process. Only its rights change, and its content stays.
    unsafe { libc::mprotect(start, bytes, rights) == 0 }
}

extern "C" fn on_write(_: c_int, info: *mut libc::siginfo_t, _: *mut c_void) {
    // SAFETY: the kernel passes the description of this signal, which has an address. `end` has not taken the value, and
    // nothing else has a reference: the code that is watched writes elsewhere while it has one.
    let (address, watched) = unsafe {
        let address = (*info).si_addr().addr();
        (address, WATCHED.load(Ordering::Relaxed).as_mut())
    };
    if let Some(watched) = watched
        && watched.range.contains(&address)
    {
        watched.written[(address - watched.range.start) / STEP_BYTES] = true;
        if watched.open(address - address % PAGE_BYTES) {
            return;
        }
    }
    // Another fault is none of this module's. It is repeated when this function returns, and ends the process.
    crate::sys::reset_signal(libc::SIGSEGV);
}

#[cfg(test)]
mod tests {
    use super::super::pages::{Pages, map};
    use super::*;
    use crate::sys::{Forked, exit_now, fork};
    use std::hint::black_box;

    #[test]
    fn a_write_that_is_undone_at_once_is_noted_and_a_read_is_not() {
        const RIGHT: i32 = 0;
        const WRONG: i32 = 1;
        let Forked::Parent(child) = fork().unwrap() else {
            let memory = map(4 * PAGE_BYTES, Pages::WhenTouched).unwrap();
            let counts: *mut u64 = memory.cast();
            // SAFETY: this process has one thread, and the mapping is its own.
            let noted = unsafe {
                begin(memory.addr()..memory.addr() + 3 * PAGE_BYTES);
                // The third page is no neighbour of the first.
                for step in [1, 600, 5, 600] {
                    let count = counts.add(2 * step);
                    count.write_volatile(count.read_volatile() + 1);
                    count.write_volatile(count.read_volatile() - 1);
                }
                close_page();
                counts.add(2 * 601).write_volatile(0);
                // Across the border of two pages.
                let border = memory.add(PAGE_BYTES - 4).cast::<u64>();
                border.write_unaligned(black_box(7));
                black_box(counts.add(2 * 9).read_volatile());
                counts.add(2 * 800).write_volatile(1);
                end()
            };
            let expected = [1, 5, 255, 256, 600, 601].map(|step| memory.addr() + step * STEP_BYTES);
            exit_now(if noted == expected { RIGHT } else { WRONG })
        };
        let ended = nix::sys::wait::waitpid(child, None).unwrap();
        assert_eq!(ended, nix::sys::wait::WaitStatus::Exited(child, RIGHT));
    }
}
