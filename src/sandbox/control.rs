//! What an executor and its zygote say to each other over the control socket: one packet a message.
//!
//! Both ends are trusted: a zygote never touches a job's bytes, and a job process closes the control socket before it
//! reads any.

use super::level::{IsolationLevel, WallReport};
use super::sys::Reaped;
use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, recv, recvmsg, send, sendmsg,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// Longest control message, bytes.
const MESSAGE_BYTES_MAX: usize = 16 * 1024;

const ORDER_SPARE: u8 = b's';
const ORDER_REPORT: u8 = b'r';

/// How a zygote is to wall itself in; its first message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZygotePlan {
    /// Walls above this level are not tried.
    pub max_isolation: IsolationLevel,
}

/// A zygote's answer to its plan.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Readiness {
    /// The walls stand, the engine is warm.
    Ready {
        level: IsolationLevel,
        walls: Vec<WallReport>,
    },
    /// A wall that must stand does not; the zygote is gone.
    Failed { wall: String, reason: String },
}

/// What a zygote is told.
#[derive(Debug)]
pub(super) enum Order {
    /// Fork a job process that serves this channel.
    Spare(OwnedFd),
    /// Tell how the last job process ended.
    Report,
    /// The executor is gone.
    Closed,
}

/// Sends a message of the handshake or a report.
pub(super) fn send_message(socket: BorrowedFd<'_>, message: &impl Serialize) -> Result<(), Errno> {
    let text = serde_json::to_vec(message).map_err(|_| Errno::EINVAL)?;
    send(socket.as_raw_fd(), &text, MsgFlags::MSG_NOSIGNAL).map(drop)
}

/// Receives one; waits for it.
pub(super) fn receive_message<M: DeserializeOwned>(socket: BorrowedFd<'_>) -> Result<M, Errno> {
    let mut buffer = vec![0; MESSAGE_BYTES_MAX];
    let length = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
    if length == 0 {
        return Err(Errno::EPIPE);
    }
    serde_json::from_slice(&buffer[..length]).map_err(|_| Errno::EBADMSG)
}

/// Asks for a job process that serves `channel`.
pub(super) fn order_spare(socket: BorrowedFd<'_>, channel: BorrowedFd<'_>) -> Result<(), Errno> {
    let descriptors = [channel.as_raw_fd()];
    sendmsg::<()>(
        socket.as_raw_fd(),
        &[IoSlice::new(&[ORDER_SPARE])],
        &[ControlMessage::ScmRights(&descriptors)],
        MsgFlags::MSG_NOSIGNAL,
        None,
    )
    .map(drop)
}

/// Asks how the last job process ended.
pub(super) fn order_report(socket: BorrowedFd<'_>) -> Result<(), Errno> {
    send(socket.as_raw_fd(), &[ORDER_REPORT], MsgFlags::MSG_NOSIGNAL).map(drop)
}

/// The zygote's side: waits for the next order. Allocates the space for one descriptor once.
#[derive(Debug)]
pub(super) struct Orders {
    socket: OwnedFd,
    ancillary: Vec<u8>,
}

impl Orders {
    pub(super) fn new(socket: OwnedFd) -> Self {
        Self {
            socket,
            ancillary: cmsg_space!([RawFd; 1]),
        }
    }

    pub(super) fn socket(&self) -> BorrowedFd<'_> {
        use std::os::fd::AsFd;
        self.socket.as_fd()
    }

    pub(super) fn next(&mut self) -> Order {
        let mut byte = [0];
        let mut parts = [IoSliceMut::new(&mut byte)];
        let received = loop {
            let attempt = recvmsg::<()>(
                self.socket.as_raw_fd(),
                &mut parts,
                Some(&mut self.ancillary),
                MsgFlags::MSG_CMSG_CLOEXEC,
            );
            match attempt {
                Err(Errno::EINTR) => {}
                Err(_) => return Order::Closed,
                Ok(received) if received.bytes == 0 => return Order::Closed,
                Ok(received) => break received,
            }
        };
        let descriptor = received.cmsgs().ok().and_then(|mut messages| {
            messages.find_map(|message| match message {
                ControlMessageOwned::ScmRights(descriptors) => descriptors.first().copied(),
                _ => None,
            })
        });
        match (byte[0], descriptor) {
            (ORDER_SPARE, Some(descriptor)) => {
                // SAFETY: the kernel just made this descriptor for this process, and nothing else knows its number.
                Order::Spare(unsafe { OwnedFd::from_raw_fd(descriptor) })
            }
            (ORDER_REPORT, _) => Order::Report,
            _ => Order::Closed,
        }
    }

    pub(super) fn report(&self, last: Reaped) -> Result<(), Errno> {
        send_message(self.socket(), &last)
    }
}
