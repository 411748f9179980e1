//! `sandpiper selftest`: hostile scripts, run in the local sandbox or against a live deployment.
//!
//! This module has the corpus, the expected end of each script, and the report. After every script the next one must
//! run normally. A [`Target`] runs the scripts. The command line and the tests call this module.

mod benign;
mod corpus;
mod sweep;
mod target;

pub use corpus::TestScript;
pub use target::{Local, Remote, Target, TargetError};

use corpus::{CLASSES, Case, Class, Expected};
use serde_json::Value;
use std::collections::HashSet;
use std::io::{self, Write};
use std::time::{Duration, Instant};

/// Time that an execution may take beyond its time limit, times [`Selection::time_factor`]: the grace until SIGKILL,
/// twice.
const KILL_WITHIN: Duration = Duration::from_millis(500);
/// Time that a response may take beyond the execution, for a queue and a network.
const RESPONSE_WITHIN: Duration = Duration::from_secs(30);
/// Executions of a script whose results must differ.
const DISTINCT_RUNS: usize = 20;
/// Maximum length of a script in a message, characters.
const SHOWN_CHARS: usize = 160;

/// The largest [`Selection::time_factor`]. Above six, a deployment needs a higher ceiling of `timeoutMs` than the default.
pub const TIME_FACTOR_MAX: u32 = 24;

/// The scripts to run, and the speed of the machine.
#[derive(Debug, Clone)]
pub struct Selection {
    /// Name of the only class to run, or all classes.
    pub class: Option<String>,
    /// Factor by which this machine may be slower than a quiet one. It multiplies the time limit of scripts that must
    /// reach another limit, and the time that an execution may take beyond its limit.
    pub time_factor: u32,
}

/// A script that did not end as expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub class: &'static str,
    /// The script, truncated.
    pub code: String,
    /// The expected and the actual end.
    pub reason: String,
}

#[derive(Debug, Clone)]
pub struct Tally {
    pub class: &'static str,
    pub about: &'static str,
    pub scripts: usize,
    pub failed: usize,
    /// Longest execution, milliseconds.
    pub slowest_ms: f64,
}

#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Counts by class, in the order of the corpus.
    pub tallies: Vec<Tally>,
    pub failures: Vec<Failure>,
}

/// Returns the names of the classes, in order.
pub fn classes() -> impl Iterator<Item = &'static str> {
    CLASSES.iter().map(|class| class.name).chain([sweep::NAME])
}

/// Runs the corpus, and calls `progress` with class and number before each script.
pub fn run(
    target: &mut dyn Target,
    selection: &Selection,
    mut progress: impl FnMut(&str, usize),
) -> Result<Report, TargetError> {
    let mut report = Report::default();
    let is_chosen = |name: &str| selection.class.as_deref().is_none_or(|only| only == name);
    for class in CLASSES.iter().filter(|class| is_chosen(class.name)) {
        let mut tally = Tally::new(class.name, class.about);
        for case in class.cases() {
            progress(class.name, tally.scripts);
            let verdict = run_case(target, class, &case, selection.time_factor)?;
            tally.add(&case.script.code, verdict, &mut report.failures);
        }
        report.tallies.push(tally);
    }
    if is_chosen(sweep::NAME) {
        let mut tally = Tally::new(sweep::NAME, sweep::ABOUT);
        sweep::run(target, selection.time_factor, |step, code, verdict| {
            progress(sweep::NAME, step);
            tally.add(code, verdict, &mut report.failures);
        })?;
        report.tallies.push(tally);
    }
    Ok(report)
}

/// The duration of a script in milliseconds, or the reason of its failure.
type Verdict = Result<f64, String>;

impl Tally {
    fn new(class: &'static str, about: &'static str) -> Self {
        Self {
            class,
            about,
            scripts: 0,
            failed: 0,
            slowest_ms: 0.0,
        }
    }

    fn add(&mut self, code: &str, verdict: Verdict, failures: &mut Vec<Failure>) {
        self.scripts += 1;
        match verdict {
            Ok(wall_ms) => self.slowest_ms = self.slowest_ms.max(wall_ms),
            Err(reason) => {
                self.failed += 1;
                failures.push(Failure {
                    class: self.class,
                    code: code.chars().take(SHOWN_CHARS).collect(),
                    reason,
                });
            }
        }
    }
}

impl Report {
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.failures.is_empty()
    }

    /// Writes the table of classes, then every failure.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(
            out,
            "{:10} {:>7} {:>7} {:>11}  description",
            "class", "scripts", "failed", "slowest ms"
        )?;
        for tally in &self.tallies {
            writeln!(
                out,
                "{:10} {:>7} {:>7} {:>11.0}  {}",
                tally.class, tally.scripts, tally.failed, tally.slowest_ms, tally.about
            )?;
        }
        for failure in &self.failures {
            let Failure {
                class,
                code,
                reason,
            } = failure;
            writeln!(out, "\nFAILED ({class}): {reason}\n  {code}")?;
        }
        let scripts: usize = self.tallies.iter().map(|tally| tally.scripts).sum();
        let failed = self.failures.len();
        writeln!(out, "\n{} as expected, {failed} not", scripts - failed)
    }
}

/// Runs one script, checks its end, and checks that the next script runs normally.
fn run_case(
    target: &mut dyn Target,
    class: &Class,
    case: &Case,
    factor: u32,
) -> Result<Verdict, TargetError> {
    let timeout_ms = class.timeout_ms(factor);
    let verdict = match &case.expected {
        Expected::Distinct => all_differ(target, case, timeout_ms)?,
        expected => {
            let started = Instant::now();
            let execution = target.execute(&case.script, timeout_ms, None)?;
            let took = started.elapsed();
            check_execution(&execution, timeout_ms, factor, took).and_then(|wall_ms| {
                is_expected(&execution, expected, case.log.as_ref()).map(|()| wall_ms)
            })
        }
    };
    let next = target.execute(&"1 + 2".into(), timeout_ms.max(2_000), None)?;
    if next["result"] != 3 {
        return Ok(Err(format!("the next execution, 1 + 2, returned {next}")));
    }
    Ok(verdict)
}

fn all_differ(
    target: &mut dyn Target,
    case: &Case,
    timeout_ms: u32,
) -> Result<Verdict, TargetError> {
    let mut seen = HashSet::new();
    for _ in 0..DISTINCT_RUNS {
        let execution = target.execute(&case.script, timeout_ms, None)?;
        if execution["outcome"] != "succeeded" || !seen.insert(execution["result"].to_string()) {
            return Ok(Err(format!(
                "two executions returned the same, or one failed: {}",
                brief(&execution)
            )));
        }
    }
    Ok(Ok(0.0))
}

/// Checks the promises that hold for every execution: it ended in time, its process did not crash, and `limitHit` fits
/// the outcome. Returns its duration in milliseconds.
fn check_execution(execution: &Value, timeout_ms: u32, factor: u32, took: Duration) -> Verdict {
    let limit = Duration::from_millis(u64::from(timeout_ms)) + KILL_WITHIN * factor;
    let wall_ms = execution["usage"]["wallMs"].as_f64().unwrap_or(f64::MAX);
    if wall_ms > limit.as_secs_f64() * 1000.0 {
        return Err(format!(
            "the execution took {wall_ms:.0} ms with a limit of {timeout_ms} ms"
        ));
    }
    if took > limit + RESPONSE_WITHIN {
        return Err(format!("the response took {} ms", took.as_millis()));
    }
    let hit = match execution["outcome"].as_str() {
        Some("timed_out") => Value::from("timeoutMs"),
        Some("memory_exceeded") => Value::from("memoryBytes"),
        Some("stack_exceeded") => Value::from("stackBytes"),
        Some("output_exceeded") => Value::from("outputBytes"),
        Some("crashed") => return Err(format!("the job process crashed: {}", brief(execution))),
        _ => Value::Null,
    };
    if execution["limitHit"] != hit {
        return Err(format!("limitHit is not {hit}: {}", brief(execution)));
    }
    Ok(wall_ms)
}

fn is_expected(execution: &Value, expected: &Expected, log: Option<&Value>) -> Result<(), String> {
    let outcome = &execution["outcome"];
    let is_met = match expected {
        Expected::Outcomes(outcomes) => outcomes.iter().any(|expected| outcome == expected),
        Expected::Result(result) => outcome == "succeeded" && execution["result"] == *result,
        Expected::Distinct => true,
    };
    if !is_met {
        return Err(format!("expected {expected}, got {}", brief(execution)));
    }
    let Some(log) = log else { return Ok(()) };
    let entries = execution["log"].as_array().into_iter().flatten();
    let seen = Value::from_iter(entries.map(|entry| entry["data"].clone()));
    if seen != *log {
        return Err(format!("expected the log {log}, got {seen}"));
    }
    Ok(())
}

/// Returns outcome, result and error message, truncated.
fn brief(execution: &Value) -> String {
    let mut text = format!(
        "{} {} {}",
        execution["outcome"], execution["result"], execution["error"]["message"]
    );
    if let Some((cut, _)) = text.char_indices().nth(SHOWN_CHARS) {
        text.truncate(cut);
    }
    text
}
