//! Allocation that fails everywhere: honest scripts beside ballast that leaves them, step by step, less and less memory.
//!
//! With enough of it each comes to its result; with too little it says so. Anything else is a lie.

use super::honest::SCRIPTS;
use super::target::{Target, TargetError};
use super::{Judged, brief, ended_well};
use sandpiper_domain::Limits;
use std::time::Instant;

pub(super) const NAME: &str = "sweep";
pub(super) const ABOUT: &str = "memory refused at every step of honest scripts";

const TIMEOUT_MS: u32 = 5_000;
const MEMORY_BYTES: u64 = Limits::SMALLEST_MEMORY_BYTES;
/// Ballast grows by this; the last step leaves less than a script needs to begin.
const STEP_BYTES: u64 = 5_000;
/// What an empty context takes of the limit stays out of the grid.
const CONTEXT_BYTES: u64 = 100 << 10;

/// Runs all; `each` hears how every step went.
pub(super) fn run(
    target: &mut dyn Target,
    factor: u32,
    mut each: impl FnMut(usize, &str, Judged),
) -> Result<(), TargetError> {
    let timeout_ms = TIMEOUT_MS * factor;
    let mut steps = 0;
    for (script, result) in SCRIPTS {
        let (mut has_succeeded, mut was_refused) = (false, false);
        let mut ballast_bytes = 0;
        while ballast_bytes < MEMORY_BYTES - CONTEXT_BYTES {
            let code = format!("const ballast = 'x'.repeat({ballast_bytes}); {script}");
            let asked = Instant::now();
            let execution = target.execute(&code, timeout_ms, Some(MEMORY_BYTES))?;
            let judged =
                ended_well(&execution, timeout_ms, factor, asked.elapsed()).and_then(|wall_ms| {
                    let is_right =
                        execution["outcome"] == "succeeded" && execution["result"] == *result;
                    let is_refused = execution["outcome"] == "memory_exceeded";
                    has_succeeded |= is_right;
                    was_refused |= is_refused;
                    let is_honest = is_right || is_refused;
                    is_honest
                        .then_some(wall_ms)
                        .ok_or_else(|| format!("it came to {}", brief(&execution)))
                });
            each(steps, &code, judged);
            ballast_bytes += STEP_BYTES;
            steps += 1;
        }
        if !has_succeeded || !was_refused {
            let reason = "it succeeded, or ran out of memory, at every step";
            each(steps, script, Err(reason.to_owned()));
        }
    }
    let next = target.execute("1 + 2", timeout_ms, None)?;
    if next["result"] != 3 {
        each(steps, "1 + 2", Err(format!("afterwards it came to {next}")));
    }
    Ok(())
}
