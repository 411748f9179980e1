//! The executor's end of a slot: two pipes, one for jobs and one for frames.

use crate::sys;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use nix::unistd::{pipe2, read, write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// The executor's ends of both pipes. They never block.
#[derive(Debug)]
pub(crate) struct Channel {
    job: OwnedFd,
    frames: OwnedFd,
}

/// The ends of the zygote and its children, which do block. They must be closed here once the zygote has them:
/// otherwise the channel would not close when the zygote ends.
#[derive(Debug)]
pub(crate) struct SandboxEnds {
    pub(crate) job: OwnedFd,
    pub(crate) frames: OwnedFd,
}

/// The channel holds bytes that should not be there, or is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct UncleanChannel;

impl Channel {
    pub(crate) fn new() -> Result<(Self, SandboxEnds), Errno> {
        let (far_job, job) = pipe2(OFlag::O_CLOEXEC)?;
        let (frames, far_frames) = pipe2(OFlag::O_CLOEXEC)?;
        for near in [&job, &frames] {
            fcntl(near, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        }
        let far = SandboxEnds {
            job: far_job,
            frames: far_frames,
        };
        Ok((Self { job, frames }, far))
    }

    /// Writes as much of `bytes` as the pipe has room for. Returns the number of bytes written.
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

    /// Reads bytes that have arrived. Returns `Ok(0)` when zygote and job process are gone, and `EAGAIN` when no byte
    /// has arrived.
    pub(crate) fn receive(&self, buffer: &mut [u8]) -> Result<usize, Errno> {
        read(&self.frames, buffer)
    }

    /// Returns whether part of the job was never read. If so, and the job process is gone, nothing of the job has run:
    /// a job process reads all of its job before it runs any of it.
    pub(crate) fn has_unread(&self) -> bool {
        sys::unread_bytes(self.job.as_fd()).is_ok_and(|count| count > 0)
    }

    /// Discards what a dead job process has left in the pipe.
    pub(crate) fn sweep(&self, buffer: &mut [u8]) -> Result<(), UncleanChannel> {
        // A pipe holds 64 kilobytes. The bound keeps a misbehaving pipe from occupying the executor.
        for _ in 0..64 {
            match self.receive(buffer) {
                Ok(0) => return Err(UncleanChannel),
                Ok(_) | Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Ok(()),
                Err(_) => return Err(UncleanChannel),
            }
        }
        Err(UncleanChannel)
    }

    /// Returns the descriptor that becomes readable when the job process writes, and when it and its zygote are gone.
    pub(crate) fn frames(&self) -> BorrowedFd<'_> {
        self.frames.as_fd()
    }

    /// Returns the descriptor that becomes writable when the job process has read.
    pub(crate) fn job(&self) -> BorrowedFd<'_> {
        self.job.as_fd()
    }
}

/// Waits until one of `polled` has the wanted event or has closed, a signal arrives, or `patience` is over.
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

/// Waits as [`wait`] does, until one of `descriptors` is readable.
pub(crate) fn wait_readable<const COUNT: usize>(
    descriptors: [BorrowedFd<'_>; COUNT],
    patience: Duration,
) -> Result<Waited, Errno> {
    let polled = descriptors.map(|descriptor| (descriptor, PollFlags::POLLIN));
    wait(polled, patience)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waited {
    Woken,
    TimeIsUp,
}
