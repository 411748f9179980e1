//! The executor's side of one zygote: starting it, ordering job processes, and ending it.

use crate::control::{next_word, receive_readiness, send_order, send_setup};
use crate::error::SandboxError;
use crate::heard::Heard;
use crate::line::{FarEnds, Line, wait, wait_readable};
use crate::program::SandboxProgram;
use nix::errno::Errno;
use nix::poll::PollFlags;
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{
    AddressFamily, MsgFlags, Shutdown, SockFlag, SockType, setsockopt, shutdown, socketpair,
    sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use sandpiper_sandbox_protocol::{
    BUILD_ID, ChildReport, IsolationLevel, Order, Readiness, Setup, Sibling, Side, Spare,
    WallReport, ZYGOTE_ARGUMENT, ZygotePlan,
};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// A zygote that is not ready by then never will be.
const READY_WITHIN: Duration = Duration::from_secs(10);
/// A zygote that did not end by then is killed.
const ENDED_WITHIN: Duration = Duration::from_millis(500);
const LOOKED_AT_EVERY: Duration = Duration::from_micros(500);
/// A spare that did not say hello by then is given up.
const HELLO_WITHIN: Duration = Duration::from_secs(2);
/// Most bytes thrown away at a time.
const SWEPT_BYTES: usize = 4096;

/// What the first zygote has learned, for all that come after it: they are the same program.
static PLACEMENT: OnceLock<String> = OnceLock::new();

/// A zygote that was ready when it was last heard of. Ends with this value.
#[derive(Debug)]
pub(crate) struct LiveZygote {
    process: Child,
    control: OwnedFd,
    /// In the order of their sides.
    lines: Vec<Arc<Line>>,
    heard: Heard,
    /// The line on which the next job process is born.
    next: Side,
    /// Whether that has been ordered.
    has_spare: bool,
    pub(crate) level: IsolationLevel,
    pub(crate) walls: Vec<WallReport>,
    /// Executions so far.
    pub(crate) served: u32,
}

/// A job process that has been ordered, and may or may not have been born. It reads its job when it has.
#[derive(Debug)]
pub(crate) struct JobProcess {
    pub(crate) line: Arc<Line>,
    side: Side,
}

impl LiveZygote {
    /// Starts one, and waits until its walls stand.
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
        // With every hello the kernel tells who sent it, by a pid of this process's own pid namespace.
        setsockopt(&control, sockopt::PassCred, &true).map_err(io::Error::from)?;
        let (left, left_end) = Line::new().map_err(io::Error::from)?;
        let (right, right_end) = Line::new().map_err(io::Error::from)?;
        let process = Command::new(program.path())
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
            lines: vec![Arc::new(left), Arc::new(right)],
            heard: Heard::new(),
            next: Side::Left,
            has_spare: false,
            level: IsolationLevel::L2,
            walls: Vec::new(),
            served: 0,
        };
        zygote.shake_hands(plan, &[left_end, right_end])?;
        Ok(zygote)
    }

    fn shake_hands(&mut self, plan: &ZygotePlan, lines: &[FarEnds; 2]) -> Result<(), SandboxError> {
        let failed = |errno: Errno| SandboxError::Zygote(format!("it did not get ready: {errno}"));
        let setup = Setup {
            build: BUILD_ID.to_owned(),
            plan: *plan,
            placement: PLACEMENT.get().cloned(),
        };
        send_setup(self.control.as_fd(), &setup, lines).map_err(failed)?;
        match receive_readiness(self.control.as_fd()).map_err(failed)? {
            Readiness::Ready {
                level,
                walls,
                learned,
            } => {
                self.level = level;
                self.walls = walls;
                if let Some(learned) = learned {
                    PLACEMENT.get_or_init(|| learned);
                }
                Ok(())
            }
            Readiness::Failed { wall, reason } => Err(SandboxError::WallMissing { wall, reason }),
        }
    }

    /// Its name, or where there is one its launcher's.
    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Whether its process has ended.
    pub(crate) fn has_died(&mut self) -> bool {
        !matches!(self.process.try_wait(), Ok(None))
    }

    /// Orders the next job process, unless it has been. Whoever was there before has been killed. If that fails the zygote
    /// is gone, which the next execution finds out.
    pub(crate) fn ensure_spare(&mut self) {
        self.order_spare_beside(Sibling::Killed);
    }

    fn order_spare_beside(&mut self, sibling: Sibling) {
        if self.has_spare {
            return;
        }
        let side = self.next;
        self.has_spare =
            send_order(self.control.as_fd(), Order::Spare(Spare { side, sibling })).is_ok();
        if self.has_spare {
            self.heard.ordered(side);
        }
    }

    /// The job process that was ordered. Its line is clean. It may not have been born yet, so that a job can be there before
    /// it is.
    pub(crate) fn take_spare(&mut self) -> Result<JobProcess, NoHello> {
        if !self.has_spare {
            return Err(NoHello::NotOrdered);
        }
        let side = self.next;
        let job = JobProcess {
            line: Arc::clone(&self.lines[side as usize]),
            side,
        };
        let born = self.hear_of(&job)?;
        // Whoever had the line before might read this one's job. That it was reaped is certain when this one has been born,
        // and when the kernel knows it no more.
        if born.is_none() && !self.heard.is_left(side) {
            self.wait_for_hello(&job)?;
        }
        (job.line.sweep(&mut [0; SWEPT_BYTES])).map_err(|_| NoHello::Broken)?;
        self.next = side.other();
        self.has_spare = false;
        Ok(job)
    }

    /// Writes all of `bytes` by `deadline`. A job process that does not take them is dead.
    pub(crate) fn send(
        &mut self,
        job: &JobProcess,
        mut bytes: &[u8],
        deadline: Instant,
    ) -> Result<(), Errno> {
        loop {
            bytes = &bytes[job.line.send(bytes)?..];
            if bytes.is_empty() {
                return Ok(());
            }
            let left = deadline
                .checked_duration_since(Instant::now())
                .ok_or(Errno::ETIMEDOUT)?;
            self.watch(job);
            let control = (self.control.as_fd(), PollFlags::POLLIN);
            wait([(job.line.job(), PollFlags::POLLOUT), control], left)?;
            self.hear_all().map_err(|_| Errno::EPIPE)?;
            if self.has_ended() {
                return Err(Errno::EPIPE);
            }
        }
    }

    /// The operating system's name of a job process that has been born.
    pub(crate) fn pid_of(&self, job: &JobProcess) -> Option<Pid> {
        self.heard.pid(job.side)
    }

    /// As [`LiveZygote::pid_of`], once what was said by now has been taken in.
    pub(crate) fn hear_of(&mut self, job: &JobProcess) -> Result<Option<Pid>, NoHello> {
        while self.pid_of(job).is_none() && self.hear()? {}
        Ok(self.pid_of(job))
    }

    /// As [`LiveZygote::pid_of`], once it has been. Where it is watched, its death ends the wait.
    pub(crate) fn wait_for_hello(&mut self, job: &JobProcess) -> Result<Pid, NoHello> {
        let deadline = Instant::now() + HELLO_WITHIN;
        loop {
            if let Some(pid) = self.pid_of(job) {
                return Ok(pid);
            }
            if self.hear()? {
                continue;
            }
            if self.has_ended() {
                return Err(NoHello::Died);
            }
            let left = deadline
                .checked_duration_since(Instant::now())
                .ok_or(NoHello::TooLate)?;
            wait_readable([self.control.as_fd()], left).map_err(NoHello::Failed)?;
        }
    }

    /// Kills a job process, for good. Dead or alive its pid is its own: its zygote reaps it when the next one is ordered after
    /// this, and one that is watched when that is over.
    pub(crate) fn kill(&mut self, job: &JobProcess) -> Result<(), NoHello> {
        let pid = self.wait_for_hello(job)?;
        kill(pid, Signal::SIGKILL).map_err(NoHello::Failed)
    }

    /// From now on the control socket becomes readable when `job` ends. Has the next one made, as that takes the zygote's time
    /// only before it waits.
    pub(crate) fn watch(&mut self, job: &JobProcess) {
        self.order_spare_beside(Sibling::Runs);
        if !self.heard.is_asked()
            && send_order(self.control.as_fd(), Order::Report(job.side)).is_ok()
        {
            self.heard.asked();
        }
    }

    /// Becomes readable when there is something to hear.
    pub(crate) fn control(&self) -> BorrowedFd<'_> {
        self.control.as_fd()
    }

    /// Takes in all that was said.
    pub(crate) fn hear_all(&mut self) -> Result<(), NoHello> {
        while self.hear()? {}
        Ok(())
    }

    /// Whether the job process that is watched is known to have ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.heard.has_ended()
    }

    /// Takes in the next word. False if there is none yet.
    fn hear(&mut self) -> Result<bool, NoHello> {
        match next_word(self.control.as_fd(), MsgFlags::MSG_DONTWAIT) {
            Ok(word) => {
                self.heard.note(word);
                Ok(true)
            }
            Err(Errno::EAGAIN) => Ok(false),
            Err(Errno::EINTR) => Ok(true),
            Err(Errno::EPIPE | Errno::ECONNRESET) => Err(NoHello::Died),
            Err(errno) => Err(NoHello::Failed(errno)),
        }
    }

    /// Kills its spare and asks how that ended: the limit of time stands on it. Orders another.
    pub(crate) fn prove_that_kill_kills(&mut self) -> Result<(), SandboxError> {
        const WALL: &str = "sigkill";
        let missing = |reason: String| SandboxError::WallMissing {
            wall: WALL.to_owned(),
            reason,
        };
        let failed = |what: &str| SandboxError::Zygote(what.to_owned());
        let job = self
            .take_spare()
            .map_err(|error| failed(&error.to_string()))?;
        self.wait_for_hello(&job)
            .map_err(|error| failed(&error.to_string()))?;
        // So that its zygote waits for it as for any that is watched, and lets go of it.
        self.watch(&job);
        self.kill(&job).map_err(|error| {
            missing(format!(
                "a job process cannot be killed ({error}); started as root, the service needs CAP_KILL"
            ))
        })?;
        let reaped = self
            .ask_how_it_ended(&job)
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

    /// How `job` ended; waits until it has. It has been killed, or has died.
    pub(crate) fn ask_how_it_ended(&mut self, job: &JobProcess) -> Result<ChildReport, Errno> {
        self.watch(job);
        self.let_go(job);
        loop {
            if let Some(reaped) = self.heard.take_report() {
                return Ok(reaped);
            }
            match next_word(self.control.as_fd(), MsgFlags::empty()) {
                Ok(word) => self.heard.note(word),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }

    /// How `job`, which has been killed, ended is of no interest.
    pub(crate) fn stop_watching(&mut self, job: &JobProcess) {
        if self.heard.is_asked() {
            self.let_go(job);
        }
        self.heard.forget_report();
    }

    /// Whoever is watched stays until its zygote is told: the order of the next one came before its end. If that fails the
    /// zygote is gone, which the next execution finds out.
    fn let_go(&self, job: &JobProcess) {
        let _ = send_order(self.control.as_fd(), Order::Reap(job.side));
    }
}

/// Why there was no hello.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoHello {
    #[error("it takes no orders")]
    NotOrdered,
    #[error("its zygote or the job process itself died before it was ready")]
    Died,
    #[error("it was not ready in time")]
    TooLate,
    #[error("its line is not clean")]
    Broken,
    #[error("{0}")]
    Failed(Errno),
}

impl Drop for LiveZygote {
    /// In order first: the spare sees its line close and ends, the zygote reaps it and ends. Killed, it would leave
    /// its children to process 1, which in a container is this service.
    fn drop(&mut self) {
        self.lines.clear();
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
