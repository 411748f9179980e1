//! The process of a zygote: its start, its handshake and its end.

use crate::channel::{Channel, SandboxEnds};
use crate::control::{receive_readiness, send_setup};
use crate::error::SandboxError;
use crate::program::SandboxProgram;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Shutdown, SockFlag, SockType, setsockopt, shutdown, socketpair, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use sandpiper_sandbox_protocol::{
    BUILD_ID, IsolationLevel, LayerReport, Readiness, Setup, Slot, ZYGOTE_ARGUMENT, ZygotePlan,
};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

/// Time for a zygote to become ready. The start fails afterwards.
const READY_WITHIN: Duration = Duration::from_secs(10);
/// Time for a zygote to end by itself. It is killed afterwards.
const ENDED_WITHIN: Duration = Duration::from_millis(500);
const POLL_INTERVAL: Duration = Duration::from_micros(500);

/// The heap layout that the first zygote has learned. All later zygotes run the same program and get it.
static PLACEMENT: OnceLock<String> = OnceLock::new();

/// A zygote that has set up its isolation layers. The process ends when this value is dropped.
#[derive(Debug)]
pub(crate) struct ZygoteProcess {
    child: Child,
    control: OwnedFd,
    /// In the order of their slots.
    channels: Vec<Arc<Channel>>,
    pub(crate) level: IsolationLevel,
    pub(crate) layers: Vec<LayerReport>,
}

/// Settings of the sandbox program's C library.
///
/// `rseq`: the page that the C library shares with the kernel for restartable sequences would be copied for each child.
/// `hwcaps`: with fused multiply-add some functions of `Math` have another last digit, and not every processor has it. The
/// functions without it take a few nanoseconds longer.
const TUNABLES: &str = "glibc.pthread.rseq=0:glibc.cpu.hwcaps=-FMA,-FMA4";

impl ZygoteProcess {
    /// Starts a zygote, and waits until its isolation layers are set up.
    pub(crate) fn spawn(program: &SandboxProgram, plan: &ZygotePlan) -> Result<Self, SandboxError> {
        let (control, far_end) = socketpair(
            AddressFamily::Unix,
            SockType::SeqPacket,
            None,
            SockFlag::SOCK_CLOEXEC,
        )
        .map_err(io::Error::from)?;
        setsockopt(
            &control,
            sockopt::ReceiveTimeout,
            &TimeVal::milliseconds(i64::try_from(READY_WITHIN.as_millis()).unwrap_or(i64::MAX)),
        )
        .map_err(io::Error::from)?;
        // The kernel adds the sender's pid, in this process's own pid namespace, to every hello.
        setsockopt(&control, sockopt::PassCred, &true).map_err(io::Error::from)?;
        let (left, left_end) = Channel::new().map_err(io::Error::from)?;
        let (right, right_end) = Channel::new().map_err(io::Error::from)?;
        let child = Command::new(program.path())
            .arg0("sandpiper-zygote")
            .arg(ZYGOTE_ARGUMENT)
            .env_clear()
            // This time zone needs no file.
            .env("TZ", "UTC0")
            .env("GLIBC_TUNABLES", TUNABLES)
            .current_dir("/")
            .stdin(Stdio::from(far_end))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let mut process = Self {
            child,
            control,
            channels: vec![Arc::new(left), Arc::new(right)],
            level: IsolationLevel::L2,
            layers: Vec::new(),
        };
        process.shake_hands(plan, &[left_end, right_end])?;
        Ok(process)
    }

    fn shake_hands(
        &mut self,
        plan: &ZygotePlan,
        channels: &[SandboxEnds; 2],
    ) -> Result<(), SandboxError> {
        let failed = |errno: Errno| {
            SandboxError::Zygote(format!("it ended or hung before it was ready: {errno}"))
        };
        let setup = Setup {
            build: BUILD_ID.to_owned(),
            plan: *plan,
            placement: PLACEMENT.get().cloned(),
        };
        send_setup(self.control(), &setup, channels).map_err(failed)?;
        match receive_readiness(self.control()).map_err(failed)? {
            Readiness::Ready {
                level,
                layers,
                learned,
            } => {
                self.level = level;
                self.layers = layers;
                if let Some(learned) = learned {
                    PLACEMENT.get_or_init(|| learned);
                }
                Ok(())
            }
            Readiness::Failed { layer, reason } => {
                Err(SandboxError::LayerMissing { layer, reason })
            }
        }
    }

    /// Returns the pid of the zygote, or of its launcher if it has one.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn has_died(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    pub(crate) fn control(&self) -> BorrowedFd<'_> {
        self.control.as_fd()
    }

    pub(crate) fn channel(&self, slot: Slot) -> &Arc<Channel> {
        &self.channels[slot as usize]
    }

    /// Waits until the process has ended, for at most [`ENDED_WITHIN`]. Returns whether it has.
    fn ends_in_time(&mut self) -> bool {
        let deadline = Instant::now() + ENDED_WITHIN;
        while Instant::now() < deadline {
            if self.has_died() {
                return true;
            }
            thread::sleep(POLL_INTERVAL);
        }
        false
    }
}

impl Drop for ZygoteProcess {
    /// Lets the zygote end by itself first: the spare sees its channel close and ends, and the zygote reaps it and
    /// ends. A zygote that is killed would leave its children to process 1, which in a container is this service.
    fn drop(&mut self) {
        self.channels.clear();
        let _ = shutdown(self.control.as_raw_fd(), Shutdown::Both);
        if self.ends_in_time() {
            return;
        }
        let _ = self.child.kill();
        // A killed process ends at once, but not on an overloaded machine. It must not hold the executor there, and is
        // reaped all the same.
        if self.ends_in_time() {
            return;
        }
        if let Ok(pid) = i32::try_from(self.child.id()) {
            let reaper = thread::Builder::new().name("reaper".to_owned());
            let _ = reaper.spawn(move || {
                let _ = waitpid(Pid::from_raw(pid), None);
            });
        }
    }
}
