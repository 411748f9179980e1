//! `sandpiper selftest`: scripts that mean harm, run against these walls or a live deployment.
//!
//! Its own: the corpus, how each script must end, and the account of how it did. After every script the next one must be
//! served. Not its own: how scripts are run; a [`Target`] does that. Called by the command line and by the tests.

mod corpus;
mod honest;
mod sweep;
mod target;

pub use target::{Local, Remote, Target, TargetError};

use corpus::{CLASSES, Case, Class, Expected};
use serde_json::Value;
use std::collections::HashSet;
use std::io::{self, Write};
use std::time::{Duration, Instant};

/// An execution ends by its time limit and this, times [`Selection::time_factor`]: the grace until SIGKILL, and as much again.
const ENDS_WITHIN: Duration = Duration::from_millis(500);
/// What the way there and back may take beside, through a queue and over a network.
const ANSWERED_WITHIN: Duration = Duration::from_secs(30);
/// Times that a script runs whose results must differ.
const DISTINCT_RUNS: usize = 20;
/// Most characters of a script in a message.
const SHOWN_CHARS: usize = 160;

/// The most that [`Selection::time_factor`] may be: the longest time limit is then that of a service with the default ceiling.
pub const TIME_FACTOR_MAX: u32 = 6;

/// What of the corpus is run, and on how slow a machine.
#[derive(Debug, Clone)]
pub struct Selection {
    /// Only the class of this name.
    pub class: Option<String>,
    /// How many times slower than a quiet machine this one may be. Scripts that must meet another limit than time get so
    /// many times as long, and an execution may end so many times as late.
    pub time_factor: u32,
}

/// How one script was wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Its class.
    pub class: &'static str,
    /// The script, cut.
    pub code: String,
    /// What was expected and what was seen.
    pub reason: String,
}

/// The account of one class.
#[derive(Debug, Clone)]
pub struct Tally {
    /// Its name.
    pub class: &'static str,
    /// What its scripts try.
    pub about: &'static str,
    /// Scripts run.
    pub scripts: usize,
    /// Scripts that did not end as expected.
    pub failed: usize,
    /// The longest that one ran, milliseconds.
    pub slowest_ms: f64,
}

/// The account of a whole run.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// By class, in order.
    pub tallies: Vec<Tally>,
    /// Everything that was wrong.
    pub failures: Vec<Failure>,
}

/// The names of the classes, in order.
pub fn classes() -> impl Iterator<Item = &'static str> {
    CLASSES.iter().map(|class| class.name).chain([sweep::NAME])
}

/// Runs the corpus. `progress` hears of each script before it runs.
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
            let judged = judge(target, class, &case, selection.time_factor)?;
            tally.add(&case.code, judged, &mut report.failures);
        }
        report.tallies.push(tally);
    }
    if is_chosen(sweep::NAME) {
        let mut tally = Tally::new(sweep::NAME, sweep::ABOUT);
        sweep::run(target, selection.time_factor, |step, code, judged| {
            progress(sweep::NAME, step);
            tally.add(code, judged, &mut report.failures);
        })?;
        report.tallies.push(tally);
    }
    Ok(report)
}

/// How long a script ran, in milliseconds, or what was wrong.
type Judged = Result<f64, String>;

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

    fn add(&mut self, code: &str, judged: Judged, failures: &mut Vec<Failure>) {
        self.scripts += 1;
        match judged {
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
    /// Whether everything ended as it must.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.failures.is_empty()
    }

    /// The table, and every failure.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(
            out,
            "{:10} {:>7} {:>7} {:>11}  what they try",
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

/// Runs one script, looks at how it ended, and sees that the next one is served.
fn judge(
    target: &mut dyn Target,
    class: &Class,
    case: &Case,
    factor: u32,
) -> Result<Judged, TargetError> {
    let timeout_ms = class.timeout_ms(factor);
    let judged = match &case.expected {
        Expected::Distinct => all_differ(target, case, timeout_ms)?,
        expected => {
            let asked = Instant::now();
            let execution = target.execute(&case.code, timeout_ms, None)?;
            let took = asked.elapsed();
            ended_well(&execution, timeout_ms, factor, took).and_then(|wall_ms| {
                is_expected(&execution, expected, case.log.as_ref()).map(|()| wall_ms)
            })
        }
    };
    let next = target.execute("1 + 2", timeout_ms.max(2_000), None)?;
    if next["result"] != 3 {
        return Ok(Err(format!("afterwards 1 + 2 came to {next}")));
    }
    Ok(judged)
}

fn all_differ(
    target: &mut dyn Target,
    case: &Case,
    timeout_ms: u32,
) -> Result<Judged, TargetError> {
    let mut seen = HashSet::new();
    for _ in 0..DISTINCT_RUNS {
        let execution = target.execute(&case.code, timeout_ms, None)?;
        if execution["outcome"] != "succeeded" || !seen.insert(execution["result"].to_string()) {
            return Ok(Err(format!(
                "two executions agree, or one failed: {}",
                brief(&execution)
            )));
        }
    }
    Ok(Ok(0.0))
}

/// What must hold of every execution, whatever it ran.
fn ended_well(execution: &Value, timeout_ms: u32, factor: u32, took: Duration) -> Judged {
    let limit = Duration::from_millis(u64::from(timeout_ms)) + ENDS_WITHIN * factor;
    let wall_ms = execution["usage"]["wallMs"].as_f64().unwrap_or(f64::MAX);
    if wall_ms > limit.as_secs_f64() * 1000.0 {
        return Err(format!(
            "it ran {wall_ms:.0} ms with a limit of {timeout_ms}"
        ));
    }
    if took > limit + ANSWERED_WITHIN {
        return Err(format!("the answer took {} ms", took.as_millis()));
    }
    let hit = match execution["outcome"].as_str() {
        Some("timed_out") => Value::from("timeoutMs"),
        Some("memory_exceeded") => Value::from("memoryBytes"),
        Some("stack_exceeded") => Value::from("stackBytes"),
        Some("output_exceeded") => Value::from("outputBytes"),
        Some("crashed") => return Err(format!("its process crashed: {}", brief(execution))),
        _ => Value::Null,
    };
    if execution["limitHit"] != hit {
        return Err(format!("limitHit is not {hit}: {}", brief(execution)));
    }
    Ok(wall_ms)
}

fn is_expected(execution: &Value, expected: &Expected, log: Option<&Value>) -> Result<(), String> {
    let outcome = &execution["outcome"];
    let is_so = match expected {
        Expected::Outcomes(honest) => honest.iter().any(|honest| outcome == honest),
        Expected::Result(result) => outcome == "succeeded" && execution["result"] == *result,
        Expected::Distinct => true,
    };
    if !is_so {
        return Err(format!("expected {expected}, seen {}", brief(execution)));
    }
    let Some(log) = log else { return Ok(()) };
    let entries = execution["log"].as_array().into_iter().flatten();
    let seen = Value::from_iter(entries.map(|entry| entry["data"].clone()));
    if seen != *log {
        return Err(format!("expected the log {log}, seen {seen}"));
    }
    Ok(())
}

/// Outcome, result and error, without what may be long.
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
