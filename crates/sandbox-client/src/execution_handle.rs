//! The handle of an execution, with which other threads cancel it and read its log while it runs.

use crate::retained_log::RetainedLog;
use nix::sys::eventfd::{EfdFlags, EventFd};
use parking_lot::{Mutex, MutexGuard};
use sandpiper_domain::LogSoFar;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// A handle to cancel one execution and to read its log. Cheap to create: it makes no system call before it cancels.
#[derive(Debug, Clone, Default)]
pub struct ExecutionHandle(Arc<State>);

#[derive(Debug, Default)]
struct State {
    cancelled: AtomicBool,
    waker: Mutex<Option<Arc<Waker>>>,
    log: Mutex<RetainedLog>,
    logged: Notify,
}

impl ExecutionHandle {
    /// Cancels the execution, whether it has started or not.
    pub fn cancel(&self) {
        self.0.cancelled.store(true, Ordering::SeqCst);
        let waker = self.0.waker.lock();
        if let Some(waker) = &*waker {
            waker.wake();
        }
    }

    pub fn is_cancelled(&self) -> bool {
        self.0.cancelled.load(Ordering::SeqCst)
    }

    /// Makes `cancel` wake `waker` from now on; `None` stops that.
    pub(crate) fn attach(&self, waker: Option<Arc<Waker>>) {
        *self.0.waker.lock() = waker;
    }

    /// Returns the retained log, from entry `number` on. It is empty before the execution has started and after it has
    /// ended.
    pub fn log_since(&self, number: u64) -> LogSoFar {
        self.0.log.lock().since(number)
    }

    /// Returns a future that completes when the execution logs again.
    pub fn logged(&self) -> Notified<'_> {
        self.0.logged.notified()
    }

    pub(crate) fn notify_of_log(&self) {
        self.0.logged.notify_waiters();
    }

    pub(crate) fn log(&self) -> MutexGuard<'_, RetainedLog> {
        self.0.log.lock()
    }
}

/// Wakes an executor that waits for its job process. Each executor has one for its whole life.
#[derive(Debug)]
pub(crate) struct Waker(EventFd);

impl Waker {
    pub(crate) fn new() -> nix::Result<Self> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        EventFd::from_value_and_flags(0, flags).map(Self)
    }

    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    fn wake(&self) {
        // A write fails only when the counter is full, and then the executor is awake.
        let _ = self.0.write(1);
    }

    /// Clears all wake-ups so far: this execution's, or one that came too late for the previous execution.
    pub(crate) fn clear(&self) {
        let _ = self.0.read();
    }
}
