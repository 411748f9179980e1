//! Progress of this process along its log, and its additions to the log.
//!
//! In scope: counting calls, records and log entries, and comparing them with the log. Out of scope: JavaScript values, and
//! the choice of the next record (`records`).

use super::divergence::{Divergence, check_call, clipped};
use super::ends;
use super::random::Random;
use crate::engine::host::Host;
use crate::engine::timers::LEAST_DELAY;
use rquickjs::{Function, Persistent, Promise, Value};
use sandpiper_domain::tools::{Call, Refusal, ReplayLog, ToolLimits, ToolName};
use sandpiper_domain::{JsonText, LogKind};
use sandpiper_sandbox_protocol::{EngineTools, LogDigest, ReportedRecord};
use std::cell::{Cell, OnceCell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Cost of a call that waits, bytes of the execution's memory, in addition to its promise and its stack.
const PENDING_BYTES: usize = 512;

/// The result of noting a call.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Noted {
    Call(u32),
    /// Too many calls before it had no room either.
    TooMany,
}

/// The functions of a call's promise, and the promise.
pub(super) struct Pending {
    pub(super) promise: Persistent<Value<'static>>,
    pub(super) resolve: Persistent<Function<'static>>,
    pub(super) reject: Persistent<Function<'static>>,
    /// The call stack of the script at the call.
    pub(super) stack: String,
}

impl Pending {
    /// Returns the cost of a call that waits, bytes of the execution's memory, in addition to its promise.
    pub(super) fn bytes(&self) -> usize {
        PENDING_BYTES + self.stack.len()
    }

    pub(super) fn new<'js>(
        promise: Promise<'js>,
        resolve: Function<'js>,
        reject: Function<'js>,
        stack: String,
    ) -> Self {
        let ctx = promise.ctx().clone();
        Self {
            promise: Persistent::save(&ctx, promise.into_value()),
            resolve: Persistent::save(&ctx, resolve),
            reject: Persistent::save(&ctx, reject),
            stack,
        }
    }
}

/// A record that is being carried out: first the timers that are due by its time, then its answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Target {
    pub(super) at_ms: u64,
    pub(super) answer: Option<Delivery>,
}

/// An answer to deliver.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Delivery {
    pub(super) seq: u32,
    pub(super) result: Source,
}

/// The place where a result lies.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Source {
    /// In the record of this index.
    Log(usize),
    /// In the answer at hand of this index.
    Arrived(usize),
    Refusal(Refusal),
}

/// The progress of one round.
pub(crate) struct Replay {
    pub(super) given: Rc<EngineTools>,
    random: RefCell<Random>,
    pub(super) state: RefCell<State>,
    pub(super) pending: RefCell<BTreeMap<u32, Pending>>,
    /// Promises of calls that were rejected.
    pub(super) rejected: RefCell<Vec<(u32, Persistent<Value<'static>>)>>,
    /// Rejected calls whose promise nothing handles.
    pub(super) unobserved: RefCell<Vec<u32>>,
    /// Functions of the glue, once it was evaluated.
    pub(super) helpers: OnceCell<Helpers>,
    pub(super) begun: Instant,
    pub(super) waited: Cell<Duration>,
}

/// Functions of tools.js.
pub(super) struct Helpers {
    pub(super) tool_error: Persistent<Function<'static>>,
    pub(super) type_error: Persistent<Function<'static>>,
    pub(super) json_of_bigint: Persistent<Function<'static>>,
    pub(super) raw_json: Persistent<Function<'static>>,
}

pub(super) struct State {
    /// Calls since the start of the script.
    pub(super) calls: u32,
    /// Records of the log that were taken.
    pub(super) records: usize,
    pub(super) target: Option<Target>,
    pub(super) new_calls: Vec<Call>,
    pub(super) new_records: Vec<ReportedRecord>,
    /// Indices of the answers at hand that were not taken, by the time at which they arrived.
    pub(super) arrived: VecDeque<usize>,
    /// Calls that the engine itself answers, in order.
    pub(super) own_answers: VecDeque<(u32, Refusal)>,
    /// The time since which the script runs behind its log.
    pub(super) behind_since: Option<Instant>,
    pub(super) wakes: u32,
    pub(super) log_entries: u64,
    pub(super) digest: LogDigest,
    /// Calls that were refused for lack of room.
    without_room: u32,
    /// Cost of the calls and answers so far, out of `logBytes`. It is the same in every round at the same place.
    pub(super) log_bytes: usize,
}

impl Replay {
    pub(crate) fn new(given: &Rc<EngineTools>, begun: Instant) -> Self {
        let mut arrived: Vec<usize> = (0..given.arrived.len()).collect();
        arrived.sort_by_key(|index| (given.arrived[*index].arrived_ms, *index));
        Self {
            random: RefCell::new(Random::new(given.log.seed())),
            state: RefCell::new(State {
                calls: 0,
                records: 0,
                target: None,
                new_calls: Vec::new(),
                new_records: Vec::new(),
                arrived: arrived.into(),
                own_answers: VecDeque::new(),
                behind_since: (given.log.rounds() == 0).then_some(begun),
                wakes: given.log.wakes(),
                log_entries: 0,
                digest: LogDigest::default(),
                without_room: 0,
                log_bytes: 0,
            }),
            pending: RefCell::default(),
            rejected: RefCell::default(),
            unobserved: RefCell::default(),
            helpers: OnceCell::new(),
            begun,
            waited: Cell::default(),
            given: Rc::clone(given),
        }
    }

    pub(crate) fn log(&self) -> &ReplayLog {
        &self.given.log
    }

    pub(super) fn limits(&self) -> &ToolLimits {
        &self.given.limits
    }

    /// Returns whether everything that the log has was done again.
    pub(crate) fn is_behind_log(&self) -> bool {
        self.state.borrow().behind_since.is_some()
    }

    /// Begins what is not in the log yet.
    pub(crate) fn begin_behind_log(&self, now: Instant) {
        self.state.borrow_mut().behind_since = Some(now);
        self.waited.set(Duration::ZERO);
    }

    /// Notes a log entry. Returns whether it is new, and so must be sent. Ends the execution if the log has another one.
    pub(crate) fn admits_entry(&self, host: &Host, kind: LogKind, depth: u32, data: &str) -> bool {
        match self.note_entry(kind, depth, data) {
            Ok(is_new) => is_new,
            Err(divergence) => ends::diverge(host, self, &divergence),
        }
    }

    /// Returns `Math.random()`.
    pub(super) fn random_number(&self) -> f64 {
        self.random.borrow_mut().number()
    }

    pub(crate) fn fill_random(&self, bytes: &mut [u8]) {
        self.random.borrow_mut().fill(bytes);
    }

    /// Returns the service's clock, Unix milliseconds.
    pub(super) fn now_ms(&self) -> u64 {
        if self.given.wait_ms == 0 {
            return self.given.now_ms;
        }
        let since = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.given.now_ms.saturating_add(since)
    }

    /// Returns the time since the start of the script's clock at which Unix milliseconds are reached.
    pub(super) fn elapsed_at(&self, unix_ms: u64) -> Duration {
        Duration::from_millis(unix_ms.saturating_sub(self.log().start_ms()))
    }

    /// Returns the Unix milliseconds at which so much time has passed since the start of the script's clock.
    pub(crate) fn unix_ms_at(&self, elapsed: Duration) -> u64 {
        let millis = elapsed.as_nanos().div_ceil(1_000_000);
        let millis = u64::try_from(millis).unwrap_or(u64::MAX);
        self.log().start_ms().saturating_add(millis)
    }

    /// Returns the due time of the next turn of an interval whose last turn was due at `due`.
    ///
    /// A wake is made later than the first timer is due, so that wakes have their distance: the turns in between are those
    /// of the wakes that were merged into it. An interval that is overdue for longer fires once for a record.
    pub(crate) fn next_turn(&self, due: Duration, interval: Duration) -> Duration {
        let state = self.state.borrow();
        let interval = interval.max(LEAST_DELAY);
        let next = due + interval;
        let Some(target) = &state.target else {
            return next;
        };
        let until = self.elapsed_at(target.at_ms);
        let merged = if target.answer.is_some() {
            Duration::ZERO
        } else {
            let since_start = target.at_ms.saturating_sub(self.log().start_ms());
            let spacing = Duration::from_millis(ToolLimits::wake_spacing_ms(since_start));
            spacing.min(interval * ToolLimits::MERGED_TURNS_MAX)
        };
        if next + merged <= until {
            until + interval
        } else {
            next
        }
    }

    pub(super) fn note_wait(&self, waited: Duration) {
        self.waited.set(self.waited.get() + waited);
    }

    pub(super) fn waited(&self) -> Duration {
        self.waited.get()
    }

    /// Notes a call, and compares it with the log. `argument` is an error if it was too large.
    pub(super) fn note_call(
        &self,
        name: &ToolName,
        argument: Result<Option<String>, Refusal>,
        at_ms: u64,
    ) -> Result<Noted, Divergence> {
        let mut state = self.state.borrow_mut();
        let seq = state.calls;
        let is_too_large = argument.as_ref().err().copied();
        let argument = argument.ok().flatten();
        let bytes = Call::cost(name, argument.as_deref());
        let most = usize::try_from(self.limits().log_bytes).unwrap_or(usize::MAX);
        let has_room = state.log_bytes.saturating_add(bytes) <= most;
        let argument = argument.filter(|_| has_room);
        let refused = if seq >= self.limits().calls_max {
            Some(Refusal::TooManyCalls)
        } else if has_room {
            is_too_large
        } else {
            Some(Refusal::LogFull)
        };
        if refused.is_some_and(Refusal::is_for_room) {
            if state.without_room >= Refusal::WITHOUT_ROOM_MAX {
                return Ok(Noted::TooMany);
            }
            state.without_room += 1;
        }
        let bytes = Call::cost(name, argument.as_deref());
        let bytes = state.log_bytes.saturating_add(bytes);
        if let Some(logged) = self.log().call(seq) {
            check_call(logged, name, argument.as_deref(), refused)?;
            state.log_bytes = bytes;
            state.calls += 1;
            return Ok(Noted::Call(seq));
        }
        if state.behind_since.is_none() || self.given.strict {
            let argument = argument.as_deref().unwrap_or("nothing");
            return Err(Divergence(format!(
                "the script calls `{name}` with {}, and the log has no such call here",
                clipped(argument)
            )));
        }
        let argument = argument.and_then(|text| JsonText::parse(text).ok());
        let call = Call {
            seq,
            name: name.clone(),
            argument,
            at_ms,
            refused,
        };
        state.log_bytes = bytes;
        state.calls += 1;
        state.new_calls.push(call);
        if let Some(refused) = refused {
            state.own_answers.push_back((seq, refused));
        }
        Ok(Noted::Call(seq))
    }

    /// Notes a log entry. Returns whether it is new, and so must be sent.
    pub(super) fn note_entry(
        &self,
        kind: LogKind,
        depth: u32,
        data: &str,
    ) -> Result<bool, Divergence> {
        let mut state = self.state.borrow_mut();
        let is_new = state.log_entries >= self.log().log_entries();
        if is_new && state.behind_since.is_none() {
            return Err(Divergence(format!(
                "the script logs {}, and the log has no such entry here",
                clipped(data)
            )));
        }
        state.log_entries += 1;
        state.digest.add(kind as u8, depth, data.as_bytes());
        Ok(is_new || self.given.strict)
    }

    /// Checks that the script has done all that the log has.
    pub(super) fn check_end_of_log(&self) -> Result<(), Divergence> {
        let state = self.state.borrow();
        let log = self.log();
        let next = log.call(state.calls);
        if let Some(missing) = next.filter(|_| state.behind_since.is_none()) {
            let argument = missing
                .argument
                .as_ref()
                .map_or("nothing", JsonText::as_str);
            return Err(Divergence(format!(
                "the script does not call `{}` with {} any more, as the log has it",
                missing.name,
                clipped(argument)
            )));
        }
        if state.records < log.records().len() {
            return Err(Divergence("the script ends before its log does".to_owned()));
        }
        let is_same_text =
            state.log_entries == log.log_entries() && state.digest.value() == log.log_digest();
        if state.behind_since.is_none() && !is_same_text {
            return Err(Divergence(
                "the script logs another text than before".to_owned(),
            ));
        }
        Ok(())
    }
}
