//! What an executor and its zygote say to each other over the control socket: one packet a message.
//!
//! Both ends are trusted: a zygote never touches a job's bytes, and a job process says hello and closes the control socket
//! while it is born.

use super::level::{IsolationLevel, WallReport};
use super::line::{FarEnds, Side};
use super::privilege::Privilege;
use super::sys::Reaped;
use crate::engine::Placement;
use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, UnixCredentials, recv, recvmsg, send, sendmsg,
};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

/// Longest control message, bytes.
const MESSAGE_BYTES_MAX: usize = 64 * 1024;

const ORDER_REPORT: u8 = b'r';
const ORDER_REAP: u8 = b'x';
/// Behind an order of a spare: its sibling is to be left alone.
const SIBLING_RUNS: u8 = b'w';

/// Longest word after the handshake, bytes.
const WORD_BYTES_MAX: usize = 1024;

/// How a zygote is to wall itself in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZygotePlan {
    /// Walls above this level are not tried.
    pub max_isolation: IsolationLevel,
    /// Whether job processes run without speculation that leaks.
    pub speculation: SpeculationControl,
}

/// Whether the kernel is asked to switch speculation off for job processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SpeculationControl {
    /// Wherever the kernel grants it.
    Auto,
    /// Never.
    Off,
}

/// A zygote's first message: its plan, and how its heap is laid out, if another has learned that.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StandingOrders {
    pub(super) plan: ZygotePlan,
    pub(super) placement: Option<Placement>,
}

/// A zygote's answer to its plan.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Readiness {
    /// The walls stand, the engine is warm.
    Ready {
        level: IsolationLevel,
        walls: Vec<WallReport>,
        /// What it had to learn itself.
        learned: Option<Placement>,
    },
    /// A wall that must stand does not; the zygote is gone.
    Failed { wall: String, reason: String },
}

/// What a zygote is told.
#[derive(Debug)]
pub(super) enum Order {
    /// Fork a job process.
    Spare(Spare),
    /// Tell how the job process of this line ended, once it has.
    Report(Side),
    /// Let go of the job process of this line, which has been killed: nobody wants its pid any more.
    Reap(Side),
    /// The executor is gone.
    Closed,
}

/// A job process that is to be forked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spare {
    /// The line that it serves.
    pub(super) side: Side,
    pub(super) sibling: Sibling,
}

/// How the job process of the other line stands when a spare is ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sibling {
    /// It has been killed, if there was one, and is to be reaped.
    Killed,
    /// It may be running.
    Runs,
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

/// Sends a zygote its first message, with its ends of its lines.
pub(super) fn send_plan(
    socket: BorrowedFd<'_>,
    orders: &StandingOrders,
    lines: &[FarEnds; 2],
) -> Result<(), Errno> {
    let text = serde_json::to_vec(orders).map_err(|_| Errno::EINVAL)?;
    let [left, right] = lines;
    let ends = [&left.job, &left.frames, &right.job, &right.frames];
    sendmsg::<()>(
        socket.as_raw_fd(),
        &[IoSlice::new(&text)],
        &[ControlMessage::ScmRights(&ends.map(AsRawFd::as_raw_fd))],
        MsgFlags::MSG_NOSIGNAL,
        None,
    )
    .map(drop)
}

/// The zygote's side: that message, and how its ends of its lines are numbered.
pub(super) fn receive_plan(socket: BorrowedFd<'_>) -> Result<(StandingOrders, Vec<RawFd>), Errno> {
    let mut bytes = vec![0; MESSAGE_BYTES_MAX];
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let mut ancillary = cmsg_space!([RawFd; 4]);
    let (socket, flags) = (socket.as_raw_fd(), MsgFlags::MSG_CMSG_CLOEXEC);
    let received = recvmsg::<()>(socket, &mut parts, Some(&mut ancillary), flags)?;
    let mut ends = Vec::new();
    for message in received.cmsgs()? {
        if let ControlMessageOwned::ScmRights(descriptors) = message {
            ends.extend(descriptors);
        }
    }
    let length = received.bytes;
    let orders = serde_json::from_slice(&bytes[..length]).map_err(|_| Errno::EBADMSG)?;
    Ok((orders, ends))
}

/// What an executor hears after the handshake: from the zygote, or from a job process that is about to wait.
#[derive(Debug)]
pub(super) enum Word {
    /// A job process has been born and serves this line. Its pid is of this process's own pid namespace: the kernel tells who
    /// says so.
    Hello(Side, Pid),
    /// How a job process ended.
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
        ([name], Some(pid)) if pid > 0 => {
            let side = side_of(*name).ok_or(Errno::EBADMSG)?;
            Ok(Word::Hello(side, Pid::from_raw(pid)))
        }
        (text, _) => serde_json::from_slice(text)
            .map(Word::Report)
            .map_err(|_| Errno::EBADMSG),
    }
}

/// Asks for a job process.
pub(super) fn order_spare(socket: BorrowedFd<'_>, spare: Spare) -> Result<(), Errno> {
    let name = spare.side.descriptors().name;
    match spare.sibling {
        Sibling::Killed => order(socket, &[name]),
        Sibling::Runs => order(socket, &[name, SIBLING_RUNS]),
    }
}

/// Asks how the job process of `side` ended, once it has.
pub(super) fn order_report(socket: BorrowedFd<'_>, side: Side) -> Result<(), Errno> {
    order(socket, &[ORDER_REPORT, side.descriptors().name])
}

/// Lets go of the job process of `side`, which has been killed.
pub(super) fn order_reap(socket: BorrowedFd<'_>, side: Side) -> Result<(), Errno> {
    order(socket, &[ORDER_REAP, side.descriptors().name])
}

fn order(socket: BorrowedFd<'_>, packet: &[u8]) -> Result<(), Errno> {
    send(socket.as_raw_fd(), packet, MsgFlags::MSG_NOSIGNAL).map(drop)
}

/// The zygote's side: waits for the next order.
pub(super) fn next_order(privilege: &Privilege) -> Order {
    let mut packet = [0; 2];
    let length = loop {
        match privilege.receive(&mut packet) {
            Ok(length) => break length,
            Err(Errno::EINTR) => {}
            Err(_) => return Order::Closed,
        }
    };
    let (name, order): (_, fn(Side) -> Order) = match &packet[..length] {
        [ORDER_REPORT, name] => (name, Order::Report),
        [ORDER_REAP, name] => (name, Order::Reap),
        [name, SIBLING_RUNS] => (name, |side| {
            let sibling = Sibling::Runs;
            Order::Spare(Spare { side, sibling })
        }),
        [name] => (name, |side| {
            let sibling = Sibling::Killed;
            Order::Spare(Spare { side, sibling })
        }),
        _ => return Order::Closed,
    };
    side_of(*name).map_or(Order::Closed, order)
}

fn side_of(name: u8) -> Option<Side> {
    let mut both = Side::BOTH.into_iter();
    both.find(|side| side.descriptors().name == name)
}

/// The zygote's side, behind its filter: says how it stands.
pub(super) fn tell(privilege: &Privilege, message: &impl Serialize) -> Result<(), Errno> {
    let text = serde_json::to_vec(message).map_err(|_| Errno::EINVAL)?;
    privilege.send(&text)
}

/// As [`tell`]: how a child ended. On the stack, which children have nothing of: on the heap they could read how others
/// ended.
pub(super) fn tell_end(privilege: &Privilege, ended: &Reaped) -> Result<(), Errno> {
    let mut text = [0; WORD_BYTES_MAX];
    let mut rest = &mut text[..];
    serde_json::to_writer(&mut rest, ended).map_err(|_| Errno::EINVAL)?;
    let length = WORD_BYTES_MAX - rest.len();
    privilege.send(&text[..length])
}
