//! A service in small: it runs the rounds of one execution, answers its calls, and waits for its timers by a clock of its
//! own.

use sandpiper_domain::tools::{
    Arrived, Call, CallResult, ReplayLog, Round, RoundEnd, Seed, Suspension, Tool, ToolFailure,
    ToolLimits, ToolName, Tools,
};
use sandpiper_domain::{
    Ceiling, Execution, JobId, JsonText, Limits, LogEntry, Outcome, Script, ScriptDraft,
};
use sandpiper_sandbox_client::{
    ExecutionHandle, FINGERPRINT, IsolationLevel, RoundWork, Sandbox, SandboxOptions,
    SandboxProgram, SpeculationControl, ZygotePlan,
};
use std::path::Path;
use std::time::Duration;

pub(crate) const START_MS: u64 = 1_800_000_000_000;
/// Most rounds of one execution.
const ROUNDS_MAX: usize = 400;

pub(crate) fn sandbox() -> Sandbox {
    sandbox_at(IsolationLevel::L4)
}

pub(crate) fn sandbox_at(max_isolation: IsolationLevel) -> Sandbox {
    let program = Path::new(env!("CARGO_BIN_EXE_sandpiper-sandbox"));
    Sandbox::start(SandboxOptions {
        program: SandboxProgram::at(program).unwrap(),
        plan: ZygotePlan {
            max_isolation,
            speculation: SpeculationControl::Auto,
        },
        min_isolation: IsolationLevel::L2,
        kill_grace: Duration::from_millis(250),
        executions_per_zygote: 1_000,
    })
    .unwrap()
}

pub(crate) fn json(text: &str) -> JsonText {
    JsonText::parse(text.to_owned()).unwrap()
}

pub(crate) fn value(text: &str) -> CallResult {
    CallResult::Value(json(text))
}

pub(crate) fn failure(message: &str) -> CallResult {
    CallResult::Failed(ToolFailure {
        message: message.to_owned(),
        name: None,
        code: Some("test".to_owned()),
        retryable: true,
    })
}

pub(crate) fn limits(timeout_ms: u32) -> Limits {
    let ceiling = Ceiling {
        timeout_ms: 30_000,
        memory_bytes: 256 << 20,
        output_bytes: 8 << 20,
    };
    Limits::defaults(timeout_ms, 32 << 20, 1 << 20, &ceiling).unwrap()
}

/// Returns a draft of `code` with tools of these names.
pub(crate) fn draft(code: &str, names: &[&str]) -> ScriptDraft {
    let named = |name: &&str| Tool::named(ToolName::parse(name).unwrap());
    ScriptDraft {
        code: Some(code.to_owned()),
        tools: Some(Tools::new(names.iter().map(named).collect()).unwrap()),
        ..ScriptDraft::default()
    }
}

/// An execution with tools, between its rounds.
pub(crate) struct Driver<'s> {
    pub(crate) sandbox: &'s mut Sandbox,
    pub(crate) script: Script,
    pub(crate) limits: Limits,
    pub(crate) tool_limits: ToolLimits,
    pub(crate) log: ReplayLog,
    pub(crate) now_ms: u64,
    /// Time that a round may wait for timers.
    pub(crate) wait_ms: u64,
    /// The console's entries of all rounds.
    pub(crate) console: Vec<LogEntry>,
    pub(crate) rounds: usize,
}

impl<'s> Driver<'s> {
    pub(crate) fn new(sandbox: &'s mut Sandbox, code: &str, names: &[&str]) -> Self {
        Self::of(sandbox, Script::new(draft(code, names)).unwrap())
    }

    pub(crate) fn of(sandbox: &'s mut Sandbox, script: Script) -> Self {
        Self {
            sandbox,
            script,
            limits: limits(20_000),
            tool_limits: ToolLimits::default(),
            log: ReplayLog::begin(FINGERPRINT, START_MS, Seed::new([7; Seed::BYTES])),
            now_ms: START_MS,
            wait_ms: 0,
            console: Vec::new(),
            rounds: 0,
        }
    }

    /// Runs a round, and does not commit it.
    pub(crate) fn run(&mut self, arrived: &[Arrived], strict: bool) -> Round {
        let work = RoundWork {
            script: &self.script,
            limits: self.limits,
            tool_limits: &self.tool_limits,
            log: &self.log,
            arrived,
            now_ms: self.now_ms,
            wait_ms: self.wait_ms,
            strict,
        };
        let handle = ExecutionHandle::default();
        let round = self.sandbox.run_round(JobId::generate(), &work, &handle);
        self.sandbox.maintain().unwrap();
        round.unwrap()
    }

    /// Runs a round and commits it. The log goes through its stored form.
    pub(crate) fn round(&mut self, arrived: &[Arrived]) -> RoundEnd {
        self.rounds += 1;
        assert!(self.rounds < ROUNDS_MAX, "the script does not end");
        let round = self.run(arrived, false);
        self.log.commit(&round);
        if matches!(round.end, RoundEnd::Suspended(_)) {
            self.log.offer(0, self.tool_limits.concurrent_calls_max);
        }
        self.log = ReplayLog::from_bytes(&self.log.to_bytes()).unwrap();
        match &round.end {
            RoundEnd::Suspended(suspension) => self.console.extend(suspension.log.iter().cloned()),
            RoundEnd::Finished(execution) => self.console.extend(execution.log.iter().cloned()),
            RoundEnd::ReplayFailed(reason) => panic!("{reason}"),
        }
        round.end
    }

    /// Runs rounds to the end. `answer` returns the time after which a call is answered, milliseconds, and its result.
    pub(crate) fn finish(
        &mut self,
        mut answer: impl FnMut(&Call) -> (u64, CallResult),
    ) -> Execution {
        let mut at_hand: Vec<Arrived> = Vec::new();
        let mut known = 0;
        let mut taken = Vec::new();
        loop {
            let suspension = match self.round(&taken) {
                RoundEnd::Finished(execution) => return *execution,
                RoundEnd::Suspended(suspension) => suspension,
                RoundEnd::ReplayFailed(reason) => panic!("{reason}"),
            };
            at_hand.retain(|answer| self.log.answer(answer.seq).is_none());
            for call in &self.log.calls()[known..] {
                if call.refused.is_none() {
                    let (after_ms, result) = answer(call);
                    at_hand.push(Arrived {
                        seq: call.seq,
                        arrived_ms: self.now_ms + after_ms,
                        result,
                    });
                }
            }
            known = self.log.calls().len();
            taken = self.next_event(&suspension, &at_hand);
        }
    }

    /// Returns the next answer and sets the clock to its time; none if a timer is due before.
    fn next_event(&mut self, suspension: &Suspension, at_hand: &[Arrived]) -> Vec<Arrived> {
        let first = at_hand.iter().min_by_key(|answer| answer.arrived_ms);
        let Some(first) = first else {
            let due = suspension.resume_at_ms.expect("it waits for nothing");
            self.now_ms = self.now_ms.max(due);
            return Vec::new();
        };
        match suspension.resume_at_ms {
            Some(due) if due < first.arrived_ms => {
                self.now_ms = self.now_ms.max(due);
                Vec::new()
            }
            _ => {
                self.now_ms = self.now_ms.max(first.arrived_ms);
                vec![first.clone()]
            }
        }
    }
}

/// Returns the result of an execution that succeeded.
pub(crate) fn result(execution: &Execution) -> &str {
    assert_eq!(
        execution.outcome,
        Outcome::Succeeded,
        "{:?}",
        execution.error
    );
    execution.result.as_ref().unwrap().as_str()
}

/// Returns name and message of the error of an execution.
pub(crate) fn error(execution: &Execution) -> (String, String) {
    let error = execution.error.as_ref().expect("it succeeded");
    (error.name.clone(), error.message.clone())
}
