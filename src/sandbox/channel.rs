//! The executor's ends of a job process's channel.

use super::control::FarEnds;
use super::sys;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::signal::{Signal, kill};
use nix::sys::time::TimeSpec;
use nix::unistd::{Pid, pipe2, read, write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// The executor's ends of a job process's channel: two pipes. Not a socket: one end of a socket wakes when the other has
/// read, which costs each job process two wakes for nothing, and sockets on their way to a zygote set off the kernel's
/// collector of lost ones at every close.
#[derive(Debug)]
pub(super) struct NearEnds {
    job: OwnedFd,
    frames: OwnedFd,
}

/// A job process that has its channel and has said hello. It filters itself and waits for its job.
#[derive(Debug)]
pub(super) struct JobProcess {
    ends: NearEnds,
    pid: Pid,
}

/// A new channel: the executor's ends, which never block, and the job process's, which do. Once the zygote has those, they
/// must be closed here: a job process's death must close the channel.
pub(super) fn channel() -> Result<(NearEnds, FarEnds), Errno> {
    let (far_job, job) = pipe2(OFlag::O_CLOEXEC)?;
    let (frames, far_frames) = pipe2(OFlag::O_CLOEXEC)?;
    for near in [&job, &frames] {
        fcntl(near, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    }
    let far = FarEnds {
        job: far_job,
        frames: far_frames,
    };
    Ok((NearEnds { job, frames }, far))
}

impl NearEnds {
    /// These are the ends of the job process `pid`.
    pub(super) fn of(self, pid: Pid) -> JobProcess {
        JobProcess { ends: self, pid }
    }

    /// Whether the other ends are gone. Asked before the job is given: nothing is to be read yet.
    pub(super) fn have_closed(&self) -> bool {
        matches!(read(&self.frames, &mut [0]), Ok(0))
    }

    /// Becomes readable when the job process writes, and when it and its zygote have lost the other end.
    pub(super) fn frames(&self) -> BorrowedFd<'_> {
        self.frames.as_fd()
    }
}

impl JobProcess {
    pub(super) fn pid(&self) -> Pid {
        self.pid
    }

    /// Kills it, for good. An honest job process ends only by this, so its pid is its own; where it died before, the
    /// channel had closed and this is not called. A hostile one may end by itself in the microseconds before: to harm
    /// anybody, its pid would have to come round again within them, and it cannot fork.
    pub(super) fn kill(&self) -> Result<(), Errno> {
        kill(self.pid, Signal::SIGKILL)
    }

    /// Writes all of `bytes` by `deadline`.
    pub(super) fn send(&self, mut bytes: &[u8], deadline: Instant) -> Result<(), Errno> {
        while !bytes.is_empty() {
            match write(&self.ends.job, bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => {
                    let left = deadline
                        .checked_duration_since(Instant::now())
                        .ok_or(Errno::ETIMEDOUT)?;
                    let mut polled = [PollFd::new(self.ends.job.as_fd(), PollFlags::POLLOUT)];
                    ppoll(&mut polled, Some(TimeSpec::from_duration(left)), None)?;
                }
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }

    /// Reads what is there: `Ok(0)` when the other side is gone, `EAGAIN` when there is nothing yet.
    pub(super) fn receive(&self, buffer: &mut [u8]) -> Result<usize, Errno> {
        read(&self.ends.frames, buffer)
    }

    /// Whether something of the job was never read. Once the job process is gone that means that none of it has run: all
    /// is read before anything is.
    pub(super) fn has_unread(&self) -> bool {
        sys::unread_bytes(self.ends.job.as_fd()).is_ok_and(|count| count > 0)
    }

    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.ends.frames()
    }
}

/// Waits until one of `descriptors` can be read or has closed, or a signal came, or time is up.
pub(super) fn wait_readable<const COUNT: usize>(
    descriptors: [BorrowedFd<'_>; COUNT],
    patience: Duration,
) -> Result<Waited, Errno> {
    let mut polled = descriptors.map(|descriptor| PollFd::new(descriptor, PollFlags::POLLIN));
    match ppoll(&mut polled, Some(TimeSpec::from_duration(patience)), None) {
        Ok(0) => Ok(Waited::TimeIsUp),
        Ok(_) | Err(Errno::EINTR) => Ok(Waited::Woken),
        Err(errno) => Err(errno),
    }
}

/// How a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waited {
    Woken,
    TimeIsUp,
}
