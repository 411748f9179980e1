//! The sandbox program as a program.
#![allow(clippy::unwrap_used)] // a test

use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, recv, sendmsg, socketpair,
};
use nix::unistd::pipe;
use sandpiper_sandbox_protocol::{
    IsolationLevel, Readiness, Setup, SpeculationControl, ZYGOTE_ARGUMENT, ZygotePlan,
};
use std::io::IoSlice;
use std::os::fd::AsRawFd as _;
use std::process::{Command, Stdio};

const PROGRAM: &str = env!("CARGO_BIN_EXE_sandpiper-sandbox");

#[test]
fn started_by_hand_it_says_which_program_to_run() {
    let ended = Command::new(PROGRAM).output().unwrap();
    assert_eq!(ended.status.code(), Some(64));
    let said = String::from_utf8(ended.stderr).unwrap();
    assert!(said.contains("run `sandpiper` instead"), "{said}");
}

#[test]
fn a_zygote_refuses_a_service_of_another_build() {
    let (control, far_end) = socketpair(
        AddressFamily::Unix,
        SockType::SeqPacket,
        None,
        SockFlag::SOCK_CLOEXEC,
    )
    .unwrap();
    let mut zygote = Command::new(PROGRAM)
        .arg(ZYGOTE_ARGUMENT)
        .env_clear()
        .stdin(Stdio::from(far_end))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let setup = Setup {
        build: "another".to_owned(),
        plan: ZygotePlan {
            max_isolation: IsolationLevel::L4,
            speculation: SpeculationControl::Auto,
        },
        placement: None,
    };
    let text = serde_json::to_vec(&setup).unwrap();
    let pipes = [pipe().unwrap(), pipe().unwrap()];
    let ends: Vec<i32> = pipes
        .iter()
        .flat_map(|(read, write)| [read.as_raw_fd(), write.as_raw_fd()])
        .collect();
    sendmsg::<()>(
        control.as_raw_fd(),
        &[IoSlice::new(&text)],
        &[ControlMessage::ScmRights(&ends)],
        MsgFlags::empty(),
        None,
    )
    .unwrap();
    let mut response = vec![0; 4096];
    let length = recv(control.as_raw_fd(), &mut response, MsgFlags::empty()).unwrap();
    let response: Readiness = serde_json::from_slice(&response[..length]).unwrap();
    let Readiness::Failed { layer, reason } = response else {
        panic!("{response:?}");
    };
    assert_eq!(layer, "build");
    assert!(reason.contains("service of build another"), "{reason}");
    assert_eq!(zygote.wait().unwrap().code(), Some(78));
}
