//! The executor's end of the control socket.

use crate::channel::SandboxEnds;
use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, UnixCredentials, recv, recvmsg, send, sendmsg,
};
use nix::unistd::Pid;
use sandpiper_sandbox_protocol::{
    CONTROL_MESSAGE_BYTES_MAX, ChildReport, Order, REPORT_BYTES_MAX, Readiness, Setup, Slot,
};
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd};

/// A message after the handshake: from the zygote, or from a job process that is about to wait for its job.
#[derive(Debug)]
pub(crate) enum Message {
    /// A job process has been forked and serves this slot. The pid belongs to this process's own pid namespace: the
    /// kernel adds it to the message.
    Hello(Slot, Pid),
    Report(ChildReport),
}

pub(crate) fn send_setup(
    socket: BorrowedFd<'_>,
    setup: &Setup,
    channels: &[SandboxEnds; 2],
) -> Result<(), Errno> {
    let text = serde_json::to_vec(setup).map_err(|_| Errno::EINVAL)?;
    let [left, right] = channels;
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

/// Waits for the zygote's response to its set-up.
pub(crate) fn receive_readiness(socket: BorrowedFd<'_>) -> Result<Readiness, Errno> {
    let mut buffer = vec![0; CONTROL_MESSAGE_BYTES_MAX];
    let length = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
    if length == 0 {
        return Err(Errno::EPIPE);
    }
    serde_json::from_slice(&buffer[..length]).map_err(|_| Errno::EBADMSG)
}

/// Returns the next message. Fails with `EPIPE` when the zygote and its children are gone. With `MSG_DONTWAIT` among
/// the flags, fails with `EAGAIN` when there is no message yet.
pub(crate) fn next_message(socket: BorrowedFd<'_>, flags: MsgFlags) -> Result<Message, Errno> {
    let mut bytes = [0; REPORT_BYTES_MAX];
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
            let slot = Slot::of_name(*name).ok_or(Errno::EBADMSG)?;
            Ok(Message::Hello(slot, Pid::from_raw(pid)))
        }
        (text, _) => serde_json::from_slice(text)
            .map(Message::Report)
            .map_err(|_| Errno::EBADMSG),
    }
}

pub(crate) fn send_order(socket: BorrowedFd<'_>, order: Order) -> Result<(), Errno> {
    let (packet, length) = order.encode();
    send(
        socket.as_raw_fd(),
        &packet[..length],
        MsgFlags::MSG_NOSIGNAL,
    )
    .map(drop)
}
