//! The state of the one execution of this process: its limits, deadline, usage and final message.
//!
//! In scope: the counters, and the two ways in which the host ends an execution (deadline, output budget). Out of
//! scope: JavaScript values. Nothing here calls the engine, so every part of the engine may hold it. Called by all of
//! `engine`.

mod rounds;

use super::allocator::MemoryAccount;
use super::clock::{self, Clock};
use super::tools::Replay;
use super::web::OwnedBytes;
use super::{Completion, EngineJob, Output, entropy};
use sandpiper_domain::tools::ConsoleBytes;
use sandpiper_domain::{
    Language, Limits, LogEntry, LogKind, Outcome, ScriptError, ScriptKind, ValueType,
};
use sandpiper_sandbox_protocol::ReportedEnd;
use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

pub(super) struct Host {
    pub(super) memory: Rc<MemoryAccount>,
    /// The part of the memory that natives hold for objects of the script.
    pub(super) owned: Rc<OwnedBytes>,
    pub(super) clock: Clock,
    pub(super) random: RefCell<fastrand::Rng>,
    /// Number of open `console.group`.
    pub(super) group_depth: Cell<u32>,
    output: OnceCell<Rc<dyn Output>>,
    /// Name and text of each of the user's sources.
    sources: OnceCell<Vec<(String, String)>>,
    /// Name and text of each module.
    modules: OnceCell<Vec<(String, String)>>,
    /// Kind of the last source.
    kind: Cell<ScriptKind>,
    /// Language of the texts whose names have no ending of a language.
    language: Cell<Language>,
    timeout: Cell<Duration>,
    deadline: Cell<Instant>,
    interrupted: Cell<bool>,
    /// With tools: time of the script's own that is left behind the log.
    own_time_left: Cell<Duration>,
    /// With tools: memory beyond the limit, within the log, bytes.
    memory_in_replay: Cell<usize>,
    output_bytes: Cell<usize>,
    log_bytes_max: Cell<u64>,
    /// Cost of the log so far, retained or not.
    log_bytes: Cell<u64>,
    /// The limits of a script with tools, and the cost of its log in all rounds.
    console: Cell<Option<(Limits, ConsoleBytes)>>,
    /// The progress along the log of a script with tools; absent without tools.
    replay: OnceCell<Rc<Replay>>,
}

impl Host {
    pub(super) fn new(memory: Rc<MemoryAccount>) -> Self {
        Self {
            memory,
            owned: Rc::default(),
            clock: Clock::new(),
            random: RefCell::new(fastrand::Rng::with_seed(0)),
            group_depth: Cell::new(0),
            output: OnceCell::new(),
            sources: OnceCell::new(),
            modules: OnceCell::new(),
            kind: Cell::new(ScriptKind::Script),
            language: Cell::new(Language::JavaScript),
            timeout: Cell::new(Duration::MAX),
            deadline: Cell::new(Instant::now() + Duration::from_secs(3600)),
            interrupted: Cell::new(false),
            own_time_left: Cell::default(),
            memory_in_replay: Cell::default(),
            output_bytes: Cell::new(0),
            log_bytes_max: Cell::new(0),
            log_bytes: Cell::new(0),
            console: Cell::new(None),
            replay: OnceCell::new(),
        }
    }

    /// Starts the execution: its limits apply from here on.
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
        // A second start cannot happen: `WarmEngine::run` takes the engine and never returns.
        let _ = self.sources.set(owned(&job.sources));
        if !job.modules.is_empty() {
            let _ = self.modules.set(owned(&job.modules));
        }
        self.kind.set(job.kind);
        self.language.set(job.language);
        let limit = usize::try_from(job.limits.memory_bytes()).unwrap_or(usize::MAX);
        let last_output = self.prepare_round(job, now, &output);
        self.memory.start(limit, last_output);
        let _ = self.output.set(output);
        self.start_round(job, now);
    }

    /// Returns name and text of each source and of each module.
    pub(super) fn texts(&self) -> impl Iterator<Item = (&str, &str)> {
        let sources = self.sources.get().into_iter().flatten();
        let modules = self.modules.get().into_iter().flatten();
        let texts = sources.chain(modules);
        texts.map(|(name, text)| (name.as_str(), text.as_str()))
    }

    /// Returns the text of a source or of a module.
    pub(super) fn source(&self, name: &str) -> Option<&str> {
        let source = self.sources.get()?.iter().find(|(own, _)| own == name);
        source.map_or_else(|| self.module(name), |(_, text)| Some(text))
    }

    /// Returns the text of a module that can be imported.
    pub(super) fn module(&self, name: &str) -> Option<&str> {
        let mut modules = self.modules.get()?.iter();
        modules
            .find(|(own, _)| own == name)
            .map(|(_, text)| text.as_str())
    }

    /// Returns the names of the modules that can be imported.
    pub(super) fn module_names(&self) -> impl ExactSizeIterator<Item = &str> {
        let modules = self.modules.get().map_or(&[] as &[_], Vec::as_slice);
        modules.iter().map(|(name, _)| name.as_str())
    }

    /// Returns name and text of the main module, if there is one, and of each module that can be imported.
    pub(super) fn module_texts(&self) -> impl Iterator<Item = (&str, &str)> {
        let is_module = self.kind.get() == ScriptKind::Module;
        let sources = self.sources.get().filter(|_| is_module);
        let main = sources.and_then(|sources| sources.last());
        let modules = self.modules.get().into_iter().flatten();
        main.into_iter()
            .chain(modules)
            .map(|(name, text)| (name.as_str(), text.as_str()))
    }

    /// Returns the kind of the text of this name; `None` if it is not of the user's.
    pub(super) fn kind_of(&self, name: &str) -> Option<ScriptKind> {
        if self.module(name).is_some() {
            return Some(ScriptKind::Module);
        }
        let sources = self.sources.get()?;
        let place = sources.iter().position(|(own, _)| own == name)?;
        if place + 1 == sources.len() {
            return Some(self.kind.get());
        }
        Some(ScriptKind::Script)
    }

    /// Returns the kind of the source that runs last.
    pub(super) fn main_kind(&self) -> ScriptKind {
        self.kind.get()
    }

    /// Returns the language of the text of this name.
    pub(super) fn language_of(&self, name: &str) -> Language {
        Language::of_ending(name).unwrap_or(self.language.get())
    }

    /// Returns the text of the source that runs last.
    pub(super) fn last_source(&self) -> Option<&str> {
        self.sources.get()?.last().map(|(_, text)| text.as_str())
    }

    /// Fills `bytes` with random ones: with tools from the seed of the log, under a seed from the generator that `Math.random` has, and otherwise from the
    /// kernel's, whose output cannot be predicted.
    pub(super) fn fill_random(&self, bytes: &mut [u8]) {
        if let Some(replay) = self.replay.get() {
            replay.fill_random(bytes);
        } else if self.clock.is_virtual() {
            self.random.borrow_mut().fill(bytes);
        } else {
            entropy::fill(bytes);
        }
    }

    /// Returns the time until the deadline; `None` after it.
    pub(super) fn time_left(&self) -> Option<Duration> {
        let left = self
            .deadline
            .get()
            .saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    /// Returns whether the engine must interrupt the script. The engine asks every few thousand steps. The first "yes"
    /// becomes an error that a script cannot catch and that has a position. An interrupt ends only one job of the
    /// promise queue. If the engine is still running when it asks again, the execution ends at once.
    pub(super) fn should_interrupt(&self) -> bool {
        if self.time_left().is_some() {
            return false;
        }
        if self.interrupted.replace(true) {
            self.finish_timed_out("");
        }
        true
    }

    /// Returns the message of a timed-out execution. `waiting` is a clause that says what the script waited for, or
    /// empty.
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

    /// Returns the bytes of JSON that the data of one log entry may have.
    pub(super) fn room_for_log_data(&self) -> usize {
        self.output_bytes
            .get()
            .saturating_sub(LogEntry::OVERHEAD_BYTES)
    }

    /// Returns the bytes of JSON that the result may have.
    pub(super) fn room_for_result(&self) -> usize {
        match self.console.get() {
            Some((limits, console)) => console.room_for_result(&limits),
            None => self.output_bytes.get(),
        }
    }

    /// Sends one log entry, which the caller has made to fit. The executor decides which entries are retained.
    pub(super) fn log(&self, kind: LogKind, depth: u32, data: &str) {
        self.charge_log(data.len());
        let Some(output) = self.output.get() else {
            return;
        };
        match self.replay.get() {
            None => output.log(kind, depth, clock::real_unix_millis(), data),
            Some(replay) if replay.admits_entry(self, kind, depth, data) => {
                output.log(kind, depth, self.clock_of_round(replay), data);
            }
            Some(_) => {}
        }
    }

    /// Reports that a log entry was too long to be sent.
    pub(super) fn drop_log_entry(&self) {
        self.charge_log(0);
        let is_new = match self.replay.get() {
            Some(replay) => replay.admits_entry(self, LogKind::Log, 0, ""),
            None => true,
        };
        if let Some(output) = self.output.get().filter(|_| is_new) {
            output.log_dropped();
        }
    }

    /// Charges a log entry. Ends an execution that exceeds its log budget.
    fn charge_log(&self, data_bytes: usize) {
        let cost = data_bytes + LogEntry::OVERHEAD_BYTES;
        if let Some((limits, mut console)) = self.console.get() {
            console.add(cost, &limits);
            self.console.set(Some((limits, console)));
        }
        let bytes = self.log_bytes.get() + as_u64(cost);
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

    pub(super) fn finish_without_memory(&self) -> ! {
        self.memory.end();
        unreachable!("an execution ended before it started")
    }

    pub(super) fn finish_succeeded(
        &self,
        json: String,
        value_type: ValueType,
        hint: Option<String>,
    ) -> ! {
        self.finish(Completion {
            result: Some(json),
            result_type: Some(value_type),
            hint,
            ..self.empty_completion()
        })
    }

    fn empty_completion(&self) -> Completion {
        Completion {
            outcome: Outcome::Succeeded,
            result: None,
            result_type: None,
            error: None,
            hint: None,
            peak_memory_bytes: as_u64(self.memory.peak()),
        }
    }

    fn finish(&self, completion: Completion) -> ! {
        match (self.output.get(), self.replay.get()) {
            (Some(output), None) => output.finish(&completion),
            (Some(output), Some(replay)) => {
                let completion = replay.end_of(completion);
                let peak = completion.peak_memory_bytes;
                output.round(&replay.report(ReportedEnd::Ends, peak));
                output.finish(&completion)
            }
            // Before `start` no guest code has run and no limit applies, so nothing can end.
            (None, _) => unreachable!("an execution ended before it started"),
        }
    }
}

fn owned(texts: &[(&str, &str)]) -> Vec<(String, String)> {
    let texts = texts.iter();
    texts
        .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
        .collect()
}

fn as_u64(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}
