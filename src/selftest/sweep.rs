//! Out-of-memory at every point: benign scripts next to ballast that leaves them less and less memory, step by step.
//!
//! With enough memory each script must return its result. With too little it must end as `memory_exceeded`. Any other
//! end is a failure.

use super::benign::{KINDS, SCRIPTS, TYPESCRIPT};
use super::corpus::TestScript;
use super::target::{Target, TargetError};
use super::{Verdict, brief, check_execution};
use sandpiper_domain::{Language, Limits, Source};
use std::time::Instant;

pub(super) const NAME: &str = "sweep";
pub(super) const ABOUT: &str = "benign scripts that run out of memory at every step";

const TIMEOUT_MS: u32 = 5_000;
const MEMORY_BYTES: u64 = Limits::SMALLEST_MEMORY_BYTES;
/// The ballast grows by this many bytes. The last step leaves less memory than a script needs to start.
const STEP_BYTES: u64 = 5_000;
/// Memory of an empty context, which the sweep leaves out.
const CONTEXT_BYTES: u64 = 100 << 10;

fn scripts() -> impl Iterator<Item = (TestScript, u64)> {
    let plain = SCRIPTS
        .iter()
        .map(|(code, result)| ((*code).into(), *result));
    let of_kinds = KINDS.iter().map(|(kind, code, modules, result)| {
        let modules = modules.iter().map(|(name, text)| Source {
            file_name: (*name).to_owned(),
            text: (*text).to_owned(),
        });
        let script = TestScript {
            code: (*code).to_owned(),
            kind: *kind,
            modules: modules.collect(),
            ..TestScript::default()
        };
        (script, *result)
    });
    let typescript = TYPESCRIPT.iter().map(|(code, result)| {
        let script = TestScript {
            language: Language::TypeScript,
            ..(*code).into()
        };
        (script, *result)
    });
    plain.chain(of_kinds).chain(typescript)
}

/// Runs every step, and calls `each` with the step's number, its script and its verdict.
pub(super) fn run(
    target: &mut dyn Target,
    factor: u32,
    mut each: impl FnMut(usize, &str, Verdict),
) -> Result<(), TargetError> {
    let timeout_ms = TIMEOUT_MS * factor;
    let mut steps = 0;
    for (script, result) in scripts() {
        let (mut has_succeeded, mut was_refused) = (false, false);
        let mut ballast_bytes = 0;
        while ballast_bytes < MEMORY_BYTES - CONTEXT_BYTES {
            let code = &script.code;
            let with_ballast = TestScript {
                code: format!("const ballast = 'x'.repeat({ballast_bytes}); {code}"),
                ..script.clone()
            };
            let started = Instant::now();
            let execution = target.execute(&with_ballast, timeout_ms, Some(MEMORY_BYTES))?;
            let verdict = check_execution(&execution, timeout_ms, factor, started.elapsed())
                .and_then(|wall_ms| {
                    let is_right =
                        execution["outcome"] == "succeeded" && execution["result"] == result;
                    let is_refused = execution["outcome"] == "memory_exceeded";
                    has_succeeded |= is_right;
                    was_refused |= is_refused;
                    let is_expected = is_right || is_refused;
                    is_expected
                        .then_some(wall_ms)
                        .ok_or_else(|| format!("it ended as {}", brief(&execution)))
                });
            each(steps, &with_ballast.code, verdict);
            ballast_bytes += STEP_BYTES;
            steps += 1;
        }
        if !has_succeeded || !was_refused {
            let reason = "the script succeeded at every step, or ran out of memory at every step";
            each(steps, &script.code, Err(reason.to_owned()));
        }
    }
    let next = target.execute(&"1 + 2".into(), timeout_ms, None)?;
    if next["result"] != 3 {
        each(
            steps,
            "1 + 2",
            Err(format!("the next execution returned {next}")),
        );
    }
    Ok(())
}
