//! A `mremap` that can replace the code that calls it.
//!
//! The kernel unmaps the target of a fixed `mremap` before it moves anything there. If the move then fails, the code of
//! this process is gone, and no error can be returned. Instructions on a page of their own therefore make the call.
//! After a failure they write a message to standard error and end the process.

use std::arch::global_asm;
use std::ffi::c_void;
use std::ptr;

/// The message of a process that has lost its code.
macro_rules! lost_code {
    () => {
        "sandpiper: mremap failed while code was moved to huge pages; this process has lost its code and ends"
    };
}
const EXIT_CODE_LOST: i32 = 79;

const PAGE_BYTES: usize = 4096;

// An `extern "C" fn(copy, bytes, place)` that can run at any address. It calls nothing and reads no memory but its
// message.
global_asm!(
    ".pushsection .text.sandpiper_code_mover, \"ax\", @progbits",
    ".globl sandpiper_code_mover_start",
    ".hidden sandpiper_code_mover_start",
    "sandpiper_code_mover_start:",
    "mov r8, rdx",
    "mov rdx, rsi",
    "mov r10d, {flags}",
    "mov eax, {mremap}",
    "syscall",
    "cmp rax, r8",
    "jne 2f",
    "ret",
    "2:",
    "mov eax, {write}",
    "mov edi, {standard_error}",
    "lea rsi, [rip + 3f]",
    "mov edx, {message_bytes}",
    "syscall",
    "mov eax, {exit_group}",
    "mov edi, {code_lost}",
    "syscall",
    "ud2",
    "3:",
    concat!(".ascii \"", lost_code!(), "\\n\""),
    ".globl sandpiper_code_mover_end",
    ".hidden sandpiper_code_mover_end",
    "sandpiper_code_mover_end:",
    ".popsection",
    flags = const libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED,
    mremap = const libc::SYS_mremap,
    write = const libc::SYS_write,
    standard_error = const libc::STDERR_FILENO,
    message_bytes = const lost_code!().len() + 1,
    exit_group = const libc::SYS_exit_group,
    code_lost = const EXIT_CODE_LOST,
);

unsafe extern "C" {
    static sandpiper_code_mover_start: u8;
    static sandpiper_code_mover_end: u8;
}

/// The instructions, on a page of their own.
#[derive(Debug)]
pub(super) struct CodeMover {
    page: *mut c_void,
}

impl CodeMover {
    /// Copies the instructions to a new page. Returns `None` if the kernel grants no such page.
    pub(super) fn new() -> Option<Self> {
        let start = &raw const sandpiper_code_mover_start;
        let bytes = (&raw const sandpiper_code_mover_end).addr() - start.addr();
        if bytes > PAGE_BYTES {
            return None;
        }
        let writable = libc::PROT_READ | libc::PROT_WRITE;
        let private = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new mapping, at an address of the kernel's choice.
        let page = unsafe { libc::mmap(ptr::null_mut(), PAGE_BYTES, writable, private, -1, 0) };
        if page == libc::MAP_FAILED {
            return None;
        }
        let mover = Self { page };
        // SAFETY: the instructions lie between the two symbols, and the page has room for them. This value owns the
        // page.
        let protected = unsafe {
            ptr::copy_nonoverlapping(start, page.cast(), bytes);
            libc::mprotect(page, PAGE_BYTES, libc::PROT_READ | libc::PROT_EXEC)
        };
        (protected == 0).then_some(mover)
    }

    /// Moves the mapping of `bytes` bytes at `copy` to `place`. Ends this process if the kernel fails to move it.
    ///
    /// # Safety
    /// The caller owns the mapping at `copy`. That mapping holds a copy of the `bytes` bytes at `place`.
    pub(super) unsafe fn move_into_place(
        &self,
        copy: *mut c_void,
        bytes: usize,
        place: *mut c_void,
    ) {
        // SAFETY: the page holds a function of this type, which is position-independent and calls nothing. The caller
        // guarantees that the same bytes come to lie at `place`.
        unsafe {
            let run: unsafe extern "C" fn(*mut c_void, usize, *mut c_void) =
                std::mem::transmute(self.page);
            run(copy, bytes, place);
        }
    }
}

impl Drop for CodeMover {
    fn drop(&mut self) {
        // SAFETY: this value owns the page, and no thread runs on it now.
        unsafe {
            libc::munmap(self.page, PAGE_BYTES);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::{Forked, exit_now, fork};
    use std::fs::File;
    use std::io::Read as _;
    use std::os::fd::AsRawFd as _;

    #[test]
    fn code_that_cannot_be_put_back_ends_its_process_with_a_message() {
        let (here, there) = nix::unistd::pipe().unwrap();
        let Forked::Parent(child) = fork().unwrap() else {
            let mover = CodeMover::new().unwrap();
            // SAFETY: the process ends with the next call, so nobody misses its standard error. No mapping can have
            // this address, so the kernel refuses and moves nothing.
            unsafe {
                libc::dup2(there.as_raw_fd(), libc::STDERR_FILENO);
                mover.move_into_place(
                    ptr::without_provenance_mut(4096),
                    4096,
                    ptr::without_provenance_mut(1),
                );
            }
            exit_now(0)
        };
        drop(there);
        let mut said = String::new();
        File::from(here).read_to_string(&mut said).unwrap();
        assert_eq!(said, concat!(lost_code!(), "\n"));
        let ended = nix::sys::wait::waitpid(child, None).unwrap();
        assert_eq!(
            ended,
            nix::sys::wait::WaitStatus::Exited(child, EXIT_CODE_LOST)
        );
    }

    #[test]
    fn a_mapping_is_moved() {
        let mover = CodeMover::new().unwrap();
        let rights = libc::PROT_READ | libc::PROT_WRITE;
        let private = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: two new mappings, used by this test alone.
        unsafe {
            let [from, to] =
                [(); 2].map(|()| libc::mmap(ptr::null_mut(), PAGE_BYTES, rights, private, -1, 0));
            from.cast::<u8>().write(7);
            mover.move_into_place(from, PAGE_BYTES, to);
            assert_eq!(to.cast::<u8>().read(), 7);
            libc::munmap(to, PAGE_BYTES);
        }
    }
}
