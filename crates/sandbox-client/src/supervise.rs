//! Watching one job process from the moment it has its job to the moment it is dead.
//!
//! All that it writes is hostile: frames are checked one by one, log and result are held to the job's own bound, and
//! after its last word, at its deadline, on a cancel or on a broken rule it is killed, whatever it says.

use crate::execution_handle::{ExecutionHandle, Waker};
use crate::kept_log::{FinishedLog, KeptLog};
use crate::line::{Waited, wait_readable};
use crate::live_zygote::{JobProcess, LiveZygote};
use crate::sys;
use nix::errno::Errno;
use sandpiper_domain::Limits;
use sandpiper_sandbox_protocol::{BrokenProtocol, Done, Frame, FrameReader};
use std::mem;
use std::thread;
use std::time::{Duration, Instant};

/// Bytes read from a line at a time.
pub(crate) const READ_BYTES: usize = 64 * 1024;

/// An execution that takes longer than this is watched: its end would be heard of from its zygote, and meanwhile the next job
/// process is made. A shorter one has its answer first, and wakes nobody in between. Longer than the kernel's tick: a
/// timer that comes before the next of those has to be set in the processor's own clock, which in a virtual machine leaves the
/// machine.
const LONG: Duration = Duration::from_millis(10);

/// Whoever logs more often than this is left to go on for a while, and what it has logged by then is read at once: woken for
/// each line, its executor would take it off the processor that they share as often.
const FEW_LOGS: usize = 4;

/// How a job process ended, as far as its executor saw it.
#[derive(Debug)]
pub(crate) enum Ending {
    /// It said its last word.
    Done(Done),
    /// It was still running when its time and the grace were over.
    Overran,
    /// Somebody cancelled it.
    Cancelled,
    /// It died without a last word.
    Died,
    /// It died before it had read its job, or was not born in time: nothing of that has run that anybody will hear of.
    DiedUnread,
    /// It said what no job process says.
    Broke(BrokenProtocol),
    /// The line itself failed.
    LineFailed(Errno),
}

/// All that is known of one execution's end.
#[derive(Debug)]
pub(crate) struct Observed {
    pub(crate) ending: Ending,
    pub(crate) log: FinishedLog,
    pub(crate) wall: Duration,
    /// By the kernel; absent when it was dead and reaped before it could be asked.
    pub(crate) cpu: Option<Duration>,
    /// It is dead, or about to be.
    pub(crate) is_over: bool,
}

/// What stays from one execution to the next, so that nothing is allocated twice.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    pub(crate) reader: FrameReader,
    pub(crate) bytes: Vec<u8>,
}

/// When an execution began, and what its process had used by then.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Start {
    /// The first byte of the job was on its way: the wall time that is reported counts from here.
    pub(crate) given: Instant,
    /// Then it is killed: its time and the grace count from when the job process had all of its job.
    pub(crate) kill_at: Instant,
    pub(crate) cpu_before: Duration,
}

/// Watches `job`, which has had its bytes since `start`, to its end, and kills it.
pub(crate) fn supervise(
    job: &JobProcess,
    zygote: &mut LiveZygote,
    limits: &Limits,
    start: Start,
    handle: &ExecutionHandle,
    waker: &Waker,
    buffers: &mut Buffers,
) -> Observed {
    buffers.reader.begin(limits);
    buffers.bytes.resize(READ_BYTES, 0);
    *handle.log() = KeptLog::new(limits);
    let ending = follow(job, zygote, limits, &start, handle, waker, buffers);
    let wall = start.given.elapsed();
    let is_dead = matches!(ending, Ending::Died | Ending::DiedUnread);
    // Whoever has said its last word has said hello before.
    let pid = match is_dead {
        true => zygote.pid_of(job),
        false => zygote.wait_for_hello(job).ok(),
    };
    let cpu = pid
        .and_then(sys::cpu_time_of)
        .map(|cpu| cpu.saturating_sub(start.cpu_before));
    // Proved to work when the zygote was raised. Whoever has not been born by now is not waited for again.
    let is_over = is_dead || pid.is_some() && zygote.kill(job).is_ok();
    if matches!(ending, Ending::Overran | Ending::Cancelled) {
        take_what_is_left(job, buffers, &mut handle.log());
    }
    let result_bytes = match &ending {
        Ending::Done(done) => done.result_bytes(),
        _ => 0,
    };
    Observed {
        ending,
        log: mem::take(&mut *handle.log()).finish(result_bytes),
        wall,
        cpu,
        is_over,
    }
}

/// Takes in what `job` says until it has said its last word, has died, or has to be killed.
fn follow(
    job: &JobProcess,
    zygote: &mut LiveZygote,
    limits: &Limits,
    start: &Start,
    handle: &ExecutionHandle,
    waker: &Waker,
    buffers: &mut Buffers,
) -> Ending {
    let output_bytes = usize::try_from(limits.output_bytes()).unwrap_or(usize::MAX);
    let mut kill_at = start.kill_at;
    // At its deadline too: whoever has not been born by then has had no time.
    let watch_at = kill_at.min(start.given + LONG);
    let mut is_watched = false;
    let mut has_ended = false;
    let mut times_logged = 0_usize;
    loop {
        if handle.is_cancelled() {
            return Ending::Cancelled;
        }
        let now = Instant::now();
        if !is_watched && now >= watch_at {
            zygote.watch(job);
            is_watched = true;
            // Its time counts from when it had all of its job, and that is not before it is born.
            if !matches!(zygote.hear_of(job), Ok(Some(_))) {
                if zygote.wait_for_hello(job).is_err() {
                    return Ending::DiedUnread;
                }
                kill_at = Instant::now() + (start.kill_at - start.given);
            }
            continue;
        }
        let Some(left) = kill_at.checked_duration_since(now) else {
            return Ending::Overran;
        };
        let (frames, woken) = (job.line.frames(), waker.descriptor());
        let waited = match (has_ended, is_watched) {
            // All that it will ever say is there.
            (true, _) => Ok(Waited::Woken),
            (_, true) => wait_readable([frames, woken, zygote.control()], left),
            (_, false) => wait_readable([frames, woken], left.min(watch_at - now)),
        };
        match waited {
            Ok(Waited::Woken) => {}
            Ok(Waited::TimeIsUp) => continue,
            Err(errno) => return Ending::LineFailed(errno),
        }
        match job.line.receive(&mut buffers.bytes) {
            Ok(0) => return death(job),
            Ok(count) => buffers.reader.push(&buffers.bytes[..count]),
            Err(Errno::EAGAIN | Errno::EINTR) if has_ended => return death(job),
            // It was the waker, the zygote, or nothing.
            Err(Errno::EAGAIN | Errno::EINTR) => {
                waker.settle();
                if is_watched {
                    has_ended = zygote.hear_all().is_err() || zygote.has_ended();
                }
                continue;
            }
            Err(errno) => return Ending::LineFailed(errno),
        }
        match take_frames(&mut buffers.reader, &mut handle.log()) {
            Ok(None) => {
                handle.tell_of_log();
                times_logged += 1;
                if times_logged > FEW_LOGS {
                    thread::yield_now();
                }
            }
            Ok(Some(done)) if done.result_bytes() <= output_bytes => return Ending::Done(done),
            Ok(Some(_)) => return Ending::Broke(BrokenProtocol::TooLong),
            Err(broken) => return Ending::Broke(broken),
        }
    }
}

/// How `job` died, which is dead and has said nothing more.
fn death(job: &JobProcess) -> Ending {
    if job.line.has_unread() {
        Ending::DiedUnread
    } else {
        Ending::Died
    }
}

/// Log frames that had arrived when the job process was killed: they are its last words.
fn take_what_is_left(job: &JobProcess, buffers: &mut Buffers, log: &mut KeptLog) {
    // A pipe holds 64 kilobytes; the count keeps even a broken one from holding the executor.
    for _ in 0..64 {
        match job.line.receive(&mut buffers.bytes) {
            Ok(0) | Err(_) => return,
            Ok(count) => buffers.reader.push(&buffers.bytes[..count]),
        }
        if !matches!(take_frames(&mut buffers.reader, log), Ok(None)) {
            return;
        }
    }
}

fn take_frames(
    reader: &mut FrameReader,
    log: &mut KeptLog,
) -> Result<Option<Done>, BrokenProtocol> {
    while let Some(frame) = reader.next_frame()? {
        match frame {
            Frame::Log(entry) => log.take(entry)?,
            Frame::Dropped => log.drop_one()?,
            Frame::Done(done) => return Ok(Some(done)),
        }
    }
    Ok(None)
}
