//! The test that pays most: random scripts, random orders of answers, suspension forced at every record. An execution in
//! many rounds equals the one in few rounds, and the one that has its whole log at once: results, logs and calls.

use crate::driver::{Driver, START_MS, failure, sandbox, sandbox_at, value};
use crate::scripts;
use fastrand::Rng;
use sandpiper_domain::tools::{Arrived, Call, CallResult, Record, ReplayLog, RoundEnd};
use sandpiper_domain::{Execution, LogEntry, Outcome};
use sandpiper_sandbox_client::{IsolationLevel, Sandbox};

/// Scripts of a run. The variable has more for `make test-replay`.
const SCRIPTS: &str = "REPLAY_SCRIPTS";
const SCRIPTS_OTHERWISE: u64 = 200;
/// Number of the first script, to run one again.
const FIRST: &str = "REPLAY_FIRST";

/// The parts of an execution that are the same however it is cut into rounds.
#[derive(Debug, PartialEq)]
struct Seen {
    outcome: Outcome,
    result: Option<String>,
    error: Option<String>,
    console: Vec<LogEntry>,
    calls: Vec<Call>,
    records: Vec<Record>,
}

impl Seen {
    fn of(execution: &Execution, console: &[LogEntry], log: &ReplayLog) -> Self {
        Self {
            outcome: execution.outcome,
            result: execution
                .result
                .as_ref()
                .map(|text| text.as_str().to_owned()),
            error: execution.error.as_ref().map(|error| format!("{error:?}")),
            console: console.to_vec(),
            calls: log.calls().to_vec(),
            records: log.records().to_vec(),
        }
    }
}

#[test]
#[allow(clippy::disallowed_methods)] // variables of the test, and no options of the service
fn random_scripts_are_the_same_in_one_round_in_few_and_in_many() {
    let number = |name, otherwise| {
        std::env::var(name).map_or(otherwise, |text: String| text.parse().unwrap())
    };
    let (first, count) = (number(FIRST, 0), number(SCRIPTS, SCRIPTS_OTHERWISE));
    let mut highest = sandbox();
    let mut lowest = sandbox_at(IsolationLevel::L2);
    let (mut succeeded, mut records) = (0, 0);
    for number in first..first + count {
        let cut = |sandbox: &mut Sandbox| in_many_rounds(sandbox, number);
        let (many, log) = cut(&mut highest);
        let tell = |what: &str, other: &Seen| {
            panic!(
                "{FIRST}={number} {SCRIPTS}=1: {what}\n{}\n{many:#?}\n{other:#?}",
                scripts::script(number).sources()[0].text
            )
        };
        let whole = with_the_whole_log(&mut lowest, number, &log);
        if whole != many {
            tell("another end with the whole log at once", &whole);
        }
        let few = in_few_rounds(&mut lowest, number, &log);
        if few != many {
            tell("another end in few rounds", &few);
        }
        succeeded += u64::from(many.outcome == Outcome::Succeeded);
        records += many.records.len();
    }
    assert!(
        succeeded * 2 > count,
        "only {succeeded} of {count} succeeded"
    );
    assert!(records as u64 > 3 * count, "only {records} records");
}

/// Runs a script with one record a round.
fn in_many_rounds(sandbox: &mut Sandbox, number: u64) -> (Seen, ReplayLog) {
    let mut rng = Rng::with_seed(number);
    let mut driver = Driver::of(sandbox, scripts::script(number));
    let execution = driver.finish(|call| answer(&mut rng, call));
    let seen = Seen::of(&execution, &driver.console, &driver.log);
    (seen, driver.log)
}

/// Returns the time after which a call is answered, and its result.
fn answer(rng: &mut Rng, call: &Call) -> (u64, CallResult) {
    let after_ms = match rng.u8(..4) {
        0 => rng.u64(..3),
        1 => rng.u64(..100),
        2 => rng.u64(..5_000),
        _ => rng.u64(..90_000_000),
    };
    let argument = call.argument.as_ref().map_or("null", |text| text.as_str());
    let result = match rng.u8(..6) {
        0 => failure(&format!("call {} failed", call.seq)),
        1 => value(&rng.u32(..).to_string()),
        2 => value(&format!(
            r#"{{"__proto__":1,"n":{},"echo":{argument}}}"#,
            rng.i32(..)
        )),
        _ => value(argument),
    };
    (after_ms, result)
}

/// Runs a script along its whole log, in one process.
fn with_the_whole_log(sandbox: &mut Sandbox, number: u64, log: &ReplayLog) -> Seen {
    let mut driver = Driver::of(sandbox, scripts::script(number));
    driver.log = log.clone();
    let round = driver.run(&[], true);
    assert!(round.calls.is_empty() && round.records.is_empty());
    match &round.end {
        RoundEnd::Finished(execution) => Seen::of(execution, &execution.log, log),
        other => panic!("{FIRST}={number}: {other:?}"),
    }
}

/// Runs a script with the answers of a log, several at a time.
fn in_few_rounds(sandbox: &mut Sandbox, number: u64, log: &ReplayLog) -> Seen {
    let mut rng = Rng::with_seed(number);
    let mut driver = Driver::of(sandbox, scripts::script(number));
    let mut records = log.records().iter().peekable();
    let mut at_hand: Vec<Arrived> = Vec::new();
    driver.now_ms = START_MS;
    loop {
        // Up to a wake, which has the clock of its round.
        for _ in 0..rng.usize(1..30) {
            match records.next() {
                Some(Record::Answer { seq, at_ms, result }) => {
                    driver.now_ms = *at_ms;
                    if log.call(*seq).unwrap().refused.is_none() {
                        at_hand.push(Arrived {
                            seq: *seq,
                            arrived_ms: *at_ms,
                            result: result.clone(),
                        });
                    }
                }
                Some(Record::Wake { at_ms }) => {
                    driver.now_ms = *at_ms;
                    break;
                }
                None => break,
            }
        }
        let end = driver.round(&at_hand);
        at_hand.retain(|answer| driver.log.answer(answer.seq).is_none());
        if let RoundEnd::Finished(execution) = end {
            return Seen::of(&execution, &driver.console, &driver.log);
        }
    }
}
