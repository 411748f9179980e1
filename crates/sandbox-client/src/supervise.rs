//! Supervision of one job process, from the moment when it has its job to its death.
//!
//! All bytes that a job process writes are hostile. Frames are checked one by one; log and result are held to the job's
//! limits. The job process is killed after its final frame, at its deadline, on a cancel and when it breaks the
//! protocol.
//!
//! A job process that runs for long is *watched*: its zygote reports its end, and forks the next one meanwhile.
//!
//! ```text
//!              10 ms, or the deadline         the zygote reports the end
//!   Watch::Off ─────────────────────▶ Watch::On ─────────────────▶ Watch::Ended
//! ```
//!
//! Each phase can lead to a [`Termination`].

use crate::channel::{Waited, wait_readable};
use crate::execution_handle::{ExecutionHandle, Waker};
use crate::live_zygote::{JobProcess, LiveZygote, SpawnError};
use crate::retained_log::RetainedLog;
use crate::rounds::Reported;
use crate::sys;
use crate::termination::{Observation, Termination};
use nix::errno::Errno;
use sandpiper_domain::tools::ConsoleBytes;
use sandpiper_sandbox_protocol::{BrokenProtocol, Done, Frame, FrameReader, Work};
use std::mem;
use std::thread;
use std::time::{Duration, Instant};

/// Bytes read from a channel at a time.
const READ_BYTES: usize = 64 * 1024;

/// Most reads after a job process was killed at its deadline or on a cancel: a pipe holds 64 kilobytes. The bound keeps a
/// misbehaving pipe from occupying the executor.
const LAST_READS_MAX: usize = 64;

/// An execution that takes longer than this is watched. A shorter one gets its response first and wakes no process in
/// between. The time is longer than the kernel's tick: a timer that expires before the next tick is set in the
/// processor's own clock, which costs an exit from a virtual machine.
const WATCH_AFTER: Duration = Duration::from_millis(10);

/// Reads of log frames after which the executor yields, so that a job process that logs much can go on and its frames
/// are read together. Without this the executor would preempt the job process, on their common processor, for every
/// frame.
const PROMPT_LOG_READS: usize = 4;

/// Memory that is reused from one execution to the next.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    reader: FrameReader,
    bytes: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Start {
    /// The first byte of the job was written then. The reported time counts from here.
    pub(crate) written_at: Instant,
    /// The job process is killed then. Time limit and grace period count from when it had its whole job.
    pub(crate) kill_at: Instant,
    /// Processor time that the process had used before.
    pub(crate) cpu_before: Duration,
}

/// The phase of the watch over a job process. See the diagram of this module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Watch {
    Off,
    On,
    Ended,
}

struct Supervision<'a> {
    job: &'a JobProcess,
    zygote: &'a mut LiveZygote,
    handle: &'a ExecutionHandle,
    waker: &'a Waker,
    buffers: &'a mut Buffers,
    /// The report of the job process about its round, if it runs one.
    reported: Option<Reported<'a>>,
}

/// The last frames of a job process.
enum LastFrame {
    Done(Box<Done>),
    Suspended,
}

/// Supervises `job`, which has had its bytes since `start`, until it has ended or was killed.
pub(crate) fn supervise(
    job: &JobProcess,
    zygote: &mut LiveZygote,
    work: &Work<'_>,
    start: Start,
    handle: &ExecutionHandle,
    waker: &Waker,
    buffers: &mut Buffers,
) -> Observation {
    let (limits, round) = (&work.limits(), work.round());
    buffers
        .reader
        .begin(limits, round.map(|round| round.tool_limits));
    buffers.bytes.resize(READ_BYTES, 0);
    *handle.log() = match round {
        None => RetainedLog::new(limits),
        // A strict replay tells all entries again.
        Some(round) if round.strict => RetainedLog::of_round(limits, ConsoleBytes::default()),
        Some(round) => RetainedLog::of_round(limits, round.log.console()),
    };
    let mut supervision = Supervision {
        job,
        zygote,
        handle,
        waker,
        buffers,
        reported: round.map(Reported::new),
    };
    let termination = supervision.follow(&start);
    supervision.conclude(termination, &start)
}

impl Supervision<'_> {
    /// Reads frames until the job process has sent its final frame, has died or must be killed.
    fn follow(&mut self, start: &Start) -> Termination {
        let mut kill_at = start.kill_at;
        // At the deadline at the latest: a job process that was not forked by then has had no time to run.
        let watch_at = kill_at.min(start.written_at + WATCH_AFTER);
        let mut watch = Watch::Off;
        let mut log_reads = 0_usize;
        loop {
            if self.handle.is_cancelled() {
                return Termination::Cancelled;
            }
            let now = Instant::now();
            if watch == Watch::Off && now >= watch_at {
                match self.watch() {
                    Ok(Forked::Before) => {}
                    // The time limit counts from when the job process had its whole job, which was not before its fork.
                    Ok(Forked::JustNow) => {
                        kill_at = Instant::now() + (start.kill_at - start.written_at);
                    }
                    Err(_) => return Termination::DiedUnread,
                }
                watch = Watch::On;
                continue;
            }
            let Some(left) = kill_at.checked_duration_since(now) else {
                return Termination::Overran;
            };
            match self.wait(watch, left, watch_at.saturating_duration_since(now)) {
                Ok(Waited::Woken) => {}
                Ok(Waited::TimeIsUp) => continue,
                Err(errno) => return Termination::ChannelFailed(errno),
            }
            match self.job.channel.receive(&mut self.buffers.bytes) {
                Ok(0) => return self.death(),
                Ok(count) => self.buffers.reader.push(&self.buffers.bytes[..count]),
                Err(Errno::EAGAIN | Errno::EINTR) if watch == Watch::Ended => return self.death(),
                Err(Errno::EAGAIN | Errno::EINTR) => {
                    watch = self.note_wake_up(watch);
                    continue;
                }
                Err(errno) => return Termination::ChannelFailed(errno),
            }
            match self.take_frames() {
                Ok(None) => {}
                Ok(Some(LastFrame::Done(done)))
                    if done.result_bytes() > self.handle.log().room_for_result() =>
                {
                    return Termination::Broke(BrokenProtocol::TooLong);
                }
                Ok(Some(last)) => return self.last_termination(last, start),
                Err(broken) => return Termination::Broke(broken),
            }
            self.handle.notify_of_log();
            log_reads += 1;
            if log_reads > PROMPT_LOG_READS {
                thread::yield_now();
            }
        }
    }

    /// Returns the termination of a job process that has sent its last frame. Checks the report of a round.
    fn last_termination(&mut self, last: LastFrame, start: &Start) -> Termination {
        let entries = self.handle.log().received();
        if let Some(reported) = &mut self.reported {
            let outcome = match &last {
                LastFrame::Done(done) => Some(done.outcome),
                LastFrame::Suspended => None,
            };
            if let Err(reason) = reported.check(outcome, entries, start.written_at.elapsed()) {
                return Termination::Broke(BrokenProtocol::ForgedRound(reason));
            }
        }
        match last {
            LastFrame::Done(done) => Termination::Done(done),
            LastFrame::Suspended => Termination::Suspended,
        }
    }

    /// Watches the job process, and waits until it is forked.
    fn watch(&mut self) -> Result<Forked, SpawnError> {
        self.zygote.watch(self.job);
        if matches!(self.zygote.receive_until_forked(self.job), Ok(Some(_))) {
            return Ok(Forked::Before);
        }
        self.zygote.wait_for_hello(self.job)?;
        Ok(Forked::JustNow)
    }

    /// Waits for frames or a wake-up, and for a message of the zygote if the job process is watched.
    fn wait(&self, watch: Watch, left: Duration, until_watch: Duration) -> Result<Waited, Errno> {
        let (frames, woken) = (self.job.channel.frames(), self.waker.descriptor());
        match watch {
            Watch::Off => wait_readable([frames, woken], left.min(until_watch)),
            Watch::On => wait_readable([frames, woken, self.zygote.control()], left),
            // All frames of a job process that has ended are in the pipe.
            Watch::Ended => Ok(Waited::Woken),
        }
    }

    /// Handles a wake-up that no frame caused: one from the handle, from the zygote, or a spurious one.
    fn note_wake_up(&mut self, watch: Watch) -> Watch {
        self.waker.clear();
        if watch == Watch::On && (self.zygote.receive_all().is_err() || self.zygote.has_ended()) {
            return Watch::Ended;
        }
        watch
    }

    /// Returns the termination of a job process that has died and whose frames were all read.
    fn death(&self) -> Termination {
        if self.job.channel.has_unread() {
            Termination::DiedUnread
        } else {
            Termination::Died
        }
    }

    /// Kills the job process and collects its remaining data.
    fn conclude(&mut self, termination: Termination, start: &Start) -> Observation {
        let wall = start.written_at.elapsed();
        let pid = if termination.is_death() {
            self.zygote.pid_of(self.job)
        } else {
            // The hello of a job process precedes its frames.
            self.zygote.wait_for_hello(self.job).ok()
        };
        let cpu = pid
            .and_then(sys::cpu_time_of)
            .map(|cpu| cpu.saturating_sub(start.cpu_before));
        // A job process that has not been forked by now is not waited for again. A kill was proved to work when the
        // zygote was started.
        let is_over = termination.is_death() || pid.is_some() && self.zygote.kill(self.job).is_ok();
        if matches!(termination, Termination::Overran | Termination::Cancelled) {
            self.take_last_frames();
        }
        if !matches!(
            termination,
            Termination::Done(_) | Termination::Suspended | Termination::Broke(_)
        ) && let Some(reported) = &mut self.reported
        {
            let entries = self.handle.log().received();
            reported.check_of_the_dead(entries, start.written_at.elapsed());
        }
        let result_bytes = match &termination {
            Termination::Done(done) => done.result_bytes(),
            _ => 0,
        };
        Observation {
            termination,
            log: mem::take(&mut *self.handle.log()).finish(result_bytes),
            round: self.reported.take().map(Reported::into_checked),
            wall,
            cpu,
            is_over,
        }
    }

    /// Takes the log frames that had arrived when the job process was killed.
    fn take_last_frames(&mut self) {
        for _ in 0..LAST_READS_MAX {
            match self.job.channel.receive(&mut self.buffers.bytes) {
                Ok(0) | Err(_) => return,
                Ok(count) => self.buffers.reader.push(&self.buffers.bytes[..count]),
            }
            if !matches!(self.take_frames(), Ok(None)) {
                return;
            }
        }
    }

    /// Takes complete frames, up to the final one.
    fn take_frames(&mut self) -> Result<Option<LastFrame>, BrokenProtocol> {
        let mut log = self.handle.log();
        while let Some(frame) = self.buffers.reader.next_frame()? {
            match frame {
                Frame::Log(entry) => log.take(entry)?,
                Frame::Dropped => log.drop_one()?,
                Frame::Done(done) => return Ok(Some(LastFrame::Done(done))),
                Frame::Replayed => {
                    let reported = self.reported.as_mut();
                    reported
                        .ok_or(BrokenProtocol::UnknownKind)?
                        .note_replayed()?;
                }
                Frame::Round(report) => {
                    let reported = self.reported.as_mut();
                    if reported.ok_or(BrokenProtocol::UnknownKind)?.note(report)? {
                        return Ok(Some(LastFrame::Suspended));
                    }
                }
            }
        }
        Ok(None)
    }
}

/// The time of a job process's fork, relative to the start of the watch.
enum Forked {
    Before,
    JustNow,
}
