//! The executor's end of a slot: two pipes, one for jobs and one for frames.

use crate::sys;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use nix::unistd::{pipe2, read, write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// The executor's ends, which never block.
#[derive(Debug)]
pub(crate) struct Line {
    job: OwnedFd,
    frames: OwnedFd,
}

/// The zygote's and its children's ends, which do. Once the zygote has them, they must be closed here: its end must close
/// the line.
#[derive(Debug)]
pub(crate) struct FarEnds {
    pub(crate) job: OwnedFd,
    pub(crate) frames: OwnedFd,
}

/// Something is on a line that should not be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unclean;

impl Line {
    /// A new one.
    pub(crate) fn new() -> Result<(Self, FarEnds), Errno> {
        let (far_job, job) = pipe2(OFlag::O_CLOEXEC)?;
        let (frames, far_frames) = pipe2(OFlag::O_CLOEXEC)?;
        for near in [&job, &frames] {
            fcntl(near, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        }
        let far = FarEnds {
            job: far_job,
            frames: far_frames,
        };
        Ok((Self { job, frames }, far))
    }

    /// Writes as much of `bytes` as there is room for, and says how much that was.
    pub(crate) fn send(&self, bytes: &[u8]) -> Result<usize, Errno> {
        let mut sent = 0;
        while sent < bytes.len() {
            match write(&self.job, &bytes[sent..]) {
                Ok(count) => sent += count,
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => break,
                Err(errno) => return Err(errno),
            }
        }
        Ok(sent)
    }

    /// Reads what is there: `Ok(0)` when zygote and job process are gone, `EAGAIN` when there is nothing yet.
    pub(crate) fn receive(&self, buffer: &mut [u8]) -> Result<usize, Errno> {
        read(&self.frames, buffer)
    }

    /// Whether something of the job was never read. Once the job process is gone that means that none of it has run: all
    /// is read before anything is.
    pub(crate) fn has_unread(&self) -> bool {
        sys::unread_bytes(self.job.as_fd()).is_ok_and(|count| count > 0)
    }

    /// Throws away what a job process that is dead has left behind.
    pub(crate) fn sweep(&self, buffer: &mut [u8]) -> Result<(), Unclean> {
        // A pipe holds 64 kilobytes; the count keeps even a broken one from holding the executor.
        for _ in 0..64 {
            match self.receive(buffer) {
                Ok(0) => return Err(Unclean),
                Ok(_) | Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Ok(()),
                Err(_) => return Err(Unclean),
            }
        }
        Err(Unclean)
    }

    /// Becomes readable when the job process writes, and when it and its zygote are gone.
    pub(crate) fn frames(&self) -> BorrowedFd<'_> {
        self.frames.as_fd()
    }

    /// Becomes writable when the job process has read.
    pub(crate) fn job(&self) -> BorrowedFd<'_> {
        self.job.as_fd()
    }
}

/// Waits until one of `polled` is as it is wanted or has closed, or a signal came, or time is up.
pub(crate) fn wait<const COUNT: usize>(
    polled: [(BorrowedFd<'_>, PollFlags); COUNT],
    patience: Duration,
) -> Result<Waited, Errno> {
    let mut polled = polled.map(|(descriptor, wanted)| PollFd::new(descriptor, wanted));
    match ppoll(&mut polled, Some(TimeSpec::from_duration(patience)), None) {
        Ok(0) => Ok(Waited::TimeIsUp),
        Ok(_) | Err(Errno::EINTR) => Ok(Waited::Woken),
        Err(errno) => Err(errno),
    }
}

/// As [`wait`], until one of `descriptors` can be read.
pub(crate) fn wait_readable<const COUNT: usize>(
    descriptors: [BorrowedFd<'_>; COUNT],
    patience: Duration,
) -> Result<Waited, Errno> {
    let polled = descriptors.map(|descriptor| (descriptor, PollFlags::POLLIN));
    wait(polled, patience)
}

/// How a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waited {
    Woken,
    TimeIsUp,
}
