//! The executor's side of one zygote: starting it, ordering job processes, and ending it.

use super::channel::{JobProcess, NearEnds, channel, wait_readable};
use super::client::SandboxError;
use super::control::{
    Readiness, Word, ZygotePlan, next_word, order_report, order_spare, receive_message,
    send_message,
};
use super::level::{IsolationLevel, WallReport};
use super::sys::Reaped;
use super::zygote::ZYGOTE_ARGUMENT;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, Shutdown, SockFlag, SockType, setsockopt, shutdown, socketpair,
    sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A zygote that is not ready by then never will be.
const READY_WITHIN: Duration = Duration::from_secs(10);
/// A zygote that did not end by then is killed.
const ENDED_WITHIN: Duration = Duration::from_millis(500);
const LOOKED_AT_EVERY: Duration = Duration::from_micros(500);

/// A zygote that was ready when it was last heard of. Ends with this value.
#[derive(Debug)]
pub(super) struct LiveZygote {
    process: Child,
    control: OwnedFd,
    /// The job process that the next job goes to: forked, or about to be; `None` when it has not been ordered.
    spare: Option<NearEnds>,
    /// The spare's hello, where it came while something else was waited for.
    hello: Option<Pid>,
    pub(super) level: IsolationLevel,
    pub(super) walls: Vec<WallReport>,
    /// Executions so far.
    pub(super) served: u32,
}

impl LiveZygote {
    /// Starts one, and waits until its walls stand.
    pub(super) fn spawn(plan: &ZygotePlan) -> Result<Self, SandboxError> {
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
        // With every hello the kernel tells who sent it, by a pid of this process's own pid namespace.
        setsockopt(&control, sockopt::PassCred, &true).map_err(io::Error::from)?;
        // The running binary itself, even when the file has been replaced since.
        let process = Command::new("/proc/self/exe")
            .arg0("sandpiper-zygote")
            .arg(ZYGOTE_ARGUMENT)
            .env_clear()
            // A zone that needs no file.
            .env("TZ", "UTC0")
            // What the C library shares with the kernel for restartable sequences is a page to copy for each child.
            .env("GLIBC_TUNABLES", "glibc.pthread.rseq=0")
            .current_dir("/")
            .stdin(Stdio::from(far_end))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let mut zygote = Self {
            process,
            control,
            spare: None,
            hello: None,
            level: IsolationLevel::L2,
            walls: Vec::new(),
            served: 0,
        };
        zygote.shake_hands(plan)?;
        Ok(zygote)
    }

    fn shake_hands(&mut self, plan: &ZygotePlan) -> Result<(), SandboxError> {
        let failed = |errno: Errno| SandboxError::Zygote(format!("it did not get ready: {errno}"));
        send_message(self.control.as_fd(), plan).map_err(failed)?;
        match receive_message(self.control.as_fd()).map_err(failed)? {
            Readiness::Ready { level, walls } => {
                self.level = level;
                self.walls = walls;
                Ok(())
            }
            Readiness::Failed { wall, reason } => Err(SandboxError::WallMissing { wall, reason }),
        }
    }

    /// Its name, or where there is one its launcher's.
    pub(super) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Whether its process has ended.
    pub(super) fn has_died(&mut self) -> bool {
        !matches!(self.process.try_wait(), Ok(None))
    }

    /// Orders the next job process, unless it has been. If that fails the zygote is gone, which the next execution finds
    /// out.
    pub(super) fn ensure_spare(&mut self) {
        if self.spare.is_some() {
            return;
        }
        self.spare = channel()
            .and_then(|(near, far)| {
                order_spare(self.control.as_fd(), &far)?;
                Ok(near)
            })
            .ok();
    }

    /// The job process that was ordered, once it has said hello.
    pub(super) fn take_spare(&mut self, patience: Duration) -> Result<JobProcess, NoHello> {
        let spare = self.spare.take().ok_or(NoHello::NotOrdered)?;
        let deadline = Instant::now() + patience;
        let mut has_closed = false;
        loop {
            if let Some(pid) = self.hello.take() {
                return Ok(spare.of(pid));
            }
            match next_word(self.control.as_fd(), MsgFlags::MSG_DONTWAIT) {
                Ok(Word::Hello(pid)) => return Ok(spare.of(pid)),
                Ok(Word::Report(_)) => return Err(NoHello::Broken),
                Err(Errno::EAGAIN | Errno::EINTR) if has_closed => return Err(NoHello::Died),
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                Err(Errno::EPIPE | Errno::ECONNRESET) => return Err(NoHello::Died),
                Err(errno) => return Err(NoHello::Failed(errno)),
            }
            let Some(left) = deadline.checked_duration_since(Instant::now()) else {
                return Err(NoHello::TooLate);
            };
            wait_readable([self.control.as_fd(), spare.frames()], left).map_err(NoHello::Failed)?;
            has_closed = spare.have_closed();
        }
    }

    /// Kills its spare and asks how that ended: the limit of time stands on it. Orders another.
    pub(super) fn prove_that_kill_kills(&mut self, patience: Duration) -> Result<(), SandboxError> {
        const WALL: &str = "sigkill";
        let missing = |reason: String| SandboxError::WallMissing {
            wall: WALL.to_owned(),
            reason,
        };
        let failed = |what: &str| SandboxError::Zygote(what.to_owned());
        let job = self
            .take_spare(patience)
            .map_err(|error| failed(&error.to_string()))?;
        job.kill().map_err(|errno| {
            missing(format!(
                "a job process cannot be killed ({errno}); started as root, the service needs CAP_KILL"
            ))
        })?;
        self.ensure_spare();
        let reaped = self
            .ask_how_it_ended()
            .map_err(|errno| failed(&format!("it does not tell how its child ended: {errno}")))?;
        if reaped.signal != Some(libc::SIGKILL) {
            return Err(missing(format!(
                "a job process that was killed ended as {reaped:?}"
            )));
        }
        self.walls
            .push(WallReport::present(WALL, "a job process was killed, and died of it").required());
        Ok(())
    }

    /// How its last job process ended; waits until that has.
    pub(super) fn ask_how_it_ended(&mut self) -> Result<Reaped, Errno> {
        order_report(self.control.as_fd())?;
        loop {
            match next_word(self.control.as_fd(), MsgFlags::empty())? {
                Word::Report(reaped) => return Ok(reaped),
                // The spare was ordered before.
                Word::Hello(pid) => self.hello = Some(pid),
            }
        }
    }
}

/// Why there was no hello.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoHello {
    #[error("it takes no orders")]
    NotOrdered,
    #[error("its zygote or the job process itself died before it was ready")]
    Died,
    #[error("it was not ready in time")]
    TooLate,
    #[error("it said something else")]
    Broken,
    #[error("its channel failed: {0}")]
    Failed(Errno),
}

impl Drop for LiveZygote {
    /// In order first: the spare sees its channel close and ends, the zygote reaps it and ends. Killed, it would leave
    /// its children to process 1, which in a container is this service.
    fn drop(&mut self) {
        self.spare = None;
        let _ = shutdown(self.control.as_raw_fd(), Shutdown::Both);
        let deadline = Instant::now() + ENDED_WITHIN;
        while Instant::now() < deadline {
            if self.has_died() {
                return;
            }
            std::thread::sleep(LOOKED_AT_EVERY);
        }
        let _ = self.process.kill();
        // Killed, it is gone at once. One that takes its time, as on a machine that has too much to do, must not hold the
        // executor, and is reaped all the same.
        let deadline = Instant::now() + ENDED_WITHIN;
        while Instant::now() < deadline {
            if self.has_died() {
                return;
            }
            std::thread::sleep(LOOKED_AT_EVERY);
        }
        if let Ok(pid) = i32::try_from(self.process.id()) {
            let reaper = std::thread::Builder::new().name("reaper".to_owned());
            let _ = reaper.spawn(move || {
                let _ = waitpid(Pid::from_raw(pid), None);
            });
        }
    }
}
