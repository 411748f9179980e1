//! The state of the one execution this process runs: its limits, its deadline, what it has used, and its last word.
//!
//! Its own: the counters and the two ways an execution ends from below (deadline, output budget). Not its own: JavaScript
//! values; nothing here touches the engine, so every part of the engine may hold it. Called by all of `engine`.

use super::allocator::MemoryAccount;
use super::clock::{self, Clock};
use super::{Completion, EngineJob, Output};
use sandpiper_domain::{Limits, LogEntry, LogKind, Outcome, ScriptError, ValueType};
use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// What a successful execution hands over.
pub(super) struct Success {
    pub(super) json: String,
    pub(super) value_type: ValueType,
}

/// One execution, as the host keeps it.
pub(super) struct Host {
    pub(super) memory: Rc<MemoryAccount>,
    pub(super) clock: Clock,
    pub(super) random: RefCell<fastrand::Rng>,
    /// How many `console.group` are open.
    pub(super) group_depth: Cell<u32>,
    output: OnceCell<Rc<dyn Output>>,
    /// Name and text of each of the user's sources.
    sources: OnceCell<Vec<(String, String)>>,
    timeout: Cell<Duration>,
    deadline: Cell<Instant>,
    interrupted: Cell<bool>,
    output_bytes: Cell<usize>,
    log_bytes_max: Cell<u64>,
    /// What the log came to so far, whether kept or not.
    log_bytes: Cell<u64>,
}

impl Host {
    pub(super) fn new(memory: Rc<MemoryAccount>) -> Self {
        Self {
            memory,
            clock: Clock::new(),
            random: RefCell::new(fastrand::Rng::with_seed(0)),
            group_depth: Cell::new(0),
            output: OnceCell::new(),
            sources: OnceCell::new(),
            timeout: Cell::new(Duration::MAX),
            deadline: Cell::new(Instant::now() + Duration::from_secs(3600)),
            interrupted: Cell::new(false),
            output_bytes: Cell::new(0),
            log_bytes_max: Cell::new(0),
            log_bytes: Cell::new(0),
        }
    }

    /// Starts the one execution: from here on its limits hold.
    pub(super) fn start(&self, job: &EngineJob<'_>, output: Rc<dyn Output>) {
        let now = Instant::now();
        self.timeout.set(job.limits.timeout());
        self.deadline.set(now + job.limits.timeout());
        self.output_bytes
            .set(usize::try_from(job.limits.output_bytes()).unwrap_or(usize::MAX));
        self.log_bytes_max.set(job.limits.log_bytes());
        self.clock.start(now, job.seed.is_some());
        self.random
            .replace(fastrand::Rng::with_seed(job.seed.unwrap_or(job.entropy)));
        let sources = job.sources.iter();
        let sources = sources.map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
        // A second start cannot happen: `WarmEngine::run` takes the engine and never returns.
        let _ = self.sources.set(sources.collect());
        let limit = usize::try_from(job.limits.memory_bytes()).unwrap_or(usize::MAX);
        self.memory.start(limit, Rc::clone(&output));
        let _ = self.output.set(output);
    }

    /// The text of the user's own source of this name.
    pub(super) fn source(&self, name: &str) -> Option<&str> {
        let (_, text) = self.sources.get()?.iter().find(|(own, _)| own == name)?;
        Some(text)
    }

    /// Until the deadline; `None` when it has passed.
    pub(super) fn time_left(&self) -> Option<Duration> {
        let left = self
            .deadline
            .get()
            .saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    /// What the engine asks every few thousand steps. The first yes becomes an error that a script cannot catch and that
    /// knows its line; if the engine is still running when it asks again (each interrupt ends one job of the promise
    /// queue only), the execution ends on the spot.
    pub(super) fn should_interrupt(&self) -> bool {
        if self.time_left().is_some() {
            return false;
        }
        if self.interrupted.replace(true) {
            self.finish_timed_out("");
        }
        true
    }

    /// What a timed-out execution says; `waiting` is a clause about what it was doing, or empty.
    pub(super) fn timeout_message(&self, waiting: &str) -> String {
        format!(
            "stopped at its limit of {} ms{waiting}",
            self.timeout.get().as_millis()
        )
    }

    pub(super) fn finish_timed_out(&self, waiting: &str) -> ! {
        let message = self.timeout_message(waiting);
        self.finish_failed(
            Outcome::TimedOut,
            ScriptError::of_service("TimeoutError", message),
        )
    }

    /// Bytes of JSON that data of one log entry may have.
    pub(super) fn room_for_log_data(&self) -> usize {
        self.output_bytes
            .get()
            .saturating_sub(LogEntry::OVERHEAD_BYTES)
    }

    /// Bytes of JSON that the result may have.
    pub(super) fn room_for_result(&self) -> usize {
        self.output_bytes.get()
    }

    /// Sends one log entry, which the caller has made to fit. Which entries are kept is the executor's to say.
    pub(super) fn log(&self, kind: LogKind, depth: u32, data: &str) {
        self.charge_log(data.len());
        if let Some(output) = self.output.get() {
            output.log(kind, depth, clock::real_unix_millis(), data);
        }
    }

    /// Says that a log entry was too long to be sent.
    pub(super) fn drop_log_entry(&self) {
        self.charge_log(0);
        if let Some(output) = self.output.get() {
            output.log_dropped();
        }
    }

    /// Counts an entry; ends an execution that logs without end.
    fn charge_log(&self, data_bytes: usize) {
        let bytes = self.log_bytes.get() + as_u64(data_bytes + LogEntry::OVERHEAD_BYTES);
        if bytes > self.log_bytes_max.get() {
            self.finish_output_exceeded(&format!(
                "the log came to more than {} times the limit of {} bytes for result and log together",
                Limits::LOG_FACTOR,
                self.output_bytes.get(),
            ));
        }
        self.log_bytes.set(bytes);
    }

    pub(super) fn finish_result_too_long(&self) -> ! {
        self.finish_output_exceeded(&format!(
            "the result did not fit into the limit of {} bytes for result and log together",
            self.output_bytes.get()
        ))
    }

    fn finish_output_exceeded(&self, message: &str) -> ! {
        self.finish_failed(
            Outcome::OutputExceeded,
            ScriptError::of_service("OutputLimitError", message),
        )
    }

    pub(super) fn finish_failed(&self, outcome: Outcome, error: ScriptError) -> ! {
        self.finish(Completion {
            outcome,
            error: Some(error),
            ..self.empty_completion()
        })
    }

    /// Ends an execution that has no memory to go on.
    pub(super) fn finish_without_memory(&self) -> ! {
        self.memory.end();
        unreachable!("an execution ended before it started")
    }

    pub(super) fn finish_succeeded(&self, success: Success) -> ! {
        self.finish(Completion {
            result: Some(success.json),
            result_type: Some(success.value_type),
            ..self.empty_completion()
        })
    }

    fn empty_completion(&self) -> Completion {
        Completion {
            outcome: Outcome::Succeeded,
            result: None,
            result_type: None,
            error: None,
            peak_memory_bytes: as_u64(self.memory.peak()),
        }
    }

    fn finish(&self, completion: Completion) -> ! {
        match self.output.get() {
            Some(output) => output.finish(&completion),
            // Before `start` no guest code has run and no limit holds, so nothing can end.
            None => unreachable!("an execution ended before it started"),
        }
    }
}

fn as_u64(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}
