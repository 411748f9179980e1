//! The executor's side of one zygote: it orders, kills and watches job processes.
//!
//! `slots` has the states of the slots and of the requested report. This module makes the system calls that change
//! them.

use crate::channel::{Channel, wait, wait_readable};
use crate::control::{next_message, send_order};
use crate::error::SandboxError;
use crate::program::SandboxProgram;
use crate::slots::Slots;
use crate::zygote_process::ZygoteProcess;
use nix::errno::Errno;
use nix::poll::PollFlags;
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::MsgFlags;
use nix::unistd::Pid;
use sandpiper_sandbox_protocol::{
    ChildReport, IsolationLevel, LayerReport, Order, Sibling, Slot, Spare, ZygotePlan,
};
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Time for a spare to send its hello. The zygote is discarded afterwards.
const HELLO_WITHIN: Duration = Duration::from_secs(2);
/// Most bytes discarded by one read.
const SWEPT_BYTES: usize = 4096;

/// A zygote that was ready when the executor last received a message. Its process ends when this value is dropped.
#[derive(Debug)]
pub(crate) struct LiveZygote {
    process: ZygoteProcess,
    slots: Slots,
    /// Executions so far.
    pub(crate) served: u32,
}

/// A job process that was ordered. If it has not been forked yet, its job waits in the pipe.
#[derive(Debug)]
pub(crate) struct JobProcess {
    pub(crate) channel: Arc<Channel>,
    slot: Slot,
}

impl LiveZygote {
    pub(crate) fn spawn(program: &SandboxProgram, plan: &ZygotePlan) -> Result<Self, SandboxError> {
        Ok(Self {
            process: ZygoteProcess::spawn(program, plan)?,
            slots: Slots::new(),
            served: 0,
        })
    }

    pub(crate) fn level(&self) -> IsolationLevel {
        self.process.level
    }

    pub(crate) fn layers(&self) -> &[LayerReport] {
        &self.process.layers
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    pub(crate) fn has_died(&mut self) -> bool {
        self.process.has_died()
    }

    /// Orders the next job process, unless it was ordered already. The previous job process was killed. If the order
    /// fails, the zygote is gone, which the next execution finds out.
    pub(crate) fn ensure_spare(&mut self) {
        self.order_spare(Sibling::Killed);
    }

    fn order_spare(&mut self, sibling: Sibling) {
        let Some(slot) = self.slots.to_order() else {
            return;
        };
        if send_order(self.control(), Order::Spare(Spare { slot, sibling })).is_ok() {
            self.slots.note_order();
        }
    }

    /// Takes the spare, with a clean channel. The spare may not have been forked yet; its job can be written all the
    /// same.
    pub(crate) fn take_spare(&mut self) -> Result<JobProcess, SpawnError> {
        let slot = self.slots.spare().ok_or(SpawnError::NotOrdered)?;
        let job = JobProcess {
            channel: Arc::clone(self.process.channel(slot)),
            slot,
        };
        // The previous job process of this slot must be reaped before the job is written, or it might read the job.
        let forked = self.receive_until_forked(&job)?;
        if forked.is_none() && !self.slots.is_clear(slot) {
            self.wait_for_hello(&job)?;
        }
        (job.channel.sweep(&mut [0; SWEPT_BYTES])).map_err(|_| SpawnError::Unclean)?;
        self.slots.note_taken();
        Ok(job)
    }

    /// Writes all of `bytes` by `deadline`. Fails if the job process does not read them.
    pub(crate) fn send(
        &mut self,
        job: &JobProcess,
        mut bytes: &[u8],
        deadline: Instant,
    ) -> Result<(), Errno> {
        loop {
            bytes = &bytes[job.channel.send(bytes)?..];
            if bytes.is_empty() {
                return Ok(());
            }
            let left = deadline
                .checked_duration_since(Instant::now())
                .ok_or(Errno::ETIMEDOUT)?;
            self.watch(job);
            let control = (self.control(), PollFlags::POLLIN);
            wait([(job.channel.job(), PollFlags::POLLOUT), control], left)?;
            self.receive_all().map_err(|_| Errno::EPIPE)?;
            if self.has_ended() {
                return Err(Errno::EPIPE);
            }
        }
    }

    /// Returns the pid of a job process, once its hello was received.
    pub(crate) fn pid_of(&self, job: &JobProcess) -> Option<Pid> {
        self.slots.pid(job.slot)
    }

    /// Receives messages that have arrived, up to the hello of `job`. Returns its pid if it has been forked.
    pub(crate) fn receive_until_forked(
        &mut self,
        job: &JobProcess,
    ) -> Result<Option<Pid>, SpawnError> {
        while self.pid_of(job).is_none() && self.receive()? {}
        Ok(self.pid_of(job))
    }

    /// Waits for the hello of `job` and returns its pid. The death of a job process that is watched ends the wait.
    pub(crate) fn wait_for_hello(&mut self, job: &JobProcess) -> Result<Pid, SpawnError> {
        let deadline = Instant::now() + HELLO_WITHIN;
        loop {
            if let Some(pid) = self.pid_of(job) {
                return Ok(pid);
            }
            if self.receive()? {
                continue;
            }
            if self.has_ended() {
                return Err(SpawnError::Died);
            }
            let left = deadline
                .checked_duration_since(Instant::now())
                .ok_or(SpawnError::TooLate)?;
            wait_readable([self.control()], left).map_err(SpawnError::Failed)?;
        }
    }

    /// Kills a job process.
    ///
    /// The pid stays reserved until the zygote reaps the job process (before its next fork, or when the watch ends), so
    /// this cannot kill another process that has got the same pid.
    pub(crate) fn kill(&mut self, job: &JobProcess) -> Result<(), SpawnError> {
        let pid = self.wait_for_hello(job)?;
        kill(pid, Signal::SIGKILL).map_err(SpawnError::Failed)
    }

    /// Watches `job`: from now on the control socket becomes readable when it ends. Orders the next job process first,
    /// because the zygote forks nothing while it waits for `job` to end.
    pub(crate) fn watch(&mut self, job: &JobProcess) {
        self.order_spare(Sibling::Runs);
        if !self.slots.is_report_requested()
            && send_order(self.control(), Order::Report(job.slot)).is_ok()
        {
            self.slots.note_report_request();
        }
    }

    /// Returns the control socket, which becomes readable when a message has arrived.
    pub(crate) fn control(&self) -> BorrowedFd<'_> {
        self.process.control()
    }

    pub(crate) fn receive_all(&mut self) -> Result<(), SpawnError> {
        while self.receive()? {}
        Ok(())
    }

    /// Returns whether the job process that is watched has ended, as far as messages were received.
    pub(crate) fn has_ended(&self) -> bool {
        self.slots.has_report()
    }

    /// Receives the next message. Returns false if none has arrived.
    fn receive(&mut self) -> Result<bool, SpawnError> {
        match next_message(self.control(), MsgFlags::MSG_DONTWAIT) {
            Ok(message) => {
                self.slots.note(message);
                Ok(true)
            }
            Err(Errno::EAGAIN) => Ok(false),
            Err(Errno::EINTR) => Ok(true),
            Err(Errno::EPIPE | Errno::ECONNRESET) => Err(SpawnError::Died),
            Err(errno) => Err(SpawnError::Failed(errno)),
        }
    }

    /// Proves that a job process can be killed, which the time limit depends on. Kills the spare and orders another.
    pub(crate) fn prove_that_kill_kills(&mut self) -> Result<(), SandboxError> {
        const LAYER: &str = "sigkill";
        let missing = |reason: String| SandboxError::LayerMissing {
            layer: LAYER.to_owned(),
            reason,
        };
        let failed = |error: SpawnError| SandboxError::Zygote(error.to_string());
        let job = self.take_spare().map_err(failed)?;
        self.wait_for_hello(&job).map_err(failed)?;
        // The zygote reports and reaps a job process only if it is watched.
        self.watch(&job);
        self.kill(&job).map_err(|error| {
            missing(format!(
                "a job process cannot be killed ({error}); started as root, the service needs CAP_KILL"
            ))
        })?;
        let report = self.wait_for_report(&job).map_err(|errno| {
            SandboxError::Zygote(format!("it did not report how its child ended: {errno}"))
        })?;
        if report.signal != Some(libc::SIGKILL) {
            return Err(missing(format!(
                "a job process that was killed ended as {report:?}"
            )));
        }
        let report = LayerReport::present(LAYER, "a job process was killed, and died of it");
        self.process.layers.push(report.required());
        Ok(())
    }

    /// Waits until `job`, which was killed or has died, has ended. Returns the zygote's report of it.
    pub(crate) fn wait_for_report(&mut self, job: &JobProcess) -> Result<ChildReport, Errno> {
        self.watch(job);
        self.order_reaping(job);
        loop {
            if let Some(report) = self.slots.take_report() {
                return Ok(report);
            }
            match next_message(self.control(), MsgFlags::empty()) {
                Ok(message) => self.slots.note(message),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }

    /// Ends the watch over `job`, which was killed. Its report is not wanted.
    pub(crate) fn stop_watching(&mut self, job: &JobProcess) {
        if self.slots.is_report_requested() {
            self.order_reaping(job);
        }
        self.slots.cancel_report();
    }

    /// Lets the zygote reap a job process that is watched: the next one was ordered beside it and not after it. If the
    /// order fails, the zygote is gone, which the next execution finds out.
    fn order_reaping(&self, job: &JobProcess) {
        let _ = send_order(self.control(), Order::Reap(job.slot));
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SpawnError {
    #[error("it accepts no order for a job process")]
    NotOrdered,
    #[error("it or its job process died before the job process was ready")]
    Died,
    #[error("its job process was not ready within {} s", HELLO_WITHIN.as_secs())]
    TooLate,
    #[error("a pipe of its job process holds foreign bytes or is closed")]
    Unclean,
    #[error("a system call on its job process failed: {0}")]
    Failed(Errno),
}
