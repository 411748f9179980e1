//! The values that accompany a job from its acceptance to its executor: a place in the queue, and a hook for its start.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// A place in the queue of this process, reserved while a job is accepted. The place is free again once all clones are
/// dropped. A store that hands the job out at once passes the place on with it; other stores drop it.
#[derive(Clone, Default)]
pub struct QueuePlace(Option<Arc<dyn Any + Send + Sync>>);

impl QueuePlace {
    /// Creates a place that is taken for as long as `guard` lives.
    #[must_use]
    pub fn new(guard: impl Any + Send + Sync) -> Self {
        Self(Some(Arc::new(guard)))
    }
}

impl fmt::Debug for QueuePlace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_held = self.0.is_some();
        formatter.debug_tuple("QueuePlace").field(&is_held).finish()
    }
}

/// A function that is called in the moment in which an executor takes a job.
#[derive(Default)]
pub struct StartHook(Option<Box<dyn FnOnce() + Send>>);

impl StartHook {
    /// Creates a hook that calls `on_start`, which must not block.
    #[must_use]
    pub fn new(on_start: impl FnOnce() + Send + 'static) -> Self {
        Self(Some(Box::new(on_start)))
    }

    /// Calls the function, the first time.
    pub fn call(&mut self) {
        if let Some(on_start) = self.0.take() {
            on_start();
        }
    }
}

impl fmt::Debug for StartHook {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("StartHook")
    }
}
