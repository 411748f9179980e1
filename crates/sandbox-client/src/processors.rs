//! Which processor an executor stands on.
//!
//! Executor, zygote and job process of one execution take turns: each waits while the next works. Left to itself the
//! scheduler moves them between processors, which costs ten switches of context and an interrupt or two for every
//! execution; on one processor they hand it on. What is pinned cannot flee from a busy neighbour, so it can be switched
//! off.

use nix::errno::Errno;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// The thread that asks.
const THIS_THREAD: Pid = Pid::from_raw(0);

/// The processors that this process may use.
#[derive(Debug, Clone)]
pub struct Processors(Vec<usize>);

impl Processors {
    /// As the kernel tells it. Asked before any thread is pinned.
    pub fn of_this_process() -> Result<Self, Errno> {
        let set = sched_getaffinity(THIS_THREAD)?;
        Ok(Self(
            (0..CpuSet::count())
                .filter(|processor| set.is_set(*processor).unwrap_or(false))
                .collect(),
        ))
    }

    /// How many.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Keeps the calling thread, and every process it will start, on the processor for `place`: each its own, and from the
    /// first again when there are more places than processors.
    pub fn pin_this_thread(&self, place: usize) -> Result<(), Errno> {
        let among = place.checked_rem(self.0.len()).ok_or(Errno::EINVAL)?;
        let mut set = CpuSet::new();
        set.set(self.0[among])?;
        sched_setaffinity(THIS_THREAD, &set)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_stays_where_it_was_put() {
        let all = Processors::of_this_process().unwrap();
        assert!(!all.0.is_empty());
        let last = all.0.len() - 1;
        std::thread::spawn(move || {
            all.pin_this_thread(last).unwrap();
            assert_eq!(Processors::of_this_process().unwrap().0, [all.0[last]]);
            // More places than processors begin anew.
            all.pin_this_thread(all.0.len()).unwrap();
            assert_eq!(Processors::of_this_process().unwrap().0, [all.0[0]]);
        })
        .join()
        .unwrap();
    }
}
