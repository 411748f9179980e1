//! The forked child that runs exactly one execution.
//!
//! A job process is forked behind its zygote's filter and without the secret that the zygote's calls need. It dies with
//! its zygote. It has neither the control socket nor the descriptors of the other slot (`privilege`). It lowers its own
//! address space to the job's limit, reads the job, runs it, writes its final frame and waits to be killed. It never
//! returns and runs no destructor.

use super::sys;
use crate::engine::{self, Completion, Output, Sample, WarmEngine, Written};
use nix::errno::Errno;
use nix::sys::resource::{Resource, setrlimit};
use sandpiper_domain::{LogKind, Outcome, ValueType};
use sandpiper_sandbox_protocol::Descriptors;
use sandpiper_sandbox_protocol::{self as protocol, Header, PREFIX_BYTES, RoundReport};
use std::cell::RefCell;
use std::convert::Infallible;
use std::ffi::c_void;
use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;
use std::time::Duration;

const EXIT_ORDERLY: i32 = 0;
/// The exit code of a job process whose set-up or job is broken.
pub(super) const EXIT_BROKEN: i32 = 71;

/// The code that a zygote prepares and a job process runs. [`EngineBody`] is the service's; the tests put attackers in
/// its place.
pub trait JobBody {
    /// The prepared state, which every job process inherits.
    type Warm;
    /// Prepares the state, while files can still be opened: before resource limits, landlock and the filter.
    fn warm() -> Result<Self::Warm, String>;
    fn run(warm: Self::Warm, job: JobBytes, channel: Channel) -> !;
    /// Prepares the state once more, runs `sample` with it, and passes to `report` the blocks of the heap that the run
    /// wrote to. Returns if it has nothing to report.
    fn rehearse(_sample: Sample, _report: Box<dyn Fn(&Written) -> Infallible>) {}
}

/// A job as it was read: header and texts.
#[derive(Debug)]
pub struct JobBytes {
    bytes: Vec<u8>,
    header_bytes: usize,
}

impl JobBytes {
    /// Returns the texts that follow the header: all sources, the input and the globals.
    pub fn texts(&self) -> &[u8] {
        &self.bytes[PREFIX_BYTES + self.header_bytes..]
    }

    fn header(&self) -> &[u8] {
        &self.bytes[PREFIX_BYTES..PREFIX_BYTES + self.header_bytes]
    }
}

/// The job process's end of its slot.
#[derive(Debug, Clone, Copy)]
pub struct Channel(&'static Descriptors);

impl Channel {
    /// Returns the descriptors: jobs are read from the first, frames are written to the second. For attackers.
    pub fn descriptors(self) -> (i32, i32) {
        (self.0.job, self.0.frames)
    }

    /// Writes all of `bytes`. Ends this process if the executor has closed its end.
    pub fn write_all(self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            match sys::write_fd(self.0.frames, bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(Errno::EINTR) => {}
                Err(_) => sys::exit_now(EXIT_ORDERLY),
            }
        }
    }

    /// Waits to be killed. Until then the executor can read this process's processor clock, and its pid cannot pass to
    /// another process.
    pub fn wait_to_be_killed(self) -> ! {
        let mut nothing = [0; 64];
        loop {
            match sys::read_fd(self.0.job, &mut nothing) {
                Ok(0) => sys::exit_now(EXIT_ORDERLY),
                Ok(_) | Err(Errno::EINTR) => {}
                Err(_) => sys::exit_now(EXIT_BROKEN),
            }
        }
    }

    /// Reads behind the first `filled` bytes of `buffer` until at least `least` bytes are filled. Returns how many are.
    fn fill(self, buffer: &mut [u8], mut filled: usize, least: usize) -> usize {
        while filled < least {
            match sys::read_fd(self.0.job, &mut buffer[filled..]) {
                // The slot closes when the spare is not needed.
                Ok(0) => sys::exit_now(EXIT_ORDERLY),
                Ok(count) => filled += count,
                Err(Errno::EINTR) => {}
                Err(_) => sys::exit_now(EXIT_BROKEN),
            }
        }
        filled
    }

    /// Reads the whole job. Bounds the address space before it allocates anything, and then allocates no more than the job
    /// needs.
    fn read_job(self, forked_with_bytes: u64) -> JobBytes {
        // One read takes all of a small job. The buffer is on the stack, of which a page or two already belong to this
        // process.
        let mut first = [0; 1024];
        let filled = self.fill(&mut first, 0, PREFIX_BYTES);
        let Some(prefix) = protocol::prefix(&first) else {
            sys::exit_now(EXIT_BROKEN)
        };
        let most = forked_with_bytes.saturating_add(prefix.room);
        if setrlimit(Resource::RLIMIT_AS, most, most).is_err() {
            sys::exit_now(EXIT_BROKEN);
        }
        let job_bytes = PREFIX_BYTES + prefix.header_bytes + prefix.text_bytes;
        let mut bytes = Vec::with_capacity(job_bytes);
        bytes.extend_from_slice(&first[..filled.min(job_bytes)]);
        if filled < job_bytes {
            bytes.resize(job_bytes, 0);
            self.fill(&mut bytes, filled, job_bytes);
        }
        JobBytes {
            bytes,
            header_bytes: prefix.header_bytes,
        }
    }
}

/// The state that a zygote prepares for its children. Each child takes its own copy.
pub(super) struct Inheritance<B: JobBody> {
    pub(super) warm: B::Warm,
    /// Address space that a child is forked with, bytes.
    pub(super) forked_with_bytes: u64,
}

/// The entry point of a job process, on its own stack.
///
/// # Safety
/// `inheritance` points to an [`Inheritance`] of the same body. This process is a child that shares it with no other
/// process.
pub(super) unsafe extern "C" fn begin<B: JobBody>(
    inheritance: *const c_void,
    slot: &'static Descriptors,
) -> ! {
    // SAFETY: guaranteed by the caller. This is the process's own copy, and neither this process nor the zygote drops
    // it.
    let inheritance = unsafe { inheritance.cast::<Inheritance<B>>().read() };
    // The filter allows no fork. Without privilege this limit makes the kernel refuse one as well.
    if setrlimit(Resource::RLIMIT_NPROC, 0, 0).is_err() {
        sys::exit_now(EXIT_BROKEN);
    }
    let channel = Channel(slot);
    let job = channel.read_job(inheritance.forked_with_bytes);
    B::run(inheritance.warm, job, channel)
}

/// The body of the service's job processes: runs a script, or tries the network.
#[derive(Debug)]
pub struct EngineBody;

impl JobBody for EngineBody {
    type Warm = WarmEngine;

    fn warm() -> Result<WarmEngine, String> {
        WarmEngine::warm().map_err(|error| error.to_string())
    }

    fn rehearse(sample: Sample, report: Box<dyn Fn(&Written) -> Infallible>) {
        engine::rehearse(sample, report);
    }

    fn run(warm: WarmEngine, job: JobBytes, channel: Channel) -> ! {
        let Ok(header) = protocol::decode_header(job.header()) else {
            sys::exit_now(EXIT_BROKEN)
        };
        let output = Rc::new(ChannelOutput {
            channel,
            buffer: RefCell::new(Vec::with_capacity(1024)),
        });
        if let Header::NetCheck { host, port } = header {
            let text = try_network(SocketAddr::new(host, port));
            output.finish(&net_check_completion(text))
        }
        let Ok(engine_job) = protocol::engine_job(&header, job.texts()) else {
            sys::exit_now(EXIT_BROKEN)
        };
        warm.run(&engine_job, output)
    }
}

/// Opens a connection with native code. Inside the isolation layers the first call ends this process.
fn try_network(target: SocketAddr) -> &'static str {
    match TcpStream::connect_timeout(&target, Duration::from_secs(1)) {
        Ok(_) => "reached",
        Err(_) => "tried",
    }
}

fn net_check_completion(text: &str) -> Completion {
    Completion {
        outcome: Outcome::Succeeded,
        result: Some(format!("\"{text}\"")),
        result_type: Some(ValueType::String),
        error: None,
        hint: None,
        peak_memory_bytes: 0,
    }
}

struct ChannelOutput {
    channel: Channel,
    buffer: RefCell<Vec<u8>>,
}

impl Output for ChannelOutput {
    fn log(&self, kind: LogKind, depth: u32, timestamp_millis: u64, data: &str) {
        let mut buffer = self.buffer.borrow_mut();
        protocol::encode_log(&mut buffer, kind, depth, timestamp_millis, data);
        self.channel.write_all(&buffer);
    }

    fn log_dropped(&self) {
        let mut buffer = self.buffer.borrow_mut();
        protocol::encode_dropped(&mut buffer);
        self.channel.write_all(&buffer);
    }

    fn replayed(&self) {
        let mut buffer = Vec::new();
        protocol::encode_replayed(&mut buffer);
        self.channel.write_all(&buffer);
    }

    fn round(&self, report: &RoundReport) {
        // A buffer of its own, as in `finish`.
        let mut buffer = Vec::new();
        protocol::encode_round(&mut buffer, report);
        self.channel.write_all(&buffer);
    }

    fn suspend(&self, report: &RoundReport) -> ! {
        self.round(report);
        self.channel.wait_to_be_killed()
    }

    fn finish(&self, completion: &Completion) -> ! {
        // A buffer of its own: the engine may call this from inside a log call, which holds the other buffer.
        let mut buffer = Vec::new();
        protocol::encode_done(&mut buffer, completion);
        self.channel.write_all(&buffer);
        self.channel.wait_to_be_killed()
    }
}
