//! What an executor and its zygote say to each other over the control socket: one packet a message.
//!
//! Both ends are trusted: a zygote never touches a job's bytes, and a job process says hello and closes the control socket
//! while it is born.

use super::level::{IsolationLevel, WallReport};
use super::privilege::Privilege;
use super::sys::Reaped;
use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, UnixCredentials, recv, recvmsg, send, sendmsg,
};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

/// Longest control message, bytes.
const MESSAGE_BYTES_MAX: usize = 16 * 1024;

const ORDER_SPARE: u8 = b's';
const ORDER_REPORT: u8 = b'r';
/// What a job process says when it has been born and is about to wait for its job. The kernel tells who says so.
pub(super) const HELLO: u8 = b'h';

/// Longest word after the handshake, bytes.
const WORD_BYTES_MAX: usize = 1024;

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

/// A job process's ends of its channel.
#[derive(Debug)]
pub(super) struct FarEnds {
    /// It reads its job from here.
    pub(super) job: OwnedFd,
    /// It writes frames to here.
    pub(super) frames: OwnedFd,
}

/// What a zygote is told.
#[derive(Debug)]
pub(super) enum Order {
    /// Fork a job process that serves this channel.
    Spare(FarEnds),
    /// Tell how the last job process ended.
    Report,
    /// The executor is gone.
    Closed,
}

/// Sends a message of the handshake.
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

/// What an executor hears after the handshake: from the zygote, or from a job process that is about to wait.
#[derive(Debug)]
pub(super) enum Word {
    /// A job process has been forked; its pid in this process's own pid namespace.
    Hello(Pid),
    /// How the last job process ended.
    Report(Reaped),
}

/// The next word. With `MSG_DONTWAIT` among the flags, `EAGAIN` when there is none yet; `EPIPE` when nobody is left.
pub(super) fn next_word(socket: BorrowedFd<'_>, flags: MsgFlags) -> Result<Word, Errno> {
    let mut bytes = [0; WORD_BYTES_MAX];
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let mut ancillary = cmsg_space!(UnixCredentials);
    let received = recvmsg::<()>(
        socket.as_raw_fd(),
        &mut parts,
        Some(&mut ancillary),
        flags | MsgFlags::MSG_CMSG_CLOEXEC,
    )?;
    let length = received.bytes;
    let sender = received.cmsgs().ok().and_then(|mut messages| {
        messages.find_map(|message| match message {
            ControlMessageOwned::ScmCredentials(sender) => Some(sender.pid()),
            _ => None,
        })
    });
    match (&bytes[..length], sender) {
        ([], _) => Err(Errno::EPIPE),
        ([HELLO], Some(pid)) if pid > 0 => Ok(Word::Hello(Pid::from_raw(pid))),
        (text, _) => serde_json::from_slice(text)
            .map(Word::Report)
            .map_err(|_| Errno::EBADMSG),
    }
}

/// Asks for a job process that serves these ends.
pub(super) fn order_spare(socket: BorrowedFd<'_>, ends: &FarEnds) -> Result<(), Errno> {
    let descriptors = [ends.job.as_raw_fd(), ends.frames.as_raw_fd()];
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

/// The zygote's side: waits for the next order.
pub(super) fn next_order(privilege: &Privilege) -> Order {
    let received = loop {
        match privilege.receive_order() {
            Ok(Some(received)) => break received,
            Err(Errno::EINTR) => {}
            Ok(None) | Err(_) => return Order::Closed,
        }
    };
    match (received.byte, received.descriptors) {
        (ORDER_SPARE, [Some(job), Some(frames)]) => Order::Spare(FarEnds { job, frames }),
        (ORDER_REPORT, _) => Order::Report,
        _ => Order::Closed,
    }
}

/// The zygote's side, behind its filter: says how it stands, or how its last child ended.
pub(super) fn tell(privilege: &Privilege, message: &impl Serialize) -> Result<(), Errno> {
    let text = serde_json::to_vec(message).map_err(|_| Errno::EINVAL)?;
    privilege.send(&text)
}
