//! Forged reports of rounds against a real executor.

use crate::{KILL_GRACE, sandbox};
use libtest_mimic::{Failed, Trial};
use sandpiper_domain::tools::{
    Arrived, Call, CallResult, ConsoleBytes, ReplayLog, Round, RoundEnd, RoundUsage, Seed,
    Suspension, Tool, ToolLimits, ToolName, Tools,
};
use sandpiper_domain::{
    Ceiling, JobId, JsonText, Limits, Outcome, Script, ScriptDraft, Timestamp, Usage,
};
use sandpiper_sandbox_attackers::rounds::{
    ALL, ANSWERED_AT_MS, ARGUMENT_BYTES, CALLED_AT_MS, CALLS_MAX, LOG_BYTES, WAKES,
};
use sandpiper_sandbox_client::{ExecutionHandle, FINGERPRINT, IsolationLevel, RoundWork, Sandbox};
use std::time::Instant;

const TIMEOUT_MS: u32 = 2_000;

pub(crate) fn trials() -> Vec<Trial> {
    let forged = ALL.iter().map(|(forgery, expected)| {
        let name = format!("{forgery}_is_a_crash_and_no_more");
        Trial::test(name, move || is_refused(forgery, expected))
    });
    let honest = Trial::test("an_honest_round_is_taken", an_honest_round_is_taken);
    let slow = Trial::test(
        "what_a_round_reported_before_it_was_killed_is_known",
        what_a_round_reported_before_it_was_killed_is_known,
    );
    forged.chain([honest, slow]).collect()
}

fn limits() -> Limits {
    let ceiling = Ceiling {
        timeout_ms: TIMEOUT_MS,
        memory_bytes: 8 << 20,
        output_bytes: 64 << 10,
    };
    Limits::defaults(TIMEOUT_MS, 8 << 20, 64 << 10, &ceiling).unwrap()
}

/// Returns a log with one call of `f`.
fn log() -> ReplayLog {
    let mut log = ReplayLog::begin(FINGERPRINT, CALLED_AT_MS, Seed::new([1; Seed::BYTES]));
    let suspension = Suspension {
        id: JobId::generate(),
        started_at: Timestamp::now(),
        finished_at: Timestamp::now(),
        resume_at_ms: None,
        log: Vec::new(),
        log_dropped: 0,
        log_dropped_at: 0,
        usage: Usage::default(),
        limits: limits(),
    };
    log.commit(&Round {
        calls: vec![Call {
            seq: 0,
            name: ToolName::parse("f").unwrap(),
            argument: None,
            at_ms: CALLED_AT_MS,
            refused: None,
        }],
        records: Vec::new(),
        unobserved: Vec::new(),
        log_entries: 0,
        log_digest: 0,
        console: ConsoleBytes::default(),
        usage: RoundUsage::default(),
        end: RoundEnd::Suspended(Box::new(suspension)),
    });
    log
}

fn run(sandbox: &mut Sandbox, attack: &str) -> Round {
    let script = Script::new(ScriptDraft {
        code: Some(attack.to_owned()),
        tools: Some(Tools::new(vec![Tool::named(ToolName::parse("f").unwrap())]).unwrap()),
        ..ScriptDraft::default()
    });
    let arrived = [Arrived {
        seq: 0,
        arrived_ms: ANSWERED_AT_MS,
        result: CallResult::Value(JsonText::null()),
    }];
    let tool_limits = ToolLimits {
        calls_max: CALLS_MAX,
        argument_bytes: ARGUMENT_BYTES,
        log_bytes: LOG_BYTES,
        wakes: WAKES,
        ..ToolLimits::default()
    };
    let work = RoundWork {
        script: &script.unwrap(),
        limits: limits(),
        tool_limits: &tool_limits,
        log: &log(),
        arrived: &arrived,
        now_ms: ANSWERED_AT_MS,
        wait_ms: 0,
        strict: false,
    };
    let handle = ExecutionHandle::default();
    sandbox
        .run_round(JobId::generate(), &work, &handle)
        .unwrap()
}

fn is_refused(forgery: &str, expected: &str) -> Result<(), Failed> {
    let mut sandbox = sandbox(IsolationLevel::L4);
    let start = Instant::now();
    let round = run(&mut sandbox, forgery);
    assert!(
        start.elapsed() < KILL_GRACE + limits().timeout(),
        "{forgery}"
    );
    if !round.calls.is_empty() || !round.records.is_empty() {
        return Err(format!("{round:?}").into());
    }
    let RoundEnd::Finished(execution) = &round.end else {
        return Err(format!("{round:?}").into());
    };
    let message = execution
        .error
        .as_ref()
        .map_or("", |error| error.message.as_str());
    if execution.outcome != Outcome::Crashed || !message.contains(expected) {
        return Err(format!("{round:?}").into());
    }
    assert_eq!(sandbox.counters().crashed, 1);
    an_honest_round(&mut sandbox)
}

fn an_honest_round_is_taken() -> Result<(), Failed> {
    an_honest_round(&mut sandbox(IsolationLevel::L4))
}

fn what_a_round_reported_before_it_was_killed_is_known() -> Result<(), Failed> {
    let mut sandbox = sandbox(IsolationLevel::L4);
    let round = run(&mut sandbox, "a_slow_round");
    let RoundEnd::Finished(execution) = &round.end else {
        return Err(format!("{round:?}").into());
    };
    assert_eq!(execution.outcome, Outcome::TimedOut, "{round:?}");
    assert_eq!(
        (round.calls.len(), round.records.len()),
        (1, 1),
        "{round:?}"
    );
    an_honest_round(&mut sandbox)
}

fn an_honest_round(sandbox: &mut Sandbox) -> Result<(), Failed> {
    let round = run(sandbox, "an_honest_round");
    let is_taken = matches!(round.end, RoundEnd::Suspended(_))
        && round.calls.len() == 1
        && round.records.len() == 1;
    if is_taken {
        return Ok(());
    }
    Err(format!("{round:?}").into())
}
