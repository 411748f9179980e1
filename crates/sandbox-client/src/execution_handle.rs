//! What others hold of an execution: they stop it, and read its log while it runs.

use crate::kept_log::KeptLog;
use nix::sys::eventfd::{EfdFlags, EventFd};
use sandpiper_domain::LogSoFar;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// One execution's stop button and log. Cheap to make: no system call until it is pressed.
#[derive(Debug, Clone, Default)]
pub struct ExecutionHandle(Arc<State>);

#[derive(Debug, Default)]
struct State {
    cancelled: AtomicBool,
    waker: Mutex<Option<Arc<Waker>>>,
    log: Mutex<KeptLog>,
    logged: Notify,
}

impl ExecutionHandle {
    /// Stops the execution, whether it has begun or not.
    pub fn cancel(&self) {
        self.0.cancelled.store(true, Ordering::SeqCst);
        let waker = lock(&self.0.waker);
        if let Some(waker) = &*waker {
            waker.wake();
        }
    }

    /// Whether somebody pressed it.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.cancelled.load(Ordering::SeqCst)
    }

    /// From now on pressing it wakes `waker`; `None` ends that.
    pub(crate) fn attach(&self, waker: Option<Arc<Waker>>) {
        *lock(&self.0.waker) = waker;
    }

    /// What it has logged, from the entry of this number on. Nothing before it has begun, and once it has ended.
    #[must_use]
    pub fn log_since(&self, number: u64) -> LogSoFar {
        lock(&self.0.log).since(number)
    }

    /// Until it logs again.
    pub fn logged(&self) -> Notified<'_> {
        self.0.logged.notified()
    }

    /// Wakes whoever waits for its log.
    pub(crate) fn tell_of_log(&self) {
        self.0.logged.notify_waiters();
    }

    /// Its log, for whoever writes it.
    pub(crate) fn log(&self) -> MutexGuard<'_, KeptLog> {
        lock(&self.0.log)
    }
}

/// Wakes an executor that waits for its job process. One an executor, for its whole life.
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
        // It can only fail when the counter is full, and then the executor is awake.
        let _ = self.0.write(1);
    }

    /// Takes back every wake so far, this execution's or one that came too late for the one before.
    pub(crate) fn settle(&self) {
        let _ = self.0.read();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
