//! A line between an executor and the job processes of its zygote: two pipes, one for jobs and one for frames.
//!
//! A zygote has two lines for its whole life, and its job processes have them in turns: while one runs on the one, the next
//! is born on the other, and closes the first while it is born. What a job process leaves behind on its line is thrown away
//! before the next job is written there, and by then it is dead: its zygote has reaped it.
//!
//! Pipes, not sockets: one end of a socket wakes when the other has read, which costs each job process two wakes for nothing.

use super::sys;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use nix::unistd::{pipe2, read, write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

/// Which of a zygote's two lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Left,
    Right,
}

impl Side {
    /// Both, in the order of their [`Descriptors`].
    pub(super) const BOTH: [Self; 2] = [Self::Left, Self::Right];

    /// The one that is not this.
    pub(super) fn other(self) -> Self {
        match self {
            Self::Left => Self::Right,
            Self::Right => Self::Left,
        }
    }

    /// Its line as its zygote's children know it.
    pub(super) fn descriptors(self) -> &'static Descriptors {
        &Descriptors::OF_BOTH[self as usize]
    }
}

/// A line's numbers in a zygote and its children, and its name in what they say. A job process that is born gets a pointer
/// to this, and says the first byte of it as its hello.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Descriptors {
    pub(super) name: u8,
    /// A job is read from here.
    pub(super) job: RawFd,
    /// Frames are written to here.
    pub(super) frames: RawFd,
}

impl Descriptors {
    /// The first after the standard three.
    pub(super) const FIRST: RawFd = libc::STDERR_FILENO + 1;
    /// One past the last.
    pub(super) const END: RawFd = Self::FIRST + 4;

    const OF_BOTH: &'static [Self; 2] = &[
        Self {
            name: b'L',
            job: Self::FIRST,
            frames: Self::FIRST + 1,
        },
        Self {
            name: b'R',
            job: Self::FIRST + 2,
            frames: Self::FIRST + 3,
        },
    ];
}

/// The executor's ends, which never block.
#[derive(Debug)]
pub(super) struct Line {
    job: OwnedFd,
    frames: OwnedFd,
}

/// The zygote's and its children's ends, which do. Once the zygote has them, they must be closed here: its end must close
/// the line.
#[derive(Debug)]
pub(super) struct FarEnds {
    pub(super) job: OwnedFd,
    pub(super) frames: OwnedFd,
}

/// Something is on a line that should not be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unclean;

impl Line {
    /// A new one.
    pub(super) fn new() -> Result<(Self, FarEnds), Errno> {
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
    pub(super) fn send(&self, bytes: &[u8]) -> Result<usize, Errno> {
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
    pub(super) fn receive(&self, buffer: &mut [u8]) -> Result<usize, Errno> {
        read(&self.frames, buffer)
    }

    /// Whether something of the job was never read. Once the job process is gone that means that none of it has run: all
    /// is read before anything is.
    pub(super) fn has_unread(&self) -> bool {
        sys::unread_bytes(self.job.as_fd()).is_ok_and(|count| count > 0)
    }

    /// Throws away what a job process that is dead has left behind.
    pub(super) fn sweep(&self, buffer: &mut [u8]) -> Result<(), Unclean> {
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
    pub(super) fn frames(&self) -> BorrowedFd<'_> {
        self.frames.as_fd()
    }

    /// Becomes writable when the job process has read.
    pub(super) fn job(&self) -> BorrowedFd<'_> {
        self.job.as_fd()
    }
}

/// Waits until one of `polled` is as it is wanted or has closed, or a signal came, or time is up.
pub(super) fn wait<const COUNT: usize>(
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
pub(super) fn wait_readable<const COUNT: usize>(
    descriptors: [BorrowedFd<'_>; COUNT],
    patience: Duration,
) -> Result<Waited, Errno> {
    let polled = descriptors.map(|descriptor| (descriptor, PollFlags::POLLIN));
    wait(polled, patience)
}

/// How a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waited {
    Woken,
    TimeIsUp,
}
