//! How many requests of one asker are open at a time.

use crate::asker::Asker;
use dashmap::DashMap;
use std::sync::Arc;

/// Counts open requests (or connections) by asker. Holds no more entries than there are open ones.
#[derive(Debug, Clone, Default)]
pub(crate) struct InFlight {
    open: Arc<DashMap<Asker, u32>>,
}

/// One that is open, until it is dropped.
#[derive(Debug)]
pub(crate) struct Visit {
    asker: Asker,
    open: Arc<DashMap<Asker, u32>>,
}

impl InFlight {
    /// One more of this asker; `None` when it has `most` already.
    #[must_use]
    pub(crate) fn enter(&self, asker: Asker, most: u32) -> Option<Visit> {
        let mut count = self.open.entry(asker).or_insert(0);
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Visit {
            asker,
            open: Arc::clone(&self.open),
        })
    }

    #[cfg(test)]
    pub(super) fn askers(&self) -> usize {
        self.open.len()
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.open.remove_if_mut(&self.asker, |_, count| {
            *count = count.saturating_sub(1);
            *count == 0
        });
    }
}
