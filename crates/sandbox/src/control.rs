//! The zygote's end of the control socket.

use crate::privilege::Privilege;
use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, send};
use sandpiper_sandbox_protocol::{
    CONTROL_MESSAGE_BYTES_MAX, ChildReport, ORDER_BYTES_MAX, Order, REPORT_BYTES_MAX, Setup,
};
use serde::Serialize;
use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

/// Sends a message. For the time before the zygote's filter is installed.
pub(crate) fn send_message(socket: BorrowedFd<'_>, message: &impl Serialize) -> Result<(), Errno> {
    let text = serde_json::to_vec(message).map_err(|_| Errno::EINVAL)?;
    send(socket.as_raw_fd(), &text, MsgFlags::MSG_NOSIGNAL).map(drop)
}

/// Receives the set-up, and the descriptors of the zygote's pipes.
pub(crate) fn receive_setup(socket: BorrowedFd<'_>) -> Result<(Setup, Vec<RawFd>), Errno> {
    let mut bytes = vec![0; CONTROL_MESSAGE_BYTES_MAX];
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
    let setup = serde_json::from_slice(&bytes[..length]).map_err(|_| Errno::EBADMSG)?;
    Ok((setup, ends))
}

/// Waits for the next order. Returns `None` when the executor is gone or has sent no valid order.
pub(crate) fn next_order(privilege: &Privilege) -> Option<Order> {
    let mut packet = [0; ORDER_BYTES_MAX];
    loop {
        match privilege.receive(&mut packet) {
            Ok(length) => return Order::decode(&packet[..length]),
            Err(Errno::EINTR) => {}
            Err(_) => return None,
        }
    }
}

/// Sends a message. For the time after the zygote's filter is installed.
pub(crate) fn send_privileged(
    privilege: &Privilege,
    message: &impl Serialize,
) -> Result<(), Errno> {
    let text = serde_json::to_vec(message).map_err(|_| Errno::EINVAL)?;
    privilege.send(&text)
}

/// Reports how a child ended. The message is built on the stack, which a fork does not copy. On the heap, later
/// children could read how earlier ones ended.
pub(crate) fn send_report(privilege: &Privilege, ended: &ChildReport) -> Result<(), Errno> {
    let mut text = [0; REPORT_BYTES_MAX];
    let mut rest = &mut text[..];
    serde_json::to_writer(&mut rest, ended).map_err(|_| Errno::EINVAL)?;
    let length = REPORT_BYTES_MAX - rest.len();
    privilege.send(&text[..length])
}
