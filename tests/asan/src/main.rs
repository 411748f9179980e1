//! `make test-asan`: the engine under AddressSanitizer and UBSan, every script in a forked child.
//!
//! The sources of `crates/sandbox/src/engine` are compiled into this program unchanged. `--cfg sandpiper_asan` replaces
//! the engine's heap by the C library's allocator, which the sanitizer watches. A refused allocation ends the execution
//! as it does in the service. The child has no isolation layer: only reports of the sanitizers, signals and panics
//! count.

#![allow(dead_code, unused_imports, unreachable_pub)] // the modules are the service's, which uses more of them

#[path = "../../../src/selftest/corpus.rs"]
mod corpus;
#[path = "../../../crates/sandbox/src/engine/mod.rs"]
mod engine;
#[path = "../../../crates/sandbox/src/guarded.rs"]
mod guarded;
#[path = "../../../src/selftest/benign.rs"]
mod benign;

mod cases;
mod child;

use cases::Case;
use child::Ended;
use engine::{Refusals, WarmEngine};
use std::process::ExitCode;
use std::time::Instant;

fn main() -> ExitCode {
    let parts: Vec<String> = std::env::args().skip(1).collect();
    let mut engine = match WarmEngine::warm() {
        Ok(engine) => Some(engine),
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    // A program that misses a known fault would prove nothing.
    let mut control =
        |case: &Case| matches!(child::run(&mut engine, case), Ended::Otherwise { .. });
    if !cases::control(&mut control) {
        println!("FAILED: the control led to no report, so this build would find nothing");
        return ExitCode::FAILURE;
    }
    let mut failed = 0;
    for part in &parts {
        let begun = Instant::now();
        let mut tally = Tally::default();
        match part.as_str() {
            "corpus" => cases::corpus(|case| tally.add(case, child::run(&mut engine, case))),
            "gc" => cases::collected(|case| tally.add(case, child::run(&mut engine, case))),
            "sweep" => cases::sweep(|case| tally.add(case, child::run(&mut engine, case))),
            "large" => cases::large(|case| tally.add(case, child::run(&mut engine, case))),
            unknown => {
                eprintln!("there is no part `{unknown}`: corpus, sweep, large, gc");
                return ExitCode::FAILURE;
            }
        }
        let Tally {
            executions,
            refused,
            stopped,
            failures,
        } = &tally;
        println!(
            "{part}: {executions} executions, {refused} of them refused memory by choice, {stopped} stopped at their deadline, \
             {} reports; {} s",
            failures.len(),
            begun.elapsed().as_secs()
        );
        for failure in failures.iter().take(20) {
            println!("\nFAILED ({part}): {failure}");
        }
        failed += failures.len();
        if executions == &0 {
            failed += 1;
        }
    }
    if failed == 0 && !parts.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// The counts of one part.
#[derive(Default)]
struct Tally {
    executions: usize,
    refused: usize,
    stopped: usize,
    failures: Vec<String>,
}

impl Tally {
    /// Counts an execution. Returns whether the chosen refusal took place.
    fn add(&mut self, case: &Case, ended: Ended) -> bool {
        self.executions += 1;
        let code: String = case.script.code.chars().take(400).collect();
        match ended {
            Ended::WithOutcome {
                outcome,
                was_refused,
            } => {
                self.refused += usize::from(was_refused);
                if let Some(expected) = case.violation(&outcome, was_refused) {
                    self.failures.push(format!(
                        "{outcome}, {expected}, {:?}\n  {code}",
                        case.refusals
                    ));
                }
                was_refused
            }
            Ended::Stopped => {
                self.stopped += 1;
                false
            }
            Ended::Otherwise { how, report } => {
                self.failures
                    .push(format!("{how}, {:?}\n  {code}\n{report}", case.refusals));
                true
            }
        }
    }
}
