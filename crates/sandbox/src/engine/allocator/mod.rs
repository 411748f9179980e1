//! The heap of one JavaScript runtime: an allocator ([`heap`]) behind a counter and a limit.
//!
//! A refusal is final. In too many places QuickJS goes on after a refusal as if nothing had happened, and corrupts its
//! heap. The account therefore ends the execution from inside the allocator: [`Output::finish`] never returns. The
//! exception is one fresh block of [`CATCHABLE_BYTES`] or more: the engine gets the refusal and throws an error that a
//! script can catch. The second such refusal of an execution is final too. So is each refused growth of a block of any
//! size: the buffers of QuickJS's compiler grow, and it does not check the result.
//!
//! The account also ends an execution for the host: [`MemoryAccount::charge`] for memory that timers and counters hold
//! outside the engine's heap, [`MemoryAccount::end`] for a block that was refused to Rust itself (`process`).
#![allow(unsafe_code)] // the allocator interface deals in raw pointers; nothing else in this module does

mod heap;
mod pages;
pub(crate) mod placement;
pub(crate) mod process;
#[cfg(sandpiper_asan)]
pub(crate) mod sanitized;
mod slabs;
mod watch;

#[cfg(not(sandpiper_asan))]
use heap as blocks;
#[cfg(sandpiper_asan)]
use sanitized as blocks;

use super::{Completion, Output, stack_bound};
use blocks::Heap;
use rquickjs::allocator::Allocator;
use sandpiper_domain::{Limit, Outcome, ScriptError};
use std::cell::{Cell, OnceCell};
use std::ptr::{self, NonNull};
use std::rc::Rc;

/// The smallest fresh block whose refusal reaches the script, bytes. The engine requests so much at once only for a
/// string, a buffer or an array of the script.
const CATCHABLE_BYTES: usize = if cfg!(sandpiper_asan) {
    64 << 10
} else {
    1 << 20
};
/// The message of an execution that ran out of memory.
pub(super) const MEMORY_MESSAGE: &str = "the script needed more memory than its limit allows";

/// The engine's message of an overflow of the stack.
const STACK_MESSAGE: &str = "Maximum call stack size exceeded";

/// The limits of a script with tools, which it cannot catch.
#[derive(Debug, Clone, Copy)]
struct Guard {
    /// Bytes.
    limit: usize,
    /// The lowest address of the stack at which the engine may still go on.
    stack_floor: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Request {
    /// A new block.
    Block,
    /// More room for an existing block.
    Growth,
}

/// Bytes held, their peak, and the limit. The allocator and the host share it; one thread.
pub(super) struct MemoryAccount {
    current: Cell<usize>,
    peak: Cell<usize>,
    limit: Cell<usize>,
    refused: Cell<bool>,
    /// In a script with tools: no refusal may reach the script, and neither may an overflow of the stack. `limit` is 0
    /// then, so that each request is looked at.
    guard: Cell<Option<Guard>>,
    has_ended: Cell<bool>,
    /// Receives the final message. Absent until the execution starts.
    output: OnceCell<Rc<dyn Output>>,
}

impl MemoryAccount {
    pub(super) fn without_limit() -> Self {
        Self {
            current: Cell::new(0),
            peak: Cell::new(0),
            limit: Cell::new(usize::MAX),
            refused: Cell::new(false),
            guard: Cell::new(None),
            has_ended: Cell::new(false),
            output: OnceCell::new(),
        }
    }

    /// Starts the account of one execution. Memory that is held already counts, and the peak starts from it. `output`
    /// gets the final message if memory runs out.
    pub(super) fn start(&self, limit: usize, output: Rc<dyn Output>) {
        self.limit.set(limit);
        self.peak.set(self.current.get());
        // A second start cannot happen: an engine runs one execution.
        let _ = self.output.set(output);
    }

    pub(super) fn limit(&self) -> usize {
        self.guard
            .get()
            .map_or(self.limit.get(), |guard| guard.limit)
    }

    pub(super) fn set_limit(&self, limit: usize) {
        match self.guard.get() {
            Some(guard) => self.guard.set(Some(Guard { limit, ..guard })),
            None => self.limit.set(limit),
        }
    }

    /// Makes every refusal final, and every request from below `stack_floor`: the engine makes one for the error of an
    /// overflow.
    pub(super) fn guard(&self, stack_floor: usize) {
        let limit = self.limit.replace(0);
        self.guard.set(Some(Guard { limit, stack_floor }));
    }

    pub(super) fn current(&self) -> usize {
        self.current.get()
    }

    pub(super) fn peak(&self) -> usize {
        self.peak.get()
    }

    /// Returns whether the engine was refused a large block and went on.
    pub(super) fn was_refused(&self) -> bool {
        self.refused.get()
    }

    /// Ends the execution as one that ran out of memory. Returns if no execution has started, and if the final message
    /// itself gets no memory.
    ///
    /// May be called from anywhere, also from inside an allocation: the message uses a reserve of the heap.
    #[cold]
    pub(super) fn end(&self) {
        let error = ScriptError::of_service("MemoryLimitError", MEMORY_MESSAGE);
        self.end_as(Outcome::MemoryExceeded, error);
    }

    #[cold]
    fn end_as(&self, outcome: Outcome, error: ScriptError) {
        let Some(output) = self.output.get() else {
            return;
        };
        if self.has_ended.replace(true) {
            return;
        }
        process::open_reserve();
        output.finish(&Completion {
            outcome,
            result: None,
            result_type: None,
            error: Some(error),
            hint: None,
            peak_memory_bytes: u64::try_from(self.peak.get()).unwrap_or(u64::MAX),
        })
    }

    /// Returns if the refusal may reach the engine. Ends the execution otherwise.
    #[cold]
    fn refuse(&self, bytes: usize, request: Request) {
        let is_catchable =
            request == Request::Block && bytes >= CATCHABLE_BYTES && self.guard.get().is_none();
        if (is_catchable && !self.refused.replace(true)) || blocks::is_ignored() {
            return;
        }
        self.end();
    }

    /// Runs an attempt of the host. A large block that is refused to the attempt does not count as refused to the
    /// script.
    pub(super) fn attempt<T>(&self, attempt: impl FnOnce() -> T) -> T {
        let refused_before = self.refused.replace(false);
        let guard = self.guard.take();
        if let Some(guard) = guard {
            self.limit.set(guard.limit);
        }
        let done = attempt();
        self.refused.set(refused_before);
        if let Some(guard) = guard {
            self.guard(guard.stack_floor);
        }
        done
    }

    /// Charges `bytes` that the host holds for the script outside the engine's heap. Ends the execution if that exceeds
    /// the limit.
    pub(super) fn charge(&self, bytes: usize) {
        if !self.has_room_for(bytes) {
            self.end();
        }
        self.add(bytes);
    }

    /// Releases bytes that [`MemoryAccount::charge`] charged.
    pub(super) fn discharge(&self, bytes: usize) {
        self.current.set(self.current.get().saturating_sub(bytes));
    }

    #[inline]
    pub(super) fn has_room_for(&self, bytes: usize) -> bool {
        self.current
            .get()
            .checked_add(bytes)
            .is_some_and(|total| total <= self.limit.get())
            || self.has_room_under_guard(bytes)
    }

    #[cold]
    fn has_room_under_guard(&self, bytes: usize) -> bool {
        let Some(guard) = self.guard.get() else {
            return false;
        };
        if stack_bound::position() < guard.stack_floor {
            let error = ScriptError::of_service("RangeError", STACK_MESSAGE)
                .with_hint(Limit::StackBytes.hint());
            self.end_as(Outcome::StackExceeded, error);
        }
        let total = self.current.get().checked_add(bytes);
        total.is_some_and(|total| total <= guard.limit)
    }

    fn add(&self, bytes: usize) {
        let current = self.current.get() + bytes;
        self.current.set(current);
        if current > self.peak.get() {
            self.peak.set(current);
        }
    }
}

/// The heap with its account. It counts the sizes that were really handed out, so freeing needs no bookkeeping.
pub(super) struct CountingAllocator {
    account: Rc<MemoryAccount>,
    heap: NonNull<Heap>,
}

impl CountingAllocator {
    /// Uses the heap of this process. If there is none, uses a new heap that is never freed, as engines never are.
    pub(super) fn new(account: Rc<MemoryAccount>) -> Self {
        let heap = Heap::of_this_process_or_boxed();
        Self { account, heap }
    }

    #[inline]
    fn heap(&mut self) -> &mut Heap {
        // SAFETY: an engine and its heap have one thread, and no call into the heap is under way: none of them calls
        // back.
        unsafe { self.heap.as_mut() }
    }

    #[inline]
    fn counted(&self, pointer: *mut u8, size: usize, request: Request) -> *mut u8 {
        let Some(block) = NonNull::new(pointer) else {
            return self.refuse(size, request);
        };
        // SAFETY: the heap has just handed out the block.
        self.account.add(unsafe { blocks::held_bytes(block) });
        pointer
    }

    #[cold]
    fn refuse(&self, size: usize, request: Request) -> *mut u8 {
        self.account.refuse(size, request);
        ptr::null_mut()
    }
}

// SAFETY: every pointer is a block of the heap. It is aligned to eight bytes, as the engine's own small blocks are, and
// has at least the requested size. The usable size is the heap's for the same pointer.
unsafe impl Allocator for CountingAllocator {
    fn alloc(&mut self, size: usize) -> *mut u8 {
        if !self.account.has_room_for(size) || blocks::is_chosen(&self.account, size) {
            return self.refuse(size, Request::Block);
        }
        let block = self.heap().alloc(size);
        self.counted(block, size, Request::Block)
    }

    fn calloc(&mut self, count: usize, size: usize) -> *mut u8 {
        let bytes = count.saturating_mul(size);
        if !self.account.has_room_for(bytes) || blocks::is_chosen(&self.account, bytes) {
            return self.refuse(bytes, Request::Block);
        }
        let block = self.heap().calloc(bytes);
        self.counted(block, bytes, Request::Block)
    }

    unsafe fn dealloc(&mut self, pointer: *mut u8) {
        let Some(block) = NonNull::new(pointer) else {
            return;
        };
        // SAFETY: the caller guarantees that this allocator handed out `pointer`, and that it is still live.
        unsafe {
            self.account.discharge(blocks::held_bytes(block));
            self.heap().dealloc(block);
        }
    }

    unsafe fn realloc(&mut self, pointer: *mut u8, new_size: usize) -> *mut u8 {
        let Some(block) = NonNull::new(pointer) else {
            return self.alloc(new_size);
        };
        if new_size == 0 {
            // SAFETY: guaranteed by the caller of this function.
            unsafe { self.dealloc(pointer) };
            return ptr::null_mut();
        }
        // SAFETY: the caller guarantees that this allocator handed out `pointer`, and that it is still live.
        let held = unsafe { blocks::held_bytes(block) };
        let grows = new_size > held;
        if grows
            && (!self.account.has_room_for(new_size - held)
                || blocks::is_chosen(&self.account, new_size))
        {
            return self.refuse(new_size, Request::Growth);
        }
        // SAFETY: as above. If the heap returns null, the old block stays live, and stays counted.
        let moved = unsafe { self.heap().realloc(block, new_size) };
        if !moved.is_null() {
            self.account.discharge(held);
        }
        self.counted(moved, new_size, Request::Growth)
    }

    unsafe fn usable_size(pointer: *mut u8) -> usize {
        // SAFETY: the caller guarantees that this allocator handed out `pointer`, and that it is still live.
        NonNull::new(pointer).map_or(0, |block| unsafe { blocks::usable_size(block) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sandpiper_domain::LogKind;
    use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

    /// Ends an execution by unwinding, with the outcome.
    struct Unwinding;

    impl Output for Unwinding {
        fn log(&self, _: LogKind, _: u32, _: u64, _: &str) {}

        fn log_dropped(&self) {}

        fn finish(&self, completion: &Completion) -> ! {
            resume_unwind(Box::new(completion.outcome))
        }
    }

    const LIMIT: usize = 4 << 20;

    fn started() -> (Rc<MemoryAccount>, CountingAllocator) {
        let account = Rc::new(MemoryAccount::without_limit());
        account.start(LIMIT, Rc::new(Unwinding));
        let allocator = CountingAllocator::new(Rc::clone(&account));
        (account, allocator)
    }

    /// Returns whether `act` ends the execution as one that ran out of memory.
    fn ends<T>(act: impl FnOnce() -> T) -> bool {
        match catch_unwind(AssertUnwindSafe(act)) {
            Ok(_) => false,
            Err(outcome) => *outcome.downcast::<Outcome>().unwrap() == Outcome::MemoryExceeded,
        }
    }

    #[test]
    fn a_small_refusal_ends_the_execution_on_the_spot() {
        let (account, mut allocator) = started();
        let small = allocator.alloc(100);
        assert!(!small.is_null());
        let most = CATCHABLE_BYTES - 1;
        assert!(ends(|| while !allocator.alloc(most).is_null() {}));
        assert!(account.current() <= LIMIT && account.peak() <= LIMIT);
        assert!(!account.was_refused());
    }

    #[test]
    fn one_large_block_may_be_refused_and_the_second_is_final() {
        let (account, mut allocator) = started();
        assert!(allocator.alloc(2 * LIMIT).is_null() && account.was_refused());
        assert!(!allocator.alloc(100).is_null());
        assert!(ends(|| allocator.calloc(2 * LIMIT, 1)));
        let (_, mut allocator) = started();
        assert!(allocator.calloc(usize::MAX, 2).is_null());
        assert!(ends(|| allocator.alloc(usize::MAX)));
    }

    #[test]
    fn growth_that_is_refused_is_final_however_long_the_block() {
        let (_, mut allocator) = started();
        let block = allocator.alloc(LIMIT / 2);
        // SAFETY: `block` came from this allocator.
        assert!(ends(|| unsafe { allocator.realloc(block, LIMIT + 1) }));
    }

    #[test]
    fn what_the_kernel_refuses_is_refused() {
        let account = Rc::new(MemoryAccount::without_limit());
        account.start(usize::MAX, Rc::new(Unwinding));
        let mut allocator = CountingAllocator::new(Rc::clone(&account));
        const MORE_THAN_THERE_IS: usize = 1 << 60;
        assert!(allocator.alloc(MORE_THAN_THERE_IS).is_null() && account.was_refused());
        assert!(ends(|| allocator.alloc(MORE_THAN_THERE_IS)));
    }

    #[test]
    fn an_attempt_of_the_hosts_is_not_held_against_the_script() {
        let (account, mut allocator) = started();
        assert!(account.attempt(|| allocator.alloc(2 * LIMIT)).is_null());
        assert!(!account.was_refused());
        assert!(allocator.alloc(2 * LIMIT).is_null() && account.was_refused());
        assert!(account.attempt(|| allocator.alloc(2 * LIMIT)).is_null());
        assert!(account.was_refused());
    }

    #[test]
    fn a_charge_beyond_the_limit_is_final() {
        let (account, _) = started();
        account.charge(LIMIT);
        account.discharge(LIMIT);
        assert!(ends(|| account.charge(LIMIT + 1)));
    }

    #[test]
    fn before_an_execution_starts_nothing_ends() {
        let account = Rc::new(MemoryAccount::without_limit());
        let mut allocator = CountingAllocator::new(Rc::clone(&account));
        assert!(allocator.alloc(usize::MAX).is_null());
        assert!(allocator.alloc(usize::MAX).is_null());
    }

    #[test]
    fn a_grown_block_is_counted_once() {
        let account = Rc::new(MemoryAccount::without_limit());
        let mut allocator = CountingAllocator::new(Rc::clone(&account));
        let block = allocator.alloc(64);
        // SAFETY: `block` came from this allocator.
        let grown = unsafe { allocator.realloc(block, 4096) };
        assert!(account.current() >= 4096 && account.current() < 5000);
        // SAFETY: `grown` came from this allocator.
        unsafe { allocator.dealloc(grown) };
        assert_eq!(account.current(), 0);
    }
}
