//! Pins executors to processors.
//!
//! Executor, zygote and job process of one execution take turns: each waits while the next works. Unpinned, the
//! scheduler moves them between processors, which costs ten context switches and an interrupt or two for every
//! execution. On one processor they hand it on to each other. A pinned executor cannot move away from a busy neighbour,
//! so pinning can be switched off.

use nix::errno::Errno;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// The calling thread.
const THIS_THREAD: Pid = Pid::from_raw(0);

/// The processors that this process may use.
#[derive(Debug, Clone)]
pub struct Processors(Vec<usize>);

impl Processors {
    /// Returns the processors that the kernel allows this thread. Call it before any thread is pinned.
    pub fn of_this_process() -> Result<Self, Errno> {
        let set = sched_getaffinity(THIS_THREAD)?;
        Ok(Self(
            (0..CpuSet::count())
                .filter(|processor| set.is_set(*processor).unwrap_or(false))
                .collect(),
        ))
    }

    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Pins the calling thread, and every process that it starts, to the processor for `place`. Each place has a
    /// processor of its own; with more places than processors, they are assigned round robin.
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
            // Places beyond the number of processors start again at the first.
            all.pin_this_thread(all.0.len()).unwrap();
            assert_eq!(Processors::of_this_process().unwrap().0, [all.0[0]]);
        })
        .join()
        .unwrap();
    }
}
