//! The executor's end of a job process's channel, and waiting for the hello.

use super::frames::HELLO_FRAME;
use nix::cmsg_space;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixCredentials, recv,
    recvmsg, send, setsockopt, socketpair, sockopt,
};
use nix::sys::time::TimeSpec;
use nix::unistd::Pid;
use std::io::IoSliceMut;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// A job process that was ordered: forked, or about to be.
#[derive(Debug)]
pub(super) struct Spare {
    channel: OwnedFd,
    /// The end that the zygote is given.
    pub(super) far_end: OwnedFd,
}

/// A job process that said hello: filtered, and waiting for its job.
#[derive(Debug)]
pub(super) struct JobProcess {
    channel: OwnedFd,
    pid: Pid,
}

/// Why there was no hello.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoHello {
    #[error("its zygote or the job process itself died before it was ready")]
    Died,
    #[error("it was not ready in time")]
    TooLate,
    #[error("it said something else")]
    Broken,
    #[error("its channel failed: {0}")]
    Failed(Errno),
}

impl Spare {
    /// A channel for a job process that is still to be ordered.
    pub(super) fn new() -> Result<Self, Errno> {
        let (channel, far_end) = socketpair(
            AddressFamily::Unix,
            SockType::Stream,
            None,
            SockFlag::SOCK_CLOEXEC,
        )?;
        // With every hello the kernel tells who sent it, by a pid of this process's own pid namespace.
        setsockopt(&channel, sockopt::PassCred, &true)?;
        Ok(Self { channel, far_end })
    }

    /// Once the zygote has its end, only the job process may hold it: its death must close the channel.
    pub(super) fn ordered(self) -> Ordered {
        Ordered {
            channel: self.channel,
        }
    }
}

/// A spare whose far end is the zygote's.
#[derive(Debug)]
pub(super) struct Ordered {
    channel: OwnedFd,
}

impl Ordered {
    /// Waits for the hello.
    pub(super) fn ready(self, patience: Duration) -> Result<JobProcess, NoHello> {
        let deadline = Instant::now() + patience;
        let mut ancillary = cmsg_space!(UnixCredentials);
        loop {
            match receive_hello(&self.channel, &mut ancillary) {
                Ok(pid) => {
                    return Ok(JobProcess {
                        channel: self.channel,
                        pid,
                    });
                }
                Err(NoHello::Failed(Errno::EAGAIN)) => {}
                Err(error) => return Err(error),
            }
            let Some(left) = deadline.checked_duration_since(Instant::now()) else {
                return Err(NoHello::TooLate);
            };
            wait_readable([self.channel.as_fd()], left).map_err(NoHello::Failed)?;
        }
    }
}

fn receive_hello(channel: &OwnedFd, ancillary: &mut [u8]) -> Result<Pid, NoHello> {
    // Large enough to notice anything more than a hello.
    let mut bytes = [0; HELLO_FRAME.len() + 1];
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let received = recvmsg::<()>(
        channel.as_raw_fd(),
        &mut parts,
        Some(ancillary),
        MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC,
    )
    .map_err(|errno| match errno {
        Errno::ECONNRESET => NoHello::Died,
        other => NoHello::Failed(other),
    })?;
    let length = received.bytes;
    let sender = received.cmsgs().ok().and_then(|mut messages| {
        messages.find_map(|message| match message {
            ControlMessageOwned::ScmCredentials(sender) => Some(sender.pid()),
            _ => None,
        })
    });
    match (length, sender) {
        (0, _) => Err(NoHello::Died),
        (_, Some(pid)) if pid > 0 && bytes[..length] == HELLO_FRAME => Ok(Pid::from_raw(pid)),
        _ => Err(NoHello::Broken),
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
        let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
        while !bytes.is_empty() {
            match send(self.channel.as_raw_fd(), bytes, flags) {
                Ok(count) => bytes = &bytes[count..],
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => {
                    let left = deadline
                        .checked_duration_since(Instant::now())
                        .ok_or(Errno::ETIMEDOUT)?;
                    let mut polled = [PollFd::new(self.channel.as_fd(), PollFlags::POLLOUT)];
                    ppoll(&mut polled, Some(TimeSpec::from_duration(left)), None)?;
                }
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }

    /// Reads what is there: `Ok(0)` when the other side is gone, `EAGAIN` when there is nothing yet, `ECONNRESET` when
    /// the other side is gone and had not read everything.
    pub(super) fn receive(&self, buffer: &mut [u8]) -> Result<usize, Errno> {
        recv(self.channel.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT)
    }

    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
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
