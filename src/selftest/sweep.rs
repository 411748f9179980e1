//! Allocation that fails everywhere: honest scripts beside ballast that leaves them, step by step, less and less memory.
//!
//! With enough of it each comes to its result; with too little it says so. Anything else is a lie.

use super::target::{Target, TargetError};
use super::{Judged, brief, ended_well};
use crate::domain::Limits;
use std::time::Instant;

pub(super) const NAME: &str = "sweep";
pub(super) const ABOUT: &str = "memory refused at every step of honest scripts";

const TIMEOUT_MS: u32 = 5_000;
const MEMORY_BYTES: u64 = Limits::SMALLEST_MEMORY_BYTES;
/// Ballast grows by this; the last step leaves less than a script needs to begin.
const STEP_BYTES: u64 = 5_000;
/// What an empty context takes of the limit stays out of the grid.
const CONTEXT_BYTES: u64 = 100 << 10;

/// Scripts and their results. Each needs some hundred kilobytes.
const SCRIPTS: &[(&str, u64)] = &[
    (
        "let a = []; for (let i = 0; i < 1000; i++) a.push({i, s: 'x' + i}); a.length",
        1000,
    ),
    (
        "JSON.stringify(JSON.parse('[' + '{\"a\":[1,2]},'.repeat(500) + '1]')).length",
        6003,
    ),
    ("'x'.repeat(500).replace(/x/g, 'yz').split('z').length", 501),
    (
        "const m = new Map(); for (let i = 0; i < 800; i++) m.set('k' + i, [i]); m.size",
        800,
    ),
    (
        "let s = 0; async function f(n) { await null; s += n; if (n) await f(n - 1) } await f(100); s",
        5050,
    ),
    (
        "class A { #p = [1, 2]; get p() { return this.#p } } Array.from({length: 500}, () => new A()).map((a) => a.p.length).reduce((x, y) => x + y)",
        1000,
    ),
    (
        "function* g() { for (let i = 0; i < 300; i++) yield new Error('e' + i) } [...g()].length",
        300,
    ),
    (
        "let s = ''; for (let i = 0; i < 100; i++) s += `function f${i}(a, {b}) { return a + b + ${i} };`; eval(s); f99(1, {b: 1})",
        101,
    ),
    (
        "const d = []; for (let i = 0; i < 200; i++) d.push(new DataView(new ArrayBuffer(1000), 8)); d.length",
        200,
    ),
    (
        "const r = []; for (let i = 0; i < 200; i++) r.push(/(?<a>x+)(y|z)*/.exec('xx' + 'y'.repeat(i))); r.length",
        200,
    ),
    (
        "const c = []; for (let i = 0; i < 300; i++) try { null.x } catch (e) { c.push(e.message + i) } c.length",
        300,
    ),
    (
        "console.log(Array.from({length: 500}, (x, i) => ({i}))); console.table([[1, 2]]); new Uint8Array(1e5).length",
        100_000,
    ),
    (
        "const w = []; for (let i = 0; i < 100; i++) setTimeout(() => w.push('t'.repeat(i)), 0); await new Promise((done) => setTimeout(done, 5)); w.length",
        100,
    ),
    (
        "let b = 1n; for (let i = 0; i < 60; i++) b = b * 3n ** 100n; b.toString().length",
        2863,
    ),
    (
        "const p = new Proxy({}, {ownKeys: () => Array.from({length: 200}, (x, i) => 'k' + i), getOwnPropertyDescriptor: () => ({enumerable: true, configurable: true, value: 1})}); Object.keys(p).length",
        200,
    ),
];

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
