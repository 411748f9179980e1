//! Native code that a hostile text may drive out of the stack or into a panic, and the answer in place of a crash.
//!
//! A recursive parser of another crate has no bound on its recursion. It runs on the stack of its job process. Below that
//! stack nothing is mapped, so the recursion ends in a SIGSEGV. The zygote installs a handler for it, on an alternate
//! stack, before the filter forbids that: a job process makes no further system call. If a guarded call is under way and
//! the address lies in the gap below the stack, the handler calls the termination of that call, which sends the final
//! message and never returns. Every other SIGSEGV kills the process as if there were no handler.
//!
//! In scope: the handler, and which call is under way. Out of scope: the message (`engine/typescript`). Called by `zygote`
//! and by the engine.

use nix::errno::Errno;
use std::cell::UnsafeCell;
use std::ffi::{c_int, c_void};
use std::ops::Range;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

/// Size of the stack on which the handler runs, bytes. It encodes a short message there, after the kernel has saved the
/// registers.
const ALTERNATE_STACK_BYTES: usize = 64 << 10;
/// Addresses below a stack that count as running out of it, bytes. The kernel maps nothing closer to a stack. Code that
/// needs more than a page of stack touches each page, so that no access leaps over the gap.
const GAP_BYTES: usize = 1 << 20;

/// The reason why a guarded call cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    OutOfStack,
    Panicked,
}

/// Ends the execution, and so never returns.
type Termination<'a> = &'a dyn Fn(Trouble);

/// The termination of the call that is under way; null if there is none.
static TERMINATION: AtomicPtr<Termination<'static>> = AtomicPtr::new(ptr::null_mut());
/// The lowest address of a job process's stack; 0 in a process that has no handler.
static STACK_START: AtomicUsize = AtomicUsize::new(0);

/// Memory of the handler's stack. No page of it is touched before a fault.
#[repr(align(4096))]
struct AlternateStack(UnsafeCell<[u8; ALTERNATE_STACK_BYTES]>);

// SAFETY: only the kernel uses the memory, as the stack of a process with one thread.
unsafe impl Sync for AlternateStack {}

static ALTERNATE_STACK: AlternateStack =
    AlternateStack(UnsafeCell::new([0; ALTERNATE_STACK_BYTES]));

/// Installs the handler in this zygote, for job processes whose stack is `stack`.
pub(super) fn install(stack: &Range<usize>) -> Result<(), Errno> {
    let alternate = libc::stack_t {
        ss_sp: ALTERNATE_STACK.0.get().cast(),
        ss_flags: 0,
        ss_size: ALTERNATE_STACK_BYTES,
    };
    // SAFETY: the memory is a static, and nothing else uses it.
    Errno::result(unsafe { libc::sigaltstack(&raw const alternate, ptr::null_mut()) })?;
    // SAFETY: the structure consists of numbers and pointers, for which all zeroes are a valid value: no signal is
    // blocked.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = (on_fault as *const ()).addr();
    // The kernel restores the default action before it calls the handler. A fault that the handler does not end is
    // repeated when it returns, and a fault of the handler itself is final too.
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESETHAND;
    // SAFETY: the handler is a function of the type that SA_SIGINFO asks for.
    Errno::result(unsafe { libc::sigaction(libc::SIGSEGV, &raw const action, ptr::null_mut()) })?;
    STACK_START.store(stack.start, Ordering::Relaxed);
    Ok(())
}

/// Runs `call`. If it runs out of stack or panics, calls `termination` in its place, from wherever the call stands: an
/// allocation of the call may be half done. In a process without the handler, `call` runs unguarded.
pub(crate) fn run<T>(termination: Termination<'_>, call: impl FnOnce() -> T) -> T {
    if STACK_START.load(Ordering::Relaxed) == 0 {
        return call();
    }
    // Only pointers differ in their lifetime. `termination` outlives the call, after which the pointer to it is gone.
    TERMINATION.store(
        (&raw const termination)
            .cast_mut()
            .cast::<Termination<'static>>(),
        Ordering::Relaxed,
    );
    let done = call();
    TERMINATION.store(ptr::null_mut(), Ordering::Relaxed);
    done
}

/// Ends the guarded call that is under way. Returns if there is none.
pub(super) fn end(trouble: Trouble) {
    let termination = TERMINATION.swap(ptr::null_mut(), Ordering::Relaxed);
    // SAFETY: the pointer is null, or points to the termination of a `run` that has not returned.
    if let Some(termination) = unsafe { termination.as_ref() } {
        termination(trouble);
    }
}

extern "C" fn on_fault(_: c_int, info: *mut libc::siginfo_t, _: *mut c_void) {
    // SAFETY: the kernel passes the description of this signal. A SIGSEGV has an address.
    let address = unsafe { (*info).si_addr() }.addr();
    if gap(STACK_START.load(Ordering::Relaxed)).contains(&address) {
        end(Trouble::OutOfStack);
    }
}

/// Returns the addresses that count as running out of the stack that starts at `start`.
fn gap(start: usize) -> Range<usize> {
    start.saturating_sub(GAP_BYTES)..start
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gap_is_below_the_stack() {
        let gap = gap(64 << 20);
        assert!(gap.contains(&((64 << 20) - 1)));
        assert!(!gap.contains(&(64 << 20)));
        assert!(!gap.contains(&0));
    }

    #[test]
    fn a_process_without_the_handler_runs_a_call_as_it_is() {
        assert_eq!(run(&|_| unreachable!("no handler"), || 7), 7);
        end(Trouble::Panicked);
    }
}
