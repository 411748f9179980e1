//! The forked child that runs exactly one execution.
//!
//! It is born behind its zygote's filter, without the secret that lets calls of the zygote's pass, tied to its zygote's life,
//! without the control socket and without the line that is not its own (`privilege`). It lowers its own address space to the job's measure, reads its job, runs,
//! writes its last frame and waits to be killed. It never returns and runs no destructor.

use super::sys;
use crate::engine::{self, Completion, Output, Sample, WarmEngine, Written};
use nix::errno::Errno;
use nix::sys::resource::{Resource, setrlimit};
use sandpiper_domain::{LogKind, Outcome, ScriptError, ValueType};
use sandpiper_sandbox_protocol::Descriptors;
use sandpiper_sandbox_protocol::{self as protocol, Header, PREFIX_BYTES};
use std::cell::RefCell;
use std::convert::Infallible;
use std::ffi::c_void;
use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;
use std::time::Duration;

const EXIT_ORDERLY: i32 = 0;
const EXIT_BROKEN: i32 = 71;

/// What a zygote prepares and a job process does. The service's is [`EngineBody`]; the tests put attackers here.
pub trait JobBody {
    /// What is prepared once and inherited by every job process.
    type Warm;
    /// Prepares it, before the walls stand.
    fn warm() -> Result<Self::Warm, String>;
    /// Does the job.
    fn run(warm: Self::Warm, job: JobBytes, channel: Channel) -> !;
    /// Prepares it once more, does `sample` with it, and tells `report` to which blocks of the heap that wrote. Returns if it
    /// has nothing to tell.
    fn rehearse(_sample: Sample, _report: Box<dyn Fn(&Written) -> Infallible>) {}
}

/// A job as it was read: header and texts.
#[derive(Debug)]
pub struct JobBytes {
    bytes: Vec<u8>,
    header_bytes: usize,
}

impl JobBytes {
    /// The text that follows the header: all sources, input and globals in one.
    #[must_use]
    pub fn texts(&self) -> &[u8] {
        &self.bytes[PREFIX_BYTES + self.header_bytes..]
    }

    fn header(&self) -> &[u8] {
        &self.bytes[PREFIX_BYTES..PREFIX_BYTES + self.header_bytes]
    }
}

/// The job process's end of its line.
#[derive(Debug, Clone, Copy)]
pub struct Channel(&'static Descriptors);

impl Channel {
    /// Its numbers: jobs are read from the first, frames written to the second. For attackers.
    #[must_use]
    pub fn descriptors(self) -> (i32, i32) {
        (self.0.job, self.0.frames)
    }

    /// Writes all of `bytes`; if nobody reads any more, there is nothing left to do.
    pub fn write_all(self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            match sys::write_fd(self.0.frames, bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(Errno::EINTR) => {}
                Err(_) => sys::exit_now(EXIT_ORDERLY),
            }
        }
    }

    /// Waits to be killed. Staying until then lets the executor read this process's clock, and keeps its pid from being
    /// given to another process before the kill.
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

    fn fill(self, buffer: &mut [u8], mut filled: usize) {
        while filled < buffer.len() {
            match sys::read_fd(self.0.job, &mut buffer[filled..]) {
                // A spare that is not needed sees its line close.
                Ok(0) => sys::exit_now(EXIT_ORDERLY),
                Ok(count) => filled += count,
                Err(Errno::EINTR) => {}
                Err(_) => sys::exit_now(EXIT_BROKEN),
            }
        }
    }

    /// Reads all of the job. Takes no more memory than the job says before the kernel has been told its bound.
    fn read_job(self, born_with_bytes: u64) -> JobBytes {
        // One read takes all of a small job. On the stack, of which a page or two are this process's own already.
        let mut first = [0; 1024];
        let mut filled = 0;
        while filled < PREFIX_BYTES {
            match sys::read_fd(self.0.job, &mut first[filled..]) {
                Ok(0) => sys::exit_now(EXIT_ORDERLY),
                Ok(count) => filled += count,
                Err(Errno::EINTR) => {}
                Err(_) => sys::exit_now(EXIT_BROKEN),
            }
        }
        let Some(prefix) = protocol::prefix(&first) else {
            sys::exit_now(EXIT_BROKEN)
        };
        let most = born_with_bytes.saturating_add(prefix.room);
        if setrlimit(Resource::RLIMIT_AS, most, most).is_err() {
            sys::exit_now(EXIT_BROKEN);
        }
        let job_bytes = PREFIX_BYTES + prefix.header_bytes + prefix.text_bytes;
        let mut bytes = Vec::with_capacity(job_bytes);
        bytes.extend_from_slice(&first[..filled.min(job_bytes)]);
        if filled < job_bytes {
            bytes.resize(job_bytes, 0);
            self.fill(&mut bytes, filled);
        }
        JobBytes {
            bytes,
            header_bytes: prefix.header_bytes,
        }
    }
}

/// What a zygote prepares for its children, each of which takes its copy.
pub(super) struct Inheritance<B: JobBody> {
    pub(super) warm: B::Warm,
    /// Address space that a child is born with.
    pub(super) born_with_bytes: u64,
}

/// Where a job process begins, on its own stack.
///
/// # Safety
/// `inheritance` is an [`Inheritance`] of the same body, and this process is a child that nobody else shares it with.
pub(super) unsafe extern "C" fn begin<B: JobBody>(
    inheritance: *const c_void,
    line: &'static Descriptors,
) -> ! {
    // SAFETY: as the caller says; it is this process's own copy, and never dropped here or by the zygote.
    let inheritance = unsafe { inheritance.cast::<Inheritance<B>>().read() };
    // The filter allows no fork; without privilege the kernel would allow none either.
    if setrlimit(Resource::RLIMIT_NPROC, 0, 0).is_err() {
        sys::exit_now(EXIT_BROKEN);
    }
    let channel = Channel(line);
    let job = channel.read_job(inheritance.born_with_bytes);
    B::run(inheritance.warm, job, channel)
}

/// What the service's job processes do: run a script, or try the network.
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

/// Opens a connection as native code would. Behind the walls the first call ends this process.
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
        error: None::<ScriptError>,
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

    fn finish(&self, completion: &Completion) -> ! {
        // Not the log's buffer: the engine may call this from inside a log call.
        let mut buffer = Vec::new();
        protocol::encode_done(&mut buffer, completion);
        self.channel.write_all(&buffer);
        self.channel.wait_to_be_killed()
    }
}
